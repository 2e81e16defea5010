//! Running, draining, stopped.
//!
//! ```text
//!            first request            all done, deadline, or second request
//!  Running ───────────────▶ Draining ────────────────────────────────────────▶ Stopped
//! ```
//!
//! Owns the server's state. Pure: it computes the next state from the time and from what is left.
//! It must never touch a source; the reactor does, at the end of a turn.

use std::time::Duration;

use crate::values::time::Time;

/// The state of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Accepting and serving.
    Running,
    /// Not accepting any more. Open connections may end by themselves until the deadline.
    Draining {
        /// When the server cuts the rest.
        deadline: Time,
    },
    /// Over: whatever is still open is closed.
    Stopped,
}

/// The effect of a request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The drain begins now.
    DrainBegins,
    /// The server stops now.
    StopsNow,
}

impl Lifecycle {
    /// A request to end: the first begins a drain, the second stops it.
    pub(crate) fn terminate(&mut self, now: Time, drain_timeout: Option<Duration>) -> Step {
        match self {
            Lifecycle::Running => {
                *self = Lifecycle::Draining {
                    deadline: now.after(drain_timeout),
                };
                Step::DrainBegins
            }
            Lifecycle::Draining { .. } | Lifecycle::Stopped => self.stop(),
        }
    }

    /// A request to end without a drain.
    pub(crate) fn stop(&mut self) -> Step {
        *self = Lifecycle::Stopped;
        Step::StopsNow
    }

    /// Ends a drain that has nothing left to do, or no time left to do it in.
    pub(crate) fn advance(&mut self, now: Time, is_empty: bool) {
        if let Lifecycle::Draining { deadline } = *self {
            if is_empty || now >= deadline {
                *self = Lifecycle::Stopped;
            }
        }
    }

    /// When the loop must wake to move on.
    #[inline]
    pub(crate) fn deadline(self) -> Time {
        match self {
            Lifecycle::Draining { deadline } => deadline,
            Lifecycle::Running | Lifecycle::Stopped => Time::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_drain_ends_when_nothing_is_left() {
        let mut lifecycle = Lifecycle::Running;
        lifecycle.advance(at(1), true);
        assert_eq!(lifecycle, Lifecycle::Running, "an idle server runs on");
        assert_eq!(
            lifecycle.terminate(at(1), Some(Duration::from_secs(5))),
            Step::DrainBegins
        );
        assert_eq!(lifecycle.deadline(), at(6));
        lifecycle.advance(at(2), false);
        assert_eq!(lifecycle, Lifecycle::Draining { deadline: at(6) });
        lifecycle.advance(at(3), true);
        assert_eq!(lifecycle, Lifecycle::Stopped);
    }

    #[test]
    fn a_drain_ends_at_its_deadline() {
        let mut lifecycle = Lifecycle::Running;
        lifecycle.terminate(at(1), Some(Duration::from_secs(5)));
        lifecycle.advance(at(6), false);
        assert_eq!(lifecycle, Lifecycle::Stopped);
    }

    #[test]
    fn a_second_request_stops_at_once_and_a_timeout_that_is_off_never_does() {
        let mut lifecycle = Lifecycle::Running;
        lifecycle.terminate(at(1), None);
        lifecycle.advance(at(1_000_000), false);
        assert_eq!(
            lifecycle,
            Lifecycle::Draining {
                deadline: Time::NEVER
            }
        );
        assert_eq!(lifecycle.terminate(at(2), None), Step::StopsNow);
        assert_eq!(
            lifecycle.terminate(at(3), None),
            Step::StopsNow,
            "stopped stays stopped"
        );
        assert_eq!(lifecycle, Lifecycle::Stopped);
    }
}
