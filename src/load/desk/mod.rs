//! What the callers of one generator share.
//!
//! Owns nothing of its own: the clock is set by the generator, the ledger is written by the
//! callers, and the roster knows the connections. Must never be shared with another thread.

mod clock;
mod ledger;
mod roster;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::clock::Clock;
pub(super) use self::ledger::{Cause, InFlight, Kind, Ledger};
pub(super) use self::roster::{Roster, Vacancy};
use super::course::Stage;
use super::orders::Lanes;
use super::pace::Pace;
use super::plan::{Check, Law, Plan};
use super::response::Expected;
use super::schedule::{Schedule, Timetable};
use crate::values::time::Time;

/// Shared by the callers of one generator.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) plan: Arc<Plan>,
    pub(super) lanes: Lanes,
    pub(super) clock: Rc<Clock>,
    pub(super) ledger: Rc<Ledger>,
    pub(super) roster: Roster,
    /// Connections that were begun for one message each.
    visits: Cell<u64>,
    /// When messages are due, in an open loop that has begun.
    timetable: RefCell<Option<Timetable>>,
    /// Why messages are not sent, as it was when the window ended.
    cause: Cell<Option<Cause>>,
}

impl Desk {
    pub(super) fn new(plan: Arc<Plan>, lanes: Lanes) -> Rc<Desk> {
        let clock = Rc::new(Clock::new(plan.timeout));
        let quota = plan.requests.map_or(u64::MAX, |requests| {
            lanes.share_of(requests, plan.connections)
        });
        Rc::new(Desk {
            lanes,
            ledger: Rc::new(Ledger::new(Rc::clone(&clock), &plan, quota)),
            clock,
            roster: Roster::new(if plan.churn { 0 } else { lanes.count }),
            visits: Cell::new(0),
            timetable: RefCell::default(),
            cause: Cell::new(None),
            plan,
        })
    }

    /// Sets the phases, and the times of an open loop.
    pub(super) fn begin(&self, start: Time) {
        let plan = &self.plan;
        let measured_from = start + plan.warmup;
        let mut end = measured_from.after(plan.duration);
        if let Law::Open { rate } = plan.law {
            let (course, lanes) = (plan.course(rate), plan.connections);
            let mut schedule = Schedule::new(plan.arrivals, plan.seed, course, start, lanes);
            if let Some(requests) = plan.requests {
                schedule = schedule.with_messages(requests, measured_from);
                end = end.min(schedule.end());
            }
            let Lanes { first, count } = self.lanes;
            *self.timetable.borrow_mut() = Some(Timetable::new(schedule, first, count));
        }
        self.clock.begin(start, measured_from, end);
    }

    pub(super) fn is_open_loop(&self) -> bool {
        matches!(self.plan.law, Law::Open { .. })
    }

    pub(super) fn think(&self) -> Duration {
        match self.plan.law {
            Law::Closed { think } => think,
            Law::Open { .. } => Duration::ZERO,
        }
    }

    /// The number of the connection of a slot, among those of all generators.
    pub(super) fn number(&self, slot: usize) -> u64 {
        self.lanes.first + slot as u64
    }

    /// The number of the first message of a connection that is begun now. Where there are several
    /// texts, each connection begins with another one.
    pub(super) fn first_message(&self, slot: usize) -> u64 {
        let payload = &self.plan.payload;
        if !payload.has_texts() && payload.as_template().is_none() {
            0
        } else if self.plan.churn {
            self.lanes.first + self.visits.replace(self.visits.get() + 1)
        } else if payload.has_texts() {
            self.number(slot)
        } else {
            0
        }
    }

    /// When the next message of a slot is due; `None` in a closed loop.
    #[inline]
    pub(super) fn due(&self, slot: usize) -> Option<Time> {
        let timetable = self.timetable.borrow();
        let next = || timetable.as_ref().map(|timetable| timetable.next(slot));
        self.is_open_loop().then(|| next().unwrap_or(Time::NEVER))
    }

    /// When the next message of a slot was meant to be sent, if that is not after `now`: it is
    /// taken to be sent then. In a closed loop that is now, once the pause is over that ends at
    /// `ready`: how late it ends is no time of the target's.
    #[inline]
    pub(super) fn next_due(&self, slot: usize, ready: Option<Time>, now: Time) -> Option<Time> {
        let due = self.due(slot);
        let intended = due.unwrap_or(now);
        if due.or(ready).is_some_and(|at| at > now)
            || !self.clock.admits(intended, now)
            || !self.ledger.draw(intended)
        {
            return None;
        }
        if let Some(timetable) = self.timetable.borrow_mut().as_mut() {
            timetable.take(slot);
        }
        Some(intended)
    }

    /// When the next message of a slot may go at the earliest; [`Time::NEVER`] where an answer
    /// decides, or the end comes first.
    #[inline]
    pub(super) fn next_at(&self, slot: usize, ready: Option<Time>) -> Time {
        let next = self.due(slot).or(ready).unwrap_or(Time::NEVER);
        if next < self.clock.end() {
            next
        } else {
            Time::NEVER
        }
    }

    /// Whether a slot has messages left to send before the end.
    #[cold]
    pub(super) fn has_more(&self, slot: usize, now: Time) -> bool {
        match self.plan.law {
            Law::Open { .. } => self.next_at(slot, None) < Time::NEVER,
            Law::Closed { .. } => self.ledger.quota() > 0 && now < self.clock.end(),
        }
    }

    /// A message is not to be sent after all: it is the next one again.
    pub(super) fn give_back(&self, slot: usize, intended: Time) {
        if let Some(timetable) = self.timetable.borrow_mut().as_mut() {
            timetable.give_back(slot, intended);
        }
        self.ledger.give_back(intended);
    }

    /// Whether a message of an open loop that is meant to be sent before the end has not been.
    pub(super) fn is_behind(&self) -> bool {
        let timetable = self.timetable.borrow();
        timetable
            .as_ref()
            .is_some_and(|timetable| timetable.is_behind(self.clock.end()))
    }

    /// About how many messages of an open loop were due before `now`, or before the end, and have
    /// not been sent.
    pub(super) fn overdue(&self, now: Time) -> u64 {
        let now = now.min(self.clock.end());
        let timetable = self.timetable.borrow();
        timetable
            .as_ref()
            .map_or(0, |timetable| timetable.overdue(now))
    }

    /// The window ends: why those that are due and not sent were not sent so far.
    pub(super) fn look_around(&self) {
        let places = self.lanes.count.saturating_mul(self.plan.depth as u64);
        let cause = if self.ledger.waiting() >= places.div_ceil(2) {
            Cause::Full
        } else if self.roster.has_opened() && self.roster.open() == 0 {
            Cause::Outage
        } else {
            Cause::Late
        };
        self.cause.set(self.cause.get().or(Some(cause)));
    }

    /// What was due in an open loop and has not been sent never will be.
    pub(super) fn settle_unsent(&self, now: Time) {
        let cause = self.cause.get().unwrap_or(Cause::Late);
        let Some(timetable) = &*self.timetable.borrow() else {
            return;
        };
        let (mut from, end) = (self.clock.measured_from(), self.clock.end());
        if !timetable.is_behind(end) {
            return;
        }
        let whole = Stage::steady(Pace::LOWEST, end - from);
        let stages = if self.plan.stages.is_empty() {
            std::slice::from_ref(&whole)
        } else {
            &self.plan.stages
        };
        for stage in stages {
            let to = end.min(from + stage.length);
            for slot in 0..self.lanes.count as usize {
                let count = timetable.behind(slot, from, to);
                let first = timetable.next(slot).max(from);
                self.ledger.unsent(count, (first, to), now, cause);
            }
            from = to;
        }
    }

    /// What answers are compared with on a stream.
    #[inline]
    pub(super) fn expected(&self) -> Expected<'_> {
        match &self.plan.check {
            Check::None => Expected::Anything,
            Check::Echo => Expected::Stream(&self.plan.payload),
            Check::Text(text) => Expected::Text(text),
        }
    }
}
