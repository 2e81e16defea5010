//! A datagram socket: one service, any number of peers, no connections.
//!
//! Owns the socket and the replies that it refused. Must never cut a datagram, never answer one with two, and never let
//! one packet, peer or errno end the socket: whatever cannot be done is counted and costs that datagram alone.
//!
//! * A datagram that fills the read buffer may have been longer; it is dropped, because half of it would be a lie.
//! * An empty datagram is data.
//! * Replies that the socket refuses wait in a queue of at most [`DATAGRAM_QUEUE`] bytes, in order for each peer. A UDP socket that is full
//!   is full for everybody, and an event tells when it is not; a Unix datagram is refused because *that peer's* queue is full, and
//!   nothing tells when it is not, so it is tried again soon, and the others are not kept waiting.
//! * A limit of Linux that no program can lift: Unix datagrams that a peer leaves unread are charged to *our* send buffer (208 KiB). Peers that
//!   leave that much unread together are refused, and everybody else on that socket with them, until one of them reads or goes.
//!
//! A socket that we opened to one peer ([`Datagram::to`]) speaks unasked as well: when its service's alarm is due, and when what it said has left.
//!
//! Tests: `tests/datagrams.rs`, `tests/simulation.rs`.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::time::Duration;

use log::debug;

use crate::endpoint::Address;
use crate::error::CloseReason;
use crate::limits::{DATAGRAM_BUDGET, DATAGRAM_QUEUE, DATAGRAM_RETRY, DATAGRAM_RETRY_MOST, DRAIN_QUIET, STARVED_RETRY};
use crate::net::Net;
use crate::peer::Peer;
use crate::ready::Ready;
use crate::resources::{Outcome, Resources};
use crate::service::{Action, Context, Service, Wire};
use crate::stats::Stats;
use crate::timer::Time;

/// A bound datagram socket and the service that answers on it.
pub(crate) struct Datagram<N: Net> {
    socket: N::Datagram,
    address: Address,
    service: Box<dyn Service>,
    queue: Queue,
    /// When to go on by itself: refused Unix datagrams, a socket that gave only errors, a drain's end.
    retry_at: Time,
    /// How long after a refusal that is.
    retry_after: Duration,
    /// Who is spoken to unasked.
    remote: Option<Peer>,
    /// When the service wants to be called.
    alarm: Time,
    /// Whether the service has more to say once the queue is empty.
    has_more: bool,
    /// While draining: when to stop receiving even if more keeps coming.
    drain_until: Option<Time>,
}

/// Replies that wait for the socket.
#[derive(Debug, Default)]
struct Queue {
    replies: VecDeque<(Peer, Box<[u8]>)>,
    /// What they count for, see [`charge`].
    charged: usize,
}

impl<N: Net> Datagram<N> {
    pub(crate) fn new(socket: N::Datagram, address: Address, service: Box<dyn Service>) -> Datagram<N> {
        Datagram {
            socket,
            address,
            service,
            queue: Queue::default(),
            retry_at: Time::NEVER,
            retry_after: DATAGRAM_RETRY,
            remote: None,
            alarm: Time::NEVER,
            has_more: false,
            drain_until: None,
        }
    }

    /// A client's: its service may speak to `remote` unasked.
    pub(crate) fn to(mut self, remote: Peer) -> Datagram<N> {
        self.remote = Some(remote);
        self
    }

    /// Makes the service's alarm due.
    pub(crate) fn alarm_at(&mut self, at: Time) {
        self.alarm = at;
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// From now on only what the kernel already holds.
    pub(crate) fn drain(&mut self, now: Time) {
        self.drain_until = Some(now + DRAIN_QUIET);
    }

    pub(crate) fn deadline(&self) -> Time {
        self.retry_at.min(self.alarm)
    }

    /// Replies that are still owed.
    pub(crate) fn owed(&self) -> usize {
        self.queue.replies.len()
    }

    pub(crate) fn close(self, net: &mut N) {
        net.close_datagram(self.socket);
    }

    /// Sends what waits, then receives and answers, within one turn's budget.
    pub(crate) fn run(&mut self, ready: &mut Ready, res: &mut Resources<N>) -> Outcome {
        let is_due = ready.take(Ready::ALARM) && (self.retry_at <= res.now || self.drain_until.is_some());
        if is_due {
            *ready |= Ready::READABLE | Ready::WRITABLE;
            self.retry_at = Time::NEVER;
        }
        // A Unix datagram that is refused gives the memory taken for it back, and the kernel announces that as "writable". Whoever tries
        // again on that word turns without rest for as long as one peer does not read.
        if is_due || !res.net.blocks_per_peer(&self.socket) {
            self.flush(ready, res);
        }
        if self.remote.is_some() {
            self.speak(ready, res);
        }
        let outcome = match self.receive(ready, res) {
            Outcome::Waiting if self.may_speak() => Outcome::More,
            outcome => outcome,
        };
        let Some(until) = self.drain_until else { return outcome };
        if !self.queue.replies.is_empty() {
            return outcome;
        }
        match outcome {
            Outcome::More if res.now < until => outcome,
            _ => Outcome::Done(CloseReason::Drained),
        }
    }

    /// Whether the service is to be asked for more.
    fn may_speak(&self) -> bool {
        self.has_more && self.queue.replies.is_empty()
    }

    /// Calls the service of a client that has something to say, or whose time has come.
    fn speak(&mut self, ready: &mut Ready, res: &mut Resources<N>) {
        if self.alarm <= res.now {
            self.alarm = Time::NEVER;
            self.call_unasked(ready, res, |service, cx| service.on_alarm(cx));
        } else if self.may_speak() {
            self.has_more = false;
            self.call_unasked(ready, res, |service, cx| service.on_writable(cx));
        }
    }

    fn call_unasked(
        &mut self,
        ready: &mut Ready,
        res: &mut Resources<N>,
        event: impl FnOnce(&mut dyn Service, &mut Context<'_>) -> Action,
    ) {
        let Some(peer) = &self.remote else { return };
        let sender = Sender { net: &mut res.net, stats: &mut res.stats, socket: &mut self.socket, address: &self.address, ready };
        let mut wire =
            DatagramWire { sender, queue: &mut self.queue, peer, alarm: Some(&mut self.alarm), may_send: Allowance::Any, error: None };
        let action = event(&mut *self.service, &mut Context::new(res.now, peer, &mut wire));
        let error = wire.error.take();
        self.has_more |= action == Action::More;
        if !self.queue.replies.is_empty() {
            self.retry_later(res);
        }
        if let Some(error) = error {
            self.service.on_error(&error);
        }
    }

    fn receive(&mut self, ready: &mut Ready, res: &mut Resources<N>) -> Outcome {
        let mut received = 0;
        for _ in 0..DATAGRAM_BUDGET {
            if !ready.contains(Ready::READABLE) {
                return Outcome::Waiting;
            }
            match res.net.receive(&mut self.socket, &mut res.buffer) {
                Ok((size, peer)) => {
                    received += 1;
                    self.answer(ready, res, size, &peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.remove(Ready::READABLE),
                // An error of an earlier reply (ICMP), told late. What is queued behind it gives no event of its own: go on.
                Err(error) => {
                    res.stats.datagram_errors += 1;
                    debug!("{}: receiving: {error}", self.address);
                    self.service.on_error(&error);
                }
            }
        }
        res.stats.yields += 1;
        if received > 0 {
            return Outcome::More;
        }
        // A whole budget of errors: rest, rather than turn with them for ever.
        ready.remove(Ready::READABLE);
        self.retry_at = self.retry_at.min(res.now + STARVED_RETRY);
        Outcome::Waiting
    }

    fn answer(&mut self, ready: &mut Ready, res: &mut Resources<N>, size: usize, peer: &Peer) {
        if size == res.buffer.len() {
            res.stats.datagrams_too_long += 1;
            debug!("{}: {peer}: a datagram of {size} bytes or more is too long to be known whole; dropped", self.address);
            return;
        }
        res.stats.datagrams_in += 1;
        let sender = Sender { net: &mut res.net, stats: &mut res.stats, socket: &mut self.socket, address: &self.address, ready };
        let alarm = self.remote.is_some().then_some(&mut self.alarm);
        let mut wire = DatagramWire { sender, queue: &mut self.queue, peer, alarm, may_send: Allowance::One, error: None };
        // Nothing to finish or abort here: there is no connection.
        let _ = self.service.on_data(&mut Context::new(res.now, peer, &mut wire), &res.buffer[..size]);
        if !self.queue.replies.is_empty() {
            self.retry_later(res);
        }
    }

    /// Sends the replies that wait, in order for each peer.
    fn flush(&mut self, ready: &mut Ready, res: &mut Resources<N>) {
        let waiting = self.queue.replies.len();
        let mut refusal = None;
        let mut blocked: Vec<Peer> = Vec::new();
        for _ in 0..self.queue.replies.len() {
            let Some((peer, bytes)) = self.queue.pop() else { break };
            let may_send = ready.contains(Ready::WRITABLE) && !blocked.contains(&peer);
            let mut sender = Sender { net: &mut res.net, stats: &mut res.stats, socket: &mut self.socket, address: &self.address, ready };
            if may_send {
                match sender.send(&[IoSlice::new(&bytes)], &peer) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => {
                        refusal = Some(error);
                        continue;
                    }
                }
            }
            if may_send {
                blocked.push(peer.clone());
            }
            self.queue.push(peer, bytes);
        }
        // Peers that take nothing are asked more and more rarely, or a crowd of them would cost a processor.
        let has_moved = self.queue.replies.len() < waiting;
        self.retry_after = if has_moved { DATAGRAM_RETRY } else { DATAGRAM_RETRY_MOST.min(2 * self.retry_after) };
        if !self.queue.replies.is_empty() {
            self.retry_later(res);
        }
        if let Some(error) = refusal {
            self.service.on_error(&error);
        }
    }

    fn retry_later(&mut self, res: &Resources<N>) {
        if res.net.blocks_per_peer(&self.socket) {
            self.retry_at = self.retry_at.min(res.now + self.retry_after);
        }
    }
}

impl Queue {
    fn push(&mut self, peer: Peer, bytes: Box<[u8]>) {
        self.charged += charge(bytes.len());
        self.replies.push_back((peer, bytes));
    }

    fn pop(&mut self) -> Option<(Peer, Box<[u8]>)> {
        let reply = self.replies.pop_front()?;
        self.charged -= charge(reply.1.len());
        Some(reply)
    }

    /// Whether a reply of `size` bytes may still be kept.
    fn has_room(&self, size: usize) -> bool {
        self.charged + charge(size) <= DATAGRAM_QUEUE
    }
}

/// What a reply of `size` bytes counts for: small ones as a kibibyte, so that the queue is short enough to be searched for a peer.
fn charge(size: usize) -> usize {
    size.max(1024)
}

/// The way out, with what becomes of each datagram counted.
struct Sender<'a, N: Net> {
    net: &'a mut N,
    stats: &'a mut Stats,
    socket: &'a mut N::Datagram,
    address: &'a Address,
    ready: &'a mut Ready,
}

impl<N: Net> Sender<'_, N> {
    /// Tries to send. Returns whether the datagram has gone; if not, it must wait. An error refuses it for good.
    fn send(&mut self, pieces: &[IoSlice<'_>], peer: &Peer) -> io::Result<bool> {
        match self.net.send(self.socket, pieces, peer) {
            Ok(()) => self.stats.datagrams_out += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !self.net.blocks_per_peer(self.socket) {
                    self.ready.remove(Ready::WRITABLE);
                }
                return Ok(false);
            }
            Err(error) => {
                self.stats.datagrams_refused += 1;
                debug!("{}: {peer}: sending refused: {error}", self.address);
                return Err(error);
            }
        }
        Ok(true)
    }
}

/// A service's way to the sender of one datagram.
struct DatagramWire<'a, N: Net> {
    sender: Sender<'a, N>,
    queue: &'a mut Queue,
    peer: &'a Peer,
    /// A client's alone: nothing calls the service of a server unasked.
    alarm: Option<&'a mut Time>,
    may_send: Allowance,
    /// What the last datagram was refused with.
    error: Option<io::Error>,
}

/// How many datagrams a service may send in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowance {
    /// Its answer was sent.
    None,
    /// The one answer to what came.
    One,
    /// A client speaks as it likes.
    Any,
}

impl<N: Net> Wire for DatagramWire<'_, N> {
    fn send(&mut self, bytes: &[u8]) {
        self.send_vectored(&[IoSlice::new(bytes)]);
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) {
        debug_assert!(self.may_send != Allowance::None, "a service answered one datagram twice");
        match self.may_send {
            Allowance::None => return,
            Allowance::One => self.may_send = Allowance::None,
            Allowance::Any => {}
        }
        // Behind what already waits for the same peer, or its datagrams would change their order here.
        let is_behind = self.queue.replies.iter().any(|(peer, _)| peer == self.peer);
        if !is_behind && self.sender.ready.contains(Ready::WRITABLE) {
            match self.sender.send(pieces, self.peer) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
        let bytes = pieces.iter().map(|piece| &**piece).collect::<Vec<_>>().concat();
        if self.queue.has_room(bytes.len()) {
            self.queue.push(self.peer.clone(), bytes.into());
        } else {
            self.sender.stats.datagrams_overflowed += 1;
        }
    }

    /// The longest payload of UDP over IPv4, or what the queue still holds for certain.
    fn room(&self) -> usize {
        (DATAGRAM_QUEUE - self.queue.charged).min(65_507)
    }

    fn hold_input(&mut self, _is_held: bool) {}

    fn local(&self) -> Option<Peer> {
        (self.may_send != Allowance::Any).then(|| self.sender.address.as_peer())
    }

    fn wall_clock(&mut self) -> Duration {
        self.sender.net.wall_clock()
    }

    fn set_alarm(&mut self, at: Time) {
        if let Some(alarm) = &mut self.alarm {
            **alarm = at;
        }
    }
}

impl<N: Net> fmt::Debug for Datagram<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} replies waiting", self.address, self.owed())
    }
}
