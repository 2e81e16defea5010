//! The times of messages, those that were never answered among them.
//!
//! Owns what a percentile is. Every message that was due is a member: one that was answered with
//! its time, one that was not with a time that nobody knows, but that is no less than it was waited
//! for. Those without an answer stand above all others, so that a target cannot improve its
//! percentiles by not answering. Must never tell a percentile that chance decides: at least
//! [`BEYOND`] members lie beyond it.
//!
//! Tests: below, against a sorted list.

use std::time::Duration;

use super::times::Times;

/// Members beyond a percentile, at the least, where it is told: with fewer, one message more or
/// less moves it (the standard error of a rank is its square root, here a third).
pub const BEYOND: u64 = 10;

/// Times of messages, or of something else that some of them never had.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    answered: Times,
    /// How long each of those was waited for that were not answered.
    waited: Times,
}

/// What is known of a percentile, or of another measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A time.
    Time(Duration),
    /// It lies among those that were not answered: no less than this, and nobody knows how much
    /// more.
    Unanswered(Duration),
    /// There are too few members to tell.
    Unknown,
}

impl Mark {
    /// The time, where it is known.
    pub fn time(self) -> Option<Duration> {
        match self {
            Mark::Time(time) => Some(time),
            Mark::Unanswered(_) | Mark::Unknown => None,
        }
    }

    /// In seconds, infinitely many where there was no answer; `None` where nothing is known.
    pub fn seconds(self) -> Option<f64> {
        match self {
            Mark::Time(time) => Some(time.as_secs_f64()),
            Mark::Unanswered(_) => Some(f64::INFINITY),
            Mark::Unknown => None,
        }
    }
}

impl Distribution {
    /// Of what was read: the times of answers, and how long was waited for those that never came.
    pub fn new(answered: Times, waited: Times) -> Distribution {
        Distribution { answered, waited }
    }

    /// A member that was answered.
    #[inline]
    pub fn record(&mut self, time: Duration) {
        self.answered.record(time);
    }

    /// So many members with the same time.
    pub fn record_many(&mut self, time: Duration, count: u64) {
        self.answered.record_many(time, count);
    }

    /// So many members that were not, after `waited` each.
    #[cold]
    pub fn give_up(&mut self, waited: Duration, count: u64) {
        self.waited.record_many(waited, count);
    }

    /// Adds the members of another one.
    pub fn add(&mut self, other: &Distribution) {
        self.answered.add(&other.answered);
        self.waited.add(&other.waited);
    }

    /// How many members there are.
    pub fn count(&self) -> u64 {
        self.answered.count() + self.waited.count()
    }

    /// The times of those that were answered.
    pub fn answered(&self) -> &Times {
        &self.answered
    }

    /// How long each of the others was waited for.
    pub fn waited(&self) -> &Times {
        &self.waited
    }

    /// The time that `percentile` of 100 did not exceed.
    pub fn percentile(&self, percentile: f64) -> Mark {
        let beyond = self.count() as f64 * (100.0 - percentile) / 100.0;
        // A hair for what floats cannot say: a percent of 1,000 is 10, and a float below it.
        if beyond + 1e-6 < BEYOND as f64 {
            return Mark::Unknown;
        }
        // 99.9 / 100.0 is a hair above 0.999, and of 5,000 times that hair is the next one.
        let rank = (percentile * self.count() as f64 / 100.0 - 1e-6).ceil();
        self.at_rank((rank as u64).max(1))
    }

    /// The longest time.
    pub fn max(&self) -> Mark {
        self.at_rank(self.count())
    }

    /// The shortest time of an answer.
    pub fn min(&self) -> Mark {
        self.answered.min().map_or(Mark::Unknown, Mark::Time)
    }

    /// The arithmetic mean.
    pub fn mean(&self) -> Mark {
        let all = self.floor();
        match all.mean() {
            None => Mark::Unknown,
            Some(mean) if self.waited.count() > 0 => Mark::Unanswered(mean),
            Some(mean) => Mark::Time(mean),
        }
    }

    /// The standard deviation; unknown where a member has no time.
    pub fn deviation(&self) -> Mark {
        match self.answered.deviation() {
            Some(deviation) if self.waited.count() == 0 => Mark::Time(deviation),
            _ => Mark::Unknown,
        }
    }

    fn at_rank(&self, rank: u64) -> Mark {
        if let Some(time) = self.answered.at_rank(rank) {
            return Mark::Time(time);
        }
        // Each time is no less than its floor, so the same holds of those at one rank. And all that
        // were answered stand before them.
        let floor = self.floor().at_rank(rank).max(self.answered.max());
        floor.map_or(Mark::Unknown, Mark::Unanswered)
    }

    /// What is known of the times of all members: each is no shorter than this.
    fn floor(&self) -> Times {
        let mut all = self.answered.clone();
        all.add(&self.waited);
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_target_that_stops_answering_cannot_keep_its_percentiles() {
        let mut times = Distribution::default();
        (0..871).for_each(|_| times.record(millis(3)));
        times.give_up(millis(1000), 1629);
        let Mark::Unanswered(floor) = times.percentile(50.0) else {
            panic!("{:?}", times.percentile(50.0));
        };
        assert!(floor >= millis(1000), "{floor:?}");
        assert!(matches!(times.percentile(30.0), Mark::Time(_)));
        assert!(matches!(times.max(), Mark::Unanswered(_)));
        assert!(matches!(times.mean(), Mark::Unanswered(_)));
        assert_eq!(times.percentile(99.0).seconds(), Some(f64::INFINITY));
    }

    #[test]
    fn a_percentile_needs_ten_members_beyond_it() {
        for (percentile, enough) in [(50.0, 20), (90.0, 100), (99.0, 1_000), (99.9, 10_000)] {
            let mut times = Distribution::default();
            (1..enough).for_each(|_| times.record(millis(1)));
            assert_eq!(times.percentile(percentile), Mark::Unknown, "{percentile}");
            times.record(millis(1));
            assert!(
                times.percentile(percentile).time().is_some(),
                "{percentile}"
            );
        }
    }

    #[test]
    fn a_percentile_is_the_time_of_its_rank_and_not_the_next_one() {
        for (percentile, rank) in [(99.8, 49_900), (50.0, 25_000), (0.02, 10), (33.34, 16_670)] {
            let mut times = Distribution::default();
            (0..50_000).for_each(|index| times.record(millis(if index < rank { 1 } else { 1000 })));
            let got = times.percentile(percentile).time().unwrap();
            assert_eq!(got.as_millis(), 1, "p{percentile}");
        }
    }

    proptest! {
        /// Against a list that is sorted, in which what was not answered stands last.
        #[test]
        fn the_ranks_are_those_of_a_list(
            answered in prop::collection::vec(1u64..1_000_000, 0..300),
            waited in prop::collection::vec(1u64..1_000_000, 0..300),
            percentile in 0.0..100.0f64,
        ) {
            let mut times = Distribution::default();
            answered.iter().for_each(|micros| times.record(Duration::from_micros(*micros)));
            waited.iter().for_each(|micros| times.give_up(Duration::from_micros(*micros), 1));
            let (mut sorted, mut floors) = (answered.clone(), [answered, waited].concat());
            sorted.sort_unstable();
            floors.sort_unstable();
            let count = floors.len() as f64;
            let rank = ((percentile * count / 100.0 - 1e-6).ceil() as usize).max(1);
            let is_close = |time: Duration, micros: u64| {
                let meant = Duration::from_micros(micros);
                meant <= time && time <= meant.mul_f64(1.001)
            };
            match times.percentile(percentile) {
                Mark::Unknown => prop_assert!(count * (100.0 - percentile) / 100.0 < 10.0),
                Mark::Time(time) => prop_assert!(is_close(time, sorted[rank - 1])),
                Mark::Unanswered(floor) => {
                    prop_assert!(rank > sorted.len());
                    let least = sorted.last().copied().unwrap_or(0).max(floors[rank - 1]);
                    prop_assert!(is_close(floor, least));
                }
            }
        }
    }
}
