//! When each message of an open loop is to be sent.
//!
//! Owns arithmetic alone: functions of a rate, a start and a number. Must never read a clock, and
//! must never forget: a message that could not be sent in time keeps the time it was meant for, and
//! its latency counts from there. A generator that asked "how long since the last message" instead
//! would send fewer while the target stalls, and so leave out of its numbers what every user would
//! have felt ("coordinated omission", Gil Tene).
//!
//! ```text
//!   message        0    1    2    3    4    5   …      the k-th at start + k / rate
//!   lane 0 of 3    ●              ●
//!   lane 1              ●              ●
//!   lane 2                   ●              ●
//! ```
//!
//! The times are exact to the nanosecond, however long the run. Each connection sends the messages
//! of its lane, so all together are evenly spaced, over any number of threads, and the threads need
//! not talk to each other.
//!
//! Tests: below, against a model that counts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::values::time::Time;

/// Messages a second, exact to a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pace(u64);

/// Units of [`Pace`] in one message a second.
const UNIT: u64 = 1000;

/// Nanoseconds of that many seconds.
const NANOS: u128 = 1_000_000_000 * UNIT as u128;

impl Pace {
    /// The lowest rate above none: one message in a thousand seconds.
    pub const LOWEST: Pace = Pace(1);
    /// One message a nanosecond: past it, a schedule has no times to tell messages apart.
    pub const HIGHEST: Pace = Pace(1_000_000_000 * UNIT);

    /// The nearest rate that there is.
    pub fn per_second(messages: f64) -> Pace {
        // A float turns into the nearest integer that there is, so nothing wraps.
        Pace((messages * UNIT as f64).round() as u64).clamp(Pace::LOWEST, Pace::HIGHEST)
    }

    /// Messages a second.
    pub fn get(self) -> f64 {
        self.0 as f64 / UNIT as f64
    }
}

/// As the command line takes it: `20000`, `100k`, `1.5M`, `0.5`.
impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Pace, String> {
        let wrong = || {
            format!(
                "a rate is messages a second, such as 20000, 100k, 1.5M or 0.5, and not '{}'",
                crate::values::escape::Escaped(text.as_bytes())
            )
        };
        let units = [("k", 1e3), ("M", 1e6), ("", 1.0)];
        let (number, unit) = units
            .iter()
            .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))
            .unwrap_or((text, &1.0));
        let is_plain = !number.is_empty()
            && number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.');
        let messages: f64 = number.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?;
        let messages = messages * unit;
        match messages {
            _ if messages < Pace::LOWEST.get() => {
                Err("a rate is at least 0.001 messages a second".into())
            }
            _ if messages > Pace::HIGHEST.get() => {
                Err("a rate is at most one message a nanosecond".into())
            }
            _ => Ok(Pace::per_second(messages)),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.get())
    }
}

/// The messages of one lane: of those due at a rate from a start on, the `lane`-th of every
/// `lanes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    rate: Pace,
    start: Time,
    lane: u64,
    lanes: u64,
}

impl Schedule {
    /// The messages `lane`, `lane + lanes`, `lane + 2 * lanes`, … of those due at `rate` from
    /// `start` on.
    ///
    /// # Panics
    ///
    /// Where there are no lanes.
    pub fn new(rate: Pace, start: Time, lane: u64, lanes: u64) -> Schedule {
        assert!(lanes > 0, "a schedule without lanes");
        Schedule {
            rate,
            start,
            lane,
            lanes,
        }
    }

    /// When the message `n` of this lane is meant to be sent.
    pub fn at(&self, n: u64) -> Time {
        // Less than 2^128 in any case; times the nanoseconds it may be more.
        let number = u128::from(self.lane) + u128::from(n) * u128::from(self.lanes);
        let nanos = number.saturating_mul(NANOS) / u128::from(self.rate.0);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many messages of this lane are meant to be sent at `now` or before.
    pub fn due(&self, now: Time) -> u64 {
        self.before(now + Duration::from_nanos(1))
    }

    /// How many are meant to be sent before `end`.
    pub fn before(&self, end: Time) -> u64 {
        // The k-th is, where ⌊k · NANOS / rate⌋ < elapsed, which is k < elapsed · rate / NANOS.
        let elapsed = u128::from((end - self.start).as_nanos() as u64);
        let all = (elapsed * u128::from(self.rate.0)).div_ceil(NANOS);
        let all = u64::try_from(all).unwrap_or(u64::MAX);
        if all <= self.lane {
            0
        } else {
            (all - self.lane - 1) / self.lanes + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Time {
        Time::ZERO + Duration::from_nanos(nanos)
    }

    #[test]
    fn rates_are_read_with_their_units() {
        for (text, expected) in [
            ("20000", 20_000.0),
            ("100k", 100_000.0),
            ("1.5M", 1_500_000.0),
            ("0.5", 0.5),
            ("0.001", 0.001),
            (".5k", 500.0),
        ] {
            assert_eq!(text.parse::<Pace>().map(Pace::get), Ok(expected), "{text}");
        }
        for text in [
            "", "k", "fast", "1e3", "-1", "inf", "NaN", "1 k", "1K", "1..2", "0x10",
        ] {
            assert!(
                text.parse::<Pace>()
                    .unwrap_err()
                    .contains("a rate is messages a second"),
                "{text}"
            );
        }
        assert!("0".parse::<Pace>().unwrap_err().contains("at least"));
        assert!("1001M".parse::<Pace>().unwrap_err().contains("at most"));
    }

    /// Not one message is gained or lost to rounding in a day, at a rate that divides nothing.
    #[test]
    fn a_day_is_as_exact_as_a_second() {
        let schedule = Schedule::new("20000.007".parse().unwrap(), Time::ZERO, 0, 1);
        let day = 86_400;
        assert_eq!(
            schedule.due(at(day * 1_000_000_000 - 1)),
            20_000_007 * day / 1000 + 1
        );
        assert_eq!(
            schedule.at(20_000_007 * 86_400 / 1000 + 1) - Time::ZERO,
            Duration::from_nanos(86_400_000_009_999)
        );
    }

    #[test]
    fn nothing_is_due_before_the_start_and_the_first_message_is_due_with_it() {
        let schedule = Schedule::new("1k".parse().unwrap(), at(5_000_000), 0, 2);
        assert_eq!(
            (schedule.due(at(4_999_999)), schedule.due(at(5_000_000))),
            (0, 1)
        );
        assert_eq!(
            (schedule.at(0), schedule.at(1)),
            (at(5_000_000), at(7_000_000))
        );
    }

    #[test]
    fn far_times_saturate() {
        let schedule = Schedule::new(Pace::LOWEST, at(1), u64::MAX, u64::MAX);
        assert_eq!(
            (schedule.at(u64::MAX), schedule.due(Time::NEVER)),
            (Time::NEVER, 0)
        );
        assert_eq!(
            Schedule::new(Pace::HIGHEST, at(0), 0, 1).before(at(u64::MAX)),
            u64::MAX
        );
    }

    proptest! {
        /// `due` counts exactly the times that `at` names.
        #[test]
        fn what_is_due_is_what_was_meant(
            millis in 1u64..3_000_000_000,
            start in 0u64..1000,
            lane in 0u64..60,
            lanes in 1u64..60,
            now in 0u64..1_000_000_000,
        ) {
            let schedule = Schedule::new(Pace(millis), at(start), lane, lanes);
            let due = schedule.due(at(now));
            if due > 0 {
                let last = schedule.at(due - 1);
                prop_assert!(last <= at(now), "{due} are due, the last at {last}");
            }
            let next = schedule.at(due);
            prop_assert!(next > at(now), "{due} are due, the next at {next}");
        }

        /// All lanes together are the whole schedule, each message once.
        #[test]
        fn lanes_share_the_messages_out(
            millis in 1u64..100_000_000,
            lanes in 1u64..20,
            now in 0u64..1_000_000_000,
        ) {
            let whole = Schedule::new(Pace(millis), Time::ZERO, 0, 1).due(at(now));
            let schedule = |lane| Schedule::new(Pace(millis), Time::ZERO, lane, lanes);
            let shares = (0..lanes).map(|lane| schedule(lane).due(at(now))).sum::<u64>();
            prop_assert_eq!(shares, whole);
        }
    }
}
