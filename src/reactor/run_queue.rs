//! The queue of sources that have something to do.
//!
//! Owns the order in which sources run. Must never hold a source twice: whether it is queued is a flag beside the source
//! (`sources.rs`), set on the way in and cleared on the way out, so the queue is never longer than the table.
//!
//! While anything stands here the loop does not sleep: a source that stopped at its budget gets no new event from an
//! edge-triggered selector, so this queue is the only thing that remembers it.
//!
//! It is two plain lists that change places at the beginning of a turn: one is filled while the other is read. That is what the turn means (what
//! is queued while it runs waits for the next), and costs a third of the instructions of a ring.

use crate::values::token::Token;

/// First in, first out: a source that used up its budget goes behind all others.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    /// The sources of this turn,
    turn: Vec<Token>,
    /// of which so many have been taken,
    taken: usize,
    /// and those of the next.
    next: Vec<Token>,
}

impl RunQueue {
    /// Adds a source at the end. Callers go through `Sources::mark`, which keeps the flag.
    #[inline]
    pub(crate) fn push(&mut self, token: Token) {
        self.next.push(token);
    }

    /// Closes the list of this turn. The one before must have been taken whole.
    #[inline]
    pub(crate) fn begin_turn(&mut self) {
        debug_assert!(
            self.taken == self.turn.len(),
            "a turn begins before all sources of the last have run"
        );
        self.turn.clear();
        self.taken = 0;
        std::mem::swap(&mut self.turn, &mut self.next);
    }

    /// Takes the source of this turn that has waited longest.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Token> {
        let token = *self.turn.get(self.taken)?;
        self.taken += 1;
        Some(token)
    }

    /// Whether the loop may sleep, as far as this queue is concerned. Asked between turns.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::token::Generation;

    #[test]
    fn sources_run_in_the_order_they_came() {
        let mut queue = RunQueue::default();
        let tokens: Vec<Token> = (0..5)
            .map(|slot| Token::new(slot, Generation::FIRST))
            .collect();
        tokens.iter().for_each(|&token| queue.push(token));
        queue.begin_turn();
        let out: Vec<Token> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(out, tokens);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_queued_during_a_turn_waits_for_the_next() {
        let mut queue = RunQueue::default();
        let token = Token::new(1, Generation::FIRST);
        queue.push(token);
        queue.begin_turn();
        assert_eq!(queue.pop(), Some(token));
        queue.push(token);
        assert_eq!(queue.pop(), None);
        assert!(!queue.is_empty());
        queue.begin_turn();
        assert_eq!(queue.pop(), Some(token));
    }
}
