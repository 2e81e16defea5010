//! The simulated selector: the clock, the events and the errors.
//!
//! Owns when the reactor learns of what happened, and which call fails. It must never lose an event
//! that the contract of [`Net`](crate::net::Net) promises: it may only deliver it late.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Selector, SimNet};
use crate::net::{Event, Wake};
use crate::values::ready::Ready;
use crate::values::token::Token;

/// Set from any thread; the next wait sees it.
#[derive(Debug, Default)]
pub(super) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// What the trace tells apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Wait = 1,
    Accept,
    Connect,
    Read,
    Write,
    Finish,
    Close,
    Abort,
    Receive,
    Send,
    Fault,
}

impl SimNet {
    /// Folds a call and its answer into the trace.
    pub(super) fn note(&mut self, call: Call, answer: usize) {
        self.trace = (self.trace ^ call as u64 ^ ((answer as u64) << 8))
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(17);
    }

    /// A call that may fail: with an interruption, or with one of `errors`.
    pub(super) fn fault(&mut self, errors: &[i32]) -> io::Result<()> {
        if self.dice.once_in(self.conditions.interruptions) {
            return Err(io::Error::from_raw_os_error(libc::EINTR));
        }
        self.failure(errors)
    }

    /// A call that no signal interrupts, but that may fail with one of `errors`.
    pub(super) fn failure(&mut self, errors: &[i32]) -> io::Result<()> {
        if self.dice.once_in(self.conditions.faults) {
            let code = errors[self.dice.below(errors.len())];
            self.note(Call::Fault, code as usize);
            return Err(io::Error::from_raw_os_error(code));
        }
        Ok(())
    }

    /// The name of a connection from now on.
    pub(super) fn name_stream(&mut self, number: usize, token: Token) {
        assert!(
            self.streams.insert(token, number).is_none(),
            "{token} was the name of another connection: its late events would reach this one"
        );
        self.tokens.push(token);
        self.connections[number].token = Some(token);
    }

    /// Whether a transfer that took less than it was asked for re-arms the selector. A mark may end
    /// a read on a Unix stream, and nothing in the event tells.
    pub(super) fn rearms_when_short(&self, number: usize) -> bool {
        self.conditions.selector == Selector::Edge && !self.connections[number].is_unix
    }

    /// Announces readiness of a connection, if it is registered.
    pub(super) fn announce(&mut self, number: usize, ready: Ready) {
        if let Some(token) = self.connections[number].token {
            self.pending.push(Event::new(token, ready));
        }
    }

    /// Bytes have arrived for the server: this is news to a reader that is armed.
    pub(super) fn announce_input(&mut self, number: usize) {
        if std::mem::replace(&mut self.connections[number].read_armed, false) {
            self.announce(number, Ready::READABLE);
        }
    }

    /// An end of stream, a reset or an urgent byte has arrived. An edge-triggered selector
    /// announces it to every reader; one that re-arms on `WouldBlock` announces it to a reader that
    /// is armed.
    pub(super) fn announce_exception(&mut self, number: usize) {
        let was_armed = std::mem::replace(&mut self.connections[number].read_armed, false);
        if was_armed || self.conditions.selector == Selector::Edge {
            self.announce(number, Ready::READABLE);
        }
        let connection = &mut self.connections[number];
        if connection.peer_reset && std::mem::replace(&mut connection.write_armed, false) {
            self.announce(number, Ready::WRITABLE);
        }
    }

    /// Arms the reader of a connection. A selector that re-arms looks at what is there. For an
    /// edge-triggered one what is there is no longer news.
    pub(super) fn arm_reader(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.read_armed = true;
        let is_ready =
            !connection.inbound.is_empty() || connection.peer_finished || connection.peer_reset;
        if is_ready && self.conditions.selector == Selector::Rearm {
            self.announce_input(number);
        }
    }

    pub(super) fn wait_for_events(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        if self.dice.once_in(self.conditions.jumps) {
            self.advance(Duration::from_secs(60));
        }
        self.fault(&[libc::EINTR, libc::EBADF])?;
        self.announce_wake();
        self.announce_room();
        self.deliver_events(timeout != Some(Duration::ZERO));
        self.is_blocked = timeout.is_none() && self.events.is_empty() && self.pending.is_empty();
        let step = self.conditions.step;
        let longest = timeout.unwrap_or(step).min(step);
        let briefly = Duration::from_nanos(1 + self.dice.below(50_000) as u64);
        self.advance(if self.events.is_empty() {
            longest.max(briefly)
        } else {
            briefly
        });
        self.note(Call::Wait, self.events.len());
        Ok(())
    }

    fn announce_wake(&mut self) {
        if let Some((token, woken)) = &self.waker {
            if woken.0.swap(false, Ordering::SeqCst) {
                self.pending.push(Event::new(*token, Ready::READABLE));
            }
        }
    }

    /// The room of a full datagram socket comes back by itself.
    fn announce_room(&mut self) {
        for socket in self.sockets.iter_mut().filter(|socket| socket.is_full) {
            if self.dice.once_in(3) {
                socket.is_full = false;
                self.pending.push(Event::new(socket.token, Ready::WRITABLE));
            }
        }
    }

    /// Makes the events of this wait from what is announced. Holds some back, doubles some, adds
    /// some for nothing, and shuffles.
    fn deliver_events(&mut self, must_deliver: bool) {
        let mut batch: Vec<Event> = Vec::new();
        let mut held = Vec::new();
        for event in std::mem::take(&mut self.pending) {
            if self.dice.once_in(4) {
                held.push(event);
                continue;
            }
            let event = self.flagged(event);
            batch.push(event);
            if self.dice.once_in(8) {
                batch.push(event);
            }
        }
        if must_deliver && batch.is_empty() {
            batch.extend(held.pop().map(|event| self.flagged(event)));
        }
        self.pending = held;
        while self.dice.once_in(self.conditions.spurious) && !self.tokens.is_empty() {
            let token = self.tokens[self.dice.below(self.tokens.len())];
            let ready = [Ready::READABLE, Ready::WRITABLE][self.dice.below(2)];
            batch.push(Event::new(token, ready));
        }
        for last in (1..batch.len()).rev() {
            batch.swap(last, self.dice.below(last + 1));
        }
        self.events = batch;
    }

    /// The flags of an event are those of the moment of its delivery.
    fn flagged(&self, event: Event) -> Event {
        let Some(number) = self.streams.get(&event.token) else {
            return event;
        };
        let connection = &self.connections[*number];
        let mut ready = event.ready;
        if connection.peer_reset {
            ready |= Ready::ERROR | Ready::READ_CLOSED | Ready::WRITE_CLOSED;
        } else if event.ready.contains(Ready::READABLE) {
            ready |= Ready::READ_CLOSED.when(connection.peer_finished);
            ready |= Ready::PRIORITY.when(connection.has_urgent_data());
        }
        Event::new(event.token, ready)
    }
}
