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

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::datagrams::DatagramCaller;
use super::desk::{Desk, Vacancy};
use super::openings::Openings;
use super::orders::{Concluded, Lanes, News, Orders, ReachError};
use super::pace::Pace;
use super::plan::{Law, Plan};
use super::stream::StreamCaller;
use super::tally::Trouble;
use super::window::Sent;
use crate::net::Net;
use crate::reactor::Reactor;
use crate::service::Service;
use crate::values::endpoint::Address;
use crate::values::error::StartError;
use crate::values::time::Time;
use crate::values::token::Token;

/// Connections that are being made at once: less than any backlog, so that no handshake has to wait
/// for its second attempt.
const CONNECTING: usize = 64;

/// How soon a connection that failed is opened again; twice as late after each further failure.
const RETRY: Duration = Duration::from_millis(10);

/// How late at most.
const RETRY_MOST: Duration = Duration::from_secs(1);

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
    phase: Phase,
    /// At the end of the window: connections open, and nanoseconds of it that were spent polling
    /// for nothing.
    open: u64,
    spun: u64,
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
        Generator {
            reactor,
            desk: Desk::new(plan, lanes),
            remote,
            slots,
            openings,
            phase: Phase::Fresh,
            open: 0,
            spun: 0,
        }
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
        while self.desk.connecting.get() > 0 && !orders.is_stopped() {
            self.reactor.turn();
        }
        match self.desk.closed.get() {
            Some(reason) if !self.desk.has_opened.get() => Err(ReachError::Closed(reason)),
            _ => Ok(()),
        }
    }

    /// Runs to the end, as `orders` say, and tells of it.
    pub fn run(&mut self, orders: &Orders, mut tell: impl FnMut(News)) -> Concluded {
        while !self.turn(orders, &mut tell) {}
        self.conclude()
    }

    /// One turn of the loop, and what it changes. Whether the run is over.
    pub fn turn(&mut self, orders: &Orders, tell: &mut dyn FnMut(News)) -> bool {
        match self.phase {
            Phase::Fresh => {
                self.schedule_openings();
                self.phase = Phase::Opening;
            }
            Phase::Opening if self.desk.untried.get() > 0 && !orders.is_stopped() => {
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
                    cut: self.desk.measured_from.get(),
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

    /// The results of a run that is over.
    pub fn conclude(&mut self) -> Concluded {
        let rest = Box::new(self.desk.tally.take());
        Concluded {
            rest,
            measured: self.measured(),
            open: self.open,
            spun: Duration::from_nanos(self.spun),
            is_refused: self.is_hopeless(),
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
        if orders.is_stopped() && now < desk.end.get() {
            desk.end.set(now);
            desk.is_interrupted.set(true);
        }
        // Where all messages have been sent, the window ends with the last answer: its length is
        // not known while that is waited for.
        let goes_on = spun.is_none() || desk.is_open_loop() || desk.quota.get() > 0;
        if now >= cut && cut < desk.end.get() && goes_on {
            let tally = Box::new(desk.tally.take());
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
        let last = if now < desk.last_call() {
            desk.last_call()
        } else {
            self.deadline()
        };
        let until = if now < desk.end.get() {
            cut.min(desk.end.get())
        } else {
            last
        };
        self.step(until.min(self.given_up_at()));
    }

    /// Whether nothing more is to be sent, and nothing is waited for.
    fn is_done(&self, now: Time) -> bool {
        let desk = &self.desk;
        let is_past_end = now >= desk.end.get();
        let has_sent_all = match desk.plan.law {
            Law::Closed { .. } => is_past_end || desk.quota.get() == 0,
            Law::Open { .. } => is_past_end && (now >= desk.last_call() || !desk.is_behind()),
        };
        let is_given_up = now >= self.given_up_at();
        has_sent_all && desk.waiting.get() == 0
            || now >= self.deadline()
            || is_given_up
            || self.is_hopeless()
    }

    /// When a run ends that has no other end: the target has left in the middle of it, and messages
    /// that are to be sent never will be.
    fn given_up_at(&self) -> Time {
        let desk = &self.desk;
        let is_endless =
            desk.end.get() == Time::NEVER && desk.waiting.get() == 0 && desk.open.get() == 0;
        if is_endless {
            desk.failing_since.get() + desk.patience()
        } else {
            Time::NEVER
        }
    }

    /// Whether nobody listens where datagrams are sent to: their connections are never made, and so
    /// cannot fail.
    fn is_hopeless(&self) -> bool {
        self.desk.is_refused.get() && !self.desk.has_heard.get()
    }

    /// Until when what is on its way is waited for, though it be the last that was sent.
    fn deadline(&self) -> Time {
        self.desk.last_call() + self.desk.patience()
    }

    /// How long the window was: to its end, or to the last answer where the messages ran out first.
    fn measured(&self) -> Duration {
        let desk = &self.desk;
        let ran_out = desk.plan.requests.is_some() && !desk.is_open_loop() && desk.quota.get() == 0;
        let end = if ran_out || desk.end.get() == Time::NEVER {
            desk.end.get().min(desk.last_answer.get())
        } else {
            desk.end.get()
        };
        end - desk.measured_from.get()
    }

    /// Ends every connection, and gives the peers a moment to do the same. What was sent and not
    /// answered is accounted for, whatever its connection does.
    fn leave(&mut self) {
        let desk = Rc::clone(&self.desk);
        self.open = self
            .slots
            .iter()
            .filter(|slot| slot.token.is_some())
            .count() as u64;
        let was_given_up = self.reactor.now() >= self.given_up_at();
        {
            let mut tally = desk.tally.borrow_mut();
            desk.note_unsent(&mut tally);
            if was_given_up {
                tally.unsent += desk.quota.get();
            }
            tally.unanswered += desk.waiting_measured.get();
        }
        desk.is_over.set(true);
        self.openings.clear();
        self.wake_all();
        self.phase = Phase::Leaving {
            until: self.reactor.now() + FAREWELL,
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
        let has_room = self.desk.connecting.get() < CONNECTING;
        let next = if has_room {
            self.openings.next()
        } else {
            Time::NEVER
        };
        self.reactor.turn_by(until.min(next));
        self.refill();
        self.open_due();
    }

    /// Slots whose connection is over get another one.
    fn refill(&mut self) {
        let now = self.reactor.now();
        let mut vacant = self.desk.vacant.take();
        for (index, vacancy) in vacant.drain(..) {
            let (desk, slot) = (&self.desk, &mut self.slots[index]);
            slot.token = None;
            slot.free_since = now;
            slot.failures = if vacancy == Vacancy::Failed {
                slot.failures + 1
            } else {
                0
            };
            let pause = match vacancy {
                Vacancy::Done => desk.think(),
                Vacancy::Blocked => RETRY,
                Vacancy::Failed => RETRY_MOST.min(RETRY * (1 << slot.failures.min(10) >> 1)),
            };
            if vacancy == Vacancy::Failed && desk.failing_since.get() == Time::NEVER {
                desk.failing_since.set(now);
            }
            match desk.start.get() {
                // The start opens all of them.
                Time::NEVER if desk.plan.churn => {}
                start if desk.plan.churn => {
                    self.openings
                        .push(desk.due(index).unwrap_or(start).max(now + pause), index);
                }
                _ => self.openings.push(now + pause, index),
            }
        }
        *self.desk.vacant.borrow_mut() = vacant;
    }

    fn open_due(&mut self) {
        let now = self.reactor.now();
        while self.openings.next() <= now {
            if self.desk.connecting.get() >= CONNECTING {
                return self.openings.hold(now);
            }
            let Some((slot, since)) = self.openings.pop(now) else {
                return;
            };
            if let Err(error) = self.open(slot, since) {
                self.note_unopened(slot, &error);
            }
        }
    }

    /// Begins the connection of a slot, which could have been since `since`. Of one that has a
    /// message of its own, the message is sent on its way with it.
    fn open(&mut self, index: usize, since: Time) -> Result<(), StartError> {
        let desk = Rc::clone(&self.desk);
        let now = self.reactor.net_mut().now();
        let slot = &mut self.slots[index];
        let intended = if desk.plan.churn && desk.start.get() < Time::NEVER {
            // However late, it is meant for when it was meant.
            let Some(intended) = desk.next_due(index, None, now) else {
                return Ok(());
            };
            intended
        } else {
            now
        };
        slot.attempts += 1;
        let began = Sent::new(intended, now, since.max(slot.free_since));
        let is_first = slot.attempts == 1 && !desk.plan.churn;
        let sources = &desk.plan.sources;
        let local = sources
            .get(desk.number(index) as usize % sources.len().max(1))
            .map(|ip| local_of(&self.remote, *ip));
        let caller: Box<dyn Service> = match self.remote.is_stream() {
            true => Box::new(StreamCaller::new(desk.clone(), index, began, is_first)),
            false => Box::new(DatagramCaller::new(desk.clone(), index)),
        };
        let begun = self.reactor.connect(&self.remote, local.as_ref(), caller);
        // Unix sockets alone say so of a target without room, and then nothing was sent: the
        // message is the next one again.
        if desk.plan.churn
            && begun
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            desk.give_back(index, intended);
        } else if desk.plan.churn {
            desk.note_sent(&mut desk.tally.borrow_mut(), began);
            if begun.is_err() {
                desk.note_gone(began);
            }
        }
        let token = begun?;
        self.slots[index].token = Some(token);
        self.slots[index].blocked_since = None;
        if self.remote.is_stream() {
            desk.connecting.set(desk.connecting.get() + 1);
        } else {
            self.reactor.wake(token);
            desk.tally.borrow_mut().opened += 1;
            desk.note_tried(is_first);
        }
        Ok(())
    }

    /// A connection that could not even be begun.
    #[cold]
    fn note_unopened(&mut self, index: usize, error: &StartError) {
        let (desk, slot) = (&self.desk, &mut self.slots[index]);
        let now = self.reactor.now();
        let mut trouble = Trouble::of_error(error.kind(), error.code());
        // The backlog of a Unix socket is full, and nothing tells when it is not: no error before
        // its time, but a reason to wait.
        if error.kind() == io::ErrorKind::WouldBlock {
            let since = *slot.blocked_since.get_or_insert(now);
            if since.after(desk.plan.timeout) > now {
                slot.attempts -= 1;
                return desk.vacant.borrow_mut().push((index, Vacancy::Blocked));
            }
            slot.blocked_since = None;
            trouble = Trouble::TimedOut;
        }
        desk.note_tried(slot.attempts == 1 && !desk.plan.churn);
        desk.trouble(trouble, 1, || error.to_string());
        desk.vacant.borrow_mut().push((index, Vacancy::Failed));
    }
}

/// An address of this machine to speak from, of the kind of `remote`, with any port.
fn local_of(remote: &Address, ip: std::net::IpAddr) -> Address {
    let any = SocketAddr::new(ip, 0);
    match remote {
        Address::Udp(_) => Address::Udp(any),
        _ => Address::Tcp(any),
    }
}
