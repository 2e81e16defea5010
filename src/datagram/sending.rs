//! The way out of a datagram socket.
//!
//! Owns the socket, and the replies that it did not take yet. Must never change the order of the
//! datagrams to one peer, and never lose one without counting it.
//!
//! * An answer goes back the way its question came: from the address that was asked, with one hop
//!   less. Answers to one peer, of one size, share a message if the kernel can cut them
//!   ([`Net::offloads`]). Some interfaces promise to cut and cannot (EIO, EINVAL, EMSGSIZE). Then
//!   the datagrams go one by one, and the socket remembers what it cannot do.
//! * Replies that the socket refuses wait in a queue, in order for each peer. A full UDP socket is
//!   full for every peer, and an event tells when it has room again. A Unix datagram is refused
//!   because *that peer's* queue is full, and no event tells when it is not. So it is tried again
//!   soon, and meanwhile the other peers get their replies.
//! * Unix datagrams that a peer leaves unread are charged to *our* send buffer. Once peers leave
//!   that much unread, the kernel refuses every reply on that socket until one of them reads or
//!   goes. So one peer gets a part of the buffer, and a part of the queue: [`Crowd`].

use std::io::{self, IoSlice};
use std::time::Duration;

use log::{debug, info};

use super::crowd::{Crowd, LARGE};
use super::queue::{Queue, Waiting};
use super::replies::Replies;
use crate::net::turn::Turn;
use crate::net::{Net, Transmit};
use crate::values::endpoint::Address;
use crate::values::limits::{
    DATAGRAM_QUEUE, DATAGRAM_QUEUE_OF_ONE, DATAGRAM_RETRY, DATAGRAM_RETRY_MOST,
};
use crate::values::path::Path;
use crate::values::ready::Ready;
use crate::values::time::Time;

/// A socket, and what it did not take yet.
pub(super) struct Outbound<N: Net> {
    pub(super) socket: N::Datagram,
    pub(super) address: Address,
    /// When to run the socket again although no event came: a Unix peer did not take its reply, or
    /// receiving gave nothing but errors.
    pub(super) retry_at: Time,
    /// The last error of a reply that was refused for good, until the service has been told.
    pub(super) refusal: Option<io::Error>,
    queue: Queue,
    crowd: Crowd,
    /// The longest datagrams that may share a message: what this socket is known to take.
    offload: usize,
    /// How long after a refusal a Unix peer is tried again.
    retry_after: Duration,
}

impl<N: Net> Outbound<N> {
    pub(super) fn new(net: &N, socket: N::Datagram, address: Address) -> Outbound<N> {
        let offload = if net.offloads(&socket) { usize::MAX } else { 0 };
        Outbound {
            socket,
            address,
            retry_at: Time::NEVER,
            refusal: None,
            queue: Queue::default(),
            crowd: Crowd::default(),
            offload,
            retry_after: DATAGRAM_RETRY,
        }
    }

    /// How many replies wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// What the waiting replies count for: see
    /// [`DATAGRAM_QUEUE`](crate::values::limits::DATAGRAM_QUEUE).
    pub(super) fn charged(&self) -> usize {
        self.queue.charged()
    }

    /// Sends what the service said, in as few messages as possible. `path` gives the path of a part
    /// of the burst.
    pub(super) fn dispatch<'a>(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        replies: &mut Replies,
        burst: &[u8],
        path: impl Fn(usize) -> &'a Path,
    ) {
        if replies.is_empty() {
            return;
        }
        replies.gather(self.offload, |a, b| a == b || path(a) == path(b));
        replies.each_batch(burst, path, |messages| self.deliver(ready, turn, messages));
        replies.clear();
    }

    /// Tries the replies that wait once more, in order for each peer.
    ///
    /// When a Unix peer refuses a datagram, the kernel gives back the memory that was taken for it,
    /// and announces that as "writable". A retry at that word would turn without rest for as long
    /// as one peer does not read. So replies to Unix peers are retried only if `is_due`.
    pub(super) fn flush(&mut self, ready: &mut Ready, turn: &mut Turn<N>, is_due: bool) {
        let waiting = self.queue.len();
        if waiting == 0 || !is_due && turn.net.blocks_per_peer(&self.socket) {
            return;
        }
        let mut kept = 0;
        for _ in 0..waiting {
            let Some(reply) = self.queue.pop() else { break };
            let Waiting { path, bytes } = &reply;
            // What was kept in this pass stands at the end of the queue.
            let must_wait = !ready.contains(Ready::WRITABLE) || self.queue.holds(&path.peer, kept);
            let message = Transmit {
                path,
                pieces: &[IoSlice::new(bytes)],
                segment: None,
            };
            if must_wait || self.send(ready, turn, &[message]).is_none() {
                self.queue.put_back(reply);
                kept += 1;
            }
        }
        // A crowd of peers that take nothing would cost a whole CPU: they are tried less and less.
        self.retry_after = if kept < waiting {
            DATAGRAM_RETRY
        } else {
            DATAGRAM_RETRY_MOST.min(2 * self.retry_after)
        };
        if kept > 0 {
            self.plan_retry(turn);
        }
    }

    /// Sends messages in their order, and settles each one: it left, it waits in the queue, or it
    /// was refused for good.
    fn deliver(&mut self, ready: &mut Ready, turn: &mut Turn<N>, messages: &[Transmit<'_>]) {
        let mut rest = messages;
        while let Some(next) = rest.first() {
            let settled = if self.must_wait(*ready, turn, next) {
                None
            } else {
                self.send(ready, turn, rest)
            };
            if settled.is_none() {
                self.keep(turn, next);
            }
            rest = &rest[settled.unwrap_or(1)..];
        }
    }

    /// Whether a message would overtake one that waits, or find the socket full.
    fn must_wait(&self, ready: Ready, turn: &Turn<N>, message: &Transmit<'_>) -> bool {
        let is_behind = || {
            !turn.net.blocks_per_peer(&self.socket)
                || self.queue.holds(&message.path.peer, self.queue.len())
        };
        !ready.contains(Ready::WRITABLE) || !self.queue.is_empty() && is_behind()
    }

    /// Sends the first message, and those behind it that the socket takes with it. Returns how many
    /// are settled. `None`: the first one is blocked, and the caller keeps it.
    fn send(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        messages: &[Transmit<'_>],
    ) -> Option<usize> {
        let per_peer = turn.net.blocks_per_peer(&self.socket);
        // The one behind may be for a peer that must wait.
        let most = if per_peer { 1 } else { messages.len() };
        if per_peer && !self.admits(turn, &messages[0]) {
            return None;
        }
        loop {
            match turn.net.send(&mut self.socket, &messages[..most]) {
                Ok(count) => {
                    let sent = messages[..count].iter().map(Transmit::count);
                    turn.stats.datagrams_out += sent.sum::<usize>() as u64;
                    return Some(count);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        if !per_peer {
                            ready.remove(Ready::WRITABLE);
                        }
                        return None;
                    }
                    _ => {
                        self.settle_refused(ready, turn, error, &messages[0]);
                        return Some(1);
                    }
                },
            }
        }
    }

    /// Whether a Unix peer has read enough of its large replies to get one more.
    fn admits(&mut self, turn: &Turn<N>, message: &Transmit<'_>) -> bool {
        let size = message.size();
        if size < LARGE {
            return true;
        }
        let unread = turn.net.unread(&self.socket);
        unread.is_none_or(|unread| self.crowd.admits(&message.path.peer, size, unread))
    }

    /// The socket refused a message for good. If it is several datagrams, each gets a try of its
    /// own.
    #[cold]
    fn settle_refused(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        error: io::Error,
        refused: &Transmit<'_>,
    ) {
        if let Some(segment) = refused.segment {
            return self.send_singly(ready, turn, &error, refused, segment);
        }
        turn.stats.datagrams_refused += 1;
        debug!(
            "{}: {}: sending refused: {error}",
            self.address, refused.path.peer
        );
        self.refusal = Some(error);
    }

    /// Sends the datagrams of a message one by one. If that works, the socket could not cut them.
    fn send_singly(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        why: &io::Error,
        refused: &Transmit<'_>,
        segment: u16,
    ) {
        let out = turn.stats.datagrams_out;
        for datagram in refused.datagrams(segment) {
            let single = Transmit {
                path: refused.path,
                pieces: &[IoSlice::new(datagram)],
                segment: None,
            };
            self.deliver(ready, turn, &[single]);
        }
        if turn.stats.datagrams_out == out {
            return;
        }
        // An interface that cannot cut at all says EIO. One whose packets are too short for these
        // datagrams complains about their size.
        let is_size = matches!(why.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE));
        self.offload = if is_size {
            self.offload.min(usize::from(segment).saturating_sub(1))
        } else {
            0
        };
        turn.stats.datagram_fallbacks += 1;
        info!(
            "{}: datagrams of {segment} bytes cannot be sent together: {why}; going on one by one",
            self.address
        );
    }

    /// Keeps the datagrams of a message for later.
    #[cold]
    fn keep(&mut self, turn: &mut Turn<N>, message: &Transmit<'_>) {
        // A full UDP socket is full for every peer, so there no peer takes what others need.
        let most = if turn.net.blocks_per_peer(&self.socket) {
            DATAGRAM_QUEUE_OF_ONE
        } else {
            DATAGRAM_QUEUE
        };
        let mut keep = |pieces: &[IoSlice<'_>]| {
            if !self.queue.push(&mut turn.net, message.path, pieces, most) {
                turn.stats.datagrams_overflowed += 1;
            }
        };
        match message.segment {
            Some(segment) => message
                .datagrams(segment)
                .for_each(|datagram| keep(&[IoSlice::new(datagram)])),
            None => keep(message.pieces),
        }
        self.plan_retry(turn);
    }

    /// No event tells when a Unix peer has room again.
    fn plan_retry(&mut self, turn: &Turn<N>) {
        if turn.net.blocks_per_peer(&self.socket) {
            self.retry_at = self.retry_at.min(turn.now + self.retry_after);
        }
    }
}
