//! What must hold after every turn, when everything has settled, and after the drain.

use mynah::limits::{DATAGRAM_COST, TURN_BUDGET};
use mynah::net::sim::{COALESCED, PeerEnd};
use mynah::stream::outbox::LIMIT;
use mynah::{CloseReason, Ending, Lifecycle, Refusal, Time};

use super::client::{Expected, excuses};
use super::datagrams::unanswered;
use super::{LISTENERS, Run};

/// The most datagrams that one turn may handle: what its budget allows, and the whole message of the
/// kernel in which that ran out.
pub(crate) const DATAGRAMS: u64 = TURN_BUDGET as u64 / DATAGRAM_COST as u64 + COALESCED as u64;

/// Connections that other listeners may accept while clients wait on one, before it has its turn.
const OTHERS: usize = 20;

/// What was so before the last turn.
#[derive(Debug, Default)]
pub(crate) struct Before {
    clock: Time,
    datagrams: u64,
    turns_cut: u64,
    /// For each listener: how many it had accepted, how many all had, when it last made progress.
    accepted: [(usize, usize); LISTENERS.len()],
}

impl Run {
    /// One turn, and all that must hold after it.
    pub(super) fn turn(&mut self) -> Lifecycle {
        let lifecycle = self.reactor.turn();
        if let Err(breach) = self.reactor.audit() {
            panic!("{breach}");
        }
        assert!(
            self.is_draining || lifecycle == Lifecycle::Running,
            "nothing asked for {lifecycle:?}"
        );
        self.check_bounds();
        self.check_deadlines();
        if self.conditions.faults == 0 {
            self.check_fairness();
        }
        lifecycle
    }

    /// Connections, pending output and the work of one turn are bounded.
    fn check_bounds(&mut self) {
        let stats = self.reactor.stats();
        let live = stats.live() as usize;
        let pending = self.reactor.pending_output();
        // A connection that only lingers does not count while draining.
        let most = if self.is_draining {
            usize::MAX
        } else {
            self.limits.max_connections
        };
        assert!(live <= most, "{live} connections are open");
        assert!(
            pending <= live * LIMIT,
            "{pending} bytes are pending for {live} peers"
        );
        assert!(
            pending <= self.limits.max_pending_output + LIMIT,
            "{pending} bytes are pending, {} are allowed",
            self.limits.max_pending_output
        );
        // What a panic took with it was given up unseen.
        let datagrams = stats.datagrams_in - stats.unanswered[Refusal::Panicked];
        let handled = datagrams - std::mem::replace(&mut self.before.datagrams, datagrams);
        assert!(
            handled <= DATAGRAMS,
            "{handled} datagrams in one turn, {DATAGRAMS} are allowed"
        );
    }

    /// No connection outlives its idle timeout. The clock before the turn counts, because the wait
    /// of the turn may have let time pass. A turn that ended at its budget has not reached everybody;
    /// the next ones do.
    fn check_deadlines(&mut self) {
        let cut = self.reactor.stats().turns_cut;
        if std::mem::replace(&mut self.before.turns_cut, cut) != cut {
            return;
        }
        let net = self.reactor.net_mut();
        let before = std::mem::replace(&mut self.before.clock, net.clock());
        let Some(idle) = self.limits.idle_timeout else {
            return;
        };
        for client in &self.clients {
            let moved = net.last_moved(client.number);
            let overdue = moved.filter(|moved| *moved + idle < before);
            assert_eq!(
                overdue, None,
                "client {} was idle for too long at {before}",
                client.number
            );
        }
    }

    /// While clients wait on a listener, the others do not take all the connections.
    fn check_fairness(&mut self) {
        let net = self.reactor.net_mut();
        let total: usize = (0..LISTENERS.len())
            .map(|listener| net.accepted(listener))
            .sum();
        for listener in 0..LISTENERS.len() {
            let accepted = net.accepted(listener);
            let before = &mut self.before.accepted[listener];
            if net.waiting(listener) == 0 || accepted > before.0 {
                *before = (accepted, total);
            }
            let others = total - before.1;
            assert!(
                others <= OTHERS,
                "listener {listener} has clients waiting while others accepted {others}"
            );
        }
    }

    /// Every client has come to its end: with everything, or for a reason that is known.
    pub(super) fn check_clients(&mut self) {
        let mut broken = Vec::new();
        for client in &self.clients {
            let net = self.reactor.net_mut();
            let (end, is_faulted) = (net.peer_end(client.number), net.is_faulted(client.number));
            if is_faulted || client.is_to_blame() {
                continue;
            }
            // One that goes on sending behind its answer and never ends its side is reset when the
            // linger is over. It has read its answer by then.
            let is_well = end == PeerEnd::Finished || client.expected == Expected::Answer;
            let due = client.due_for(client.sent.len());
            if !is_well || client.got != due {
                let (number, got) = (client.number, client.got);
                broken.push(format!(
                    "client {number}: {end:?} after {got} of {due} bytes"
                ));
            }
        }
        self.check_excused(&broken);
        self.check_panics();
    }

    /// A service that panics costs its own connection, and every panic is counted.
    fn check_panics(&mut self) {
        let stats = self.reactor.stats().clone();
        let net = self.reactor.net_mut();
        let doomed = self.clients.iter().filter(|client| client.is_doomed);
        let mut survived = doomed.clone().filter(|client| {
            !net.is_faulted(client.number) && net.peer_end(client.number) == PeerEnd::Finished
        });
        let survivor = survived.next().filter(|_| excuses(&stats) == 0);
        assert!(survivor.is_none(), "no panic ended {survivor:?}");
        let (panicked, doomed) = (stats.closed[CloseReason::Panicked], doomed.count() as u64);
        assert!(
            panicked <= doomed && panicked <= stats.panics,
            "{panicked} connections of {doomed} ended with a panic, of {} panics",
            stats.panics
        );
    }

    /// Clients that did not get everything are no more than the connections that a limit ended.
    fn check_excused(&mut self, broken: &[String]) {
        let stats = self.reactor.stats().clone();
        assert!(
            broken.len() as u64 <= excuses(&stats),
            "{} excuses for {broken:#?}: {stats}",
            excuses(&stats)
        );
        let shortages = self.reactor.net_mut().shortages();
        let starved = stats.closed[CloseReason::NoMemory];
        assert!(
            starved <= shortages,
            "{starved} connections found no memory, {shortages} buffers did"
        );
    }

    /// The exit status tells the truth, and nothing is left open.
    pub(super) fn check_ending(&mut self, ending: Ending) {
        let stats = self.reactor.stats().clone();
        let (cut, lost) = (stats.closed[CloseReason::Cut], stats.datagrams_cut);
        if ending == Ending::Clean {
            assert_eq!((cut, lost), (0, 0), "connections cut, datagrams unanswered");
        } else {
            assert!(
                cut + lost + excuses(&stats) + stats.backlog_cut + stats.untaken > 0,
                "{ending:?}, and nothing was: {stats}"
            );
        }
        assert_eq!(unanswered(&stats), 0, "datagrams without a count: {stats}");
        let net = self.reactor.net_mut();
        assert_eq!(net.open_sockets(), 0, "sockets are left open");
        assert_eq!(stats.live(), 0, "connections are left");
    }

    /// After a clean end everybody has the reply to what he had sent before the drain.
    pub(super) fn check_drained(&mut self) {
        let net = self.reactor.net_mut();
        let mut broken = Vec::new();
        for client in &self.clients {
            let due = client.sent_before_drain.map(|sent| client.due_for(sent));
            let is_excused = net.is_faulted(client.number) || client.is_to_blame();
            if let Some(due) = due.filter(|due| client.got < *due && !is_excused) {
                let (number, got) = (client.number, client.got);
                broken.push(format!("client {number}: {got} of {due} bytes"));
            }
        }
        self.check_excused(&broken);
    }
}
