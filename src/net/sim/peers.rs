//! The other end of every socket: what tests do to the simulated network, and what they see of it.
//!
//! Owns nothing of its own: it is the face of [`SimNet`] that is turned away from the reactor.

use std::time::Duration;

use super::streams::{Connection, End};
use super::{Conditions, SimNet};
use crate::net::Event;
use crate::values::path::Path;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::signal::Signal;
use crate::values::time::Time;

/// What a peer sees at its end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// More may come.
    Open,
    /// The server's end of stream, with everything before it read.
    Finished,
    /// A reset: what was not read is lost.
    Reset,
}

/// What tests do and see. A connection is named by the number that [`SimNet::peer_connect`] gave.
/// Listeners and datagram sockets are numbered in the order in which the server made them.
impl SimNet {
    /// A peer connects to a listener. `None` if that is closed or its backlog is full.
    pub fn peer_connect(&mut self, listener: usize) -> Option<usize> {
        let number = self.connections.len();
        let backlog = self
            .listeners
            .get_mut(listener)
            .filter(|backlog| backlog.is_open && backlog.waiting.len() < backlog.room)?;
        backlog.waiting.push_back(number);
        if std::mem::replace(&mut backlog.is_armed, false) {
            self.pending
                .push(Event::new(backlog.token, Ready::READABLE));
        }
        let connection = Connection::new(self.clock, backlog.is_unix);
        self.connections.push(connection);
        Some(number)
    }

    /// The peer sends the beginning of `bytes`. Returns how many the network took.
    pub fn peer_send(&mut self, number: usize, bytes: &[u8]) -> usize {
        let count = self.put(number, bytes);
        if count > 0 {
            self.announce_input(number);
        }
        count
    }

    /// The peer sends one byte at which a read stops: an urgent byte over TCP, a message with
    /// control data on a Unix stream. Returns how many bytes the network took: one, or none.
    pub fn peer_send_marked(&mut self, number: usize, byte: u8) -> usize {
        let count = self.put(number, &[byte]);
        if count > 0 {
            self.connections[number].mark();
            if self.connections[number].is_unix {
                self.announce_input(number);
            } else {
                self.announce_exception(number);
            }
        }
        count
    }

    /// Puts the beginning of `bytes` where the server can read it.
    fn put(&mut self, number: usize, bytes: &[u8]) -> usize {
        let connection = &mut self.connections[number];
        if connection.peer_finished || connection.peer_reset || connection.end == End::Reset {
            return 0;
        }
        if connection.end == End::Closed {
            // No socket is left to read it: the kernel answers with a reset.
            connection.reset_by_server();
            return 0;
        }
        let room = self.conditions.buffer - connection.inbound.len();
        let count = bytes.len().min(room);
        connection.inbound.extend(&bytes[..count]);
        count
    }

    /// The peer ends its sending side.
    pub fn peer_finish(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if !connection.peer_finished && !connection.peer_reset {
            connection.peer_finished = true;
            self.announce_exception(number);
        }
    }

    /// The peer resets the connection.
    pub fn peer_reset(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.peer_reset = true;
        connection.inbound.clear();
        connection.outbound.clear();
        self.announce_exception(number);
    }

    /// The peer reads at most `count` bytes.
    pub fn peer_read(&mut self, number: usize, count: usize) -> Vec<u8> {
        let connection = &mut self.connections[number];
        let count = count.min(connection.outbound.len());
        let bytes: Vec<u8> = connection.outbound.drain(..count).collect();
        if count > 0 && std::mem::replace(&mut connection.write_armed, false) {
            self.announce(number, Ready::WRITABLE);
        }
        bytes
    }

    /// What the peer sees at its end.
    pub fn peer_end(&self, number: usize) -> PeerEnd {
        let connection = &self.connections[number];
        match connection.end {
            End::Reset => PeerEnd::Reset,
            _ if connection.peer_reset => PeerEnd::Reset,
            End::Closed if connection.outbound.is_empty() => PeerEnd::Finished,
            End::Open if connection.server_finished && connection.outbound.is_empty() => {
                PeerEnd::Finished
            }
            End::Open | End::Closed => PeerEnd::Open,
        }
    }

    /// Connections that there ever were, in either direction: their numbers are those below.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether an error was injected into this connection.
    pub fn is_faulted(&self, number: usize) -> bool {
        self.connections[number].is_faulted
    }

    /// Whether a connection that the server began is never answered.
    pub fn is_unanswered(&self, number: usize) -> bool {
        self.connections[number].is_unanswered
    }

    /// Whether the server has taken the connection out of the backlog.
    pub fn is_accepted(&self, number: usize) -> bool {
        self.connections[number].is_accepted
    }

    /// When the server last moved a byte of a connection that it holds open and has not finished;
    /// `None` for others.
    pub fn last_moved(&self, number: usize) -> Option<Time> {
        let connection = &self.connections[number];
        let is_held = connection.token.is_some()
            && connection.end == End::Open
            && !connection.server_finished;
        is_held.then_some(connection.moved)
    }

    /// Connections that wait in the backlog of a listener.
    pub fn waiting(&self, listener: usize) -> usize {
        self.listeners[listener].waiting.len()
    }

    /// Connections that the server has accepted from a listener.
    pub fn accepted(&self, listener: usize) -> usize {
        self.listeners[listener].accepted
    }

    /// The server's sockets that are open: connections, listeners, datagram sockets.
    pub fn open_sockets(&self) -> usize {
        let listeners = self.listeners.iter().filter(|backlog| backlog.is_open);
        let datagrams = self.sockets.iter().filter(|socket| socket.is_open);
        self.held + listeners.count() + datagrams.count()
    }

    /// A datagram arrives at a socket.
    pub fn deliver(&mut self, socket: usize, path: Path, bytes: Vec<u8>) {
        self.arrive(socket, path, bytes);
    }

    /// Datagrams that stand in a socket.
    pub fn unread(&self, socket: usize) -> usize {
        self.sockets[socket].inbound.len()
    }

    /// All datagrams that the socket sent to others, in order.
    pub fn datagrams_sent(&self, socket: usize) -> &[(Peer, Vec<u8>)] {
        &self.sockets[socket].sent
    }

    /// In how many messages of the kernel they left.
    pub fn messages_sent(&self, socket: usize) -> usize {
        self.sockets[socket].messages
    }

    /// Datagrams that the server sent to sockets of its own. Each of them came back.
    pub fn looped(&self) -> usize {
        self.looped
    }

    /// From now on a name leads to a socket of the server: a symbolic link, or a relative name that
    /// means another file in the server's directory.
    pub fn alias(&mut self, name: Peer, socket: usize) {
        self.aliases.push((name, socket));
    }

    /// Lets the queue of a datagram peer be full, or not.
    pub fn set_stuck(&mut self, socket: usize, peer: &Peer, is_stuck: bool) {
        let stuck = &mut self.sockets[socket].stuck;
        stuck.retain(|other| other != peer);
        if is_stuck {
            stuck.push(peer.clone());
        }
    }

    /// Buffers that found no memory.
    pub fn shortages(&self) -> u64 {
        self.shortages
    }

    /// A signal arrives.
    pub fn raise(&mut self, signal: Signal) {
        self.signals.push_back(signal);
        if let Some(token) = self.signal_token {
            self.pending.push(Event::new(token, Ready::READABLE));
        }
    }

    /// Changes the conditions from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// The virtual clock.
    pub fn clock(&self) -> Time {
        self.clock
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        self.clock = self.clock + by;
    }

    /// Whether the last wait would have slept for ever: nothing announced, no timeout.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// A number that two runs share if they made the same calls and got the same answers.
    pub fn trace(&self) -> u64 {
        self.trace
    }
}
