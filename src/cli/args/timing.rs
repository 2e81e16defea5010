//! The words of `mynah load` that say when messages go.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use clap::Args;
use mynah::load::{Arrivals, Pace, Stage};

use super::usage;
use crate::cli::status::Failure;
use crate::cli::values::{Timeout, duration};
use crate::cli::wall::wall_time;

/// The longest time of spinning before each message: longer, and a thread is awake all the time at
/// a thousand messages a second.
const LONGEST_SPIN: Duration = Duration::from_millis(1);

#[derive(Args, Debug)]
pub(super) struct Timing {
    /// In an open loop, when messages are due: poisson (at random, independent of each other) or
    /// uniform (at equal distances) [default: poisson]
    #[arg(
        long,
        value_name = "HOW",
        value_parser = arrivals,
        help_heading = "Pace"
    )]
    arrivals: Option<Arrivals>,
    /// Repeat the random times of the run that printed this seed [default: another one each time]
    #[arg(long, value_name = "N", help_heading = "Pace")]
    seed: Option<u64>,
    /// An open loop in stages: RATE:D or RATE..RATE:D, such as 0..5k:30s for a ramp, 5k:1m for a
    /// step and 0:5s for a pause; may be given several times, and the stages follow each other
    #[arg(
        long,
        value_name = "STAGE",
        conflicts_with_all = ["rate", "duration", "requests", "find", "think"],
        help_heading = "Pace"
    )]
    stage: Vec<Stage>,
    /// Open the connections now, and begin (with the warm-up) at this time: 2026-11-24T12:00:00Z,
    /// seconds since 1970, or HH:MM:SS of today in UTC. So several machines begin together
    #[arg(
        long,
        value_name = "TIME",
        value_parser = wall_time,
        conflicts_with = "find",
        help_heading = "Pace"
    )]
    start_at: Option<SystemTime>,
    /// Spin for D before each message is due, to send it on time, or off [default: 80us in an open
    /// loop if there are more CPUs than threads]
    #[arg(long, value_name = "D", value_parser = spin, help_heading = "Pace")]
    spin: Option<Timeout>,
    /// Name the run in all its reports
    #[arg(long, value_name = "TEXT", value_parser = label, help_heading = "Reports")]
    label: Option<String>,
}

impl Timing {
    /// What makes no sense.
    pub(super) fn check(&self, is_open_loop: bool) -> Result<(), Failure> {
        if !is_open_loop && (self.arrivals.is_some() || self.seed.is_some()) {
            let word = if self.arrivals.is_some() {
                "--arrivals"
            } else {
                "--seed"
            };
            return Err(usage(format_args!(
                "{word} is for an open loop, and in a closed one the answers decide; add --rate, \
                 --stage or --find"
            )));
        }
        if self.has_stages() && self.mean() == 0.0 {
            return Err(usage(
                "--stage: a run of pauses sends nothing; give one stage a rate",
            ));
        }
        Ok(())
    }

    pub(super) fn has_stages(&self) -> bool {
        !self.stage.is_empty()
    }

    pub(super) fn stages(&self) -> Vec<Stage> {
        self.stage.clone()
    }

    /// All stages together.
    pub(super) fn length(&self) -> Option<Duration> {
        self.has_stages()
            .then(|| self.stage.iter().map(|stage| stage.length).sum())
    }

    /// The rate of all stages together.
    pub(super) fn mean_rate(&self) -> Option<Pace> {
        self.has_stages().then(|| Pace::per_second(self.mean()))
    }

    fn mean(&self) -> f64 {
        let messages = |stage: &Stage| stage.mean() * stage.length.as_secs_f64();
        let length = self.length().unwrap_or_default().as_secs_f64();
        self.stage.iter().map(messages).sum::<f64>() / length.max(1e-9)
    }

    pub(super) fn arrivals(&self) -> Arrivals {
        self.arrivals.unwrap_or(Arrivals::Poisson)
    }

    /// The seed, or one that is drawn: short enough to be typed.
    pub(super) fn seed(&self) -> u64 {
        let draw = || RandomState::new().hash_one(0) >> 32;
        self.seed.unwrap_or_else(draw)
    }

    pub(super) fn start_at(&self) -> Option<SystemTime> {
        self.start_at
    }

    pub(super) fn spin(&self) -> Option<Duration> {
        self.spin.map(|Timeout(spin)| spin.unwrap_or_default())
    }

    pub(super) fn label(&self) -> Option<String> {
        self.label.clone()
    }
}

fn arrivals(text: &str) -> Result<Arrivals, String> {
    [Arrivals::Poisson, Arrivals::Uniform]
        .into_iter()
        .find(|arrivals| arrivals.name() == text)
        .ok_or_else(|| "arrivals are poisson or uniform".to_owned())
}

fn spin(text: &str) -> Result<Timeout, String> {
    match duration(text)? {
        Timeout(Some(spin)) if spin > LONGEST_SPIN => {
            Err("spin for at most 1ms; tens of microseconds are enough on most machines".into())
        }
        spin => Ok(spin),
    }
}

fn label(text: &str) -> Result<String, String> {
    const LONGEST: usize = 100;
    if text.is_empty() || text.chars().count() > LONGEST {
        return Err(format!("a label has 1 to {LONGEST} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("a label has no control characters".into());
    }
    Ok(text.to_owned())
}
