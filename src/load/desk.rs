//! What the callers of one generator share.
//!
//! Owns the phases, the quota and the tally of one thread. Must never be shared with another one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::course::stage_of;
use super::orders::Lanes;
use super::plan::{Check, Law, Plan};
use super::response::Expected;
use super::schedule::{Schedule, Timetable};
use super::tally::{Tally, Trouble};
use super::window::Sent;
use crate::values::error::CloseReason;
use crate::values::time::Time;

/// How long is waited for what is on its way at the end where no timeout says so.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shared by the callers of one generator.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) plan: Arc<Plan>,
    pub(super) lanes: Lanes,
    /// When messages begin to go; [`Time::NEVER`] until that is known.
    pub(super) start: Cell<Time>,
    /// When the window begins.
    pub(super) measured_from: Cell<Time>,
    /// Nothing is meant to be sent from then on.
    pub(super) end: Cell<Time>,
    /// The end came sooner than planned: the user waits for what is in flight, and for
    /// no more.
    pub(super) is_interrupted: Cell<bool>,
    /// Everybody is to end.
    pub(super) is_over: Cell<bool>,
    /// Messages of the window that are still to be sent in a closed loop.
    pub(super) quota: Cell<u64>,
    /// Messages on their way, and those of them that belong to the window.
    pub(super) waiting: Cell<u64>,
    pub(super) waiting_measured: Cell<u64>,
    /// Connections whose first attempt has not come to an end.
    pub(super) untried: Cell<u64>,
    /// Since when connections fail, one after the other.
    pub(super) failing_since: Cell<Time>,
    /// Connections that are being made.
    pub(super) connecting: Cell<usize>,
    /// Connections that are open.
    pub(super) open: Cell<usize>,
    /// Whether any connection was ever made.
    pub(super) has_opened: Cell<bool>,
    /// Whether anything ever came back.
    pub(super) has_heard: Cell<bool>,
    /// Whether the network said that nobody listens where a datagram went.
    pub(super) is_refused: Cell<bool>,
    /// Why the last connection ended that was still needed.
    pub(super) closed: Cell<Option<CloseReason>>,
    /// When the last answer came.
    pub(super) last_answer: Cell<Time>,
    pub(super) tally: RefCell<Tally>,
    /// When messages are due, in an open loop that has begun.
    timetable: RefCell<Option<Timetable>>,
    /// Slots whose connection is over.
    pub(super) vacant: RefCell<Vec<(usize, Vacancy)>>,
}

/// Why a slot has no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// It has done what it was for.
    Done,
    /// It failed.
    Failed,
    /// The target has no room for it now, and nothing tells when it has.
    Blocked,
}

impl Desk {
    pub(super) fn new(plan: Arc<Plan>, lanes: Lanes) -> Rc<Desk> {
        Rc::new(Desk {
            lanes,
            start: Cell::new(Time::NEVER),
            measured_from: Cell::new(Time::NEVER),
            end: Cell::new(Time::NEVER),
            is_interrupted: Cell::new(false),
            is_over: Cell::new(false),
            quota: Cell::new(plan.requests.map_or(u64::MAX, |requests| {
                lanes.share_of(requests, plan.connections)
            })),
            waiting: Cell::new(0),
            waiting_measured: Cell::new(0),
            untried: Cell::new(if plan.churn { 0 } else { lanes.count }),
            failing_since: Cell::new(Time::NEVER),
            connecting: Cell::new(0),
            open: Cell::new(0),
            has_opened: Cell::new(false),
            has_heard: Cell::new(false),
            is_refused: Cell::new(false),
            closed: Cell::new(None),
            last_answer: Cell::new(Time::ZERO),
            tally: RefCell::default(),
            timetable: RefCell::default(),
            vacant: RefCell::default(),
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
        self.start.set(start);
        self.measured_from.set(measured_from);
        self.end.set(end);
    }

    /// Whether a message of an open loop that is meant to be sent before the end has not been.
    pub(super) fn is_behind(&self) -> bool {
        let timetable = self.timetable.borrow();
        timetable
            .as_ref()
            .is_some_and(|timetable| timetable.is_behind(self.end.get()))
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
        if due.or(ready).is_some_and(|at| at > now) || !self.take(intended, now) {
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
        if next < self.end.get() {
            next
        } else {
            Time::NEVER
        }
    }

    /// Until when what was meant to be sent before the end is still sent.
    pub(super) fn last_call(&self) -> Time {
        if self.is_interrupted.get() {
            self.end.get()
        } else {
            self.end.get() + self.patience()
        }
    }

    /// How long an answer is waited for at the end.
    pub(super) fn patience(&self) -> Duration {
        self.plan.timeout.unwrap_or(PATIENCE)
    }

    /// Whether a message that is meant to be sent at `intended` may be `now`, and takes it from the
    /// quota.
    fn take(&self, intended: Time, now: Time) -> bool {
        if intended < self.start.get()
            || intended >= self.end.get()
            || now >= self.last_call()
            || self.is_over.get()
        {
            return false;
        }
        if !self.is_open_loop() && self.is_measured(intended) {
            let quota = self.quota.get();
            if quota == 0 {
                return false;
            }
            self.quota.set(quota - 1);
        }
        true
    }

    /// Whether a message belongs to the window, or to what comes behind it: by when it was meant to
    /// be sent.
    #[inline]
    pub(super) fn is_measured(&self, intended: Time) -> bool {
        intended >= self.measured_from.get()
    }

    /// The stage in which a message was meant to be sent; `None` without stages, or before them.
    #[inline]
    fn stage_of(&self, intended: Time) -> Option<usize> {
        if self.plan.stages.is_empty() || !self.is_measured(intended) {
            return None;
        }
        stage_of(&self.plan.stages, intended - self.measured_from.get())
    }

    /// Notes what was due in an open loop and will not be sent any more.
    pub(super) fn note_unsent(&self, tally: &mut Tally) {
        let Some(timetable) = &*self.timetable.borrow() else {
            return;
        };
        let (mut from, end) = (self.measured_from.get(), self.end.get());
        tally.unsent += timetable.all_behind(from, end);
        if !timetable.is_behind(end) {
            return;
        }
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let to = from + stage.length;
            tally.stages.of(index).unsent += timetable.all_behind(from, to.min(end));
            from = to;
        }
    }

    /// Whether `now` lies in the window.
    #[inline]
    pub(super) fn measures(&self, now: Time) -> bool {
        self.is_measured(now) && now < self.end.get()
    }

    /// Notes that a message was sent, or that its connection was begun where it has one of its own.
    #[inline]
    pub(super) fn note_sent(&self, tally: &mut Tally, sent: Sent) {
        self.waiting.set(self.waiting.get() + 1);
        if self.is_measured(sent.intended) {
            self.waiting_measured.set(self.waiting_measured.get() + 1);
            tally.sent += 1;
            if self.is_open_loop() {
                tally.lateness.record(sent.late);
            }
            if let Some(stage) = self.stage_of(sent.intended) {
                tally.stages.of(stage).sent += 1;
            }
        }
    }

    /// Notes that a message is not to be sent after all: it is the next one again.
    pub(super) fn give_back(&self, slot: usize, intended: Time) {
        if let Some(timetable) = self.timetable.borrow_mut().as_mut() {
            timetable.give_back(slot, intended);
        }
        if !self.is_open_loop() && self.is_measured(intended) {
            self.quota.set(self.quota.get().saturating_add(1));
        }
    }

    /// Notes that one was answered in time.
    #[inline]
    pub(super) fn note_answered(&self, tally: &mut Tally, sent: Sent, now: Time) {
        self.note_completed(tally, sent, now);
        if self.is_measured(sent.intended) {
            tally.answered += 1;
            tally.response.record(now - sent.intended);
            if self.is_open_loop() {
                tally.service.record(now - sent.sent);
            }
            if let Some(stage) = self.stage_of(sent.intended) {
                tally.stages.of(stage).response.record(now - sent.intended);
            }
        }
    }

    /// Notes that one is done with: it was answered, or has left where no answer is waited for.
    #[inline]
    pub(super) fn note_completed(&self, tally: &mut Tally, sent: Sent, now: Time) {
        self.note_gone(sent);
        self.failing_since.set(Time::NEVER);
        self.last_answer.set(now);
        tally.completed += u64::from(self.measures(now));
        if let Some(stage) = self.stage_of(sent.intended) {
            tally.stages.of(stage).answered += 1;
        }
    }

    /// Notes that one is no longer on its way.
    #[inline]
    pub(super) fn note_gone(&self, sent: Sent) {
        self.waiting.set(self.waiting.get() - 1);
        if self.is_measured(sent.intended) {
            self.waiting_measured.set(self.waiting_measured.get() - 1);
        }
    }

    /// Notes the outcome of the first attempt at a connection.
    pub(super) fn note_tried(&self, is_first: bool) {
        self.untried.set(self.untried.get() - u64::from(is_first));
    }

    pub(super) fn trouble(&self, trouble: Trouble, count: u64, words: impl FnOnce() -> String) {
        self.tally
            .borrow_mut()
            .troubles
            .count(trouble, count, words);
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
