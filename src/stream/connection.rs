//! One stream connection: two halves, and the bytes between them.
//!
//! Owns the socket, the service, the pending output, and everything that happens to a half. It must
//! never wait, never read from a peer that has pending output (in the server role), and never send
//! an end of stream before all pending output has left.
//!
//! The states are in `halves.rs`, the deadlines in `deadlines.rs`, the service's way to the socket
//! in `wire.rs`, and what differs between a server and a client in `role.rs`.
//!
//! ```text
//!   drive ─▶ exchange ─▶ flush        pending output first
//!               │  ▲────▶ speak       the service asked to say more
//!               └──┴────▶ read ─▶ call ─▶ service ─▶ send
//! ```
//!
//! **Why discard input** after our end of stream: closing a socket with unread input makes the
//! kernel send a reset, and a reset destroys what the peer has not read yet (RFC 1122, 4.2.2.13;
//! `tests/reply_then_close.rs`).
//!
//! **Edges.** A bit of [`Ready`] is cleared only by an answer of the socket. `WouldBlock` always is
//! one. A short read is one if the socket re-arms on it ([`Net::short_read_drains`]) *and* the
//! event did not also say read-closed, error or priority: an end of stream or an urgent mark that
//! already stood behind the bytes gives no event of its own (`tests/kernel_facts.rs`). The rule
//! saves a third of all system calls of a ping-pong.
//!
//! **Deadlines.** An alarm never closes a connection on the clock's word alone: the connection asks
//! the socket first. After the process was stopped and continued, or under a full batch of events,
//! bytes may stand there that we have not heard of.

mod ending;

use std::fmt;

use super::deadlines::{Deadlines, Stall};
use super::halves::{Event, Halves, Rx, Tx};
use super::role::Role;
use super::wire::{Flow, Line, StreamWire, settle_read, uninterrupted};
use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::service::{Action, Context, Service};
use crate::stream::outbox::{self, Outbox};
use crate::values::error::CloseReason;
use crate::values::limits::{MORE_COST, READ_BUDGET, READ_BUFFER};
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::time::Time;

/// A connected stream and its conversation.
pub(crate) struct Connection<N: Net> {
    line: Line<N>,
    service: Box<dyn Service>,
    peer: Peer,
    halves: Halves,
    /// Whether the service has more to say once all that it said has left.
    has_more: bool,
}

const _: () = assert!(
    READ_BUFFER <= outbox::LIMIT,
    "an echo of a full read must fit into the outbox"
);

impl<N: Net> Connection<N> {
    pub(crate) fn new(
        stream: N::Stream,
        peer: Peer,
        service: Box<dyn Service>,
        role: Role,
        now: Time,
    ) -> Connection<N> {
        let line = Line {
            stream,
            outbox: Outbox::default(),
            moved: now,
            alarm: Time::NEVER,
            role,
            is_held: false,
            holds: false,
            kept: 0,
            is_retimed: true,
        };
        Connection {
            line,
            service,
            peer,
            halves: Halves::OPEN,
            has_more: false,
        }
    }

    /// Lets the service speak first.
    pub(crate) fn open(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Outcome {
        self.call_aside(ready, turn, &mut |service, cx| service.on_open(cx))
            .and_then(|()| self.exchange(ready, turn))
            .unwrap_or_else(Outcome::Done)
    }

    /// Does what can be done now, within one turn's budget.
    #[inline]
    pub(crate) fn drive(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Outcome {
        if ready.contains(Ready::ALARM) {
            return self.drive_alarmed(ready, turn);
        }
        self.exchange(ready, turn).unwrap_or_else(Outcome::Done)
    }

    /// Whether [`deadline`](Connection::deadline) may be nearer than it was when this was last
    /// asked.
    #[inline]
    pub(crate) fn take_retimed(&mut self) -> bool {
        // What the service holds may go with any call, so the loop keeps asking.
        std::mem::replace(&mut self.line.is_retimed, self.line.holds)
    }

    /// When this connection wants to be called although nothing happened.
    pub(crate) fn deadline(&self, turn: &Turn<N>) -> Time {
        self.deadlines(turn).next()
    }

    #[inline(always)]
    fn deadlines<'a>(&self, turn: &'a Turn<N>) -> Deadlines<'a> {
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

    /// Makes the service's alarm due.
    pub(crate) fn alarm_at(&mut self, at: Time) {
        if self.halves.has_service() {
            self.line.alarm = at;
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether one of the bits that are set could be acted on: such a source must stand in the run
    /// queue, or it is lost.
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

    /// Writes before it reads, reads while no output is pending, stops at the budget. A service
    /// that has more to say than there was room for is asked for it once a turn, and so has a
    /// budget as well: what the outbox holds.
    #[inline]
    fn exchange(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<Outcome> {
        let mut budget = READ_BUDGET;
        let mut asked = false;
        loop {
            if !self.line.outbox.is_empty() {
                self.flush(ready, turn)?;
            }
            if self.may_speak() && !asked {
                asked = true;
                self.speak(ready, turn)?;
                continue;
            }
            if !ready.contains(Ready::READABLE) || !self.may_read() {
                break;
            }
            if budget == 0 {
                turn.stats.yields += 1;
                return Ok(Outcome::More);
            }
            budget = self.read(ready, turn, budget)?;
            // After nearly every message: it was answered, and nothing is left to do or to look at.
            if !self.line.is_retimed && !ready.intersects(Ready::READABLE | Ready::ERROR) {
                return Ok(Outcome::Waiting);
            }
        }
        if ready.contains(Ready::ERROR) && !self.may_read() {
            self.heed_error(ready, turn)?;
        }
        match self.halves.ended() {
            Some(reason) if self.halves.is_input_over() => Ok(Outcome::Done(reason)),
            _ if self.may_speak() => {
                turn.stats.yields += 1;
                Ok(Outcome::More)
            }
            _ => Ok(Outcome::Waiting),
        }
    }

    /// Whether there is somebody to take input now: the service, or the linger within its bound.
    #[inline]
    fn may_read(&self) -> bool {
        match self.halves.rx {
            Rx::Open => {
                let has_way = self.line.outbox.is_empty() || self.line.role.reads_while_pending();
                has_way && !self.line.is_held
            }
            Rx::Lingering { left } => left > 0,
            Rx::Eof => false,
        }
    }

    /// Whether to ask the service for more: all that it said has left. If the socket took it at
    /// once, no event will tell.
    #[inline]
    fn may_speak(&self) -> bool {
        self.has_more && self.line.outbox.is_empty() && self.halves.tx == Tx::Open
    }

    /// Asks the service for more. Kept out of line, as everything that an echo does not need: it
    /// would cost registers for every message.
    #[cold]
    fn speak(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        self.has_more = false;
        self.call_aside(ready, turn, &mut |service, cx| service.on_writable(cx))
    }

    /// While reading is paused, nothing else would notice an error: a dead peer would hold its slot
    /// until a timeout. A client that holds its input back will read on, and the error would cost
    /// it what it has not read.
    #[cold]
    fn heed_error(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        if self.line.role == Role::Client && self.halves.rx == Rx::Open {
            return Ok(());
        }
        ready.remove(Ready::ERROR);
        match uninterrupted(|| turn.net.take_error(&mut self.line.stream)) {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(self.line.role.meaning(&error)),
        }
    }

    /// Reads once, at most `budget` bytes, and lets the service answer. Returns what is left of the
    /// budget.
    #[inline]
    fn read(&mut self, ready: &mut Ready, turn: &mut Turn<N>, budget: usize) -> Flow<usize> {
        if let Rx::Lingering { left } = self.halves.rx {
            return self.discard(ready, turn, budget, left);
        }
        let count = self.receive(ready, turn, budget.min(READ_BUFFER))?;
        if count > 0 {
            turn.stats.bytes_in += count as u64;
            turn.charge(0, count);
            self.line.moved = turn.now;
            self.call(ready, turn, |service, cx, buffer| {
                service.on_data(cx, &buffer[..count])
            })?;
            if self.line.is_retimed {
                self.note_held(turn);
            }
        }
        Ok(budget - count)
    }

    /// Reads once, at most `budget` bytes, and discards them.
    #[cold]
    fn discard(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        budget: usize,
        left: u32,
    ) -> Flow<usize> {
        let count = self.receive(ready, turn, budget.min(left as usize).min(READ_BUFFER))?;
        if count > 0 {
            turn.stats.bytes_lingered += count as u64;
            turn.charge(0, count);
            self.step(Event::Discarded(count as u32), turn);
        }
        Ok(budget - count)
    }

    /// Reads once, at most `size` bytes, to the beginning of the shared buffer. Returns how many
    /// came: 0 if there are none now, and if the peer has ended its side, which has been dealt with
    /// then.
    #[inline(always)]
    fn receive(&mut self, ready: &mut Ready, turn: &mut Turn<N>, size: usize) -> Flow<usize> {
        match turn
            .net
            .read(&mut self.line.stream, &mut turn.buffer[..size])
        {
            Ok(0) => self.receive_end(ready, turn),
            Ok(count) => {
                // What stands behind these bytes gives no second event: then only `Ok(0)` or an
                // error may end the reading.
                if count < size
                    && turn.net.short_read_drains(&self.line.stream)
                    && !ready.intersects(Ready::READ_CLOSED | Ready::ERROR | Ready::PRIORITY)
                {
                    ready.remove(Ready::READABLE);
                }
                Ok(count)
            }
            Err(error) => settle_read(&error, ready),
        }
    }

    /// The peer has ended its side.
    #[cold]
    fn receive_end(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<usize> {
        ready.remove(Ready::READABLE);
        // A failed write took the socket's error, so what a read says behind it is no end of
        // stream.
        let is_heard = self.halves.rx == Rx::Open && !matches!(self.halves.tx, Tx::Broken(_));
        self.step(Event::PeerEnded, turn);
        if is_heard {
            self.call_aside(ready, turn, &mut |service, cx| service.on_eof(cx))?;
        }
        if !self.halves.has_service() {
            self.line.alarm = Time::NEVER;
        }
        Ok(0)
    }

    /// Calls the service for anything but input, and notes whether it holds output now.
    #[cold]
    fn call_aside(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        event: &mut dyn FnMut(&mut dyn Service, &mut Context<'_>) -> Action,
    ) -> Flow<()> {
        self.call(ready, turn, |service, cx, _| event(service, cx))?;
        self.note_held(turn);
        Ok(())
    }

    #[cold]
    fn note_held(&mut self, turn: &mut Turn<N>) {
        self.line.is_retimed = true;
        self.line.holds = self.halves.tx == Tx::Open && self.service.pending() > 0;
        let kept = u32::try_from(self.service.memory()).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut self.line.kept, kept);
        turn.pending = turn.pending + kept as usize - before as usize;
        turn.check_pending();
    }

    /// Calls the service, and does what it asks for.
    #[inline]
    fn call(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        event: impl FnOnce(&mut dyn Service, &mut Context<'_>, &[u8]) -> Action,
    ) -> Flow<()> {
        let mut wire = StreamWire {
            net: &mut turn.net,
            stats: &mut turn.stats,
            now: turn.now,
            line: &mut self.line,
            ready,
            is_mute: self.halves.tx != Tx::Open,
            failed: None,
        };
        let action = event(
            &mut *self.service,
            &mut Context::new(turn.now, &self.peer, &mut wire),
            &turn.buffer,
        );
        let failed = wire.failed;
        if !self.line.outbox.is_empty() {
            self.account(turn);
        }
        if let Some(reason) = failed {
            return self.fail_output(ready, turn, reason);
        }
        match action {
            Action::Continue => Ok(()),
            action => self.obey(action, ready, turn),
        }
    }

    /// Brings the account of all pending output up to date.
    #[cold]
    fn account(&mut self, turn: &mut Turn<N>) {
        self.line.outbox.settle(&mut turn.pending);
        turn.check_pending();
    }

    #[cold]
    fn obey(&mut self, action: Action, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        self.line.is_retimed = true;
        match action {
            Action::Continue => Ok(()),
            Action::More => {
                turn.charge(MORE_COST, 0);
                self.has_more = true;
                Ok(())
            }
            Action::Finish(reason) => self.finish(ready, turn, reason),
            Action::HalfClose => self.end_output(ready, turn, Event::HalfClose),
            Action::Abort(reason) => {
                self.step(Event::Broke(reason), turn);
                Err(reason)
            }
        }
    }

    /// Sends pending output until it is gone or refused.
    #[inline(never)]
    fn flush(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        self.line.is_retimed = true;
        while ready.contains(Ready::WRITABLE) && !self.line.outbox.is_empty() {
            let pending = self.line.outbox.pending();
            let size = pending.len();
            let written = turn.net.write(&mut self.line.stream, pending);
            let count = match self.line.settle_write(
                written,
                size,
                ready,
                turn.net.short_write_fills(&self.line.stream),
            ) {
                Ok(count) => count,
                Err(reason) => return self.fail_output(ready, turn, reason),
            };
            if count > 0 {
                let outbox = &mut self.line.outbox;
                outbox.sent(count, turn.now, &mut turn.pending);
                self.line.moved = turn.now;
                turn.stats.bytes_out += count as u64;
            }
        }
        self.send_end(ready, turn)
    }

    /// Nothing more is said and nothing more is heard: pending output goes out, then our end of
    /// stream.
    #[cold]
    fn finish(&mut self, ready: &mut Ready, turn: &mut Turn<N>, reason: CloseReason) -> Flow<()> {
        self.line.alarm = Time::NEVER;
        self.line.holds = false;
        // After a half-close, the linger begins now.
        self.line.moved = turn.now;
        self.end_output(ready, turn, Event::Finish(reason))
    }

    /// Pending output goes out, then our end of stream.
    fn end_output(&mut self, ready: &mut Ready, turn: &mut Turn<N>, event: Event) -> Flow<()> {
        self.step(event, turn);
        self.send_end(ready, turn)
    }

    /// Sends our end of stream if it is due: the last pending byte has left.
    fn send_end(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        if !matches!(self.halves.tx, Tx::Finishing(_)) || !self.line.outbox.is_empty() {
            return Ok(());
        }
        // Behind the peer's end of stream there is nothing to linger for: this run ends the
        // connection, and close sends the same end of stream with one system call less.
        if self.halves.rx != Rx::Eof {
            if let Err(error) = uninterrupted(|| turn.net.finish(&mut self.line.stream)) {
                let reason = self.line.role.meaning(&error);
                return self.fail_output(ready, turn, reason);
            }
        }
        self.step(Event::EndSent, turn);
        self.line.moved = turn.now;
        Ok(())
    }

    /// Nothing can be sent any more. For a server that is the end. A client whose peer has gone
    /// reads what the peer said before (`tests/connect.rs`).
    #[cold]
    fn fail_output(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        reason: CloseReason,
    ) -> Flow<()> {
        if !self.line.role.reads_after(reason) || self.halves.rx != Rx::Open {
            return Err(reason);
        }
        // A Unix peer may have closed its reading side alone, and wait for our end.
        match uninterrupted(|| turn.net.finish(&mut self.line.stream)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotConnected => return Err(reason),
            _ => {}
        }
        self.line.outbox.release(&mut turn.pending);
        let event = match reason {
            CloseReason::PeerClosed => Event::Unwanted,
            reason => Event::Broke(reason),
        };
        self.step(event, turn);
        self.line.moved = turn.now;
        // What stands there may have been announced long ago.
        *ready |= Ready::READABLE;
        Ok(())
    }

    /// Changes the halves, and keeps the count of those that only linger.
    fn step(&mut self, event: Event, turn: &mut Turn<N>) {
        self.line.is_retimed = true;
        let only_lingered = self.halves.only_lingers();
        self.halves.take(event);
        turn.lingering += usize::from(self.halves.only_lingers() && !only_lingered);
        debug_assert!(
            !matches!(self.halves.tx, Tx::Finished(_)) || self.line.outbox.is_empty(),
            "an end of stream before all was sent"
        );
    }
}

impl<N: Net> fmt::Debug for Connection<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Halves { rx, tx } = self.halves;
        write!(
            f,
            "{} {rx:?}/{tx:?}, {} bytes pending",
            self.peer,
            self.pending()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sim::SimNet;

    /// A simulated stream is a number of eight bytes, the size of a real one in a release build.
    /// With its row in the table (16 bytes) and its entry in the heap of alarms (16) that makes
    /// 128.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection<SimNet>>() <= 96);
    }
}
