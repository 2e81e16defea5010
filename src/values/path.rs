//! The way between a datagram socket and a peer.
//!
//! Owns what the kernel reports about a datagram besides its bytes. It decides nothing.

use std::net::IpAddr;

use crate::values::peer::Peer;

/// The way that a datagram came, and that its answer goes. Answers share a message of the kernel
/// only if their paths are equal, so a field that differs between datagrams of one flow costs
/// speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Who sent it, and gets the answer.
    pub peer: Peer,
    /// Our address that the datagram was sent to, which will answer. `None` if the socket has only
    /// one, or does not tell. If the datagram came to an IPv4 group, an address of ours that can
    /// answer.
    pub local: Option<IpAddr>,
    /// The hop limit that it came with, or will leave with; `None`: not told, or the system's.
    pub hops: Option<u8>,
    /// The number of the interface that it came through, if it came to an IPv6 address of one link:
    /// only both together can answer. 0: not needed, or not told.
    pub interface: u32,
    /// Whether it was sent to a broadcast or a group address, not to an address of ours. The system
    /// tells of it only if the socket is bound to all addresses or to a group.
    pub to_group: bool,
}

impl Path {
    /// To or from `peer`; nothing else is known.
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
