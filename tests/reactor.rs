//! The loop's own conditions, each alone, over the simulated network: budgets, the line of the listeners, panics,
//! the limit of pending output, a selector that fails.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use mynah::limits::{DEADLINE_BUDGET, RUN_COST, TURN_BUDGET};
use mynah::net::Net;
use mynah::net::os::OsNet;
use mynah::net::sim::{Conditions, PeerEnd, SimNet};
use mynah::service::{
    Action, Context, Conversation, Echo, Factory, Framing, Host, Messages, Service, Template,
    TemplateError,
};
use mynah::values::path::Path;
use mynah::values::token::Token;
use mynah::{Address, CloseReason, Ending, Limits, Peer, Reactor};

const TCP: &str = "127.0.0.1:7";

/// A network in which nothing happens by chance.
fn calm() -> Conditions {
    Conditions {
        buffer: 1 << 16,
        ..Conditions::default()
    }
}

fn reactor(limits: Limits, conditions: Conditions) -> Reactor<SimNet> {
    Reactor::new(SimNet::new(1, conditions), limits).unwrap()
}

fn listen(reactor: &mut Reactor<SimNet>, make: Factory) {
    let address = Address::Tcp(TCP.parse().unwrap());
    reactor.listen(&address, 4096, make).unwrap();
}

/// Each way to add a source checks the kind of its address, on the simulator and on the system.
fn assert_kinds_are_checked<N: Net>(mut reactor: Reactor<N>) {
    let (tcp, udp) = (
        Address::Tcp("127.0.0.1:0".parse().unwrap()),
        Address::Udp("127.0.0.1:0".parse().unwrap()),
    );
    let [stream, datagram] = [Address::Unix("/s".into()), Address::Unixgram("/d".into())];
    for address in [udp, datagram] {
        let error = reactor.listen(&address, 1, echo()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {address}: that is a datagram address; give a stream address \
                 (tcp: or unix:)"
            )
        );
    }
    for address in [tcp, stream] {
        let error = reactor.bind(&address, echo()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot bind {address}: that is a stream address; give a datagram address (udp: or \
                 unixgram:)"
            )
        );
    }
    let (address, token) = (Address::Unix("/s".into()), Token::from(mio::Token(1)));
    let error = reactor
        .net_mut()
        .associate(&address, None, token)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let address = Address::Unixgram("/d".into());
    let error = reactor
        .net_mut()
        .connect(&address, None, token)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_address_of_the_wrong_kind_is_an_error() {
    assert_kinds_are_checked(reactor(Limits::default(), calm()));
    assert_kinds_are_checked(Reactor::new(OsNet::new().unwrap(), Limits::default()).unwrap());
}

fn echo() -> Factory {
    Box::new(|_| Box::new(Echo))
}

/// Turns until `condition` holds.
#[track_caller]
fn turn_until(
    reactor: &mut Reactor<SimNet>,
    what: &str,
    mut condition: impl FnMut(&mut Reactor<SimNet>) -> bool,
) {
    for _ in 0..20_000 {
        if condition(reactor) {
            return;
        }
        reactor.turn();
        reactor.audit().unwrap();
    }
    panic!("{what} did not come: {}", reactor.stats());
}

/// Connects `count` peers to listener number `listener` and waits until all of them are accepted.
fn connect(reactor: &mut Reactor<SimNet>, listener: usize, count: usize) -> Vec<usize> {
    let peers: Vec<usize> = (0..count)
        .map(|_| reactor.net_mut().peer_connect(listener).unwrap())
        .collect();
    turn_until(reactor, "every peer is accepted", |reactor| {
        let net = reactor.net_mut();
        peers.iter().all(|peer| net.is_accepted(*peer))
    });
    peers
}

/// A turn that meets its budget polls again before it goes on, and forgets nobody.
#[test]
fn a_turn_is_bounded_and_what_it_does_not_reach_runs_in_the_next() {
    let mut reactor = reactor(Limits::default(), calm());
    listen(&mut reactor, echo());
    let most = (TURN_BUDGET / RUN_COST) as u64;
    let peers = connect(&mut reactor, 0, 3 * most as usize);
    turn_until(&mut reactor, "rest", |reactor| {
        reactor.net_mut().is_blocked()
    });
    let before = reactor.stats().clone();
    for peer in &peers {
        assert_eq!(reactor.net_mut().peer_send(*peer, b"x"), 1);
    }
    let mut answered = before.bytes_out;
    turn_until(&mut reactor, "every answer", |reactor| {
        let now = reactor.stats().bytes_out;
        assert!(now - answered <= most, "{} in one turn", now - answered);
        answered = now;
        now - before.bytes_out == peers.len() as u64
    });
    assert!(reactor.stats().turns_cut > before.turns_cut);
}

/// A crowd that expires together does not hold up a peer that has something to say.
#[test]
fn deadlines_that_pass_together_are_met_a_few_each_turn() {
    let limits = Limits {
        max_connections: 5_000,
        idle_timeout: Some(Duration::from_secs(60)),
        ..Limits::default()
    };
    let mut reactor = reactor(limits, calm());
    listen(&mut reactor, echo());
    let peers = connect(&mut reactor, 0, 2_000);
    let expired = |reactor: &Reactor<SimNet>| reactor.stats().closed[CloseReason::IdleTimeout];
    for peer in &peers {
        reactor.net_mut().peer_finish(*peer);
    }
    turn_until(&mut reactor, "every end", |reactor| {
        reactor.stats().live() == 0
    });
    let peers = connect(&mut reactor, 0, 2_000);
    let (quiet, mut before) = (peers[1_999], 0);
    // No FIN of theirs: each is finished by us, lingers, and goes.
    turn_until(&mut reactor, "the first to expire", |reactor| {
        reactor.net_mut().peer_end(peers[0]) == PeerEnd::Finished
    });
    assert_eq!(reactor.net_mut().peer_send(quiet, b"hi"), 2);
    let mut turns = 0;
    turn_until(&mut reactor, "the answer", |reactor| {
        turns += 1;
        reactor.net_mut().peer_read(quiet, 2) == b"hi"
    });
    assert!(turns < 20, "{turns} turns while the others expire");
    turn_until(&mut reactor, "every end", |reactor| {
        let ended = expired(reactor) - before;
        assert!(ended <= DEADLINE_BUDGET as u64, "{ended} ended in one turn");
        before += ended;
        reactor.stats().live() == 0
    });
}

#[test]
fn listeners_take_turns_at_the_connection_limit() {
    let limits = Limits {
        max_connections: 3,
        ..Limits::default()
    };
    let mut reactor = reactor(limits, calm());
    listen(&mut reactor, echo());
    listen(&mut reactor, echo());
    take_turns(&mut reactor);
}

#[test]
fn listeners_take_turns_while_descriptors_run_out() {
    let conditions = Conditions {
        descriptors: 3,
        ..calm()
    };
    let mut reactor = reactor(Limits::default(), conditions);
    listen(&mut reactor, echo());
    listen(&mut reactor, echo());
    take_turns(&mut reactor);
}

/// Many wait at both listeners, and newcomers go on announcing themselves at the first alone.
fn take_turns(reactor: &mut Reactor<SimNet>) {
    let mut served = [0, 0];
    let mut peers = Vec::new();
    for _ in 0..40 {
        for listener in [0, 1] {
            peers.push((listener, reactor.net_mut().peer_connect(listener).unwrap()));
        }
    }
    for _ in 0..300 {
        reactor.turn();
        reactor.audit().unwrap();
        peers.push((0, reactor.net_mut().peer_connect(0).unwrap()));
        let net = reactor.net_mut();
        let accepted = peers.iter().position(|(_, peer)| net.is_accepted(*peer));
        if let Some(index) = accepted {
            let (listener, peer) = peers.swap_remove(index);
            served[listener] += 1;
            net.peer_finish(peer);
        }
    }
    let [first, second] = served;
    assert!(
        second >= 35,
        "{first} served at the first listener, {second} at the second"
    );
}

/// Echoes, and panics when it is told to.
struct Fragile(Rc<Cell<u32>>);

impl Service for Fragile {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        assert_ne!(input, b"panic", "as it was told");
        cx.reply(input);
        Action::Continue
    }

    fn on_close(&mut self, _reason: CloseReason) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_service_that_panics_costs_its_own_connection() {
    let mut reactor = reactor(Limits::default(), calm());
    let closed = Rc::new(Cell::new(0));
    let told = closed.clone();
    listen(
        &mut reactor,
        Box::new(move |_| Box::new(Fragile(told.clone()))),
    );
    let peers = connect(&mut reactor, 0, 20);
    turn_until(&mut reactor, "rest", |reactor| {
        reactor.net_mut().is_blocked()
    });
    for (index, peer) in peers.iter().enumerate() {
        let text: &[u8] = if index % 3 == 0 { b"panic" } else { b"hello" };
        reactor.net_mut().peer_send(*peer, text);
    }
    turn_until(&mut reactor, "every answer", |reactor| {
        reactor.stats().bytes_out == 13 * 5
    });
    for (index, peer) in peers.iter().enumerate() {
        let end = reactor.net_mut().peer_end(*peer);
        let due = if index % 3 == 0 {
            PeerEnd::Reset
        } else {
            PeerEnd::Open
        };
        assert_eq!(end, due, "peer {index}");
        reactor.net_mut().peer_finish(*peer);
    }
    turn_until(&mut reactor, "the end", |reactor| {
        reactor.stats().live() == 0
    });
    let stats = reactor.stats();
    assert_eq!((stats.panics, stats.closed[CloseReason::Panicked]), (7, 7));
    assert_eq!(
        closed.get(),
        13,
        "a service that panicked is not called again"
    );
}

/// A peer that takes nothing, and one that reads: past the limit of all pending output it is the one that
/// has been stalled the longest that goes.
#[test]
fn past_the_limit_of_pending_output_the_longest_stalled_connection_is_reset() {
    let limits = Limits {
        max_pending_output: 100_000,
        write_timeout: None,
        ..Limits::default()
    };
    let conditions = Conditions {
        buffer: 4096,
        ..calm()
    };
    let mut reactor = reactor(limits, conditions);
    listen(&mut reactor, echo());
    let peers = connect(&mut reactor, 0, 40);
    let reads = peers[0];
    let mut sent = vec![0; peers.len()];
    let mut got = 0;
    for _ in 0..2_000 {
        for (index, peer) in peers.iter().enumerate() {
            sent[index] += reactor.net_mut().peer_send(*peer, &[7; 4096]);
        }
        got += reactor.net_mut().peer_read(reads, usize::MAX).len();
        reactor.turn();
        reactor.audit().unwrap();
        let pending = reactor.pending_output();
        assert!(pending <= 100_000, "{pending} bytes of pending output");
    }
    let reset = reactor.stats().closed[CloseReason::OutputLimit];
    assert!(reset > 0, "{}", reactor.stats());
    reactor.net_mut().peer_finish(reads);
    turn_until(&mut reactor, "the end of the peer that reads", |reactor| {
        got += reactor.net_mut().peer_read(reads, usize::MAX).len();
        reactor.net_mut().peer_end(reads) == PeerEnd::Finished
    });
    assert_eq!(got, sent[0]);
}

/// A service that asks its own loop would wait for itself.
#[test]
fn a_handle_on_the_thread_of_its_loop_does_not_wait_for_ever() {
    let mut reactor = reactor(Limits::default(), calm());
    let handle = reactor.handle();
    assert_eq!(handle.stats(), None);
    reactor.turn();
    assert_eq!(handle.stats(), None);
}

/// A selector that takes no more sockets costs the client that was accepted, who is told so by a
/// reset, and not the listener.
#[test]
fn a_connection_that_cannot_be_watched_is_reset_and_the_listener_tries_again() {
    let mut seen = 0;
    for seed in 0..200 {
        let faulty = Conditions {
            faults: 3,
            ..calm()
        };
        let net = SimNet::new(seed, faulty);
        let mut reactor = Reactor::new(net, Limits::default()).unwrap();
        listen(&mut reactor, echo());
        let peer = reactor.net_mut().peer_connect(0).unwrap();
        while reactor.stats().unregistered + reactor.stats().accepted == 0 {
            reactor.turn();
        }
        if reactor.stats().unregistered == 0 {
            continue;
        }
        seen += 1;
        assert_eq!(reactor.net_mut().peer_end(peer), PeerEnd::Reset);
        assert!(reactor.stats().accept_starved > 0, "the listener rests");
        reactor.net_mut().set_conditions(calm());
        connect(&mut reactor, 0, 1);
    }
    assert!(seen > 10, "{seen} times");
}

/// What the kernel still holds for a peer that does not read may be lost with the next byte that it
/// sends.
#[test]
fn output_that_a_peer_has_not_taken_counts_as_cut() {
    let limits = Limits {
        drain_timeout: Some(Duration::from_secs(3)),
        ..Limits::default()
    };
    let mut reactor = reactor(limits, calm());
    listen(&mut reactor, echo());
    let [peer] = connect(&mut reactor, 0, 1)[..] else {
        panic!("one peer")
    };
    reactor.net_mut().peer_send(peer, b"hello");
    turn_until(&mut reactor, "the answer", |reactor| {
        reactor.stats().bytes_out == 5
    });
    reactor.handle().terminate();
    assert_eq!(reactor.run(), Ending::Cut(1));
    assert_eq!(reactor.stats().untaken, 1);
    assert_eq!(
        reactor.net_mut().peer_read(peer, 10),
        b"hello",
        "it was not reset"
    );
}

/// Replies are made of a template, so each is weighed against the room for it.
fn template() -> Factory {
    let reply = Template::parse::<TemplateError>("{}", |_, text| Ok(text.as_bytes().to_vec()));
    let conversation = Conversation {
        framing: Framing::Chunk,
        max_message: 65_536,
        message_timeout: None,
        greeting: Box::default(),
        reply: Some(reply.unwrap()),
        close: false,
        host: Host::new("here", 1),
    };
    Messages::factory(conversation, Box::new(|_| Box::new(Echo)), None)
}

fn peer(port: u16) -> Peer {
    Peer::V4([127, 0, 0, 1].into(), port)
}

/// However many datagrams of a burst were answered before, and whatever waits for others.
#[test]
fn every_datagram_of_a_burst_is_answered_by_a_template() {
    let mut reactor = reactor(Limits::default(), calm());
    reactor
        .bind(&Address::Udp(TCP.parse().unwrap()), template())
        .unwrap();
    for _ in 0..255 {
        reactor
            .net_mut()
            .deliver(0, Path::plain(peer(5000)), vec![7; 500]);
    }
    turn_until(&mut reactor, "every answer", |reactor| {
        reactor.stats().datagrams_in == 255 && reactor.net_mut().is_blocked()
    });
    assert_eq!(reactor.stats().datagrams_out, 255, "{}", reactor.stats());
}

#[test]
fn a_unix_peer_that_does_not_read_does_not_silence_the_server_for_others() {
    let mut reactor = reactor(Limits::default(), calm());
    reactor
        .bind(&Address::Unixgram("/sim".into()), template())
        .unwrap();
    reactor.net_mut().set_stuck(0, &peer(5000), true);
    for _ in 0..400 {
        reactor
            .net_mut()
            .deliver(0, Path::plain(peer(5000)), vec![7; 10]);
    }
    for _ in 0..50 {
        reactor.turn();
    }
    reactor
        .net_mut()
        .deliver(0, Path::plain(peer(6000)), b"hello".to_vec());
    turn_until(&mut reactor, "the answer", |reactor| {
        reactor.stats().datagrams_out == 1
    });
    assert_eq!(reactor.net_mut().datagrams_sent(0)[0].1, b"hello");
}
