//! One stream connection: two halves, and the bytes between them.
//!
//! Owns the socket, the service, the pending output, and everything that happens to a half. It must
//! never wait, never read from a peer that has pending output (in the server role), and never send
//! an end of stream before all pending output has left.
//!
//! This file is the path of the bytes: read, call the service, write. `connection/shutdown.rs` ends
//! a half, `connection/status.rs` answers the loop's questions, and `connection/ending.rs` acts on
//! deadlines and closes. Beside it, `halves.rs` has the states, `deadlines.rs` the deadlines,
//! `transport.rs` the service's way to the socket, and `role.rs` what differs between a server and
//! a client.
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
//! **Edges.** Only a result of a system call clears a bit of [`Ready`]. `WouldBlock` always does. A
//! short read does if the socket re-arms on it ([`Net::short_read_drains`]) *and* the event did not
//! also say read-closed, error or priority: an end of stream or an urgent mark that was already
//! queued after the bytes gives no event of its own (`tests/kernel_facts.rs`). The rule saves a
//! third of all system calls of a ping-pong.
//!
//! **Deadlines.** An alarm alone never closes a connection: the connection tries the socket first.
//! After SIGSTOP and SIGCONT, or after a full batch of events, the socket may hold bytes that no
//! event has announced.

mod ending;
mod shutdown;
mod status;

use std::fmt;

use super::halves::{Event, Halves, Rx, Tx};
use super::role::Role;
use super::transport::{Flow, Line, StreamTransport, settle_read};
use crate::net::Net;
use crate::net::turn::{Outcome, Turn};
use crate::service::{Action, Context, Service};
use crate::stream::outbox::{self, Outbox};
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
    /// Whether the service has more to send once the outbox is empty.
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

    /// Opens the service, which may send first.
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

    /// Writes before it reads, reads while no output is pending, and stops at the budget. A service
    /// that had more to send than there was room for is called once a turn, so one outbox is its
    /// budget.
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
            // The case after nearly every message: it was answered, and nothing is left to do.
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

    /// Whether input is wanted now: by the service, or by the linger within its bound.
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

    /// Whether to call the service for more output: the outbox is empty. If the socket took
    /// everything at once, no event announces that.
    #[inline]
    fn may_speak(&self) -> bool {
        self.has_more && self.line.outbox.is_empty() && self.halves.tx == Tx::Open
    }

    /// Calls the service for more output. It is out of line, like everything that an echo does not
    /// need: inlined, it would cost registers for every message.
    #[cold]
    fn speak(&mut self, ready: &mut Ready, turn: &mut Turn<N>) -> Flow<()> {
        self.has_more = false;
        self.call_aside(ready, turn, &mut |service, cx| service.on_writable(cx))
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

    /// Reads once, at most `size` bytes, into the shared buffer. Returns how many bytes came. 0
    /// means that there are none now, or that the peer has ended its side; that case has been
    /// handled then.
    #[inline(always)]
    fn receive(&mut self, ready: &mut Ready, turn: &mut Turn<N>, size: usize) -> Flow<usize> {
        match turn
            .net
            .read(&mut self.line.stream, &mut turn.buffer[..size])
        {
            Ok(0) => self.receive_end(ready, turn),
            Ok(count) => {
                // An end or a mark after these bytes gives no second event, so reading must go on
                // to `Ok(0)` or an error.
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

    /// Calls the service for anything but input, and notes whether it holds output afterwards.
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

    /// Calls the service, and acts on its answer.
    #[inline]
    fn call(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        event: impl FnOnce(&mut dyn Service, &mut Context<'_>, &[u8]) -> Action,
    ) -> Flow<()> {
        let mut transport = StreamTransport {
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
            &mut Context::new(turn.now, &self.peer, &mut transport),
            &turn.buffer,
        );
        let failed = transport.failed;
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
