//! One generator: a reactor and its connections, through the phases of a run.
//!
//! Owns when a connection is opened and when a phase ends. Must never decide what is sent: that is
//! the callers'. One generator is one thread; several share [`Orders`] and a clock, and their
//! tallies are added.
//!
//! ```text
//!   reach       one connection, or the run fails
//!     ▼
//!   open all
//!     ▼
//!   ready       waits for all generators
//!     ▼
//!   start       the warm-up, which is not measured, then the window
//!     ▼
//!   end         nothing new is sent; what is in flight has the timeout to be answered
//!     ▼
//!   over
//! ```
//!
//! A connection that fails is opened again, later each time, as long as the run lasts.
//!
//! Tests: `tests/load_simulation.rs` runs it over the simulator; `tests/load.rs` over sockets.

mod opening;
mod watching;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::watching::progress;
use super::desk::{Cause, Desk};
use super::openings::{Handshakes, Openings};
use super::orders::{Concluded, Lanes, News, Orders, ReachError};
use super::pace::Pace;
use super::plan::{Law, Plan};
use crate::net::Net;
use crate::reactor::Reactor;
use crate::values::endpoint::Address;
use crate::values::time::Time;
use crate::values::token::Token;

/// How long the peers may take to end the connections when everything is over.
const FAREWELL: Duration = Duration::from_millis(500);

/// How often a tally is handed on.
const INTERVAL: Duration = Duration::from_secs(1);

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Fresh,
    Opening,
    /// All generators wait for the start.
    Ready,
    Working {
        /// When the next interval ends; at first, when the window begins.
        cut: Time,
        /// What had been spent polling for nothing when it began.
        spun: Option<u64>,
    },
    Leaving {
        until: Time,
    },
}

/// A connection's place.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    token: Option<Token>,
    attempts: u32,
    /// Those that failed since the last that did not.
    failures: u32,
    /// Since when it has no connection.
    free_since: Time,
    /// Since when the target has had no room for it.
    blocked_since: Option<Time>,
}

/// A reactor and its callers.
#[derive(Debug)]
pub struct Generator<N: Net> {
    reactor: Reactor<N>,
    desk: Rc<Desk>,
    remote: Address,
    slots: Vec<Slot>,
    openings: Openings,
    handshakes: Handshakes,
    /// Slots that wait until another one has found the target.
    parked: Vec<usize>,
    phase: Phase,
    /// At the end of the window: connections open, and nanoseconds of it that were spent polling
    /// for nothing.
    open: u64,
    spun: u64,
    /// How often it tells how far it has come, and when it does so next.
    watched: Option<Duration>,
    look: Time,
}

impl<N: Net> Generator<N> {
    /// A generator of the connections `lanes` to `remote`, over `reactor`.
    pub fn new(
        reactor: Reactor<N>,
        plan: Arc<Plan>,
        lanes: Lanes,
        remote: Address,
    ) -> Generator<N> {
        let slots = vec![Slot::default(); lanes.count as usize];
        // Of a pace, each generator keeps its share.
        let share = |rate: Pace| {
            Pace::per_second(rate.get() * lanes.count as f64 / plan.connections as f64)
        };
        let openings = Openings::new(plan.connect_rate.map(share));
        let handshakes = lanes.share_of(plan.handshakes as u64, plan.connections);
        let handshakes = Handshakes::new(handshakes as usize);
        Generator {
            reactor,
            desk: Desk::new(plan, lanes),
            remote,
            slots,
            openings,
            handshakes,
            parked: Vec::new(),
            phase: Phase::Fresh,
            open: 0,
            spun: 0,
            watched: None,
            look: Time::NEVER,
        }
    }

    /// The same; somebody wants to know how far it has come, every so often.
    pub fn watched(mut self, every: Option<Duration>) -> Generator<N> {
        self.watched = every;
        if every.is_some() {
            self.look = Time::ZERO;
        }
        self
    }

    /// The network below, for tests that play the peers of a simulated one.
    pub fn net_mut(&mut self) -> &mut N {
        self.reactor.net_mut()
    }

    /// Opens the first connection, so that a target that is not there is known before anything else
    /// is done. Returns early where `orders` say so.
    ///
    /// # Errors
    ///
    /// Why it was not made.
    pub fn reach(&mut self, orders: &Orders) -> Result<(), ReachError> {
        self.open(0, Time::ZERO).map_err(ReachError::Unbegun)?;
        while self.desk.roster.connecting() > 0 && !orders.is_stopped() {
            self.reactor.turn();
        }
        match self.desk.roster.closed() {
            Some(reason) if !self.desk.roster.has_opened() => Err(ReachError::Closed(reason)),
            _ => Ok(()),
        }
    }

    /// Runs to the end, as `orders` say, and tells of it.
    pub fn run(mut self, orders: &Orders, mut tell: impl FnMut(News)) -> Concluded {
        while !self.turn(orders, &mut tell) {}
        self.conclude()
    }

    /// One turn of the loop, and what it changes. Whether the run is over.
    pub fn turn(&mut self, orders: &Orders, tell: &mut dyn FnMut(News)) -> bool {
        self.tell_progress(tell);
        match self.phase {
            Phase::Fresh => {
                self.schedule_openings();
                self.phase = Phase::Opening;
            }
            Phase::Opening if self.desk.roster.untried() > 0 && !orders.is_stopped() => {
                self.step(Time::NEVER)
            }
            Phase::Opening => {
                tell(News::Ready);
                self.phase = Phase::Ready;
            }
            Phase::Ready if orders.started() == Time::NEVER && !orders.is_stopped() => {
                self.step(Time::NEVER)
            }
            Phase::Ready => {
                // One that was stopped before that begins now, so that it has an end.
                self.begin(if orders.is_stopped() {
                    self.reactor.now()
                } else {
                    orders.started()
                });
                self.phase = Phase::Working {
                    cut: self.desk.clock.measured_from(),
                    spun: None,
                };
            }
            Phase::Working { cut, spun } => self.work(orders, tell, cut, spun),
            Phase::Leaving { until } => {
                let has_left = self.reactor.stats().live() == 0 || self.reactor.now() >= until;
                if !has_left {
                    self.reactor.turn_by(until);
                }
                return has_left;
            }
        }
        false
    }

    /// Says how far it has come, where it is time to.
    fn tell_progress(&mut self, tell: &mut dyn FnMut(News)) {
        let now = self.reactor.now();
        let Some(every) = self.watched.filter(|_| now >= self.look) else {
            return;
        };
        self.look = now + every;
        let has_tried_all = self.desk.roster.untried() == 0;
        tell(News::Progress(progress(&self.desk, has_tried_all, now)));
    }

    /// The results of a run that is over.
    pub fn conclude(self) -> Concluded {
        let measured = self.measured();
        // What is dropped with the callers has no answer.
        drop(self.reactor);
        let ledger = &self.desk.ledger;
        ledger.settle(self.desk.clock.over());
        Concluded {
            rest: ledger.take(),
            timeline: ledger.timeline(),
            measured,
            open: self.open,
            spun: Duration::from_nanos(self.spun),
            is_refused: self.desk.roster.is_hopeless(),
        }
    }

    /// Every connection is to be opened once. One that fails is tried again while the others work.
    fn schedule_openings(&mut self) {
        if !self.desk.plan.churn {
            let fresh = (0..self.slots.len()).filter(|slot| self.slots[*slot].token.is_none());
            fresh.for_each(|slot| self.openings.push(Time::ZERO, slot));
        }
    }

    /// Starts every connection's schedule at `start`.
    fn begin(&mut self, start: Time) {
        let (desk, plan) = (&self.desk, &self.desk.plan);
        desk.begin(start);
        if plan.churn {
            // That of the first one may still be at work, and comes back by itself.
            for slot in (0..self.slots.len()).filter(|slot| self.slots[*slot].token.is_none()) {
                self.openings.push(desk.due(slot).unwrap_or(start), slot);
            }
        }
        self.wake_all();
    }

    /// A turn of the warm-up, of the window, or of what is on its way behind it.
    fn work(
        &mut self,
        orders: &Orders,
        tell: &mut dyn FnMut(News),
        mut cut: Time,
        mut spun: Option<u64>,
    ) {
        let desk = Rc::clone(&self.desk);
        let now = self.reactor.now();
        if orders.is_stopped() && now < desk.clock.end() {
            desk.clock.interrupt(now);
        }
        if now >= desk.clock.end() {
            desk.look_around();
        }
        // Where all messages have been sent, the window ends with the last answer: its length is
        // not known while that is waited for.
        let goes_on = spun.is_none() || desk.is_open_loop() || desk.ledger.quota() > 0;
        if now >= cut && cut < desk.clock.end() && goes_on {
            let tally = desk.ledger.take();
            tell(if spun.is_none() {
                News::Begun(tally)
            } else {
                News::Interval(tally)
            });
            spun = spun.or(Some(self.reactor.stats().spun_nanos));
            cut = cut + INTERVAL;
        }
        let cut = if goes_on { cut } else { Time::NEVER };
        self.phase = Phase::Working { cut, spun };
        if self.is_done(now) || orders.is_aborted() {
            tell(News::Ended);
            let before = spun.unwrap_or(self.reactor.stats().spun_nanos);
            self.spun = self.reactor.stats().spun_nanos - before;
            self.leave();
            return;
        }
        let last = if now < desk.clock.last_call() {
            desk.clock.last_call()
        } else {
            self.deadline()
        };
        let until = if now < desk.clock.end() {
            cut.min(desk.clock.end())
        } else {
            last
        };
        // Where all was sent, late answers may be all that the run waits for.
        let stragglers = self.stragglers_until();
        let until = if stragglers > now {
            until.min(stragglers)
        } else {
            until
        };
        self.step(until.min(self.given_up_at()));
    }

    /// Whether nothing more is to be sent, and nothing is waited for.
    fn is_done(&self, now: Time) -> bool {
        let desk = &self.desk;
        let is_past_end = now >= desk.clock.end();
        let has_sent_all = match desk.plan.law {
            Law::Closed { .. } => is_past_end || desk.ledger.quota() == 0,
            Law::Open { .. } => is_past_end && (now >= desk.clock.last_call() || !desk.is_behind()),
        };
        let is_given_up = now >= self.given_up_at();
        let is_settled = desk.ledger.waiting() == 0 && now >= self.stragglers_until();
        has_sent_all && is_settled
            || now >= self.deadline()
            || is_given_up
            || desk.roster.is_hopeless()
    }

    /// Until when answers to datagrams that were given up are waited for, behind the end: as long
    /// as any other answer. One that comes later than this is lost.
    fn stragglers_until(&self) -> Time {
        let given_up = self.desk.ledger.last_given_up();
        if given_up == Time::ZERO || self.desk.ledger.all_came() {
            Time::ZERO
        } else {
            given_up + self.desk.clock.patience()
        }
    }

    /// When a run ends that has no other end: the target has left in the middle of it, and messages
    /// that are to be sent never will be.
    fn given_up_at(&self) -> Time {
        let desk = &self.desk;
        let is_endless = desk.clock.end() == Time::NEVER
            && desk.ledger.waiting() == 0
            && desk.roster.open() == 0;
        if is_endless {
            desk.roster.failing_since() + desk.clock.patience()
        } else {
            Time::NEVER
        }
    }

    /// Until when what is on its way is waited for, though it be the last that was sent.
    fn deadline(&self) -> Time {
        self.desk.clock.last_call() + self.desk.clock.patience()
    }

    /// How long the window was: to its end, or to the last answer where the messages ran out first.
    fn measured(&self) -> Duration {
        let (desk, clock) = (&self.desk, &self.desk.clock);
        let has_quota = desk.plan.requests.is_some() && !desk.is_open_loop();
        let ran_out = has_quota && desk.ledger.quota() == 0;
        let end = if ran_out || clock.end() == Time::NEVER {
            clock.end().min(desk.ledger.last_answer())
        } else {
            clock.end()
        };
        end - clock.measured_from()
    }

    /// Ends every connection, and gives the peers a moment to do the same. What was sent and not
    /// answered is accounted for, whatever its connection does.
    fn leave(&mut self) {
        let (desk, now) = (Rc::clone(&self.desk), self.reactor.now());
        self.open = self
            .slots
            .iter()
            .filter(|slot| slot.token.is_some())
            .count() as u64;
        if now >= self.given_up_at() {
            let since = desk.roster.failing_since();
            let quota = desk.ledger.quota();
            desk.ledger
                .unsent(quota, (since, since), now, Cause::Outage);
        }
        desk.settle_unsent(now);
        desk.clock.finish(now);
        self.openings.clear();
        self.parked.clear();
        self.wake_all();
        self.phase = Phase::Leaving {
            until: now + FAREWELL,
        };
    }

    fn wake_all(&mut self) {
        for index in 0..self.slots.len() {
            if let Some(token) = self.slots[index].token {
                self.reactor.wake(token);
            }
        }
    }

    /// One turn that ends at `until` at the latest, and what it left to do.
    fn step(&mut self, until: Time) {
        let connecting = self.desk.roster.connecting();
        let room = self.handshakes.next(self.reactor.now(), connecting);
        let next = self.openings.next().max(room);
        self.reactor.turn_by(until.min(next).min(self.look));
        self.desk.ledger.settle(self.reactor.now());
        self.refill();
        self.open_due();
    }
}
