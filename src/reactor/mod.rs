//! The loop.
//!
//! Owns everything: the sources, the resources they borrow one at a time, the lifecycle. Contains the only wait of the program.
//! Must never run a source while it marks: that is the main trick of the house.
//!
//! ```text
//!  turn:
//!   1  timeout = 0 if anything is runnable, else until the next deadline
//!   2  wait for events                        an interruption is "no events"
//!   3  now = clock                            the only reading of the turn
//!   4  MARK  each event → its source          generation compared, bits set, queued once
//!            each alarm that is due           one more kind of readiness; no I/O, nothing created or destroyed
//!   5  RUN   the sources queued at this point once each, each within its budget
//!            outcome: waiting | more (queued again) | done (retired)
//!   6  commands of handles, then the lifecycle
//! ```
//!
//! Because every event is marked before any source runs, it meets the source it was meant for: a slot that is freed and reused in phase 5 can't be
//! hit by an event of the same batch. The generation defends what outlives a turn.
//!
//! Because a turn runs each source once and within a budget, a peer that floods gets its share and no more; because a source
//! with work left is in the queue, the wait of the next turn does not sleep but still asks the kernel for newcomers.
//!
//! Tests: `tests/simulation.rs` drives this very loop over the simulator.

pub(crate) mod handle;
pub(crate) mod lifecycle;
mod run_queue;
mod sources;
pub mod timer;

use std::fmt;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use log::{debug, info, trace, warn};

use self::handle::{Command, Handle};
use self::lifecycle::{Lifecycle, Step};
use self::sources::{Entry, Marked, Sources};
use crate::datagram::Common;
use crate::datagram::socket::Datagram;
use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::service::{Factory, Service, Shape};
use crate::stream::connecting::{Connecting, Made};
use crate::stream::connection::Connection;
use crate::stream::listener::{Accepted, Listener};
use crate::stream::role::Role;
use crate::values::endpoint::Address;
use crate::values::error::{CloseReason, StartError};
use crate::values::limits::Limits;
use crate::values::ready::Ready;
use crate::values::signal::Signal;
use crate::values::stats::Stats;
use crate::values::time::Time;
use crate::values::token::{MAX_SOURCES, Token};

/// Everything the loop waits for. The connection is the common case and lies in the table itself; the others are few.
#[derive(Debug)]
enum Source<N: Net> {
    Connection(Connection<N>),
    Connecting(Connecting<N>),
    Listener(Box<Listener<N>>),
    Datagram(Box<Datagram<N>>),
    Signals(Box<N::Signals>),
    Waker,
}

/// Slots that are left for everything that is not a connection.
const MAX_CONNECTIONS: usize = MAX_SOURCES - 1024;

/// Rows of the table that are set aside at the start, at most; past these it grows as any vector does.
const ROWS_SET_ASIDE: usize = 64 * 1024;

/// How a reactor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing that was received before the end was lost.
    Clean,
    /// So many conversations were cut.
    Cut(usize),
}

/// A server: bind endpoints, then [`run`](Reactor::run).
pub struct Reactor<N: Net> {
    sources: Sources<Source<N>>,
    turn: Turn<N>,
    common: Common,
    /// The sources that a drain must end beside the connections.
    listeners: Vec<Token>,
    datagrams: Vec<Token>,
    /// Where a listener puts what it accepts; empty between runs.
    batch: Vec<Accepted<N>>,
    backlog: u32,
    lifecycle: Lifecycle,
    /// Conversations that the end of the server cost their peers something.
    cut: usize,
    handle: Handle,
    commands: mpsc::Receiver<Command>,
    /// When there was last an event, for busy polling.
    last_event: Time,
    /// Whether the last wait failed, so that a broken selector is logged once.
    wait_failed: bool,
    /// Whether the last turn did nothing but poll before a deadline.
    was_spinning: bool,
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
        let waker = net.waker(sources.next_token())?;
        sources.insert(Ready::NONE, Source::Waker);
        let (handle, commands) = Handle::new(waker);
        let common = Common::new(&limits);
        let turn = Turn::new(net, limits);
        Ok(Reactor {
            sources,
            last_event: turn.now,
            turn,
            common,
            listeners: Vec::new(),
            datagrams: Vec::new(),
            batch: Vec::new(),
            backlog: 0,
            lifecycle: Lifecycle::Running,
            cut: 0,
            handle,
            commands,
            wait_failed: false,
            was_spinning: false,
        })
    }

    /// Controls this reactor from another thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves streams at `address`, with at most `backlog` connections pending, each by a service that `make` makes. Returns the
    /// address in use, with the port that was chosen where 0 was asked for.
    ///
    /// # Errors
    ///
    /// What was tried, why it failed and what to do.
    pub fn listen(
        &mut self,
        address: &Address,
        backlog: u32,
        make: Factory,
    ) -> Result<Address, StartError> {
        let (socket, bound) = self
            .turn
            .net
            .listen(address, backlog, self.sources.next_token())?;
        let listener = Listener::new(socket, bound.clone(), make);
        self.listeners.push(
            self.sources
                .insert(Ready::NONE, Source::Listener(Box::new(listener))),
        );
        self.backlog = self.backlog.max(backlog);
        Ok(bound)
    }

    /// Serves datagrams at `address` by one service. Returns the address in use.
    ///
    /// # Errors
    ///
    /// What was tried, why it failed and what to do.
    pub fn bind(&mut self, address: &Address, mut make: Factory) -> Result<Address, StartError> {
        let (socket, bound) = self.turn.net.bind(address, self.sources.next_token())?;
        let datagram = Datagram::new(&self.turn.net, socket, bound.clone(), make(Shape::Datagram));
        if let Address::Udp(own) = bound {
            self.common.own.push(own);
        }
        self.datagrams.push(
            self.sources
                .insert(Ready::WRITABLE, Source::Datagram(Box::new(datagram))),
        );
        Ok(bound)
    }

    /// Begins a connection to the stream address `remote`, from `local` where one is given, and drives `service` on it as on any that was
    /// accepted: [`Service::on_open`] when it is made, [`Service::on_close`] with the reason where it is not.
    ///
    /// # Errors
    ///
    /// What was tried, and why it failed at once; the service has then been told nothing.
    pub fn connect(
        &mut self,
        remote: &Address,
        local: Option<&Address>,
        service: Box<dyn Service>,
    ) -> Result<Token, StartError> {
        let stream = self
            .turn
            .net
            .connect(remote, local, self.sources.next_token())?;
        let connecting = Connecting::new(stream, remote.as_peer(), service, self.turn.now);
        let deadline = connecting.deadline(&self.turn);
        let token = self
            .sources
            .insert(Ready::NONE, Source::Connecting(connecting));
        self.sources.arm(token, deadline);
        self.turn.stats.connects += 1;
        debug!("{token} {remote}: connecting");
        Ok(token)
    }

    /// Drives `service` on a datagram socket that talks to `remote` alone, from `local` where one is given. It speaks when it is called: see
    /// [`Handle::wake`].
    ///
    /// # Errors
    ///
    /// What was tried, and why it failed.
    pub fn associate(
        &mut self,
        remote: &Address,
        local: Option<&Address>,
        service: Box<dyn Service>,
    ) -> Result<Token, StartError> {
        let socket = self
            .turn
            .net
            .associate(remote, local, self.sources.next_token())?;
        let datagram =
            Datagram::new(&self.turn.net, socket, remote.clone(), service).to(remote.as_peer());
        let token = self
            .sources
            .insert(Ready::WRITABLE, Source::Datagram(Box::new(datagram)));
        self.datagrams.push(token);
        Ok(token)
    }

    /// From now on SIGTERM and SIGINT begin a drain, and the second of them ends at once.
    ///
    /// # Errors
    ///
    /// The operating system's; `Unsupported` where the crate was built without the feature `cli`.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        let signals = self.turn.net.catch_signals(self.sources.next_token())?;
        self.sources
            .insert(Ready::NONE, Source::Signals(Box::new(signals)));
        Ok(())
    }

    /// Turns until the lifecycle is over, and closes everything.
    pub fn run(&mut self) -> Ending {
        while self.turn() != Lifecycle::Stopped {}
        self.close()
    }

    /// One turn of the loop, as this module's head says.
    pub fn turn(&mut self) -> Lifecycle {
        self.turn_by(Time::NEVER)
    }

    /// One turn, whose wait ends at `at` at the latest: for who drives the loop, and has times of its own to keep.
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
        self.obey();
        self.lifecycle.advance(self.turn.now, self.is_idle());
        self.turn.stats.turns += 1;
        self.lifecycle
    }

    /// Calls [`Service::on_alarm`] of the source that `token` names with the next turn, if it is still there.
    pub fn wake(&mut self, token: Token) {
        let now = self.turn.now;
        match self.sources.get_mut(token).map(|entry| &mut entry.source) {
            Some(Source::Connection(connection)) => connection.alarm_at(now),
            Some(Source::Datagram(datagram)) => datagram.alarm_at(now),
            _ => return,
        }
        self.sources.mark(token, Ready::ALARM);
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

    /// Bytes that all connections together are owed.
    pub fn owed(&self) -> usize {
        self.connections()
            .map(|(_, _, connection)| connection.pending())
            .sum()
    }

    /// Looks for what must never be: a source that could act on a bit that is set, and stands nowhere.
    ///
    /// # Errors
    ///
    /// Names the first such source. O(n); for tests.
    pub fn audit(&self) -> Result<(), String> {
        for (token, entry) in self.sources.iter() {
            let is_runnable = match &entry.source {
                Source::Connection(connection) => connection.is_runnable(entry.ready),
                Source::Connecting(_) => entry.ready.intersects(Ready::WRITABLE | Ready::ALARM),
                Source::Listener(_) | Source::Datagram(_) => {
                    entry.ready.intersects(Ready::READABLE | Ready::ALARM)
                }
                Source::Signals(_) | Source::Waker => false,
            };
            if is_runnable && !entry.is_queued() {
                return Err(format!(
                    "lost edge: {token} {} {:?} is not queued",
                    entry.ready, entry.source
                ));
            }
        }
        let connecting = self
            .sources
            .iter()
            .filter(|(_, entry)| matches!(entry.source, Source::Connecting(_)));
        let live = (self.connections().count() + connecting.count()) as u64;
        if live != self.turn.stats.live() {
            return Err(format!(
                "{live} connections are open, the counters say {}",
                self.turn.stats.live()
            ));
        }
        let (mut pending, mut lingering) = (0, 0);
        for (_, _, connection) in self.connections() {
            pending += connection.pending_memory();
            lingering += usize::from(connection.only_lingers());
        }
        if (pending, lingering) != (self.turn.pending, self.turn.lingering) {
            return Err(format!(
                "{pending} bytes are pending and {lingering} connections linger, \
                 the turn says {} and {}",
                self.turn.pending, self.turn.lingering
            ));
        }
        Ok(())
    }

    /// Phases 1 and 2. Returns whether it did not sleep because a deadline is near, and for no other reason.
    fn wait(&mut self, at: Time) -> bool {
        let deadline = self
            .sources
            .next_alarm()
            .min(self.lifecycle.deadline())
            .min(at);
        let timeout = if self.sources.is_runnable() || self.is_busy_polling() {
            Some(Duration::ZERO)
        } else if deadline == Time::NEVER {
            None
        } else {
            Some(sleep_before(
                deadline - self.turn.now,
                self.turn.limits.spin,
            ))
        };
        let spins = self.turn.limits.spin > Duration::ZERO
            && !self.sources.is_runnable()
            && timeout == Some(Duration::ZERO);
        let result = self.turn.net.wait(timeout);
        let failed = result
            .as_ref()
            .is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        if failed {
            self.turn.stats.wait_errors += 1;
        }
        if let (true, false, Err(error)) = (failed, self.wait_failed, result) {
            warn!("waiting for events failed: {error}; going on");
        }
        self.wait_failed = failed;
        spins
    }

    /// Counts the time of a poll for nothing behind another one. That of the first is left out: work may have gone before it in the same turn.
    #[cold]
    fn count_spinning(&mut self, found_nothing: bool, before: Time) {
        let is_idle = found_nothing && !self.sources.is_runnable();
        if std::mem::replace(&mut self.was_spinning, is_idle) && is_idle {
            self.turn.stats.spun_nanos += (self.turn.now - before).as_nanos() as u64;
        }
    }

    fn is_busy_polling(&self) -> bool {
        self.turn
            .limits
            .busy_poll
            .is_some_and(|busy| self.turn.now < self.last_event + busy)
    }

    /// Phase 4. Out of line, as is phase 5: each is a loop over all events, and shares no register with the other.
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
            self.last_event = self.turn.now;
        }
        self.sources.mark_due(self.turn.now);
        events
    }

    /// Phase 5.
    #[inline(never)]
    fn run_queued(&mut self) {
        self.sources.begin_turn();
        while let Some(token) = self.sources.dequeue() {
            self.run_one(token);
        }
    }

    #[inline]
    fn run_one(&mut self, token: Token) {
        let Some(entry) = self.sources.enter(token) else {
            return;
        };
        trace!("run {token} {}", entry.ready);
        let Source::Connection(connection) = &mut entry.source else {
            return self.run_other(token);
        };
        let outcome = connection.drive(&mut entry.ready, &mut self.turn);
        let deadline = connection.deadline(&self.turn);
        // What nearly every message comes to: the connection waits, and its alarm is set already.
        if outcome == Outcome::Waiting && entry.is_armed_for(deadline) {
            return;
        }
        self.settle(token, outcome, deadline);
    }

    /// Runs a source that is not a connection.
    #[cold]
    fn run_other(&mut self, token: Token) {
        let room = self.room();
        let Some(entry) = self.sources.get_mut(token) else {
            return;
        };
        let turn = &mut self.turn;
        let (outcome, deadline) = match &mut entry.source {
            Source::Connecting(connecting) => {
                let made = connecting.run(&mut entry.ready, turn);
                let deadline = connecting.deadline(turn);
                return self.follow(token, made, deadline);
            }
            Source::Listener(listener) => (
                listener.accept(&mut entry.ready, turn, room, &mut self.batch),
                listener.deadline(),
            ),
            Source::Datagram(datagram) => (
                datagram.run(&mut entry.ready, turn, &mut self.common),
                datagram.deadline(),
            ),
            Source::Signals(signals) => {
                let mut caught = Vec::new();
                while let Some(signal) = turn.net.next_signal(signals) {
                    caught.push(signal);
                }
                caught.into_iter().for_each(|signal| self.heed(signal));
                return;
            }
            Source::Connection(_) | Source::Waker => return,
        };
        self.settle(token, outcome, deadline);
        self.adopt();
    }

    /// Connections that may still be accepted. While draining, one that only lingers does not count.
    fn room(&self) -> usize {
        let lingering = match self.turn.draining {
            true => self.turn.lingering,
            false => 0,
        };
        let counted = (self.turn.stats.live() as usize).saturating_sub(lingering);
        self.turn.limits.max_connections.saturating_sub(counted)
    }

    /// Files a connection of ours by what has become of it. A made one takes the row, and keeps the token.
    fn follow(&mut self, token: Token, made: Made, deadline: Time) {
        let outcome = match made {
            Made::Yes => {
                let now = self.turn.now;
                self.sources
                    .replace(token, Source::Waker, |source| match source {
                        Source::Connecting(connecting) => {
                            Source::Connection(connecting.into_connection(now))
                        }
                        source => source,
                    });
                return self.open(token);
            }
            Made::NotYet => Outcome::Waiting,
            Made::Again => Outcome::More,
            Made::Failed(reason) => Outcome::Done(reason),
        };
        self.settle(token, outcome, deadline);
    }

    /// Files a source by the outcome of its run.
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

    /// Makes sources of what was accepted.
    fn adopt(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for Accepted {
            mut stream,
            peer,
            service,
        } in batch.drain(..)
        {
            let token = self.sources.next_token();
            if let Err(error) = self.turn.net.register(&mut stream, token) {
                self.turn.stats.unregistered += 1;
                warn!("{peer}: cannot register: {error}; closed");
                self.turn.net.close(stream);
                continue;
            }
            debug!("{token} {peer}: accepted");
            let connection = Connection::new(stream, peer, service, Role::Server, self.turn.now);
            // Fresh sockets take bytes, and whatever has arrived already gives an event once they are registered.
            self.sources
                .insert(Ready::WRITABLE, Source::Connection(connection));
            self.turn.stats.accepted += 1;
            self.open(token);
        }
        self.batch = batch;
    }

    fn open(&mut self, token: Token) {
        let Some(entry) = self.sources.get_mut(token) else {
            return;
        };
        let Source::Connection(connection) = &mut entry.source else {
            return;
        };
        let outcome = connection.open(&mut entry.ready, &mut self.turn);
        let deadline = connection.deadline(&self.turn);
        self.settle(token, outcome, deadline);
    }

    /// Ends a source, and lets listeners that wait for a slot or a descriptor know.
    fn retire(&mut self, token: Token, reason: CloseReason) {
        match self.sources.remove(token) {
            Some(Source::Connection(connection)) => {
                self.turn.stats.closed.count(reason);
                self.cut += usize::from(connection.is_cut_by(reason, &self.turn));
                debug!("{token} {}: closed: {reason}", connection.peer());
                connection.close(&mut self.turn, reason);
            }
            Some(Source::Connecting(connecting)) => {
                self.turn.stats.closed.count(reason);
                self.cut += usize::from(reason == CloseReason::Cut);
                debug!("{token} {}: closed: {reason}", connecting.peer());
                connecting.close(&mut self.turn, reason);
            }
            Some(Source::Listener(listener)) => {
                debug!("{token} {}: no longer listening", listener.address());
                self.cut += listener.close(&mut self.turn);
                self.listeners.retain(|other| *other != token);
            }
            Some(Source::Datagram(datagram)) => {
                debug!("{token} {}: no longer receiving", datagram.address());
                datagram.close(&mut self.turn.net);
                self.datagrams.retain(|other| *other != token);
            }
            Some(Source::Signals(_) | Source::Waker) | None => {}
        }
        self.wake_parked_listeners();
    }

    /// Freeing a descriptor gives no event: without this, a listener out of descriptors would sleep beside a free one.
    fn wake_parked_listeners(&mut self) {
        for index in 0..self.listeners.len() {
            let token = self.listeners[index];
            if let Some(Entry {
                source: Source::Listener(listener),
                ..
            }) = self.sources.get_mut(token)
            {
                if listener.wake() {
                    self.sources.mark(token, Ready::READABLE);
                }
            }
        }
    }

    /// A connection that begins to linger during a drain makes room, and nothing else tells of it.
    #[cold]
    fn wake_limited_listeners(&mut self) {
        for token in self.listeners.clone() {
            if let Some(Entry {
                source: Source::Listener(listener),
                ..
            }) = self.sources.get_mut(token)
            {
                if listener.is_limited() && listener.wake() {
                    self.sources.mark(token, Ready::READABLE);
                }
            }
        }
    }

    /// Phase 6: what handles asked for.
    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Terminate => self.terminate(),
                Command::Stop => {
                    self.lifecycle.stop();
                }
                Command::Wake(token) => self.wake(token),
                Command::Stats(sender) => {
                    // Whoever asked may have given up; then nobody is waiting for the answer.
                    let _ = sender.send(self.turn.stats.clone());
                }
            }
        }
    }

    fn heed(&mut self, signal: Signal) {
        match signal {
            Signal::Terminate => self.terminate(),
            Signal::Reload => info!("SIGHUP: there is no configuration file to read again"),
            Signal::Report => info!("{}", self.turn.stats),
        }
    }

    fn terminate(&mut self) {
        match self
            .lifecycle
            .terminate(self.turn.now, self.turn.limits.drain_timeout)
        {
            Step::DrainBegins => self.begin_drain(),
            Step::StopsNow => info!("stopping at once"),
        }
    }

    /// Makes every source look once more at what stands in the kernel, with the end in mind.
    fn begin_drain(&mut self) {
        info!("draining: {} connections are open", self.turn.stats.live());
        self.turn.draining = true;
        for token in self.sources.tokens() {
            let Some(entry) = self.sources.get_mut(token) else {
                continue;
            };
            let look = match &mut entry.source {
                Source::Connection(_) => Ready::ALARM,
                Source::Listener(listener) => {
                    listener.drain(self.backlog);
                    Ready::READABLE
                }
                Source::Datagram(datagram) => {
                    datagram.drain(self.turn.now);
                    Ready::READABLE
                }
                Source::Connecting(_) | Source::Signals(_) | Source::Waker => continue,
            };
            self.sources.mark(token, look);
        }
    }

    /// Whether a drain has nothing left to wait for.
    fn is_idle(&self) -> bool {
        self.listeners.is_empty() && self.datagrams.is_empty() && self.turn.stats.live() == 0
    }

    /// Closes what is left and says how much was cut off.
    fn close(&mut self) -> Ending {
        for token in self.sources.tokens() {
            let Some(entry) = self.sources.get_mut(token) else {
                continue;
            };
            let reason = match &mut entry.source {
                Source::Connection(connection) => {
                    connection.last_look(&mut entry.ready, &mut self.turn)
                }
                Source::Connecting(_) => CloseReason::Cut,
                Source::Datagram(datagram) => {
                    self.cut += usize::from(datagram.owed() > 0);
                    CloseReason::Drained
                }
                _ => CloseReason::Drained,
            };
            self.retire(token, reason);
        }
        // Handles find nobody from now on: who asks gets "none" at once, not silence.
        self.commands = mpsc::channel().1;
        info!("stopped: {}", self.turn.stats);
        if self.cut == 0 {
            return Ending::Clean;
        }
        warn!("{} conversations were cut", self.cut);
        Ending::Cut(self.cut)
    }

    fn connections(&self) -> impl Iterator<Item = (Token, Ready, &Connection<N>)> {
        self.sources
            .iter()
            .filter_map(|(token, entry)| match &entry.source {
                Source::Connection(connection) => Some((token, entry.ready, connection)),
                _ => None,
            })
    }
}

/// How long to sleep with so much left to a deadline: whole milliseconds, which is what the selector takes, and no longer than up to `spin` before it.
fn sleep_before(left: Duration, spin: Duration) -> Duration {
    match spin {
        Duration::ZERO => left,
        spin => Duration::from_millis(left.saturating_sub(spin).as_millis() as u64),
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
