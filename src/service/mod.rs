//! What the server says: bytes in, bytes out.
//!
//! The loop tells a [`Service`] what arrived, and the service answers through its [`Context`]. It
//! has no socket, no token and no clock. So it cannot block, a test can drive it with an array, and
//! it runs the same on a stream, on a datagram socket and in the simulator.
//!
//! ```text
//!              on_open
//!                 │
//!       ┌─────────▼─────────┐  on_data      bytes came; take them all
//!       │       open        │  on_writable  all output has been sent: send more
//!       └─────────┬─────────┘  on_alarm     the time asked for with `set_alarm` has come
//!                 │            on_finish    the loop wants to end this: say goodbye, or go on
//!                 │ on_eof                  the peer will send no more
//!                 ▼
//!             on_close                      always, once, last
//! ```
//!
//! The rules:
//!
//! * The input is borrowed for the call, and the service must take all of it. A service that needs
//!   it later keeps a copy, and must bound it.
//! * `on_data` gives at most [`READ_BUFFER`] bytes. To a service in the server role, whose side is
//!   still open, it gives at most as many as [`Context::room`]: an answer of the size of its input
//!   always fits.
//! * An answer goes straight from the borrowed bytes to the socket; only what the socket refuses is
//!   copied. [`Context::room`] is how much the service may send. To send more is a defect of the
//!   service, and ends the connection.
//! * `on_writable` and `on_alarm` may come for nothing, and a service must accept that.
//! * A service that panics loses its own connection, which is reset. It is not called again.
//! * On a datagram socket one service answers all peers. There is no `on_open`, `on_eof`,
//!   `on_finish` or `on_close`; each datagram is one `on_data`. The first [`Context::reply`] to it
//!   is the one datagram that goes back, if its sender may be answered at all
//!   ([`guard`](crate::datagram::guard)).
//!
//! [`READ_BUFFER`]: crate::values::limits::READ_BUFFER

mod alarms;
mod calendar;
mod chargen;
mod context;
mod daytime;
mod discard;
mod echo;
mod filling;
mod framing;
mod messages;
mod qotd;
mod template;
mod time;
mod whoami;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;

pub use self::calendar::rfc3339;
pub use self::chargen::Chargen;
pub use self::context::{Context, Transport};
pub use self::daytime::Daytime;
pub use self::discard::Discard;
pub use self::echo::Echo;
pub use self::framing::{Delimiter, Frame, Framing, Next, Search, Width};
pub use self::messages::{Conversation, Messages, Tap, TapFactory};
pub use self::qotd::Qotd;
pub use self::template::{Template, TemplateError};
pub use self::time::TimeProtocol;
pub use self::whoami::Whoami;
use crate::values::error::CloseReason;

/// One conversation, or all datagrams of one socket.
pub trait Service {
    /// A connection is open and nothing has been read from it.
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let _ = cx;
        Action::Continue
    }

    /// Bytes arrived, or one datagram, which may be empty.
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action;

    /// The peer has ended its sending side. `Continue` keeps our side open, so the service must
    /// finish some day.
    fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
        let _ = cx;
        Action::FINISH
    }

    /// Called after [`Action::More`], when all output has been sent and the socket takes more. At
    /// most once a turn, so that an endless service gets only its share.
    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        let _ = cx;
        Action::Continue
    }

    /// The time set with [`Context::set_alarm`] has come.
    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        let _ = cx;
        Action::Continue
    }

    /// The loop wants to finish the connection for `reason` (a drain, an idle timeout). The service
    /// may say goodbye first. `Finish` and `Abort` end the connection. Anything else keeps it open
    /// until the service ends it, or the loop asks again, after one more period of the same
    /// deadline. At the end of a drain the loop does not wait for an answer that comes later.
    fn on_finish(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Action {
        let _ = cx;
        Action::Finish(reason)
    }

    /// Bytes that the service holds for the peer and has not sent yet. They count as pending output
    /// for the write timeout, and for what a cut costs the peer. The loop asks after each call but
    /// a plain [`on_data`](Service::on_data); a service that begins to hold bytes there also sets
    /// an alarm or asks for [`Action::More`]. Bytes that are held on purpose for longer than the
    /// write timeout do not count.
    fn pending(&self) -> usize {
        0
    }

    /// Bytes of memory that the service keeps because of what the peer sent or does not take: they
    /// count against [`Limits::max_pending_output`](crate::Limits::max_pending_output). Asked for
    /// when [`pending`](Service::pending) is.
    fn memory(&self) -> usize {
        0
    }

    /// A datagram socket reported an error: a datagram was refused, now or, as ICMP tells late,
    /// some time ago. A stream's errors end in [`on_close`](Service::on_close) instead.
    fn on_error(&mut self, error: &io::Error) {
        let _ = error;
    }

    /// The connection is over. Nothing can be sent any more.
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
    /// Go on, and call [`Service::on_writable`] once all output has been sent: there is more to
    /// send than [`Context::room`]. It has no effect on a datagram socket.
    More,
    /// Send pending output, then our end of stream, and discard input from now on. See
    /// [`CloseReason`] for the reasons that a service may name. It has no effect on a datagram
    /// socket.
    Finish(CloseReason),
    /// Send pending output, then our end of stream, and read to the peer's end of stream: for a
    /// client that has sent its last request. It has no effect on a datagram socket.
    HalfClose,
    /// Reset the connection, which is closed for this reason. It has no effect on a datagram
    /// socket.
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

/// What kind of socket a service uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A connection: bytes in order, with an end.
    Stream,
    /// A datagram socket: messages of any number of peers.
    Datagram,
}

/// Makes a service for each connection, or one for a datagram socket.
pub type Factory = Box<dyn FnMut(Shape) -> Box<dyn Service>>;

/// Where a service runs. The program fills it in; a service never asks the system.
#[derive(Clone, Debug)]
pub struct Host {
    /// The name of this machine.
    pub name: Rc<str>,
    /// The number of this process.
    pub process: u32,
    /// How many connections were numbered so far. Shared, so that no two connections of one process
    /// have the same number.
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

    /// The number of the next connection, from 1. Services ask in `on_open`, so a datagram socket
    /// keeps the number 0.
    pub fn next_connection(&self) -> u64 {
        self.connections.set(self.connections.get() + 1);
        self.connections.get()
    }
}

/// Names of the services, as on the command line.
pub const NAMES: [&str; 7] = [
    "echo", "discard", "chargen", "daytime", "time", "qotd", "whoami",
];

/// The maker of the service called `name`, on `host`; `None` if there is no such service.
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
    use std::io::IoSlice;
    use std::time::Duration;

    use super::*;
    use crate::values::peer::Peer;
    use crate::values::time::Time;

    /// A transport that keeps everything, for tests of services.
    #[derive(Debug)]
    pub(crate) struct Kept {
        pub(crate) sent: Vec<u8>,
        pub(crate) calls: usize,
        /// What [`Context::room`] says. It is not used up.
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

    impl Transport for Kept {
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
        let (peer, mut transport) = (Peer::unnamed(), Kept::default());
        let action = service.on_data(&mut Context::new(Time::ZERO, &peer, &mut transport), input);
        (transport.sent, action)
    }

    /// Opens a stream so long after 1970 and returns what was said and done.
    pub(crate) fn open_at(service: &mut dyn Service, wall_clock: Duration) -> (Vec<u8>, Action) {
        let (peer, mut transport) = (
            Peer::unnamed(),
            Kept {
                wall_clock,
                ..Kept::default()
            },
        );
        let action = service.on_open(&mut Context::new(Time::ZERO, &peer, &mut transport));
        (transport.sent, action)
    }

    #[test]
    fn every_name_makes_a_service() {
        let host = Host::new("here", 1);
        assert!(NAMES.iter().all(|name| factory(name, &host).is_some()));
        assert!(factory("parrot", &host).is_none());
    }

    #[test]
    fn a_service_finishes_with_its_peer_unless_it_says_otherwise() {
        let (peer, mut transport) = (Peer::unnamed(), Kept::default());
        let mut cx = Context::new(Time::ZERO, &peer, &mut transport);
        assert_eq!(Echo.on_open(&mut cx), Action::Continue);
        assert_eq!(Echo.on_eof(&mut cx), Action::FINISH);
        assert_eq!(transport.calls, 0);
    }
}
