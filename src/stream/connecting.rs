//! An outgoing connection that is not established yet.
//!
//! Owns the socket until it is connected, or cannot be. It must never read or write. Once
//! connected, it becomes a [`Connection`] under the same token.
//!
//! ```text
//!   begun ──▶ writable? ──▶ asks the socket ──▶ made ──▶ Connection: on_open, …
//!     │                            ├─▶ not yet: waits for the next event
//!     │                            └─▶ refused, unreachable, … ──▶ on_close(reason)
//!     └──▶ connect timeout: asks the socket once more ──▶ on_close(TimedOut)
//! ```
//!
//! Tests: `tests/simulated_clients.rs`, `tests/connect.rs`.

use std::fmt;
use std::io;

use super::connection::Connection;
use super::role::Role;
use crate::net::Net;
use crate::net::turn::Turn;
use crate::service::Service;
use crate::values::error::CloseReason;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::time::Time;

/// A stream that is being connected, and the service that will use it.
pub(crate) struct Connecting<N: Net> {
    stream: N::Stream,
    peer: Peer,
    service: Box<dyn Service>,
    since: Time,
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Made {
    /// It is connected.
    Yes,
    /// An event or the alarm will tell.
    NotYet,
    /// The call was interrupted. No event will tell of that: queue it again.
    Again,
    /// It will never be connected.
    Failed(CloseReason),
}

impl<N: Net> Connecting<N> {
    pub(crate) fn new(
        stream: N::Stream,
        peer: Peer,
        service: Box<dyn Service>,
        now: Time,
    ) -> Connecting<N> {
        Connecting {
            stream,
            peer,
            service,
            since: now,
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// When the attempt times out.
    pub(crate) fn deadline(&self, turn: &Turn<N>) -> Time {
        self.since.after(turn.limits.connect_timeout)
    }

    /// Asks the socket, if there is a reason to: the selector announced it, or time is up.
    pub(crate) fn run(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Made {
        ready.remove(Ready::ALARM);
        let is_due = self.deadline(turn) <= turn.now;
        if ready.contains(Ready::WRITABLE) || is_due {
            match turn.net.is_connected(&mut self.stream) {
                Ok(true) => {
                    *ready |= Ready::WRITABLE;
                    return Made::Yes;
                }
                Ok(false) => ready.remove(Ready::WRITABLE),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Made::Again,
                Err(error) => return Made::Failed(CloseReason::of_error(&error)),
            }
        }
        match is_due {
            true => Made::Failed(CloseReason::TimedOut),
            false => Made::NotYet,
        }
    }

    /// The connection, once it is established. The caller must open it next.
    pub(crate) fn into_connection(self, now: Time) -> Connection<N> {
        Connection::new(self.stream, self.peer, self.service, Role::Client, now)
    }

    /// Closes the socket. Nothing was sent or received, so there is nothing to reset.
    pub(crate) fn close(mut self, turn: &mut Turn<N>, reason: CloseReason) {
        turn.net.close(self.stream);
        self.service.on_close(reason);
    }

    /// Closes the socket without calling its service, which has panicked.
    pub(crate) fn abandon(self, turn: &mut Turn<N>) {
        turn.net.close(self.stream);
    }
}

impl<N: Net> fmt::Debug for Connecting<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connecting", self.peer)
    }
}
