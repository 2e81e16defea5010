//! One stream connection: two halves, and the bytes between them.
//!
//! Owns the socket, the service, what the peer is owed, and everything that changes a half. Must never wait, never read from who is
//! owed (save where it is we who ask), and never tell a peer "end of stream" before all that it was owed has left.
//!
//! ```text
//!             what we receive (Rx)                         what we send (Tx)
//!
//!                                                 Connecting ── made ──▶ Open, when we began it
//!
//!   Open ──────────── end of stream ──▶ Eof      Open ── finish ──▶ Finishing ── all sent ──▶ Finished
//!     │                                  ▲            half-close    (flush)     (FIN)
//!     └── finish ──▶ Lingering ──────────┘
//!                    (read, discard)
//!
//!            │ Open                   Finishing                     Finished
//!  ──────────┼─────────────────────────────────────────────────────────────────────────────
//!  Open      │ serve                  flush, serve                  serve what is told
//!  Lingering │ -                      flush, discard input          discard until its end,
//!            │                                                      LINGER_BYTES, LINGER_TIME
//!  Eof       │ serve what is pulled   flush                         done
//! ```
//!
//! A finish takes both halves along, so the pair marked `-` does not occur; a half-close ends our half alone. Why discard at all: closing a socket with unread input makes the
//! kernel send a reset, and a reset destroys what the peer has not read yet (RFC 1122, 4.2.2.13; `tests/reply_then_close.rs`).
//!
//! **Edges.** A bit of [`Ready`] is cleared only by an answer of the socket. `WouldBlock` always is one. A short read is one where
//! the selector re-arms on it ([`Net::short_read_drains`]) *and* the event did not also say read-closed or error: an end of stream that
//! already stood behind the bytes gives no event of its own (`tests/kernel_facts.rs`). It saves a third of all system calls of a ping-pong.
//!
//! **Deadlines.** An alarm never closes a connection on the clock's word alone: it makes the connection ask the socket first. After
//! the process was stopped and continued, or under a full batch of events, bytes may stand there that we have not heard of.

use std::fmt;
use std::io;

use super::wire::{Flow, Line, StreamWire, settle_read, uninterrupted};
use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::service::{Action, Context, Service};
use crate::stream::outbox::{self, Outbox};
use crate::values::error::CloseReason;
use crate::values::limits::{DRAIN_QUIET, LINGER_BYTES, LINGER_TIME, READ_BUDGET, READ_BUFFER};
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::time::Time;

/// The receiving half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rx {
    /// Input goes to the service.
    Open,
    /// Our side has finished; input is thrown away, up to `left` bytes.
    Lingering { left: u32 },
    /// The peer has ended its side.
    Eof,
}

/// The sending half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tx {
    /// The connection is being made; the input is held until it is.
    Connecting,
    /// The service may speak.
    Open,
    /// What is owed is sent, and nothing is added.
    Finishing(CloseReason),
    /// Our end of stream is on its way.
    Finished(CloseReason),
}

/// A connected stream and its conversation.
pub(crate) struct Connection<N: Net> {
    line: Line<N>,
    service: Box<dyn Service>,
    peer: Peer,
    /// Whether the service has more to say once all that it said has left.
    has_more: bool,
    rx: Rx,
    tx: Tx,
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
        now: Time,
    ) -> Connection<N> {
        let line = Line {
            stream,
            outbox: Outbox::default(),
            progress: now,
            alarm: Time::NEVER,
            is_held: false,
            asks: false,
        };
        Connection {
            line,
            service,
            peer,
            has_more: false,
            rx: Rx::Open,
            tx: Tx::Open,
        }
    }

    /// A connection that we began.
    pub(crate) fn connecting(
        stream: N::Stream,
        peer: Peer,
        service: Box<dyn Service>,
        now: Time,
    ) -> Connection<N> {
        let mut connection = Connection::new(stream, peer, service, now);
        connection.tx = Tx::Connecting;
        connection.line.is_held = true;
        connection.line.asks = true;
        connection
    }

    /// Lets the service speak first.
    pub(crate) fn open(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Outcome {
        let opened = self.call(ready, turn, |service, cx, _| service.on_open(cx));
        opened
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

    /// When this connection wants to be called although nothing happened.
    #[inline]
    pub(crate) fn deadline(&self, turn: &Turn<N>) -> Time {
        let Tx::Open = self.tx else {
            return self.closing_deadline(turn);
        };
        let mut at = self.idle_deadline(turn).min(self.line.alarm);
        if !self.line.outbox.is_empty() {
            at = at.min(self.write_deadline(turn));
        } else if turn.draining {
            at = at.min(self.line.progress + DRAIN_QUIET);
        }
        at
    }

    /// Ends the connection: with a reset where the peer would otherwise take an end of stream for the end of what it was owed.
    pub(crate) fn close(mut self, net: &mut N, reason: CloseReason) {
        self.service.on_close(reason);
        if reason.is_abortive() || !self.line.outbox.is_empty() {
            net.abort(self.line.stream);
        } else {
            net.close(self.line.stream);
        }
    }

    pub(crate) fn stalled_since(&self) -> Time {
        self.line.outbox.stalled_since()
    }

    pub(crate) fn last_look(&mut self, _ready: &mut Ready, _turn: &mut Turn<N>) -> CloseReason {
        self.finished().unwrap_or(CloseReason::Cut)
    }

    pub(crate) fn abandon(self, turn: &mut Turn<N>) {
        turn.net.abort(self.line.stream);
    }

    /// Makes the service's alarm due.
    pub(crate) fn alarm_at(&mut self, at: Time) {
        if self.has_service() {
            self.line.alarm = at;
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Why the connection is ending, once our end of stream has been sent: a cut then cuts nothing.
    pub(crate) fn finished(&self) -> Option<CloseReason> {
        match self.tx {
            Tx::Finished(reason) => Some(reason),
            Tx::Connecting | Tx::Open | Tx::Finishing(_) => None,
        }
    }

    /// Whether one of the bits that are set could be acted on: such a source must stand in the run queue, or it is lost.
    pub(crate) fn is_runnable(&self, ready: Ready) -> bool {
        let reads = self.may_read() && ready.contains(Ready::READABLE);
        reads
            || self.may_speak()
            || !self.line.outbox.is_empty() && ready.contains(Ready::WRITABLE)
            || ready.contains(Ready::ALARM)
    }

    /// Bytes owed to the peer.
    pub(crate) fn owed(&self) -> usize {
        self.line.outbox.len()
    }

    /// The alarm's way in: asks the socket before it believes the clock.
    #[cold]
    fn drive_alarmed(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Outcome {
        ready.remove(Ready::ALARM);
        self.try_drive_alarmed(ready, turn)
            .unwrap_or_else(Outcome::Done)
    }

    fn try_drive_alarmed(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<Outcome> {
        // The service's alarm is no verdict on the peer: there is nothing to ask the socket first, and a flood must not put it off.
        if self.line.alarm <= turn.now && self.has_service() {
            self.line.alarm = Time::NEVER;
            self.call(ready, turn, |service, cx, _| service.on_alarm(cx))?;
        }
        let is_due = self.deadline(turn) <= turn.now;
        if is_due {
            *ready |= Ready::READABLE | Ready::WRITABLE;
        }
        let outcome = self.exchange(ready, turn)?;
        if outcome != Outcome::Waiting || !is_due || self.deadline(turn) > turn.now {
            return Ok(outcome);
        }
        self.expire(ready, turn)?;
        self.exchange(ready, turn)
    }

    /// Writes before it reads, reads while nothing is owed, stops at the budget. A service that has more to say than there was room for is asked
    /// for it once a turn, and so has a budget as well: what the outbox holds.
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
        }
        // With reading stopped nobody else would notice an error, and a hung-up peer would be waited for until a timeout. Where who asks only
        // rests, it would lose what it has not read.
        if ready.contains(Ready::ERROR) && !self.may_read() && !self.is_resting() {
            ready.remove(Ready::ERROR);
            self.take_error(turn)?;
        }
        match self.tx {
            Tx::Finished(reason) if self.is_input_over() => Ok(Outcome::Done(reason)),
            Tx::Connecting => self.establish(ready, turn),
            _ if self.may_speak() => {
                turn.stats.yields += 1;
                Ok(Outcome::More)
            }
            _ => Ok(Outcome::Waiting),
        }
    }

    /// Asks whether the connection is made, once the selector has said something of it.
    #[cold]
    fn establish(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<Outcome> {
        if !ready.contains(Ready::WRITABLE) {
            return Ok(Outcome::Waiting);
        }
        match turn.net.is_connected(&mut self.line.stream) {
            Ok(true) => {
                self.set_tx(Tx::Open);
                self.line.is_held = false;
                self.line.progress = turn.now;
                self.call(ready, turn, |service, cx, _| service.on_open(cx))?;
                self.exchange(ready, turn)
            }
            Ok(false) => {
                ready.remove(Ready::WRITABLE);
                Ok(Outcome::Waiting)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Outcome::More),
            Err(error) => Err(CloseReason::of_error(&error)),
        }
    }

    /// Who is owed is not read from, and a lingering peer is read from only so far. Who asks reads on: where both sides waited for the other to
    /// take what it is owed, both would wait for ever (`tests/connect.rs`).
    #[inline]
    fn may_read(&self) -> bool {
        match self.rx {
            Rx::Open => (self.line.outbox.is_empty() || self.line.asks) && !self.line.is_held,
            Rx::Lingering { left } => left > 0,
            Rx::Eof => false,
        }
    }

    /// Whether it asked, and has no room for the answer now.
    #[cold]
    fn is_resting(&self) -> bool {
        self.line.asks && self.rx == Rx::Open && self.tx != Tx::Connecting
    }

    /// Whether nothing more is to be read, ever.
    #[cold]
    fn is_input_over(&self) -> bool {
        match self.rx {
            Rx::Open => false,
            Rx::Lingering { left } => left == 0,
            Rx::Eof => true,
        }
    }

    /// Whether the service still hears or speaks.
    fn has_service(&self) -> bool {
        (self.rx == Rx::Open || self.tx == Tx::Open) && self.tx != Tx::Connecting
    }

    /// Whether the service is to be asked for more: all that it said has left. Where the socket took it at once, no event will tell.
    #[inline]
    fn may_speak(&self) -> bool {
        self.has_more && self.line.outbox.is_empty() && self.tx == Tx::Open
    }

    /// Asks the service for more. Kept out of line, as is whatever an echo does not need: it would cost every message registers.
    #[cold]
    fn speak(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        self.has_more = false;
        self.call(ready, turn, |service, cx, _| service.on_writable(cx))
    }

    /// Reads once, at most `budget` bytes, and lets the service answer. Returns what is left of the budget.
    #[inline]
    fn read(&mut self, ready: &mut Ready, turn: &mut Turn<N>, budget: usize) -> Flow<usize> {
        if let Rx::Lingering { left } = self.rx {
            return self.discard(ready, turn, budget, left);
        }
        let count = self.receive(ready, turn, budget.min(READ_BUFFER))?;
        if count > 0 {
            turn.stats.bytes_in += count as u64;
            self.line.progress = turn.now;
            self.call(ready, turn, |service, cx, buffer| {
                service.on_data(cx, &buffer[..count])
            })?;
        }
        Ok(budget - count)
    }

    /// Reads once, at most `budget` bytes, and throws them away.
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
            self.set_rx(Rx::Lingering {
                left: left - count as u32,
            });
        }
        Ok(budget - count)
    }

    /// Reads once, `size` bytes at the most, to the beginning of the shared buffer. Returns how many came: 0 where there are none now, and where
    /// the peer has ended its side, which has been dealt with then.
    #[inline(always)]
    fn receive(&mut self, ready: &mut Ready, turn: &mut Turn<N>, size: usize) -> Flow<usize> {
        match turn
            .net
            .read(&mut self.line.stream, &mut turn.buffer[..size])
        {
            Ok(0) => self.receive_end(ready, turn),
            Ok(count) => {
                // Read-closed or an error behind these bytes gives no second event: then only `Ok(0)` or an error may end the reading.
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
        // Behind a failed write, which took the socket's error, nothing is an end of stream any more.
        let is_broken =
            matches!(self.tx, Tx::Finished(reason) if reason != CloseReason::PeerClosed);
        let is_heard = self.rx == Rx::Open && !is_broken;
        self.set_rx(Rx::Eof);
        if is_heard {
            self.call(ready, turn, |service, cx, _| service.on_eof(cx))?;
        }
        if !self.has_service() {
            self.line.alarm = Time::NEVER;
        }
        Ok(0)
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
            is_mute: self.tx != Tx::Open,
            failed: None,
        };
        let action = event(
            &mut *self.service,
            &mut Context::new(turn.now, &self.peer, &mut wire),
            &turn.buffer,
        );
        if let Some(reason) = wire.failed {
            return self.fail_output(ready, turn, reason);
        }
        self.has_more |= action == Action::More;
        match action {
            Action::Continue | Action::More => Ok(()),
            Action::Finish(CloseReason::Finished) if self.rx == Rx::Eof => {
                self.finish(ready, turn, CloseReason::PeerClosed)
            }
            Action::Finish(reason) => self.finish(ready, turn, reason),
            Action::HalfClose => self.half_close(ready, turn),
            Action::Abort(reason) => Err(reason),
        }
    }

    /// Sends what is owed until it is gone or refused.
    #[inline(never)]
    fn flush(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
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
                self.line.outbox.sent(count, turn.now);
                self.line.progress = turn.now;
                turn.stats.bytes_out += count as u64;
            }
        }
        match self.tx {
            Tx::Finishing(reason) if self.line.outbox.is_empty() => {
                self.send_end(ready, turn, reason)
            }
            _ => Ok(()),
        }
    }

    /// No more is said and no more is heard: what is owed goes out, then our end of stream.
    #[cold]
    fn finish(&mut self, ready: &mut Ready, turn: &mut Turn<N>, reason: CloseReason) -> Flow<()> {
        if self.rx == Rx::Open {
            self.set_rx(Rx::Lingering {
                left: LINGER_BYTES as u32,
            });
        }
        self.line.alarm = Time::NEVER;
        match self.tx {
            Tx::Open => self.end_output(ready, turn, reason),
            // A half-close went before: the linger begins now.
            Tx::Connecting | Tx::Finishing(_) | Tx::Finished(_) => {
                self.line.progress = turn.now;
                Ok(())
            }
        }
    }

    /// No more is said; what the peer says is heard to its end.
    #[cold]
    fn half_close(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        match self.tx {
            Tx::Open => self.end_output(ready, turn, CloseReason::PeerClosed),
            Tx::Connecting | Tx::Finishing(_) | Tx::Finished(_) => Ok(()),
        }
    }

    /// What is owed goes out, then our end of stream.
    fn end_output(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        reason: CloseReason,
    ) -> Flow<()> {
        self.set_tx(Tx::Finishing(reason));
        if self.line.outbox.is_empty() {
            self.send_end(ready, turn, reason)
        } else {
            Ok(())
        }
    }

    fn send_end(&mut self, ready: &mut Ready, turn: &mut Turn<N>, reason: CloseReason) -> Flow<()> {
        // Where the peer has ended its side there is nothing to linger for: this run ends the connection, and close sends the same end of stream
        // with one system call less.
        if self.rx != Rx::Eof {
            if let Err(error) = uninterrupted(|| turn.net.finish(&mut self.line.stream)) {
                let reason = self.line.verdict(&error);
                return self.fail_output(ready, turn, reason);
            }
        }
        self.set_tx(Tx::Finished(reason));
        self.line.progress = turn.now;
        Ok(())
    }

    /// Nothing can be sent any more. For who answers that is the end; who asks, and whose peer has gone, goes on to read what it said before
    /// (`tests/connect.rs`). After any other error the peer may still be there, and wait for us.
    #[cold]
    fn fail_output(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        reason: CloseReason,
    ) -> Flow<()> {
        let has_gone = matches!(reason, CloseReason::PeerClosed | CloseReason::Reset);
        if !self.line.asks || self.rx != Rx::Open || !has_gone {
            return Err(reason);
        }
        // A Unix peer may have closed its reading side alone, and wait for our end.
        match uninterrupted(|| turn.net.finish(&mut self.line.stream)) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => return Err(reason),
            _ => {}
        }
        self.line.outbox = Outbox::default();
        if self.tx == Tx::Open {
            self.set_tx(Tx::Finishing(reason));
        }
        self.set_tx(Tx::Finished(reason));
        self.line.progress = turn.now;
        // What stands there may have been announced long ago.
        *ready |= Ready::READABLE;
        Ok(())
    }

    fn take_error(&mut self, turn: &mut Turn<N>) -> Flow<()> {
        match uninterrupted(|| turn.net.take_error(&mut self.line.stream)) {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(self.line.verdict(&error)),
        }
    }

    /// A deadline has passed, and the socket had nothing to say against it.
    fn expire(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        if self.tx == Tx::Connecting {
            return Err(CloseReason::TimedOut);
        }
        if let (Tx::Finished(reason), Rx::Lingering { .. } | Rx::Eof) = (self.tx, self.rx) {
            return Err(reason);
        }
        if self.write_deadline(turn) <= turn.now {
            return Err(CloseReason::WriteTimeout);
        }
        if self.idle_deadline(turn) <= turn.now {
            return if self.line.outbox.is_empty() {
                self.finish(ready, turn, CloseReason::IdleTimeout)
            } else {
                Err(CloseReason::IdleTimeout)
            };
        }
        if turn.draining && self.line.outbox.is_empty() && self.has_service() {
            return self.finish(ready, turn, CloseReason::Drained);
        }
        Ok(())
    }

    #[inline]
    fn idle_deadline(&self, turn: &Turn<N>) -> Time {
        self.line.progress.after(turn.limits.idle_timeout)
    }

    fn write_deadline(&self, turn: &Turn<N>) -> Time {
        self.line
            .outbox
            .stalled_since()
            .after(turn.limits.write_timeout)
    }

    #[cold]
    fn closing_deadline(&self, turn: &Turn<N>) -> Time {
        match (self.rx, self.tx) {
            (_, Tx::Connecting) => self.line.progress.after(turn.limits.connect_timeout),
            (Rx::Open, Tx::Finished(_)) => {
                let drained = if turn.draining {
                    self.line.progress + DRAIN_QUIET
                } else {
                    Time::NEVER
                };
                self.idle_deadline(turn).min(self.line.alarm).min(drained)
            }
            (_, Tx::Finished(_)) => self.line.progress + LINGER_TIME,
            (_, Tx::Open | Tx::Finishing(_)) => self
                .idle_deadline(turn)
                .min(self.write_deadline(turn))
                .min(self.line.alarm),
        }
    }

    /// The only door through which the receiving half changes.
    fn set_rx(&mut self, rx: Rx) {
        debug_assert!(
            matches!(
                (self.rx, rx),
                (Rx::Open, _) | (Rx::Lingering { .. }, Rx::Lingering { .. } | Rx::Eof)
            ) && self.rx != rx,
            "the receiving half cannot go from {:?} to {rx:?}",
            self.rx
        );
        self.rx = rx;
    }

    /// The only door through which the sending half changes.
    fn set_tx(&mut self, tx: Tx) {
        debug_assert!(
            matches!(
                (self.tx, tx),
                (Tx::Connecting, Tx::Open)
                    | (Tx::Open, Tx::Finishing(_))
                    | (Tx::Finishing(_), Tx::Finished(_))
            ),
            "the sending half cannot go from {:?} to {tx:?}",
            self.tx
        );
        debug_assert!(
            tx == Tx::Open || matches!(tx, Tx::Finishing(_)) || self.line.outbox.is_empty(),
            "an end of stream before all was sent"
        );
        self.tx = tx;
    }
}

impl<N: Net> fmt::Debug for Connection<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?}/{:?}, {} bytes owed",
            self.peer,
            self.rx,
            self.tx,
            self.owed()
        )
    }
}
