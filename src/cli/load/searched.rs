//! A search, as it is reported: its trials, how long each was, and what was found.
//!
//! Owns the lengths: a percentile takes messages, and a search must end.
//!
//! Tests: `tests/load_find.rs`.

use std::time::Duration;

use mynah::load::{BEYOND, Found, Goal, Outcome, Pace, PaceSearch, TRIALS, Trial};

use super::record::Record;

/// A trial lasts up to so many times `--duration`, where it needs more messages.
const STRETCH: u32 = 3;

/// Messages beyond the goal's percentile that a trial is to have. They come in clusters, so that
/// [`BEYOND`] would decide by chance; these find the edge of a queue within a few percent.
const WANTED: u64 = 3 * BEYOND;

/// More than a percentile takes, as the number of messages is random.
const SPARE: f64 = 1.2;

/// The probe's rate is that of the closed loop divided by this. There, no message waits for
/// another one: a goal that fails, fails at any rate.
const PROBE: f64 = 100.0;

/// Messages of the probe, at least, if [`STRETCH`] allows: a median takes twice [`BEYOND`].
const PROBED: f64 = 40.0;

/// A search.
#[derive(Debug)]
pub(super) struct Searched {
    pub(super) goal: Goal,
    /// The run of the closed loop, which gives the scale.
    pub(super) closed: Record,
    pub(super) trials: Vec<Tried>,
    /// `None`: it was interrupted.
    pub(super) found: Option<Found>,
    pub(super) lengths: Lengths,
    pub(super) took: Duration,
}

/// A trial, and the run that it was.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) rate: Pace,
    pub(super) seed: u64,
    pub(super) trial: Trial,
    pub(super) record: Record,
}

/// How long trials are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    shortest: Duration,
    /// Messages that a trial is to have.
    wanted: f64,
    /// Messages without which it cannot hold.
    needed: f64,
}

impl Lengths {
    pub(super) fn new(goal: &Goal, shortest: Duration) -> Lengths {
        Lengths {
            shortest,
            wanted: goal.measured().takes(WANTED),
            needed: SPARE * goal.measured().takes(BEYOND),
        }
    }

    pub(super) fn shortest(self) -> Duration {
        self.shortest
    }

    pub(super) fn longest(self) -> Duration {
        self.shortest * STRETCH
    }

    /// Of a trial at `rate`.
    pub(super) fn at(self, rate: Pace) -> Duration {
        let wanted = self.wanted / rate.get();
        let most = self.longest().as_secs_f64();
        Duration::from_secs_f64(wanted.clamp(self.shortest.as_secs_f64(), most))
    }

    /// Of the probe.
    pub(super) fn of_probe(self, rate: Pace) -> Duration {
        let wanted = Lengths {
            wanted: PROBED,
            ..self
        };
        wanted.at(rate)
    }

    /// The search, where the closed loop came to `scale` answers a second.
    pub(super) fn search(self, scale: f64) -> PaceSearch {
        let in_longest = |messages: f64| messages / self.longest().as_secs_f64().max(1e-9);
        let probe = (scale / PROBE).max(in_longest(PROBED));
        PaceSearch::new(
            Pace::per_second(probe.min(scale / 2.0)),
            Pace::per_second(scale / 2.0),
            Pace::per_second(in_longest(self.needed)),
        )
    }

    /// How long a whole search takes, at most, with the closed loop that begins it.
    pub(super) fn all(self, warmup: Duration) -> Duration {
        (warmup + self.longest()) * TRIALS + warmup + self.shortest
    }
}

impl Searched {
    /// The last trial at this rate that broke.
    pub(super) fn broken(&self, at: Pace) -> Option<&Tried> {
        let breaks = |tried: &&Tried| tried.rate == at && tried.trial.outcome == Outcome::Breaks;
        self.trials.iter().rev().find(breaks)
    }
}
