//! The deadlines of all sources.
//!
//! Owns a heap of (deadline, token). It never reads a clock and never decides what a deadline
//! means: it only says which tokens are due.
//!
//! A source has **one** alarm, and it is never cancelled. Traffic only moves the time that is
//! stored with the source. When the alarm fires, the source computes its true deadline, and either
//! acts or asks for a later alarm. So a message costs no heap operation, however many timeouts are
//! on. A nearer deadline pushes a second entry, and the first is then *superseded*: it no longer
//! equals the `alarm_at` beside the source, and is skipped. Superseded entries are swept out when
//! they outnumber the live ones, so the heap stays below twice the number of sources.
//!
//! Cost: O(log n) for each alarm that is set or fires, on std's heap. `benches/timer.rs` shows
//! 100,000 sources; a timer wheel would have to beat that to earn its lines. Resolution: mio rounds
//! the wait up to whole milliseconds.
//!
//! Tests: below, against a sorted model.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::values::time::Time;
use crate::values::token::Token;

/// The heap of alarms.
#[derive(Debug, Default)]
pub struct Timer {
    heap: BinaryHeap<Reverse<(Time, Token)>>,
}

/// Below this many entries the heap is not swept: 64 entries are one kibibyte.
const SWEEP_FLOOR: usize = 64;

impl Timer {
    /// A heap that does not grow before it holds `capacity` alarms.
    pub fn with_capacity(capacity: usize) -> Timer {
        Timer {
            heap: BinaryHeap::with_capacity(capacity),
        }
    }

    /// Adds an alarm. `sources` is how many sources there are, and `is_live(token, at)` whether
    /// that entry is still its source's alarm; both serve to sweep out the superseded ones, at
    /// amortised constant cost.
    pub fn set(
        &mut self,
        token: Token,
        at: Time,
        sources: usize,
        is_live: impl Fn(Token, Time) -> bool,
    ) {
        if self.heap.len() >= SWEEP_FLOOR.max(2 * sources) {
            self.heap
                .retain(|Reverse((at, token))| is_live(*token, *at));
        }
        self.heap.push(Reverse((at, token)));
    }

    /// Takes the next entry that is due at `now`, live or superseded: the caller compares.
    #[inline]
    pub fn pop_due(&mut self, now: Time) -> Option<(Token, Time)> {
        let Reverse((at, token)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((token, at))
    }

    /// The earliest alarm, or [`Time::NEVER`]. It may be superseded; the loop then wakes once for
    /// nothing.
    #[inline]
    pub fn next(&self) -> Time {
        self.heap.peek().map_or(Time::NEVER, |Reverse((at, _))| *at)
    }

    /// Entries held, live or not.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::values::token::Generation;

    fn token(slot: usize) -> Token {
        Token::new(slot, Generation::FIRST)
    }

    proptest! {
        /// Sources set, push forward and lose alarms in any order; what fires, and when, is what a
        /// plain table says.
        #[test]
        fn alarms_fire_as_in_a_sorted_table(
            steps in prop::collection::vec((0usize..20, 0u64..1000, 0u8..8), 1..400),
        ) {
            let mut timer = Timer::default();
            let mut live: HashMap<Token, Time> = HashMap::new();
            let mut now = Time::ZERO;
            for (slot, delay, action) in steps {
                let token = token(slot);
                match action {
                    0 => { live.remove(&token); }
                    1 => {
                        now = now + Duration::from_nanos(delay);
                        let due = live.iter().filter(|(_, at)| **at <= now);
                        let mut expected: Vec<(Time, Token)> =
                            due.map(|(token, at)| (*at, *token)).collect();
                        expected.sort();
                        let mut fired = Vec::new();
                        while let Some((token, at)) = timer.pop_due(now) {
                            if live.get(&token) == Some(&at) {
                                live.remove(&token);
                                fired.push((at, token));
                            }
                        }
                        prop_assert_eq!(fired, expected);
                        prop_assert!(timer.next() > now);
                    }
                    _ => {
                        let at = now + Duration::from_nanos(delay);
                        if live.get(&token).is_none_or(|old| at < *old) {
                            live.insert(token, at);
                            timer.set(token, at, 20, |token, at| live.get(&token) == Some(&at));
                        }
                    }
                }
                let first = live.values().min();
                prop_assert!(first.is_none_or(|at| timer.next() <= *at), "an alarm was lost");
                let most = SWEEP_FLOOR.max(2 * 20) + 1;
                prop_assert!(timer.len() <= most, "the heap grew to {}", timer.len());
            }
        }
    }
}
