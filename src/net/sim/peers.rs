//! The other end of every socket: what tests do to the simulated network, and what they see of it.
//!
//! Owns nothing of its own; it is the face of [`SimNet`] that is turned away from the reactor.

use std::collections::VecDeque;

use super::{Connection, Dice, End, Rules, SimNet};
use crate::net::Event;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::signal::Signal;
use crate::values::time::Time;

/// What the peer's end of a connection has come to.
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
impl SimNet {
    /// A network that behaves by `rules`, with everything that they leave open decided by `seed`.
    pub fn new(seed: u64, rules: Rules) -> SimNet {
        SimNet {
            rules,
            dice: Dice::new(seed),
            clock: Time::ZERO,
            trace: 0,
            listeners: Vec::new(),
            connections: Vec::new(),
            sockets: Vec::new(),
            signals: VecDeque::new(),
            signal_token: None,
            waker: None,
            pending: Vec::new(),
            events: Vec::new(),
            tokens: Vec::new(),
            is_blocked: false,
        }
    }

    /// A peer connects to the listener that was made as number `listener`; `None` where it is closed.
    pub fn peer_connect(&mut self, listener: usize) -> Option<usize> {
        let number = self.connections.len();
        let backlog = self
            .listeners
            .get_mut(listener)
            .filter(|backlog| backlog.is_open)?;
        backlog.waiting.push_back(number);
        if std::mem::replace(&mut backlog.is_armed, false) {
            self.pending
                .push(Event::new(backlog.token, Ready::READABLE));
        }
        self.connections.push(Connection::new(self.clock));
        Some(number)
    }

    /// The peer sends the beginning of `bytes`; returns how many the network took.
    pub fn peer_send(&mut self, number: usize, bytes: &[u8]) -> usize {
        let connection = &mut self.connections[number];
        if connection.peer_finished || connection.peer_reset || connection.end == End::Reset {
            return 0;
        }
        if connection.end == End::Closed {
            // Nobody is there to read it: the kernel answers with a reset.
            connection.reset_by_server();
            return 0;
        }
        let count = bytes
            .len()
            .min(self.rules.buffer - connection.inbound.len());
        connection.inbound.extend(&bytes[..count]);
        if count > 0 && std::mem::replace(&mut connection.read_armed, false) {
            self.announce(number, Ready::READABLE);
        }
        count
    }

    /// The peer ends its sending side.
    pub fn peer_finish(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if !connection.peer_finished && !connection.peer_reset {
            connection.peer_finished = true;
            self.announce_end(number);
        }
    }

    /// The peer resets the connection.
    pub fn peer_reset(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.peer_reset = true;
        connection.inbound.clear();
        connection.outbound.clear();
        self.announce_end(number);
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

    /// What the peer's end has come to.
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

    /// When the server last moved a byte of a connection that it holds open and has not finished; `None` for others.
    pub fn last_moved(&self, number: usize) -> Option<Time> {
        let connection = &self.connections[number];
        let is_held = connection.token.is_some()
            && connection.end == End::Open
            && !connection.server_finished;
        is_held.then_some(connection.moved)
    }

    /// The server's sockets that are open: connections, listeners, datagram sockets.
    pub fn open_sockets(&self) -> usize {
        let connections = self
            .connections
            .iter()
            .filter(|connection| connection.is_accepted && connection.end == End::Open)
            .count();
        let listeners = self
            .listeners
            .iter()
            .filter(|listener| listener.is_open)
            .count();
        connections + listeners + self.sockets.iter().filter(|socket| socket.is_open).count()
    }

    /// A datagram arrives at the socket that was made as number `socket`.
    pub fn deliver(&mut self, socket: usize, peer: Peer, bytes: Vec<u8>) {
        let socket = &mut self.sockets[socket];
        if socket.is_open {
            socket.inbound.push_back((peer, bytes));
            if std::mem::replace(&mut socket.read_armed, false) {
                self.pending.push(Event::new(socket.token, Ready::READABLE));
            }
        }
    }

    /// All datagrams that the socket sent, in order.
    pub fn datagrams_sent(&self, socket: usize) -> &[(Peer, Vec<u8>)] {
        &self.sockets[socket].sent
    }

    /// In how many messages they left.
    pub fn messages_sent(&self, socket: usize) -> usize {
        self.sockets[socket].messages
    }

    /// Lets a datagram peer's queue be full, or not.
    pub fn set_stuck(&mut self, socket: usize, peer: &Peer, is_stuck: bool) {
        let stuck = &mut self.sockets[socket].stuck;
        stuck.retain(|other| other != peer);
        if is_stuck {
            stuck.push(peer.clone());
        }
    }

    /// SIGTERM.
    pub fn raise(&mut self) {
        self.signals.push_back(Signal::Terminate);
        if let Some(token) = self.signal_token {
            self.pending.push(Event::new(token, Ready::READABLE));
        }
    }

    /// Changes the rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The virtual clock.
    pub fn clock(&self) -> Time {
        self.clock
    }

    /// Whether the last wait would have slept for ever: nothing announced, no timeout.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// A number that two runs share exactly where they made the same calls and got the same answers.
    pub fn trace(&self) -> u64 {
        self.trace
    }
}
