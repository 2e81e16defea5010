//! The results of a run.
//!
//! Owns the sums, and the judgement on the generator itself: a number that says more of the
//! generator than of the target must say so.

use std::time::{Duration, SystemTime};

use mynah::load::{BEYOND, Distribution, Mark, Measured, Part, Tally, Timeline, Verdict};

use super::host::Host;
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
    pub(crate) verdict: Verdict,
    /// What the machine kept from the generator.
    pub(crate) host: Host,
    pub(crate) tally: Tally,
    pub(crate) seconds: Vec<Second>,
    pub(crate) timeline: Timeline,
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
    pub(crate) p50: Mark,
    pub(crate) p99: Mark,
    pub(crate) max: Mark,
    pub(crate) errors: u64,
}

/// A thread that is busy for more of its time than this has no say in when it sends.
pub(super) const BUSY: f64 = 0.95;

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

impl Record {
    /// The times of messages that there are, as they are called.
    pub(super) fn message_times(&self) -> Vec<(&'static str, &Distribution)> {
        there(&[
            ("response time", &self.tally.response),
            ("service time", &self.tally.service),
            ("generator's", &self.tally.added),
        ])
    }

    /// The same, and those of connections.
    pub(super) fn times(&self) -> Vec<(&'static str, &Distribution)> {
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

    /// Why these are the numbers of the generator, or of its limits, rather than of the target,
    /// where they are.
    pub(crate) fn bottleneck(&self) -> Option<String> {
        let share = |part: &Part| {
            let at = units::time(part.response);
            format!(
                "of p{}, {at}, it added {}",
                part.percentile,
                units::time(part.added)
            )
        };
        let advice = match self.host.words() {
            Some(words) => words,
            None if self.busy > BUSY => format!(
                "busy for {:.0} % of the time; add --threads",
                100.0 * self.busy
            ),
            None => "it waits for a processor; give it one of its own".to_owned(),
        };
        match &self.verdict {
            Verdict::Generator(part) => Some(format!(
                "the generator was the bottleneck: {}; {advice}",
                share(part)
            )),
            Verdict::Shared(part) => Some(format!(
                "the generator has a share in these times: {}",
                share(part)
            )),
            Verdict::Limit(part) => Some(format!(
                "-c or --depth is the limit: {}, waiting for a connection that was free; the \
                 target answers as fast as ever",
                share(part)
            )),
            Verdict::Full(part) => Some(format!(
                "all connections are in use: {}, waiting for one that was free; the target is too \
                 slow for the rate, or -c and --depth are too low",
                share(part)
            )),
            _ if self.busy > BUSY => Some(format!(
                "the generator was busy for {:.0} % of the time; the target may be faster than \
                 this; add --threads",
                100.0 * self.busy
            )),
            _ => None,
        }
    }

    /// Why the run is void: it says more of the generator than of the target.
    pub(crate) fn spoiled(&self) -> Option<String> {
        matches!(self.verdict, Verdict::Generator(_))
            .then(|| self.bottleneck())
            .flatten()
    }

    /// What the target, or the plan, could not keep up with.
    pub(crate) fn shortfall(&self) -> Option<String> {
        let (unsent, all) = (
            units::count(self.tally.unsent),
            units::count(self.tally.due()),
        );
        let why = if self.is_open_loop {
            "could not be sent before the end; they count as unanswered"
        } else {
            "were not sent: no connection was left that worked; if the target is no echo, say with \
             --message and --response what to ask and what an answer is"
        };
        (self.tally.unsent > 0).then(|| format!("{unsent} of {all} messages {why}"))
    }

    /// The number that a goal is about; times in seconds.
    pub(crate) fn measure(&self, measured: Measured) -> Option<f64> {
        let tally = &self.tally;
        match measured {
            Measured::Percentile(_) | Measured::Max | Measured::Mean => {
                self.mark(measured).seconds()
            }
            Measured::Rate => (!self.measured.is_zero()).then(|| self.rate()),
            Measured::Errors => Some(tally.troubles.total() as f64),
            Measured::Lost => Some(tally.lost() as f64),
            Measured::Late => Some(tally.late as f64),
            Measured::Duplicate => Some(tally.duplicate as f64),
            Measured::Reordered => Some(tally.reordered as f64),
            Measured::Unsent => Some(tally.unsent as f64),
        }
    }

    /// The time that a goal is about.
    fn mark(&self, measured: Measured) -> Mark {
        measured.of(&self.tally.response)
    }

    /// The same, to be read.
    pub(crate) fn words(&self, measured: Measured) -> String {
        let value = self.measure(measured);
        match (self.mark(measured), value, measured) {
            (mark @ Mark::Time(_), ..) => units::mark(mark),
            (mark @ Mark::Unanswered(_), ..) => format!("{} (unanswered)", units::mark(mark)),
            (Mark::Unknown, None, Measured::Percentile(percentile)) => {
                let due = self.tally.due();
                let enough = measured.takes(BEYOND);
                format!(
                    "{} messages are too few; p{percentile} takes {}",
                    units::count(due),
                    units::count(enough.ceil() as u64)
                )
            }
            (_, None, _) => "nothing was measured".to_owned(),
            (_, Some(rate), Measured::Rate) => format!("{}/s", units::rate(rate)),
            (_, Some(count), _) => units::count(count as u64),
        }
    }
}

/// Those kinds of times that were measured.
pub(crate) fn there<'t>(
    times: &[(&'static str, &'t Distribution)],
) -> Vec<(&'static str, &'t Distribution)> {
    times
        .iter()
        .copied()
        .filter(|(_, times)| times.count() > 0)
        .collect()
}
