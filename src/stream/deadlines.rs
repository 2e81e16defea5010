//! The deadlines of a connection, and what an expired one means.
//!
//! Owns the rules for all of them: idle, write, linger, drain, and the alarm of the service. Pure:
//! it computes a time or a verdict from a connection's times. It must never read a clock and never
//! act. The connection tries the socket before it acts on a verdict.
//!
//! | deadline | runs from | while | means |
//! |---|---|---|---|
//! | idle | the last byte, either way | the conversation goes on | finish, or reset |
//! | write | its last progress | output is pending, also in the service | reset |
//! | quiet | the last byte, either way | the server drains, the outbox is empty | finish |
//! | linger | our end of stream | only the peer's end is missing | close |
//! | alarm | what the service chose | the service hears or sends | call the service |
//!
//! **Progress of pending output** is a byte that the socket takes from us, or a byte that the peer
//! takes from the socket. The second needs a system call
//! ([`Net::unsent`](crate::net::Net::unsent)), so the connection asks only at deadlines: first
//! after half of the timeout, to get a value to compare with. A peer that takes something in every
//! half of the timeout is therefore never reset, and one that takes nothing is reset on time.
//!
//! A service that is asked to finish and goes on is left alone for one more period of that
//! deadline.
//!
//! Tests: below, `tests/timeouts.rs`.

use std::time::Duration;

use super::halves::{Halves, Tx};
use crate::values::limits::{DRAIN_QUIET, LINGER_TIME, Limits};
use crate::values::time::Time;

/// Output that is pending because the socket refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stall {
    /// When it last made progress, or began.
    pub(super) since: Time,
    /// Whether the kernel has been asked since then.
    pub(super) is_watched: bool,
}

impl Stall {
    /// A timeout of pending output; half of it until there is a value to compare with.
    fn patience(self, timeout: Option<Duration>) -> Option<Duration> {
        match self.is_watched {
            true => timeout,
            false => timeout.map(|timeout| timeout / 2),
        }
    }
}

/// The times that a connection's deadlines depend on.
#[derive(Debug)]
pub(super) struct Deadlines<'a> {
    pub(super) limits: &'a Limits,
    pub(super) draining: bool,
    pub(super) halves: Halves,
    /// When a byte last moved in either direction, or our end of stream was sent.
    pub(super) moved: Time,
    /// When the service wants to be called.
    pub(super) alarm: Time,
    /// Output that the socket has refused.
    pub(super) stall: Option<Stall>,
    /// Whether the service holds output.
    pub(super) holds: bool,
}

/// What an expired deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// The peer has had its time to end its side.
    Linger,
    /// Pending output made no progress.
    Write,
    /// No byte moved.
    Idle,
    /// It is quiet and the server drains.
    Quiet,
}

impl Deadlines<'_> {
    /// When the loop must run the connection even if no event comes.
    #[inline]
    pub(super) fn next(&self) -> Time {
        if self.halves.tx != Tx::Open && self.halves.only_lingers() {
            return self.linger();
        }
        let silence = self.idle().min(self.quiet());
        silence.min(self.write()).min(self.alarm)
    }

    /// Which deadline has passed at `now`, if any. The service's alarm is not among them, because
    /// it says nothing about the peer.
    #[cold]
    pub(super) fn expired(&self, now: Time) -> Option<Expired> {
        if self.halves.only_lingers() {
            return (self.linger() <= now).then_some(Expired::Linger);
        }
        let deadlines = [
            (self.write(), Expired::Write),
            (self.idle(), Expired::Idle),
            (self.quiet(), Expired::Quiet),
        ];
        deadlines
            .into_iter()
            .find_map(|(at, expired)| (at <= now).then_some(expired))
    }

    #[cold]
    fn linger(&self) -> Time {
        self.moved + LINGER_TIME
    }

    #[inline]
    fn idle(&self) -> Time {
        let timeout = self.limits.idle_timeout;
        self.moved.after(match self.stall {
            Some(stall) => stall.patience(timeout),
            None => timeout,
        })
    }

    #[inline]
    fn write(&self) -> Time {
        let timeout = self.limits.write_timeout;
        match self.stall {
            Some(stall) => stall.since.after(stall.patience(timeout)),
            None if self.holds => self.moved.after(timeout),
            None => Time::NEVER,
        }
    }

    /// Output that the service holds does not count here: the service lets go of it when it is
    /// asked to finish.
    #[inline]
    fn quiet(&self) -> Time {
        match self.stall {
            None if self.draining => self.moved + DRAIN_QUIET,
            _ => Time::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::halves::Event;
    use super::*;
    use crate::values::error::CloseReason;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn limits() -> Limits {
        Limits {
            idle_timeout: Some(Duration::from_secs(100)),
            write_timeout: Some(Duration::from_secs(30)),
            ..Limits::default()
        }
    }

    fn open(limits: &Limits) -> Deadlines<'_> {
        Deadlines {
            limits,
            draining: false,
            halves: Halves::OPEN,
            moved: at(10),
            alarm: Time::NEVER,
            stall: None,
            holds: false,
        }
    }

    fn halves(events: &[Event]) -> Halves {
        let mut halves = Halves::OPEN;
        events.iter().for_each(|event| halves.take(*event));
        halves
    }

    #[test]
    fn without_timeouts_there_is_no_deadline() {
        let limits = Limits {
            idle_timeout: None,
            write_timeout: None,
            ..Limits::default()
        };
        let stall = Some(Stall {
            since: at(10),
            is_watched: false,
        });
        for stall in [None, stall] {
            let deadlines = Deadlines {
                stall,
                ..open(&limits)
            };
            assert_eq!(deadlines.next(), Time::NEVER);
            assert_eq!(deadlines.expired(at(1_000_000)), None);
        }
    }

    #[test]
    fn the_earliest_deadline_counts() {
        let limits = limits();
        assert_eq!(open(&limits).next(), at(110));
        assert_eq!(open(&limits).expired(at(109)), None);
        assert_eq!(open(&limits).expired(at(110)), Some(Expired::Idle));
        let alarmed = Deadlines {
            alarm: at(50),
            ..open(&limits)
        };
        assert_eq!(alarmed.next(), at(50));
        assert_eq!(alarmed.expired(at(50)), None, "an alarm is no verdict");
    }

    #[test]
    fn pending_output_is_looked_at_after_half_the_time_and_judged_after_all_of_it() {
        let limits = limits();
        let stalled = |is_watched| Deadlines {
            stall: Some(Stall {
                since: at(20),
                is_watched,
            }),
            ..open(&limits)
        };
        assert_eq!(stalled(false).next(), at(35));
        assert_eq!(stalled(true).next(), at(50));
        assert_eq!(stalled(true).expired(at(50)), Some(Expired::Write));
    }

    #[test]
    fn a_drain_finishes_what_is_quiet_and_has_no_pending_output() {
        let limits = limits();
        let draining = Deadlines {
            draining: true,
            ..open(&limits)
        };
        assert_eq!(draining.next(), at(10) + DRAIN_QUIET);
        assert_eq!(draining.expired(at(20)), Some(Expired::Quiet));
        let stalled = Deadlines {
            stall: Some(Stall {
                since: at(20),
                is_watched: true,
            }),
            ..draining
        };
        assert_eq!(stalled.expired(at(21)), None);
    }

    #[test]
    fn output_that_the_service_holds_has_the_write_timeout_and_does_not_stop_a_drain() {
        let limits = limits();
        let holding = Deadlines {
            holds: true,
            ..open(&limits)
        };
        assert_eq!(holding.next(), at(40));
        assert_eq!(holding.expired(at(40)), Some(Expired::Write));
        let draining = Deadlines {
            draining: true,
            ..holding
        };
        assert_eq!(draining.expired(at(20)), Some(Expired::Quiet));
    }

    #[test]
    fn a_half_closed_side_still_hears_and_a_lingering_one_only_waits() {
        let limits = limits();
        let listening = Deadlines {
            draining: true,
            halves: halves(&[Event::HalfClose, Event::EndSent]),
            ..open(&limits)
        };
        assert_eq!(listening.expired(at(20)), Some(Expired::Quiet));
        let lingering = Deadlines {
            halves: halves(&[Event::Finish(CloseReason::Finished), Event::EndSent]),
            ..listening
        };
        assert_eq!(lingering.next(), at(10) + LINGER_TIME);
        assert_eq!(lingering.expired(at(14)), None);
        assert_eq!(
            lingering.expired(at(10) + LINGER_TIME),
            Some(Expired::Linger)
        );
    }
}
