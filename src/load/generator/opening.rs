//! Connections that are opened, and opened again.
//!
//! Owns what becomes of a slot whose connection is over: when it gets another one, and what a
//! connection that cannot be begun counts as.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Generator;
use crate::load::callers::{self, Datagrams, Opening};
use crate::load::desk::Vacancy;
use crate::load::sent::Sent;
use crate::load::trouble::Trouble;
use crate::net::Net;
use crate::service::Service;
use crate::values::endpoint::Address;
use crate::values::error::StartError;
use crate::values::time::Time;

/// How soon a connection that failed is opened again; twice as late after each further failure.
/// While nobody can connect, one connection alone tries, this often, and the others follow it: an
/// outage is measured to this.
const RETRY: Duration = Duration::from_millis(10);

/// How late at most, where others are open.
const RETRY_MOST: Duration = Duration::from_secs(1);

impl<N: Net> Generator<N> {
    /// Whether nobody can connect, so that one attempt tells as much as many.
    fn is_down(&self) -> bool {
        self.desk.roster.failing_since() < Time::NEVER && self.desk.roster.open() == 0
    }

    /// Slots whose connection is over get another one.
    pub(super) fn refill(&mut self) {
        let now = self.reactor.now();
        let mut vacant = self.desk.roster.vacant();
        let is_due_by_itself = self.desk.plan.churn && self.desk.is_open_loop();
        for (index, vacancy) in vacant.drain(..) {
            let (desk, slot) = (&self.desk, &mut self.slots[index]);
            slot.token = None;
            slot.free_since = now;
            slot.failures = if vacancy == Vacancy::Failed {
                slot.failures + 1
            } else {
                0
            };
            if vacancy == Vacancy::Failed {
                desk.roster.fails(now);
            }
            let failures = slot.failures.min(10);
            let pause = match vacancy {
                Vacancy::Done => self.desk.think(),
                Vacancy::Used => self.desk.think(),
                Vacancy::Blocked => RETRY,
                // Each message fails by itself, when it is due.
                Vacancy::Failed if is_due_by_itself => Duration::ZERO,
                Vacancy::Failed if self.is_down() => {
                    let is_alone = self.openings.is_empty() && self.desk.roster.connecting() == 0;
                    if !is_alone && self.desk.clock.start() < Time::NEVER {
                        self.parked.push(index);
                        continue;
                    }
                    RETRY
                }
                Vacancy::Failed => RETRY_MOST.min(RETRY * (1 << failures >> 1)),
            };
            match self.desk.clock.start() {
                // The start opens all of them.
                Time::NEVER if self.desk.plan.churn => {}
                start if self.desk.plan.churn => {
                    let due = self.desk.due(index).unwrap_or(start);
                    self.openings.push(due.max(now + pause), index);
                }
                _ => self.openings.push(now + pause, index),
            }
        }
        self.desk.roster.keep(vacant);
        if !self.parked.is_empty() && !self.is_down() {
            let parked = std::mem::take(&mut self.parked);
            for slot in parked {
                // It did not rest: another one tried in its place.
                self.slots[slot].free_since = now;
                self.openings.push(now, slot);
            }
        }
    }

    pub(super) fn open_due(&mut self) {
        let now = self.reactor.now();
        while self.openings.next() <= now {
            let connecting = self.desk.roster.connecting();
            if self.handshakes.next(now, connecting) > now {
                return self.openings.hold(now);
            }
            let Some((slot, since)) = self.openings.pop(now) else {
                return;
            };
            self.handshakes.begin(now);
            if let Err(error) = self.open(slot, since) {
                self.note_unopened(slot, &error);
            }
        }
    }

    /// Begins the connection of a slot, which could have been since `since`. Of one that has a
    /// message of its own, the message is sent on its way with it.
    pub(super) fn open(&mut self, index: usize, since: Time) -> Result<(), StartError> {
        let desk = Rc::clone(&self.desk);
        let now = self.reactor.net_mut().now();
        let slot = &mut self.slots[index];
        let has_message = desk.plan.churn && desk.clock.start() < Time::NEVER;
        let message = if has_message {
            // However late, it is meant for when it was meant.
            let Some(intended) = desk.next_due(index, None, now) else {
                return Ok(());
            };
            let free_since = since.max(slot.free_since);
            Some(Sent::new(intended, now, free_since, Time::ZERO))
        } else {
            None
        };
        slot.attempts += 1;
        let opening = Opening {
            slot: index,
            began: now,
            failed: if slot.failures > 0 {
                slot.free_since
            } else {
                now
            },
            is_first: slot.attempts == 1 && !desk.plan.churn,
            message,
        };
        if let Some(sent) = message {
            desk.ledger.sent(&mut desk.ledger.tally(), sent);
        }
        let sources = &desk.plan.sources;
        let local = sources
            .get(desk.number(index) as usize % sources.len().max(1))
            .map(|ip| local_of(&self.remote, *ip));
        let caller: Box<dyn Service> = if self.remote.is_stream() {
            callers::on_stream(&desk, opening)
        } else {
            Box::new(Datagrams::new(desk.clone(), index))
        };
        let begun = self.reactor.connect(&self.remote, local.as_ref(), caller);
        // Unix sockets alone say so of a target without room, and then nothing was sent: the
        // message is the next one again.
        let is_full = |error: &StartError| error.kind() == io::ErrorKind::WouldBlock;
        if let (Some(sent), true) = (message, begun.as_ref().is_err_and(is_full)) {
            desk.ledger.unsend();
            desk.give_back(index, sent.intended);
        }
        let token = begun?;
        self.slots[index].token = Some(token);
        self.slots[index].blocked_since = None;
        if self.remote.is_stream() {
            desk.roster.begun();
        } else {
            self.reactor.wake(token);
            desk.ledger.tally().opened += 1;
            desk.roster.tried(opening.is_first);
        }
        Ok(())
    }

    /// A connection that could not even be begun.
    #[cold]
    fn note_unopened(&mut self, index: usize, error: &StartError) {
        let (desk, slot) = (&self.desk, &mut self.slots[index]);
        let now = self.reactor.now();
        let mut trouble = Trouble::of_error(error.kind(), error.code());
        // The backlog of a Unix socket is full, and nothing tells when it is not: no error before
        // its time, but a reason to wait.
        if error.kind() == io::ErrorKind::WouldBlock {
            let since = *slot.blocked_since.get_or_insert(now);
            if since.after(desk.plan.timeout) > now {
                slot.attempts -= 1;
                return desk.roster.vacate(index, Vacancy::Blocked);
            }
            slot.blocked_since = None;
            trouble = Trouble::TimedOut;
        }
        desk.roster.tried(slot.attempts == 1 && !desk.plan.churn);
        desk.ledger.trouble(trouble, 1, || error.to_string());
        desk.roster.vacate(index, Vacancy::Failed);
    }
}

/// An address of this machine to speak from, of the kind of `remote`, with any port.
fn local_of(remote: &Address, ip: std::net::IpAddr) -> Address {
    let any = SocketAddr::new(ip, 0);
    match remote {
        Address::Udp(_) => Address::Udp(any),
        _ => Address::Tcp(any),
    }
}
