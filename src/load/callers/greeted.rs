//! A first message on each connection, before those that are measured.
//!
//! Owns that message and its answer. The caller that it stands before knows nothing of them: its
//! connection is open once the answer has come, so the run waits for that, and the time belongs to
//! the connection.
//!
//! Tests: `tests/load_features.rs`.

use std::rc::Rc;

use crate::load::desk::Desk;
use crate::load::payload::Payload;
use crate::load::response::{Expected, Reader, Response};
use crate::service::{Action, Context, Service};
use crate::values::error::CloseReason;
use crate::values::time::Time;

/// The service of one connection: that of `inner`, later.
pub(super) struct Greeted {
    desk: Rc<Desk>,
    inner: Box<dyn Service>,
    reader: Reader,
    /// When the answer is given up; `None` once it has come.
    until: Option<Time>,
}

impl Greeted {
    pub(super) fn new(desk: Rc<Desk>, inner: Box<dyn Service>) -> Greeted {
        Greeted {
            desk,
            inner,
            reader: Reader::default(),
            until: Some(Time::NEVER),
        }
    }

    /// How many of the bytes end the answer; `None` if it goes on.
    fn end_of_answer(&mut self, first: &Payload, bytes: &[u8]) -> Option<usize> {
        let response = &self.desk.plan.response;
        let ends = |byte: &[u8]| {
            let heard = self.reader.take(response, first, &Expected::Anything, byte);
            heard.answers > 0
        };
        // Byte by byte, because what comes behind it is not ours.
        Some(bytes.chunks(1).position(ends)? + 1)
    }
}

impl Service for Greeted {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let desk = Rc::clone(&self.desk);
        if let Some(first) = &desk.plan.first {
            cx.reply(first.message(0));
        }
        if desk.plan.response == Response::None || desk.clock.is_over() {
            self.until = None;
            return self.inner.on_open(cx);
        }
        let until = cx.clock().after(desk.plan.timeout);
        self.until = Some(until);
        cx.set_alarm(until);
        Action::Continue
    }

    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        if self.until.is_none() {
            return self.inner.on_data(cx, input);
        }
        let desk = Rc::clone(&self.desk);
        let Some(first) = &desk.plan.first else {
            return self.inner.on_data(cx, input);
        };
        let Some(end) = self.end_of_answer(first, input) else {
            return Action::Continue;
        };
        self.until = None;
        let action = self.inner.on_open(cx);
        match &input[end..] {
            [] => action,
            rest => self.inner.on_data(cx, rest),
        }
    }

    fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
        self.inner.on_eof(cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        match self.until {
            Some(_) => Action::Continue,
            None => self.inner.on_writable(cx),
        }
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        let Some(until) = self.until else {
            return self.inner.on_alarm(cx);
        };
        if self.desk.clock.is_over() {
            return Action::FINISH;
        }
        if until <= cx.clock() {
            return Action::Abort(CloseReason::TimedOut);
        }
        cx.set_alarm(until);
        Action::Continue
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.inner.on_close(reason);
    }
}
