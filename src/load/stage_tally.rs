//! What happened in each stage of an open loop.
//!
//! Owns the counts of a stage. A message belongs to the stage in which it was meant to be sent,
//! whenever it was answered.
//!
//! Tests: below; `tests/load_simulation.rs`.

use super::distribution::Distribution;

/// One stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageTally {
    /// Messages of the stage that were sent.
    pub sent: u64,
    /// Those that could not be sent before the run ended.
    pub unsent: u64,
    /// Those that were answered; where no answer is expected, those that have left.
    pub answered: u64,
    /// From when a message was meant to be sent to the last byte of its answer. Every message that
    /// was due is a member.
    pub response: Distribution,
}

impl StageTally {
    /// Messages that were due in the stage.
    pub fn due(&self) -> u64 {
        self.sent + self.unsent
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sum_of_stages_is_stage_by_stage() {
        let mut stages = StageTallies::default();
        let stage = stages.of(1);
        (stage.sent, stage.unsent, stage.answered) = (95, 5, 95);
        (1..=95).for_each(|millis| stage.response.record(Duration::from_millis(millis)));
        stage.response.give_up(Duration::from_secs(1), 5);
        let mut sum = stages.clone();
        sum.add(&stages);
        assert_eq!(sum.get(0), Some(&StageTally::default()));
        let stage = sum.get(1).unwrap();
        assert_eq!(
            (stage.due(), stage.answered, stage.response.count()),
            (200, 190, 200)
        );
    }
}
