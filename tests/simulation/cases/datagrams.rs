//! Datagram sockets: messages that cannot be cut, our own names, groups, panics, budgets.

use mynah::limits::DATAGRAM_BUDGET;
use mynah::net::sim::{COALESCED, Conditions};
use mynah::values::path::Path;
use mynah::{Address, Ending, Limits, Peer, Refusal};

use super::{echo, reactor, rest, udp};
use crate::model::rules::DATAGRAMS;
use crate::model::services::{Fragile, MAGIC, silence_deliberate_panics};

fn client() -> Path {
    Path::plain(Peer::V4([127, 0, 0, 1].into(), 5000))
}

/// Some interfaces promise to cut datagrams and then do not: none is lost, and the socket does not
/// ask twice.
#[test]
fn datagrams_that_cannot_be_cut_leave_one_by_one() {
    for (segment, together) in [(0, false), (500, true)] {
        let conditions = Conditions {
            segment,
            ..Conditions::default()
        };
        let mut reactor = reactor(1, conditions, Limits::default());
        reactor.bind(&udp(), echo()).unwrap();
        let mut due = Vec::new();
        for round in 0..10_u8 {
            for number in 0..6_u8 {
                let size = if together && round > 4 { 400 } else { 1000 };
                let bytes = vec![10 * round + number; size];
                reactor.net_mut().deliver(0, client(), bytes.clone());
                due.push(bytes);
            }
            rest(&mut reactor);
        }
        let net = reactor.net_mut();
        let sent = net.datagrams_sent(0).iter().map(|(_, bytes)| bytes);
        assert!(sent.eq(&due), "datagrams are missing or changed");
        // Shorter ones still go together, if the length was the reason.
        let messages = net.messages_sent(0);
        assert_eq!(messages < 60, together, "{messages} messages");
        let stats = reactor.stats();
        let (out, refused) = (stats.datagrams_out, stats.datagrams_refused);
        assert_eq!((out, refused, stats.datagram_fallbacks), (60, 0, 1));
    }
}

/// Two names lead to the server: its own, and one that only the file system knows to be the same.
#[test]
fn a_unix_datagram_server_does_not_answer_itself_for_ever() {
    let mut reactor = reactor(1, Conditions::default(), Limits::default());
    let address = Address::Unixgram("/sim".into());
    reactor.bind(&address, echo()).unwrap();
    let names = ["/sim", "/link"].map(|name| Peer::Unix(Box::from(name.as_bytes())));
    reactor.net_mut().alias(names[1].clone(), 0);
    for name in names {
        reactor.net_mut().deliver(0, Path::plain(name), vec![1]);
    }
    rest(&mut reactor);
    // The answer to the second name comes back from the first, and ends there.
    assert_eq!(reactor.net_mut().looped(), 1);
    assert_eq!(reactor.stats().unanswered[Refusal::Ourselves], 2);
}

/// A datagram to a broadcast or group address is answered by members of that group alone.
#[test]
fn a_socket_outside_the_group_does_not_answer_the_group() {
    let mut reactor = reactor(1, Conditions::default(), Limits::default());
    let everywhere = Address::Udp(([0, 0, 0, 0], 7).into());
    reactor.bind(&everywhere, echo()).unwrap();
    let group = Address::Udp(([239, 1, 2, 3], 7).into());
    reactor.bind(&group, echo()).unwrap();
    for socket in 0..2 {
        let path = Path {
            to_group: true,
            ..client()
        };
        reactor.net_mut().deliver(socket, path, vec![1]);
    }
    rest(&mut reactor);
    let net = reactor.net_mut();
    let sent = [0, 1].map(|socket| net.datagrams_sent(socket).len());
    assert_eq!(sent, [0, 1]);
    assert_eq!(reactor.stats().unanswered[Refusal::ToGroup], 1);
}

/// A datagram whose service panics costs its burst. The socket lives on.
#[test]
fn a_datagram_that_makes_its_service_panic_does_not_end_the_socket() {
    silence_deliberate_panics();
    let mut reactor = reactor(1, Conditions::default(), Limits::default());
    reactor
        .bind(&udp(), Box::new(|shape| Box::new(Fragile(shape))))
        .unwrap();
    for last in [1, MAGIC, 2] {
        reactor.net_mut().deliver(0, client(), vec![0, last]);
        rest(&mut reactor);
    }
    let sent = reactor.net_mut().datagrams_sent(0);
    let sent: Vec<u8> = sent.iter().map(|(_, bytes)| bytes[1]).collect();
    assert_eq!(sent, [1, 2]);
    assert_eq!(reactor.stats().panics, 1);
}

/// The budget of a turn counts datagrams, however many of them share a message of the kernel, and
/// however many sockets are flooded. A socket answers a whole message although its budget ends
/// within it; the turn is charged for all of that.
#[test]
fn floods_of_coalesced_datagrams_are_cut_at_the_budget_of_the_turn() {
    const SOCKETS: usize = 4;
    for seed in 0..400 {
        let mut reactor = reactor(seed, Conditions::default(), Limits::default());
        for socket in 0..SOCKETS {
            reactor.bind(&udp(), echo()).unwrap();
            // The budget of the socket but for one, each from its own peer, then long messages.
            let singles = (1..DATAGRAM_BUDGET).map(|index| 6000 + index as u16);
            for port in singles.chain([5000; 3 * COALESCED]) {
                let path = Path::plain(Peer::V4([127, 0, 0, 1].into(), port));
                reactor.net_mut().deliver(socket, path, vec![7; 4]);
            }
        }
        let mut before = 0;
        while before < (SOCKETS * (DATAGRAM_BUDGET - 1 + 3 * COALESCED)) as u64 {
            reactor.turn();
            let handled = reactor.stats().datagrams_in - before;
            before += handled;
            assert!(
                handled <= DATAGRAMS,
                "seed {seed}: {handled} datagrams in one turn"
            );
        }
    }
}

/// The server ends at once while a socket holds more than one run answers. It answers a last run,
/// counts the rest, and says that it cut something. Datagrams of one message of the kernel count
/// one by one.
#[test]
fn datagrams_that_the_end_leaves_unanswered_are_counted() {
    for (seed, most) in (0..100).flat_map(|seed| [(seed, 1000), (seed, DATAGRAM_BUDGET as u64)]) {
        let mut reactor = reactor(seed, Conditions::default(), Limits::default());
        reactor.bind(&udp(), echo()).unwrap();
        for _ in 0..most {
            reactor.net_mut().deliver(0, client(), vec![7; 4]);
        }
        reactor.handle().stop();
        let ending = reactor.run();
        let stats = reactor.stats();
        let (out, overflowed) = (stats.datagrams_out, stats.datagrams_overflowed);
        assert_eq!(stats.datagrams_in, most, "seed {seed}: {stats}");
        assert_eq!(
            out + overflowed + stats.datagrams_cut,
            most,
            "seed {seed}: {stats}"
        );
        let is_cut = stats.datagrams_cut > 0;
        assert_eq!(ending == Ending::Cut(1), is_cut, "seed {seed}: {stats}");
        assert!(is_cut || most < 1000, "seed {seed}: {stats}");
    }
}

/// A service that panics in the last look at its socket: the end comes all the same, and every
/// datagram is counted.
#[test]
fn a_panic_in_the_last_look_loses_no_count() {
    silence_deliberate_panics();
    for seed in 0..100 {
        let mut reactor = reactor(seed, Conditions::default(), Limits::default());
        reactor
            .bind(&udp(), Box::new(|shape| Box::new(Fragile(shape))))
            .unwrap();
        for _ in 0..1000 {
            reactor.net_mut().deliver(0, client(), vec![0, MAGIC]);
        }
        reactor.handle().stop();
        assert_eq!(reactor.run(), Ending::Cut(1), "seed {seed}");
        let stats = reactor.stats();
        let panicked = stats.unanswered[Refusal::Panicked];
        assert_eq!(stats.datagrams_in, 1000, "seed {seed}: {stats}");
        assert_eq!(panicked + stats.datagrams_cut, 1000, "seed {seed}: {stats}");
    }
}
