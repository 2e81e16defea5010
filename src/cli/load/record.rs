//! The results of a run.
//!
//! Owns the sums, and the judgement on the generator itself: a number that says more of the
//! generator than of the target must say so.

use std::time::{Duration, SystemTime};

use mynah::load::{Found, Goal, Measured, Pace, Tally, Times};

use super::units;

/// A run.
#[derive(Debug)]
pub(crate) struct Record {
    /// What was spoken to.
    pub(crate) address: String,
    /// When the window began.
    pub(crate) started: SystemTime,
    /// How long it was.
    pub(crate) measured: Duration,
    /// Connections open at its end.
    pub(crate) open: u64,
    /// How much of a processor the busiest thread took, polling for nothing left out.
    pub(crate) busy: f64,
    pub(crate) is_open_loop: bool,
    pub(crate) is_datagram: bool,
    pub(crate) has_answers: bool,
    /// It was interrupted.
    pub(crate) was_stopped: bool,
    pub(crate) tally: Tally,
    pub(crate) seconds: Vec<Second>,
}

/// A second of the window, or what was left at its end.
#[derive(Clone, Debug)]
pub(crate) struct Second {
    /// Since the beginning of the window.
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    /// When the window began.
    pub(crate) started: SystemTime,
    pub(crate) rate: f64,
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
    pub(crate) max: Option<Duration>,
    pub(crate) errors: u64,
}

/// A search.
#[derive(Debug)]
pub(super) struct Searched {
    pub(super) goal: Goal,
    /// The run of the closed loop, which gives the scale.
    pub(super) closed: Record,
    /// Each trial: its rate, whether the goal was kept, and the run.
    pub(super) trials: Vec<(Pace, bool, Record)>,
    /// `None`: it was interrupted.
    pub(super) found: Option<Found>,
}

/// A thread that is busy for more of its time than this has no say in when it sends.
const BUSY: f64 = 0.95;

/// Messages that go later than this are not sent at the times that the report is about.
const LATE: Duration = Duration::from_millis(1);

impl Second {
    pub(super) fn new(
        at: Duration,
        length: Duration,
        started: SystemTime,
        tally: &Tally,
    ) -> Second {
        Second {
            at,
            length,
            started,
            rate: tally.completed as f64 / length.as_secs_f64().max(1e-9),
            p50: tally.response.percentile(50.0),
            p99: tally.response.percentile(99.0),
            max: tally.response.max(),
            errors: tally.troubles.total(),
        }
    }
}

impl Searched {
    /// Whether the rate that it ended at is the generator's limit rather than the target's.
    pub(super) fn is_limited(&self) -> bool {
        let (Some(Found::Between { fails, .. }) | Some(Found::Never(fails))) = self.found else {
            return false;
        };
        let mut broken = self
            .trials
            .iter()
            .filter(|(rate, has_held, _)| *rate == fails && !has_held)
            .peekable();
        broken.peek().is_some() && broken.all(|(_, _, record)| record.bottleneck().is_some())
    }
}

impl Record {
    /// The times of messages that there are, as they are called.
    pub(super) fn message_times(&self) -> Vec<(&'static str, &Times)> {
        there(&[
            ("response time", &self.tally.response),
            ("service time", &self.tally.service),
        ])
    }

    /// The same, and those of connections.
    pub(super) fn times(&self) -> Vec<(&'static str, &Times)> {
        [
            self.message_times(),
            there(&[
                ("connect", &self.tally.connect),
                ("first byte", &self.tally.first_byte),
            ]),
        ]
        .concat()
    }

    /// Answers a second; where none are expected, messages.
    pub(crate) fn rate(&self) -> f64 {
        if self.measured.is_zero() {
            0.0
        } else {
            self.tally.completed as f64 / self.measured.as_secs_f64()
        }
    }

    /// A share of bytes of the window, a second.
    pub(crate) fn throughput(&self, bytes: u64) -> f64 {
        if self.measured.is_zero() {
            0.0
        } else {
            bytes as f64 / self.measured.as_secs_f64()
        }
    }

    /// Why these are the numbers of the generator rather than of the target, where they are.
    pub(crate) fn bottleneck(&self) -> Option<String> {
        let late = self
            .tally
            .lateness
            .percentile(99.0)
            .filter(|late| self.is_open_loop && *late > LATE);
        match (late, self.busy) {
            (Some(late), busy) if busy > BUSY => Some(format!(
                "the generator was the bottleneck: busy for {:.0} % of the time, it sent 1 % of \
                 its messages {} late or more; add --threads",
                100.0 * busy,
                units::time(late)
            )),
            (Some(late), _) => Some(format!(
                "the generator was the bottleneck: it sent 1 % of its messages {} late or more, \
                 for want of a processor; give it one of its own",
                units::time(late)
            )),
            (None, busy) if busy > BUSY => Some(format!(
                "the generator was the bottleneck: busy for {:.0} % of the time; the target may \
                 be faster than this; add --threads",
                100.0 * busy
            )),
            (None, _) => None,
        }
    }

    /// What the target, or the plan, could not keep up with.
    pub(crate) fn shortfall(&self) -> Option<String> {
        let (unsent, all) = (
            units::count(self.tally.unsent),
            units::count(self.tally.unsent + self.tally.sent),
        );
        let why = if self.is_open_loop {
            "could not be sent before the end, and their times are missing; the target is too \
             slow for the rate, or -c and --depth are too low"
        } else {
            "were not sent: the target had gone"
        };
        (self.tally.unsent > 0).then(|| format!("{unsent} of {all} messages {why}"))
    }

    /// The number that a goal is about; times in seconds.
    pub(crate) fn measure(&self, measured: Measured) -> Option<f64> {
        let tally = &self.tally;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        match measured {
            Measured::Percentile(percentile) => seconds(tally.response.percentile(percentile)),
            Measured::Max => seconds(tally.response.max()),
            Measured::Mean => seconds(tally.response.mean()),
            Measured::Rate => (!self.measured.is_zero()).then(|| self.rate()),
            Measured::Errors => Some(tally.troubles.total() as f64),
            Measured::Lost => Some(tally.lost() as f64),
            Measured::Late => Some(tally.late as f64),
            Measured::Duplicate => Some(tally.duplicate as f64),
            Measured::Reordered => Some(tally.reordered as f64),
            Measured::Unsent => Some(tally.unsent as f64),
        }
    }

    /// The same, to be read.
    pub(crate) fn words(&self, measured: Measured) -> String {
        let value = self.measure(measured);
        let is_time = matches!(
            measured,
            Measured::Percentile(_) | Measured::Max | Measured::Mean
        );
        match value {
            None => "nothing was measured".to_owned(),
            Some(seconds) if is_time => units::time(Duration::from_secs_f64(seconds)),
            Some(rate) if measured == Measured::Rate => format!("{}/s", units::rate(rate)),
            Some(count) => units::count(count as u64),
        }
    }

    /// Whether a trial of a search passes: the limit is kept, and so is the rate.
    pub(crate) fn keeps(&self, goal: &Goal) -> bool {
        let tally = &self.tally;
        let failed = tally.troubles.total() + tally.unsent + tally.unanswered + tally.lost();
        // A message that has no time would leave the worst ones out of the percentiles.
        goal.is_reached(self.measure(goal.measured())) && failed == 0 && !self.was_stopped
    }
}

/// Those kinds of times that were measured.
pub(crate) fn there<'t>(times: &[(&'static str, &'t Times)]) -> Vec<(&'static str, &'t Times)> {
    times
        .iter()
        .copied()
        .filter(|(_, times)| times.count() > 0)
        .collect()
}
