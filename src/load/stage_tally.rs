//! What happened in each stage of an open loop.
//!
//! Owns the counts of a stage. A message belongs to the stage in which it was meant to be sent,
//! whenever it was answered.
//!
//! Tests: below; `tests/load_simulation.rs`.

use std::time::Duration;

use super::times::Times;

/// One stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageTally {
    /// Messages of the stage that were sent.
    pub sent: u64,
    /// Those that could not be sent before the run ended.
    pub unsent: u64,
    /// Those that were answered; where no answer is expected, those that have left.
    pub answered: u64,
    /// From when a message was meant to be sent to the last byte of its answer.
    pub response: Times,
}

impl StageTally {
    /// Messages that were due in the stage.
    pub fn due(&self) -> u64 {
        self.sent + self.unsent
    }

    /// The time that `percentile` of 100 of all that were due did not exceed. One without an answer
    /// took longer than any time: `None` if the percentile falls among those.
    pub fn percentile(&self, percentile: f64) -> Option<Duration> {
        // What is a rank here must not become the next one by a hair.
        let rank = (percentile / 100.0 * self.due() as f64 - 1e-6)
            .ceil()
            .max(1.0);
        self.response.at_rank(rank as u64)
    }
}

/// All stages; none in a run without.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageTallies(Vec<StageTally>);

impl StageTallies {
    /// The stage `index`.
    pub(super) fn of(&mut self, index: usize) -> &mut StageTally {
        if self.0.len() <= index {
            self.0.resize(index + 1, StageTally::default());
        }
        &mut self.0[index]
    }

    /// The stage `index`, if anything happened in it or behind it.
    pub fn get(&self, index: usize) -> Option<&StageTally> {
        self.0.get(index)
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &StageTallies) {
        for (index, other) in other.0.iter().enumerate() {
            let stage = self.of(index);
            stage.sent += other.sent;
            stage.unsent += other.unsent;
            stage.answered += other.answered;
            stage.response.add(&other.response);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_took_longer_than_all_that_was() {
        let mut stages = StageTallies::default();
        let stage = stages.of(1);
        (stage.sent, stage.unsent, stage.answered) = (95, 5, 90);
        (1..=90).for_each(|millis| stage.response.record(Duration::from_millis(millis)));
        let millis = |stage: &StageTally, percentile| {
            let time = stage.percentile(percentile)?;
            Some(time.as_millis())
        };
        for (percentile, expected) in [
            (50.0, Some(50)),
            (90.0, Some(90)),
            (90.1, None),
            (99.0, None),
        ] {
            assert_eq!(millis(stage, percentile), expected, "p{percentile}");
        }
        let mut sum = stages.clone();
        sum.add(&stages);
        assert_eq!(sum.get(0), Some(&StageTally::default()));
        let stage = sum.get(1).unwrap();
        assert_eq!((stage.due(), stage.answered), (200, 180));
        assert_eq!(millis(stage, 90.0), Some(90));
    }
}
