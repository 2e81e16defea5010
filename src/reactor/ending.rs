//! How sources are removed: one that is over, a drain, the end of the server.
//!
//! Owns the only way out for a source, and the count of conversations that were cut. It must never
//! close a socket before it has decided whether the peer loses something.

use log::{debug, info, warn};

use super::Reactor;
use super::handle::Handle;
use super::lifecycle::Step;
use super::source::Source;
use crate::net::Net;
use crate::stream::connection::Connection;
use crate::values::counted::Counted;
use crate::values::error::CloseReason;
use crate::values::limits::TURN_BUDGET;
use crate::values::ready::Ready;
use crate::values::time::Time;
use crate::values::token::Token;

/// How a reactor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing that was received before the end was lost.
    Clean,
    /// This many conversations were cut.
    Cut(usize),
}

impl<N: Net> Reactor<N> {
    /// Removes a source, and wakes listeners that wait for a slot or a descriptor.
    pub(super) fn retire(&mut self, token: Token, reason: CloseReason) {
        self.running = token;
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
                self.listeners.retain(|other| *other != token);
                self.cut += listener.close(&mut self.turn);
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

    /// Ends a connection whose service panicked: the service is not called again.
    #[cold]
    pub(super) fn abandon(&mut self, token: Token) {
        let source = self.sources.remove(token);
        if let Some(Source::Connection(_) | Source::Connecting(_)) = &source {
            self.turn.stats.closed.count(CloseReason::Panicked);
            debug!("{token}: closed: {}", CloseReason::Panicked);
        }
        match source {
            Some(Source::Connection(connection)) => connection.abandon(&mut self.turn),
            Some(Source::Connecting(connecting)) => connecting.abandon(&mut self.turn),
            _ => {}
        }
        self.wake_parked_listeners();
    }

    /// Phase 6: resets the connections whose output has been stalled the longest, until all of it
    /// together is well below the limit again. The slack makes the search, which looks at every
    /// connection, rare.
    #[cold]
    pub(super) fn relieve(&mut self) {
        let limit = self.turn.limits.max_pending_output;
        let stalled = |(token, connection): (Token, &Connection<N>)| {
            let since = connection.stalled_since();
            (since < Time::NEVER).then_some((since, token))
        };
        let mut stalled: Vec<(Time, Token)> = self.connections().filter_map(stalled).collect();
        stalled.sort_unstable();
        for (_, token) in stalled {
            if self.turn.pending <= limit - limit / 16 {
                break;
            }
            self.retire(token, CloseReason::OutputLimit);
        }
        if let Some(unsaid) = self.output_warning.happened(self.turn.now) {
            warn!(
                "pending output reached its limit of {limit} bytes; reset the connections that \
                 had been stalled the longest{unsaid}"
            );
        }
    }

    /// A request to end: the first begins a drain, the second stops at once.
    pub(super) fn terminate(&mut self) {
        match self
            .lifecycle
            .terminate(self.turn.now, self.turn.limits.drain_timeout)
        {
            Step::DrainBegins => self.begin_drain(),
            Step::StopsNow => info!("stopping at once"),
        }
    }

    /// Runs every source once more, so that each handles what the kernel already holds for it.
    fn begin_drain(&mut self) {
        let live = Counted(self.turn.stats.live(), "connection");
        info!("draining: {live} open");
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
    pub(super) fn is_idle(&self) -> bool {
        let is_closed = self.listeners.is_empty() && self.datagrams.is_empty();
        is_closed && self.turn.stats.live() == 0
    }

    /// Closes what is left and returns how much was cut.
    pub(super) fn close(&mut self) -> Ending {
        self.guarded(Reactor::close_sources);
        // Nothing answers handles from now on. A request for the counters gets `None` at once
        // instead of waiting for ever.
        self.commands = Handle::silence();
        info!("stopped: {}", self.turn.stats);
        if self.cut == 0 {
            return Ending::Clean;
        }
        warn!("cut {}", Counted(self.cut as u64, "conversation"));
        Ending::Cut(self.cut)
    }

    /// Connections go first: each of them frees a descriptor, with which a listener can count its
    /// waiting clients.
    fn close_sources(&mut self) {
        for token in self.sources.tokens() {
            self.close_conversation(token);
        }
        for token in self.sources.tokens() {
            self.retire(token, CloseReason::Drained);
        }
    }

    /// Closes a conversation after a last look at its socket. It counts as cut only if the peer
    /// loses something.
    fn close_conversation(&mut self, token: Token) {
        self.running = token;
        let Some(entry) = self.sources.get_mut(token) else {
            return;
        };
        let reason = match &mut entry.source {
            Source::Connection(connection) => {
                let reason = connection.last_look(&mut entry.ready, &mut self.turn);
                if reason != CloseReason::Cut && connection.has_untaken(&self.turn) {
                    self.turn.stats.untaken += 1;
                    self.cut += 1;
                }
                reason
            }
            Source::Connecting(_) => CloseReason::Cut,
            Source::Datagram(datagram) => {
                self.turn.budget = TURN_BUDGET;
                let (ready, common) = (&mut entry.ready, &mut self.common);
                let is_cut = datagram.last_look(ready, &mut self.turn, common);
                self.cut += usize::from(is_cut);
                CloseReason::Drained
            }
            Source::Listener(_) | Source::Signals(_) | Source::Waker => return,
        };
        self.retire(token, reason);
    }
}
