//! Identity of a source: slot and generation in one word.
//!
//! Owns the layout of the word that travels through the kernel with every registration. Must never hand out a word that
//! names two sources: slots are reused at once (`slab` gives the most recently freed first), so a slot alone would let an event
//! that was meant for a closed connection reach the next one. The generation, bumped with every insertion, tells them apart.
//!
//! ```text
//!        64-bit usize                      32-bit usize
//!  63        32 31         0           31      20 19       0
//! +------------+------------+         +----------+----------+
//! | generation |    slot    |         |generation|   slot   |
//! +------------+------------+         +----------+----------+
//! ```
//!
//! Tests: the units below, `tests/simulation.rs` (reuse within one batch), `tests/kernel_facts.rs` (why it is needed).

use std::fmt;

/// Bits of the word that hold the slot; the rest holds the generation.
const SLOT_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };

/// The most sources that one reactor can hold at once.
pub(crate) const MAX_SOURCES: usize = (1 << SLOT_BITS) - 1;

/// Generations lie in `1..=LAST_GENERATION`; 0 is never given, so a word of all zeros names nothing.
const LAST_GENERATION: u32 = (usize::MAX >> SLOT_BITS) as u32;

/// Names one source for as long as it lives, and nothing afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(usize);

impl Token {
    /// The name of generation `generation` of `slot`.
    pub(crate) fn new(slot: usize, generation: Generation) -> Token {
        debug_assert!(slot <= MAX_SOURCES, "slot {slot} does not fit into a token");
        Token((generation.0 as usize) << SLOT_BITS | slot)
    }

    /// The place in the table of sources.
    #[inline]
    pub fn slot(self) -> usize {
        self.0 & MAX_SOURCES
    }

    /// Which of the sources that have had this slot.
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

/// Prints as `slot.generation`, the way log lines name a source.
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

/// A counter that wraps and skips zero. One serves a whole table: what matters is that a slot does not see the same value
/// again soon, and after 4,294,967,295 insertions (4,095 on 32-bit machines) no event of the first is still under way.
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
    fn a_token_gives_back_its_parts() {
        for slot in [0, 1, 77, MAX_SOURCES] {
            for generation in [Generation::FIRST, Generation(LAST_GENERATION)] {
                let token = Token::new(slot, generation);
                assert_eq!((token.slot(), token.generation()), (slot, generation));
                assert_eq!(Token::from(mio::Token::from(token)), token);
            }
        }
    }

    #[test]
    fn generations_wrap_past_zero() {
        assert_eq!(Generation(LAST_GENERATION).next(), Generation::FIRST);
        assert_eq!(Generation::FIRST.next(), Generation(2));
    }

    #[test]
    fn a_reused_slot_has_another_name() {
        let first = Token::new(3, Generation::FIRST);
        assert_ne!(first, Token::new(3, Generation::FIRST.next()));
        assert_eq!(first.to_string(), "3.1");
    }
}
