//! A network without a network: sockets in memory, a virtual clock and faults, all from one seed.
//!
//! Owns both ends of every connection. The reactor above sees a [`Net`] and cannot tell the
//! difference. The test beside it plays the peers, through the methods in `peers.rs`. The simulator
//! must never be kinder than a kernel: whatever the contract of [`Net`] permits happens here,
//! often.
//!
//! | file | owns |
//! |---|---|
//! | `mod.rs` | [`Conditions`], [`SimNet`], and the [`Net`] that the reactor calls |
//! | `selector.rs` | the clock, events, injected errors |
//! | `streams.rs` | listeners, connections, what a read or a write does |
//! | `datagrams.rs` | datagram sockets, bursts, names that lead back to us |
//! | `peers.rs` | what the peers do, and what they see |
//!
//! What makes it unfriendly:
//!
//! * **Edges.** The selector announces arriving bytes only while the reader is *armed*.
//!   `WouldBlock` arms it. A short read arms it on TCP under [`Selector::Edge`], if nothing is left
//!   behind it. An end of stream and a reset are announced when they come.
//! * **Marks.** An urgent byte, or a message with control data on a Unix stream, ends a read early.
//!   Nothing announces the bytes behind it.
//! * **Events** are held back, split in two, doubled, reordered, delivered for nothing, and
//!   delivered to sources that are gone.
//! * **Transfers** are shortened at random. A full socket takes nothing. A Unix datagram peer can
//!   be stuck by itself.
//! * **Closing** with unread input resets the connection, and a reset destroys what the peer has
//!   not read: as kernels do.
//! * **Errors** come from any call, and buffers find no memory, as often as [`Conditions`] asks
//!   for.
//!
//! The same seed gives the same run: [`SimNet::trace`] folds every call and its answer into one
//! number.
//!
//! Tests: `tests/simulation/`; `examples/swarm.rs` runs that model over seeds without end.

mod datagrams;
mod peers;
mod selector;
mod streams;

use std::collections::{HashMap, TryReserveError, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

pub use self::datagrams::COALESCED;
use self::datagrams::Socket;
pub use self::peers::PeerEnd;
use self::selector::Woken;
use self::streams::{Backlog, Connection};
use super::hints::check_kind;
use super::{Burst, Event, Net, Transmit, Wake};
use crate::values::dice::Dice;
use crate::values::endpoint::Address;
use crate::values::error::StartError;
use crate::values::peer::Peer;
use crate::values::signal::Signal;
use crate::values::time::Time;
use crate::values::token::Token;

/// How the simulated selector announces readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// As epoll and kqueue.
    Edge,
    /// As mio's poll(2) selector: silent after an event until a call has answered `WouldBlock`.
    Rearm,
}

/// How unfriendly the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// How events come.
    pub selector: Selector,
    /// One call in so many fails; 0: none.
    pub faults: usize,
    /// A signal interrupts one call in so many; 0: none. An interruption costs no peer anything.
    pub interruptions: usize,
    /// One buffer in so many finds no memory; 0: none.
    pub shortages: usize,
    /// Connections that may be open before accepting fails with EMFILE.
    pub descriptors: usize,
    /// Bytes that a socket holds for its reader, in each direction.
    pub buffer: usize,
    /// The most that the clock advances in one wait.
    pub step: Duration,
    /// In one wait in so many the clock jumps by a minute; 0: never.
    pub jumps: usize,
    /// One outgoing connection in so many is never answered; 0: none.
    pub unanswered: usize,
    /// One wait in so many delivers an event for nothing, or for a source that is gone. 0: none, so
    /// that nothing hides a lost edge.
    pub spurious: usize,
    /// The longest datagrams that may share a message. The socket refuses longer ones together with
    /// EINVAL, or with EIO where this is 0.
    pub segment: usize,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            selector: Selector::Edge,
            faults: 0,
            interruptions: 0,
            shortages: 0,
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
    conditions: Conditions,
    dice: Dice,
    clock: Time,
    trace: u64,
    listeners: Vec<Backlog>,
    connections: Vec<Connection>,
    sockets: Vec<Socket>,
    /// Connections that the server holds open.
    held: usize,
    /// Further names that lead to a datagram socket of ours.
    aliases: Vec<(Peer, usize)>,
    /// Datagrams that we sent to ourselves.
    looped: usize,
    /// Buffers that found no memory.
    shortages: u64,
    signals: VecDeque<Signal>,
    signal_token: Option<Token>,
    waker: Option<(Token, Arc<Woken>)>,
    /// Announced, not yet delivered.
    pending: Vec<Event>,
    /// Delivered by the last wait.
    events: Vec<Event>,
    /// Every token that was ever registered: stale and spurious events are drawn from here.
    tokens: Vec<Token>,
    /// The connections among them.
    streams: HashMap<Token, usize>,
    is_blocked: bool,
}

impl SimNet {
    /// A network that behaves by `conditions`. `seed` decides what they leave open.
    pub fn new(seed: u64, conditions: Conditions) -> SimNet {
        SimNet {
            conditions,
            dice: Dice::new(seed),
            clock: Time::ZERO,
            trace: 0,
            listeners: Vec::new(),
            connections: Vec::new(),
            sockets: Vec::new(),
            held: 0,
            aliases: Vec::new(),
            looped: 0,
            shortages: 0,
            signals: VecDeque::new(),
            signal_token: None,
            waker: None,
            pending: Vec::new(),
            events: Vec::new(),
            tokens: Vec::new(),
            streams: HashMap::new(),
            is_blocked: false,
        }
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
        self.wait_for_events(timeout)
    }

    /// Its waits end on time anyway.
    fn add_timer(&mut self, _token: Token) -> io::Result<bool> {
        Ok(true)
    }

    fn set_timer(&mut self, _at: Time) {}

    fn pause(&mut self, duration: Duration) {
        self.advance(duration);
    }

    fn events(&self) -> impl Iterator<Item = Event> {
        self.events.iter().copied()
    }

    fn short_read_drains(&self, stream: &SimStream) -> bool {
        self.rearms_when_short(stream.0)
    }

    fn short_write_fills(&self, stream: &SimStream) -> bool {
        self.rearms_when_short(stream.0)
    }

    fn short_burst_drains(&self, _socket: &SimDatagram) -> bool {
        self.conditions.selector == Selector::Edge
    }

    fn unsent(&self, stream: &SimStream) -> Option<usize> {
        Some(self.connections[stream.0].outbound.len())
    }

    fn is_stuck(&self, stream: &SimStream) -> bool {
        !self.connections[stream.0].outbound.is_empty()
    }

    fn reserve(&mut self, buffer: &mut Vec<u8>, additional: usize) -> Result<(), TryReserveError> {
        if self.dice.once_in(self.conditions.shortages) {
            self.shortages += 1;
            // No machine has that much: this makes the error, which nothing else can make.
            return Vec::<u8>::new().try_reserve_exact(usize::MAX);
        }
        buffer.try_reserve_exact(additional)
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
        backlog: u32,
        token: Token,
    ) -> Result<(SimListener, Address), StartError> {
        check_kind("listen on", address, true)?;
        self.tokens.push(token);
        self.listeners.push(Backlog::new(address, backlog, token));
        Ok((SimListener(self.listeners.len() - 1), address.clone()))
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, Peer)> {
        self.accept_from(listener.0)
    }

    fn close_listener(&mut self, listener: SimListener) {
        self.close_backlog(listener.0);
    }

    fn connect(
        &mut self,
        remote: &Address,
        _local: Option<&Address>,
        token: Token,
    ) -> Result<SimStream, StartError> {
        check_kind("connect to", remote, true)?;
        self.begin_connection(remote, token)
            .map_err(|error| StartError::new("connect", error))
    }

    fn is_connected(&mut self, stream: &mut SimStream) -> io::Result<bool> {
        self.is_made(stream.0)
    }

    fn register(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        self.register_stream(stream.0, token)
    }

    fn read(&mut self, stream: &mut SimStream, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_stream(stream.0, buffer)
    }

    fn write(&mut self, stream: &mut SimStream, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(stream, &[IoSlice::new(bytes)])
    }

    fn write_vectored(
        &mut self,
        stream: &mut SimStream,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.write_stream(stream.0, pieces)
    }

    fn finish(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.finish_stream(stream.0)
    }

    fn local(&self, stream: &SimStream) -> io::Result<Peer> {
        Ok(self.connections[stream.0].local())
    }

    fn take_error(&mut self, stream: &mut SimStream) -> io::Result<Option<io::Error>> {
        self.take_stream_error(stream.0)
    }

    fn close(&mut self, stream: SimStream) {
        self.close_stream(stream.0);
    }

    fn abort(&mut self, stream: SimStream) {
        self.abort_stream(stream.0);
    }

    /// A Unix address makes a socket whose peers can be stuck one by one.
    fn bind(
        &mut self,
        address: &Address,
        token: Token,
    ) -> Result<(SimDatagram, Address), StartError> {
        check_kind("bind", address, false)?;
        self.tokens.push(token);
        self.sockets.push(Socket::new(address, token));
        Ok((SimDatagram(self.sockets.len() - 1), address.clone()))
    }

    fn associate(
        &mut self,
        remote: &Address,
        _local: Option<&Address>,
        token: Token,
    ) -> Result<SimDatagram, StartError> {
        check_kind("associate with", remote, false)?;
        self.tokens.push(token);
        self.sockets.push(Socket::unbound(remote, token));
        Ok(SimDatagram(self.sockets.len() - 1))
    }

    fn receive(&mut self, socket: &mut SimDatagram, burst: &mut Burst) -> io::Result<()> {
        self.receive_burst(socket.0, burst)
    }

    fn send(&mut self, socket: &mut SimDatagram, messages: &[Transmit<'_>]) -> io::Result<usize> {
        self.send_messages(socket.0, messages)
    }

    fn offloads(&self, socket: &SimDatagram) -> bool {
        !self.sockets[socket.0].is_unix
    }

    fn blocks_per_peer(&self, socket: &SimDatagram) -> bool {
        self.sockets[socket.0].is_unix
    }

    fn close_datagram(&mut self, socket: SimDatagram) {
        let is_open = &mut self.sockets[socket.0].is_open;
        assert!(
            std::mem::replace(is_open, false),
            "a datagram socket was closed twice"
        );
    }
}
