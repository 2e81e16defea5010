//! Single cases: each shows one behaviour over a simulated network.

use std::time::Duration;

use mynah::net::sim::{Conditions, SimNet};
use mynah::service::{Action, Context, Service};
use mynah::values::path::Path;
use mynah::{Address, CloseReason, Limits, Peer, Reactor, service};

/// Some interfaces promise to cut datagrams and then do not: none is lost, and the socket does not
/// ask twice.
#[test]
fn datagrams_that_cannot_be_cut_leave_one_by_one() {
    for (segment, together) in [(0, false), (500, true)] {
        let conditions = Conditions {
            segment,
            ..Conditions::default()
        };
        let mut reactor = Reactor::new(SimNet::new(1, conditions), Limits::default()).unwrap();
        let echo = service::factory("echo", &service::Host::new("here", 1)).unwrap();
        reactor
            .bind(&Address::Udp("127.0.0.1:7".parse().unwrap()), echo)
            .unwrap();
        let peer = Peer::V4([127, 0, 0, 1].into(), 5000);
        let mut due = Vec::new();
        for round in 0..10_u8 {
            for number in 0..6_u8 {
                let bytes =
                    vec![10 * round + number; if together && round > 4 { 400 } else { 1000 }];
                reactor
                    .net_mut()
                    .deliver(0, Path::plain(peer.clone()), bytes.clone());
                due.push(bytes);
            }
            (0..20).for_each(|_| _ = reactor.turn());
        }
        assert_eq!(
            reactor
                .net_mut()
                .datagrams_sent(0)
                .iter()
                .map(|(_, bytes)| bytes)
                .collect::<Vec<_>>(),
            due.iter().collect::<Vec<_>>()
        );
        let stats = reactor.stats().clone();
        assert_eq!(
            (
                stats.datagrams_out,
                stats.datagrams_refused,
                stats.datagram_fallbacks
            ),
            (60, 0, 1),
            "{stats}"
        );
        // Shorter ones still go together where it was the length.
        assert_eq!(
            reactor.net_mut().messages_sent(0) < 60,
            together,
            "{} messages",
            reactor.net_mut().messages_sent(0)
        );
    }
}

/// Says something each second, and goes on when the peer has ended its side.
struct Clockwork;

impl Service for Clockwork {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        cx.set_alarm(cx.now + Duration::from_secs(1));
        Action::Continue
    }

    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        Action::Continue
    }

    fn on_eof(&mut self, _cx: &mut Context<'_>) -> Action {
        Action::Continue
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        cx.reply(b"tick");
        self.on_open(cx)
    }
}

/// A reactor that serves one client by clockwork, and the number of the client.
fn clockwork() -> (Reactor<SimNet>, usize) {
    let mut reactor =
        Reactor::new(SimNet::new(1, Conditions::default()), Limits::default()).unwrap();
    reactor
        .listen(
            &Address::Tcp("127.0.0.1:7".parse().unwrap()),
            1,
            Box::new(|_| Box::new(Clockwork)),
        )
        .unwrap();
    let client = reactor.net_mut().peer_connect(0).unwrap();
    (reactor, client)
}

/// Turns until `condition` holds.
#[track_caller]
fn turn_until(
    reactor: &mut Reactor<SimNet>,
    what: &str,
    mut condition: impl FnMut(&mut Reactor<SimNet>) -> bool,
) {
    for _ in 0..10_000 {
        reactor.turn();
        if condition(reactor) {
            return;
        }
    }
    panic!("{what} did not come: {}", reactor.stats());
}

/// With nothing to read and nothing owed, only the error itself can tell that the peer is gone.
#[test]
fn a_reset_is_noticed_while_a_service_waits_for_its_alarm() {
    let (mut reactor, client) = clockwork();
    reactor.net_mut().peer_finish(client);
    turn_until(&mut reactor, "the first word", |reactor| {
        reactor.net_mut().peer_read(client, 4) == b"tick"
    });
    reactor.net_mut().peer_reset(client);
    let said = reactor.stats().bytes_out;
    turn_until(&mut reactor, "the end", |reactor| {
        reactor.stats().live() == 0
    });
    assert_eq!(reactor.stats().closed[CloseReason::Reset], 1);
    assert_eq!(
        reactor.stats().bytes_out,
        said,
        "it was the reset that ended it, not a word to nobody"
    );
}

/// More input every turn than a budget takes: the alarm comes all the same.
#[test]
fn a_flood_does_not_put_off_an_alarm() {
    let (mut reactor, client) = clockwork();
    reactor.net_mut().set_conditions(Conditions {
        buffer: 1 << 20,
        jumps: 20,
        ..Conditions::default()
    });
    let (flood, mut words) = (vec![0; 1 << 20], Vec::new());
    turn_until(&mut reactor, "a third word", |reactor| {
        reactor.net_mut().peer_send(client, &flood);
        words.extend(reactor.net_mut().peer_read(client, 100));
        words.len() >= 12
    });
    assert_eq!(words, b"tickticktick");
    assert!(
        reactor.stats().yields >= reactor.stats().turns - 5,
        "every turn but the first had a full budget: {}",
        reactor.stats()
    );
}

#[test]
fn a_handle_of_a_reactor_that_has_stopped_gets_no_answer_rather_than_silence() {
    let (mut reactor, _) = clockwork();
    let handle = reactor.handle();
    handle.terminate();
    handle.stop();
    reactor.run();
    assert_eq!(handle.stats(), None);
}
