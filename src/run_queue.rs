//! The queue of sources that have something to do.
//!
//! Owns the order in which sources run. Must never hold a source twice: whether it is queued is a flag beside the source
//! (`sources.rs`), set on the way in and cleared on the way out, so the queue is never longer than the table.
//!
//! While anything stands here the loop does not sleep: a source that stopped at its budget gets no new event from an
//! edge-triggered selector, so this queue is the only thing that remembers it.

use std::collections::VecDeque;

use crate::token::Token;

/// First in, first out: a source that used up its budget goes behind all others.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    tokens: VecDeque<Token>,
}

impl RunQueue {
    /// Adds a source at the end. Callers go through `Sources::mark` and `Sources::requeue`, which keep the flag.
    #[inline]
    pub(crate) fn push(&mut self, token: Token) {
        self.tokens.push_back(token);
    }

    /// Takes the source that has waited longest.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Token> {
        self.tokens.pop_front()
    }

    /// How many sources stand here. A turn takes this many and no more, so that what is queued meanwhile waits for the next turn.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the loop may sleep, as far as this queue is concerned.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Generation;

    #[test]
    fn sources_run_in_the_order_they_came() {
        let mut queue = RunQueue::default();
        let tokens: Vec<Token> = (0..5).map(|slot| Token::new(slot, Generation::FIRST)).collect();
        tokens.iter().for_each(|&token| queue.push(token));
        assert_eq!(queue.len(), 5);
        let out: Vec<Token> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(out, tokens);
        assert!(queue.is_empty());
    }
}
