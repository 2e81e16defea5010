//! The highest rate that keeps a goal.
//!
//! Owns the choice of the next rate to try. Pure: outcomes in, rates out. Must never trust one run
//! near the edge: there, two of three trials decide. Must always end: after [`TRIALS`] at the
//! latest.
//!
//! ```text
//!   probe, a low rate ──▶ breaks: it is kept at no rate, the end
//!        │
//!   first ──▶ × 2 ──▶ × 2 ──▶ … until one breaks
//!        └──▶ ÷ 2 ──▶ … until one holds, where the probe did not
//!        then halve the interval, by the geometric mean, until it is as narrow as asked
//! ```
//!
//! **Trials a rate.** A trial that is far from the edge decides alone. Otherwise a second one is
//! made, and a third where the two disagree. A trial that the generator spoiled is repeated, up to
//! [`SPOILED`] in all; then the search looks below that rate.
//!
//! Tests: below, against servers of arithmetic, one of them unreliable; `trial` simulates queues.

use super::pace::Pace;

/// Trials of a search, at most.
pub const TRIALS: u32 = 20;

/// The search is over when the interval is this narrow: the upper end over the lower one. Runs of
/// the same rate differ by more on a shared machine.
pub const PRECISION: f64 = 1.05;

/// Trials of one rate that the generator may spoil before the search gives the rate up.
const SPOILED: u32 = 3;

/// Votes that decide. A trial has one; two where it is far from the edge.
const MAJORITY: u32 = 2;

/// Doublings before the search gives up that there is an edge.
const DOUBLINGS: u32 = 8;

/// What a trial says of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The goal is reached, and the target keeps up.
    Holds,
    /// It is not.
    Breaks,
    /// The generator spoiled the trial: nothing is known of the target.
    Spoiled,
    /// There were too few messages to tell.
    TooFew,
}

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// The goal is kept at `holds` and not at `fails`.
    Between {
        /// The highest rate that was tried and kept it.
        holds: Pace,
        /// The lowest that was tried and did not.
        fails: Pace,
    },
    /// The generator spoiled every trial at `spoiled`: the target may keep the goal there.
    Spoiled {
        /// The highest rate that was tried and kept it.
        holds: Option<Pace>,
        /// The lowest that the generator could not try.
        spoiled: Pace,
    },
    /// It is not kept even at the probe's rate.
    Never(Pace),
    /// It is not kept at this rate, and at lower ones a trial has too few messages to tell.
    Below(Pace),
    /// No rate was found that does not keep it; this was the highest that was tried.
    Always(Pace),
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct PaceSearch {
    rate: Pace,
    first: Pace,
    floor: Pace,
    is_probing: bool,
    holds: Option<Pace>,
    /// The lowest rate that did not hold, and whether it was the generator's fault.
    fails: Option<(Pace, bool)>,
    passed: u32,
    failed: u32,
    spoiled: u32,
    trials: u32,
    doublings: u32,
}

impl PaceSearch {
    /// Begins with one trial at the low rate `probe`, and goes on at `first`. At rates below
    /// `floor`, a trial has too few messages to hold.
    pub fn new(probe: Pace, first: Pace, floor: Pace) -> PaceSearch {
        PaceSearch {
            rate: probe,
            first: first.max(floor),
            floor,
            is_probing: true,
            holds: None,
            fails: None,
            passed: 0,
            failed: 0,
            spoiled: 0,
            trials: 0,
            doublings: 0,
        }
    }

    /// The rate of the next trial.
    pub fn rate(&self) -> Pace {
        self.rate
    }

    /// Whether the next trial is of the probe.
    pub fn is_probing(&self) -> bool {
        self.is_probing
    }

    /// Trials that were made.
    pub fn trials(&self) -> u32 {
        self.trials
    }

    /// About how many trials it will be in all.
    pub fn about(&self) -> u32 {
        let halvings = match (self.holds, self.fails) {
            (Some(holds), Some((fails, _))) => {
                let width = (fails.get() / holds.get()).ln() / PRECISION.ln();
                width.log2().ceil().max(1.0)
            }
            (Some(holds), None) if holds >= self.first => 5.0,
            _ => 7.0,
        };
        // Every other rate takes a second trial.
        let rest = (halvings * 1.5).ceil() as u32;
        (self.trials + rest).min(TRIALS)
    }

    /// Takes the outcome of a trial of [`rate`](PaceSearch::rate), and whether it was far from the
    /// edge; what was found, once it is.
    pub fn tell(&mut self, outcome: Outcome, is_clear: bool) -> Option<Found> {
        self.trials += 1;
        let votes = if is_clear { MAJORITY } else { 1 };
        match outcome {
            Outcome::Holds => self.passed += votes,
            Outcome::Breaks => self.failed += votes,
            // The probe may have too few: they did not break it.
            Outcome::TooFew if self.is_probing => return self.turn_to(self.first),
            Outcome::TooFew | Outcome::Spoiled => self.spoiled += 1,
        }
        if self.passed >= MAJORITY {
            self.holds = Some(self.rate);
        } else if self.failed >= MAJORITY {
            self.fails = Some((self.rate, false));
        } else if self.spoiled >= SPOILED {
            self.fails = Some((self.rate, true));
        } else if self.trials >= TRIALS {
            return Some(self.end());
        } else {
            return None;
        }
        let is_probe = std::mem::take(&mut self.is_probing);
        let next = match (self.holds, self.fails) {
            (None, Some((fails, false))) if is_probe => return Some(Found::Never(fails)),
            (None, Some((fails, _))) if is_probe || fails <= self.floor => {
                return Some(self.end());
            }
            (None, _) => Pace::per_second(self.rate.get() / 2.0).max(self.floor),
            (Some(_), None) if is_probe => self.first.max(self.rate),
            (Some(holds), None) => {
                self.doublings += 1;
                Pace::per_second(holds.get() * 2.0)
            }
            (Some(holds), Some((fails, _))) if fails.get() / holds.get() <= PRECISION => {
                return Some(self.end());
            }
            (Some(holds), Some((fails, _))) => {
                let middle = Pace::per_second((holds.get() * fails.get()).sqrt());
                middle.max(self.floor.min(fails))
            }
        };
        let is_stuck = Some(next) == self.holds
            || self.fails.is_some_and(|(fails, _)| fails == next)
            || self.doublings > DOUBLINGS;
        if is_stuck {
            return Some(self.end());
        }
        self.turn_to(next)
    }

    /// Goes on at another rate, if there are trials left.
    fn turn_to(&mut self, next: Pace) -> Option<Found> {
        if self.trials >= TRIALS {
            return Some(self.end());
        }
        self.is_probing = false;
        (self.passed, self.failed, self.spoiled) = (0, 0, 0);
        self.rate = next;
        None
    }

    /// What is known by now.
    fn end(&self) -> Found {
        match (self.holds, self.fails) {
            (holds, Some((spoiled, true))) => Found::Spoiled { holds, spoiled },
            (Some(holds), Some((fails, false))) => Found::Between { holds, fails },
            (Some(holds), None) => Found::Always(holds),
            (None, Some((fails, false))) => Found::Below(fails),
            (None, None) => Found::Spoiled {
                holds: None,
                spoiled: self.rate,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(rate: f64) -> Pace {
        Pace::per_second(rate)
    }

    /// Trials against a server of arithmetic, from a closed loop that came to twice `first`.
    fn search(first: f64, mut outcome: impl FnMut(f64) -> (Outcome, bool)) -> (Found, Vec<f64>) {
        let mut search = PaceSearch::new(pace(first / 50.0), pace(first), Pace::LOWEST);
        let mut rates = Vec::new();
        loop {
            rates.push(search.rate().get());
            assert!(search.about() as usize >= rates.len());
            let (outcome, is_clear) = outcome(search.rate().get());
            if let Some(found) = search.tell(outcome, is_clear) {
                return (found, rates);
            }
        }
    }

    fn holds_if(holds: bool) -> Outcome {
        if holds {
            Outcome::Holds
        } else {
            Outcome::Breaks
        }
    }

    proptest! {
        #[test]
        fn the_edge_is_found_within_the_bound(first in 1e3f64..1e6, share in 0.03f64..20.0) {
            let edge = first * share;
            let near = |rate: f64| (edge / 1.3..edge * 1.3).contains(&rate);
            let (found, rates) = search(first, |rate| (holds_if(rate <= edge), !near(rate)));
            let Found::Between { holds, fails } = found else { panic!("{found:?}") };
            let (holds, fails) = (holds.get(), fails.get());
            prop_assert!(holds <= edge && edge < fails && fails / holds <= PRECISION);
            prop_assert!(rates.len() as u32 <= TRIALS);
        }

        /// A verdict that is wrong now and then is outvoted.
        #[test]
        fn one_bad_trial_decides_nothing(edge in 600.0f64..1_900.0, bad in 0u32..2) {
            let (mut trial, mut last, mut rates_tried) = (0, 0.0, 0);
            let (found, _) = search(1e3, |rate| {
                trial = if rate == last { trial + 1 } else { 0 };
                rates_tried += u32::from(rate != last);
                last = rate;
                // Every other rate has a bad one, so that the bound is not what ends it.
                (holds_if((rate <= edge) != (trial == bad && rates_tried % 2 == 0)), false)
            });
            let Found::Between { holds, fails } = found else { panic!("{found:?}") };
            prop_assert!(holds.get() <= edge && edge < fails.get());
        }
    }

    #[test]
    fn trials_are_made_at_the_edge_and_not_far_from_it() {
        let (_, rates) = search(1e3, |rate| {
            (holds_if(rate <= 700.0), !(600.0..800.0).contains(&rate))
        });
        let far = |rate: &&f64| !(600.0..800.0).contains(*rate);
        let mut once: Vec<f64> = rates.iter().filter(far).copied().collect();
        let all = once.len();
        once.dedup();
        assert_eq!(once.len(), all, "{rates:?}");
        // Two that agree are enough.
        assert!(rates.len() < 16, "{rates:?}");
    }

    #[test]
    fn a_goal_that_the_probe_misses_ends_the_search() {
        let (found, rates) = search(1e3, |_| (Outcome::Breaks, true));
        assert_eq!((found, rates.len()), (Found::Never(pace(20.0)), 1));
        let (found, rates) = search(1e3, |_| (Outcome::Breaks, false));
        assert_eq!((found, rates.len()), (Found::Never(pace(20.0)), 2));
    }

    #[test]
    fn a_target_without_an_edge_ends_the_search() {
        let (found, rates) = search(1e3, |_| (Outcome::Holds, true));
        assert!(matches!(found, Found::Always(_)), "{found:?}");
        assert!(rates.len() as u32 <= TRIALS);
    }

    #[test]
    fn what_the_generator_spoiled_is_repeated_and_then_said() {
        // A trial in three is spoiled: nothing but the number of trials changes.
        let mut trial = 0;
        let (found, _) = search(1e3, |rate| {
            trial += 1;
            if trial % 3 == 0 {
                (Outcome::Spoiled, false)
            } else {
                (holds_if(rate <= 700.0), true)
            }
        });
        assert!(
            matches!(found, Found::Between { holds, fails }
                if holds.get() <= 700.0 && fails.get() > 700.0),
            "{found:?}"
        );
        // The generator cannot do more than 1,500/s.
        let (found, rates) = search(1e3, |rate| match rate <= 1_500.0 {
            true => (Outcome::Holds, true),
            false => (Outcome::Spoiled, false),
        });
        assert!(
            matches!(found, Found::Spoiled { holds: Some(holds), spoiled }
                if holds.get() <= 1_500.0 && spoiled.get() > 1_500.0),
            "{found:?}"
        );
        assert!(rates.len() as u32 <= TRIALS);
        // It can do nothing at all.
        let (found, rates) = search(1e3, |_| (Outcome::Spoiled, false));
        let spoiled = pace(20.0);
        assert_eq!(
            (found, rates.len()),
            (
                Found::Spoiled {
                    holds: None,
                    spoiled
                },
                3
            )
        );
    }

    #[test]
    fn no_rate_is_tried_at_which_a_trial_could_not_tell() {
        let mut search = PaceSearch::new(pace(5.0), pace(50.0), pace(150.0));
        assert_eq!(search.tell(Outcome::TooFew, false), None);
        assert_eq!(search.rate(), pace(150.0));
        assert_eq!(
            search.tell(Outcome::Breaks, true),
            Some(Found::Below(pace(150.0)))
        );
    }
}
