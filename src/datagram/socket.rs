//! A datagram socket: one service, any number of peers, no connections.
//!
//! Owns the socket and the replies that it refused. Must never cut a datagram, never answer one with two, and never let
//! one packet, peer or errno end the socket: whatever cannot be done is counted and costs that datagram alone.
//!
//! ```text
//!   socket ──▶ burst ──▶ judge ──▶ service ──▶ replies ──▶ socket
//!              (many)   (guard.rs)             (runs)  └─▶ queue, where the socket is full
//! ```
//!
//! * A datagram that is longer than its slot is dropped, because half of it would be a lie. An empty one is data.
//! * Answers go out by the way that the question came: from the address that was asked, with one hop less. Those of one peer and one size
//!   share a message of the kernel where it can cut them ([`Net::offloads`]). A message that is refused as a whole (EIO, EINVAL, EMSGSIZE: some
//!   interfaces promise what they cannot do) is sent again one by one, and the socket remembers what it can't.
//! * Replies that the socket refuses wait in a queue of at most [`DATAGRAM_QUEUE`] bytes, in order for each peer. A UDP socket that is full
//!   is full for everybody, and an event tells when it is not; a Unix datagram is refused because *that peer's* queue is full, and
//!   nothing tells when it is not, so it is tried again soon, and the others are not kept waiting.
//! * A limit of Linux that no program can lift: Unix datagrams that a peer leaves unread are charged to *our* send buffer (208 KiB). Peers that
//!   leave that much unread together are refused, and everybody else on that socket with them, until one of them reads or goes.
//!
//! A socket that we opened to one peer ([`Datagram::to`]) speaks unasked as well: when its service's alarm is due, and when what it said has left.
//!
//! Tests: `tests/datagrams.rs`, `tests/guards.rs`, `tests/simulation.rs`.

use std::fmt;
use std::io::{self, IoSlice};
use std::time::Duration;

use log::{debug, info};

use super::Common;
use super::queue::Queue;
use super::wire::{Allowance, DatagramWire};
use crate::datagram::guard::judge;
use crate::datagram::replies::{Replies, Run};
use crate::net::turn::{Outcome, Turn};
use crate::net::{Burst, Net, Transmit};
use crate::service::{Action, Context, Service};
use crate::values::endpoint::Address;
use crate::values::error::CloseReason;
use crate::values::limits::{
    DATAGRAM_BUDGET, DATAGRAM_QUEUE, DATAGRAM_RETRY, DATAGRAM_RETRY_MOST, DRAIN_QUIET,
    STARVED_RETRY,
};
use crate::values::path::Path;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::time::Time;

/// A bound datagram socket and the service that answers on it.
pub(crate) struct Datagram<N: Net> {
    socket: N::Datagram,
    address: Address,
    service: Box<dyn Service>,
    queue: Queue,
    /// The longest datagrams that may share a message: what this socket is known to take.
    offload: usize,
    /// What the kernel has dropped here, as it last said.
    dropped: u32,
    /// When to go on by itself: refused Unix datagrams, a socket that gave only errors, a drain's end.
    retry_at: Time,
    /// How long after a refusal that is.
    retry_after: Duration,
    /// Who is spoken to unasked.
    remote: Option<Path>,
    /// When the service wants to be called.
    alarm: Time,
    /// Whether the service has more to say once the queue is empty.
    has_more: bool,
    /// While draining: when to stop receiving even if more keeps coming.
    drain_until: Option<Time>,
}

impl<N: Net> Datagram<N> {
    pub(crate) fn new(
        net: &N,
        socket: N::Datagram,
        address: Address,
        service: Box<dyn Service>,
    ) -> Datagram<N> {
        let offload = if net.offloads(&socket) { usize::MAX } else { 0 };
        Datagram {
            socket,
            address,
            service,
            queue: Queue::default(),
            offload,
            dropped: 0,
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
        self.remote = Some(Path::plain(remote));
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
    pub(crate) fn run(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
    ) -> Outcome {
        let is_due =
            ready.take(Ready::ALARM) && (self.retry_at <= turn.now || self.drain_until.is_some());
        if is_due {
            *ready |= Ready::READABLE | Ready::WRITABLE;
            self.retry_at = Time::NEVER;
        }
        // A Unix datagram that is refused gives the memory taken for it back, and the kernel announces that as "writable". Whoever tries
        // again on that word turns without rest for as long as one peer does not read.
        if is_due || !turn.net.blocks_per_peer(&self.socket) {
            self.flush(ready, turn);
        }
        if self.remote.is_some() {
            self.speak(ready, turn, common);
        }
        let outcome = match self.receive(ready, turn, common) {
            Outcome::Waiting if self.may_speak() => Outcome::More,
            outcome => outcome,
        };
        let Some(until) = self.drain_until else {
            return outcome;
        };
        if !self.queue.replies.is_empty() {
            return outcome;
        }
        match outcome {
            Outcome::More if turn.now < until => outcome,
            _ => Outcome::Done(CloseReason::Drained),
        }
    }

    /// Whether the service is to be asked for more.
    fn may_speak(&self) -> bool {
        self.has_more && self.queue.replies.is_empty()
    }

    /// Calls the service of a client that has something to say, or whose time has come.
    fn speak(&mut self, ready: &mut Ready, turn: &mut Turn<N>, common: &mut Common) {
        if self.alarm <= turn.now {
            self.alarm = Time::NEVER;
            self.call_unasked(ready, turn, common, |service, cx| service.on_alarm(cx));
        } else if self.may_speak() {
            self.has_more = false;
            self.call_unasked(ready, turn, common, |service, cx| service.on_writable(cx));
        }
    }

    fn call_unasked(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
        event: impl FnOnce(&mut dyn Service, &mut Context<'_>) -> Action,
    ) {
        let Some(path) = self.remote.clone() else {
            return;
        };
        let mut replies = std::mem::take(&mut common.replies);
        let mut wire = DatagramWire {
            net: &mut turn.net,
            stats: &mut turn.stats,
            replies: &mut replies,
            burst: &[],
            part: 0,
            peer: &path.peer,
            local: None,
            queued: self.queue.charged,
            verdict: Ok(()),
            longest: None,
            rate: None,
            now: turn.now,
            alarm: Some(&mut self.alarm),
            may_send: Allowance::Any,
        };
        let action = event(
            &mut *self.service,
            &mut Context::new(turn.now, &path.peer, &mut wire),
        );
        self.has_more |= action == Action::More;
        self.dispatch(ready, turn, &mut replies, &[], |_| &path);
        common.replies = replies;
    }

    /// Receives bursts and answers them, within the budget.
    fn receive(&mut self, ready: &mut Ready, turn: &mut Turn<N>, common: &mut Common) -> Outcome {
        let (mut burst, mut replies) = (
            std::mem::take(&mut common.burst),
            std::mem::take(&mut common.replies),
        );
        let outcome = self.receive_bursts(ready, turn, common, &mut burst, &mut replies);
        (common.burst, common.replies) = (burst, replies);
        outcome
    }

    fn receive_bursts(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
        burst: &mut Burst,
        replies: &mut Replies,
    ) -> Outcome {
        let (mut budget, mut received) = (DATAGRAM_BUDGET, 0);
        while budget > 0 {
            if !ready.contains(Ready::READABLE) {
                return Outcome::Waiting;
            }
            match turn.net.receive(&mut self.socket, burst) {
                Ok(()) => {
                    received += burst.parts.len();
                    budget = budget.saturating_sub(burst.parts.len().max(1));
                    // An error that cut a burst short gives an event of its own, or had one already: then only the socket's word counts.
                    if burst.is_short
                        && turn.net.short_burst_drains(&self.socket)
                        && !ready.contains(Ready::ERROR)
                    {
                        ready.remove(Ready::READABLE);
                    }
                    self.answer(ready, turn, common, burst, replies);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.remove(Ready::READABLE | Ready::ERROR)
                }
                // An error of an earlier reply (ICMP), told late. What is queued behind it gives no event of its own: go on.
                Err(error) => {
                    budget -= 1;
                    turn.stats.datagram_errors += 1;
                    debug!("{}: receiving: {error}", self.address);
                    self.service.on_error(&error);
                }
            }
        }
        turn.stats.yields += 1;
        if received > 0 {
            return Outcome::More;
        }
        // A whole budget of errors: rest, rather than turn with them for ever.
        ready.remove(Ready::READABLE);
        self.retry_at = self.retry_at.min(turn.now + STARVED_RETRY);
        Outcome::Waiting
    }

    /// Lets the service answer a burst, and sends what it said.
    fn answer(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
        burst: &mut Burst,
        replies: &mut Replies,
    ) {
        if let Some(dropped) = burst.dropped {
            turn.stats.datagrams_dropped +=
                u64::from(dropped.wrapping_sub(std::mem::replace(&mut self.dropped, dropped)));
        }
        let mut parts = std::mem::take(&mut burst.parts);
        // Nobody writes a Unix peer's name but the kernel.
        let is_guarded = self.remote.is_none()
            && !turn.limits.allow_amplification
            && matches!(self.address, Address::Udp(_));
        for index in 0..parts.len() {
            let part = &mut parts[index];
            if part.is_cut {
                turn.stats.datagrams_too_long += 1;
                debug!(
                    "{}: {}: a datagram of {} bytes or more is too long to be known whole; dropped",
                    self.address, part.path.peer, part.size
                );
                continue;
            }
            let verdict = if self.remote.is_some() {
                Ok(())
            } else {
                judge(&part.path, &common.own)
            };
            let local = part.path.local;
            part.path.hops = part.path.hops.map(|hops| hops.saturating_sub(1));
            let (datagrams, peer) = (part.datagrams(), part.path.peer.clone());
            for datagram in datagrams {
                turn.stats.datagrams_in += 1;
                let mut wire = DatagramWire {
                    net: &mut turn.net,
                    stats: &mut turn.stats,
                    replies,
                    burst: burst.buffer(),
                    part: index,
                    peer: &peer,
                    local: Some((&self.address, local)),
                    queued: self.queue.charged,
                    verdict,
                    longest: is_guarded.then_some(datagram.len()),
                    rate: common.rate.as_mut().filter(|_| self.remote.is_none()),
                    now: turn.now,
                    alarm: self.remote.is_some().then_some(&mut self.alarm),
                    may_send: if self.remote.is_some() {
                        Allowance::Any
                    } else {
                        Allowance::One
                    },
                };
                // Nothing to finish or abort here: there is no connection.
                let action = self.service.on_data(
                    &mut Context::new(turn.now, &peer, &mut wire),
                    &burst.buffer()[datagram],
                );
                self.has_more |= action == Action::More && self.remote.is_some();
                if replies.size().0 >= DATAGRAM_QUEUE {
                    self.dispatch(ready, turn, replies, burst.buffer(), |part| {
                        &parts[part].path
                    });
                }
            }
        }
        self.dispatch(ready, turn, replies, burst.buffer(), |part| {
            &parts[part].path
        });
        burst.parts = parts;
    }

    /// Sends what was said, in as few messages as can be; what the socket refuses for now waits.
    fn dispatch<'a>(
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
        let (pieces, runs) = replies.runs(burst, self.offload, |a, b| a == b || path(a) == path(b));
        let transmits: Vec<Transmit<'_>> = runs
            .iter()
            .map(|run| transmit(run, path(run.part), &pieces))
            .collect();
        let per_peer = turn.net.blocks_per_peer(&self.socket);
        let mut refusal = None;
        let mut sent = 0;
        while let Some(next) = transmits.get(sent) {
            // Behind what already waits for the same peer, or its datagrams would change their order here.
            let is_behind = !self.queue.replies.is_empty()
                && (!per_peer
                    || self
                        .queue
                        .replies
                        .iter()
                        .any(|(path, _)| path.peer == next.path.peer));
            if is_behind || !ready.contains(Ready::WRITABLE) {
                self.keep(turn, next);
                sent += 1;
                continue;
            }
            let most = if per_peer { sent + 1 } else { transmits.len() };
            match turn.net.send(&mut self.socket, &transmits[sent..most]) {
                Ok(count) => {
                    turn.stats.datagrams_out += transmits[sent..sent + count]
                        .iter()
                        .map(|transmit| transmit.count() as u64)
                        .sum::<u64>();
                    sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    refusal = self.settle_refusal(ready, turn, error, next).or(refusal);
                    sent += 1;
                }
            }
        }
        replies.clear();
        self.conclude(turn, refusal);
    }

    /// After sending: what waits is tried again, and the service is told of what was refused for good.
    fn conclude(&mut self, turn: &Turn<N>, refusal: Option<io::Error>) {
        if !self.queue.replies.is_empty() && turn.net.blocks_per_peer(&self.socket) {
            self.retry_at = self.retry_at.min(turn.now + self.retry_after);
        }
        if let Some(error) = refusal {
            self.service.on_error(&error);
        }
    }

    /// What becomes of a message that the socket did not take. Returns the error where it was refused for good.
    #[cold]
    fn settle_refusal(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        error: io::Error,
        refused: &Transmit<'_>,
    ) -> Option<io::Error> {
        if error.kind() == io::ErrorKind::WouldBlock {
            if !turn.net.blocks_per_peer(&self.socket) {
                ready.remove(Ready::WRITABLE);
            }
            self.keep(turn, refused);
            return None;
        }
        if let Some(segment) = refused.segment {
            return self.resend_singly(ready, turn, &error, refused, segment);
        }
        turn.stats.datagrams_refused += 1;
        debug!(
            "{}: {}: sending refused: {error}",
            self.address, refused.path.peer
        );
        Some(error)
    }

    /// A message of several datagrams was refused: perhaps it is only that they are several.
    fn resend_singly(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        why: &io::Error,
        refused: &Transmit<'_>,
        segment: u16,
    ) -> Option<io::Error> {
        let (mut left, mut refusal) = (0, None);
        for datagram in refused.datagrams(segment) {
            let pieces = [IoSlice::new(datagram)];
            let single = Transmit {
                path: refused.path,
                pieces: &pieces,
                segment: None,
            };
            if !self.queue.replies.is_empty() || !ready.contains(Ready::WRITABLE) {
                self.keep(turn, &single);
                continue;
            }
            match turn.net.send(&mut self.socket, &[single]) {
                Ok(_) => {
                    left += 1;
                    turn.stats.datagrams_out += 1;
                }
                Err(error) => {
                    refusal = self.settle_refusal(ready, turn, error, &single).or(refusal)
                }
            }
        }
        if left > 0 {
            // An interface that can't at all says EIO; one whose packets are too short for these says so of the size.
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
        refusal
    }

    /// Keeps the datagrams of a message for later.
    fn keep(&mut self, turn: &mut Turn<N>, message: &Transmit<'_>) {
        let mut keep = |bytes: Box<[u8]>| {
            if self.queue.has_room(bytes.len()) {
                self.queue.push(message.path.clone(), bytes);
            } else {
                turn.stats.datagrams_overflowed += 1;
            }
        };
        match message.segment {
            Some(segment) => message
                .datagrams(segment)
                .for_each(|datagram| keep(datagram.into())),
            None => keep(
                message
                    .pieces
                    .iter()
                    .map(|piece| &**piece)
                    .collect::<Vec<_>>()
                    .concat()
                    .into(),
            ),
        }
    }

    /// Sends the replies that wait, in order for each peer.
    fn flush(&mut self, ready: &mut Ready, turn: &mut Turn<N>) {
        let waiting = self.queue.replies.len();
        let mut refusal = None;
        let mut blocked: Vec<Peer> = Vec::new();
        for _ in 0..waiting {
            let Some((path, bytes)) = self.queue.pop() else {
                break;
            };
            if ready.contains(Ready::WRITABLE) && !blocked.contains(&path.peer) {
                let pieces = [IoSlice::new(&bytes)];
                match turn.net.send(
                    &mut self.socket,
                    &[Transmit {
                        path: &path,
                        pieces: &pieces,
                        segment: None,
                    }],
                ) {
                    Ok(_) => {
                        turn.stats.datagrams_out += 1;
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if !turn.net.blocks_per_peer(&self.socket) {
                            ready.remove(Ready::WRITABLE);
                        }
                        blocked.push(path.peer.clone());
                    }
                    Err(error) => {
                        turn.stats.datagrams_refused += 1;
                        debug!("{}: {}: sending refused: {error}", self.address, path.peer);
                        refusal = Some(error);
                        continue;
                    }
                }
            }
            self.queue.push(path, bytes);
        }
        // Peers that take nothing are asked more and more rarely, or a crowd of them would cost a processor.
        let has_moved = self.queue.replies.len() < waiting;
        self.retry_after = if has_moved {
            DATAGRAM_RETRY
        } else {
            DATAGRAM_RETRY_MOST.min(2 * self.retry_after)
        };
        self.conclude(turn, refusal);
    }
}

/// The message of a run.
fn transmit<'a>(run: &Run, path: &'a Path, pieces: &'a [IoSlice<'a>]) -> Transmit<'a> {
    let pieces = &pieces[run.pieces.clone()];
    let segment = if run.count > 1 {
        u16::try_from(run.segment).ok()
    } else {
        None
    };
    Transmit {
        path,
        pieces,
        segment,
    }
}

impl<N: Net> fmt::Debug for Datagram<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} replies waiting", self.address, self.owed())
    }
}
