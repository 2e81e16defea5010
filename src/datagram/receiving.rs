//! The way into a datagram socket: receiving bursts and answering them, within a budget.
//!
//! Owns how far a burst is answered. One message of the kernel may be 128 datagrams (UDP_GRO), and
//! one call receives many messages: more than the budget of a run allows. The messages that the
//! budget leaves are kept for the next run, without a copy: the socket keeps the whole burst, and
//! the other sockets get another one. So no sender decides how long a run takes. A message is
//! answered whole, because cut in two it would cost two calls, and the answers two messages.
//!
//! A datagram that is longer than its slot is dropped, because half of it would be a lie. An empty
//! one is data.

use std::io;

use log::debug;

use super::guard::judge;
use super::transport::{DatagramTransport, Rights};
use super::{Common, Datagram, Role};
use crate::net::turn::{Outcome, Turn};
use crate::net::{Burst, Net};
use crate::service::{Action, Context};
use crate::values::endpoint::Address;
use crate::values::limits::{
    DATAGRAM_BUDGET, DATAGRAM_BYTES, DATAGRAM_COST, DATAGRAM_QUEUE, STARVED_RETRY,
};
use crate::values::ready::Ready;
use crate::values::refusal::Refusal;

/// Bursts of one socket that are counted at the end of the server. Peers may go on sending, so
/// there must be a bound; the usual receive buffer of Linux holds about 277 datagrams.
const COUNTED_BURSTS: usize = 4096;

/// A burst, and how far it is answered.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    burst: Burst,
    /// The part that is being answered.
    part: usize,
    /// How many of its datagrams are answered.
    done: usize,
    /// Why its peer gets no answer.
    refusal: Option<Refusal>,
}

impl Inbound {
    /// Makes the buffer of the burst.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        self.burst.begin()
    }

    /// Whether a part is left.
    fn is_pending(&self) -> bool {
        self.part < self.burst.parts.len()
    }

    fn advance_part(&mut self) {
        self.part += 1;
        self.done = 0;
    }

    /// How many datagrams are left.
    pub(super) fn left(&self) -> usize {
        let parts = self.burst.parts.iter().skip(self.part);
        let datagrams: usize = parts.map(|part| part.datagrams().count()).sum();
        datagrams - self.done
    }

    /// Forgets the part that is being answered, and returns how many of its datagrams are left.
    pub(super) fn abandon_part(&mut self) -> usize {
        let Some(part) = self.burst.parts.get(self.part) else {
            return 0;
        };
        let left = part.datagrams().count() - self.done;
        self.advance_part();
        left
    }
}

/// What a run has done, and how much it may do.
struct Budget {
    datagrams: usize,
    bytes: usize,
    /// The most datagrams.
    most: usize,
}

impl Budget {
    /// That of one run, or what the turn has left if that is less.
    fn within<N: Net>(turn: &Turn<N>) -> Budget {
        let left = (turn.budget / DATAGRAM_COST).max(1) as usize;
        Budget {
            datagrams: 0,
            bytes: 0,
            most: DATAGRAM_BUDGET.min(left),
        }
    }

    fn spend(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes;
    }

    fn is_spent(&self) -> bool {
        self.datagrams >= self.most || self.bytes >= DATAGRAM_BYTES
    }
}

impl<N: Net> Datagram<N> {
    /// Answers what the last run left, then receives bursts and answers them, within the budget.
    pub(super) fn receive(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
    ) -> Outcome {
        let rest = self.rest.take();
        let lent = rest.map(|rest| std::mem::replace(&mut common.inbound, rest));
        let mut budget = Budget::within(turn);
        let outcome = self.receive_bursts(ready, turn, common, &mut budget);
        self.keep_rest(common, lent.unwrap_or_default());
        turn.charge(DATAGRAM_COST * budget.datagrams as i32, budget.bytes);
        outcome
    }

    /// Keeps what is left of the burst for the next run, and leaves `lent` for the other sockets.
    pub(super) fn keep_rest(&mut self, common: &mut Common, lent: Inbound) {
        if common.inbound.is_pending() {
            self.rest = Some(std::mem::replace(&mut common.inbound, lent));
        }
    }

    fn receive_bursts(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
        budget: &mut Budget,
    ) -> Outcome {
        let mut has_answered = false;
        loop {
            if common.inbound.is_pending() {
                self.answer(ready, turn, common, budget);
                has_answered = true;
            }
            if !common.inbound.is_pending() && !ready.contains(Ready::READABLE) {
                return Outcome::Waiting;
            }
            if budget.is_spent() {
                break;
            }
            self.receive_burst(ready, turn, common, budget);
        }
        turn.stats.yields += 1;
        if has_answered {
            return Outcome::More;
        }
        // A whole budget of errors: rest, instead of turning with them for ever.
        ready.remove(Ready::READABLE);
        self.out.retry_at = self.out.retry_at.min(turn.now + STARVED_RETRY);
        Outcome::Waiting
    }

    /// Receives what stands in the kernel, and only counts it.
    pub(super) fn count_unread(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
    ) -> usize {
        let (mut unread, mut budget) = (0, Budget::within(turn));
        for _ in 0..COUNTED_BURSTS {
            if !ready.contains(Ready::READABLE) {
                break;
            }
            self.receive_burst(ready, turn, common, &mut budget);
            unread += common.inbound.left();
            common.inbound.part = common.inbound.burst.parts.len();
        }
        unread
    }

    /// One call of the kernel.
    fn receive_burst(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
        budget: &mut Budget,
    ) {
        let inbound = &mut common.inbound;
        match turn.net.receive(&mut self.out.socket, &mut inbound.burst) {
            Ok(()) => {
                (inbound.part, inbound.done) = (0, 0);
                // An error that cut a burst short has its own event, which may have come already.
                // After an error only `WouldBlock` proves that the socket is empty.
                if inbound.burst.is_short
                    && turn.net.short_burst_drains(&self.out.socket)
                    && !ready.contains(Ready::ERROR)
                {
                    ready.remove(Ready::READABLE);
                }
                if let Some(dropped) = inbound.burst.dropped {
                    let before = std::mem::replace(&mut self.dropped, dropped);
                    turn.stats.datagrams_dropped += u64::from(dropped.wrapping_sub(before));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready.remove(Ready::READABLE | Ready::ERROR);
            }
            // The error of an earlier reply (ICMP), told late. Datagrams that stand behind it give
            // no event of their own: go on.
            Err(error) => {
                budget.spend(0);
                turn.stats.datagram_errors += 1;
                debug!("{}: receiving: {error}", self.out.address);
                self.service.on_error(&error);
            }
        }
    }

    /// Lets the service answer datagrams of the burst, and sends what it said.
    fn answer(
        &mut self,
        ready: &mut Ready,
        turn: &mut Turn<N>,
        common: &mut Common,
        budget: &mut Budget,
    ) {
        while common.inbound.is_pending() && !budget.is_spent() {
            if !self.begin_part(turn, common, budget) {
                continue;
            }
            while !self.answer_part(turn, common, budget) {
                self.dispatch(ready, turn, common);
            }
        }
        self.dispatch(ready, turn, common);
    }

    /// Judges the peer of the next part. `false`: the part was dropped.
    fn begin_part(&self, turn: &mut Turn<N>, common: &mut Common, budget: &mut Budget) -> bool {
        let inbound = &mut common.inbound;
        let part = &mut inbound.burst.parts[inbound.part];
        if part.is_cut {
            budget.spend(part.size);
            turn.stats.datagrams_too_long += 1;
            debug!(
                "{}: {}: dropped a datagram that is longer than {} bytes",
                self.out.address, part.path.peer, part.size
            );
            inbound.advance_part();
            return false;
        }
        inbound.refusal = match self.role {
            Role::Server { .. } => judge(&part.path, &self.out.address, &common.own, |address| {
                turn.net.is_local(address)
            })
            .err(),
            Role::Client { .. } => None,
        };
        // The answer leaves with one hop less, so that a loop ends.
        part.path.hops = part.path.hops.map(|hops| hops.saturating_sub(1));
        true
    }

    /// Calls the service with the datagrams of the part. `false`: what it said must be sent before
    /// it may say more.
    fn answer_part(
        &mut self,
        turn: &mut Turn<N>,
        common: &mut Common,
        budget: &mut Budget,
    ) -> bool {
        let inbound = &mut common.inbound;
        let (buffer, part) = (inbound.burst.buffer(), &inbound.burst.parts[inbound.part]);
        let rights = match &mut self.role {
            Role::Server { .. } => Rights::One {
                refusal: inbound.refusal,
                // Only the kernel writes the name of a Unix peer, so nobody can make us shout at
                // another one.
                may_amplify: turn.limits.allow_amplification
                    || matches!(self.out.address, Address::Unixgram(_)),
                longest: None,
                rate: &mut common.rate,
                longer: &mut common.longer,
            },
            Role::Client { alarm, .. } => Rights::Any { alarm },
        };
        let mut transport = DatagramTransport {
            net: &mut turn.net,
            stats: &mut turn.stats,
            replies: &mut common.replies,
            burst: buffer,
            part: inbound.part,
            peer: &part.path.peer,
            local: Some((&self.out.address, part.path.local)),
            queued: self.out.charged(),
            now: turn.now,
            unread: part.unread,
            rights,
        };
        let mut wants_more = false;
        let mut is_over = true;
        for datagram in part.datagrams().skip(inbound.done) {
            if transport.replies.size().0 >= DATAGRAM_QUEUE {
                is_over = false;
                break;
            }
            budget.spend(datagram.len());
            transport.rights.renew(datagram.len());
            let mut cx = Context::new(turn.now, &part.path.peer, &mut transport);
            // A datagram socket has no connection to finish or to abort.
            wants_more |= self.service.on_data(&mut cx, &buffer[datagram]) == Action::More;
            inbound.done += 1;
            transport.stats.datagrams_in += 1;
            transport.replies.settle();
        }
        if let Role::Client { has_more, .. } = &mut self.role {
            *has_more |= wants_more;
        }
        if is_over {
            inbound.advance_part();
        }
        is_over
    }

    fn dispatch(&mut self, ready: &mut Ready, turn: &mut Turn<N>, common: &mut Common) {
        let burst = &common.inbound.burst;
        self.out
            .dispatch(ready, turn, &mut common.replies, burst.buffer(), |part| {
                &burst.parts[part].path
            });
        self.tell_refusal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Part;
    use crate::values::path::Path;
    use crate::values::peer::Peer;

    #[test]
    fn a_part_that_is_abandoned_is_counted_and_the_others_stay() {
        let mut inbound = Inbound::default();
        for at in [0, 100] {
            inbound.burst.parts.push(Part {
                path: Path::plain(Peer::unnamed()),
                at,
                size: 10,
                segment: 4,
                is_cut: false,
                unread: None,
            });
        }
        inbound.done = 1;
        assert_eq!(inbound.left(), 5);
        assert_eq!(inbound.abandon_part(), 2);
        assert_eq!((inbound.is_pending(), inbound.left()), (true, 3));
    }
}
