//! What becomes of each message.
//!
//! Owns the quota of a closed loop, what is on its way, and the tally: written by the callers as
//! they send and hear. Must never forget a message: one that was sent gets exactly one fate, at the
//! latest when its caller is dropped ([`InFlight`]).

use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use crate::load::course::stage_of;
use crate::load::plan::{Law, Plan};
use crate::load::sent::Sent;
use crate::load::stage_tally::StageTally;
use crate::load::tally::Tally;
use crate::load::timeline::Timeline;
use crate::load::trouble::Trouble;

use crate::values::time::Time;

/// The fates of a thread's messages.
#[derive(Debug)]
pub(in crate::load) struct Ledger {
    clock: Rc<Clock>,
    plan: Arc<Plan>,
    is_open_loop: bool,
    /// Messages of the window that are still to be sent in a closed loop.
    quota: Cell<u64>,
    /// Messages on their way.
    waiting: Cell<u64>,
    /// When the last answer came.
    last_answer: Cell<Time>,
    /// When the last datagram was given up.
    last_given_up: Cell<Time>,
    /// Datagrams that were given up and not answered yet.
    stragglers: Cell<u64>,
    /// Messages that nobody waits for any more, until somebody says what time it is.
    abandoned: RefCell<Vec<(Sent, Kind)>>,
    tally: RefCell<Tally>,
    timeline: RefCell<Timeline>,
}

/// Why messages that were due were never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) enum Cause {
    /// Every connection was in use.
    Full,
    /// There was no connection.
    Outage,
    /// There was a free one: the generator did not get to it.
    Late,
}

/// What a message was sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) enum Kind {
    /// A stream: one that is abandoned has failed.
    Stream,
    /// A datagram socket: one that is abandoned is given up.
    Datagram,
}

impl Ledger {
    pub(super) fn new(clock: Rc<Clock>, plan: &Arc<Plan>, quota: u64) -> Ledger {
        Ledger {
            clock,
            is_open_loop: matches!(plan.law, Law::Open { .. }),
            plan: Arc::clone(plan),
            quota: Cell::new(quota),
            waiting: Cell::new(0),
            last_answer: Cell::new(Time::ZERO),
            last_given_up: Cell::new(Time::ZERO),
            stragglers: Cell::new(0),
            abandoned: RefCell::default(),
            tally: RefCell::default(),
            timeline: RefCell::default(),
        }
    }

    /// Messages that a closed loop may still send in the window.
    pub(in crate::load) fn quota(&self) -> u64 {
        self.quota.get()
    }

    /// Messages on their way.
    pub(in crate::load) fn waiting(&self) -> u64 {
        self.waiting.get()
    }

    pub(in crate::load) fn last_answer(&self) -> Time {
        self.last_answer.get()
    }

    pub(in crate::load) fn last_given_up(&self) -> Time {
        self.last_given_up.get()
    }

    /// Whether every datagram that was given up was answered after all.
    pub(in crate::load) fn all_came(&self) -> bool {
        self.stragglers.get() == 0
    }

    /// An answer to a datagram that was given up came after all.
    pub(in crate::load) fn late(&self, tally: &mut Tally, is_measured: bool) {
        self.stragglers.set(self.stragglers.get().saturating_sub(1));
        tally.late += u64::from(is_measured);
    }

    /// The counts, for a caller that notes several things at once.
    #[inline]
    pub(in crate::load) fn tally(&self) -> RefMut<'_, Tally> {
        self.tally.borrow_mut()
    }

    /// What was counted since the last time.
    pub(in crate::load) fn take(&self) -> Box<Tally> {
        Box::new(self.tally.take())
    }

    /// The window in columns. It begins anew.
    pub(in crate::load) fn timeline(&self) -> Timeline {
        self.timeline.take()
    }

    /// How long after the beginning of the window `at` was.
    #[inline]
    fn since(&self, at: Time) -> Duration {
        at - self.clock.measured_from()
    }

    /// Takes a message from the quota of the window; whether there was one.
    #[inline]
    pub(super) fn draw(&self, intended: Time) -> bool {
        if self.is_open_loop || !self.clock.is_measured(intended) {
            return true;
        }
        let quota = self.quota.get();
        self.quota.set(quota.saturating_sub(1));
        quota > 0
    }

    /// Gives one back that is not sent after all.
    pub(super) fn give_back(&self, intended: Time) {
        if !self.is_open_loop && self.clock.is_measured(intended) {
            self.quota.set(self.quota.get().saturating_add(1));
        }
    }

    /// A message was sent, or its connection was begun where it has one of its own.
    #[inline]
    pub(in crate::load) fn sent(&self, tally: &mut Tally, sent: Sent) {
        self.waiting.set(self.waiting.get() + 1);
        if self.clock.is_measured(sent.intended) {
            tally.sent += 1;
            if let Some(stage) = self.stage_of(tally, sent.intended) {
                stage.sent += 1;
            }
        }
    }

    /// The counts of the stage in which a message was meant to be sent; `None` without stages.
    #[inline]
    fn stage_of<'t>(&self, tally: &'t mut Tally, intended: Time) -> Option<&'t mut StageTally> {
        if self.plan.stages.is_empty() {
            return None;
        }
        stage_of(&self.plan.stages, self.since(intended)).map(|stage| tally.stages.of(stage))
    }

    /// The last one that was abandoned was not sent after all.
    pub(in crate::load) fn unsend(&self) {
        if let Some((sent, _)) = self.abandoned.borrow_mut().pop() {
            self.waiting.set(self.waiting.get() - 1);
            let mut tally = self.tally.borrow_mut();
            if self.clock.is_measured(sent.intended) {
                tally.sent -= 1;
                if let Some(stage) = self.stage_of(&mut tally, sent.intended) {
                    stage.sent -= 1;
                }
            }
        }
    }

    /// Nobody waits for this one any more.
    pub(in crate::load) fn abandon(&self, sent: Sent, kind: Kind) {
        self.abandoned.borrow_mut().push((sent, kind));
    }

    /// Those that were abandoned were waited for until `now`.
    #[inline]
    pub(in crate::load) fn settle(&self, now: Time) {
        if self.abandoned.borrow().is_empty() {
            return;
        }
        let mut tally = self.tally.borrow_mut();
        for (sent, kind) in self.abandoned.borrow_mut().drain(..) {
            match kind {
                Kind::Stream => self.failed(&mut tally, sent, now),
                Kind::Datagram => self.given_up(&mut tally, sent, now),
            }
        }
    }

    /// One was answered in time. `unread` is how long its answer lay in the socket, where that is
    /// known.
    #[inline]
    pub(in crate::load) fn answered(
        &self,
        tally: &mut Tally,
        sent: Sent,
        now: Time,
        unread: Option<Duration>,
    ) {
        self.complete(tally, now);
        if self.clock.is_measured(sent.intended) {
            tally.answered += 1;
            tally.response.record(now - sent.intended);
            let added = sent.late + sent.held + unread.unwrap_or_default();
            let (since, time) = (self.since(sent.intended), now - sent.intended);
            self.timeline.borrow_mut().answered(since, time, added);
            if let Some(stage) = self.stage_of(tally, sent.intended) {
                stage.answered += 1;
                stage.response.record(now - sent.intended);
            }
            if self.is_open_loop {
                tally.service.record(now - sent.sent);
            }
            if self.is_open_loop || unread.is_some() {
                self.charge(tally, sent, unread.unwrap_or_default());
            }
        }
    }

    /// What the generator and its limits added to one.
    #[inline]
    fn charge(&self, tally: &mut Tally, sent: Sent, unread: Duration) {
        tally.added.record(sent.late + sent.held + unread);
        if self.is_open_loop {
            tally.lateness.record(sent.late);
            tally.held.record(sent.held);
        }
    }

    /// One has left, where no answer is waited for.
    #[inline]
    pub(in crate::load) fn left(&self, tally: &mut Tally, sent: Sent, now: Time) {
        self.complete(tally, now);
        if self.clock.is_measured(sent.intended) {
            tally.left += 1;
            if let Some(stage) = self.stage_of(tally, sent.intended) {
                stage.answered += 1;
            }
            if self.is_open_loop {
                self.charge(tally, sent, Duration::ZERO);
            }
        }
    }

    fn complete(&self, tally: &mut Tally, now: Time) {
        self.waiting.set(self.waiting.get() - 1);
        self.last_answer.set(now);
        if self.clock.measures(now) {
            tally.completed += 1;
            self.timeline.borrow_mut().completed(self.since(now));
        }
    }

    /// The connection of one ended, or it took too long.
    #[cold]
    fn failed(&self, tally: &mut Tally, sent: Sent, now: Time) {
        let is_measured = self.unanswered(tally, sent, now);
        tally.failed += u64::from(is_measured);
    }

    /// A datagram is given up.
    #[cold]
    pub(in crate::load) fn given_up(&self, tally: &mut Tally, sent: Sent, now: Time) {
        self.last_given_up.set(now);
        self.stragglers.set(self.stragglers.get() + 1);
        let is_measured = self.unanswered(tally, sent, now);
        tally.given_up += u64::from(is_measured);
    }

    /// Whether one without an answer belongs to the window.
    fn unanswered(&self, tally: &mut Tally, sent: Sent, now: Time) -> bool {
        self.waiting.set(self.waiting.get() - 1);
        let is_measured = self.clock.is_measured(sent.intended);
        if is_measured {
            tally.response.give_up(now - sent.intended, 1);
            let (since, added) = (self.since(sent.intended), sent.late + sent.held);
            self.timeline.borrow_mut().unanswered(since, 1, added);
            if let Some(stage) = self.stage_of(tally, sent.intended) {
                stage.response.give_up(now - sent.intended, 1);
            }
            if self.is_open_loop {
                tally.service.give_up(now - sent.sent, 1);
                self.charge(tally, sent, Duration::ZERO);
            }
            tally.unanswered += u64::from(self.clock.is_over());
        }
        is_measured
    }

    /// So many messages of the window will never be sent. The first of them was meant to be at
    /// `from`; the others are spread from there to `to`.
    #[cold]
    pub(in crate::load) fn unsent(
        &self,
        count: u64,
        (from, to): (Time, Time),
        now: Time,
        cause: Cause,
    ) {
        /// Steps between the shortest and the longest wait: more would draw no other curve.
        const STEPS: u64 = 64;
        if count == 0 {
            return;
        }
        let mut tally = self.tally.borrow_mut();
        tally.unsent += count;
        if let Some(stage) = self.stage_of(&mut tally, from) {
            stage.unsent += count;
            stage.response.give_up(now - to, count);
        }
        let (steps, span) = (count.min(STEPS), to - from);
        for step in 0..steps {
            let share = count / steps + u64::from(step < count % steps);
            // As if all of a step had been due at its end: none of them waited for less.
            let due = from + span.mul_f64((step + 1) as f64 / steps as f64);
            tally.response.give_up(now - due, share);
            // At the middle of the step: its end may be the end of the window.
            let middle = from + span.mul_f64((step as f64 + 0.5) / steps as f64);
            let since = self.since(middle);
            let mut timeline = self.timeline.borrow_mut();
            timeline.unanswered(since, share, Duration::ZERO);
            if self.is_open_loop && cause != Cause::Outage {
                let tally = &mut *tally;
                tally.added.give_up(now - due, share);
                let (its, other) = match cause {
                    Cause::Full => (&mut tally.held, &mut tally.lateness),
                    _ => (&mut tally.lateness, &mut tally.held),
                };
                its.give_up(now - due, share);
                other.record_many(Duration::ZERO, share);
            }
        }
    }

    pub(in crate::load) fn trouble(
        &self,
        trouble: Trouble,
        count: u64,
        words: impl FnOnce() -> String,
    ) {
        self.tally
            .borrow_mut()
            .troubles
            .count(trouble, count, words);
    }
}

/// The messages of one connection that have no fate yet, oldest first. Those that have none when it
/// is dropped have failed.
#[derive(Debug)]
pub(in crate::load) struct InFlight {
    ledger: Rc<Ledger>,
    sent: VecDeque<Sent>,
}

impl InFlight {
    pub(in crate::load) fn new(ledger: Rc<Ledger>) -> InFlight {
        InFlight {
            ledger,
            sent: VecDeque::new(),
        }
    }

    #[inline]
    pub(in crate::load) fn len(&self) -> usize {
        self.sent.len()
    }

    #[inline]
    pub(in crate::load) fn oldest(&self) -> Option<Sent> {
        self.sent.front().copied()
    }

    /// One that the ledger has been told of.
    #[inline]
    pub(in crate::load) fn push(&mut self, sent: Sent) {
        self.sent.push_back(sent);
    }

    /// The oldest, for the ledger to be told of its fate.
    #[inline]
    pub(in crate::load) fn pop(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }

    /// All that are left have failed; how many.
    pub(in crate::load) fn abandon(&mut self) -> u64 {
        let count = self.sent.len() as u64;
        for sent in self.sent.drain(..) {
            self.ledger.abandon(sent, Kind::Stream);
        }
        count
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.abandon();
    }
}
