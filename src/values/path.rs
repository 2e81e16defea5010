//! The way between a datagram socket and a peer.
//!
//! Owns what the kernel tells of a datagram beside its bytes. It decides nothing.

use std::net::IpAddr;

use crate::values::peer::Peer;

/// The way that a datagram came, and its answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Who sent it, and is to be answered.
    pub peer: Peer,
    /// The address of ours that was asked, which is to answer; `None` where the socket has but one, or does not tell.
    pub local: Option<IpAddr>,
    /// The hop limit that it came with, or is to leave with; `None`: not told, or the system's.
    pub hops: Option<u8>,
    /// The number of the interface that it came through, where an IPv6 address of one link needs it to
    /// be answered; 0: not needed, or not told.
    pub interface: u32,
    /// Whether it was sent to a broadcast or a group address rather than to an address of ours.
    pub to_group: bool,
}

impl Path {
    /// To or from `peer`, and nothing else is known.
    pub fn plain(peer: Peer) -> Path {
        Path {
            peer,
            local: None,
            hops: None,
            interface: 0,
            to_group: false,
        }
    }
}
