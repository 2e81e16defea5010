//! What everything that is done on a connection has in common.
//!
//! Owns the connection's place in the roster, the bytes that are still to be said, and what is in
//! flight. Must never say more than there is room for, and must never let go of a message in
//! silence: each is answered, or counted as what went wrong.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::load::desk::{Desk, InFlight, Vacancy};
use crate::load::plan::Lifetime;
use crate::load::response::{Heard, Reader, Response};
use crate::load::sent::Sent;
use crate::load::trouble::Trouble;
use crate::service::{Action, Context, Service};
use crate::values::error::CloseReason;
use crate::values::time::Time;

/// How a connection came to be begun.
#[derive(Clone, Copy, Debug)]
pub(in crate::load) struct Opening {
    pub(in crate::load) slot: usize,
    /// When it was begun.
    pub(in crate::load) began: Time,
    /// When the one before it failed; `began` where none did.
    pub(in crate::load) failed: Time,
    /// Whether it is the first attempt at this connection.
    pub(in crate::load) is_first: bool,
    /// The message that was sent on its way with it.
    pub(in crate::load) message: Option<Sent>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) desk: Rc<Desk>,
    pub(super) opening: Opening,
    /// When it was made; [`Time::NEVER`] before.
    pub(super) opened: Time,
    pub(super) in_flight: InFlight,
    /// Its first message, and its next one, by their numbers.
    pub(super) first: u64,
    next: u64,
    /// How far in the stream of messages bytes were said, and bytes still to be said.
    pub(super) said: u64,
    pub(super) pending: u64,
    /// Of messages that are made when they are sent: the bytes still to be said, where each message
    /// ends that has not left, and how many have.
    made: Vec<u8>,
    ends: VecDeque<u64>,
    left: u64,
    /// When the first message was sent.
    first_sent: Option<Time>,
    has_heard: bool,
    /// Whatever happens to the connection now happens to nobody.
    is_settled: bool,
}

impl Line {
    pub(super) fn new(desk: Rc<Desk>, opening: Opening) -> Line {
        let mut in_flight = InFlight::new(Rc::clone(&desk.ledger));
        opening
            .message
            .into_iter()
            .for_each(|sent| in_flight.push(sent));
        let first = desk.first_message(opening.slot);
        Line {
            first,
            next: first,
            said: desk.plan.payload.start_of(first),
            desk,
            opening,
            opened: Time::NEVER,
            in_flight,
            pending: 0,
            made: Vec::new(),
            ends: VecDeque::new(),
            left: 0,
            first_sent: None,
            has_heard: false,
            is_settled: false,
        }
    }

    fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Its number, among those of all generators.
    pub(super) fn number(&self) -> u64 {
        self.desk.number(self.opening.slot)
    }

    /// Whether the times of this connection as such are recorded: of those that live through the
    /// run, and of those of the window.
    fn counts_its_times(&self) -> bool {
        let of_message = |sent: Sent| self.desk.clock.is_measured(sent.intended);
        !self.desk.plan.churn || self.opening.message.is_some_and(of_message)
    }

    /// The connection is made.
    fn opened(&mut self, now: Time) {
        self.opened = now;
        self.desk.roster.made();
        if !self.desk.plan.churn {
            self.desk.roster.works();
        }
        self.desk.roster.tried(self.opening.is_first);
        let mut tally = self.desk.ledger.tally();
        tally.opened += 1;
        if self.counts_its_times() {
            tally.connect.record(now - self.opening.began);
        }
    }

    /// Something came.
    #[inline]
    fn heard(&mut self, now: Time, count: usize) {
        self.desk.roster.heard();
        if self.desk.clock.measures(now) {
            self.desk.ledger.tally().bytes_received += count as u64;
        }
        if !std::mem::replace(&mut self.has_heard, true) && self.counts_its_times() {
            if let Some(first) = self.first_sent {
                self.desk.ledger.tally().first_byte.record(now - first);
            }
        }
    }

    /// Sends a message: it is in flight, and its bytes are to be said.
    #[inline]
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, sent: Sent) {
        self.desk.ledger.sent(&mut self.desk.ledger.tally(), sent);
        self.in_flight.push(sent);
        self.owe(cx);
    }

    /// The bytes of the next message are to be said.
    #[inline]
    pub(super) fn owe(&mut self, cx: &mut Context<'_>) {
        let payload = &self.desk.plan.payload;
        self.pending += match payload.as_template() {
            None => payload.size_of(self.next) as u64,
            Some(_) => self.make(cx),
        };
        self.next += 1;
    }

    /// Makes the next message; of how many bytes.
    #[cold]
    fn make(&mut self, cx: &mut Context<'_>) -> u64 {
        let before = self.made.len();
        if let Some(template) = self.desk.plan.payload.as_template() {
            let (number, wall_clock) = (self.number(), cx.wall_clock());
            template.fill(number, self.next + 1, wall_clock, &mut self.made);
        }
        let size = (self.made.len() - before) as u64;
        self.ends.push_back(self.said + self.pending + size);
        size
    }

    /// How many messages have left, of which the last `waits` bytes that were said have not.
    pub(super) fn left(&mut self, waits: u64) -> u64 {
        let payload = &self.desk.plan.payload;
        let from = payload.start_of(self.first);
        let position = self.said.saturating_sub(waits).max(from);
        if payload.as_template().is_none() {
            return payload.complete(position) - self.first;
        }
        while self.ends.front().is_some_and(|end| *end <= position) {
            self.ends.pop_front();
            self.left += 1;
        }
        self.left
    }

    /// Says what is pending, as far as there is room.
    #[inline]
    pub(super) fn say(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        if self.pending == 0 {
            return Action::Continue;
        }
        let most = self.pending.min(cx.room() as u64) as usize;
        let count = match self.desk.plan.payload.as_template() {
            None => {
                let piece = self.desk.plan.payload.stretch(self.said, most);
                cx.reply(piece);
                piece.len() as u64
            }
            Some(_) => {
                cx.reply(&self.made[..most]);
                self.made.drain(..most);
                most as u64
            }
        };
        (self.said, self.pending) = (self.said + count, self.pending - count);
        self.first_sent.get_or_insert(now);
        if self.desk.clock.measures(now) {
            self.desk.ledger.tally().bytes_sent += count;
        }
        if self.pending > 0 {
            Action::More
        } else {
            Action::Continue
        }
    }

    /// When no message begins on this connection any more, by the clock.
    #[inline]
    pub(super) fn expires_at(&self) -> Time {
        match self.desk.plan.lifetime {
            Some(Lifetime::Time(lifetime)) => {
                let used_from = self.opened.max(self.desk.clock.start());
                used_from.after(Some(lifetime))
            }
            Some(Lifetime::Messages(_)) | None => Time::NEVER,
        }
    }

    /// Whether no message begins on this connection any more.
    #[inline]
    pub(super) fn is_spent(&self, now: Time) -> bool {
        match self.desk.plan.lifetime {
            None => false,
            Some(Lifetime::Messages(most)) => self.next - self.first >= most,
            Some(Lifetime::Time(_)) => now >= self.expires_at(),
        }
    }

    /// Whether another connection is to take the place of this one. Without messages for that one
    /// this one stays.
    #[inline]
    pub(super) fn retires(&self, now: Time) -> bool {
        self.is_spent(now)
            && self.in_flight.len() == 0
            && self.pending == 0
            && self.desk.has_more(self.opening.slot, now)
    }

    /// Takes the next bytes of answers.
    #[inline]
    pub(super) fn read(&self, reader: &mut Reader, input: &[u8]) -> Heard {
        let plan = &self.desk.plan;
        reader.take(&plan.response, &plan.payload, &self.desk.expected(), input)
    }

    /// Whether the oldest message in flight has waited for its answer as long as it may. Where many
    /// messages go and no answer is waited for, none has.
    fn is_overdue(&self, now: Time) -> bool {
        let plan = &self.desk.plan;
        let waits = plan.response != Response::None || plan.churn;
        let (timeout, oldest) = (plan.timeout, self.in_flight.oldest());
        waits && oldest.is_some_and(|sent| sent.sent.after(timeout) <= now)
    }

    /// The oldest message has waited too long: the connection is given up.
    #[cold]
    fn give_up(&mut self) -> Action {
        let timeout = self.desk.plan.timeout.unwrap_or_default();
        self.fail(Trouble::TimedOut, &format!("no answer within {timeout:?}"));
        Action::ABORT
    }

    /// The connection is over before its time: what was on its way on it has failed.
    #[cold]
    fn fail(&mut self, trouble: Trouble, words: &str) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let lost = self.in_flight.abandon();
        let number = self.number();
        self.desk.ledger.trouble(trouble, lost.max(1), || {
            format!("connection {number}: {words}")
        });
        let vacancy = if self.has_heard {
            Vacancy::Used
        } else {
            Vacancy::Failed
        };
        self.desk.roster.vacate(self.opening.slot, vacancy);
    }

    /// Ends the connection because it has done what it was for.
    pub(super) fn leave(&mut self) -> Action {
        self.is_settled = true;
        Action::FINISH
    }

    /// The same, and its slot may have another one.
    pub(super) fn make_room(&mut self) -> Action {
        self.desk.roster.vacate(self.opening.slot, Vacancy::Done);
        self.leave()
    }

    /// The peer has ended its side.
    fn ended(&mut self) -> Action {
        if !self.desk.clock.is_over() {
            self.fail(Trouble::ClosedEarly, "the peer ended the connection");
        }
        self.leave()
    }

    /// The connection is over.
    fn closed(&mut self, reason: CloseReason) {
        let was_open = self.opened < Time::NEVER;
        self.desk.roster.gone(was_open);
        if !was_open {
            self.desk.roster.tried(self.opening.is_first);
        }
        if self.desk.clock.is_over() {
            return;
        }
        self.desk.roster.missed(reason);
        let words = match reason {
            CloseReason::Refused => "connection refused".to_owned(),
            CloseReason::Reset => "reset by the peer".to_owned(),
            CloseReason::TimedOut if !was_open && self.desk.plan.first.is_some() => {
                "no connection, or no answer to its first message, in time".to_owned()
            }
            CloseReason::TimedOut if !was_open => "no connection in time".to_owned(),
            CloseReason::WriteTimeout => {
                "the peer took nothing of what was sent in time".to_owned()
            }
            reason => reason.to_string(),
        };
        self.fail(Trouble::of_close(reason), &words);
    }
}

/// What differs between the callers of a connection.
pub(super) trait Caller {
    fn line(&mut self) -> &mut Line;

    /// The connection is made, and the run is not over.
    fn begin(&mut self, cx: &mut Context<'_>, now: Time);

    /// Something came, and is counted.
    fn hear(&mut self, cx: &mut Context<'_>, input: &[u8], now: Time) -> Action;

    /// Sends what is due and has room, and asks to be called when more is.
    fn proceed(&mut self, cx: &mut Context<'_>, now: Time) -> Action;
}

/// The service of one connection: how its life and the phases of the run go together, for every
/// caller alike.
pub(super) struct Calling<C>(pub(super) C);

impl<C: Caller> Service for Calling<C> {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let now = cx.clock();
        let line = self.0.line();
        line.opened(now);
        if line.desk.clock.is_over() {
            return line.leave();
        }
        self.0.begin(cx, now);
        self.0.proceed(cx, now)
    }

    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let now = cx.clock();
        let line = self.0.line();
        if line.is_settled() || line.desk.clock.is_over() {
            return Action::Continue;
        }
        line.heard(now, input.len());
        self.0.hear(cx, input, now)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        let now = cx.clock();
        if self.0.line().is_settled() {
            Action::Continue
        } else {
            self.0.proceed(cx, now)
        }
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        let now = cx.clock();
        let line = self.0.line();
        if line.is_settled() {
            return Action::Continue;
        }
        if line.desk.clock.is_over() {
            return line.leave();
        }
        if line.is_overdue(now) {
            return line.give_up();
        }
        self.0.proceed(cx, now)
    }

    fn on_eof(&mut self, _cx: &mut Context<'_>) -> Action {
        self.0.line().ended()
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.0.line().closed(reason);
    }
}
