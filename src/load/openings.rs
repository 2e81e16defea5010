//! When which connection is opened.
//!
//! Owns the order and the pace of the openings of one generator, and how many handshakes are in
//! flight. Pure: slots and times in, slots
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

/// Handshakes that are in flight where the way is short, and begin within [`INTERVAL`] where it is
/// long: less than any backlog, so that none has to wait for its second attempt.
const FEW: usize = 64;

/// Within which no more than those begin while as many are in flight.
const INTERVAL: Duration = Duration::from_millis(10);

/// How many handshakes may be in flight.
///
/// On a short way few are, because each is over at once. On a long one many are although few begin:
/// 500 a second over 200 ms are 100. A limit on those in flight alone would hold the run up.
#[derive(Debug)]
pub(super) struct Handshakes {
    most: usize,
    /// Those that began since some time.
    since: Time,
    begun: usize,
}

impl Handshakes {
    /// At most `most` in flight.
    pub(super) fn new(most: usize) -> Handshakes {
        Handshakes {
            most: most.max(1),
            since: Time::ZERO,
            begun: 0,
        }
    }

    /// When the next one may begin while `connecting` are in flight; [`Time::NEVER`] until one
    /// ends.
    pub(super) fn next(&self, now: Time, connecting: usize) -> Time {
        if connecting >= self.most {
            Time::NEVER
        } else if connecting < FEW || self.begun < FEW {
            now
        } else {
            now.max(self.since + INTERVAL)
        }
    }

    /// One begins.
    pub(super) fn begin(&mut self, now: Time) {
        if now >= self.since + INTERVAL {
            (self.since, self.begun) = (now, 0);
        }
        self.begun += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// How many are in flight at the most, and how long all of `count` take to begin, if `rate`
    /// become due in a millisecond and each takes `round_trip`.
    fn flight(count: usize, rate: usize, round_trip: u64) -> (usize, u64) {
        let mut handshakes = Handshakes::new(4096);
        let (mut in_flight, mut begun, mut most) = (Vec::new(), 0, 0);
        for now in 1000.. {
            in_flight.retain(|ends| *ends > now);
            let due = count.min(rate * (now - 999) as usize);
            while begun < due && handshakes.next(at(now), in_flight.len()) <= at(now) {
                handshakes.begin(at(now));
                in_flight.push(now + round_trip);
                begun += 1;
            }
            most = most.max(in_flight.len());
            if begun == count {
                return (most, now - 1000);
            }
        }
        unreachable!()
    }

    #[test]
    fn a_long_way_holds_no_handshake_up_and_a_burst_is_spread() {
        // 1,000 a second over 200 ms: each begins when it is due.
        assert_eq!(flight(1000, 1, 200), (200, 999));
        // 10,000 that are all due at once.
        let (most, took) = flight(10_000, 10_000, 200);
        assert!(
            most <= 64 * 21 && (1500..1700).contains(&took),
            "{most} {took}"
        );
        // On a short way they are limited by those in flight alone.
        assert_eq!(flight(10_000, 10_000, 1), (64, 156));
        let none = Handshakes::new(2);
        assert_eq!(none.next(at(5), 2), Time::NEVER);
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
