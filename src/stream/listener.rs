//! A listening socket.
//!
//! Owns the backlog's door: when to accept, when to leave the rest outside. Must never lose an edge: the kernel announces a
//! connection once, so whoever leaves the accept loop before it said `WouldBlock` must remember that there may be more.
//!
//! ```text
//!                       budget used up ──▶ queue again
//!   readable ──▶ accept ──▶ WouldBlock ──▶ wait for the next event
//!                       ├─▶ at the connection limit ──▶ parked
//!                       └─▶ out of descriptors      ──▶ parked, alarm in STARVED_RETRY
//!
//!   parked ──▶ a connection of ours is retired, or the alarm ──▶ accept
//! ```
//!
//! Freeing a descriptor gives no event (`tests/kernel_facts.rs`), so the reactor wakes parked listeners whenever it retires a
//! connection; the alarm is for descriptors that others free. Nothing is burnt meanwhile, and clients wait in the backlog in the order they came.
//!
//! Tests: `tests/descriptors.rs`, `tests/connection_limit.rs`, `tests/simulation.rs`.

use std::fmt;
use std::io;

use log::{info, warn};

use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::service::{Factory, Service, Shape};
use crate::values::endpoint::Address;
use crate::values::error::{AcceptError, CloseReason};
use crate::values::limits::STARVED_RETRY;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::time::Time;

/// Why a listener does not accept although connections may be waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// It does.
    No,
    /// The connection limit is reached.
    Limit,
    /// No descriptors or no memory; tries again at this time at the latest.
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
    /// Whether the pause was logged. One warning an episode: a pause that ends with one accept and begins again is the same one.
    warned: bool,
    /// While draining: how many more may be accepted. The backlog cannot have held more when the drain began.
    left: Option<u32>,
}

impl<N: Net> Listener<N> {
    pub(crate) fn new(socket: N::Listener, address: Address, make: Factory) -> Listener<N> {
        Listener {
            socket,
            address,
            make,
            pause: Pause::No,
            warned: false,
            left: None,
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// From now on only what already stands in the backlog, at most `backlog` connections.
    pub(crate) fn drain(&mut self, backlog: u32) {
        self.left = Some(backlog);
    }

    /// Whether a retired connection should wake it.
    pub(crate) fn is_parked(&self) -> bool {
        self.pause != Pause::No
    }

    pub(crate) fn deadline(&self) -> Time {
        match self.pause {
            Pause::Starved(retry_at) => retry_at,
            Pause::No | Pause::Limit => Time::NEVER,
        }
    }

    pub(crate) fn close(self, turn: &mut Turn<N>) -> usize {
        turn.net.close_listener(self.socket);
        0
    }

    /// Accepts into `batch` what there is room for, within one turn's budget. The sockets become sources after the loop, so that none is created
    /// while this one runs.
    pub(crate) fn accept(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        room: usize,
        most: usize,
        batch: &mut Vec<Accepted<N>>,
    ) -> Outcome {
        ready.remove(Ready::ALARM);
        self.pause = Pause::No;
        for _ in 0..most {
            if self.left == Some(0) {
                return Outcome::Done(CloseReason::Drained);
            }
            if batch.len() >= room {
                return self.limited(ready, turn);
            }
            match turn.net.accept(&mut self.socket) {
                Ok((stream, peer)) => {
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

    fn emptied(&mut self, ready: &mut Ready) -> Outcome {
        ready.remove(Ready::READABLE);
        if self.warned {
            self.warned = false;
            info!("{}: accepting again, nobody is left waiting", self.address);
        }
        match self.left {
            Some(_) => Outcome::Done(CloseReason::Drained),
            None => Outcome::Waiting,
        }
    }

    fn limited(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Outcome {
        turn.stats.accept_limited += 1;
        if !self.warned {
            warn!(
                "{}: {} connections are open, the limit; others wait in the backlog",
                self.address, turn.limits.max_connections
            );
        }
        self.park(ready, Pause::Limit)
    }

    pub(crate) fn starve(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        error: &io::Error,
    ) -> Outcome {
        turn.stats.accept_starved += 1;
        if !self.warned {
            warn!(
                "{}: cannot accept: {error}; others wait in the backlog",
                self.address
            );
        }
        self.park(ready, Pause::Starved(turn.now + STARVED_RETRY))
    }

    fn park(&mut self, ready: &mut Ready, pause: Pause) -> Outcome {
        self.warned = true;
        self.pause = pause;
        ready.remove(Ready::READABLE);
        Outcome::Waiting
    }
}

impl<N: Net> fmt::Debug for Listener<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.address, self.pause)
    }
}
