//! Conversations of messages: a greeting, an answer to each message, an end.
//!
//! Owns the rules of a conversation and its life, from the greeting to the close. It must never
//! send more than there is room for, and never keep more than one message, one read and one answer.
//!
//! ```text
//!   on_data ──▶ search ─▶ message ─▶ tap ─▶ answer ─▶ room? ─ yes ─▶ straight to the socket
//!                 │                                     │
//!                 └─ incomplete: kept                   └─ no: kept, and the input held;
//!                                                          on_writable goes on
//! ```
//!
//! * `messages/work.rs` finds messages in the input and keeps the rest. While work is left the
//!   input
//!   is held, so a peer whose small messages have large answers costs no more than any other.
//! * `messages/answer.rs` makes and sends one answer.
//! * The service keeps the beginning of a message for `message_timeout` after its last byte came. A
//!   slow but steady sender of a long message is therefore served. One that stops inside a message
//!   loses its buffer and its connection. While output is pending the server does not read, so that
//!   time does not count.
//! * Without a template an inner service answers. It gets the bytes as they came, and framing
//!   serves
//!   only the tap and the limits.
//! * On a datagram socket one datagram is one message, whatever the framing, and its answer is one
//!   datagram.
//!
//! Tests: `tests/messages.rs`.

mod answer;
mod work;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use log::debug;

use self::answer::Scratch;
use super::alarms::Alarms;
use super::framing::{Framing, Search};
use super::template::Template;
use super::{Action, Context, Factory, Host, Service, Shape};
use crate::values::error::CloseReason;
use crate::values::limits::READ_BUFFER;
use crate::values::peer::Peer;
use crate::values::time::Time;

/// An observer of the messages of one connection, or of all peers of a datagram socket. It must not
/// block.
pub trait Tap {
    /// A message came. `is_whole` is false if it is what one read gave: a character may continue in
    /// the next piece.
    fn message(&mut self, peer: &Peer, message: &[u8], is_whole: bool);

    /// The stream has ended, well or badly. Called once; never on a datagram socket.
    fn end(&mut self, peer: &Peer);
}

/// The rules of a conversation, the same for all connections of an endpoint.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What one message is.
    pub framing: Framing,
    /// The longest message that the service accepts, in bytes.
    pub max_message: usize,
    /// How long the beginning of a message is kept after its last byte came. `None`: until the
    /// connection ends.
    pub message_timeout: Option<Duration>,
    /// Sent first on a stream; empty for none. At most an
    /// [outbox](crate::stream::outbox::LIMIT).
    pub greeting: Box<[u8]>,
    /// The answer to each message; without one the inner service answers.
    pub reply: Option<Template>,
    /// Whether to end a stream after the first answer, or, without a template, after the greeting.
    pub close: bool,
    /// Where this runs.
    pub host: Host,
}

/// Makes taps.
pub type TapFactory = Box<dyn FnMut() -> Box<dyn Tap>>;

/// What all connections of an endpoint share.
struct Shared {
    rules: Conversation,
    /// Whether the template's own text contains the delimiter, and so ends itself.
    ends_itself: bool,
    scratch: RefCell<Scratch>,
}

/// The service that holds a conversation of messages.
pub struct Messages {
    shared: Rc<Shared>,
    inner: Box<dyn Service>,
    tap: Option<Box<dyn Tap>>,
    /// The peer whose stream is tapped, until the tap has been told of the end.
    tapped: Option<Peer>,
    shape: Shape,
    connection: u64,
    sequence: u64,
    local: Option<Box<str>>,
    search: Search,
    /// Input that is not processed yet.
    kept: Vec<u8>,
    /// An answer for which there was no room, and how much of it has been sent.
    unsent: Vec<u8>,
    sent: usize,
    is_held: bool,
    alarms: Alarms,
    /// The time of an unfinished message is over. The conversation ends if the socket has no more
    /// input either.
    is_overdue: bool,
    /// The peer has ended its side.
    is_ended: bool,
    /// The last answer is on its way.
    is_closing: bool,
}

impl Messages {
    /// Returns a factory of conversations by `rules`. The service from `inner` answers if there is
    /// no template; the tap from `tap` sees the messages.
    pub fn factory(
        rules: Conversation,
        mut inner: Factory,
        mut tap: Option<TapFactory>,
    ) -> Factory {
        let ends_itself = match (&rules.framing, &rules.reply) {
            (Framing::Until(delimiter), Some(reply)) => reply.says(delimiter.text()),
            _ => false,
        };
        let shared = Rc::new(Shared {
            rules,
            ends_itself,
            scratch: RefCell::default(),
        });
        Box::new(move |shape| {
            Box::new(Messages::new(
                shared.clone(),
                shape,
                inner(shape),
                tap.as_mut().map(|tap| tap()),
            ))
        })
    }

    fn new(
        shared: Rc<Shared>,
        shape: Shape,
        inner: Box<dyn Service>,
        tap: Option<Box<dyn Tap>>,
    ) -> Messages {
        Messages {
            shared,
            inner,
            tap,
            tapped: None,
            shape,
            connection: 0,
            sequence: 0,
            local: None,
            search: Search::default(),
            kept: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            is_held: false,
            alarms: Alarms::default(),
            is_overdue: false,
            is_ended: false,
            is_closing: false,
        }
    }

    fn answers(&self) -> bool {
        self.shared.rules.reply.is_some()
    }

    /// Shows the tap what the inner service is about to get: now, or in later calls if there are
    /// many messages. The inner service does not wait for that. The result ends the conversation if
    /// a message is too long.
    fn watch(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        if self.shared.rules.framing == Framing::Chunk {
            self.note(cx, input);
            return Action::Continue;
        }
        self.work(cx, input)
    }

    /// Tells the inner service of the peer's end of stream, after the tap has seen all messages.
    fn end_inner(&mut self, cx: &mut Context<'_>) -> Action {
        self.tap_ends();
        self.alarms.lend(cx, |cx| self.inner.on_eof(cx))
    }

    /// Whether the unfinished message is late, now that its time is over. If not, its time starts
    /// again.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if cx.room() < READ_BUFFER {
            // Output is pending, so the server did not read.
            let again = cx.now.after(self.shared.rules.message_timeout);
            self.alarms.set_own(cx, again);
            return false;
        }
        if !std::mem::replace(&mut self.is_overdue, true) {
            // The connection reads after this call. More input then resets `is_overdue`.
            self.alarms.set_own(cx, cx.now);
            return false;
        }
        true
    }

    /// Bytes of answers that found no room, and of messages that are not answered yet.
    fn unanswered(&self) -> usize {
        let waiting = if self.is_held { self.kept.len() } else { 0 };
        waiting + self.unsent.len() - self.sent
    }

    fn tap_ends(&mut self) {
        if let (Some(tap), Some(peer)) = (&mut self.tap, self.tapped.take()) {
            tap.end(&peer);
        }
    }
}

/// The one action that follows from the tap's side and the inner service's.
fn join(watched: Action, action: Action) -> Action {
    match (watched, action) {
        (Action::Continue, action) => action,
        (Action::More, Action::Continue) => Action::More,
        (Action::More, action) => action,
        (ended, _) => ended,
    }
}

impl Service for Messages {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        if self.answers() {
            // Only if it answers: an inner service that numbers connections takes its own number,
            // and would see every other one.
            self.connection = self.shared.rules.host.next_connection();
        }
        self.tapped = self.tap.is_some().then(|| cx.peer.clone());
        let rules = &self.shared.rules;
        if !rules.greeting.is_empty() {
            cx.reply(&rules.greeting);
        }
        match (self.answers(), rules.close) {
            (true, _) => Action::Continue,
            (false, true) => Action::FINISH,
            (false, false) => self.alarms.lend(cx, |cx| self.inner.on_open(cx)),
        }
    }

    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        if self.shape == Shape::Datagram {
            return self.answer_datagram(cx, input);
        }
        if self.answers() {
            return self.work(cx, input);
        }
        let watched = self.watch(cx, input);
        let action = self.alarms.lend(cx, |cx| self.inner.on_data(cx, input));
        join(watched, action)
    }

    fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
        self.is_ended = true;
        match self.work(cx, b"") {
            Action::More => Action::More,
            worked if self.answers() => {
                self.tap_ends();
                worked
            }
            _ => self.end_inner(cx),
        }
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        if self.answers() {
            return self.work(cx, b"");
        }
        let mut watched = Action::Continue;
        if self.is_held {
            watched = self.work(cx, b"");
            if self.is_ended && watched != Action::More {
                return self.end_inner(cx);
            }
        }
        let action = self.alarms.lend(cx, |cx| self.inner.on_writable(cx));
        join(watched, action)
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        if self.alarms.fired(cx.now) && self.is_late(cx) {
            debug!(
                "{}: {} bytes of a message, and no more came in time",
                cx.peer,
                self.kept.len()
            );
            self.kept = Vec::new();
            self.alarms.set_own(cx, Time::NEVER);
            return Action::Finish(CloseReason::MessageTimeout);
        }
        let answers = self.answers();
        self.alarms.lend(cx, |cx| match answers {
            true => Action::Continue,
            false => self.inner.on_alarm(cx),
        })
    }

    /// Answers that are not sent yet go first.
    fn on_finish(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Action {
        match (self.unanswered(), self.answers()) {
            (0, true) => Action::Finish(reason),
            (0, false) => self.alarms.lend(cx, |cx| self.inner.on_finish(cx, reason)),
            _ => Action::More,
        }
    }

    fn pending(&self) -> usize {
        self.unanswered() + self.inner.pending()
    }

    fn memory(&self) -> usize {
        self.kept.capacity() + self.unsent.capacity() + self.inner.memory()
    }

    fn on_error(&mut self, error: &io::Error) {
        self.inner.on_error(error);
    }

    fn on_close(&mut self, reason: CloseReason) {
        if !self.kept.is_empty() {
            debug!(
                "the stream ended within a message, after {} bytes of it",
                self.kept.len()
            );
        }
        self.tap_ends();
        self.inner.on_close(reason);
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages")
            .field("rules", &self.shared.rules)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}
