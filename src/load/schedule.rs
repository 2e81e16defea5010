//! When each message of an open loop is to be sent.
//!
//! Owns arithmetic alone: functions of a rate, a seed, a start and what was taken before. Must
//! never read a clock, and must never forget: a message that could not be sent in time keeps the
//! time it was meant for, and its latency counts from there. A generator that asked "how long since
//! the last message" instead would send fewer while the target stalls, and so leave out of its
//! numbers what every user would have felt ("coordinated omission", Gil Tene).
//!
//! ```text
//!   poisson   ●  ●      ●●    ●        ●  ●    gaps are exponential: users who know nothing of
//!                                              each other
//!   uniform   ●    ●    ●    ●    ●    ●       a grid: the k-th at start + k / rate
//! ```
//!
//! **Poisson** is the default. A grid meets each periodic work of the target in one phase of it:
//! against a target that answers on ticks of 10 ms, the same command gave medians of 0.7 to 7.9 ms
//! in five runs (the truth is 5 ms). A grid also has no bursts, so it flatters: a queue with a
//! service time of 1 ms keeps p99 below 5 ms up to 958/s on a grid, and up to 560/s with arrivals
//! that are independent of each other.
//!
//! **Lanes.** Each connection sends the messages of its lane. Independent Poisson lanes add up to a
//! Poisson process at the whole rate, and the lanes of a grid to the grid, so the threads need not
//! talk to each other.
//!
//! **Exactness.** A message is a point on the axis of the [`Course`]'s sum, an integer; its time is
//! the inverse of the sum there. So stages and ramps need nothing of their own, and a day is as
//! exact as a second.
//!
//! Tests: below; `tests/load_simulation.rs` tests what a generator sends.

use std::time::Duration;

use super::course::{Course, MESSAGE};
use crate::values::dice::Dice;
use crate::values::time::Time;

/// How messages are spread over the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Independent of each other: exponential gaps.
    Poisson,
    /// Evenly.
    Uniform,
}

/// Messages of a lane that were never sent and are counted one by one, at most: 20 ms of work.
const WALKED: u64 = 1_000_000;

impl Arrivals {
    /// One word, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Arrivals::Poisson => "poisson",
            Arrivals::Uniform => "uniform",
        }
    }
}

/// A part of the axis that has an exact number of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    from: u128,
    to: u128,
    messages: u64,
}

/// The messages of all lanes.
#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    seed: u64,
    course: Course,
    start: Time,
    lanes: u64,
    counted: Option<Counted>,
}

/// One lane, and how far it has come.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Its next message: the point on the axis, and the time.
    point: u128,
    at: Time,
    dice: Dice,
    /// Messages that it still has in the counted part.
    left: u64,
    /// A message that was given back, and is the next one again; [`Time::NEVER`] if there is none.
    returned: Time,
}

impl Schedule {
    /// The messages of `course`, which begins at `start`, over `lanes`.
    ///
    /// # Panics
    ///
    /// If there are no lanes.
    pub fn new(arrivals: Arrivals, seed: u64, course: Course, start: Time, lanes: u64) -> Schedule {
        assert!(lanes > 0, "a schedule without lanes");
        Schedule {
            arrivals,
            seed,
            course,
            start,
            lanes,
            counted: None,
        }
    }

    /// The same, with exactly `messages` from `from` on. They take as long as so many take at the
    /// rate: see [`Schedule::end`].
    pub fn with_messages(self, messages: u64, from: Time) -> Schedule {
        let from = self.sum(from);
        // A grid has its next point there; independent points have none.
        let from = match self.arrivals {
            Arrivals::Poisson => from,
            Arrivals::Uniform => from.div_ceil(MESSAGE) * MESSAGE,
        };
        Schedule {
            counted: Some(Counted {
                from,
                to: from + u128::from(messages) * MESSAGE,
                messages,
            }),
            ..self
        }
    }

    /// The end of the messages that were counted out; [`Time::NEVER`] if none were.
    pub fn end(&self) -> Time {
        match (self.counted, self.arrivals) {
            (None, _) => Time::NEVER,
            // The first time by which all of them are due.
            (Some(counted), Arrivals::Poisson) => {
                self.time(counted.to.saturating_sub(1)) + Duration::from_nanos(1)
            }
            // When the first one behind them would be due.
            (Some(counted), Arrivals::Uniform) => self.time(counted.to),
        }
    }

    /// The lane of the number `number`, at its beginning.
    pub fn lane(&self, number: u64) -> Lane {
        // Twice, so that no two lanes, nor two seeds, run through one sequence.
        let own = number.wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mut lane = Lane {
            point: 0,
            at: Time::NEVER,
            dice: Dice::new(Dice::new(self.seed ^ own).roll()),
            left: 0,
            returned: Time::NEVER,
        };
        if let Some(counted) = self.counted {
            let share = |lane: u64| {
                u128::from(counted.messages) * u128::from(lane) / u128::from(self.lanes)
            };
            lane.left = (share(number + 1) - share(number)) as u64;
        }
        match self.arrivals {
            Arrivals::Poisson => self.step(&mut lane),
            Arrivals::Uniform => lane.point = u128::from(number) * MESSAGE,
        }
        lane.at = self.time(lane.point);
        lane
    }

    /// When the next message of a lane is meant to be sent; [`Time::NEVER`] if there is none.
    #[inline]
    pub fn next(&self, lane: &Lane) -> Time {
        lane.at.min(lane.returned)
    }

    /// Takes the next message of a lane: the one behind it is the next.
    #[inline]
    pub fn take(&self, lane: &mut Lane) {
        if lane.returned < Time::NEVER {
            lane.returned = Time::NEVER;
            return;
        }
        self.step(lane);
        lane.at = self.time(lane.point);
    }

    /// The message that was taken last, for `intended`, is the next one again.
    pub fn give_back(&self, lane: &mut Lane, intended: Time) {
        lane.returned = intended;
    }

    /// How many messages of a lane, of those not taken yet, are meant to be sent from `from` on and
    /// before `end`.
    pub fn between(&self, lane: &Lane, from: Time, end: Time) -> u64 {
        // A time is before `end` if the sum up to `end` is above the point.
        let (low, high) = (self.sum(from), self.sum(end));
        let is_returned = lane.returned >= from && lane.returned < end;
        let rest = match self.arrivals {
            Arrivals::Uniform => {
                let step = u128::from(self.lanes) * MESSAGE;
                let below = |sum: u128| sum.saturating_sub(lane.point).div_ceil(step);
                u64::try_from(below(high).saturating_sub(below(low))).unwrap_or(u64::MAX)
            }
            // So many that nobody counts them: as many as there are in the mean.
            Arrivals::Poisson if self.counted.is_none() && self.mean(lane, high) > WALKED => {
                self.mean(lane, high) - self.mean(lane, low)
            }
            Arrivals::Poisson => {
                let (mut lane, mut count) = (lane.clone(), 0);
                while lane.point < high {
                    count += u64::from(lane.point >= low);
                    self.step(&mut lane);
                }
                count
            }
        };
        rest + u64::from(is_returned)
    }

    /// How many messages of a lane lie between its next one and a point of the axis, in the mean.
    fn mean(&self, lane: &Lane, point: u128) -> u64 {
        let step = u128::from(self.lanes) * MESSAGE;
        u64::try_from(point.saturating_sub(lane.point) / step).unwrap_or(u64::MAX)
    }

    /// Moves a lane to its next point.
    fn step(&self, lane: &mut Lane) {
        if self.arrivals == Arrivals::Uniform {
            lane.point = lane.point.saturating_add(u128::from(self.lanes) * MESSAGE);
            return;
        }
        // Above zero, so that its logarithm is finite.
        let uniform = ((lane.dice.roll() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        if let Some(counted) = self.counted.filter(|counted| lane.point >= counted.from) {
            return Lane::step_counted(lane, counted, uniform);
        }
        let gap = -uniform.ln() * self.lanes as f64 * MESSAGE as f64;
        lane.point = lane.point.saturating_add(gap as u128);
        // A Poisson process has no memory: the gap that leads over the border is as good as none.
        if let Some(counted) = self.counted.filter(|counted| lane.point >= counted.from) {
            lane.point = counted.from;
            self.step(lane);
        }
    }

    /// The messages up to a time, in units of the axis.
    fn sum(&self, time: Time) -> u128 {
        self.course.sum((time - self.start).as_nanos() as u64)
    }

    fn time(&self, point: u128) -> Time {
        self.course.at(point).map_or(Time::NEVER, |nanos| {
            self.start + Duration::from_nanos(nanos)
        })
    }
}

impl Lane {
    /// Of `left` points that fall anywhere on what is left of the counted part, the first: the
    /// smallest of so many uniform numbers.
    fn step_counted(lane: &mut Lane, counted: Counted, uniform: f64) {
        if lane.left == 0 {
            lane.point = u128::MAX;
            return;
        }
        let share = -(uniform.ln() / lane.left as f64).exp_m1();
        let rest = counted.to.saturating_sub(lane.point);
        let next = lane.point + (rest as f64 * share) as u128;
        lane.point = next.min(counted.to.saturating_sub(1));
        lane.left -= 1;
    }
}

/// The lanes of one generator.
#[derive(Debug)]
pub(super) struct Timetable {
    schedule: Schedule,
    lanes: Vec<Lane>,
}

impl Timetable {
    /// `count` lanes, from the number `first` on.
    pub(super) fn new(schedule: Schedule, first: u64, count: u64) -> Timetable {
        let lanes = (first..first + count)
            .map(|number| schedule.lane(number))
            .collect();
        Timetable { schedule, lanes }
    }

    #[inline]
    pub(super) fn next(&self, slot: usize) -> Time {
        self.schedule.next(&self.lanes[slot])
    }

    #[inline]
    pub(super) fn take(&mut self, slot: usize) {
        self.schedule.take(&mut self.lanes[slot]);
    }

    pub(super) fn give_back(&mut self, slot: usize, intended: Time) {
        self.schedule.give_back(&mut self.lanes[slot], intended);
    }

    /// Whether a message that is meant to be sent before `end` has not been taken.
    pub(super) fn is_behind(&self, end: Time) -> bool {
        self.lanes.iter().any(|lane| self.schedule.next(lane) < end)
    }

    /// About how many messages that are meant to be sent before `now` have not been taken: of each
    /// lane its next one, and those behind it as in the mean.
    pub(super) fn overdue(&self, now: Time) -> u64 {
        let sum = self.schedule.sum(now);
        self.lanes
            .iter()
            .filter(|lane| self.schedule.next(lane) < now)
            .map(|lane| 1 + self.schedule.mean(lane, sum))
            .sum()
    }

    /// How many messages of a slot that are meant to be sent from `from` on and before `end` have
    /// not been taken.
    pub(super) fn behind(&self, slot: usize, from: Time, end: Time) -> u64 {
        self.schedule.between(&self.lanes[slot], from, end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::course::Stage;
    use super::super::pace::Pace;
    use super::*;

    const BOTH: [Arrivals; 2] = [Arrivals::Poisson, Arrivals::Uniform];

    fn at(nanos: u64) -> Time {
        Time::ZERO + Duration::from_nanos(nanos)
    }

    fn grid(rate: &str, start: u64, lanes: u64) -> Schedule {
        let course = Course::steady(rate.parse().unwrap());
        Schedule::new(Arrivals::Uniform, 0, course, at(start), lanes)
    }

    /// All times of a lane before `end`.
    fn times(schedule: &Schedule, number: u64, end: Time) -> Vec<Time> {
        let mut lane = schedule.lane(number);
        std::iter::from_fn(|| {
            let next = schedule.next(&lane);
            schedule.take(&mut lane);
            Some(next)
        })
        .take_while(|time| *time < end)
        .collect()
    }

    /// Those of all lanes, in order.
    fn all(schedule: &Schedule, end: Time) -> Vec<Time> {
        let mut all: Vec<Time> = (0..schedule.lanes)
            .flat_map(|number| times(schedule, number, end))
            .collect();
        all.sort_unstable();
        all
    }

    /// Not one message is gained or lost to rounding in a day, at a rate that divides nothing.
    #[test]
    fn a_day_is_as_exact_as_a_second() {
        let schedule = grid("20000.007", 0, 1);
        let lane = schedule.lane(0);
        let (day, count) = (86_400 * 1_000_000_000, 20_000_007 * 86_400 / 1000 + 1);
        assert_eq!(schedule.between(&lane, Time::ZERO, at(day)), count);
        let last = Lane {
            point: u128::from(count) * MESSAGE,
            ..lane
        };
        assert_eq!(
            schedule.time(last.point) - Time::ZERO,
            Duration::from_nanos(86_400_000_009_999)
        );
    }

    #[test]
    fn a_grid_begins_with_the_start_and_its_lanes_take_turns() {
        let schedule = grid("1k", 5_000_000, 2);
        assert_eq!(
            all(&schedule, at(9_000_000)),
            [5, 6, 7, 8].map(|millis| at(millis * 1_000_000))
        );
        assert_eq!(
            times(&schedule, 1, at(9_000_000)),
            [6, 8].map(|millis| at(millis * 1_000_000))
        );
        let lane = schedule.lane(0);
        assert_eq!(schedule.between(&lane, Time::ZERO, at(5_000_000)), 0);
        assert_eq!(schedule.between(&lane, Time::ZERO, at(5_000_001)), 1);
    }

    #[test]
    fn far_times_saturate() {
        let course = Course::steady(Pace::LOWEST);
        let schedule = Schedule::new(Arrivals::Uniform, 0, course, at(1), u64::MAX);
        let mut lane = schedule.lane(u64::MAX);
        schedule.take(&mut lane);
        assert_eq!(schedule.next(&lane), Time::NEVER);
        assert_eq!(schedule.between(&lane, Time::ZERO, Time::NEVER), 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
        let of = |seed| {
            let course = Course::steady(Pace::per_second(1e4));
            let schedule = Schedule::new(Arrivals::Poisson, seed, course, at(7), 3);
            all(&schedule, at(100_000_000))
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn what_was_given_back_is_the_next_again() {
        for arrivals in BOTH {
            let course = Course::steady(Pace::per_second(1e4));
            let schedule = Schedule::new(arrivals, 5, course, at(0), 2);
            let mut lane = schedule.lane(1);
            let (first, end) = (schedule.next(&lane), at(1_000_000_000));
            let before = schedule.between(&lane, Time::ZERO, end);
            schedule.take(&mut lane);
            let second = schedule.next(&lane);
            assert_eq!(schedule.between(&lane, Time::ZERO, end), before - 1);
            schedule.give_back(&mut lane, first);
            assert_eq!(schedule.next(&lane), first);
            assert_eq!(schedule.between(&lane, Time::ZERO, end), before);
            schedule.take(&mut lane);
            assert_eq!(schedule.next(&lane), second);
        }
    }

    /// The gaps of all lanes together are exponential: mean and variance, and how many fall below
    /// the mean (1 - 1/e).
    #[test]
    fn lanes_add_up_to_a_poisson_process() {
        let course = Course::steady(Pace::per_second(1e5));
        let schedule = Schedule::new(Arrivals::Poisson, 11, course, at(0), 7);
        let times = all(&schedule, at(1_000_000_000));
        let gaps: Vec<f64> = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e5)
            .collect();
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        let below = gaps.iter().filter(|gap| **gap < 1.0).count() as f64 / count;
        let close = |value: f64, expected: f64| (value - expected).abs() < 0.02;
        assert!(
            close(mean, 1.0) && close(variance, 1.0),
            "{mean} {variance}"
        );
        assert!(close(below, 1.0 - (-1f64).exp()), "{below}");
    }

    /// Ramps and pauses have the messages that the area below the rate says.
    #[test]
    fn stages_have_the_messages_of_their_area() {
        let stages: Vec<Stage> = ["2000:1s", "0:1s", "0..20k:2s", "20k..0:1s"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for arrivals in BOTH {
            let schedule = Schedule::new(arrivals, 3, Course::new(stages.clone()), at(0), 4);
            let times = all(&schedule, Time::NEVER);
            for (from, to, expected) in [
                (0, 1, 2_000.0),
                (1, 2, 0.0),
                (2, 3, 5_000.0),
                (3, 4, 15_000.0),
                (4, 5, 10_000.0f64),
            ] {
                let inside = at(from * 1_000_000_000)..at(to * 1_000_000_000);
                let got = times.iter().filter(|time| inside.contains(time)).count() as f64;
                let slack = match arrivals {
                    Arrivals::Uniform => 1.0,
                    Arrivals::Poisson => 3.0 * expected.sqrt(),
                };
                assert!(
                    (got - expected).abs() <= slack,
                    "{arrivals:?} {from}: {got}"
                );
            }
        }
    }

    proptest! {
        /// `between` counts exactly the times that come, and all of a grid's lanes are the grid.
        #[test]
        fn what_is_counted_is_what_comes(
            is_poisson: bool,
            seed: u64,
            rate in 1.0f64..2e6,
            start in 0u64..1000,
            lanes in 1u64..20,
            from in 0u64..3_000_000,
            length in 0u64..3_000_000,
        ) {
            let arrivals = if is_poisson { Arrivals::Poisson } else { Arrivals::Uniform };
            let course = Course::steady(Pace::per_second(rate));
            let whole = Schedule::new(arrivals, seed, course.clone(), at(start), 1);
            let schedule = Schedule::new(arrivals, seed, course, at(start), lanes);
            let (from, end) = (at(from), at(from + length));
            let mut sum = 0;
            for number in 0..lanes {
                let times = times(&schedule, number, end);
                prop_assert!(times.is_sorted());
                let inside = times.iter().filter(|time| **time >= from).count() as u64;
                let lane = schedule.lane(number);
                prop_assert_eq!(schedule.between(&lane, from, end), inside);
                sum += inside;
            }
            if !is_poisson {
                prop_assert_eq!(whole.between(&whole.lane(0), from, end), sum);
            }
        }

        /// Messages that are counted out are exactly as many, all before the end, and none behind.
        #[test]
        fn counted_messages_are_exact(
            is_poisson: bool,
            seed: u64,
            rate in 1.0f64..2e6,
            lanes in 1u64..20,
            warmup in 0u64..3_000_000,
            messages in 1u64..3_000,
        ) {
            let arrivals = if is_poisson { Arrivals::Poisson } else { Arrivals::Uniform };
            let course = Course::steady(Pace::per_second(rate));
            let schedule = Schedule::new(arrivals, seed, course, at(9), lanes)
                .with_messages(messages, at(9 + warmup));
            let times = all(&schedule, schedule.end());
            let measured = times.iter().filter(|time| **time >= at(9 + warmup)).count() as u64;
            prop_assert_eq!(measured, messages);
            // They take as long as they take at the rate.
            let takes = (schedule.end() - at(9 + warmup)).as_secs_f64() * rate;
            prop_assert!((takes - messages as f64).abs() <= 1.01, "{takes} of {messages}");
        }
    }
}
