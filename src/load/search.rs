//! The highest rate that keeps a limit.
//!
//! Owns the choice of the next rate to try. Pure: verdicts in, rates out. Must never trust one run:
//! a rate holds if most of its trials do.
//!
//! ```text
//!   rate   first ──▶ × 2 ──▶ × 2 ──▶ … until one fails
//!                └─▶ ÷ 2 ──▶ … until one holds
//!          then halve the interval, by the geometric mean, until it is as narrow as asked
//! ```
//!
//! Tests: below, against servers of arithmetic, one of them unreliable.

use super::pace::Pace;

/// Trials of each rate: two of three decide.
pub(super) const TRIALS: u32 = 3;

/// The search is over when the interval is this narrow: the upper end over the lower one. Runs of
/// the same rate differ by more on a shared machine.
pub(super) const PRECISION: f64 = 1.05;

/// Doublings and halvings before it is given up that there is such a rate.
const STEPS: u32 = 40;

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// The limit is kept at `holds` and not at `fails`.
    Between {
        /// The highest rate that was tried and kept it.
        holds: Pace,
        /// The lowest that was tried and did not.
        fails: Pace,
    },
    /// No rate was found that keeps it; this was the lowest that was tried.
    Never(Pace),
    /// No rate was found that does not; this was the highest that was tried.
    Always(Pace),
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct PaceSearch {
    rate: Pace,
    holds: Option<Pace>,
    fails: Option<Pace>,
    passed: u32,
    failed: u32,
    steps: u32,
}

impl PaceSearch {
    /// Begins with `first`.
    pub fn new(first: Pace) -> PaceSearch {
        PaceSearch {
            rate: first,
            holds: None,
            fails: None,
            passed: 0,
            failed: 0,
            steps: 0,
        }
    }

    /// The rate of the next trial.
    pub fn rate(&self) -> Pace {
        self.rate
    }

    /// Takes the verdict on a trial of [`rate`](PaceSearch::rate); what was found, once it is.
    pub fn tell(&mut self, has_held: bool) -> Option<Found> {
        *(if has_held {
            &mut self.passed
        } else {
            &mut self.failed
        }) += 1;
        let majority = TRIALS / 2 + 1;
        if self.passed.max(self.failed) < majority {
            return None;
        }
        let bound = if self.passed >= majority {
            &mut self.holds
        } else {
            &mut self.fails
        };
        *bound = Some(self.rate);
        (self.passed, self.failed) = (0, 0);
        self.steps += 1;
        let next = match (self.holds, self.fails) {
            (Some(holds), Some(fails)) if fails.get() / holds.get() <= PRECISION => {
                return Some(Found::Between { holds, fails });
            }
            (Some(holds), Some(fails)) => (holds.get() * fails.get()).sqrt(),
            (Some(holds), None) => holds.get() * 2.0,
            (None, _) => self.rate.get() / 2.0,
        };
        let next = Pace::per_second(next);
        let is_stuck = self.steps == STEPS || Some(next) == self.holds || Some(next) == self.fails;
        if is_stuck {
            return Some(match (self.holds, self.fails) {
                (Some(holds), Some(fails)) => Found::Between { holds, fails },
                (Some(holds), None) => Found::Always(holds),
                (None, _) => Found::Never(self.rate),
            });
        }
        self.rate = next;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(first: f64, mut holds: impl FnMut(f64) -> bool) -> (Found, u32) {
        let mut search = PaceSearch::new(Pace::per_second(first));
        for trial in 1.. {
            if let Some(found) = search.tell(holds(search.rate().get())) {
                return (found, trial);
            }
        }
        unreachable!()
    }

    proptest! {
        #[test]
        fn the_edge_is_found_from_anywhere(first in 1.0f64..1e6, edge in 1.0f64..1e6) {
            let (found, trials) = search(first, |rate| rate <= edge);
            let Found::Between { holds, fails } = found else { panic!("{found:?}") };
            let (holds, fails) = (holds.get(), fails.get());
            prop_assert!(holds <= edge && edge < fails && fails / holds <= PRECISION);
            prop_assert!(trials <= 2 * 28, "{trials} trials");
        }

        /// A verdict that is wrong now and then is outvoted.
        #[test]
        fn one_bad_trial_decides_nothing(edge in 1e3f64..1e5, bad in 0u32..3) {
            let mut trial = 0;
            let mut last = 0.0;
            let (found, _) = search(1e3, |rate| {
                trial = if rate == last { trial + 1 } else { 0 };
                last = rate;
                (rate <= edge) != (trial == bad && trial < 2)
            });
            let Found::Between { holds, fails } = found else { panic!("{found:?}") };
            prop_assert!(holds.get() <= edge && edge < fails.get());
        }
    }

    #[test]
    fn a_target_without_an_edge_ends_the_search() {
        assert!(matches!(search(1e3, |_| true), (Found::Always(_), _)));
        assert!(matches!(search(1e3, |_| false), (Found::Never(rate), _) if rate == Pace::LOWEST));
    }
}
