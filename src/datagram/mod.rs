//! A datagram socket: one service, any number of peers, no connections.
//!
//! Owns the way of a datagram from the socket to its service and back, and the rules that say which
//! peers get an answer ([`guard`]). Must never cut a datagram, never answer one with two, and never
//! let one packet, peer or errno end the socket: a failure is counted and costs that datagram
//! alone. It is generic over [`Net`], and never names the loop.
//!
//! ```text
//!   socket ──▶ burst ──▶ judge ──▶ service ──▶ replies ──▶ socket
//!             receiving  guard     transport   replies     sending └─▶ queue, if it is full
//! ```
//!
//! A socket has one of two roles. In the server role it answers any peer, and only when asked. In
//! the client role it talks to one peer, and its service may also speak unasked: when its alarm is
//! due, and when everything it said has left.
//!
//! Tests: below; `tests/datagrams.rs`, `tests/guards.rs`, `tests/allocations.rs`,
//! `tests/simulation/`.

mod crowd;
mod ending;
pub mod guard;
mod queue;
mod rate;
mod receiving;
mod replies;
mod sending;
mod transport;

use std::fmt;
use std::io;

use self::guard::Own;
use self::rate::Rate;
use self::receiving::Inbound;
use self::replies::Replies;
use self::sending::Outbound;
use self::transport::{DatagramTransport, Rights};
use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::service::{Action, Context, Factory, Service, Shape};
use crate::values::endpoint::Address;
use crate::values::error::CloseReason;
use crate::values::limits::{DATAGRAM_COST, DRAIN_QUIET, Limits};
use crate::values::notice::Notice;
use crate::values::path::Path;
use crate::values::ready::Ready;
use crate::values::refusal::Refusal;
use crate::values::time::Time;

/// What all datagram sockets of a reactor share. The reactor lends it to the socket that runs.
#[derive(Debug)]
pub(crate) struct Common {
    inbound: Inbound,
    replies: Replies,
    /// Our own addresses and names. The guard refuses datagrams that come from them.
    pub(crate) own: Own,
    rate: Rate,
    /// Answers that were kept back because they were longer than their datagrams.
    longer: Notice,
}

impl Common {
    /// Sets aside what a datagram socket needs to receive, before the first datagram comes.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        self.inbound.prepare()
    }

    pub(crate) fn new(limits: &Limits) -> Common {
        Common {
            inbound: Inbound::default(),
            replies: Replies::default(),
            own: Own::default(),
            rate: Rate::new(limits),
            longer: Notice::default(),
        }
    }
}

/// A datagram socket and the service that speaks on it.
pub(crate) struct Datagram<N: Net> {
    out: Outbound<N>,
    service: Box<dyn Service>,
    role: Role,
    /// What the budget of the last run left of a burst.
    rest: Option<Inbound>,
    /// The kernel's count of dropped datagrams, as it was last told.
    dropped: u32,
    drain: Drain,
}

/// What a socket is for.
enum Role {
    /// Answers any peer. `make` makes its service, and another one after a panic.
    Server { make: Factory },
    /// Talks to one peer, also unasked.
    Client {
        remote: Path,
        /// When the service wants to be called.
        alarm: Time,
        /// Whether the service has more to say once the queue is empty.
        has_more: bool,
    },
}

/// How far a drain has come on this socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    NotBegun,
    /// Receives until the socket is empty, or until this time if more keeps coming.
    Until(Time),
    /// Receives no more, and only answers and sends what it has.
    Finishing,
    /// The server ends, and has looked at the socket once more.
    LastLook,
}

impl<N: Net> Datagram<N> {
    /// A socket in the server role.
    pub(crate) fn server(
        net: &N,
        socket: N::Datagram,
        address: Address,
        mut make: Factory,
    ) -> Datagram<N> {
        let service = make(Shape::Datagram);
        Datagram::new(net, socket, address, service, Role::Server { make })
    }

    /// A socket in the client role, which talks to `remote`.
    pub(crate) fn client(
        net: &N,
        socket: N::Datagram,
        remote: Address,
        service: Box<dyn Service>,
    ) -> Datagram<N> {
        let role = Role::Client {
            remote: Path::plain(remote.as_peer()),
            alarm: Time::NEVER,
            has_more: false,
        };
        Datagram::new(net, socket, remote, service, role)
    }

    fn new(
        net: &N,
        socket: N::Datagram,
        address: Address,
        service: Box<dyn Service>,
        role: Role,
    ) -> Datagram<N> {
        Datagram {
            out: Outbound::new(net, socket, address),
            service,
            role,
            rest: None,
            dropped: 0,
            drain: Drain::NotBegun,
        }
    }

    /// Makes the alarm of a client's service due.
    pub(crate) fn alarm_at(&mut self, at: Time) {
        if let Role::Client { alarm, .. } = &mut self.role {
            *alarm = at;
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.out.address
    }

    /// From now on the socket answers only what the kernel already holds.
    pub(crate) fn drain(&mut self, now: Time) {
        self.drain = Drain::Until(now + DRAIN_QUIET);
    }

    pub(crate) fn deadline(&self) -> Time {
        match self.role {
            Role::Server { .. } => self.out.retry_at,
            Role::Client { alarm, .. } => self.out.retry_at.min(alarm),
        }
    }

    /// Replies that wait for the socket, and datagrams that were received and not answered yet.
    pub(crate) fn pending(&self) -> usize {
        self.out.waiting() + self.rest.as_ref().map_or(0, Inbound::left)
    }

    pub(crate) fn close(self, net: &mut N) {
        net.close_datagram(self.out.socket);
    }

    /// Sends what waits, then receives and answers, within the budget of one run.
    pub(crate) fn run(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
    ) -> Outcome {
        let is_due = ready.take(Ready::ALARM)
            && (self.out.retry_at <= turn.now || self.drain != Drain::NotBegun);
        if is_due {
            *ready |= Ready::READABLE | Ready::WRITABLE;
            self.out.retry_at = Time::NEVER;
        }
        self.out.flush(ready, turn, is_due);
        self.tell_refusal();
        self.speak(ready, turn, common);
        if self.drain == Drain::Finishing {
            ready.remove(Ready::READABLE);
        }
        let outcome = match self.receive(ready, turn, common) {
            Outcome::Waiting if self.may_speak() => Outcome::More,
            outcome => outcome,
        };
        match self.drain {
            Drain::NotBegun => return outcome,
            Drain::Until(until) if outcome == Outcome::More && turn.now < until => return outcome,
            _ => self.drain = Drain::Finishing,
        }
        if self.pending() > 0 {
            outcome
        } else {
            Outcome::Done(CloseReason::Drained)
        }
    }

    /// The service panicked in [`run`](Datagram::run). The message of the kernel that it was
    /// answering is lost, with the replies that were not sent yet, and counted. A server goes on
    /// with a new service and the rest of the burst. A client has lost its conversation with its
    /// service, so it must be closed.
    #[cold]
    pub(crate) fn recover(&mut self, turn: &mut Turn<N>, common: &mut Common) -> Outcome {
        let unanswered = common.inbound.abandon_part();
        let unsent = common.replies.abandon();
        turn.stats.datagrams_in += unanswered as u64;
        for _ in 0..unanswered + unsent {
            turn.stats.unanswered.count(Refusal::Panicked);
        }
        self.keep_rest(common, Inbound::default());
        match &mut self.role {
            Role::Server { make } => {
                self.service = make(Shape::Datagram);
                Outcome::More
            }
            Role::Client { .. } => Outcome::Done(CloseReason::Panicked),
        }
    }

    /// Whether to ask the service of a client for more.
    fn may_speak(&self) -> bool {
        matches!(self.role, Role::Client { has_more: true, .. }) && self.out.waiting() == 0
    }

    /// Calls the service of a client if its alarm is due, or if it has more to say.
    fn speak(&mut self, ready: &mut Ready, turn: &mut Turn<N>, common: &mut Common) {
        let may_speak = self.may_speak();
        let Role::Client {
            remote,
            alarm,
            has_more,
        } = &mut self.role
        else {
            return;
        };
        let is_due = *alarm <= turn.now;
        if is_due {
            *alarm = Time::NEVER;
        } else if may_speak {
            *has_more = false;
        } else {
            return;
        }
        let mut transport = DatagramTransport {
            net: &mut turn.net,
            stats: &mut turn.stats,
            replies: &mut common.replies,
            burst: &[],
            part: 0,
            peer: &remote.peer,
            local: None,
            queued: self.out.charged(),
            now: turn.now,
            unread: None,
            rights: Rights::Any { alarm },
        };
        let mut cx = Context::new(turn.now, &remote.peer, &mut transport);
        let action = if is_due {
            self.service.on_alarm(&mut cx)
        } else {
            self.service.on_writable(&mut cx)
        };
        *has_more |= action == Action::More;
        let (bytes, count) = common.replies.size();
        turn.charge(DATAGRAM_COST * count as i32, bytes);
        self.out
            .dispatch(ready, turn, &mut common.replies, &[], |_| &*remote);
        self.tell_refusal();
    }

    /// Tells the service of a reply that was refused for good.
    fn tell_refusal(&mut self) {
        if let Some(error) = self.out.refusal.take() {
            self.service.on_error(&error);
        }
    }
}

impl<N: Net> fmt::Debug for Datagram<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} pending", self.out.address, self.pending())
    }
}

#[cfg(test)]
mod tests;
