//! What a source borrows for its part of a turn, and what it says when it has run.
//!
//! Owns the network, the time of this turn, its budget, the counters and the one read buffer. The
//! reactor lends all of it to one source at a time, so no source needs a buffer of its own. It
//! decides nothing.

use crate::net::Net;
use crate::values::error::CloseReason;
use crate::values::limits::{BYTES_PER_UNIT, Limits, READ_BUFFER, TURN_BUDGET};
use crate::values::stats::Stats;
use crate::values::time::Time;

/// Lent to the source that runs.
#[derive(Debug)]
pub(crate) struct Turn<N: Net> {
    pub(crate) net: N,
    /// The clock, read once after the wait.
    pub(crate) now: Time,
    /// Whether the server is on its way out.
    pub(crate) draining: bool,
    pub(crate) limits: Limits,
    pub(crate) stats: Stats,
    /// Every read goes here first, and in the normal case its bytes go from here to a socket.
    pub(crate) buffer: Box<[u8]>,
    /// Work that this turn may still do: see [`TURN_BUDGET`]. Negative after a source that overdrew
    /// it.
    pub(crate) budget: i32,
    /// Memory that all connections together hold for output that their peers have not taken, and
    /// for messages that are not finished.
    pub(crate) pending: usize,
    /// Connections whose end of stream has been sent and that only linger. A drain does not count
    /// them against the connection limit.
    pub(crate) lingering: usize,
}

impl<N: Net> Turn<N> {
    pub(crate) fn new(mut net: N, limits: Limits) -> Turn<N> {
        let now = net.now();
        Turn {
            net,
            now,
            draining: false,
            limits,
            stats: Stats::default(),
            buffer: vec![0; READ_BUFFER].into(),
            budget: TURN_BUDGET,
            pending: 0,
            lingering: 0,
        }
    }

    /// Past the limit of pending output, the turn ends with this run. The loop then makes room
    /// before a source adds more.
    pub(crate) fn check_pending(&mut self) {
        if self.pending > self.limits.max_pending_output {
            self.budget = 0;
        }
    }

    /// Takes `units` of work and the handling of `bytes` off what this turn may still do.
    #[inline]
    pub(crate) fn charge(&mut self, units: i32, bytes: usize) {
        self.budget -= units + (bytes / BYTES_PER_UNIT) as i32;
    }
}

/// How a source left its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Outcome {
    /// An event or its alarm will mark it again.
    Waiting,
    /// It stopped at its budget with work left. No event will announce that, so it must be queued
    /// again.
    More,
    /// It is over.
    Done(CloseReason),
}
