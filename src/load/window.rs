//! The fate of each datagram: every one has exactly one.
//!
//! Owns the numbers of the datagrams that one socket sent, and what became of them. Pure: numbers
//! and times in, fates out. Must never hold more than those that may still be answered in time, and
//! one bit for each of the last [`PAST`] before them.
//!
//! ```text
//!   sent ──┬── answered in time ──── again ──▶ duplicate
//!          │     └ behind a later one: reordered
//!          └── given up ──┬── answered ──▶ late ── again ──▶ duplicate
//!                         └── never ─────▶ lost
//! ```
//!
//! Tests: below, against a table.

use std::collections::VecDeque;

use super::sent::Sent;

/// Datagrams that were settled and are still told apart: an answer to an older one counts as late,
/// whatever it was. One bit each.
pub(super) const PAST: usize = 1 << 16;

/// What an answer says of the datagram that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered in time.
    Answered {
        /// The datagram.
        datagram: Sent,
        /// A later one was answered before (RFC 4737).
        is_reordered: bool,
    },
    /// It had been given up.
    Late,
    /// It had been answered before.
    Duplicate,
    /// It was never sent.
    Unsent,
}

/// The datagrams of one socket.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The number of the first one in `current`.
    base: u64,
    /// From the oldest that may still be answered in time; `None` for those that were.
    current: VecDeque<Option<Sent>>,
    /// How many of `current` have no answer yet.
    waiting: usize,
    /// Whether those before `base` were answered; the last of them last.
    past: VecDeque<bool>,
    /// One behind the latest that was answered.
    expected: u64,
}

impl Window {
    /// Datagrams that may still be answered in time.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of the next datagram.
    pub fn next(&self) -> u64 {
        self.base + self.current.len() as u64
    }

    /// Notes that the next datagram was sent.
    pub fn send(&mut self, datagram: Sent) {
        self.current.push_back(Some(datagram));
        self.waiting += 1;
    }

    /// Notes that the datagram `number` was answered.
    pub fn answer(&mut self, number: u64) -> Fate {
        if number >= self.next() {
            return Fate::Unsent;
        }
        if number < self.base {
            let back = usize::try_from(self.base - number).unwrap_or(usize::MAX);
            let Some(index) = self.past.len().checked_sub(back) else {
                return Fate::Late;
            };
            let was_answered = std::mem::replace(&mut self.past[index], true);
            return if was_answered {
                Fate::Duplicate
            } else {
                Fate::Late
            };
        }
        let Some(datagram) = self.current[(number - self.base) as usize].take() else {
            return Fate::Duplicate;
        };
        self.waiting -= 1;
        let is_reordered = number < self.expected;
        self.expected = self.expected.max(number + 1);
        while let Some(None) = self.current.front() {
            self.settle();
        }
        Fate::Answered {
            datagram,
            is_reordered,
        }
    }

    /// The oldest that has no answer yet, and its number: what an answer without a number is taken
    /// to answer.
    pub fn oldest(&self) -> Option<(u64, Sent)> {
        // Those before `base` are settled, so the first one here has no answer.
        self.current
            .front()
            .copied()
            .flatten()
            .map(|datagram| (self.base, datagram))
    }

    /// Gives up the oldest.
    pub fn give_up(&mut self) -> Option<Sent> {
        let (_, datagram) = self.oldest()?;
        self.settle();
        self.waiting -= 1;
        while let Some(None) = self.current.front() {
            self.settle();
        }
        Some(datagram)
    }

    /// Moves the first one to the past.
    fn settle(&mut self) {
        let was_answered = self
            .current
            .pop_front()
            .is_some_and(|datagram| datagram.is_none());
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(was_answered);
        self.base += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::values::time::Time;

    fn sent(number: u64) -> Sent {
        let at = Time::ZERO + Duration::from_nanos(number);
        Sent {
            intended: at,
            sent: at,
            late: Duration::ZERO,
            held: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_settled_long_ago_costs_one_bit_and_no_more() {
        let mut window = Window::default();
        for number in 0..3 * PAST as u64 {
            window.send(sent(number));
            assert!(matches!(
                window.answer(number),
                Fate::Answered {
                    is_reordered: false,
                    ..
                }
            ));
        }
        assert_eq!(
            (window.past.len(), window.current.len(), window.waiting()),
            (PAST, 0, 0)
        );
        assert_eq!(
            (
                window.answer(2 * PAST as u64),
                window.answer(2 * PAST as u64 - 1)
            ),
            (Fate::Duplicate, Fate::Late)
        );
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum State {
        Waiting,
        Answered,
        GivenUp,
    }

    proptest! {
        #[test]
        fn every_datagram_has_the_fate_that_a_table_gives_it(
            steps in prop::collection::vec((0u8..8, 0u64..40), 1..300),
        ) {
            let (mut window, mut table) = (Window::default(), BTreeMap::<u64, State>::new());
            let mut latest = None;
            for (action, number) in steps {
                match action {
                    0..3 => {
                        let next = table.len() as u64;
                        prop_assert_eq!(window.next(), next);
                        window.send(sent(next));
                        table.insert(next, State::Waiting);
                    }
                    3 => {
                        let oldest = table.iter().find(|(_, state)| **state == State::Waiting);
                        let oldest = oldest.map(|(number, _)| *number);
                        let expected = oldest.map(|number| (number, sent(number)));
                        prop_assert_eq!(window.oldest(), expected);
                        prop_assert_eq!(window.give_up(), oldest.map(sent));
                        oldest.and_then(|number| table.insert(number, State::GivenUp));
                    }
                    _ => {
                        let expected = match table.get(&number) {
                            None => Fate::Unsent,
                            Some(State::Answered) => Fate::Duplicate,
                            Some(State::GivenUp) => Fate::Late,
                            Some(State::Waiting) => Fate::Answered {
                                datagram: sent(number),
                                is_reordered: latest > Some(number),
                            },
                        };
                        if let Fate::Answered { .. } = expected {
                            latest = latest.max(Some(number));
                        }
                        prop_assert_eq!(window.answer(number), expected);
                        table.entry(number).and_modify(|state| *state = State::Answered);
                    }
                }
                let waiting = table.values().filter(|state| **state == State::Waiting);
                prop_assert_eq!(window.waiting(), waiting.count());
            }
        }
    }
}
