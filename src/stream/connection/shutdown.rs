//! How each half of a connection ends while the connection runs.
//!
//! Owns the steps at the peer's end of stream, at our own, at a failed write, and the linger after
//! it. It must never send an end of stream before all pending output has left.

use super::Connection;
use crate::net::Net;
use crate::net::turn::Turn;
use crate::stream::halves::{Event, Rx, Tx};
use crate::stream::role::Role;
use crate::stream::transport::{Flow, uninterrupted};
use crate::values::error::CloseReason;
use crate::values::limits::READ_BUFFER;
use crate::values::ready::Ready;
use crate::values::time::Time;

impl<N: Net> Connection<N> {
    /// The peer has ended its side.
    #[cold]
    pub(super) fn receive_end(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<usize> {
        ready.remove(Ready::READABLE);
        // A failed write has taken the socket's error, so a read of 0 after it is not an end of
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

    /// Reads once, at most `budget` bytes, and discards them.
    #[cold]
    pub(super) fn discard(
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

    /// While reading is paused, nothing else would notice an error: a dead peer would hold its slot
    /// until a timeout. A client that holds its input will read later, and an error now would cost
    /// it its unread input.
    #[cold]
    pub(super) fn heed_error(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        if self.line.role == Role::Client && self.halves.rx == Rx::Open {
            return Ok(());
        }
        ready.remove(Ready::ERROR);
        match uninterrupted(|| turn.net.take_error(&mut self.line.stream)) {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(self.line.role.meaning(&error)),
        }
    }

    /// Ends the conversation: sends pending output, then our end of stream, and discards input.
    #[cold]
    pub(super) fn finish(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        reason: CloseReason,
    ) -> Flow<()> {
        self.line.alarm = Time::NEVER;
        self.line.holds = false;
        // After a half-close, the linger begins now.
        self.line.moved = turn.now;
        self.end_output(ready, turn, Event::Finish(reason))
    }

    /// Sends pending output, then our end of stream.
    pub(super) fn end_output(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        event: Event,
    ) -> Flow<()> {
        self.step(event, turn);
        self.send_end(ready, turn)
    }

    /// Sends our end of stream if it is due: the last pending byte has left.
    pub(super) fn send_end(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        if !matches!(self.halves.tx, Tx::Finishing(_)) || !self.line.outbox.is_empty() {
            return Ok(());
        }
        // After the peer's end of stream there is nothing to linger for. This run closes the
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

    /// Nothing can be sent any more. A server closes the connection. A client first reads what the
    /// peer sent before it went (`tests/connect.rs`).
    #[cold]
    pub(super) fn fail_output(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        reason: CloseReason,
    ) -> Flow<()> {
        if !self.line.role.reads_after(reason) || self.halves.rx != Rx::Open {
            return Err(reason);
        }
        // A Unix peer may have closed only its reading side, and may wait for our end of stream.
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
        // The event for unread input may have come long ago.
        *ready |= Ready::READABLE;
        Ok(())
    }

    /// Changes the halves, and keeps the count of those that only linger.
    pub(super) fn step(&mut self, event: Event, turn: &mut Turn<N>) {
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
