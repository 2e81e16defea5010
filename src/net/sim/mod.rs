//! A network without a network: sockets in memory, a virtual clock, and faults, all from one seed.
//!
//! Owns both ends of everything. The reactor above sees a [`Net`] and cannot tell; the test beside it plays the peers through the methods
//! of [`SimNet`]. Must never be kinder than a kernel: whatever the contract of [`Net`] permits happens here, and often.
//!
//! * **Edges.** Bytes that arrive are announced only while the reader is *armed*: after `WouldBlock`, or after a short read under
//!   [`Selector::Edge`]. An end of stream and a reset are announced when they come, and merged with what was not yet delivered.
//!   Under [`Selector::Rearm`], which stands for mio's poll(2), only `WouldBlock` arms, and arming looks at what is there.
//! * **Events** are held back, split in two, doubled, reordered, delivered for nothing, and delivered to sources that are gone.
//! * **Transfers** are shortened at random. A full socket takes nothing; a Unix-like datagram peer can be stuck by itself.
//! * **Closing** with unread input resets, and a reset destroys what the peer has not read: as kernels do.
//! * **Errors** of any kind come from any call, at the rate that [`Rules`] asks for.
//!
//! The same seed gives the same run: [`SimNet::trace`] folds every call and its answer into one number.
//!
//! Tests: `tests/simulation.rs`.

mod datagrams;
mod peers;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::datagrams::Socket;
pub use self::peers::PeerEnd;
use super::{Burst, Event, Net, Transmit, Wake};
use crate::values::dice::Dice;
use crate::values::endpoint::Address;
use crate::values::error::StartError;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::signal::Signal;
use crate::values::time::Time;
use crate::values::token::Token;

/// How the simulated selector announces readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// As epoll and kqueue.
    Edge,
    /// As mio's poll(2): silent after an event until `WouldBlock` was answered.
    Rearm,
}

/// How unfriendly the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How events come.
    pub selector: Selector,
    /// One call in so many fails; 0: none.
    pub faults: usize,
    /// Connections that may be open before accepting fails with EMFILE.
    pub descriptors: usize,
    /// Bytes that a socket holds for its reader, in each direction.
    pub buffer: usize,
    /// The most that the clock advances in one wait.
    pub step: Duration,
    /// One wait in so many, the clock jumps by a minute; 0: never.
    pub jumps: usize,
    /// One connection that we begin in so many is never answered; 0: none.
    pub unanswered: usize,
    /// One wait in so many delivers an event for nothing, or for a source that is gone; 0: none, so that nothing hides a lost edge.
    pub spurious: usize,
    /// The longest datagrams that may share a message: longer ones are refused together with EINVAL, and with EIO where this is 0.
    pub segment: usize,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            selector: Selector::Edge,
            faults: 0,
            descriptors: usize::MAX,
            buffer: 4096,
            step: Duration::from_millis(20),
            jumps: 0,
            unanswered: 0,
            spurious: 0,
            segment: usize::MAX,
        }
    }
}

/// A listening socket, by number.
#[derive(Debug)]
pub struct SimListener(usize);

/// The server's end of a connection, by number.
#[derive(Debug)]
pub struct SimStream(usize);

/// A datagram socket, by number.
#[derive(Debug)]
pub struct SimDatagram(usize);

/// The signals that were raised.
#[derive(Debug)]
pub struct SimSignals(());

/// The network.
#[derive(Debug)]
pub struct SimNet {
    rules: Rules,
    dice: Dice,
    clock: Time,
    trace: u64,
    listeners: Vec<Backlog>,
    connections: Vec<Connection>,
    sockets: Vec<Socket>,
    signals: VecDeque<Signal>,
    signal_token: Option<Token>,
    waker: Option<(Token, Arc<Woken>)>,
    /// Announced, not yet delivered.
    pending: Vec<Event>,
    /// Delivered by the last wait.
    events: Vec<Event>,
    /// Everything that was ever registered: stale and spurious events are drawn from here.
    tokens: Vec<Token>,
    is_blocked: bool,
}

#[derive(Debug)]
struct Backlog {
    token: Token,
    waiting: VecDeque<usize>,
    is_armed: bool,
    is_open: bool,
}

/// How the server's end of a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    Reset,
}

/// Both ends of one connection.
#[derive(Debug)]
struct Connection {
    token: Option<Token>,
    /// From the peer, not yet read by the server.
    inbound: VecDeque<u8>,
    /// From the server, not yet read by the peer.
    outbound: VecDeque<u8>,
    peer_finished: bool,
    peer_reset: bool,
    server_finished: bool,
    end: End,
    is_accepted: bool,
    /// Whether we began it and it is not made yet.
    is_connecting: bool,
    /// Whether it never will be.
    is_unanswered: bool,
    /// Whether an error was injected: then promises about its bytes do not hold.
    is_faulted: bool,
    read_armed: bool,
    write_armed: bool,
    /// When the server last read or wrote a byte, or accepted.
    moved: Time,
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Connection {
    fn new(now: Time) -> Connection {
        Connection {
            token: None,
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            peer_finished: false,
            peer_reset: false,
            server_finished: false,
            end: End::Open,
            is_accepted: false,
            is_connecting: false,
            is_unanswered: false,
            is_faulted: false,
            read_armed: true,
            write_armed: false,
            moved: now,
        }
    }

    fn reset_by_server(&mut self) {
        self.end = End::Reset;
        self.outbound.clear();
        self.inbound.clear();
    }
}

impl SimNet {
    fn note(&mut self, call: u64, answer: usize) {
        self.trace = (self.trace ^ call ^ (answer as u64) << 8)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(17);
    }

    /// An injected error, now and then.
    fn fault(&mut self, errors: &[i32]) -> io::Result<()> {
        if self.dice.once_in(self.rules.faults) {
            let code = errors[self.dice.below(errors.len())];
            self.note(99, code as usize);
            return Err(io::Error::from_raw_os_error(code));
        }
        Ok(())
    }

    /// An injected error of a connection's call. Anything but an interruption leaves no promise about its bytes.
    fn stream_fault(&mut self, number: usize) -> io::Result<()> {
        let errors = [
            libc::EINTR,
            libc::ECONNRESET,
            libc::EPIPE,
            libc::ENOMEM,
            libc::ENOBUFS,
            libc::ETIMEDOUT,
            libc::EIO,
            9999,
        ];
        self.fault(&errors).inspect_err(|error| {
            self.connections[number].is_faulted |= error.kind() != io::ErrorKind::Interrupted
        })
    }

    fn announce(&mut self, number: usize, ready: Ready) {
        if let Some(token) = self.connections[number].token {
            self.pending.push(Event::new(token, ready));
        }
    }

    /// An end of stream or a reset is announced even to a reader that is not armed, save by a selector that was not re-armed.
    fn announce_end(&mut self, number: usize) {
        let was_armed = std::mem::replace(&mut self.connections[number].read_armed, false);
        if was_armed || self.rules.selector == Selector::Edge {
            self.announce(number, Ready::READABLE);
        }
        if self.connections[number].peer_reset
            && std::mem::replace(&mut self.connections[number].write_armed, false)
        {
            self.announce(number, Ready::WRITABLE);
        }
    }

    /// The flags that an event carries are those of the moment of its delivery.
    fn flagged(&self, event: Event) -> Event {
        let Some(connection) = self
            .connections
            .iter()
            .find(|connection| connection.token == Some(event.token))
        else {
            return event;
        };
        let mut ready = event.ready;
        if connection.peer_reset {
            ready |= Ready::ERROR | Ready::READ_CLOSED | Ready::WRITE_CLOSED;
        } else if connection.peer_finished && event.ready.contains(Ready::READABLE) {
            ready |= Ready::READ_CLOSED;
        }
        Event::new(event.token, ready)
    }

    /// Arms the reader of a connection. A re-arming selector looks at what is there; an edge has passed.
    fn arm_reader(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.read_armed = true;
        let is_ready =
            !connection.inbound.is_empty() || connection.peer_finished || connection.peer_reset;
        if is_ready && self.rules.selector == Selector::Rearm {
            connection.read_armed = false;
            self.announce(number, Ready::READABLE);
        }
    }

    /// Moves what is announced into the events of this wait, in a manner of its own.
    fn deliver_events(&mut self, must_deliver: bool) {
        let mut batch: Vec<Event> = Vec::new();
        let mut held = Vec::new();
        for event in std::mem::take(&mut self.pending) {
            if self.dice.once_in(4) {
                held.push(event);
                continue;
            }
            let event = self.flagged(event);
            batch.push(event);
            if self.dice.once_in(8) {
                batch.push(event);
            }
        }
        if must_deliver && batch.is_empty() {
            batch.extend(held.pop().map(|event| self.flagged(event)));
        }
        self.pending = held;
        while self.dice.once_in(self.rules.spurious) && !self.tokens.is_empty() {
            // For nothing, and now and then for a source that is gone.
            let token = self.tokens[self.dice.below(self.tokens.len())];
            let ready = if self.dice.once_in(2) {
                Ready::READABLE
            } else {
                Ready::WRITABLE
            };
            batch.push(Event::new(token, ready));
        }
        for last in (1..batch.len()).rev() {
            batch.swap(last, self.dice.below(last + 1));
        }
        self.events = batch;
    }
}

impl Net for SimNet {
    type Listener = SimListener;
    type Stream = SimStream;
    type Datagram = SimDatagram;
    type Signals = SimSignals;

    fn now(&mut self) -> Time {
        self.clock
    }

    fn wall_clock(&mut self) -> Duration {
        self.clock - Time::ZERO
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        if self.dice.once_in(self.rules.jumps) {
            self.clock = self.clock + Duration::from_secs(60);
        }
        self.fault(&[libc::EINTR, libc::EINTR, libc::EBADF])?;
        if let Some((token, woken)) = &self.waker {
            if woken.0.swap(false, Ordering::SeqCst) {
                self.pending.push(Event::new(*token, Ready::READABLE));
            }
        }
        // The room of a full datagram socket comes back by itself.
        for index in 0..self.sockets.len() {
            if self.sockets[index].is_full && self.dice.once_in(3) {
                self.sockets[index].is_full = false;
                self.pending
                    .push(Event::new(self.sockets[index].token, Ready::WRITABLE));
            }
        }
        self.deliver_events(timeout != Some(Duration::ZERO));
        self.is_blocked = timeout.is_none() && self.events.is_empty() && self.pending.is_empty();
        let longest = timeout.unwrap_or(self.rules.step).min(self.rules.step);
        let briefly = Duration::from_nanos(1 + self.dice.below(50_000) as u64);
        self.clock = self.clock
            + if self.events.is_empty() {
                longest.max(briefly)
            } else {
                briefly
            };
        self.note(1, self.events.len());
        Ok(())
    }

    fn pause(&mut self, duration: Duration) {
        self.clock = self.clock + duration;
    }

    fn events(&self) -> impl Iterator<Item = Event> {
        self.events.iter().copied()
    }

    fn short_read_drains(&self, _stream: &SimStream) -> bool {
        self.rules.selector == Selector::Edge
    }

    fn short_write_fills(&self, _stream: &SimStream) -> bool {
        self.rules.selector == Selector::Edge
    }

    fn short_burst_drains(&self, _socket: &SimDatagram) -> bool {
        self.rules.selector == Selector::Edge
    }

    fn unsent(&self, stream: &SimStream) -> Option<usize> {
        Some(self.connections[stream.0].outbound.len())
    }

    fn waker(&mut self, token: Token) -> io::Result<Arc<dyn Wake>> {
        let woken = Arc::new(Woken::default());
        self.waker = Some((token, woken.clone()));
        Ok(woken)
    }

    fn catch_signals(&mut self, token: Token) -> io::Result<SimSignals> {
        self.signal_token = Some(token);
        Ok(SimSignals(()))
    }

    fn next_signal(&mut self, _signals: &mut SimSignals) -> Option<Signal> {
        self.signals.pop_front()
    }

    fn listen(
        &mut self,
        address: &Address,
        _backlog: u32,
        token: Token,
    ) -> Result<(SimListener, Address), StartError> {
        self.tokens.push(token);
        self.listeners.push(Backlog {
            token,
            waiting: VecDeque::new(),
            is_armed: true,
            is_open: true,
        });
        Ok((SimListener(self.listeners.len() - 1), address.clone()))
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, Peer)> {
        let open = self
            .connections
            .iter()
            .filter(|connection| connection.is_accepted && connection.end == End::Open)
            .count();
        self.fault(&[
            libc::EINTR,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::ENETDOWN,
            libc::EPERM,
            libc::EINVAL,
            9999,
        ])?;
        if open >= self.rules.descriptors {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let Some(number) = self.listeners[listener.0].waiting.pop_front() else {
            self.listeners[listener.0].is_armed = true;
            return Err(io::ErrorKind::WouldBlock.into());
        };
        if self.connections[number].peer_reset {
            self.connections[number].end = End::Reset;
            return Err(io::Error::from_raw_os_error(libc::ECONNABORTED));
        }
        self.note(2, number);
        self.connections[number].is_accepted = true;
        self.connections[number].moved = self.clock;
        Ok((
            SimStream(number),
            Peer::V4([127, 0, 0, 1].into(), 1024 + number as u16),
        ))
    }

    fn close_listener(&mut self, listener: SimListener) {
        let backlog = &mut self.listeners[listener.0];
        assert!(backlog.is_open, "a listener was closed twice");
        backlog.is_open = false;
        for number in std::mem::take(&mut backlog.waiting) {
            self.connections[number].reset_by_server();
        }
    }

    /// Its number is that of the peers' ends: they are named in the order of their beginning, whoever began. It is made when the selector has said so,
    /// or is refused, times out or leads nowhere, as faults are thrown.
    fn connect(
        &mut self,
        _remote: &Address,
        _local: Option<&Address>,
        token: Token,
    ) -> Result<SimStream, StartError> {
        let mut stream = SimStream(self.connections.len());
        let is_unanswered = self.dice.once_in(self.rules.unanswered);
        self.connections.push(Connection {
            is_accepted: true,
            is_connecting: true,
            is_unanswered,
            ..Connection::new(self.clock)
        });
        self.register(&mut stream, token)
            .map_err(|error| StartError::new("connect", error))?;
        self.note(10, stream.0);
        Ok(stream)
    }

    fn is_connected(&mut self, stream: &mut SimStream) -> io::Result<bool> {
        self.fault(&[
            libc::ECONNREFUSED,
            libc::ETIMEDOUT,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
        ])
        .inspect_err(|_| self.connections[stream.0].is_faulted = true)?;
        if self.connections[stream.0].is_unanswered {
            return Ok(false);
        }
        let is_late = self.dice.once_in(3);
        if is_late {
            self.announce(stream.0, Ready::WRITABLE);
            return Ok(false);
        }
        self.connections[stream.0].is_connecting = false;
        Ok(true)
    }

    fn register(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        self.fault(&[libc::ENOMEM, libc::ENOSPC])
            .inspect_err(|_| self.connections[stream.0].is_faulted = true)?;
        assert!(
            !self.tokens.contains(&token),
            "{token} was the name of another source: its late events would reach this one"
        );
        self.tokens.push(token);
        let connection = &mut self.connections[stream.0];
        connection.token = Some(token);
        connection.read_armed =
            connection.inbound.is_empty() && !connection.peer_finished && !connection.peer_reset;
        let ready = if connection.read_armed {
            Ready::WRITABLE
        } else {
            Ready::READABLE | Ready::WRITABLE
        };
        self.announce(stream.0, ready);
        Ok(())
    }

    fn read(&mut self, stream: &mut SimStream, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream_fault(stream.0)?;
        let is_shortened = self.dice.once_in(3);
        let connection = &mut self.connections[stream.0];
        if connection.peer_reset {
            return Err(io::Error::from_raw_os_error(libc::ECONNRESET));
        }
        if connection.inbound.is_empty() {
            if connection.peer_finished {
                return Ok(0);
            }
            self.arm_reader(stream.0);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = buffer.len().min(connection.inbound.len());
        // A short read says that there was no more; so a shortened one may only be one that more is yet to arrive behind.
        let count = if is_shortened && self.rules.selector == Selector::Rearm {
            1 + self.dice.below(most)
        } else {
            most
        };
        for (to, from) in buffer.iter_mut().zip(connection.inbound.drain(..count)) {
            *to = from;
        }
        connection.moved = self.clock;
        if count < buffer.len() && self.rules.selector == Selector::Edge {
            connection.read_armed = true;
        }
        self.note(3, count);
        Ok(count)
    }

    fn write(&mut self, stream: &mut SimStream, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(stream, &[IoSlice::new(bytes)])
    }

    fn write_vectored(
        &mut self,
        stream: &mut SimStream,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.stream_fault(stream.0)?;
        let shortened = self.dice.below(64);
        let is_shortened = self.dice.once_in(3);
        let connection = &mut self.connections[stream.0];
        assert!(
            !connection.is_connecting,
            "a write before there is a connection"
        );
        assert!(
            !connection.server_finished,
            "a write behind our own end of stream"
        );
        if connection.peer_reset {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        let room = self.rules.buffer - connection.outbound.len().min(self.rules.buffer);
        if room == 0 {
            connection.write_armed = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = size.min(room);
        // A shortened write stands for a socket that was full for a moment: its room is announced again.
        let count = if is_shortened {
            most.min(1 + shortened)
        } else {
            most
        };
        let bytes = pieces
            .iter()
            .map(|piece| &**piece)
            .collect::<Vec<_>>()
            .concat();
        connection.outbound.extend(&bytes[..count]);
        connection.moved = self.clock;
        if count < size && self.rules.selector == Selector::Edge {
            if count < most {
                self.announce(stream.0, Ready::WRITABLE);
            } else {
                connection.write_armed = true;
            }
        }
        self.note(4, count);
        Ok(count)
    }

    fn finish(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.stream_fault(stream.0)?;
        let connection = &mut self.connections[stream.0];
        assert!(!connection.server_finished, "a second end of stream");
        if connection.peer_reset {
            return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
        }
        connection.server_finished = true;
        self.note(5, stream.0);
        Ok(())
    }

    fn local(&self, _stream: &SimStream) -> io::Result<Peer> {
        Ok(Peer::V4([127, 0, 0, 1].into(), 7777))
    }

    fn take_error(&mut self, stream: &mut SimStream) -> io::Result<Option<io::Error>> {
        self.stream_fault(stream.0)?;
        let is_reset = self.connections[stream.0].peer_reset;
        Ok(is_reset.then(|| io::Error::from_raw_os_error(libc::ECONNRESET)))
    }

    fn close(&mut self, stream: SimStream) {
        let connection = &mut self.connections[stream.0];
        assert!(connection.end == End::Open, "a connection was closed twice");
        connection.end = End::Closed;
        if !connection.inbound.is_empty() {
            connection.reset_by_server();
        }
        self.note(6, stream.0);
    }

    fn abort(&mut self, stream: SimStream) {
        let connection = &mut self.connections[stream.0];
        assert!(connection.end == End::Open, "a connection was closed twice");
        connection.reset_by_server();
        self.note(7, stream.0);
    }

    /// Addresses of Unix sockets make sockets whose peers can be stuck each by itself.
    fn bind(
        &mut self,
        address: &Address,
        token: Token,
    ) -> Result<(SimDatagram, Address), StartError> {
        self.tokens.push(token);
        let per_peer = matches!(address, Address::Unixgram(_));
        let (inbound, sent, stuck) = (VecDeque::new(), Vec::new(), Vec::new());
        self.sockets.push(Socket {
            token,
            is_open: true,
            per_peer,
            inbound,
            sent,
            stuck,
            messages: 0,
            is_full: false,
            read_armed: true,
        });
        Ok((SimDatagram(self.sockets.len() - 1), address.clone()))
    }

    fn associate(
        &mut self,
        remote: &Address,
        _local: Option<&Address>,
        token: Token,
    ) -> Result<SimDatagram, StartError> {
        self.bind(remote, token).map(|(socket, _)| socket)
    }

    fn receive(&mut self, socket: &mut SimDatagram, burst: &mut Burst) -> io::Result<()> {
        self.receive_burst(socket.0, burst)
    }

    fn send(&mut self, socket: &mut SimDatagram, messages: &[Transmit<'_>]) -> io::Result<usize> {
        self.send_messages(socket.0, messages)
    }

    fn offloads(&self, socket: &SimDatagram) -> bool {
        !self.sockets[socket.0].per_peer
    }

    fn blocks_per_peer(&self, socket: &SimDatagram) -> bool {
        self.sockets[socket.0].per_peer
    }

    fn close_datagram(&mut self, socket: SimDatagram) {
        assert!(
            self.sockets[socket.0].is_open,
            "a datagram socket was closed twice"
        );
        self.sockets[socket.0].is_open = false;
    }
}
