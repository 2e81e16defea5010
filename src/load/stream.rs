//! One connection of the load: messages out, answers in.
//!
//! Owns what is on its way on its connection. Must never say more than there is room for, and must
//! never let go of a message in silence: each is answered, or counted as what went wrong.
//!
//! Tests: `tests/load_simulation.rs`; `tests/load.rs` and `tests/load_truth.rs` over sockets.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::desk::{Desk, Vacancy};
use super::payload::STRETCH;
use super::response::{Heard, Reader, Response};
use super::tally::Trouble;
use super::window::Sent;
use crate::service::{Action, Context, Service};
use crate::stream::outbox;
use crate::values::error::CloseReason;
use crate::values::time::Time;

/// The service of one connection.
pub(super) struct StreamCaller {
    desk: Rc<Desk>,
    slot: usize,
    /// When the connection was begun, and when it was meant to be.
    began: Sent,
    /// Sent and not yet answered, oldest first.
    in_flight: VecDeque<Sent>,
    /// In a closed loop with a pause: when the next messages may go.
    ready_at: VecDeque<Time>,
    /// Since when a message could have been sent at once.
    free_since: Time,
    /// Whether nothing can be added because the target takes no more.
    is_blocked: bool,
    /// Messages that have left, of those that no answer is waited for.
    left: u64,
    /// When the first message was sent.
    first_sent: Option<Time>,
    has_heard: bool,
    /// Bytes said, and bytes still to be said.
    said: u64,
    pending: u64,
    reader: Reader,
    /// Whether it is the first attempt at this connection.
    is_first: bool,
    is_open: bool,
    /// Whatever happens to the connection now happens to nobody.
    is_settled: bool,
}

impl StreamCaller {
    /// For the connection of `slot`, which is begun now.
    pub(super) fn new(desk: Rc<Desk>, slot: usize, began: Sent, is_first: bool) -> StreamCaller {
        StreamCaller {
            slot,
            began,
            in_flight: VecDeque::new(),
            ready_at: VecDeque::new(),
            free_since: Time::ZERO,
            is_blocked: false,
            left: 0,
            first_sent: None,
            has_heard: false,
            said: 0,
            pending: 0,
            reader: Reader::default(),
            is_first,
            is_open: false,
            is_settled: false,
            desk,
        }
    }

    /// Whether the times of this connection as such are recorded: of those that live through the
    /// run, and of those of the window.
    fn counts_its_times(&self) -> bool {
        !self.desk.plan.churn || self.desk.is_measured(self.began.intended)
    }

    /// Sends what is due and has room, and asks to be called when more is.
    #[inline]
    fn proceed(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        if self.desk.plan.churn {
            return self.proceed_once(cx, now);
        }
        if self.desk.plan.response == Response::None {
            return self.pour(cx, now);
        }
        while self.in_flight.len() < self.desk.plan.depth {
            let Some(intended) = self.next_due(now) else {
                break;
            };
            self.begin(intended, now);
        }
        let action = self.say(cx, now);
        cx.set_alarm(self.alarm(now));
        action
    }

    /// The one message of a connection that has no other.
    fn proceed_once(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        let action = self.say(cx, now);
        if self.desk.plan.response != Response::None {
            return action;
        }
        self.settle_left(cx, now);
        if self.left == 0 {
            return Action::More;
        }
        self.desk
            .vacant
            .borrow_mut()
            .push((self.slot, Vacancy::Done));
        self.leave()
    }

    /// When the next message was meant to be sent, if that is not after `now`; it is taken to be
    /// sent then.
    #[inline]
    fn next_due(&mut self, now: Time) -> Option<Time> {
        let intended = self
            .desk
            .next_due(self.slot, self.ready_at.front().copied(), now)?;
        self.ready_at.pop_front();
        Some(intended)
    }

    #[inline]
    fn begin(&mut self, intended: Time, now: Time) {
        let sent = Sent::new(intended, now, self.free_since);
        self.desk.note_sent(&mut self.desk.tally.borrow_mut(), sent);
        self.in_flight.push_back(sent);
        self.pending += self.desk.plan.payload.size() as u64;
    }

    /// Sends without waiting for answers: as much as there is room for, or what is due.
    fn pour(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        let (is_open_loop, think) = (self.desk.is_open_loop(), self.desk.think());
        if std::mem::take(&mut self.is_blocked) {
            // What became due meanwhile is late because the target took no more.
            self.free_since = now;
        }
        while self.pending < STRETCH as u64 {
            let Some(intended) = self.next_due(now) else {
                break;
            };
            self.begin(intended, now);
            if think > Duration::ZERO {
                self.ready_at.push_back(now + think);
            }
        }
        self.is_blocked = self.pending >= STRETCH as u64;
        let action = self.say(cx, now);
        self.settle_left(cx, now);
        cx.set_alarm(self.alarm(now));
        let is_flood = !is_open_loop
            && think == Duration::ZERO
            && now >= self.desk.start.get()
            && now < self.desk.end.get();
        let has_more =
            self.is_blocked || !self.in_flight.is_empty() || is_flood && self.desk.quota.get() > 0;
        if has_more { Action::More } else { action }
    }

    /// Counts the messages that no answer is waited for and that have left: not those that still
    /// wait here for the target to take them.
    fn settle_left(&mut self, cx: &Context<'_>, now: Time) {
        let left = self
            .said
            .saturating_sub(outbox::LIMIT.saturating_sub(cx.room()) as u64);
        let size = self.desk.plan.payload.size() as u64;
        while (self.left + 1) * size <= left {
            let Some(sent) = self.in_flight.pop_front() else {
                break;
            };
            self.left += 1;
            self.desk
                .note_completed(&mut self.desk.tally.borrow_mut(), sent, now);
        }
    }

    /// Says what is pending, as far as there is room.
    #[inline]
    fn say(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        if self.pending == 0 {
            return Action::Continue;
        }
        let most = self.pending.min(cx.room() as u64) as usize;
        let piece = self.desk.plan.payload.stretch(self.said, most);
        cx.reply(piece);
        let count = piece.len() as u64;
        (self.said, self.pending) = (self.said + count, self.pending - count);
        self.first_sent.get_or_insert(now);
        if self.desk.measures(now) {
            self.desk.tally.borrow_mut().bytes_sent += count;
        }
        if self.pending > 0 {
            Action::More
        } else {
            Action::Continue
        }
    }

    /// When something is to be done although nothing comes.
    #[inline]
    fn alarm(&self, now: Time) -> Time {
        let (desk, plan) = (&self.desk, &self.desk.plan);
        if now < desk.start.get() {
            return desk.start.get();
        }
        let waits = plan.response != Response::None;
        let answer = self
            .in_flight
            .front()
            .filter(|_| waits)
            .map_or(Time::NEVER, |sent| sent.sent.after(plan.timeout));
        if self.is_blocked || waits && self.in_flight.len() >= plan.depth {
            return answer;
        }
        answer.min(desk.next_at(self.slot, self.ready_at.front().copied()))
    }

    /// Takes the answers that came.
    #[inline]
    fn settle(&mut self, heard: &Heard, now: Time) {
        let desk = &*self.desk;
        let number = desk.number(self.slot);
        let mut tally = desk.tally.borrow_mut();
        if heard.wrong_bytes + heard.wrong > 0 {
            tally.wrong_bytes += heard.wrong_bytes;
            tally
                .troubles
                .count(Trouble::Mismatch, heard.wrong, || match heard.wrong_at {
                    Some(at) => format!(
                        "connection {number}: byte {at} of what came back is not what was expected"
                    ),
                    None => {
                        format!("connection {number}: an answer is shorter than what was expected")
                    }
                });
        }
        let is_full = self.in_flight.len() >= desk.plan.depth;
        for index in 0..heard.answers {
            let Some(sent) = self.in_flight.pop_front() else {
                let unasked = heard.answers - index;
                tally.troubles.count(Trouble::Unasked, unasked, || {
                    format!("connection {number}: an answer came and nothing had been asked")
                });
                break;
            };
            desk.note_answered(&mut tally, sent, now);
            if is_full {
                self.free_since = sent.frees_since(now);
            }
            let think = desk.think();
            if think > Duration::ZERO {
                self.ready_at.push_back(now + think);
            }
        }
    }

    /// The connection is over before its time: what was on its way on it has failed.
    #[cold]
    fn fail(&mut self, trouble: Trouble, words: &str) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let lost = self.in_flight.len();
        self.in_flight
            .drain(..)
            .for_each(|sent| self.desk.note_gone(sent));
        let number = self.desk.number(self.slot);
        self.desk.trouble(trouble, (lost as u64).max(1), || {
            format!("connection {number}: {words}")
        });
        self.desk
            .vacant
            .borrow_mut()
            .push((self.slot, Vacancy::Failed));
    }

    /// Ends the connection because it has done what it was for.
    fn leave(&mut self) -> Action {
        self.is_settled = true;
        Action::FINISH
    }
}

impl Service for StreamCaller {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let now = cx.clock();
        let desk = Rc::clone(&self.desk);
        self.is_open = true;
        self.free_since = now;
        desk.connecting.set(desk.connecting.get() - 1);
        desk.open.set(desk.open.get() + 1);
        desk.has_opened.set(true);
        desk.failing_since.set(if desk.plan.churn {
            desk.failing_since.get()
        } else {
            Time::NEVER
        });
        desk.note_tried(self.is_first);
        {
            let mut tally = desk.tally.borrow_mut();
            tally.opened += 1;
            if self.counts_its_times() {
                tally.connect.record(now - self.began.sent);
            }
        }
        if desk.is_over.get() {
            return self.leave();
        }
        if desk.plan.churn {
            // Its message was sent on its way with the connection.
            self.in_flight.push_back(self.began);
            self.pending = desk.plan.payload.size() as u64;
            cx.set_alarm(self.began.sent.after(desk.plan.timeout));
        } else if desk.think() > Duration::ZERO {
            self.ready_at.resize(desk.plan.depth.min(1 << 20), now);
        }
        self.proceed(cx, now)
    }

    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let now = cx.clock();
        if self.is_settled || self.desk.is_over.get() {
            return Action::Continue;
        }
        self.desk.has_heard.set(true);
        if self.desk.measures(now) {
            self.desk.tally.borrow_mut().bytes_received += input.len() as u64;
        }
        if !std::mem::replace(&mut self.has_heard, true) && self.counts_its_times() {
            if let Some(first) = self.first_sent {
                self.desk.tally.borrow_mut().first_byte.record(now - first);
            }
        }
        let heard = self.reader.take(
            &self.desk.plan.response,
            self.desk.plan.payload.size(),
            &self.desk.expected(),
            input,
        );
        if heard.answers + heard.wrong_bytes > 0 {
            self.settle(&heard, now);
        }
        if self.desk.plan.churn && heard.answers > 0 {
            self.desk
                .vacant
                .borrow_mut()
                .push((self.slot, Vacancy::Done));
            return self.leave();
        }
        self.proceed(cx, now)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        let now = cx.clock();
        if self.is_settled {
            Action::Continue
        } else {
            self.proceed(cx, now)
        }
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        let now = cx.clock();
        if self.is_settled {
            return Action::Continue;
        }
        if self.desk.is_over.get() {
            return self.leave();
        }
        let waits = self.desk.plan.response != Response::None || self.desk.plan.churn;
        if waits
            && self
                .in_flight
                .front()
                .is_some_and(|sent| sent.sent.after(self.desk.plan.timeout) <= now)
        {
            let timeout = self.desk.plan.timeout.unwrap_or_default();
            self.fail(Trouble::TimedOut, &format!("no answer within {timeout:?}"));
            return Action::ABORT;
        }
        self.proceed(cx, now)
    }

    fn on_eof(&mut self, _cx: &mut Context<'_>) -> Action {
        if !self.desk.is_over.get() {
            self.fail(Trouble::ClosedEarly, "the peer ended the connection");
        }
        self.leave()
    }

    fn on_close(&mut self, reason: CloseReason) {
        if self.is_open {
            self.desk.open.set(self.desk.open.get() - 1);
        } else {
            self.desk.connecting.set(self.desk.connecting.get() - 1);
            self.desk.note_tried(self.is_first);
        }
        if self.desk.is_over.get() {
            return;
        }
        if !self.is_open && self.desk.plan.churn {
            self.in_flight.push_back(self.began);
        }
        self.desk.closed.set(Some(reason));
        let words = match reason {
            CloseReason::Refused => "connection refused".to_owned(),
            CloseReason::Reset => "reset by the peer".to_owned(),
            CloseReason::TimedOut if !self.is_open => "no connection in time".to_owned(),
            CloseReason::WriteTimeout => {
                "the peer took nothing of what was sent in time".to_owned()
            }
            reason => reason.to_string(),
        };
        self.fail(Trouble::of_close(reason), &words);
    }
}
