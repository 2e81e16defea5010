//! When which connection is opened.
//!
//! Owns the order and the pace of the openings of one generator. Pure: slots and times in, slots
//! out. Must never let a pause earn a burst: after one, at most [`CREDIT`] is made up for.
//!
//! Tests: below.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::pace::Pace;
use crate::values::time::Time;

/// How much a pace may be behind and catch up: what a sleep may end late, several times over.
const CREDIT: Duration = Duration::from_millis(20);

/// Slots that are to be opened.
#[derive(Debug)]
pub(super) struct Openings {
    /// Soonest first.
    due: BinaryHeap<Reverse<(Time, usize)>>,
    /// From one to the next at least.
    interval: Duration,
    /// The next one no sooner than this.
    allowed: Time,
    /// Until when none could be opened, because there was no room.
    held_until: Time,
}

impl Openings {
    /// At most `rate` a second.
    pub(super) fn new(rate: Option<Pace>) -> Openings {
        let interval = rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(1.0 / rate.get())
        });
        Openings {
            due: BinaryHeap::new(),
            interval,
            allowed: Time::ZERO,
            held_until: Time::ZERO,
        }
    }

    /// A slot is to be opened `at` or later.
    pub(super) fn push(&mut self, at: Time, slot: usize) {
        self.due.push(Reverse((at, slot)));
    }

    /// Whether none is to be opened.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// None is to be opened any more.
    pub(super) fn clear(&mut self) {
        self.due.clear();
    }

    /// When the next one may be.
    pub(super) fn next(&self) -> Time {
        self.due
            .peek()
            .map_or(Time::NEVER, |Reverse((at, _))| (*at).max(self.allowed))
    }

    /// Notes that none can be opened `now`, although one may be due.
    pub(super) fn hold(&mut self, now: Time) {
        self.held_until = now;
    }

    /// The slot that is to be opened `now`, and until when the pace or the room held it back.
    pub(super) fn pop(&mut self, now: Time) -> Option<(usize, Time)> {
        if self.next() > now {
            return None;
        }
        let Reverse((_, slot)) = self.due.pop()?;
        let held_until = self.allowed.max(self.held_until);
        self.allowed = self.allowed.max(now.before(CREDIT)) + self.interval;
        Some((slot, held_until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// How many are opened until `end`, looked at every millisecond, from each of `begins` on.
    fn opened(openings: &mut Openings, from: u64, end: u64) -> usize {
        (from..end)
            .map(|now| std::iter::from_fn(|| openings.pop(at(now))).count())
            .sum()
    }

    #[test]
    fn the_pace_is_kept_and_a_pause_earns_no_burst() {
        let mut openings = Openings::new(Some(Pace::per_second(150.0)));
        (0..10_000).for_each(|slot| openings.push(Time::ZERO, slot));
        let first = opened(&mut openings, 1000, 3000);
        assert!((300..=304).contains(&first), "{first}");
        // Nobody looked for a minute.
        let second = opened(&mut openings, 63_000, 64_000);
        assert!((150..=154).contains(&second), "{second}");
    }

    #[test]
    fn without_a_pace_all_that_is_due_is_opened_and_in_its_order() {
        let mut openings = Openings::new(None);
        [(5, 1), (3, 2), (9, 3)]
            .into_iter()
            .for_each(|(millis, slot)| openings.push(at(millis), slot));
        assert_eq!((openings.next(), openings.pop(at(2))), (at(3), None));
        assert_eq!(
            [
                openings.pop(at(6)),
                openings.pop(at(6)),
                openings.pop(at(6))
            ],
            [Some((2, at(0))), Some((1, at(0))), None]
        );
        // While there was no room, nobody was late.
        openings.hold(at(20));
        assert_eq!(
            (openings.pop(at(21)), openings.next()),
            (Some((3, at(20))), Time::NEVER)
        );
    }
}
