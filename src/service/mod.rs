//! What the server says: bytes in, bytes out.
//!
//! A [`Service`] is told what arrived and answers through its [`Context`]. It sees no socket, no token and no clock of its own, so it
//! cannot block, can be tested with an array, and runs alike on a stream, on a datagram socket and in the simulator.
//!
//! ```text
//!              on_open
//!                 │
//!       ┌─────────▼─────────┐  on_data      bytes came; take them all
//!       │       open        │  on_writable  what was said has left: say more
//!       └─────────┬─────────┘  on_alarm     the time asked for with `set_alarm` has come
//!                 │ on_eof                  the peer will send no more; what it is owed still goes out
//!                 ▼
//!             on_close                      always, once, last
//! ```
//!
//! The rules:
//!
//! * The input is borrowed for the call and must be taken whole; a service that needs it later keeps a copy, bounded by itself.
//! * An answer goes straight from the borrowed bytes to the socket; only what the socket refuses is copied. [`Context::room`] says how
//!   much can be said for certain. Saying more than that is a defect of the service and ends the connection.
//! * `on_writable` and `on_alarm` may come for nothing; a service must not mind.
//! * On a datagram socket one service answers all peers: there is no `on_open`, `on_eof` or `on_close`, each datagram is one `on_data`,
//!   and the first [`Context::reply`] to it is the one datagram that goes back, if who sent it may be answered at all ([`guard`](crate::datagram::guard)).

mod calendar;
mod chargen;
mod daytime;
mod discard;
mod echo;
mod framing;
mod messages;
mod qotd;
mod template;
mod time;
mod whoami;

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

pub use self::chargen::Chargen;
pub use self::daytime::Daytime;
pub use self::discard::Discard;
pub use self::echo::Echo;
pub use self::framing::{Delimiter, Frame, Framing, Next, Search, Width};
pub use self::messages::{Messages, Rules, Tap, TapFactory};
pub use self::qotd::Qotd;
pub use self::template::{Template, TemplateError};
pub use self::time::TimeProtocol;
pub use self::whoami::Whoami;
use crate::values::error::CloseReason;
use crate::values::peer::Peer;
use crate::values::time::Time;

/// One conversation, or all datagrams of one socket.
pub trait Service {
    /// A connection is open and nothing has been read from it.
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let _ = cx;
        Action::Continue
    }

    /// Bytes arrived, or one datagram, which may be empty.
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action;

    /// The peer has ended its sending side. To continue keeps our side open: a service that does must finish some day.
    fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
        let _ = cx;
        Action::FINISH
    }

    /// Asked for by [`Action::More`]: all that was said has left, and the socket takes more. Once a turn at the most, so that a service without
    /// end gets its share like everybody.
    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        let _ = cx;
        Action::Continue
    }

    /// The time set with [`Context::set_alarm`] has come.
    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        let _ = cx;
        Action::Continue
    }

    /// The loop is about to finish the connection for `reason` (a drain, an idle timeout). The service
    /// may say goodbye first. `Finish` goes on with the end; anything else keeps the connection open
    /// until the service finishes it, or the loop asks again.
    fn on_finish(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Action {
        let _ = cx;
        Action::Finish(reason)
    }

    /// Bytes that the service holds for the peer and has not sent yet. They count as pending output: for
    /// the write timeout, for a drain, and for what a cut costs the peer.
    fn pending(&self) -> usize {
        0
    }

    /// A datagram socket reported an error: what was sent was refused, now or, told late by ICMP, some time ago. Datagrams alone; of a stream's
    /// errors [`on_close`](Service::on_close) tells.
    fn on_error(&mut self, error: &io::Error) {
        let _ = error;
    }

    /// The connection is over. Nothing can be said any more.
    fn on_close(&mut self, reason: CloseReason) {
        let _ = reason;
    }
}

impl fmt::Debug for dyn Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

/// What a service wants to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Go on.
    Continue,
    /// Go on, and call [`Service::on_writable`] once all that was said has left: there is more to say than [`Context::room`]. Nothing on a datagram
    /// socket.
    More,
    /// Send what is owed, then end of stream; input from now on is thrown away. Nothing on a datagram socket.
    Finish(CloseReason),
    /// Send what is owed, then end of stream, and go on reading to the peer's end: what a client does that has no more to ask. Nothing on a
    /// datagram socket.
    HalfClose,
    /// Reset the connection, which is then closed for this reason. Nothing on a datagram socket.
    Abort(CloseReason),
}

impl Action {
    /// Finish because the conversation is over.
    pub const FINISH: Action = Action::Finish(CloseReason::Finished);
    /// Finish because the peer sent a message that is longer than the limit.
    pub const TOO_LONG: Action = Action::Finish(CloseReason::MessageTooLong);
    /// Reset the connection because the service asks for it.
    pub const ABORT: Action = Action::Abort(CloseReason::Aborted);
}

/// What a service may know and do during one call.
pub struct Context<'a> {
    /// The reactor's clock, read once a turn.
    pub now: Time,
    /// Who is at the other end.
    pub peer: &'a Peer,
    wire: &'a mut dyn Wire,
}

impl<'a> Context<'a> {
    /// Made by the state machines, and by tests of services.
    pub fn new(now: Time, peer: &'a Peer, wire: &'a mut dyn Wire) -> Context<'a> {
        Context { now, peer, wire }
    }

    /// Answers with `bytes`: on a stream behind all that was said before, on a datagram socket as one datagram. A datagram client may say several in one call.
    #[inline]
    pub fn reply(&mut self, bytes: &[u8]) {
        self.wire.send(bytes);
    }

    /// Answers with several pieces that belong together: one system call, one datagram.
    pub fn reply_vectored(&mut self, pieces: &[IoSlice<'_>]) {
        self.wire.send_vectored(pieces);
    }

    /// How many bytes can be said now without fail.
    pub fn room(&self) -> usize {
        self.wire.room()
    }

    /// Whether to leave what the peer sends in the kernel from now on, for as long as there is no room for it here; the peer is pushed back. A
    /// service that holds must let go some day, from `on_writable` or `on_alarm`. Nothing on a datagram socket.
    pub fn hold_input(&mut self, is_held: bool) {
        self.wire.hold_input(is_held);
    }

    /// Our own address, as the peer knows it; `None` where the socket does not tell. On a datagram socket that is bound to a wildcard address, the
    /// address that was asked where the system tells it (Linux), the wildcard elsewhere. Costs a system call on a stream.
    pub fn local(&self) -> Option<Peer> {
        self.wire.local()
    }

    /// The clock of `now`, read anew with each call: for who measures. `now` serves everybody else, and costs nothing.
    pub fn clock(&mut self) -> Time {
        self.wire.clock()
    }

    /// The time of day, as the time since 1970-01-01 00:00:00 UTC. Read from the clock with each call.
    pub fn wall_clock(&mut self) -> Duration {
        self.wire.wall_clock()
    }

    /// Asks for [`Service::on_alarm`] at `at`; replaces the time set before. [`Time::NEVER`] clears it. On a datagram socket, of a client's alone.
    pub fn set_alarm(&mut self, at: Time) {
        self.wire.set_alarm(at);
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
pub trait Wire {
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
    /// See [`Context::clock`].
    fn clock(&mut self) -> Time;
    /// See [`Context::wall_clock`].
    fn wall_clock(&mut self) -> Duration;
    /// See [`Context::set_alarm`].
    fn set_alarm(&mut self, at: Time);
}

/// What a service will talk through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A connection: bytes in order, with an end.
    Stream,
    /// A datagram socket: messages of any number of peers.
    Datagram,
}

/// Makes a service for each connection, or one for a datagram socket.
pub type Factory = Box<dyn FnMut(Shape) -> Box<dyn Service>>;

/// Where a service runs, for those that tell: the program knows, a service does not look.
#[derive(Clone, Debug)]
pub struct Host {
    /// The name of this machine.
    pub name: Rc<str>,
    /// The number of this process.
    pub process: u32,
    /// How many connections were numbered so far. Shared, so that no two connections of one process have the same number.
    pub connections: Rc<Cell<u64>>,
}

impl Host {
    /// A machine called `name`, on which this process has the number `process`.
    pub fn new(name: &str, process: u32) -> Host {
        Host {
            name: name.into(),
            process,
            connections: Rc::default(),
        }
    }

    /// The number of the next connection, from 1. Asked for in `on_open`, so that a datagram socket keeps the number 0.
    pub fn next_connection(&self) -> u64 {
        self.connections.set(self.connections.get() + 1);
        self.connections.get()
    }
}

/// Names of the services, as on the command line.
pub const NAMES: [&str; 7] = [
    "echo", "discard", "chargen", "daytime", "time", "qotd", "whoami",
];

/// The maker of the service called `name`, on `host`; `None` where there is no such service.
pub fn factory(name: &str, host: &Host) -> Option<Factory> {
    Some(match name {
        "echo" => Box::new(|_| Box::new(Echo)),
        "discard" => Box::new(|_| Box::new(Discard)),
        "chargen" => Box::new(|shape| Box::new(Chargen::new(shape))),
        "daytime" => Box::new(|_| Box::new(Daytime)),
        "time" => Box::new(|_| Box::new(TimeProtocol)),
        "qotd" => {
            let turn = Rc::default();
            Box::new(move |_| Box::new(Qotd::new(Rc::clone(&turn))))
        }
        "whoami" => {
            let host = host.clone();
            Box::new(move |shape| Box::new(Whoami::new(host.clone(), shape)))
        }
        _ => return None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A wire that keeps everything, for tests of services.
    #[derive(Debug)]
    pub(crate) struct Kept {
        pub(crate) sent: Vec<u8>,
        pub(crate) calls: usize,
        /// What [`Context::room`] says; a test that wants it used up subtracts by itself.
        pub(crate) room: usize,
        pub(crate) is_held: bool,
        pub(crate) local: Option<Peer>,
        pub(crate) wall_clock: Duration,
        pub(crate) clock: Time,
        pub(crate) alarm: Time,
    }

    impl Default for Kept {
        fn default() -> Kept {
            Kept {
                sent: Vec::new(),
                calls: 0,
                room: usize::MAX,
                is_held: false,
                local: None,
                wall_clock: Duration::ZERO,
                clock: Time::ZERO,
                alarm: Time::NEVER,
            }
        }
    }

    impl Wire for Kept {
        fn send(&mut self, bytes: &[u8]) {
            self.sent.extend_from_slice(bytes);
            self.calls += 1;
        }

        fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) {
            pieces
                .iter()
                .for_each(|piece| self.sent.extend_from_slice(piece));
            self.calls += 1;
        }

        fn room(&self) -> usize {
            self.room
        }

        fn hold_input(&mut self, is_held: bool) {
            self.is_held = is_held;
        }

        fn local(&self) -> Option<Peer> {
            self.local.clone()
        }

        fn clock(&mut self) -> Time {
            self.clock
        }

        fn wall_clock(&mut self) -> Duration {
            self.wall_clock
        }

        fn set_alarm(&mut self, at: Time) {
            self.alarm = at;
        }
    }

    /// Feeds one input and returns what was said and done.
    pub(crate) fn feed(service: &mut dyn Service, input: &[u8]) -> (Vec<u8>, Action) {
        let (peer, mut wire) = (Peer::unnamed(), Kept::default());
        let action = service.on_data(&mut Context::new(Time::ZERO, &peer, &mut wire), input);
        (wire.sent, action)
    }

    /// Opens a stream so long after 1970 and returns what was said and done.
    pub(crate) fn open_at(service: &mut dyn Service, wall_clock: Duration) -> (Vec<u8>, Action) {
        let (peer, mut wire) = (
            Peer::unnamed(),
            Kept {
                wall_clock,
                ..Kept::default()
            },
        );
        let action = service.on_open(&mut Context::new(Time::ZERO, &peer, &mut wire));
        (wire.sent, action)
    }

    #[test]
    fn every_name_makes_a_service() {
        let host = Host::new("here", 1);
        assert!(NAMES.iter().all(|name| factory(name, &host).is_some()));
        assert!(factory("parrot", &host).is_none());
    }

    #[test]
    fn a_service_finishes_with_its_peer_unless_it_says_otherwise() {
        let (peer, mut wire) = (Peer::unnamed(), Kept::default());
        let mut cx = Context::new(Time::ZERO, &peer, &mut wire);
        assert_eq!(Echo.on_open(&mut cx), Action::Continue);
        assert_eq!(Echo.on_eof(&mut cx), Action::FINISH);
        assert_eq!(wire.calls, 0);
    }
}
