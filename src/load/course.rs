//! The rate of an open loop over time: stages that follow each other.
//!
//! Owns the sum of the rate, which is how many messages are due up to a time, and its inverse. Both
//! are integers, so a day is as exact as a second. Must never know how messages are distributed:
//! that is `schedule`.
//!
//! ```text
//!   rate      ┌─────┐               sum        ╭────    sum(t): the area below the rate
//!          ╱│     │                        ╱          at(s):  the last time with no larger sum
//!        ╱  │     └────               ╭╱
//!      ╱    │                     ___╱
//!     ramp  step  step              0 ──────────▶ t
//! ```
//!
//! Tests: below, against a model that adds up.

use std::str::FromStr;
use std::time::Duration;

use super::pace::Pace;

/// Units of a sum in one message: a sum is in thousandths of a message a second, times
/// nanoseconds.
pub(super) const MESSAGE: u128 = 1_000_000_000_000;

/// A part of a course: a rate that is steady, or changes evenly from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The rate at its beginning.
    pub from: Pace,
    /// The rate at its end.
    pub to: Pace,
    /// How long it takes.
    pub length: Duration,
}

impl Stage {
    /// A stage of one rate.
    pub fn steady(rate: Pace, length: Duration) -> Stage {
        Stage {
            from: rate,
            to: rate,
            length,
        }
    }

    /// The rate in the middle of it.
    pub fn mean(&self) -> f64 {
        (self.from.get() + self.to.get()) / 2.0
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The sum of its first `nanos`, rounded down.
    fn sum(&self, nanos: u64) -> u128 {
        let (from, to) = (self.from.thousandths(), self.to.thousandths());
        let steady = u128::from(from) * u128::from(nanos);
        if from == to {
            return steady;
        }
        // (to - from) · t² / 2T, in two steps, so that nothing overflows.
        let change = u128::from(from.abs_diff(to));
        let twice = 2 * u128::from(self.nanos()).max(1);
        let square = u128::from(nanos) * u128::from(nanos);
        let (whole, part) = (square / twice, square % twice);
        if to > from {
            steady + change * whole + change * part / twice
        } else {
            steady - change * whole - (change * part).div_ceil(twice)
        }
    }

    /// The last time in it whose sum is at most `sum`, which is below that of the whole stage.
    fn at(&self, sum: u128) -> u64 {
        if self.from == self.to {
            let rate = u128::from(self.from.thousandths()).max(1);
            return u64::try_from(sum / rate).unwrap_or(u64::MAX);
        }
        // A root in floats is some nanoseconds off at most: integers decide.
        let (from, to) = (self.from.thousandths() as f64, self.to.thousandths() as f64);
        let root = (from * from + 2.0 * (to - from) * sum as f64 / self.nanos() as f64)
            .max(0.0)
            .sqrt();
        let guess = (2.0 * sum as f64 / (from + root).max(f64::MIN_POSITIVE)) as u64;
        let fits = |nanos: u64| self.sum(nanos) <= sum;
        let (mut low, mut high, mut step) = (guess.min(self.nanos()), self.nanos(), 1);
        while !fits(low) {
            (low, high) = (low.saturating_sub(step), low);
            step *= 2;
        }
        step = 1;
        while high - low > step && fits(low + step) {
            low += step;
            step *= 2;
        }
        high = high.min(low.saturating_add(step));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// As the command line takes it: `1000:10s`, `0..5k:1m`.
impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Stage, String> {
        let (rates, length) = text.split_once(':').ok_or(
            "a stage is RATE:D or RATE..RATE:D, such as 1000:10s, 0..5k:1m or, as a pause, 0:5s",
        )?;
        let rate = |text: &str| match text {
            "0" => Ok(Pace::NONE),
            text => text.parse::<Pace>(),
        };
        let (from, to) = rates.split_once("..").unwrap_or((rates, rates));
        let digits = length.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let unit = match &length[digits.len()..] {
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => 0,
        };
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let nanos: Option<u64> = digits
            .parse()
            .ok()
            .filter(|_| is_plain)
            .and_then(|number: u64| number.checked_mul(unit));
        match nanos {
            // Several of them, and a warm-up, have to fit into the clock's 584 years.
            Some(nanos) if nanos > 0 && nanos < u64::MAX / 4096 => Ok(Stage {
                from: rate(from)?,
                to: rate(to)?,
                length: Duration::from_nanos(nanos),
            }),
            _ => Err(
                "the duration of a stage is a whole number with its unit, at least 1us and at \
                 most 1000h, such as 500ms, 30s or 5m"
                    .into(),
            ),
        }
    }
}

/// In which of `stages` something falls that is so long after the beginning of the first.
pub fn stage_of(stages: &[Stage], since: Duration) -> Option<usize> {
    let mut end = Duration::ZERO;
    stages.iter().position(|stage| {
        end += stage.length;
        since < end
    })
}

/// A stage in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    stage: Stage,
    /// When it begins, in nanoseconds, and the sum up to there.
    begin: u64,
    before: u128,
}

/// Stages, one after the other. Behind the last one the rate is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    parts: Vec<Part>,
    total: u128,
}

impl Course {
    /// These stages.
    pub fn new(stages: impl IntoIterator<Item = Stage>) -> Course {
        let (mut parts, mut begin, mut before) = (Vec::new(), 0u64, 0);
        for stage in stages {
            parts.push(Part {
                stage,
                begin,
                before,
            });
            before += stage.sum(stage.nanos());
            begin = begin.saturating_add(stage.nanos());
        }
        Course {
            parts,
            total: before,
        }
    }

    /// One rate without an end.
    pub fn steady(rate: Pace) -> Course {
        Course::new([Stage::steady(rate, Duration::from_nanos(u64::MAX))])
    }

    /// The sum of the first `nanos`.
    pub(super) fn sum(&self, nanos: u64) -> u128 {
        let index = self.parts.partition_point(|part| part.begin <= nanos);
        let Some(part) = index.checked_sub(1).and_then(|index| self.parts.get(index)) else {
            return 0;
        };
        part.before + part.stage.sum((nanos - part.begin).min(part.stage.nanos()))
    }

    /// The last time, in nanoseconds, whose sum is at most `sum`; `None` where all are.
    pub(super) fn at(&self, sum: u128) -> Option<u64> {
        if sum >= self.total {
            return None;
        }
        let index = self.parts.partition_point(|part| part.before <= sum);
        let part = self.parts.get(index.checked_sub(1)?)?;
        Some(part.begin.saturating_add(part.stage.at(sum - part.before)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stage(text: &str) -> Stage {
        text.parse().unwrap()
    }

    #[test]
    fn stages_are_read() {
        let pace = |rate: &str| rate.parse::<Pace>().unwrap();
        assert_eq!(
            stage("1000:10s"),
            Stage::steady(pace("1k"), Duration::from_secs(10))
        );
        let ramp = stage("0..5k:1m");
        assert_eq!(
            (ramp.from, ramp.to, ramp.length),
            (Pace::NONE, pace("5k"), Duration::from_secs(60))
        );
        assert_eq!(stage("0:250ms").from, Pace::NONE);
        for (text, why) in [
            ("1000", "a stage is"),
            ("fast:1s", "a rate is"),
            ("1..x:1s", "a rate is"),
            ("1..2..3:1s", "a rate is"),
            ("1:", "the duration"),
            ("1:5", "the duration"),
            ("1:0s", "the duration"),
            ("1:+5s", "the duration"),
            ("1:1.5s", "the duration"),
            ("1:999999999999h", "the duration"),
        ] {
            let said = text.parse::<Stage>().unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_stage_integrates_to_the_area_below_it() {
        let course = Course::new([
            stage("100:2s"),
            stage("0:1s"),
            stage("0..1000:4s"),
            stage("1000..200:2s"),
        ]);
        let messages = |millis: u64| course.sum(millis * 1_000_000) / MESSAGE;
        for (millis, expected) in [
            (0, 0),
            (1_000, 100),
            (2_000, 200),
            (2_500, 200),
            (3_000, 200),
            (5_000, 200 + 500),
            (7_000, 200 + 2_000),
            (9_000, 200 + 2_000 + 1_200),
            (99_000, 200 + 2_000 + 1_200),
        ] {
            assert_eq!(messages(millis), expected, "{millis} ms");
        }
        // A pause has no messages: what would fall on its beginning falls behind its end, where
        // the sum begins to grow.
        let behind = course.at(200 * MESSAGE).unwrap();
        assert!((3_000_000_000..3_000_000_100).contains(&behind), "{behind}");
        assert_eq!(course.at(3_400 * MESSAGE), None);
    }

    #[test]
    fn times_belong_to_stages() {
        let stages = [stage("1:2s"), stage("0:1s"), stage("5:1s")];
        let of = |millis| stage_of(&stages, Duration::from_millis(millis));
        assert_eq!(
            [0, 1_999, 2_000, 2_999, 3_000, 3_999, 4_000].map(of),
            [Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), None]
        );
    }

    proptest! {
        /// `at` is the inverse of `sum`, over ramps up and down, steps and pauses.
        #[test]
        fn the_inverse_is_exact(
            parts in proptest::collection::vec(
                (0u64..2_000_000_000, 0u64..2_000_000_000, 1u64..100_000_000_000_000), 1..5),
            at in 0u128..1_000_000,
        ) {
            let rate = |thousandths: u64| if thousandths < 300_000_000 {
                Pace::NONE
            } else {
                Pace::per_second(thousandths as f64 / 1e3)
            };
            let course = Course::new(parts.iter().map(|(from, to, length)| Stage {
                from: rate(*from),
                to: rate(*to),
                length: Duration::from_nanos(*length),
            }));
            let sum = course.total * at / 1_000_000;
            if let Some(time) = course.at(sum) {
                prop_assert!(course.sum(time) <= sum);
                prop_assert!(course.sum(time + 1) > sum);
            } else {
                prop_assert_eq!(sum, course.total);
            }
        }
    }
}
