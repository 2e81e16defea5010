//! Unix datagram peers that leave large replies unread.
//!
//! Linux charges a Unix datagram to its sender's buffer until the receiver reads it, and queues
//! about eleven for each receiver. Eleven small ones are little. Eleven of 64 KiB are more than a
//! whole buffer, and then the kernel refuses every reply of this socket, to any peer.
//!
//! Owns the rule which peer gets one more large reply. While less than half of the buffer is
//! charged, every peer does. Past that, a peer gets one if no more is charged now than before its
//! last one. A peer that does not read fails that, because its own last reply is still charged. A
//! peer that reads passes, at once or when the others have read too. So one peer holds at most
//! half of the buffer and one reply.
//!
//! The first judged reply to a peer always goes. It may stay unread, so it counts for the marks of
//! those that have passed before. The kernel does not tell which peer holds what. So several peers
//! that do not read can still fill the buffer, and a peer that has not passed yet waits with one
//! that is judged for the first time right behind it and does not read.
//!
//! Tests: below; `tests/unix_datagrams.rs`.

use crate::values::peer::Peer;

/// Replies shorter than this are not judged: eleven of them are charged less than 100 KB.
pub(super) const LARGE: usize = 4096;

/// Peers whose last large reply is remembered.
const MARKS: usize = 64;

/// What was charged when each peer was last sent a large reply, since half of the buffer is.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    marks: Vec<Mark>,
    /// Which one gives way to the next.
    next: usize,
}

#[derive(Debug)]
struct Mark {
    peer: Peer,
    /// What was charged before the last reply to this peer.
    unread: usize,
    /// Whether the peer was seen to read.
    has_passed: bool,
}

impl Crowd {
    /// Whether `peer` gets a reply of `size` bytes while `unread` of `most` bytes are charged.
    pub(super) fn admits(
        &mut self,
        peer: &Peer,
        size: usize,
        (unread, most): (usize, usize),
    ) -> bool {
        if unread + size <= most / 2 || unread == 0 {
            self.marks.clear();
            return true;
        }
        if let Some(mark) = self.marks.iter_mut().find(|mark| mark.peer == *peer) {
            let passes = unread <= mark.unread;
            mark.unread = unread.min(mark.unread);
            mark.has_passed |= passes;
            return passes;
        }
        let charged = size + size / 8 + LARGE;
        for mark in self.marks.iter_mut().filter(|mark| mark.has_passed) {
            mark.unread += charged;
        }
        let mark = Mark {
            peer: peer.clone(),
            unread,
            has_passed: false,
        };
        if self.marks.len() < MARKS {
            self.marks.push(mark);
        } else {
            self.marks[self.next] = mark;
            self.next = (self.next + 1) % MARKS;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 400_000;
    const SIZE: usize = 60_000;

    fn peer(name: &str) -> Peer {
        Peer::Unix(name.as_bytes().into())
    }

    #[test]
    fn a_peer_that_does_not_read_holds_half_and_one_reply() {
        let (mut crowd, mut unread) = (Crowd::default(), 0);
        for _ in 0..100 {
            if crowd.admits(&peer("stuck"), SIZE, (unread, MOST)) {
                unread += SIZE;
            }
        }
        assert_eq!(unread, 4 * SIZE);
        assert!(unread <= MOST / 2 + SIZE);
        assert!(!crowd.admits(&peer("stuck"), SIZE, (unread, MOST)));
        assert!(
            crowd.admits(&peer("stuck"), SIZE, (unread - SIZE, MOST)),
            "it has read one"
        );
        assert!(crowd.admits(&peer("stuck"), SIZE, (0, MOST)));
        assert!(crowd.marks.is_empty());
    }

    #[test]
    fn a_peer_that_reads_passes_for_as_long_as_it_likes() {
        let (mut crowd, mut unread) = (Crowd::default(), MOST / 2);
        for name in ["stuck", "another", "a third"] {
            for _ in 0..100 {
                if crowd.admits(&peer(name), SIZE, (unread, MOST)) {
                    unread += SIZE;
                }
                assert!(crowd.admits(&peer("reads"), SIZE, (unread, MOST)));
            }
        }
        assert_eq!(unread, MOST / 2 + 3 * SIZE);
        assert!(!crowd.admits(&peer("reads"), SIZE, (unread + SIZE, MOST)));
    }

    #[test]
    fn a_crowd_is_remembered_up_to_a_bound() {
        let mut crowd = Crowd::default();
        for number in 0..1000 {
            assert!(crowd.admits(&peer(&format!("{number}")), SIZE, (MOST, MOST)));
        }
        assert_eq!(crowd.marks.len(), MARKS);
        assert!(!crowd.admits(&peer("999"), SIZE, (MOST + 1, MOST)));
    }

    #[test]
    fn a_reply_that_is_longer_than_half_of_an_empty_buffer_goes() {
        assert!(Crowd::default().admits(&peer("a"), 2 * MOST, (0, MOST)));
    }
}
