//! Datagrams that the socket did not take yet.
//!
//! Owns at most [`DATAGRAM_QUEUE`] bytes for a socket, in the order in which they were sent. Must
//! never hold more, and must never abort the process when memory runs out.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::net::Net;
use crate::values::limits::DATAGRAM_QUEUE;
use crate::values::path::Path;
use crate::values::peer::Peer;

/// Replies that wait for the socket.
#[derive(Debug, Default)]
pub(super) struct Queue {
    replies: VecDeque<Waiting>,
    /// What the replies count for: see [`charge`].
    charged: usize,
}

/// One datagram.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) path: Path,
    pub(super) bytes: Vec<u8>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    pub(super) fn charged(&self) -> usize {
        self.charged
    }

    /// Copies a datagram into the queue. `false`: the queue is full, its peer has `most` bytes
    /// there, or there is no memory.
    pub(super) fn push<N: Net>(
        &mut self,
        net: &mut N,
        path: &Path,
        pieces: &[IoSlice<'_>],
        most: usize,
    ) -> bool {
        let size = pieces.iter().map(|piece| piece.len()).sum();
        let mut bytes = Vec::new();
        if self.charged + charge(size) > DATAGRAM_QUEUE
            || self.charged + charge(size) > most
                && self.charged_to(&path.peer) + charge(size) > most
            || net.reserve(&mut bytes, size).is_err()
            || self.replies.try_reserve(1).is_err()
        {
            return false;
        }
        pieces
            .iter()
            .for_each(|piece| bytes.extend_from_slice(piece));
        let path = path.clone();
        self.put_back(Waiting { path, bytes });
        true
    }

    /// What the replies to one peer count for.
    fn charged_to(&self, peer: &Peer) -> usize {
        let replies = self.replies.iter();
        let of_peer = replies.filter(|waiting| waiting.path.peer == *peer);
        of_peer.map(|waiting| charge(waiting.bytes.len())).sum()
    }

    /// Takes the first datagram.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let first = self.replies.pop_front()?;
        self.charged -= charge(first.bytes.len());
        Some(first)
    }

    /// Puts a datagram that was taken at the end.
    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.charged += charge(waiting.bytes.len());
        self.replies.push_back(waiting);
    }

    /// Whether one of the last `count` datagrams is for `peer`.
    pub(super) fn holds(&self, peer: &Peer, count: usize) -> bool {
        let mut last = self.replies.iter().rev().take(count);
        last.any(|waiting| waiting.path.peer == *peer)
    }
}

/// What a reply of `size` bytes counts for. A small one counts as a kibibyte, so that the queue
/// stays short enough to be searched for a peer.
pub(super) fn charge(size: usize) -> usize {
    size.max(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sim::{Conditions, SimNet};
    use crate::values::limits::DATAGRAM_QUEUE_OF_ONE;

    #[test]
    fn a_full_queue_takes_no_more_and_an_empty_one_counts_for_nothing() {
        let (mut net, mut queue) = (SimNet::new(0, Conditions::default()), Queue::default());
        let path = Path::plain(Peer::unnamed());
        let mut push = |queue: &mut Queue, bytes: &[u8]| {
            queue.push(&mut net, &path, &[IoSlice::new(bytes)], DATAGRAM_QUEUE)
        };
        for _ in 0..DATAGRAM_QUEUE / 1024 {
            assert!(push(&mut queue, b"small"));
        }
        assert!(!push(&mut queue, b""));
        assert_eq!(queue.pop().map(|first| first.bytes), Some(b"small".into()));
        assert!(!push(&mut queue, &[0; 1025]));
        assert!(push(&mut queue, &[0; 1024]));
        while queue.pop().is_some() {}
        assert_eq!((queue.len(), queue.charged()), (0, 0));
    }

    #[test]
    fn one_peer_leaves_room_for_others() {
        let (mut net, mut queue) = (SimNet::new(0, Conditions::default()), Queue::default());
        let mut push = |name: &[u8]| {
            let path = Path::plain(Peer::Unix(name.into()));
            queue.push(&mut net, &path, &[], DATAGRAM_QUEUE_OF_ONE)
        };
        assert!(push(b"other"));
        let taken = (0..1000).filter(|_| push(b"stuck")).count();
        assert_eq!(taken, DATAGRAM_QUEUE_OF_ONE / 1024);
        assert!(push(b"other"));
    }

    #[test]
    fn the_last_datagrams_are_searched_and_no_others() {
        let (mut net, mut queue) = (SimNet::new(0, Conditions::default()), Queue::default());
        let peer = |name: &[u8]| Peer::Unix(name.into());
        for name in [b"a", b"b", b"c"] {
            queue.push(&mut net, &Path::plain(peer(name)), &[], DATAGRAM_QUEUE);
        }
        assert!(queue.holds(&peer(b"a"), 3) && !queue.holds(&peer(b"a"), 2));
        assert!(queue.holds(&peer(b"c"), 1) && !queue.holds(&peer(b"d"), 3));
    }
}
