//! Times, as many as come, in a histogram.
//!
//! Owns their rounding, and nothing of what they mean: [`Distribution`](super::Distribution) knows
//! of messages that have no time. Must never interpolate.
//!
//! Tests: below.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Times in nanoseconds, to three digits, up to [`Times::LONGEST`].
///
/// HDR histograms: the error is below 0.1 % at any size, recording takes 5 ns
/// (`benches/load_parts.rs`), and sums of them are exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Times(Histogram<u64>);

impl Times {
    /// The longest time that is told apart: an hour. Longer ones count as one.
    pub const LONGEST: Duration = Duration::from_secs(3600);

    /// Records a time.
    #[inline]
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(time.as_nanos() as u64);
    }

    /// Records a time so many times over.
    pub fn record_many(&mut self, time: Duration, count: u64) {
        // The histogram would take a time that never occurred for its longest.
        if count == 0 {
            return;
        }
        self.0.saturating_record_n(time.as_nanos() as u64, count);
    }

    /// Adds what another one holds.
    pub fn add(&mut self, other: &Times) {
        // All have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time at `rank`, of which the shortest has the first; `None` where there are fewer. Up to
    /// 0.1 % above the one that was measured, never below.
    pub fn at_rank(&self, rank: u64) -> Option<Duration> {
        if rank == 0 || rank > self.count() {
            return None;
        }
        // In the middle of its share, so that no rounding leads to the one before or behind it.
        let quantile = (rank as f64 - 0.5) / self.count() as f64;
        let value = self.0.value_at_quantile(quantile);
        Some(Duration::from_nanos(value.min(self.0.max())))
    }

    /// The shortest; `None` where there are none.
    pub fn min(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.min()))
    }

    /// The longest; `None` where there are none.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.max()))
    }

    /// The standard deviation; `None` where there are none.
    pub fn deviation(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.stdev().round() as u64))
    }

    /// The arithmetic mean; `None` where there are none.
    pub fn mean(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.mean().round() as u64))
    }

    /// Those that are shorter than `limit`, and how many are not.
    pub fn below(&self, limit: Duration) -> (Times, u64) {
        let limit = self.0.lowest_equivalent(limit.as_nanos() as u64);
        let (mut below, mut rest) = (Times::default(), 0);
        for value in self.0.iter_recorded() {
            let count = value.count_since_last_iteration();
            if value.value_iterated_to() < limit {
                let time = Duration::from_nanos(value.value_iterated_to());
                below.record_many(time, count);
            } else {
                rest += count;
            }
        }
        (below, rest)
    }

    /// The histogram itself, to be written or drawn.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl Default for Times {
    fn default() -> Times {
        let longest = Times::LONGEST.as_nanos() as u64;
        Times(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are constant and right"))
    }
}

/// From a histogram with any bounds, such as one that was read.
impl From<&Histogram<u64>> for Times {
    fn from(histogram: &Histogram<u64>) -> Times {
        let mut times = Times::default();
        for value in histogram.iter_recorded() {
            times.0.saturating_record_n(
                value.value_iterated_to(),
                value.count_since_last_iteration(),
            );
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_within_a_thousandth_and_never_below() {
        let mut times = Times::default();
        assert_eq!(
            (times.at_rank(1), times.min(), times.max(), times.mean()),
            (None, None, None, None)
        );
        (1..=100_000).for_each(|micros| times.record(Duration::from_micros(micros)));
        for rank in [1, 50_000, 90_000, 99_000, 99_900, 99_990, 100_000] {
            let got = times.at_rank(rank).unwrap().as_secs_f64() * 1e6;
            let meant = rank as f64;
            assert!((meant..meant * 1.001).contains(&got), "{rank}: {got}");
        }
        assert_eq!((times.at_rank(0), times.at_rank(100_001)), (None, None));
        let micros = |time: Option<Duration>| time.unwrap().as_secs_f64() * 1e6;
        assert!((micros(times.mean()) - 50_000.5).abs() < 50.0);
        assert!((micros(times.deviation()) - 28_867.5).abs() < 50.0);
        assert_eq!(times.min(), Some(Duration::from_micros(1)));
    }

    #[test]
    fn what_takes_longer_than_an_hour_counts_as_an_hour() {
        let mut times = Times::default();
        times.record(Duration::MAX);
        assert!(times.max().unwrap() >= Times::LONGEST && times.count() == 1);
    }
}
