//! What the loop asks of a connection between two runs, and the accounts behind the answers.
//!
//! Owns the connection's deadline and its share of the memory that all pending output uses. It must
//! never touch the socket.

use super::Connection;
use crate::net::Net;
use crate::net::turn::Turn;
use crate::stream::deadlines::{Deadlines, Stall};
use crate::stream::halves::Tx;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::time::Time;

impl<N: Net> Connection<N> {
    /// Whether [`deadline`](Connection::deadline) may be nearer than it was when this was last
    /// asked.
    #[inline]
    pub(crate) fn take_retimed(&mut self) -> bool {
        // Any call may release what the service holds, so the loop keeps asking.
        std::mem::replace(&mut self.line.is_retimed, self.line.holds)
    }

    /// When the loop must run this connection even if no event comes.
    pub(crate) fn deadline(&self, turn: &Turn<N>) -> Time {
        self.deadlines(turn).next()
    }

    #[inline(always)]
    pub(super) fn deadlines<'a>(&self, turn: &'a Turn<N>) -> Deadlines<'a> {
        let outbox = &self.line.outbox;
        let stall = (!outbox.is_empty()).then(|| Stall {
            since: outbox.stalled_since(),
            is_watched: outbox.is_watched(),
        });
        Deadlines {
            limits: &turn.limits,
            draining: turn.draining,
            halves: self.halves,
            moved: self.line.moved,
            alarm: self.line.alarm,
            stall,
            holds: self.line.holds,
        }
    }

    /// Sets the service's alarm.
    pub(crate) fn alarm_at(&mut self, at: Time) {
        if self.halves.has_service() {
            self.line.alarm = at;
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the connection could act on one of the bits that are set. Such a source must be in
    /// the run queue, or it is lost.
    pub(crate) fn is_runnable(&self, ready: Ready) -> bool {
        let reads = self.may_read() && ready.contains(Ready::READABLE);
        reads
            || self.may_speak()
            || !self.line.outbox.is_empty() && ready.contains(Ready::WRITABLE)
            || ready.contains(Ready::ALARM)
    }

    /// Bytes in the outbox.
    pub(crate) fn pending(&self) -> usize {
        self.line.outbox.len()
    }

    /// Bytes of memory that the outbox holds: what [`Turn::pending`] must count for this
    /// connection.
    pub(crate) fn pending_memory(&self) -> usize {
        self.line.outbox.memory() + self.line.kept as usize
    }

    /// Since when the outbox has made no progress; [`Time::NEVER`] while it is empty.
    pub(crate) fn stalled_since(&self) -> Time {
        match self.line.kept {
            0 => self.line.outbox.stalled_since(),
            _ => self.line.outbox.stalled_since().min(self.line.moved),
        }
    }

    /// Whether [`Turn::lingering`] counts this connection.
    pub(crate) fn only_lingers(&self) -> bool {
        self.halves.only_lingers()
    }

    #[cold]
    pub(super) fn note_held(&mut self, turn: &mut Turn<N>) {
        self.line.is_retimed = true;
        self.line.holds = self.halves.tx == Tx::Open && self.service.pending() > 0;
        let kept = u32::try_from(self.service.memory()).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut self.line.kept, kept);
        turn.pending = turn.pending + kept as usize - before as usize;
        turn.check_pending();
    }

    /// Updates the account of all pending output.
    #[cold]
    pub(super) fn account(&mut self, turn: &mut Turn<N>) {
        self.line.outbox.settle(&mut turn.pending);
        turn.check_pending();
    }
}
