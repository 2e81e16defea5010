//! A listening socket.
//!
//! Owns the decision when to accept, and when to leave clients in the backlog. It must never lose
//! an edge: the kernel announces a connection once, so a listener that stops before `WouldBlock`
//! must remember that there may be more.
//!
//! ```text
//!                       budget used up ──▶ queue again
//!   readable ──▶ accept ──▶ WouldBlock ──▶ wait for the next event
//!                       ├─▶ at the connection limit     ──▶ parked
//!                       └─▶ no descriptors or no memory ──▶ parked, alarm in STARVED_RETRY
//!
//!   parked ──▶ a connection of ours is retired, or the alarm ──▶ accept
//! ```
//!
//! Freeing a descriptor gives no event (`tests/kernel_facts.rs`), so the reactor wakes parked
//! listeners whenever it retires a connection. The alarm is for descriptors that other processes
//! free. No CPU time is used meanwhile, and clients wait in the backlog in the order they came.
//!
//! **A drain** accepts what stood in the backlog when it began. The backlog is a queue and holds at
//! most one more than its size, so after that many accepts every client left has come later.
//! Closing the socket resets the clients that are left. They are counted as cut, because the kernel
//! had completed their connections.
//!
//! **Warnings.** The log mentions the limit only if a client really waits: an event for a parked
//! listener shows that, or an accept that succeeds once there is room. Each line appears at most
//! once an interval, with a count.
//!
//! Tests: `tests/descriptors.rs`, `tests/connection_limit.rs`, `tests/drain.rs`,
//! `tests/simulation/`.

use std::fmt;
use std::io;

use log::{info, warn};

use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::service::{Factory, Service, Shape};
use crate::values::counted::Counted;
use crate::values::endpoint::Address;
use crate::values::error::{AcceptError, CloseReason};
use crate::values::limits::{ACCEPT_COST, READ_BUFFER, STARVED_RETRY};
use crate::values::notice::Notice;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::time::Time;

/// Why a listener does not accept although clients may be waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// It accepts.
    No,
    /// The connection limit is reached.
    Limit,
    /// No descriptors or no memory; it tries again at this time at the latest.
    Starved(Time),
}

/// A connection that has a service, and no place in the table yet.
pub(crate) struct Accepted<N: Net> {
    pub(crate) stream: N::Stream,
    pub(crate) peer: Peer,
    pub(crate) service: Box<dyn Service>,
}

/// A listening socket and the maker of services for what it accepts.
pub(crate) struct Listener<N: Net> {
    socket: N::Listener,
    address: Address,
    make: Factory,
    pause: Pause,
    /// Whether [`Listener::wake`] caused the next run, perhaps without an event.
    was_woken: bool,
    limited: Notice,
    starved: Notice,
    /// Whether a pause was logged and its end was not.
    has_warned: bool,
    /// While draining: how many more may be accepted.
    left: Option<u32>,
}

impl<N: Net> Listener<N> {
    pub(crate) fn new(socket: N::Listener, address: Address, make: Factory) -> Listener<N> {
        Listener {
            socket,
            address,
            make,
            pause: Pause::No,
            was_woken: false,
            limited: Notice::default(),
            starved: Notice::default(),
            has_warned: false,
            left: None,
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts only the clients that are in the backlog now. On Linux a backlog holds one more than
    /// `backlog`.
    pub(crate) fn drain(&mut self, backlog: u32) {
        self.left = Some(backlog.saturating_add(1));
    }

    /// Whether it waits for a connection to be retired.
    pub(crate) fn is_parked(&self) -> bool {
        self.pause != Pause::No
    }

    /// Tells the listener that something was freed. Returns whether it was waiting; the caller then
    /// runs it.
    pub(crate) fn wake(&mut self) -> bool {
        self.was_woken = self.is_parked();
        self.was_woken
    }

    /// Whether it waits for room under the connection limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.pause == Pause::Limit
    }

    pub(crate) fn deadline(&self) -> Time {
        match self.pause {
            Pause::Starved(retry_at) => retry_at,
            Pause::No | Pause::Limit => Time::NEVER,
        }
    }

    /// Closes the socket. The kernel resets the clients that are still in the backlog. Returns how
    /// many there were, without those that have left and asked for nothing; without a descriptor to
    /// accept them they cannot be counted.
    pub(crate) fn close(mut self, turn: &mut Turn<N>) -> usize {
        let mut cut = 0;
        // At most the largest backlog, so that new clients cannot keep the loop here.
        for _ in 0..=u16::MAX {
            match turn.net.accept(&mut self.socket) {
                Ok((mut stream, _)) => {
                    cut += usize::from(!has_left(turn, &mut stream));
                    turn.net.abort(stream);
                }
                Err(error) => match AcceptError::of(&error) {
                    AcceptError::Again => turn.stats.accept_errors += 1,
                    AcceptError::Done | AcceptError::Starved | AcceptError::Unknown => break,
                },
            }
        }
        if cut > 0 {
            let clients = Counted(cut as u64, "client");
            warn!("{}: reset {clients} in the backlog", self.address);
        }
        turn.stats.backlog_cut += cut as u64;
        turn.net.close_listener(self.socket);
        cut
    }

    /// Accepts into `batch` what there is room for, at most `most`. The sockets become
    /// sources after the loop, so that none is created while this one runs.
    pub(crate) fn accept(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        room: usize,
        most: usize,
        batch: &mut Vec<Accepted<N>>,
    ) -> Outcome {
        ready.remove(Ready::ALARM);
        let is_event = !std::mem::take(&mut self.was_woken) && ready.contains(Ready::READABLE);
        let mut was_limited = std::mem::replace(&mut self.pause, Pause::No) == Pause::Limit;
        if batch.len() >= room && self.left != Some(0) {
            return self.limit(ready, turn, was_limited && is_event);
        }
        if let Err(error) = probe_memory(turn) {
            return self.starve(ready, turn, &error);
        }
        for _ in 0..most {
            if self.left == Some(0) {
                return Outcome::Done(CloseReason::Drained);
            }
            if batch.len() >= room {
                return self.limit(ready, turn, false);
            }
            match turn.net.accept(&mut self.socket) {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut was_limited) {
                        self.warn_of_limit(turn);
                    }
                    turn.charge(ACCEPT_COST, 0);
                    batch.push(Accepted {
                        stream,
                        peer,
                        service: (self.make)(Shape::Stream),
                    });
                    self.left = self.left.map(|left| left - 1);
                }
                Err(error) => match AcceptError::of(&error) {
                    AcceptError::Done => return self.emptied(ready),
                    AcceptError::Again => turn.stats.accept_errors += 1,
                    AcceptError::Starved => return self.starve(ready, turn, &error),
                    AcceptError::Unknown => {
                        turn.stats.accept_unknown_errors += 1;
                        return self.starve(ready, turn, &error);
                    }
                },
            }
        }
        turn.stats.yields += 1;
        Outcome::More
    }

    /// Pauses because something that a connection needs has run out. Tries again soon, or when a
    /// connection is retired.
    pub(crate) fn starve(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        error: &io::Error,
    ) -> Outcome {
        turn.stats.accept_starved += 1;
        if let Some(unsaid) = self.starved.happened(turn.now) {
            self.has_warned = true;
            let address = &self.address;
            warn!("{address}: cannot accept: {error}; clients wait in the backlog{unsaid}");
        }
        self.park(ready, Pause::Starved(turn.now + STARVED_RETRY))
    }

    /// Pauses at the connection limit. An event that came while it was paused says that a client
    /// waits.
    fn limit(&mut self, ready: &mut Ready, turn: &mut Turn<N>, is_awaited: bool) -> Outcome {
        turn.stats.accept_limited += 1;
        if is_awaited {
            self.warn_of_limit(turn);
        }
        self.park(ready, Pause::Limit)
    }

    fn warn_of_limit(&mut self, turn: &Turn<N>) {
        if let Some(unsaid) = self.limited.happened(turn.now) {
            self.has_warned = true;
            let limit = Counted(turn.limits.max_connections as u64, "connection");
            warn!(
                "{}: {limit} open, the limit; others wait in the backlog{unsaid}",
                self.address
            );
        }
    }

    fn park(&mut self, ready: &mut Ready, pause: Pause) -> Outcome {
        self.pause = pause;
        ready.remove(Ready::READABLE);
        Outcome::Waiting
    }

    fn emptied(&mut self, ready: &mut Ready) -> Outcome {
        ready.remove(Ready::READABLE);
        if std::mem::take(&mut self.has_warned) {
            info!("{}: accepting again, no client is waiting", self.address);
        }
        match self.left {
            Some(_) => Outcome::Done(CloseReason::Drained),
            None => Outcome::Waiting,
        }
    }
}

/// Whether a client ended its connection without a byte that waits for an answer: an end of stream
/// or a reset stands before any byte.
fn has_left<N: Net>(turn: &mut Turn<N>, stream: &mut N::Stream) -> bool {
    match turn.net.read(stream, &mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Whether there is memory for what a new connection will need: its service and its first pending
/// output. Most allocations end the process when they fail, so it is better to know before.
fn probe_memory<N: Net>(turn: &mut Turn<N>) -> io::Result<()> {
    turn.net
        .reserve(&mut Vec::new(), READ_BUFFER)
        .map_err(|_| io::ErrorKind::OutOfMemory.into())
}

impl<N: Net> fmt::Debug for Listener<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.address, self.pause)
    }
}
