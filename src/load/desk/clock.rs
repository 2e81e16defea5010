//! When the phases of a run begin and end.
//!
//! Owns four times: set by the generator, read by its callers. Must never read a clock by itself.

use std::cell::Cell;
use std::time::Duration;

use crate::values::time::Time;

/// How long is waited for what is on its way at the end where no timeout says so.
const PATIENCE: Duration = Duration::from_secs(5);

/// The times of a run, as one generator keeps them.
#[derive(Debug)]
pub(in crate::load) struct Clock {
    start: Cell<Time>,
    measured_from: Cell<Time>,
    end: Cell<Time>,
    over: Cell<Time>,
    is_interrupted: Cell<bool>,
    patience: Duration,
}

impl Clock {
    /// Before anything has begun. An answer is given up after `timeout`.
    pub(super) fn new(timeout: Option<Duration>) -> Clock {
        Clock {
            start: Cell::new(Time::NEVER),
            measured_from: Cell::new(Time::NEVER),
            end: Cell::new(Time::NEVER),
            over: Cell::new(Time::NEVER),
            is_interrupted: Cell::new(false),
            patience: timeout.unwrap_or(PATIENCE),
        }
    }

    /// Messages go from `start` on, are measured from `measured_from` on, and none is meant to be
    /// sent at `end` or later.
    pub(in crate::load) fn begin(&self, start: Time, measured_from: Time, end: Time) {
        self.start.set(start);
        self.measured_from.set(measured_from);
        self.end.set(end);
    }

    /// The end has come sooner than planned: the user waits for what is in flight, and for no more.
    pub(in crate::load) fn interrupt(&self, now: Time) {
        self.end.set(now);
        self.is_interrupted.set(true);
    }

    /// Everybody is to end: what has no fate now has failed.
    pub(in crate::load) fn finish(&self, now: Time) {
        self.over.set(now);
    }

    /// When messages begin to go; [`Time::NEVER`] until that is known.
    pub(in crate::load) fn start(&self) -> Time {
        self.start.get()
    }

    /// When the window begins.
    pub(in crate::load) fn measured_from(&self) -> Time {
        self.measured_from.get()
    }

    /// Nothing is meant to be sent from then on.
    pub(in crate::load) fn end(&self) -> Time {
        self.end.get()
    }

    /// When everybody was told to end; [`Time::NEVER`] before.
    pub(in crate::load) fn over(&self) -> Time {
        self.over.get()
    }

    pub(in crate::load) fn is_over(&self) -> bool {
        self.over.get() < Time::NEVER
    }

    /// Until when what was meant to be sent before the end is still sent.
    pub(in crate::load) fn last_call(&self) -> Time {
        if self.is_interrupted.get() {
            self.end.get()
        } else {
            self.end.get() + self.patience
        }
    }

    /// How long an answer is waited for at the end.
    pub(in crate::load) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether a message belongs to the window, or to what comes behind it: by when it was meant to
    /// be sent.
    #[inline]
    pub(in crate::load) fn is_measured(&self, intended: Time) -> bool {
        intended >= self.measured_from.get()
    }

    /// Whether `now` lies in the window.
    #[inline]
    pub(in crate::load) fn measures(&self, now: Time) -> bool {
        self.is_measured(now) && now < self.end.get()
    }

    /// Whether a message that is meant to be sent at `intended` may be `now`.
    pub(super) fn admits(&self, intended: Time, now: Time) -> bool {
        intended >= self.start.get()
            && intended < self.end.get()
            && now < self.last_call()
            && !self.is_over()
    }
}
