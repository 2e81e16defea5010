//! What the loop promises to a service, and what it does with the answers.
//!
//! Over the simulator, whose clock obeys, and over real sockets where it is the kernel that decides
//! how much comes at once.

mod common;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use common::{Background, connect_small, loopback, stuff};
use mynah::net::sim::{Conditions, PeerEnd, SimNet};
use mynah::service::{Action, Context, Service};
use mynah::{Address, CloseReason, Ending, Lifecycle, Limits, Reactor, Time, limits};

const SECOND: Duration = Duration::from_secs(1);

/// A reactor that serves one simulated client, and the number of the client.
fn serve(
    rules: Conditions,
    limits: Limits,
    make: impl Fn() -> Box<dyn Service> + 'static,
) -> (Reactor<SimNet>, usize) {
    let mut reactor = Reactor::new(SimNet::new(1, rules), limits).unwrap();
    let address = Address::Tcp("127.0.0.1:7".parse().unwrap());
    reactor
        .listen(&address, 1, Box::new(move |_| make()))
        .unwrap();
    let client = reactor.net_mut().peer_connect(0).unwrap();
    (reactor, client)
}

#[track_caller]
fn turn_until(
    reactor: &mut Reactor<SimNet>,
    what: &str,
    mut condition: impl FnMut(&mut Reactor<SimNet>) -> bool,
) {
    for _ in 0..20_000 {
        reactor.turn();
        reactor.audit().unwrap();
        if condition(reactor) {
            return;
        }
    }
    panic!("{what} did not come: {}", reactor.stats());
}

/// An echo that relies on the rule: there is always room for an answer of the size of its input.
struct Trusting;

impl Service for Trusting {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        assert!(input.len() <= limits::READ_BUFFER);
        assert!(
            input.len() <= cx.room(),
            "{} bytes came where there is room for {}",
            input.len(),
            cx.room()
        );
        cx.reply(input);
        Action::Continue
    }
}

#[test]
fn a_server_gets_no_more_input_than_it_has_room_for_in_the_simulator() {
    let rules = Conditions {
        buffer: 200_000,
        ..Conditions::default()
    };
    let (mut reactor, client) = serve(rules, Limits::default(), || Box::new(Trusting));
    let bytes = vec![b'x'; 200_000];
    let (mut sent, mut got) = (0, 0);
    turn_until(&mut reactor, "two megabytes", |reactor| {
        sent += reactor.net_mut().peer_send(client, &bytes);
        got += reactor.net_mut().peer_read(client, 3_000).len();
        got > 2_000_000
    });
    assert!(sent > got);
}

#[test]
fn a_server_gets_no_more_input_than_it_has_room_for_over_sockets() {
    let server = Background::start(Address::Tcp(loopback()), Limits::default(), || Trusting);
    let Address::Tcp(address) = server.address else {
        panic!("{} is no TCP endpoint", server.address)
    };
    let clients: Vec<_> = (0..4).map(|_| connect_small(address)).collect();
    for _ in 0..3 {
        let taken = stuff(&clients, &[b'x'; 65_536]);
        for (mut client, taken) in clients.iter().zip(taken) {
            client.read_exact(&mut vec![0; taken]).unwrap();
        }
    }
}

/// Says goodbye when the loop wants to finish, after it has asked for more time so often.
struct Polite {
    delays: u32,
    asked: Rc<RefCell<Vec<(CloseReason, Time)>>>,
    closed: Rc<Cell<Option<CloseReason>>>,
}

impl Service for Polite {
    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        Action::Continue
    }

    fn on_finish(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Action {
        self.asked.borrow_mut().push((reason, cx.now));
        if self.delays > 0 {
            self.delays -= 1;
            return Action::Continue;
        }
        cx.reply(b"bye");
        Action::Finish(reason)
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.closed.set(Some(reason));
    }
}

type Asked = Rc<RefCell<Vec<(CloseReason, Time)>>>;

fn polite(delays: u32, limits: Limits) -> (Reactor<SimNet>, usize, Asked) {
    let asked = Asked::default();
    let shared = asked.clone();
    let (reactor, client) = serve(Conditions::default(), limits, move || {
        Box::new(Polite {
            delays,
            asked: shared.clone(),
            closed: Rc::default(),
        })
    });
    (reactor, client, asked)
}

#[track_caller]
fn assert_says_bye(reactor: &mut Reactor<SimNet>, client: usize) {
    let mut got = Vec::new();
    turn_until(reactor, "the goodbye", |reactor| {
        let net = reactor.net_mut();
        got.extend(net.peer_read(client, 100));
        net.peer_end(client) == PeerEnd::Finished
    });
    assert_eq!(got, b"bye");
}

#[test]
fn a_service_says_goodbye_before_an_idle_timeout() {
    let limits = Limits {
        idle_timeout: Some(SECOND),
        ..Limits::default()
    };
    let (mut reactor, client, asked) = polite(0, limits);
    assert_says_bye(&mut reactor, client);
    assert_eq!(asked.borrow().len(), 1);
    assert_eq!(asked.borrow()[0].0, CloseReason::IdleTimeout);
    reactor.net_mut().peer_finish(client);
    turn_until(&mut reactor, "the end", |reactor| {
        reactor.stats().live() == 0
    });
    assert_eq!(reactor.stats().closed[CloseReason::IdleTimeout], 1);
}

#[test]
fn a_service_says_goodbye_before_a_drain_ends_it() {
    let (mut reactor, client, asked) = polite(0, Limits::default());
    turn_until(&mut reactor, "the client", |reactor| {
        reactor.stats().live() == 1
    });
    reactor.handle().terminate();
    assert_says_bye(&mut reactor, client);
    assert_eq!(asked.borrow()[0].0, CloseReason::Drained);
    assert_eq!(reactor.run(), Ending::Clean);
}

/// Each time a whole timeout later: a service that goes on is not asked in a spin.
#[test]
fn a_service_that_goes_on_is_asked_again_after_another_timeout() {
    let limits = Limits {
        idle_timeout: Some(SECOND),
        ..Limits::default()
    };
    let (mut reactor, client, asked) = polite(3, limits);
    assert_says_bye(&mut reactor, client);
    let times: Vec<_> = asked.borrow().iter().map(|(_, at)| *at).collect();
    assert_eq!(times.len(), 4);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= SECOND));
}

/// What the service holds, and whether it takes input.
struct Holding {
    pending: usize,
    is_held: bool,
}

impl Service for Holding {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        cx.hold_input(self.is_held);
        Action::Continue
    }

    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        Action::Continue
    }

    fn on_finish(&mut self, _cx: &mut Context<'_>, _reason: CloseReason) -> Action {
        Action::Continue
    }

    fn pending(&self) -> usize {
        self.pending
    }
}

/// How a drain ends that a service holds up to its deadline.
fn drain(pending: usize, is_held: bool, input: &[u8]) -> Ending {
    let (mut reactor, client) = serve(Conditions::default(), Limits::default(), move || {
        Box::new(Holding { pending, is_held })
    });
    reactor.net_mut().peer_send(client, input);
    turn_until(&mut reactor, "the client", |reactor| {
        reactor.stats().live() == 1
    });
    reactor.handle().terminate();
    while reactor.turn() != Lifecycle::Stopped {
        reactor.audit().unwrap();
    }
    reactor.run()
}

#[test]
fn the_end_of_a_drain_is_judged_by_what_the_peer_loses() {
    assert_eq!(drain(0, false, b"taken"), Ending::Clean);
    assert_eq!(drain(0, true, b""), Ending::Clean);
    assert_eq!(drain(5, false, b"taken"), Ending::Cut(1), "held output");
    assert_eq!(drain(0, true, b"unread"), Ending::Cut(1), "unread input");
}

#[test]
fn output_that_a_service_holds_for_ever_meets_the_write_timeout() {
    let (mut reactor, _) = serve(Conditions::default(), Limits::default(), || {
        Box::new(Holding {
            pending: 1,
            is_held: false,
        })
    });
    turn_until(&mut reactor, "the timeout", |reactor| {
        reactor.stats().closed[CloseReason::WriteTimeout] == 1
    });
}

/// Fills the simulated socket to the last byte, and says one more later.
struct Filler(usize);

impl Service for Filler {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        (0..self.0).for_each(|_| cx.reply(b"x"));
        cx.set_alarm(cx.now + 5 * SECOND);
        Action::Continue
    }

    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        Action::Continue
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        cx.reply(b"y");
        Action::Continue
    }
}

#[test]
fn a_refused_write_is_no_progress() {
    let rules = Conditions {
        buffer: 64,
        ..Conditions::default()
    };
    let limits = Limits {
        idle_timeout: Some(8 * SECOND),
        write_timeout: None,
        ..Limits::default()
    };
    let (mut reactor, _) = serve(rules, limits, || Box::new(Filler(64)));
    turn_until(&mut reactor, "the timeout", |reactor| {
        reactor.stats().closed[CloseReason::IdleTimeout] == 1
    });
    let at = reactor.now() - Time::ZERO;
    assert!(at < 10 * SECOND, "the refused write put it off to {at:?}");
}

/// Ends as it is told to by the first byte.
struct Ender;

impl Service for Ender {
    fn on_data(&mut self, _cx: &mut Context<'_>, input: &[u8]) -> Action {
        match input[0] {
            b'f' => Action::TOO_LONG,
            _ => Action::Abort(CloseReason::MessageTooLong),
        }
    }
}

/// The reason says why, the action says how: an abort is a reset whatever it is for.
#[test]
fn a_finish_is_an_end_of_stream_and_an_abort_a_reset() {
    for (word, end) in [(b"f", PeerEnd::Finished), (b"a", PeerEnd::Reset)] {
        let (mut reactor, client) =
            serve(Conditions::default(), Limits::default(), || Box::new(Ender));
        reactor.net_mut().peer_send(client, word);
        turn_until(&mut reactor, "the end", |reactor| {
            reactor.net_mut().peer_end(client) == end
        });
        reactor.net_mut().peer_finish(client);
        turn_until(&mut reactor, "the close", |reactor| {
            reactor.stats().closed[CloseReason::MessageTooLong] == 1
        });
    }
}

/// A half-closed service is not sent to its linger by a reply that comes after it.
struct Asker;

impl Service for Asker {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        cx.reply(b"question");
        Action::HalfClose
    }

    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        assert_eq!(cx.room(), 0, "nobody would hear it");
        cx.reply(b"not heard");
        Action::Continue
    }
}

#[test]
fn a_half_closed_service_hears_to_the_end_and_says_nothing_more() {
    let server = Background::start(Address::Tcp(loopback()), Limits::default(), || Asker);
    let mut client = server.connect();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"question");
    client.write_all(b"a late answer").unwrap();
    drop(client);
    common::eventually("the close", || {
        (server.stats().closed[CloseReason::PeerClosed] == 1).then_some(())
    });
    assert_eq!(server.stats().bytes_in, 13);
}
