//! Connections that we begin, and conversations of messages, over the simulated network.
//!
//! A seed decides everything; the variables of `tests/simulation/seeds.rs` choose the seeds. The
//! peers are the worst that is allowed: an echo that does not read while it has something to send,
//! tiny buffers, faults. After every turn, whatever could run must stand in the run queue. When the
//! peers have come to their ends everybody has got everything, or a fault of the network excuses
//! it.

#[path = "simulation/seeds.rs"]
mod seeds;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mynah::Dice;
use mynah::net::sim::{Conditions, PeerEnd, Selector, SimNet};
use mynah::service::{
    Action, Context, Discard, Framing, Host, Messages, Service, Template, TemplateError,
};
use mynah::{Address, CloseReason, Limits, Reactor};

use self::seeds::seeds;

/// Steps after which a run hangs.
const PATIENCE: usize = 100_000;

/// Seeds that each test runs.
const SEEDS: u64 = 32;

fn conditions(dice: &mut Dice) -> Conditions {
    Conditions {
        selector: [Selector::Edge, Selector::Rearm][dice.below(2)],
        faults: [0, 0, 300][dice.below(3)],
        interruptions: [0, 10][dice.below(2)],
        buffer: [64, 1000, 4096][dice.below(3)],
        unanswered: [0, 5][dice.below(2)],
        spurious: [0, 6][dice.below(2)],
        ..Conditions::default()
    }
}

/// A TCP or a Unix address.
fn address(dice: &mut Dice) -> Address {
    if dice.once_in(2) {
        Address::Unix("/peer".into())
    } else {
        Address::Tcp(([192, 0, 2, 1], 7).into())
    }
}

fn text(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at.wrapping_mul(31) >> 3) as u8)
        .collect()
}

/// What a client has lived through.
#[derive(Debug, Default)]
struct Talked {
    got: usize,
    has_opened: bool,
    has_ended: bool,
    closed: Vec<CloseReason>,
}

/// Says a text, ends its side, and reads to its peer's end. It says a piece each time that it is
/// woken, and now and then has no room for input.
struct Talker {
    dice: Dice,
    text: Rc<[u8]>,
    said: usize,
    is_holding: bool,
    talked: Rc<RefCell<Talked>>,
}

impl Talker {
    fn speak(&mut self, cx: &mut Context<'_>) -> Action {
        let count = cx
            .room()
            .min(self.text.len() - self.said)
            .min(1 + self.dice.below(9_000));
        cx.reply(&self.text[self.said..self.said + count]);
        self.said += count;
        match (self.said == self.text.len(), self.dice.once_in(2)) {
            (true, _) => Action::HalfClose,
            (false, true) => Action::More,
            (false, false) => Action::Continue,
        }
    }
}

impl Service for Talker {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        assert!(
            !std::mem::replace(&mut self.talked.borrow_mut().has_opened, true),
            "opened twice"
        );
        self.speak(cx)
    }

    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        assert!(!self.is_holding, "read although the input is held");
        let mut talked = self.talked.borrow_mut();
        assert_eq!(
            self.text.get(talked.got..talked.got + input.len()),
            Some(input),
            "at {}",
            talked.got
        );
        talked.got += input.len();
        self.is_holding = self.dice.once_in(4);
        cx.hold_input(self.is_holding);
        if self.is_holding {
            cx.set_alarm(cx.now + Duration::from_millis(self.dice.below(50) as u64));
        }
        Action::Continue
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        self.speak(cx)
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        self.is_holding = false;
        cx.hold_input(false);
        if self.said < self.text.len() {
            self.speak(cx)
        } else {
            Action::Continue
        }
    }

    fn on_eof(&mut self, _cx: &mut Context<'_>) -> Action {
        self.talked.borrow_mut().has_ended = true;
        Action::FINISH
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.talked.borrow_mut().closed.push(reason);
    }
}

/// An echo that does not read while it has something to send. If a client did the same, both would
/// wait for ever.
fn echo(net: &mut SimNet, dice: &mut Dice, number: usize, unsent: &mut Vec<u8>) {
    if dice.once_in(3) {
        return;
    }
    if unsent.is_empty() {
        *unsent = net.peer_read(number, 1 + dice.below(5_000));
    }
    let sent = net.peer_send(number, unsent);
    unsent.drain(..sent);
    if unsent.is_empty() && net.peer_end(number) == PeerEnd::Finished {
        net.peer_finish(number);
    }
}

#[test]
fn clients_get_back_what_they_said_or_are_told_why_not() {
    let mut seen = [0; CloseReason::ALL.len()];
    for seed in seeds(SEEDS) {
        let mut dice = Dice::new(seed);
        let conditions = conditions(&mut dice);
        let limits = Limits {
            connect_timeout: Some(Duration::from_secs(2)),
            ..Limits::default()
        };
        let mut reactor = Reactor::new(SimNet::new(dice.roll(), conditions), limits).unwrap();
        let address = address(&mut dice);
        let mut clients = Vec::new();
        for number in 0..4 {
            let (size, talked) = (
                1 + dice.below(30_000),
                Rc::new(RefCell::new(Talked::default())),
            );
            let talker = Talker {
                dice: Dice::new(dice.roll()),
                text: text(size).into(),
                said: 0,
                is_holding: false,
                talked: talked.clone(),
            };
            match reactor.connect(&address, None, Box::new(talker)) {
                Ok(token) => clients.push((number, token, size, talked, Vec::new())),
                Err(_) => assert!(reactor.net_mut().is_faulted(number), "seed {seed}"),
            }
        }
        let handle = reactor.handle();
        for step in 0.. {
            reactor.turn();
            reactor
                .audit()
                .unwrap_or_else(|lost| panic!("seed {seed}, step {step}: {lost}"));
            for (number, token, _, talked, unsent) in &mut clients {
                if talked.borrow().closed.is_empty() {
                    echo(reactor.net_mut(), &mut dice, *number, unsent);
                    if dice.once_in(4) {
                        handle.wake(*token);
                    }
                }
            }
            if clients
                .iter()
                .all(|(_, _, _, talked, _)| !talked.borrow().closed.is_empty())
            {
                break;
            }
            assert!(
                step < PATIENCE,
                "seed {seed}: the clients wait for ever: {clients:?}"
            );
        }
        for (number, _, size, talked, _) in &clients {
            let (talked, net) = (talked.borrow(), reactor.net_mut());
            let [reason] = talked.closed[..] else {
                panic!("seed {seed}: closed {:?}", talked.closed)
            };
            seen[reason as usize] += 1;
            if net.is_unanswered(*number) {
                assert!(!talked.has_opened, "seed {seed}");
                let fits = if net.is_faulted(*number) {
                    &UNMADE[..]
                } else {
                    &[CloseReason::TimedOut]
                };
                assert!(fits.contains(&reason), "seed {seed}: {reason}");
            } else if net.is_faulted(*number) {
                assert!(
                    UNMADE.contains(&reason) || BROKEN.contains(&reason),
                    "seed {seed}: {reason}"
                );
            } else {
                assert_eq!(
                    (talked.got, talked.has_ended, reason),
                    (*size, true, CloseReason::PeerClosed),
                    "seed {seed}"
                );
            }
        }
        assert_eq!(reactor.stats().live(), 0, "seed {seed}");
    }
    if seeds(SEEDS).count() > 30 {
        for reason in [
            CloseReason::PeerClosed,
            CloseReason::TimedOut,
            CloseReason::Reset,
        ] {
            assert!(seen[reason as usize] > 0, "no client ended with {reason}");
        }
    }
}

/// How a connection that was never made may end.
const UNMADE: [CloseReason; 4] = [
    CloseReason::Refused,
    CloseReason::TimedOut,
    CloseReason::Unreachable,
    CloseReason::Failed,
];
/// How one that was made and met a fault may end.
const BROKEN: [CloseReason; 4] = [
    CloseReason::PeerClosed,
    CloseReason::Reset,
    CloseReason::Failed,
    CloseReason::TimedOut,
];

/// The answers to the lines of `sent`. A last line without an end has one only if the stream has
/// ended.
fn answers(sent: &[u8], has_ended: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, line) in sent.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let (body, end) = match (line.strip_suffix(b"\r\n"), line.strip_suffix(b"\n")) {
            (Some(body), _) => (body, &b"\r\n"[..]),
            (None, Some(body)) => (body, &b"\n"[..]),
            (None, None) if has_ended => (line, &b""[..]),
            (None, None) => break,
        };
        out.extend([format!("{}:", index + 1).as_bytes(), body, body, body, end].concat());
    }
    out
}

/// Answers are three times as long as their questions, and the peers read late: everything comes,
/// in order, and within bounds.
#[test]
fn answers_larger_than_questions_come_back_whole() {
    for seed in seeds(SEEDS) {
        let mut dice = Dice::new(seed);
        let conditions = Conditions {
            unanswered: 0,
            ..conditions(&mut dice)
        };
        let mut reactor =
            Reactor::new(SimNet::new(dice.roll(), conditions), Limits::default()).unwrap();
        let reply = Template::parse::<TemplateError>("{seq}:{}{}{}", |_, text| {
            Ok(text.as_bytes().to_vec())
        })
        .unwrap();
        let conversation = mynah::service::Conversation {
            framing: Framing::Line,
            max_message: 100_000,
            message_timeout: None,
            greeting: Box::default(),
            reply: Some(reply),
            close: false,
            host: Host::new("here", 1),
        };
        let make = Messages::factory(conversation, Box::new(|_| Box::new(Discard)), None);
        reactor.listen(&address(&mut dice), 64, make).unwrap();
        let mut clients: Vec<(usize, Vec<u8>, usize, Vec<u8>)> = Vec::new();
        for _ in 0..3 {
            let number = reactor.net_mut().peer_connect(0).unwrap();
            let bytes = (0..dice.below(40_000))
                .map(|_| {
                    if dice.once_in(2_000) {
                        b'\n'
                    } else {
                        b"ab\r"[dice.below(3)]
                    }
                })
                .collect();
            clients.push((number, bytes, 0, Vec::new()));
        }
        for step in 0.. {
            reactor.turn();
            reactor
                .audit()
                .unwrap_or_else(|lost| panic!("seed {seed}, step {step}: {lost}"));
            let net = reactor.net_mut();
            let mut all_over = true;
            for (number, bytes, sent, got) in &mut clients {
                if dice.once_in(8) && *sent < bytes.len() {
                    *sent += net.peer_send_marked(*number, bytes[*sent]);
                }
                *sent += net.peer_send(*number, &bytes[*sent..]);
                if *sent == bytes.len() {
                    net.peer_finish(*number);
                }
                if !dice.once_in(3) {
                    got.extend(net.peer_read(*number, dice.below(3_000)));
                }
                let is_whole = net.peer_end(*number) == PeerEnd::Open || net.is_faulted(*number);
                assert!(
                    net.is_faulted(*number) || answers(bytes, true).starts_with(got),
                    "seed {seed}, step {step}"
                );
                all_over &= !is_whole || net.peer_end(*number) != PeerEnd::Open;
            }
            if all_over {
                break;
            }
            assert!(step < PATIENCE, "seed {seed}: the peers wait for ever");
        }
        for (number, bytes, _, got) in &clients {
            let net = reactor.net_mut();
            assert!(
                net.is_faulted(*number) || *got == answers(bytes, true),
                "seed {seed}: {} bytes",
                got.len()
            );
        }
    }
}
