//! Datagram sockets: one service, any number of peers, no connections.
//!
//! Owns the way of a datagram from the socket to its service and back, and the rules about who is answered ([`guard`]). It is generic
//! over [`Net`](crate::net::Net), and never names the loop.

pub mod guard;
mod queue;
pub(crate) mod replies;
pub(crate) mod socket;
mod wire;

use std::net::SocketAddr;

use self::guard::Rate;
use self::replies::Replies;
use crate::net::Burst;
use crate::values::limits::Limits;

/// What all datagram sockets of a reactor share, lent to the one that runs.
#[derive(Debug)]
pub(crate) struct Common {
    /// What a datagram socket receives into, and what is said to it.
    pub(crate) burst: Burst,
    pub(crate) replies: Replies,
    /// The UDP addresses that we are bound to.
    pub(crate) own: Vec<SocketAddr>,
    /// How many answers each source has had, where that is capped.
    pub(crate) rate: Option<Rate>,
}

impl Common {
    pub(crate) fn new(limits: &Limits) -> Common {
        Common {
            burst: Burst::default(),
            replies: Replies::default(),
            own: Vec::new(),
            rate: limits.udp_rate.map(Rate::new),
        }
    }
}
