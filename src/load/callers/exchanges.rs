//! Many messages on one connection, and their answers.
//!
//! Owns when the next message goes, and which answer is whose: they come in the order of the
//! messages.
//!
//! Tests: `tests/load_simulation.rs`; `tests/load.rs` and `tests/load_truth.rs` over sockets.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::line::{Caller, Line, Opening};
use crate::load::desk::Desk;
use crate::load::response::{Heard, Reader};
use crate::load::sent::Sent;
use crate::load::trouble::Trouble;
use crate::service::{Action, Context};
use crate::values::time::Time;

/// Messages whose pauses begin at once, at most, where any number may be in flight.
const PAUSES: usize = 1 << 20;

/// The service of one connection.
pub(super) struct Exchanges {
    line: Line,
    /// In a closed loop with a pause: when the next messages may go.
    ready_at: VecDeque<Time>,
    /// Since when a message could have been sent at once.
    free_since: Time,
    reader: Reader,
}

impl Exchanges {
    pub(super) fn new(desk: Rc<Desk>, opening: Opening) -> Exchanges {
        let line = Line::new(desk, opening);
        Exchanges {
            reader: Reader::starting_at(line.said),
            line,
            ready_at: VecDeque::new(),
            free_since: Time::ZERO,
        }
    }

    /// When something is to be done although nothing comes.
    #[inline]
    fn alarm(&self, now: Time) -> Time {
        let (desk, plan) = (&self.line.desk, &self.line.desk.plan);
        if now < desk.clock.start() {
            return desk.clock.start();
        }
        let oldest = self.line.in_flight.oldest();
        let answer = oldest.map_or(Time::NEVER, |sent| sent.sent.after(plan.timeout));
        if self.line.in_flight.len() >= plan.depth || self.line.is_spent(now) {
            return answer;
        }
        answer
            .min(self.line.expires_at())
            .min(desk.next_at(self.line.opening.slot, self.ready_at.front().copied()))
    }

    /// Takes the answers that came, which lay in the socket for `unread`.
    #[inline]
    fn settle(&mut self, heard: &Heard, now: Time, unread: Option<Duration>) {
        let line = &mut self.line;
        let desk = &*line.desk;
        let number = line.desk.number(line.opening.slot);
        let mut tally = desk.ledger.tally();
        if heard.wrong_bytes + heard.wrong > 0 {
            heard.complain(&mut tally, number);
        }
        let is_full = line.in_flight.len() >= desk.plan.depth;
        for index in 0..heard.answers {
            let Some(sent) = line.in_flight.pop() else {
                let unasked = heard.answers - index;
                tally.troubles.count(Trouble::Unasked, unasked, || {
                    format!("connection {number}: an answer came and nothing had been asked")
                });
                break;
            };
            desk.ledger.answered(&mut tally, sent, now, unread);
            desk.roster.works();
            if is_full {
                self.free_since = sent.frees_since(now);
            }
            let think = desk.think();
            if think > Duration::ZERO {
                self.ready_at.push_back(now + think);
            }
        }
    }
}

/// The next message of a connection, if it may go now.
#[inline]
pub(super) fn next_due(
    line: &Line,
    ready_at: &mut VecDeque<Time>,
    free_since: Time,
    now: Time,
) -> Option<Sent> {
    let opening = &line.opening;
    let intended = line
        .desk
        .next_due(opening.slot, ready_at.front().copied(), now)?;
    ready_at.pop_front();
    let sent = Sent::new(intended, now, free_since, line.opened);
    Some(if intended < opening.began {
        sent.rested(opening.failed, opening.began)
    } else {
        sent
    })
}

impl Caller for Exchanges {
    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn begin(&mut self, _cx: &mut Context<'_>, now: Time) {
        self.free_since = now;
        let desk = &self.line.desk;
        if desk.think() > Duration::ZERO {
            self.ready_at.resize(desk.plan.depth.min(PAUSES), now);
        }
    }

    #[inline]
    fn hear(&mut self, cx: &mut Context<'_>, input: &[u8], now: Time) -> Action {
        let heard = self.line.read(&mut self.reader, input);
        if heard.answers + heard.wrong_bytes > 0 {
            self.settle(&heard, now, cx.waited_unread());
        }
        self.proceed(cx, now)
    }

    #[inline]
    fn proceed(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        while self.line.in_flight.len() < self.line.desk.plan.depth && !self.line.is_spent(now) {
            let Some(sent) = next_due(&self.line, &mut self.ready_at, self.free_since, now) else {
                break;
            };
            self.line.begin(cx, sent);
        }
        if self.line.retires(now) {
            return self.line.make_room();
        }
        let action = self.line.say(cx, now);
        cx.set_alarm(self.alarm(now));
        action
    }
}
