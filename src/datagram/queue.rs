//! Datagrams that the socket refused for now.
//!
//! Owns at most [`DATAGRAM_QUEUE`] bytes for a socket, in the order in which they came. Must never hold more.

use std::collections::VecDeque;

use crate::values::limits::DATAGRAM_QUEUE;
use crate::values::path::Path;

/// Replies that wait for the socket.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) replies: VecDeque<(Path, Box<[u8]>)>,
    /// What they count for, see [`charge`].
    pub(super) charged: usize,
}

impl Queue {
    pub(super) fn push(&mut self, path: Path, bytes: Box<[u8]>) {
        self.charged += charge(bytes.len());
        self.replies.push_back((path, bytes));
    }

    pub(super) fn pop(&mut self) -> Option<(Path, Box<[u8]>)> {
        let reply = self.replies.pop_front()?;
        self.charged -= charge(reply.1.len());
        Some(reply)
    }

    /// Whether a reply of `size` bytes may still be kept.
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.charged + charge(size) <= DATAGRAM_QUEUE
    }
}

/// What a reply of `size` bytes counts for: small ones as a kibibyte, so that the queue is short enough to be searched for a peer.
pub(super) fn charge(size: usize) -> usize {
    size.max(1024)
}
