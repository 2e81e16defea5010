//! On which side of a connection we are, and what differs by it.
//!
//! Owns the differences, each as one question. Everything else about a connection is the same on both
//! sides.
//!
//! | | server role | client role |
//! |---|---|---|
//! | reads while output is pending | no: the peer is pushed back | yes: both sides would wait for ever |
//! | a broken pipe means | the peer is gone | the peer takes nothing more; it may still have said something |
//! | after a failed write | the connection is over | what the peer said before is read |
//!
//! Tests: `tests/connect.rs`, `tests/simulated_clients.rs`.

use std::io;

use crate::values::error::CloseReason;

/// Our side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The peer connected to us.
    Server,
    /// We connected to the peer.
    Client,
}

impl Role {
    /// Whether input is read while output is pending. Two echoes that both wait for the other to read
    /// would wait for ever, so one of the two sides must go on.
    #[inline]
    pub(super) fn reads_while_pending(self) -> bool {
        self == Role::Client
    }

    /// What an error of sending means. To a client a broken pipe says that nothing more is wanted, and
    /// not yet that anything was lost: an end of stream may stand before the reset, and the peer's last
    /// words before that. The reads that follow tell.
    #[cold]
    pub(super) fn meaning(self, error: &io::Error) -> CloseReason {
        match (self, error.kind()) {
            (Role::Client, io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected) => {
                CloseReason::PeerClosed
            }
            _ => CloseReason::of_error(error),
        }
    }

    /// Whether the peer is still read from when sending has failed for `reason`. After any other error
    /// than these the peer may still be there, and wait for us.
    pub(super) fn reads_after(self, reason: CloseReason) -> bool {
        self == Role::Client && matches!(reason, CloseReason::PeerClosed | CloseReason::Reset)
    }
}
