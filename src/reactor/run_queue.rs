//! The queue of sources that have something to do.
//!
//! Owns the order in which sources run. It must never hold a source twice: a flag beside the source
//! (`sources.rs`) says whether it is queued, so the queue is never longer than the table.
//!
//! While a source is queued the loop does not sleep: a source that stopped at its budget gets no
//! new event from an edge-triggered selector, so this queue alone remembers it.
//!
//! It is two plain lists that change places when a turn begins: one is filled while the other is
//! read. That costs a third of the instructions of a ring. A turn that ends at its budget leaves
//! the rest of its list where it is, at the head of the next one.

use crate::values::token::Token;

/// First in, first out: a source that used up its budget goes behind all others.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    /// The sources of this turn.
    turn: Vec<Token>,
    /// How many of them have been taken.
    taken: usize,
    /// The sources of the next turn.
    next: Vec<Token>,
}

impl RunQueue {
    /// Adds a source at the end. Callers go through `Sources::mark`, which keeps the flag.
    #[inline]
    pub(crate) fn push(&mut self, token: Token) {
        self.next.push(token);
    }

    /// Closes the list of this turn: the sources that the last turn did not reach, and then those
    /// that were queued since.
    #[inline]
    pub(crate) fn begin_turn(&mut self) {
        if self.has_rest() {
            return self.begin_behind_rest();
        }
        self.turn.clear();
        self.taken = 0;
        std::mem::swap(&mut self.turn, &mut self.next);
    }

    #[cold]
    fn begin_behind_rest(&mut self) {
        self.turn.drain(..self.taken);
        self.taken = 0;
        self.turn.append(&mut self.next);
    }

    /// Takes the source of this turn that has waited longest.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Token> {
        let token = *self.turn.get(self.taken)?;
        self.taken += 1;
        Some(token)
    }

    /// Whether sources of this turn have not run yet.
    #[inline]
    pub(crate) fn has_rest(&self) -> bool {
        self.taken < self.turn.len()
    }

    /// Whether the queue is empty, so that the loop may sleep. The loop asks between turns.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_empty() && !self.has_rest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::token::Generation;

    fn token(slot: usize) -> Token {
        Token::new(slot, Generation::FIRST)
    }

    fn pop_all(queue: &mut RunQueue) -> Vec<Token> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn sources_run_in_the_order_they_came() {
        let mut queue = RunQueue::default();
        let tokens: Vec<Token> = (0..5).map(token).collect();
        tokens.iter().for_each(|&token| queue.push(token));
        queue.begin_turn();
        assert_eq!(pop_all(&mut queue), tokens);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_queued_during_a_turn_waits_for_the_next() {
        let mut queue = RunQueue::default();
        queue.push(token(1));
        queue.begin_turn();
        assert_eq!(queue.pop(), Some(token(1)));
        queue.push(token(1));
        assert_eq!(queue.pop(), None);
        assert!(!queue.is_empty());
        queue.begin_turn();
        assert_eq!(queue.pop(), Some(token(1)));
    }

    #[test]
    fn what_a_turn_did_not_reach_keeps_its_place_at_the_head() {
        let mut queue = RunQueue::default();
        (0..4).for_each(|slot| queue.push(token(slot)));
        queue.begin_turn();
        assert_eq!(queue.pop(), Some(token(0)));
        queue.push(token(0));
        queue.push(token(9));
        assert!(!queue.is_empty() && queue.has_rest());
        queue.begin_turn();
        assert_eq!(pop_all(&mut queue), [1, 2, 3, 0, 9].map(token));
        assert!(queue.is_empty());
    }
}
