//! Conversations of messages: a greeting, an answer to each message, an end.
//!
//! Owns the input that is not worked off yet: the beginning of a message, or messages that there
//! was no room to answer. It must never say more than there is room for, and never keep more than
//! one message, one read and one answer.
//!
//! ```text
//!   on_data ──▶ search ─▶ message ─▶ tap ─▶ answer ─▶ room? ─ yes ─▶ straight to the socket
//!                 │                                     │
//!                 └─ incomplete: kept                   └─ no: kept, and the input held;
//!                                                          on_writable goes on
//! ```
//!
//! * An answer is one vectored write of pieces that lie where they are: the template's, the
//!   message's. Only if one input holds many messages are their answers gathered, because a copy of
//!   some bytes costs less than a system call.
//! * While work is left the input is held, so a peer whose small messages have large answers costs
//!   no more than any other.
//! * The beginning of a message is kept for `message_timeout` after the last byte of it came. A
//!   slow but steady sender of a long message is therefore served; one that stops inside a message
//!   loses its buffer, and the connection with it. While output is pending it is we who do not
//!   read, and the time does not count.
//! * Without a template an inner service answers, and gets the bytes as they came. Framing then
//!   serves the tap and the limits alone.
//! * On a datagram socket one datagram is one message, whatever the framing, and its answer is one
//!   datagram.
//!
//! Tests: below, `tests/messages.rs`.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use log::debug;

use super::alarms::Alarms;
use super::framing::{Around, Frame, Framing, Next, Search};
use super::template::{Template, Values};
use super::{Action, Context, Factory, Host, Service, Shape};
use crate::values::error::CloseReason;
use crate::values::limits::{MESSAGE_BUDGET, READ_BUFFER, TAPPED_BUDGET};
use crate::values::peer::Peer;
use crate::values::time::Time;

/// About as many bytes one call says before other connections get their turn.
const SAY_BUDGET: usize = 64 * 1024;

/// There was no memory to keep something for the peer.
const NO_MEMORY: Action = Action::Abort(CloseReason::NoMemory);

/// Pieces of an answer that is not copied, with its frame. An answer of more is put together first.
const MOST_PIECES: usize = 8;

/// Is shown the messages of one connection, or of all peers of a datagram socket. It must not
/// block.
pub trait Tap {
    /// A message. `is_whole` is false if it is a piece of a stream as one read gave it: a character
    /// may go on in the next piece.
    fn message(&mut self, peer: &Peer, message: &[u8], is_whole: bool);

    /// The stream has ended, well or badly. Called once; never on a datagram socket.
    fn end(&mut self, peer: &Peer);
}

/// What a conversation is, alike for all connections of an endpoint.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What one message is.
    pub framing: Framing,
    /// The longest message that is taken, in bytes.
    pub max_message: usize,
    /// How long the beginning of a message is kept after its last byte came. `None`: until the
    /// connection ends.
    pub message_timeout: Option<Duration>,
    /// Said first on a stream; empty for nothing. At most an
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
    says_end: bool,
    scratch: RefCell<Scratch>,
}

/// Buffers for the length of one call. Idle connections own none.
#[derive(Default)]
struct Scratch {
    /// Texts of the fields of one answer.
    texts: String,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Answers that are said together.
    batch: Vec<u8>,
}

/// The service.
pub struct Messages {
    shared: Rc<Shared>,
    inner: Box<dyn Service>,
    tap: Option<Box<dyn Tap>>,
    /// The peer whose stream is tapped, until the tap was told of its end.
    tapped: Option<Peer>,
    shape: Shape,
    connection: u64,
    sequence: u64,
    local: Option<Box<str>>,
    search: Search,
    /// Input that is not worked off.
    kept: Vec<u8>,
    /// An answer for which there was no room behind others, and how much of it has been said.
    unsaid: Vec<u8>,
    said: usize,
    is_held: bool,
    alarms: Alarms,
    /// The time of an unfinished message is over. It ends the conversation if nothing stands in the
    /// socket either.
    is_overdue: bool,
    /// The peer has ended its side.
    is_ended: bool,
    /// The last answer is on its way.
    is_closing: bool,
}

/// How working off came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worked {
    /// All messages that are complete were answered.
    Off,
    /// There is no room, or others want their turn.
    Stalled,
    /// The conversation is over.
    Over(Action),
}

impl Messages {
    /// The maker of conversations by `rules`. What `inner` makes answers if there is no template,
    /// and what `tap` makes is shown the messages.
    pub fn factory(
        rules: Conversation,
        mut inner: Factory,
        mut tap: Option<TapFactory>,
    ) -> Factory {
        let says_end = match (&rules.framing, &rules.reply) {
            (Framing::Until(delimiter), Some(reply)) => reply.says(delimiter.text()),
            _ => false,
        };
        let shared = Rc::new(Shared {
            rules,
            says_end,
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
            unsaid: Vec::new(),
            said: 0,
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

    /// Works off `input` behind what is kept, and keeps what is left.
    fn work(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let kept_before = self.kept.capacity();
        let action = self.work_and_keep(cx, input);
        self.is_overdue = false;
        let is_inside = !self.kept.is_empty() && !self.is_held && !self.is_ended;
        let due = match is_inside {
            true => cx.now.after(self.shared.rules.message_timeout),
            false => Time::NEVER,
        };
        self.alarms.set_own(cx, due);
        if self.kept.capacity() != kept_before {
            // The loop then asks how much is kept.
            self.alarms.tell(cx);
        }
        action
    }

    fn work_and_keep(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let worked = if self.kept.is_empty() {
            let (consumed, worked) = self.work_off(cx, input);
            self.keep(&input[consumed..], worked)
        } else {
            let mut bytes = std::mem::take(&mut self.kept);
            if let Err(action) = append(&mut bytes, input) {
                return action;
            }
            let (consumed, worked) = self.work_off(cx, &bytes);
            if consumed == 0 {
                self.kept = bytes;
                worked
            } else {
                self.keep(&bytes[consumed..], worked)
            }
        };
        match worked {
            Worked::Over(action) => {
                self.kept = Vec::new();
                action
            }
            Worked::Stalled => {
                self.hold(cx, true);
                Action::More
            }
            Worked::Off => {
                self.hold(cx, false);
                if self.is_ended {
                    Action::FINISH
                } else {
                    Action::Continue
                }
            }
        }
    }

    /// Keeps exactly the rest of the input.
    fn keep(&mut self, rest: &[u8], worked: Worked) -> Worked {
        if self.kept.try_reserve_exact(rest.len()).is_err() {
            return Worked::Over(NO_MEMORY);
        }
        self.kept.extend_from_slice(rest);
        worked
    }

    fn hold(&mut self, cx: &mut Context<'_>, is_held: bool) {
        if std::mem::replace(&mut self.is_held, is_held) != is_held {
            cx.hold_input(is_held);
        }
    }

    /// Answers the messages in `bytes` while there is room. Returns how much of them is done.
    fn work_off(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> (usize, Worked) {
        let shared = self.shared.clone();
        let rules = &shared.rules;
        let scratch = &mut *shared.scratch.borrow_mut();
        // A tap or a service that panicked has left its answers here. They are not this peer's.
        scratch.batch.clear();
        let (mut consumed, mut said, mut messages) = (0, 0, 0);
        let most = match self.tap {
            Some(_) => TAPPED_BUDGET,
            None => MESSAGE_BUDGET,
        };
        let worked = loop {
            if !self.unsaid.is_empty() {
                said += self.say_unsaid(cx);
            }
            if !self.unsaid.is_empty() || said + scratch.batch.len() >= SAY_BUDGET {
                break Worked::Stalled;
            }
            if messages == most && consumed < bytes.len() {
                break Worked::Stalled;
            }
            messages += 1;
            if self.is_closing {
                break Worked::Over(Action::FINISH);
            }
            let rest = &bytes[consumed..];
            let (frame, size) = match self.search.next(&rules.framing, rules.max_message, rest) {
                Next::Message(frame, size) => (frame, size),
                Next::TooLong => break Worked::Over(Action::TOO_LONG),
                Next::Incomplete if self.is_ended => match self.search.rest(&rules.framing, rest) {
                    Some(frame) => (frame, rest.len()),
                    None => break Worked::Off,
                },
                Next::Incomplete => break Worked::Off,
            };
            consumed += size;
            match self.answer(cx, &shared, scratch, frame, consumed == bytes.len()) {
                Ok(count) => said += count,
                Err(action) => break Worked::Over(action),
            }
        };
        if !scratch.batch.is_empty() {
            cx.reply(&scratch.batch);
            scratch.batch.clear();
        }
        (consumed, worked)
    }

    /// Sends what is left of an answer, as far as there is room.
    fn say_unsaid(&mut self, cx: &mut Context<'_>) -> usize {
        let count = cx.room().min(self.unsaid.len() - self.said).min(SAY_BUDGET);
        if count > 0 {
            cx.reply(&self.unsaid[self.said..self.said + count]);
            self.said += count;
            if self.said == self.unsaid.len() {
                (self.unsaid, self.said) = (Vec::new(), 0);
            }
        }
        count
    }

    /// Answers one message of a stream: straight away, with the others of this input, or as far as
    /// there is room. Returns how much was said at once. The error ends the conversation: the
    /// answer cannot keep the frame, or there is no memory for it.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        scratch: &mut Scratch,
        frame: Frame<'_>,
        is_last: bool,
    ) -> Result<usize, Action> {
        self.note(cx, frame.body);
        let rules = &shared.rules;
        let Some(template) = &rules.reply else {
            return Ok(0);
        };
        self.is_closing = rules.close;
        self.write_fields(cx, template, scratch);
        let Scratch { texts, ends, batch } = scratch;
        let mut slices = [IoSlice::new(b""); MOST_PIECES];
        let Some(body) = slices
            .get_mut(1..=template.len())
            .filter(|_| template.len() + 2 <= MOST_PIECES)
        else {
            let mut whole = Vec::new();
            for piece in template.pieces(frame.body, texts, ends) {
                append(&mut whole, piece)?;
            }
            let around = Around::of(&rules.framing, whole.len(), frame.end, shared.says_end)
                .ok_or(Action::TOO_LONG)?;
            let pieces = [around.head(), &whole, around.tail].map(IoSlice::new);
            return self.say(cx, batch, &pieces, is_last);
        };
        let mut size = 0;
        for (slice, piece) in body
            .iter_mut()
            .zip(template.pieces(frame.body, texts, ends))
        {
            *slice = IoSlice::new(piece);
            size += piece.len();
        }
        let around =
            Around::of(&rules.framing, size, frame.end, shared.says_end).ok_or(Action::TOO_LONG)?;
        slices[0] = IoSlice::new(around.head());
        slices[template.len() + 1] = IoSlice::new(around.tail);
        let from = usize::from(slices[0].is_empty());
        let to = template.len() + 1 + usize::from(!around.tail.is_empty());
        self.say(cx, batch, &slices[from..to], is_last)
    }

    /// Says the pieces of one answer, behind those that are gathered. Returns how much was said at
    /// once.
    #[inline]
    fn say(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Vec<u8>,
        pieces: &[IoSlice<'_>],
        is_last: bool,
    ) -> Result<usize, Action> {
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        let room = cx.room();
        if is_last && batch.is_empty() && size <= room {
            match pieces {
                [piece] => cx.reply(piece),
                pieces => cx.reply_vectored(pieces),
            }
            return Ok(size);
        }
        if batch.len() + size <= room {
            for piece in pieces {
                append(batch, piece)?;
            }
            return Ok(0);
        }
        let gathered = batch.len();
        if gathered > 0 {
            cx.reply(batch);
            batch.clear();
        }
        self.unsaid.try_reserve_exact(size).map_err(|_| NO_MEMORY)?;
        for piece in pieces {
            append(&mut self.unsaid, piece)?;
        }
        Ok(gathered)
    }

    /// Counts and shows a message.
    fn note(&mut self, cx: &Context<'_>, message: &[u8]) {
        self.sequence += 1;
        if let Some(tap) = &mut self.tap {
            let is_whole =
                self.shape == Shape::Datagram || self.shared.rules.framing != Framing::Chunk;
            tap.message(cx.peer, message, is_whole);
        }
    }

    fn write_fields(&mut self, cx: &mut Context<'_>, template: &Template, scratch: &mut Scratch) {
        if !template.has_fields() {
            return;
        }
        scratch.texts.clear();
        scratch.ends.clear();
        // A datagram socket may be asked at many addresses, a stream at one.
        if template.wants_local() && (self.local.is_none() || self.shape == Shape::Datagram) {
            self.local = Some(
                cx.local()
                    .map_or_else(|| "unknown".into(), |local| local.to_string().into()),
            );
        }
        let values = Values {
            peer: cx.peer,
            local: self.local.as_deref().unwrap_or_default(),
            connection: self.connection,
            sequence: self.sequence,
            wall_clock: if template.wants_time() {
                cx.wall_clock()
            } else {
                std::time::Duration::ZERO
            },
        };
        template.write_fields(&values, &mut scratch.texts, &mut scratch.ends);
    }

    /// A datagram is a message, and its answer is one.
    fn answer_datagram(&mut self, cx: &mut Context<'_>, message: &[u8]) -> Action {
        self.note(cx, message);
        let shared = self.shared.clone();
        let Some(template) = &shared.rules.reply else {
            return self.inner.on_data(cx, message);
        };
        let scratch = &mut *shared.scratch.borrow_mut();
        self.write_fields(cx, template, scratch);
        let slices: Vec<IoSlice<'_>> = template
            .pieces(message, &scratch.texts, &scratch.ends)
            .map(IoSlice::new)
            .collect();
        let size: usize = slices.iter().map(|slice| slice.len()).sum();
        if size <= cx.room() {
            cx.reply_vectored(&slices);
        } else {
            debug!(
                "{}: an answer of {size} bytes is longer than a datagram can be; not sent",
                cx.peer
            );
        }
        Action::Continue
    }

    /// Shows the tap what the inner service is about to get: now, or with later calls if there are
    /// many messages. The inner service does not wait for that. An end is that of a limit of
    /// messages.
    fn watch(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        if self.shared.rules.framing == Framing::Chunk {
            self.note(cx, input);
            return Action::Continue;
        }
        self.work(cx, input)
    }

    /// The inner service's answer to the peer's end of stream, once the tap has seen all.
    fn end_inner(&mut self, cx: &mut Context<'_>) -> Action {
        self.tap_ends();
        self.alarms.lend(cx, |cx| self.inner.on_eof(cx))
    }

    /// Whether the unfinished message is late, now that its time is over. If not, it has its time
    /// anew.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if cx.room() < READ_BUFFER {
            // It is we who read nothing while output is pending.
            let again = cx.now.after(self.shared.rules.message_timeout);
            self.alarms.set_own(cx, again);
            return false;
        }
        if !std::mem::replace(&mut self.is_overdue, true) {
            // What has come meanwhile is read behind this call, and settles it.
            self.alarms.set_own(cx, cx.now);
            return false;
        }
        true
    }

    /// Bytes of answers that there was no room for, and of messages whose answers are still to be
    /// made.
    fn unanswered(&self) -> usize {
        let waiting = if self.is_held { self.kept.len() } else { 0 };
        waiting + self.unsaid.len() - self.said
    }

    fn tap_ends(&mut self) {
        if let (Some(tap), Some(peer)) = (&mut self.tap, self.tapped.take()) {
            tap.end(&peer);
        }
    }
}

/// What follows from what the tap's view and the inner service ask for.
fn join(watched: Action, action: Action) -> Action {
    match (watched, action) {
        (Action::Continue, action) => action,
        (Action::More, Action::Continue) => Action::More,
        (Action::More, action) => action,
        (ended, _) => ended,
    }
}

/// Puts bytes behind others on behalf of a peer.
fn append(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Action> {
    buffer.try_reserve(bytes.len()).map_err(|_| NO_MEMORY)?;
    buffer.extend_from_slice(bytes);
    Ok(())
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

    /// Answers that are still to be said come first.
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
        self.kept.capacity() + self.unsaid.capacity() + self.inner.memory()
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
