//! The identity of a source: slot and generation in one word.
//!
//! Owns the layout of that word, which the kernel stores with every registration. It must never
//! give two sources the same word. `slab` reuses slots at once, the last one freed first. With the
//! slot alone, an event for a closed connection could reach the next one. The generation, which
//! grows with every insertion, tells the two apart.
//!
//! ```text
//!        64-bit usize                      32-bit usize
//!  63        32 31         0           31      20 19       0
//! +------------+------------+         +----------+----------+
//! | generation |    slot    |         |generation|   slot   |
//! +------------+------------+         +----------+----------+
//! ```
//!
//! Tests: below, `tests/simulation/` (reuse within one batch), `tests/kernel_facts.rs` (why the
//! generation is needed).

use std::fmt;

/// The low bits of the word hold the slot. The rest holds the generation.
const SLOT_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };

/// The most sources that one reactor can hold at once.
pub(crate) const MAX_SOURCES: usize = (1 << SLOT_BITS) - 1;

/// Generations are `1..=LAST_GENERATION`. 0 is never used, so a word of all zeros names no source.
const LAST_GENERATION: u32 = (usize::MAX >> SLOT_BITS) as u32;

/// Names one source while it lives, and nothing afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(usize);

impl Token {
    /// Names the source that has `slot` in this `generation`.
    pub(crate) fn new(slot: usize, generation: Generation) -> Token {
        debug_assert!(slot <= MAX_SOURCES, "slot {slot} does not fit in a token");
        Token((generation.0 as usize) << SLOT_BITS | slot)
    }

    /// The index of the source in the table of sources.
    #[inline]
    pub fn slot(self) -> usize {
        self.0 & MAX_SOURCES
    }

    /// Tells the source apart from earlier sources in the same slot.
    #[inline]
    pub fn generation(self) -> Generation {
        Generation((self.0 >> SLOT_BITS) as u32)
    }
}

impl From<Token> for mio::Token {
    #[inline]
    fn from(token: Token) -> mio::Token {
        mio::Token(token.0)
    }
}

impl From<mio::Token> for Token {
    #[inline]
    fn from(token: mio::Token) -> Token {
        Token(token.0)
    }
}

/// Prints as `slot.generation`, as log lines name a source.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot(), self.generation().0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

/// A counter that wraps and skips zero.
///
/// One counter serves the whole table. A slot must not see the same value again while an old event
/// can still arrive. It takes 4,294,967,295 insertions to wrap (4,095 on 32-bit machines).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u32);

impl Generation {
    pub(crate) const FIRST: Generation = Generation(1);

    /// The generation after this one.
    pub(crate) fn next(self) -> Generation {
        Generation(if self.0 == LAST_GENERATION {
            1
        } else {
            self.0 + 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_returns_its_slot_and_generation() {
        for slot in [0, 1, 77, MAX_SOURCES] {
            for generation in [Generation::FIRST, Generation(LAST_GENERATION)] {
                let token = Token::new(slot, generation);
                assert_eq!((token.slot(), token.generation()), (slot, generation));
                assert_eq!(Token::from(mio::Token::from(token)), token);
            }
        }
    }

    #[test]
    fn generations_wrap_and_skip_zero() {
        assert_eq!(Generation(LAST_GENERATION).next(), Generation::FIRST);
        assert_eq!(Generation::FIRST.next(), Generation(2));
    }

    #[test]
    fn a_reused_slot_gets_a_new_token() {
        let first = Token::new(3, Generation::FIRST);
        assert_ne!(first, Token::new(3, Generation::FIRST.next()));
        assert_eq!(first.to_string(), "3.1");
    }
}
