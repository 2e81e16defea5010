//! What a service may know and do during one call.
//!
//! Owns the two sides of the way to the socket: services use [`Context`], and the state machines
//! implement [`Transport`]. It decides nothing.

use std::fmt;
use std::io::IoSlice;
use std::time::Duration;

use crate::values::peer::Peer;
use crate::values::time::Time;

/// What a service may know and do during one call.
pub struct Context<'a> {
    /// The reactor's clock, read once a turn.
    pub now: Time,
    /// The other end.
    pub peer: &'a Peer,
    pub(super) transport: &'a mut dyn Transport,
}

impl<'a> Context<'a> {
    /// Made by the state machines, and by tests of services.
    pub fn new(now: Time, peer: &'a Peer, transport: &'a mut dyn Transport) -> Context<'a> {
        Context {
            now,
            peer,
            transport,
        }
    }

    /// Sends `bytes`: on a stream after all that was sent before, on a datagram socket as one
    /// datagram. A datagram client may send several in one call.
    #[inline]
    pub fn reply(&mut self, bytes: &[u8]) {
        self.transport.send(bytes);
    }

    /// Sends several pieces as one: with one system call, in one datagram.
    pub fn reply_vectored(&mut self, pieces: &[IoSlice<'_>]) {
        self.transport.send_vectored(pieces);
    }

    /// How many bytes the transport can certainly take now; 0 after our side has ended.
    pub fn room(&self) -> usize {
        self.transport.room()
    }

    /// Whether to leave the peer's input in the kernel from now on, because there is no room for it
    /// here. This gives the peer backpressure. A service that holds its input must release it
    /// later, from `on_writable` or `on_alarm`. It has no effect on a datagram socket.
    pub fn hold_input(&mut self, is_held: bool) {
        self.transport.hold_input(is_held);
    }

    /// Our own address, as the peer knows it; `None` if the socket does not tell. A datagram socket
    /// that is bound to a wildcard address gives the address that the datagram was sent to on
    /// Linux, and the wildcard elsewhere. This costs a system call on a stream.
    pub fn local(&self) -> Option<Peer> {
        self.transport.local()
    }

    /// How long the input of this call lay in the socket before it was read: what a generator adds
    /// to the times that it measures. `None` if the system does not tell, or was not asked
    /// ([`OsNet::stamped`](crate::net::os::OsNet::stamped)).
    pub fn waited_unread(&self) -> Option<Duration> {
        self.transport.waited_unread()
    }

    /// Reads the clock of `now` again: for a service that measures. For all others `now` is enough,
    /// and costs nothing.
    pub fn clock(&mut self) -> Time {
        self.transport.clock()
    }

    /// The time of day, as the time since 1970-01-01 00:00:00 UTC. Read from the clock with each
    /// call.
    pub fn wall_clock(&mut self) -> Duration {
        self.transport.wall_clock()
    }

    /// Asks for [`Service::on_alarm`](super::Service::on_alarm) at `at`, and replaces the time set
    /// before. [`Time::NEVER`] clears it. On a datagram socket only a client's service can set it.
    pub fn set_alarm(&mut self, at: Time) {
        self.transport.set_alarm(at);
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now)
            .field("peer", self.peer)
            .finish_non_exhaustive()
    }
}

/// The way to the socket, as a service may use it.
pub trait Transport {
    /// Sends or keeps all of `bytes`.
    fn send(&mut self, bytes: &[u8]);
    /// Sends or keeps all of the pieces, in order.
    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]);
    /// Bytes that `send` can certainly take.
    fn room(&self) -> usize;
    /// See [`Context::hold_input`].
    fn hold_input(&mut self, is_held: bool);
    /// See [`Context::local`].
    fn local(&self) -> Option<Peer>;
    /// See [`Context::waited_unread`].
    fn waited_unread(&self) -> Option<Duration> {
        None
    }
    /// See [`Context::clock`].
    fn clock(&mut self) -> Time;
    /// See [`Context::wall_clock`].
    fn wall_clock(&mut self) -> Duration;
    /// See [`Context::set_alarm`].
    fn set_alarm(&mut self, at: Time);
}
