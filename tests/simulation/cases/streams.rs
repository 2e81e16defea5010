//! Streams: reads that end early, calls that are interrupted, services that panic.

use mynah::net::sim::{Conditions, PeerEnd, Selector};
use mynah::{Address, CloseReason, Ending, Lifecycle, Limits};

use super::{echo, reactor, rest, tcp, turn_until};
use crate::model::services::{ANSWER_TEXT, AnswerOnce, Fragile, MAGIC, silence_deliberate_panics};

/// A signal may interrupt the call that sends our end of stream. If the server takes this for an
/// error it closes the connection over unread input, and the reset destroys the answer.
#[test]
fn an_interrupted_end_of_stream_does_not_cost_the_answer() {
    for seed in 0..32 {
        let conditions = Conditions {
            interruptions: 2,
            ..Conditions::default()
        };
        let mut reactor = reactor(seed, conditions, Limits::default());
        reactor
            .listen(&tcp(), 1, Box::new(|_| Box::new(AnswerOnce)))
            .unwrap();
        let client = reactor.net_mut().peer_connect(0).unwrap();
        let mut got = Vec::new();
        turn_until(&mut reactor, "the end of stream", |reactor| {
            let net = reactor.net_mut();
            got.extend(net.peer_read(client, 3000));
            net.peer_send(client, b"and another thing");
            net.peer_end(client) != PeerEnd::Open
        });
        let end = reactor.net_mut().peer_end(client);
        assert_eq!(end, PeerEnd::Finished, "seed {seed}: {} bytes", got.len());
        assert!(got == *ANSWER_TEXT, "seed {seed}");
    }
}

/// The same call in a drain: what the peer has not read yet must reach it, although it goes on
/// sending.
#[test]
fn an_interrupted_end_of_stream_does_not_spoil_a_drain() {
    for seed in 0..32 {
        let conditions = Conditions {
            interruptions: 2,
            buffer: 50_000,
            ..Conditions::default()
        };
        let mut reactor = reactor(seed, conditions, Limits::default());
        reactor.listen(&tcp(), 1, echo()).unwrap();
        let client = reactor.net_mut().peer_connect(0).unwrap();
        reactor.net_mut().peer_send(client, &[7; 40_000]);
        turn_until(&mut reactor, "the echo", |reactor| {
            reactor.stats().bytes_out == 40_000
        });
        reactor.handle().terminate();
        // It ends the connection when that has been quiet for a while.
        turn_until(&mut reactor, "the end of stream", |reactor| {
            reactor.net_mut().last_moved(client).is_none()
        });
        reactor.net_mut().peer_send(client, b"and another thing");
        rest(&mut reactor);
        let got = reactor.net_mut().peer_read(client, usize::MAX);
        assert_eq!(got.len(), 40_000, "seed {seed}");
    }
}

/// A read stops at an urgent byte, and at a message with control data on a Unix stream. No event
/// tells of what is behind.
#[test]
fn bytes_behind_a_mark_are_read_without_another_event() {
    for seed in 0..64 {
        for selector in [Selector::Edge, Selector::Rearm] {
            for address in [tcp(), Address::Unix("/sim".into())] {
                let conditions = Conditions {
                    selector,
                    ..Conditions::default()
                };
                let mut reactor = reactor(seed, conditions, Limits::default());
                reactor.listen(&address, 1, echo()).unwrap();
                let net = reactor.net_mut();
                let client = net.peer_connect(0).unwrap();
                net.peer_send(client, b"before");
                net.peer_send_marked(client, b'!');
                net.peer_send(client, b"behind");
                rest(&mut reactor);
                let got = reactor.net_mut().peer_read(client, usize::MAX);
                assert_eq!(
                    got, b"before!behind",
                    "seed {seed}, {selector:?}, {address}"
                );
            }
        }
    }
}

#[test]
fn a_service_that_panics_costs_its_own_connection() {
    silence_deliberate_panics();
    let mut reactor = reactor(1, Conditions::default(), Limits::default());
    reactor
        .listen(&tcp(), 3, Box::new(|shape| Box::new(Fragile(shape))))
        .unwrap();
    let clients = [0; 3].map(|_| reactor.net_mut().peer_connect(0).unwrap());
    rest(&mut reactor);
    for round in 0..10 {
        let net = reactor.net_mut();
        for (index, client) in clients.into_iter().enumerate() {
            let byte = if (round, index) == (5, 1) {
                MAGIC
            } else {
                round
            };
            net.peer_send(client, &[byte]);
        }
        rest(&mut reactor);
    }
    let net = reactor.net_mut();
    assert_eq!(net.peer_end(clients[1]), PeerEnd::Reset);
    for client in [clients[0], clients[2]] {
        assert_eq!(net.peer_read(client, 100).len(), 10, "client {client}");
    }
    let stats = reactor.stats();
    assert_eq!((stats.panics, stats.closed[CloseReason::Panicked]), (1, 1));
    assert_eq!(stats.live(), 2);
}

/// At the connection limit a client waits in the backlog with its request sent. A drain serves it,
/// because the idle connection that held the slot ends first and only lingers.
#[test]
fn a_drain_serves_the_backlog_at_the_connection_limit() {
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let mut reactor = reactor(1, Conditions::default(), limits);
    reactor.listen(&tcp(), 3, echo()).unwrap();
    let idle = reactor.net_mut().peer_connect(0).unwrap();
    rest(&mut reactor);
    // Four wait where three were asked for, as on Linux; a fifth is not let in.
    let clients = [0; 4].map(|_| reactor.net_mut().peer_connect(0).unwrap());
    assert_eq!(reactor.net_mut().peer_connect(0), None);
    for client in clients {
        reactor.net_mut().peer_send(client, b"question");
        reactor.net_mut().peer_finish(client);
    }
    reactor.handle().terminate();
    let mut got = [0; 4];
    while reactor.turn() != Lifecycle::Stopped {
        for (index, client) in clients.into_iter().enumerate() {
            got[index] += reactor.net_mut().peer_read(client, 100).len();
        }
    }
    assert_eq!(reactor.run(), Ending::Clean);
    assert_eq!(got, [8; 4], "{}", reactor.stats());
    assert_eq!(reactor.net_mut().peer_end(idle), PeerEnd::Finished);
}
