//! The sockets, the selector and the clock, as the reactor sees them.
//!
//! Owns the one seam of the program. All code above it is written against [`Net`] and runs alike on
//! the operating system ([`os::OsNet`]) and on the simulator ([`sim::SimNet`]). TCP and Unix
//! streams are variants below the seam, and so are UDP and Unix datagrams: two shapes above it,
//! never four.
//!
//! The contract is that of an edge-triggered selector at its most unfriendly:
//!
//! * An event may come late, may come for nothing, may carry several bits or be split, and comes in
//!   any order.
//! * Bytes, connections and datagrams that arrive behind others that are still unread need no
//!   event. A source that stops early must remember.
//! * There are two kinds of re-arming ([`Net::short_write_fills`]). epoll and kqueue announce new
//!   arrivals after `WouldBlock` *and* after a transfer that was shorter than asked for, and they
//!   announce an end of stream or an error whenever it comes. mio's poll(2) selector is silent
//!   after an event until the source sees `WouldBlock`, and then looks at what is there.
//! * An end of stream that stood behind the bytes when the event was delivered is part of that
//!   event, and gets none of its own.
//! * A read may end early at an urgent mark with bytes behind it. The event then says
//!   [`Ready::PRIORITY`], and the mark itself is no event.
//!
//! `tests/kernel_facts.rs` checks that the kernel keeps this contract.

mod burst;
mod hints;
mod kinds;
mod names;
mod options;
pub mod os;
mod signals;
pub mod sim;
mod socket;
mod sys;
pub(crate) mod turn;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod unix_diag;
mod unix_path;
mod unix_peers;

use std::collections::TryReserveError;
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::burst::{BURST, Burst, Part, SLOT, Transmit};
pub use self::names::bind_each;
pub use self::options::{DatagramOptions, Interface, Keepalive, StreamOptions};
pub use self::unix_peers::KNOWN_UNIX_PEERS;
use crate::values::endpoint::Address;
use crate::values::error::StartError;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::signal::Signal;
use crate::values::time::Time;
use crate::values::token::Token;

/// One event: a source and what it may do now. mio's own event cannot be made outside mio, and the
/// simulator must make some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name that the source was registered under.
    pub token: Token,
    /// The readiness that is new.
    pub ready: Ready,
}

impl Event {
    /// An event that says `ready` and what follows from it. A closed half or an error shows by a
    /// read or a write that does not block, so the source must try both.
    #[inline]
    pub fn new(token: Token, mut ready: Ready) -> Event {
        if ready.intersects(Ready::READ_CLOSED | Ready::WRITE_CLOSED | Ready::ERROR) {
            ready |= Ready::READABLE | Ready::WRITABLE;
        }
        Event { token, ready }
    }
}

/// Ends a wait from another thread.
pub trait Wake: Send + Sync + Debug {
    /// Makes the current or the next wait return.
    ///
    /// # Errors
    ///
    /// The operating system's; the loop may then sleep on until its next event.
    fn wake(&self) -> io::Result<()>;
}

/// Sockets, a selector and a clock.
///
/// Sources are closed through [`close`](Net::close) and its siblings, never just dropped, so that
/// the simulator can find a leak.
/// A closed source needs no deregistration.
pub trait Net: Debug {
    /// A socket that accepts streams.
    type Listener: Debug;
    /// A connected stream socket.
    type Stream: Debug;
    /// A datagram socket.
    type Datagram: Debug;
    /// The signals that were caught.
    type Signals: Debug;

    /// The monotonic clock.
    fn now(&mut self) -> Time;

    /// The time of day, as the time since 1970-01-01 00:00:00 UTC.
    fn wall_clock(&mut self) -> Duration;

    /// Waits until there are events or the timeout is over; `None` waits for ever. [`Net::events`]
    /// then has the events.
    ///
    /// # Errors
    ///
    /// `Interrupted`, and whatever else the selector may say. There are no events then.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Makes a timer that ends waits to the microsecond, with an event of `token`. Returns whether
    /// the system has one; without it a wait may end a millisecond late.
    ///
    /// # Errors
    ///
    /// The operating system has no descriptor for it.
    fn add_timer(&mut self, token: Token) -> io::Result<bool>;

    /// Sets the timer to `at`. It has one time: an earlier one is forgotten.
    fn set_timer(&mut self, at: Time);

    /// Sleeps without watching anything. The loop does this after a failed wait, so that a broken
    /// selector does not make it spin.
    fn pause(&mut self, duration: Duration);

    /// The events of the last wait.
    fn events(&self) -> impl Iterator<Item = Event>;

    /// Whether a read that returned less than was asked for proves that nothing is left, so that
    /// the next arrival gives an event of its own. True for TCP on epoll, unless the event also
    /// said read-closed, error or priority. False on Unix streams, where control messages and
    /// urgent marks end a read early; false on kqueue, which does not tell of urgent marks; and
    /// false with mio's poll(2) selector, which re-arms on `WouldBlock` alone.
    fn short_read_drains(&self, stream: &Self::Stream) -> bool;

    /// Whether a write that took less than was asked for proves that the socket is full, so that
    /// the next room gives an event of its own.
    fn short_write_fills(&self, stream: &Self::Stream) -> bool;

    /// The same for a burst of datagrams that was shorter than there was room for.
    fn short_burst_drains(&self, socket: &Self::Datagram) -> bool;

    /// How much the kernel still holds for the peer: we sent it, and the peer has not taken it.
    /// `None` if the system does not tell.
    ///
    /// Only a change is meaningful: TCP counts bytes, and a Unix stream counts memory. The value
    /// can shrink while the socket still takes nothing. The kernel exceeds its limit with the last
    /// write, and the peer must first take that much. On a Unix stream that was up to 37 KB, the
    /// memory of about 48 small messages (`tests/timeouts.rs`). The value shrinks only in steps: by
    /// one of our writes, at most 37 KB, on a Unix stream; over TCP by 95 to 128 KB, because the
    /// peer opens its window only after it has read that much.
    fn unsent(&self, stream: &Self::Stream) -> Option<usize>;

    /// Whether the kernel holds output that it cannot even send, because the peer does not take
    /// what came before. Bytes that are sent and not acknowledged yet do not count: a healthy peer
    /// may delay that. On a Unix stream the peer has every written byte at once.
    fn is_stuck(&self, stream: &Self::Stream) -> bool;

    /// Makes room for exactly `additional` more bytes in a buffer that is kept on a peer's behalf.
    /// Here, and not with the buffer, so that the simulator can run out of memory.
    ///
    /// # Errors
    ///
    /// The allocator has no memory.
    fn reserve(&mut self, buffer: &mut Vec<u8>, additional: usize) -> Result<(), TryReserveError> {
        buffer.try_reserve_exact(additional)
    }

    /// A waker that ends a wait and gives an event of `token`.
    fn waker(&mut self, token: Token) -> io::Result<Arc<dyn Wake>>;

    /// Catches the signals of [`Signal`] from now on, as events of `token`.
    fn catch_signals(&mut self, token: Token) -> io::Result<Self::Signals>;

    /// The next signal that was caught; `None` until another comes.
    fn next_signal(&mut self, signals: &mut Self::Signals) -> Option<Signal>;

    /// Listens at a stream address, registered under `token`. Returns the address in use too, with
    /// the port that was chosen.
    fn listen(
        &mut self,
        address: &Address,
        backlog: u32,
        token: Token,
    ) -> Result<(Self::Listener, Address), StartError>;

    /// The next connection of the backlog. Not registered yet.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Peer)>;

    /// Closes a listener; the connections in its backlog are reset.
    fn close_listener(&mut self, listener: Self::Listener);

    /// Begins a connection to a stream address, from `local` if there is one, registered under
    /// `token` as by [`Net::register`]. A writable event announces success or failure, and
    /// [`Net::is_connected`] tells which.
    fn connect(
        &mut self,
        remote: &Address,
        local: Option<&Address>,
        token: Token,
    ) -> Result<Self::Stream, StartError>;

    /// Whether an outgoing connection is established; an error if it cannot be. `false`: the event
    /// was spurious.
    fn is_connected(&mut self, stream: &mut Self::Stream) -> io::Result<bool>;

    /// Registers a stream for readable and writable, once and for life.
    ///
    /// To register for readable alone until a write first blocks saves nothing on Linux, and would
    /// cost a call when a write blocks. Measured with connect, echo, close: 2.04 waits a connection
    /// against 2.03; rate 1.02 times this one and CPU time 0.98 with one connection at a time, 1.01
    /// and 1.02 with 32 at a time, which is noise.
    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// Reads into `buffer`; 0 is the end of the stream.
    fn read(&mut self, stream: &mut Self::Stream, buffer: &mut [u8]) -> io::Result<usize>;

    /// How long the last bytes that were read lay in the socket; `None` if the system did not tell.
    fn waited_unread(&self) -> Option<Duration> {
        None
    }

    /// Writes the beginning of `bytes`.
    fn write(&mut self, stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize>;

    /// Writes the beginning of all pieces as one.
    fn write_vectored(
        &mut self,
        stream: &mut Self::Stream,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize>;

    /// Sends our end of stream.
    fn finish(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Our own address on a stream.
    fn local(&self, stream: &Self::Stream) -> io::Result<Peer>;

    /// The error that stands on the socket, if any; asking clears it.
    fn take_error(&mut self, stream: &mut Self::Stream) -> io::Result<Option<io::Error>>;

    /// Closes a stream. Unread input turns this into a reset.
    fn close(&mut self, stream: Self::Stream);

    /// Resets a stream: the peer learns that it did not get everything.
    fn abort(&mut self, stream: Self::Stream);

    /// Binds a datagram socket, registered under `token`. Returns the address in use as well.
    fn bind(
        &mut self,
        address: &Address,
        token: Token,
    ) -> Result<(Self::Datagram, Address), StartError>;

    /// A datagram socket that talks to `remote` alone, from `local` if there is one, registered
    /// under `token`. A refusal that the network reports is an error of the next call.
    fn associate(
        &mut self,
        remote: &Address,
        local: Option<&Address>,
        token: Token,
    ) -> Result<Self::Datagram, StartError>;

    /// Receives some datagrams: at least one, and no more than a burst.
    fn receive(&mut self, socket: &mut Self::Datagram, burst: &mut Burst) -> io::Result<()>;

    /// Sends messages in their order, and returns how many left: at least one. There must be at
    /// least one. An error is that of the first, and the others were not tried.
    fn send(&mut self, socket: &mut Self::Datagram, messages: &[Transmit<'_>])
    -> io::Result<usize>;

    /// Whether a message may be several datagrams ([`Transmit::segment`]). Even so the socket may
    /// refuse such a message.
    fn offloads(&self, socket: &Self::Datagram) -> bool;

    /// Whether a `WouldBlock` of [`Net::send`] may concern the one peer, and not our own socket.
    /// The queue of a Unix datagram's receiver may be full, and no event tells when it has room.
    fn blocks_per_peer(&self, socket: &Self::Datagram) -> bool;

    /// Whether this machine has this address, apart from its port.
    fn is_local(&self, _address: SocketAddr) -> bool {
        false
    }

    /// How much memory peers have left unread of what a Unix datagram socket sent, and how much of
    /// it the kernel allows; `None` if the system does not charge that to the sender.
    fn unread(&self, _socket: &Self::Datagram) -> Option<(usize, usize)> {
        None
    }

    /// Closes a datagram socket.
    fn close_datagram(&mut self, socket: Self::Datagram);
}
