//! Services that speak by the clock, signals and handles.

use std::time::Duration;

use mynah::net::sim::{Conditions, SimNet};
use mynah::service::{Action, Context, Service};
use mynah::{CloseReason, Lifecycle, Limits, Reactor, Signal};

use super::{reactor, rest, tcp, turn_until};

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
    let mut reactor = reactor(1, Conditions::default(), Limits::default());
    reactor.catch_signals().unwrap();
    let make = Box::new(|_| Box::new(Clockwork) as Box<dyn Service>);
    reactor.listen(&tcp(), 1, make).unwrap();
    let client = reactor.net_mut().peer_connect(0).unwrap();
    (reactor, client)
}

/// With nothing to read and nothing to write, only the error itself can tell that the peer is gone.
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
fn a_reload_and_a_report_end_nothing() {
    let (mut reactor, client) = clockwork();
    for signal in [Signal::Reload, Signal::Report, Signal::Reload] {
        reactor.net_mut().raise(signal);
        rest(&mut reactor);
        assert_eq!(reactor.turn(), Lifecycle::Running);
    }
    assert_eq!(reactor.stats().live(), 1);
    assert!(reactor.net_mut().peer_read(client, 4).starts_with(b"tick"));
    reactor.net_mut().raise(Signal::Terminate);
    turn_until(&mut reactor, "the drain", |reactor| {
        matches!(reactor.turn(), Lifecycle::Draining { .. })
    });
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
