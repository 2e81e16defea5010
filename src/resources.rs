//! What a source may use while it runs, and what it says when it has run.
//!
//! Owns the things that all sources share: the network, the one read buffer, the counters, the time of this turn.
//! The reactor lends it to one source at a time; that is why none of them needs a buffer of its own.

use std::net::SocketAddr;

use crate::error::CloseReason;
use crate::guard::Rate;
use crate::limits::{Limits, READ_BUFFER};
use crate::net::{Burst, Net};
use crate::replies::Replies;
use crate::stats::Stats;
use crate::timer::Time;

/// Lent to the source that runs.
#[derive(Debug)]
pub(crate) struct Resources<N: Net> {
    pub(crate) net: N,
    /// The clock, read once after the wait.
    pub(crate) now: Time,
    /// Whether the server is on its way out.
    pub(crate) draining: bool,
    pub(crate) limits: Limits,
    pub(crate) stats: Stats,
    /// Every read goes here first, and in the normal case its bytes go from here to a socket.
    pub(crate) buffer: Box<[u8]>,
    /// What a datagram socket receives into, and what is said to it.
    pub(crate) burst: Burst,
    pub(crate) replies: Replies,
    /// The UDP addresses that we are bound to.
    pub(crate) own: Vec<SocketAddr>,
    /// How many answers each source has had, where that is capped.
    pub(crate) rate: Option<Rate>,
}

impl<N: Net> Resources<N> {
    pub(crate) fn new(mut net: N, limits: Limits) -> Resources<N> {
        let now = net.now();
        Resources {
            net,
            now,
            draining: false,
            rate: limits.udp_rate.map(Rate::new),
            limits,
            stats: Stats::default(),
            buffer: vec![0; READ_BUFFER].into(),
            burst: Burst::default(),
            replies: Replies::default(),
            own: Vec::new(),
        }
    }
}

/// How a source left its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Outcome {
    /// An event or its alarm will mark it again.
    Waiting,
    /// It stopped at its budget with work left. No event will tell of that: queue it again.
    More,
    /// It is over.
    Done(CloseReason),
}
