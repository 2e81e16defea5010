//! How a connection ends when the loop ends it: deadlines, the end of a drain, the close itself.
//!
//! Owns what is done about an expired deadline, and the judgement of what a peer loses. All of it
//! is rare and kept away from the hot path.

use super::Connection;
use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::service::Service;
use crate::stream::deadlines::Expired;
use crate::stream::halves::{Rx, Tx};
use crate::stream::transport::Flow;
use crate::values::error::CloseReason;
use crate::values::ready::Ready;
use crate::values::time::Time;

impl<N: Net> Connection<N> {
    /// Runs the connection for an alarm. It tries the socket before it acts on a deadline.
    #[cold]
    pub(super) fn drive_alarmed(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Outcome {
        ready.remove(Ready::ALARM);
        self.try_drive_alarmed(ready, turn)
            .unwrap_or_else(Outcome::Done)
    }

    fn try_drive_alarmed(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<Outcome> {
        self.line.is_retimed = true;
        // The service's alarm does not depend on the peer. The socket need not be tried first, and
        // a flood must not delay the alarm.
        if self.line.alarm <= turn.now && self.halves.has_service() {
            self.line.alarm = Time::NEVER;
            self.call_aside(ready, turn, &mut |service, cx| service.on_alarm(cx))?;
        }
        let is_due = self.deadlines(turn).expired(turn.now).is_some();
        if is_due {
            *ready |= Ready::READABLE | Ready::WRITABLE;
        }
        let outcome = self.exchange(ready, turn)?;
        if outcome != Outcome::Waiting || !is_due {
            return Ok(outcome);
        }
        self.watch_kernel(turn);
        if let Some(expired) = self.deadlines(turn).expired(turn.now) {
            self.expire(expired, ready, turn)?;
            return self.exchange(ready, turn);
        }
        Ok(Outcome::Waiting)
    }

    /// Counts what the peer has taken from the kernel's buffer as progress, on systems that report
    /// it.
    fn watch_kernel(&mut self, turn: &mut Turn<N>) {
        if self.line.outbox.is_empty() {
            return;
        }
        let unsent = turn.net.unsent(&self.line.stream).unwrap_or(0);
        if self.line.outbox.watch(unsent, turn.now) {
            self.line.moved = turn.now;
        }
    }

    /// Acts on a deadline that has passed while the socket made no progress.
    fn expire(&mut self, expired: Expired, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        match expired {
            Expired::Linger => Err(self.halves.ended().unwrap_or(CloseReason::Finished)),
            Expired::Write => Err(CloseReason::WriteTimeout),
            Expired::Idle if !self.line.outbox.is_empty() => Err(CloseReason::IdleTimeout),
            Expired::Idle => self.ask_to_finish(ready, turn, CloseReason::IdleTimeout),
            Expired::Quiet => self.ask_to_finish(ready, turn, CloseReason::Drained),
        }
    }

    /// The loop wants to finish for `reason`; the service decides. One that goes on is asked again
    /// when the next deadline has passed.
    fn ask_to_finish(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        reason: CloseReason,
    ) -> Flow<()> {
        self.line.moved = turn.now;
        self.call_aside(ready, turn, &mut |service, cx| {
            service.on_finish(cx, reason)
        })
    }

    /// Whether closing now takes something from the peer that we had for it.
    pub(crate) fn has_pending(&self) -> bool {
        let held = self.halves.tx == Tx::Open && self.service.pending() > 0;
        held || !self.line.outbox.is_empty()
    }

    /// Whether a close for `reason` during a drain cuts the conversation short. The peer's own
    /// reset does not: the peer chose to lose what it loses.
    pub(crate) fn is_cut_by(&self, reason: CloseReason, turn: &Turn<N>) -> bool {
        reason == CloseReason::Cut || turn.draining && reason.is_ours() && self.has_pending()
    }

    /// The end of a drain: looks at the socket once more, lets the service say goodbye, and returns
    /// the reason to close the connection for. It is [`CloseReason::Cut`] if the peer loses
    /// something by it: pending output, or input that we have not read.
    #[cold]
    pub(crate) fn last_look(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> CloseReason {
        match self.halves.ended() {
            Some(reason) if self.halves.only_lingers() => reason,
            _ => self
                .try_last_look(ready, turn)
                .unwrap_or_else(|reason| reason),
        }
    }

    /// Whether the kernel still holds output because the peer does not take it. It goes on sending
    /// after a close, but anything that the peer sends then ends that with a reset.
    pub(crate) fn has_untaken(&self, turn: &Turn<N>) -> bool {
        turn.net.is_stuck(&self.line.stream)
    }

    fn try_last_look(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<CloseReason> {
        *ready |= Ready::READABLE | Ready::WRITABLE;
        if let Outcome::Done(reason) = self.exchange(ready, turn)? {
            return Ok(reason);
        }
        if self.has_unread_input(*ready, turn) {
            return Ok(CloseReason::Cut);
        }
        if self.line.outbox.is_empty() && self.halves.has_service() {
            self.ask_to_finish(ready, turn, CloseReason::Drained)?;
        }
        Ok(match (self.has_pending(), self.halves.ended()) {
            (true, _) => CloseReason::Cut,
            (false, Some(reason)) => reason,
            (false, None) => CloseReason::Drained,
        })
    }

    /// Whether input stands in the socket that the service has not seen. Looking takes a byte of
    /// it, so this is for the end.
    fn has_unread_input(&mut self, ready: Ready, turn: &mut Turn<N>) -> bool {
        if self.halves.rx != Rx::Open || !ready.contains(Ready::READABLE) {
            return false;
        }
        let one = &mut turn.buffer[..1];
        turn.net
            .read(&mut self.line.stream, one)
            .is_ok_and(|count| count > 0)
    }

    /// Ends the connection: with a reset if the peer could otherwise take an end of stream for the
    /// end of everything that it was to get.
    pub(crate) fn close(self, turn: &mut Turn<N>, reason: CloseReason) {
        let resets = reason.is_abortive()
            || !self.line.outbox.is_empty()
            || matches!(self.halves.tx, Tx::Broken(_));
        self.dispose(turn, resets).on_close(reason);
    }

    /// Resets the connection without another call of its service, which has panicked.
    #[cold]
    pub(crate) fn abandon(self, turn: &mut Turn<N>) {
        drop(self.dispose(turn, true));
    }

    /// Gives back the socket and whatever the turn counts of this connection.
    fn dispose(mut self, turn: &mut Turn<N>, resets: bool) -> Box<dyn Service> {
        self.line.outbox.release(&mut turn.pending);
        turn.pending -= self.line.kept as usize;
        turn.lingering -= usize::from(self.halves.only_lingers());
        match resets {
            true => turn.net.abort(self.line.stream),
            false => turn.net.close(self.line.stream),
        }
        self.service
    }
}
