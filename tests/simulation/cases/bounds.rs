//! Bounds: deadlines that come due together, pending output, memory, listeners at a limit.

use std::time::Duration;

use mynah::limits::DEADLINE_BUDGET;
use mynah::net::sim::{Conditions, PeerEnd, SimNet};
use mynah::stream::outbox::LIMIT;
use mynah::{Address, CloseReason, Limits, Reactor};

use super::{echo, reactor, rest, tcp, turn_until};

/// Sends a byte and turns until it has come back.
fn ping(reactor: &mut Reactor<SimNet>, client: usize) {
    assert_eq!(reactor.net_mut().peer_send(client, b"?"), 1);
    for _ in 0..50 {
        reactor.turn();
        if reactor.net_mut().peer_read(client, 1) == b"?" {
            return;
        }
    }
    panic!("no answer in 50 turns: {}", reactor.stats());
}

/// 3,000 connections expire at one moment. No turn ends more than its budget, none is forgotten,
/// and a client that is not idle is served meanwhile.
#[test]
fn deadlines_that_come_due_together_are_spread_over_turns() {
    const IDLE: usize = 3_000;
    let limits = Limits {
        max_connections: IDLE + 1,
        idle_timeout: Some(Duration::from_secs(60)),
        ..Limits::default()
    };
    let mut reactor = reactor(1, Conditions::default(), limits);
    reactor.listen(&tcp(), IDLE as u32, echo()).unwrap();
    let net = reactor.net_mut();
    let busy = net.peer_connect(0).unwrap();
    let mut idle: Vec<usize> = (0..IDLE).map(|_| net.peer_connect(0).unwrap()).collect();
    turn_until(&mut reactor, "the last client", |reactor| {
        reactor.stats().live() == IDLE as u64 + 1
    });
    reactor.net_mut().advance(Duration::from_secs(59));
    ping(&mut reactor, busy);
    reactor.net_mut().advance(Duration::from_secs(10));
    let mut asked_at = None;
    while !idle.is_empty() {
        let (turn, cut) = (reactor.stats().turns, reactor.stats().turns_cut);
        let asked = *asked_at.get_or_insert_with(|| {
            reactor.net_mut().peer_send(busy, b"?");
            turn
        });
        reactor.turn();
        let is_cut = reactor.stats().turns_cut > cut;
        let (net, before) = (reactor.net_mut(), idle.len());
        idle.retain(|client| net.peer_end(*client) == PeerEnd::Open);
        let expired = before - idle.len();
        assert!(expired <= DEADLINE_BUDGET, "{expired} expired in one turn");
        assert!(
            is_cut || expired < DEADLINE_BUDGET || idle.is_empty(),
            "a cut turn is counted"
        );
        if net.peer_read(busy, 1) == b"?" {
            asked_at = None;
        }
        assert!(turn < asked + 20, "the busy client waits");
        assert!(turn < 10_000, "{} connections are forgotten", idle.len());
    }
    assert_eq!(reactor.net_mut().peer_end(busy), PeerEnd::Open);
}

/// Peers that never read together hold more than is allowed. The server resets some of them, and a
/// peer that reads is not disturbed.
#[test]
fn stalled_peers_are_reset_at_the_limit_of_pending_output_and_readers_are_not() {
    let limits = Limits {
        max_pending_output: 4 * LIMIT,
        write_timeout: None,
        ..Limits::default()
    };
    let most = limits.max_pending_output + LIMIT;
    let conditions = Conditions {
        buffer: 20_000,
        ..Conditions::default()
    };
    let mut reactor = reactor(1, conditions, limits);
    reactor.listen(&tcp(), 64, echo()).unwrap();
    let stalled = [0; 20].map(|_| reactor.net_mut().peer_connect(0).unwrap());
    let reader = reactor.net_mut().peer_connect(0).unwrap();
    let (mut sent, mut got) = (0, 0);
    turn_until(&mut reactor, "the reader's last byte", |reactor| {
        assert!(
            reactor.pending_output() <= most,
            "{} bytes pending",
            reactor.pending_output()
        );
        let net = reactor.net_mut();
        for client in stalled {
            net.peer_send(client, &[7; 20_000]);
        }
        sent += net.peer_send(reader, &vec![7; 500_000 - sent]);
        got += net.peer_read(reader, usize::MAX).len();
        got == 500_000
    });
    let net = reactor.net_mut();
    let resets = stalled.map(|client| net.peer_end(client) == PeerEnd::Reset);
    let resets = resets.into_iter().filter(|is_reset| *is_reset).count();
    assert!(resets >= 4, "{resets} of 20 stalled peers were reset");
    assert_eq!(
        reactor.stats().closed[CloseReason::OutputLimit],
        resets as u64
    );
}

/// No buffer finds memory any more. A peer that reads needs none; one that does not read is reset.
#[test]
fn without_memory_a_peer_that_reads_is_served() {
    let mut reactor = reactor(1, Conditions::default(), Limits::default());
    reactor.listen(&tcp(), 2, echo()).unwrap();
    let [reader, stalled] = [0; 2].map(|_| reactor.net_mut().peer_connect(0).unwrap());
    rest(&mut reactor);
    reactor.net_mut().set_conditions(Conditions {
        shortages: 1,
        ..Conditions::default()
    });
    let mut got = 0;
    for round in 1..=50 {
        reactor.net_mut().peer_send(stalled, &[7; 4096]);
        // A write may be cut short, and the rest of it would need a buffer: one byte never does.
        reactor.net_mut().peer_send(reader, &[7]);
        rest(&mut reactor);
        got += reactor.net_mut().peer_read(reader, 100).len();
        assert_eq!(got, round);
    }
    assert_eq!(reactor.net_mut().peer_end(stalled), PeerEnd::Reset);
    assert_eq!(reactor.stats().closed[CloseReason::NoMemory], 1);
}

/// Clients always wait on three listeners, and four may be connected: all listeners get slots.
#[test]
fn listeners_take_turns_at_the_connection_limit() {
    const LISTENERS: usize = 3;
    let limits = Limits {
        max_connections: 4,
        ..Limits::default()
    };
    let mut reactor = reactor(1, Conditions::default(), limits);
    for number in 0..LISTENERS {
        let address = Address::Tcp(([127, 0, 0, 1], number as u16).into());
        reactor.listen(&address, 8, echo()).unwrap();
    }
    while reactor.stats().accepted < 600 {
        let net = reactor.net_mut();
        for listener in 0..LISTENERS {
            while let Some(client) = net.peer_connect(listener) {
                net.peer_send(client, b"?");
                net.peer_finish(client);
            }
        }
        reactor.turn();
    }
    let net = reactor.net_mut();
    let accepted = [0, 1, 2].map(|listener| net.accepted(listener));
    assert!(
        accepted.iter().all(|count| *count >= 150),
        "the listeners had {accepted:?} clients of 600"
    );
}
