//! The loop.
//!
//! Owns everything: the sources, what they borrow one at a time, the lifecycle. It contains the
//! only wait of the program. It must never run a source while it marks: the whole design depends on
//! that.
//!
//! ```text
//!  turn:
//!   1  timeout = 0 if anything is runnable, else until the next deadline
//!   2  wait for events                        an interruption is "no events"
//!   3  now = clock                            the only reading of the turn
//!   4  MARK  each event → its source          generation compared, bits set, queued once
//!            each deadline that has passed    one more kind of readiness, DEADLINE_BUDGET a turn
//!                                             no I/O, nothing created or destroyed
//!   5  RUN   the sources queued at this point once each, each within its budget,
//!            all of them within TURN_BUDGET   what is not reached stays at the head of the queue
//!            outcome: waiting | more (queued again) | done (retired)
//!   6  the limit of pending output, commands of handles, the lifecycle
//! ```
//!
//! Every event is marked before any source runs, so it reaches the source it was meant for: a slot
//! that is freed and reused in phase 5 cannot get an event of the same batch. The generation
//! protects against events that are older than a turn.
//!
//! A turn runs each source once and within a budget, so a peer that floods gets its share and no
//! more. A source with work left is in the queue, so the wait of the next turn does not sleep but
//! still asks the kernel for newcomers. The budget of the whole turn bounds how long the kernel is
//! not asked, whatever the mix of sources.
//!
//! A service that panics costs its own source: phase 5 catches the panic, names the source and goes
//! on with the next one.
//!
//! The other files of this room: `sources.rs` (the table), `run_queue.rs`, `timer.rs`, `sleep.rs`
//! (how long to wait), `source.rs` (the kinds of sources), `opening.rs` (how they come),
//! `accepting.rs` (the queue of the listeners), `ending.rs` (how they go), `panics.rs`,
//! `commands.rs` (what handles and signals ask for), `lifecycle.rs` and `handle.rs`.
//!
//! Tests: `tests/simulation/` drives this very loop over the simulator.

mod accepting;
mod audit;
mod commands;
mod ending;
pub(crate) mod handle;
pub(crate) mod lifecycle;
mod opening;
mod panics;
mod run_queue;
mod sleep;
mod source;
mod sources;
pub mod timer;

use std::fmt;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use log::{trace, warn};

pub use self::ending::Ending;
use self::handle::{Command, Handle};
use self::lifecycle::Lifecycle;
use self::sleep::Sleep;
use self::source::Source;
use self::sources::{Marked, Sources};
use crate::datagram::Common;
use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::stream::connection::Connection;
use crate::stream::listener::Accepted;
use crate::values::limits::{DEADLINE_BUDGET, Limits, RUN_COST, TURN_BUDGET};
use crate::values::notice::Notice;
use crate::values::ready::Ready;
use crate::values::signal::Signal;
use crate::values::stats::Stats;
use crate::values::time::Time;
use crate::values::token::{MAX_SOURCES, Token};

/// Slots that are left for everything that is not a connection.
const MAX_CONNECTIONS: usize = MAX_SOURCES - 1024;

/// Rows of the table that are set aside at the start, at most; past these it grows as any vector
/// does.
const ROWS_SET_ASIDE: usize = 64 * 1024;

/// A server: bind endpoints, then [`run`](Reactor::run).
pub struct Reactor<N: Net> {
    sources: Sources<Source<N>>,
    turn: Turn<N>,
    common: Common,
    /// The source that runs. A panic is attributed to it.
    running: Token,
    /// Whether this turn has left deadlines to the next one.
    leaves_deadlines: bool,
    /// The listeners, in the order in which they may accept when not all can.
    listeners: Vec<Token>,
    datagrams: Vec<Token>,
    /// Where a listener puts what it accepts; empty between runs.
    batch: Vec<Accepted<N>>,
    /// The listener that filled the batch.
    accepting: Token,
    backlog: u32,
    lifecycle: Lifecycle,
    /// Conversations that were cut.
    cut: usize,
    handle: Handle,
    commands: mpsc::Receiver<Command>,
    sleep: Sleep,
    output_warning: Notice,
}

impl<N: Net> Reactor<N> {
    /// A reactor with nothing bound yet.
    ///
    /// # Errors
    ///
    /// The operating system's, where it has no descriptor for the waker.
    pub fn new(mut net: N, mut limits: Limits) -> io::Result<Reactor<N>> {
        limits.max_connections = limits.max_connections.min(MAX_CONNECTIONS);
        let mut sources = Sources::with_capacity(limits.max_connections.min(ROWS_SET_ASIDE));
        let token = sources.next_token();
        let waker = net.waker(token)?;
        // Like the waker, it ends a wait and does nothing else.
        let has_timer = limits.precise_sleep && net.add_timer(token)?;
        let running = sources.insert(Ready::NONE, Source::Waker);
        let (handle, commands) = Handle::new(waker);
        let common = Common::new(&limits);
        let turn = Turn::new(net, limits);
        Ok(Reactor {
            sources,
            sleep: Sleep::new(turn.now, has_timer),
            turn,
            common,
            running,
            leaves_deadlines: false,
            listeners: Vec::new(),
            datagrams: Vec::new(),
            batch: Vec::new(),
            accepting: running,
            backlog: 0,
            lifecycle: Lifecycle::Running,
            cut: 0,
            handle,
            commands,
            output_warning: Notice::default(),
        })
    }

    /// Controls this reactor from another thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Turns until the lifecycle is over, and closes everything.
    pub fn run(&mut self) -> Ending {
        while self.turn() != Lifecycle::Stopped {}
        self.close()
    }

    /// One turn of the loop, as described at the top of this module.
    pub fn turn(&mut self) -> Lifecycle {
        self.turn_by(Time::NEVER)
    }

    /// One turn, whose wait ends at `at` at the latest: for a caller that drives the loop and has
    /// times of its own to keep.
    pub fn turn_by(&mut self, at: Time) -> Lifecycle {
        let (before, spins) = (self.turn.now, self.wait(at));
        self.turn.now = self.turn.net.now();
        let events = self.mark();
        if self.turn.limits.spin > Duration::ZERO {
            self.count_spinning(spins && events == 0, before);
        }
        self.run_queued();
        if self.turn.draining && self.room() > 0 {
            self.wake_limited_listeners();
        }
        if self.turn.pending > self.turn.limits.max_pending_output {
            self.guarded(Reactor::relieve);
        }
        self.obey();
        self.lifecycle.advance(self.turn.now, self.is_idle());
        self.turn.stats.turns += 1;
        self.lifecycle
    }

    /// The time of the last turn.
    pub fn now(&self) -> Time {
        self.turn.now
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.turn.stats
    }

    /// The network below, for tests that play the peers of a simulated one.
    pub fn net_mut(&mut self) -> &mut N {
        &mut self.turn.net
    }

    /// Bytes of pending output, of all connections together.
    pub fn pending_output(&self) -> usize {
        let pending = |(_, connection): (_, &Connection<N>)| connection.pending();
        self.connections().map(pending).sum()
    }

    /// Phases 1 and 2. Returns whether it polled only because a deadline is near.
    fn wait(&mut self, at: Time) -> bool {
        let alarm = self.sources.next_alarm();
        let deadline = alarm.min(self.lifecycle.deadline()).min(at);
        let is_runnable = self.sources.is_runnable();
        let wait = self
            .sleep
            .decide(self.turn.now, is_runnable, deadline, &self.turn.limits);
        if wait.timer < Time::NEVER {
            self.turn.net.set_timer(wait.timer);
        }
        match self.turn.net.wait(wait.timeout) {
            Ok(()) => self.sleep.succeeded(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.rest(&error),
        }
        wait.spins
    }

    /// The selector does not work. Deadlines are still kept, and it may recover.
    #[cold]
    fn rest(&mut self, error: &io::Error) {
        self.turn.stats.wait_errors += 1;
        let (rest, is_first) = self.sleep.failed();
        if is_first {
            warn!("waiting for events failed: {error}; trying again, more and more rarely");
        }
        self.turn.net.pause(rest);
    }

    #[cold]
    fn count_spinning(&mut self, found_nothing: bool, before: Time) {
        if self
            .sleep
            .spun(found_nothing && !self.sources.is_runnable())
        {
            self.turn.stats.spun_nanos += (self.turn.now - before).as_nanos() as u64;
        }
    }

    /// Phase 4. Out of line, as is phase 5: each is a loop over all events and shares no register
    /// with the other.
    #[inline(never)]
    fn mark(&mut self) -> u64 {
        let mut events = 0;
        for event in self.turn.net.events() {
            events += 1;
            trace!("event {} {}", event.token, event.ready);
            if self.sources.mark(event.token, event.ready) == Marked::Stale {
                self.turn.stats.stale_events += 1;
            }
        }
        self.turn.stats.events += events;
        if events > 0 {
            self.sleep.saw_events(self.turn.now);
        }
        self.leaves_deadlines = self.sources.mark_due(self.turn.now, DEADLINE_BUDGET);
        events
    }

    /// Phase 5. A panic costs the source that was running; the others of this turn run all the
    /// same.
    fn run_queued(&mut self) {
        self.sources.begin_turn();
        self.turn.budget = TURN_BUDGET;
        self.guarded(Reactor::run_within_budget);
        if self.sources.has_rest() || self.leaves_deadlines {
            self.turn.stats.turns_cut += 1;
        }
    }

    #[inline(never)]
    fn run_within_budget(&mut self) {
        while self.turn.budget > 0 {
            let Some(token) = self.sources.dequeue() else {
                return;
            };
            self.run_one(token);
        }
    }

    #[inline]
    fn run_one(&mut self, token: Token) {
        self.running = token;
        let Some(entry) = self.sources.enter(token) else {
            return;
        };
        trace!("run {token} {}", entry.ready);
        self.turn.charge(RUN_COST, 0);
        let Source::Connection(connection) = &mut entry.source else {
            return self.run_other(token);
        };
        let outcome = connection.drive(&mut entry.ready, &mut self.turn);
        // After nearly every message the connection waits, and its alarm is set already.
        if outcome == Outcome::Waiting && !connection.take_retimed() {
            return;
        }
        let deadline = connection.deadline(&self.turn);
        self.settle(token, outcome, deadline);
    }

    /// Runs a source that is not a connection.
    #[cold]
    fn run_other(&mut self, token: Token) {
        let Some(entry) = self.sources.get_mut(token) else {
            return;
        };
        match &mut entry.source {
            Source::Connecting(connecting) => {
                let made = connecting.run(&mut entry.ready, &mut self.turn);
                let deadline = connecting.deadline(&self.turn);
                self.follow(token, made, deadline);
            }
            Source::Listener(_) => self.accept_in_line(token),
            Source::Datagram(datagram) => {
                let outcome = datagram.run(&mut entry.ready, &mut self.turn, &mut self.common);
                let deadline = datagram.deadline();
                self.settle(token, outcome, deadline);
            }
            Source::Signals(signals) => {
                let next = || self.turn.net.next_signal(signals);
                let caught: Vec<Signal> = std::iter::from_fn(next).collect();
                caught.into_iter().for_each(|signal| self.heed(signal));
            }
            Source::Connection(_) | Source::Waker => {}
        }
    }

    /// Acts on the outcome of a run.
    fn settle(&mut self, token: Token, outcome: Outcome, deadline: Time) {
        match outcome {
            Outcome::Waiting => self.sources.arm(token, deadline),
            Outcome::More => {
                self.sources.arm(token, deadline);
                self.sources.mark(token, Ready::NONE);
            }
            Outcome::Done(reason) => self.retire(token, reason),
        }
    }

    fn connections(&self) -> impl Iterator<Item = (Token, &Connection<N>)> {
        self.sources
            .iter()
            .filter_map(|(token, entry)| match &entry.source {
                Source::Connection(connection) => Some((token, connection)),
                _ => None,
            })
    }
}

impl<N: Net> fmt::Debug for Reactor<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("lifecycle", &self.lifecycle)
            .field("stats", &self.turn.stats)
            .finish_non_exhaustive()
    }
}
