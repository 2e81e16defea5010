//! Times, as many as come, in a histogram.
//!
//! Owns their rounding, and nothing of what they mean. Must never interpolate.
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

    /// Adds what another one holds.
    pub fn add(&mut self, other: &Times) {
        // All have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `percentile` of 100 did not exceed; `None` where there are none. Up to 0.1 %
    /// above the one that was measured, never below.
    pub fn percentile(&self, percentile: f64) -> Option<Duration> {
        // 99.9 / 100.0 is a hair above 0.999, and of 5,000 times that hair is the next one.
        let quantile = (percentile * 1e10).round() / 1e12;
        (self.count() > 0)
            .then(|| Duration::from_nanos(self.0.value_at_quantile(quantile).min(self.0.max())))
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

    /// The longest; `None` where there are none.
    pub fn max(&self) -> Option<Duration> {
        self.percentile(100.0)
    }

    /// The arithmetic mean; `None` where there are none.
    pub fn mean(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.mean().round() as u64))
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
    fn percentiles_are_within_a_thousandth_and_never_below() {
        let mut times = Times::default();
        assert_eq!(
            (times.percentile(50.0), times.max(), times.mean()),
            (None, None, None)
        );
        (1..=100_000).for_each(|micros| times.record(Duration::from_micros(micros)));
        for (percentile, micros) in [
            (50.0, 50_000.0),
            (90.0, 90_000.0),
            (99.0, 99_000.0),
            (99.9, 99_900.0),
            (99.99, 99_990.0),
            (100.0, 100_000.0),
        ] {
            let got = times.percentile(percentile).unwrap().as_secs_f64() * 1e6;
            assert!(
                (micros..micros * 1.001).contains(&got),
                "p{percentile} {got}"
            );
        }
        let mean = times.mean().unwrap().as_secs_f64() * 1e6;
        assert!((mean - 50_000.5).abs() < 50.0, "{mean}");
    }

    #[test]
    fn a_percentile_is_the_time_of_its_rank_and_not_the_next_one() {
        for (percentile, rank) in [
            (99.9, 4995),
            (99.98, 4999),
            (50.0, 2500),
            (0.02, 1),
            (33.34, 1667),
        ] {
            let mut times = Times::default();
            (0..5000).for_each(|index| {
                times.record(Duration::from_millis(if index < rank { 1 } else { 1000 }))
            });
            assert_eq!(
                times.percentile(percentile).unwrap().as_millis(),
                1,
                "p{percentile}"
            );
        }
    }

    #[test]
    fn what_takes_longer_than_an_hour_counts_as_an_hour() {
        let mut times = Times::default();
        times.record(Duration::MAX);
        assert!(times.max().unwrap() >= Times::LONGEST && times.count() == 1);
    }
}
