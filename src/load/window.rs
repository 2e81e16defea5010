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

/// Datagrams that were settled and are still told apart: an answer to an older one counts as a
/// duplicate, whatever it was. One bit each.
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

/// A number that may still be waited for.
#[derive(Clone, Copy, Debug)]
enum State {
    Waiting(Sent),
    Answered,
    /// No datagram has it, because it would look like the one so many before it.
    Skipped(u64),
}

/// The datagrams of one socket.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The number of the first one in `current`.
    base: u64,
    /// From the oldest that may still be answered in time.
    current: VecDeque<State>,
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
        self.current.push_back(State::Waiting(datagram));
        self.waiting += 1;
    }

    /// Numbers that are `period` apart look the same: passes over those that look like one that is
    /// still waited for. There must be fewer of these than `period`.
    pub fn skip_alike(&mut self, period: u64) {
        while let Some(before) = self.next().checked_sub(period) {
            let alike = self.sent_as(before);
            let is_waiting = alike >= self.base
                && matches!(
                    self.current[(alike - self.base) as usize],
                    State::Waiting(_)
                );
            if !is_waiting {
                break;
            }
            self.current.push_back(State::Skipped(period));
        }
    }

    /// The number of the latest datagram that looks like `seen`, where numbers look the same that
    /// have the same bits in `mask`. `None` if none was sent.
    pub fn latest_like(&self, seen: u64, mask: u64) -> Option<u64> {
        let last = self.next().checked_sub(1)?;
        let latest = last.checked_sub(last.wrapping_sub(seen) & mask)?;
        Some(self.sent_as(latest))
    }

    /// The number of the datagram that `number` was skipped for, or itself.
    fn sent_as(&self, mut number: u64) -> u64 {
        while number >= self.base {
            match self.current[(number - self.base) as usize] {
                State::Skipped(period) => number -= period,
                State::Waiting(_) | State::Answered => break,
            }
        }
        number
    }

    /// Notes that the datagram `number` was answered.
    pub fn answer(&mut self, number: u64) -> Fate {
        if number >= self.next() {
            return Fate::Unsent;
        }
        if number < self.base {
            let back = usize::try_from(self.base - number).unwrap_or(usize::MAX);
            // Nobody knows any more; one that counted as late would hide one that was lost.
            let Some(index) = self.past.len().checked_sub(back) else {
                return Fate::Duplicate;
            };
            let was_answered = std::mem::replace(&mut self.past[index], true);
            return if was_answered {
                Fate::Duplicate
            } else {
                Fate::Late
            };
        }
        let state = &mut self.current[(number - self.base) as usize];
        let State::Waiting(datagram) = *state else {
            return Fate::Duplicate;
        };
        *state = State::Answered;
        self.waiting -= 1;
        let is_reordered = number < self.expected;
        self.expected = self.expected.max(number + 1);
        self.settle_past();
        Fate::Answered {
            datagram,
            is_reordered,
        }
    }

    /// The oldest that has no answer yet, and its number: what an answer without a number is taken
    /// to answer.
    pub fn oldest(&self) -> Option<(u64, Sent)> {
        // Those before `base` are settled, so the first one here has no answer.
        match self.current.front() {
            Some(State::Waiting(datagram)) => Some((self.base, *datagram)),
            _ => None,
        }
    }

    /// Gives up the oldest.
    pub fn give_up(&mut self) -> Option<Sent> {
        let (_, datagram) = self.oldest()?;
        self.settle();
        self.waiting -= 1;
        self.settle_past();
        Some(datagram)
    }

    /// Moves all before the oldest that has no answer to the past.
    fn settle_past(&mut self) {
        while let Some(State::Answered | State::Skipped(_)) = self.current.front() {
            self.settle();
        }
    }

    /// Moves the first one to the past.
    fn settle(&mut self) {
        let was_answered = match self.current.pop_front() {
            Some(State::Answered) => true,
            // What comes for it is an answer to the one before it.
            Some(State::Skipped(period)) => usize::try_from(period)
                .ok()
                .and_then(|back| self.past.len().checked_sub(back))
                .is_some_and(|index| self.past[index]),
            Some(State::Waiting(_)) | None => false,
        };
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
            (Fate::Duplicate, Fate::Duplicate)
        );
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Known {
        Waiting,
        Answered,
        GivenUp,
    }

    /// Four numbers look the same each: one that is waited for is never taken for another.
    #[test]
    fn a_number_that_is_in_use_is_passed_over() {
        let mut window = Window::default();
        let send = |window: &mut Window| {
            window.skip_alike(4);
            let number = window.next();
            window.send(sent(number));
            number
        };
        let like = |window: &Window, seen| window.latest_like(seen, 3);
        assert_eq!(like(&window, 0), None);
        assert_eq!([(); 3].map(|()| send(&mut window)), [0, 1, 2]);
        assert_eq!((like(&window, 3), like(&window, 1)), (None, Some(1)));
        assert!(matches!(window.answer(1), Fate::Answered { .. }));
        // 0 and 2 are waited for, so 4 and 6 are not used.
        assert_eq!([(); 2].map(|()| send(&mut window)), [3, 5]);
        assert_eq!((like(&window, 4), like(&window, 5)), (Some(0), Some(5)));
        assert!(matches!(window.answer(3), Fate::Answered { .. }));
        assert_eq!(send(&mut window), 7);
        // 0 is given up: its number is used again, and until then what comes for it is late.
        assert_eq!(window.give_up(), Some(sent(0)));
        assert_eq!(like(&window, 0), Some(0));
        assert_eq!(window.answer(0), Fate::Late);
        assert_eq!(window.answer(0), Fate::Duplicate);
        assert_eq!(window.give_up(), Some(sent(2)));
        // Both 4 and 6 are settled now, and what comes for them came, or did not, for 0 and 2.
        assert!(matches!(window.answer(5), Fate::Answered { .. }));
        assert_eq!(window.answer(like(&window, 0).unwrap()), Fate::Duplicate);
        assert_eq!(window.answer(like(&window, 2).unwrap()), Fate::Late);
        assert_eq!(window.answer(like(&window, 2).unwrap()), Fate::Duplicate);
        assert_eq!(send(&mut window), 8);
    }

    proptest! {
        #[test]
        fn every_datagram_has_the_fate_that_a_table_gives_it(
            steps in prop::collection::vec((0u8..8, 0u64..40), 1..300),
        ) {
            let (mut window, mut table) = (Window::default(), BTreeMap::<u64, Known>::new());
            let mut latest = None;
            for (action, number) in steps {
                match action {
                    0..3 => {
                        let next = table.len() as u64;
                        prop_assert_eq!(window.next(), next);
                        window.send(sent(next));
                        table.insert(next, Known::Waiting);
                    }
                    3 => {
                        let oldest = table.iter().find(|(_, state)| **state == Known::Waiting);
                        let oldest = oldest.map(|(number, _)| *number);
                        let expected = oldest.map(|number| (number, sent(number)));
                        prop_assert_eq!(window.oldest(), expected);
                        prop_assert_eq!(window.give_up(), oldest.map(sent));
                        oldest.and_then(|number| table.insert(number, Known::GivenUp));
                    }
                    _ => {
                        let expected = match table.get(&number) {
                            None => Fate::Unsent,
                            Some(Known::Answered) => Fate::Duplicate,
                            Some(Known::GivenUp) => Fate::Late,
                            Some(Known::Waiting) => Fate::Answered {
                                datagram: sent(number),
                                is_reordered: latest > Some(number),
                            },
                        };
                        if let Fate::Answered { .. } = expected {
                            latest = latest.max(Some(number));
                        }
                        prop_assert_eq!(window.answer(number), expected);
                        table.entry(number).and_modify(|state| *state = Known::Answered);
                    }
                }
                let waiting = table.values().filter(|state| **state == Known::Waiting);
                prop_assert_eq!(window.waiting(), waiting.count());
            }
        }
    }
}
