//! Messages that no answer is waited for: as many as the target takes, or as are due.
//!
//! Owns the difference between what was said and what has left: a message counts as sent once the
//! target has taken it.
//!
//! Tests: `tests/load_edges.rs`.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::exchanges::next_due;
use super::line::{Caller, Line, Opening};
use crate::load::desk::Desk;
use crate::load::payload::STRETCH;
use crate::service::{Action, Context};
use crate::stream::outbox;
use crate::values::time::Time;

/// The service of one connection.
pub(super) struct Pour {
    line: Line,
    /// In a closed loop with a pause: when the next messages may go.
    ready_at: VecDeque<Time>,
    /// Since when a message could have been sent at once.
    free_since: Time,
    /// Whether nothing can be added because the target takes no more.
    is_blocked: bool,
    /// Messages that have left.
    left: u64,
}

impl Pour {
    pub(super) fn new(desk: Rc<Desk>, opening: Opening) -> Pour {
        Pour {
            line: Line::new(desk, opening),
            ready_at: VecDeque::new(),
            free_since: Time::ZERO,
            is_blocked: false,
            left: 0,
        }
    }

    fn alarm(&self, now: Time) -> Time {
        let clock = &self.line.desk.clock;
        if now < clock.start() {
            return clock.start();
        }
        if self.is_blocked || self.line.is_spent(now) {
            return Time::NEVER;
        }
        let ready = self.ready_at.front().copied();
        let next = self.line.desk.next_at(self.line.opening.slot, ready);
        next.min(self.line.expires_at())
    }
}

/// Counts the messages that have left, of which there were `before`: not those that still wait here
/// for the target to take them. How many more there are.
pub(super) fn settle_left(line: &mut Line, before: u64, cx: &Context<'_>, now: Time) -> u64 {
    let left = line.left(outbox::LIMIT.saturating_sub(cx.room()) as u64);
    let mut count = 0;
    while before + count < left {
        let Some(sent) = line.in_flight.pop() else {
            break;
        };
        count += 1;
        let ledger = &line.desk.ledger;
        ledger.left(&mut ledger.tally(), sent, now);
        line.desk.roster.works();
    }
    count
}

impl Caller for Pour {
    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn begin(&mut self, _cx: &mut Context<'_>, now: Time) {
        self.free_since = now;
        if self.line.desk.think() > Duration::ZERO {
            self.ready_at.push_back(now);
        }
    }

    /// Nobody waits for it; it is only counted.
    fn hear(&mut self, _cx: &mut Context<'_>, _input: &[u8], _now: Time) -> Action {
        Action::Continue
    }

    fn proceed(&mut self, cx: &mut Context<'_>, now: Time) -> Action {
        let desk = Rc::clone(&self.line.desk);
        let (is_open_loop, think) = (desk.is_open_loop(), desk.think());
        if std::mem::take(&mut self.is_blocked) {
            // What became due meanwhile is late because the target took no more.
            self.free_since = now;
        }
        while self.line.pending < STRETCH as u64 && !self.line.is_spent(now) {
            let Some(sent) = next_due(&self.line, &mut self.ready_at, self.free_since, now) else {
                break;
            };
            self.line.begin(cx, sent);
            if think > Duration::ZERO {
                self.ready_at.push_back(now + think);
            }
        }
        self.is_blocked = self.line.pending >= STRETCH as u64;
        let action = self.line.say(cx, now);
        self.left += settle_left(&mut self.line, self.left, cx, now);
        if self.line.retires(now) {
            return self.line.make_room();
        }
        cx.set_alarm(self.alarm(now));
        let is_flood = !is_open_loop
            && think == Duration::ZERO
            && now >= desk.clock.start()
            && now < desk.clock.end();
        let waits = self.is_blocked || self.line.in_flight.len() > 0;
        if waits || is_flood && desk.ledger.quota() > 0 {
            Action::More
        } else {
            action
        }
    }
}
