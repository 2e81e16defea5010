//! A connection for one message: connect, one exchange, close.
//!
//! Owns the one message. It was sent on its way when the connection was begun, so its times hold
//! the handshake. The connection that was made to see whether the target is there at all waits for
//! the run to begin, and carries the first message: no target sees a connection that nobody uses.
//!
//! Tests: `tests/load.rs`, `tests/load_edges.rs`.

use std::rc::Rc;
use std::time::Duration;

use super::line::{Caller, Line, Opening};
use super::pour::settle_left;
use crate::load::desk::Desk;
use crate::load::response::{Reader, Response};
use crate::load::sent::Sent;
use crate::load::trouble::Trouble;
use crate::service::{Action, Context};
use crate::values::time::Time;

/// The service of one connection.
pub(super) struct Visit {
    line: Line,
    reader: Reader,
    /// How long the connection took to make, where its message was sent after that: it belongs to
    /// the time of the message all the same.
    head_start: Duration,
}

impl Visit {
    pub(super) fn new(desk: Rc<Desk>, opening: Opening) -> Visit {
        let line = Line::new(desk, opening);
        Visit {
            reader: Reader::starting_at(line.said),
            line,
            head_start: Duration::ZERO,
        }
    }

    /// The first message of the run, once it is due.
    #[cold]
    fn take_message(&mut self, cx: &mut Context<'_>, now: Time) -> bool {
        let (desk, slot) = (Rc::clone(&self.line.desk), self.line.opening.slot);
        let Some(intended) = desk.next_due(slot, None, now) else {
            let start = desk.clock.start();
            cx.set_alarm(if now < start {
                start
            } else {
                desk.next_at(slot, None)
            });
            return false;
        };
        let sent = Sent::new(intended, now, intended, Time::ZERO);
        self.head_start = self.line.opened - self.line.opening.began;
        self.line.opening.message = Some(sent);
        self.line.begin(cx, sent);
        cx.set_alarm(now.after(desk.plan.timeout));
        true
    }
}

impl Caller for Visit {
    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn begin(&mut self, cx: &mut Context<'_>, _now: Time) {
        if let Some(sent) = self.line.opening.message {
            self.line.owe(cx);
            cx.set_alarm(sent.sent.after(self.line.desk.plan.timeout));
        }
    }

    fn hear(&mut self, cx: &mut Context<'_>, input: &[u8], now: Time) -> Action {
        let heard = self.line.read(&mut self.reader, input);
        let desk = Rc::clone(&self.line.desk);
        let number = self.line.number();
        let mut tally = desk.ledger.tally();
        if heard.wrong_bytes + heard.wrong > 0 {
            heard.complain(&mut tally, number);
        }
        if heard.answers > 0 {
            let unasked = match self.line.in_flight.pop() {
                Some(sent) => {
                    desk.roster.works();
                    let answered = now + self.head_start;
                    desk.ledger
                        .answered(&mut tally, sent, answered, cx.waited_unread());
                    heard.answers - 1
                }
                None => heard.answers,
            };
            tally.troubles.count(Trouble::Unasked, unasked, || {
                format!("connection {number}: an answer came and nothing had been asked")
            });
            drop(tally);
            return self.line.make_room();
        }
        drop(tally);
        self.proceed(cx, now)
    }

    fn proceed(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        if self.line.in_flight.len() == 0 && !self.take_message(cx, now) {
            return Action::Continue;
        }
        let action = self.line.say(cx, now);
        if self.line.desk.plan.response != Response::None {
            return action;
        }
        if settle_left(&mut self.line, 0, cx, now) == 0 {
            return Action::More;
        }
        self.line.make_room()
    }
}
