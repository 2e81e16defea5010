//! For any template, framing and input the output is what a plain reference says, however the input
//! is cut and whatever room there is.
//!
//! The reference below sees the whole input at once and copies as it likes. The service sees
//! pieces, over a transport that takes random amounts, keeps the rest up to a bound, and fails the
//! test if anybody says more than there is room for.

use std::cell::Cell;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mynah::Dice;
use mynah::net::sim::{self, SimNet};
use mynah::service::{
    Action, Context, Delimiter, Discard, Echo, Framing, Host, Messages, Service, Shape, Tap,
    Template, TemplateError, Transport, Width,
};
use mynah::{Address, CloseReason, Limits, Peer, Reactor, Time, service};
use proptest::prelude::*;

/// A socket that takes what it likes, behind an outbox of `limit` bytes.
struct Narrow {
    dice: Dice,
    limit: usize,
    pending: usize,
    is_held: bool,
    sent: Vec<u8>,
    writes: usize,
}

impl Narrow {
    fn new(seed: u64, limit: usize) -> Narrow {
        Narrow {
            dice: Dice::new(seed),
            limit,
            pending: 0,
            is_held: false,
            sent: Vec::new(),
            writes: 0,
        }
    }
}

impl Transport for Narrow {
    fn clock(&mut self) -> Time {
        Time::ZERO
    }

    fn send(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.room(),
            "{} bytes were said where there was room for {}",
            bytes.len(),
            self.room()
        );
        let taken = if self.pending > 0 {
            0
        } else {
            self.dice.below(2 * bytes.len() + 1).min(bytes.len())
        };
        self.pending += bytes.len() - taken;
        self.sent.extend_from_slice(bytes);
        self.writes += 1;
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) {
        self.send(
            &pieces
                .iter()
                .map(|piece| &**piece)
                .collect::<Vec<_>>()
                .concat(),
        );
    }

    fn room(&self) -> usize {
        self.limit - self.pending
    }

    fn hold_input(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    fn local(&self) -> Option<Peer> {
        Some(peer())
    }

    fn wall_clock(&mut self) -> Duration {
        Duration::from_millis(1)
    }

    fn set_alarm(&mut self, _at: Time) {}
}

fn peer() -> Peer {
    Peer::from(SocketAddr::from(([192, 0, 2, 7], 99)))
}

/// Drives a service as a connection does: nothing is read while output is pending or the input is
/// held. Returns how it ended.
struct Conversation {
    service: Box<dyn Service>,
    transport: Narrow,
    has_more: bool,
    ended: Option<Action>,
}

impl Conversation {
    fn new(service: Box<dyn Service>, transport: Narrow) -> Conversation {
        Conversation {
            service,
            transport,
            has_more: false,
            ended: None,
        }
    }

    fn call(&mut self, event: impl FnOnce(&mut dyn Service, &mut Context<'_>) -> Action) {
        if self.ended.is_some() {
            return;
        }
        match event(
            &mut *self.service,
            &mut Context::new(Time::ZERO, &peer(), &mut self.transport),
        ) {
            Action::Continue => {}
            Action::More => self.has_more = true,
            ended => self.ended = Some(ended),
        }
    }

    /// The peer reads all pending output, as often as there is more.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            self.transport.pending = 0;
            if !std::mem::take(&mut self.has_more) || self.ended.is_some() {
                return;
            }
            self.call(|service, cx| service.on_writable(cx));
        }
        panic!("a service has more to say without end");
    }

    fn run(mut self, pieces: &[&[u8]]) -> (Vec<u8>, Option<Action>, usize) {
        self.call(|service, cx| service.on_open(cx));
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            if self.transport.is_held
                || self.transport.pending > 0
                || self.transport.dice.once_in(3)
            {
                self.settle();
            }
            assert!(
                !self.transport.is_held || self.ended.is_some(),
                "the input is held and nothing is left to do"
            );
            self.call(|service, cx| service.on_data(cx, piece));
        }
        self.settle();
        self.call(|service, cx| service.on_eof(cx));
        self.settle();
        self.service.on_close(CloseReason::PeerClosed);
        (self.transport.sent, self.ended, self.transport.writes)
    }
}

/// A piece of a template, and what stands for it.
#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Message,
    Seq,
    Conn,
    Peer,
    Time,
}

fn written(parts: &[Part]) -> String {
    let written = parts.iter().map(|part| match part {
        Part::Text(text) => text.replace('{', "{{").replace('}', "}}"),
        Part::Message => "{}".into(),
        Part::Seq => "{seq}".into(),
        Part::Conn => "{conn}".into(),
        Part::Peer => "{peer}".into(),
        Part::Time => "{time}".into(),
    });
    written.collect()
}

fn filled(parts: &[Part], message: &[u8], seq: usize) -> Vec<u8> {
    let filled = parts.iter().map(|part| match part {
        Part::Text(text) => text.as_bytes().to_vec(),
        Part::Message => message.to_vec(),
        Part::Seq => seq.to_string().into_bytes(),
        Part::Conn => b"1".to_vec(),
        Part::Peer => b"192.0.2.7:99".to_vec(),
        Part::Time => b"1970-01-01T00:00:00.001Z".to_vec(),
    });
    filled.collect::<Vec<_>>().concat()
}

/// The whole conversation, said plainly. Returns the output and whether it ended because something
/// was too long.
fn reference(rules: &service::Conversation, parts: &[Part], input: &[u8]) -> (Vec<u8>, Action) {
    let (mut out, mut rest, mut seq) = (rules.greeting.to_vec(), input, 0);
    while !rest.is_empty() {
        let (body, end, size) = match &rules.framing {
            Framing::Chunk => unreachable!("a chunk is what a read gives"),
            Framing::Line => match rest.iter().position(|byte| *byte == b'\n') {
                Some(at) if rest[..at].ends_with(b"\r") => (&rest[..at - 1], &b"\r\n"[..], at + 1),
                Some(at) => (&rest[..at], &b"\n"[..], at + 1),
                None => (rest, &b""[..], rest.len()),
            },
            Framing::Until(delimiter) => {
                let text = delimiter.text();
                match rest.windows(text.len()).position(|window| window == text) {
                    Some(at) => (&rest[..at], text, at + text.len()),
                    None => (rest, &b""[..], usize::MAX),
                }
            }
            Framing::Fixed(size) => (&rest[..rest.len().min(*size)], &b""[..], *size),
            Framing::Prefix(width) => {
                let width = width.bytes();
                if rest.len() < width {
                    break;
                }
                let size = rest[..width]
                    .iter()
                    .fold(0, |size, byte| size * 256 + usize::from(*byte));
                if size > rules.max_message {
                    return (out, Action::TOO_LONG);
                }
                (
                    rest.get(width..width + size).unwrap_or_default(),
                    &b""[..],
                    width + size,
                )
            }
        };
        if size > rest.len() {
            // Incomplete: too long already, or nothing.
            let partial = match &rules.framing {
                Framing::Until(delimiter) => {
                    let text = delimiter.text();
                    (0..text.len())
                        .rev()
                        .find(|size| rest.ends_with(&text[..*size]))
                        .unwrap_or(0)
                }
                _ => return (out, Action::FINISH),
            };
            return (
                out,
                if rest.len() - partial > rules.max_message {
                    Action::TOO_LONG
                } else {
                    Action::FINISH
                },
            );
        }
        let unended = if end.is_empty() {
            body.strip_suffix(b"\r").unwrap_or(body)
        } else {
            body
        };
        if unended.len() > rules.max_message {
            return (out, Action::TOO_LONG);
        }
        seq += 1;
        let answer = filled(parts, body, seq);
        match &rules.framing {
            Framing::Prefix(width) if answer.len() > width.most() => {
                return (out, Action::TOO_LONG);
            }
            Framing::Prefix(width) => {
                out.extend(&(answer.len() as u32).to_be_bytes()[4 - width.bytes()..])
            }
            _ => {}
        }
        out.extend(&answer);
        match &rules.framing {
            Framing::Line => out.extend(end),
            Framing::Until(delimiter) => {
                let says_end = texts(parts)
                    .iter()
                    .any(|text| text.windows(end.len()).any(|window| window == end));
                out.extend(if says_end { b"" } else { delimiter.text() });
            }
            _ => {}
        }
        if rules.close {
            return (out, Action::FINISH);
        }
        rest = &rest[size..];
    }
    (out, Action::FINISH)
}

/// Literal texts, with those that stand beside each other joined.
fn texts(parts: &[Part]) -> Vec<Vec<u8>> {
    let mut texts = vec![Vec::new()];
    for part in parts {
        match (part, texts.last_mut()) {
            (Part::Text(text), Some(last)) => last.extend(text.as_bytes()),
            _ => texts.push(Vec::new()),
        }
    }
    texts
}

fn rules(
    framing: Framing,
    max_message: usize,
    parts: &[Part],
    close: bool,
) -> service::Conversation {
    let reply =
        Template::parse::<TemplateError>(&written(parts), |_, text| Ok(text.as_bytes().to_vec()))
            .unwrap();
    service::Conversation {
        framing,
        max_message,
        message_timeout: None,
        greeting: Box::default(),
        reply: Some(reply),
        close,
        host: Host::new("here", 1),
    }
}

fn converse(
    rules: service::Conversation,
    seed: u64,
    limit: usize,
    pieces: &[&[u8]],
) -> (Vec<u8>, Option<Action>, usize) {
    let service = Messages::factory(rules, Box::new(|_| Box::new(Discard)), None)(Shape::Stream);
    Conversation::new(service, Narrow::new(seed, limit)).run(pieces)
}

fn framings() -> impl Strategy<Value = Framing> {
    let until = |text: &[u8]| Framing::Until(Delimiter::new(text).unwrap());
    prop_oneof![
        Just(Framing::Line),
        Just(until(b"b")),
        Just(until(b"aab")),
        Just(until(b"\r\n\r\n")),
        (1usize..6).prop_map(Framing::Fixed),
        Just(Framing::Prefix(Width::U8)),
        Just(Framing::Prefix(Width::U16)),
        Just(Framing::Prefix(Width::U32)),
    ]
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        "[ab{}\r\n收]{0,4}".prop_map(Part::Text),
        Just(Part::Message),
        Just(Part::Message),
        Just(Part::Seq),
        Just(Part::Conn),
        Just(Part::Peer),
        Just(Part::Time),
    ];
    prop::collection::vec(part, 0..20)
}

/// Bytes that are likely to mean something: parts of delimiters, and small lengths.
fn input() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop::sample::select(b"aab\r\n\r\n\x00\x00\x00\x01\x02\x03".to_vec()),
        0..80,
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn answers_are_what_the_reference_says(
        framing in framings(),
        max_message in prop::sample::select(vec![6, 12, 1000]),
        parts in parts(),
        close in prop::bool::weighted(0.2),
        input in input(),
        cuts in prop::collection::vec(0usize..80, 0..12),
        limit in prop::sample::select(vec![1, 7, 64, 65_536]),
        seed in any::<u64>(),
    ) {
        let rules = rules(framing, max_message, &parts, close);
        let (expected, ending) = reference(&rules, &parts, &input);
        let mut at: Vec<usize> = cuts
            .into_iter()
            .map(|cut| cut.min(input.len()))
            .chain([0, input.len()])
            .collect();
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        let (sent, ended, _) = converse(rules, seed, limit, &pieces);
        prop_assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&expected));
        prop_assert_eq!(ended, Some(ending));
    }

    #[test]
    fn an_echo_template_is_an_echo(
        framing in framings(),
        input in input(),
        cuts in prop::collection::vec(0usize..80, 0..12),
        seed in any::<u64>(),
    ) {
        let rules = rules(framing, 1 << 20, &[Part::Message], false);
        let (expected, ending) = reference(&rules, &[Part::Message], &input);
        prop_assert!(input.starts_with(&expected), "whole messages come back as they were");
        let mut at: Vec<usize> = cuts
            .into_iter()
            .map(|cut| cut.min(input.len()))
            .chain([0, input.len()])
            .collect();
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        let (sent, ended, _) = converse(rules, seed, 16, &pieces);
        prop_assert_eq!((sent, ended), (expected, Some(ending)));
    }
}

#[test]
fn a_chunk_is_what_one_read_gave() {
    let parts = [
        Part::Text("got ".into()),
        Part::Message,
        Part::Text(".".into()),
    ];
    let (sent, ended, writes) = converse(
        rules(Framing::Chunk, 1, &parts, false),
        0,
        65_536,
        &[b"one", b"two\n"],
    );
    assert_eq!(
        (&sent[..], ended),
        (&b"got one.got two\n."[..], Some(Action::FINISH))
    );
    assert_eq!(writes, 2, "one write an answer");
}

#[test]
fn many_messages_of_one_read_are_answered_with_one_write() {
    let lines = b"a\n".repeat(1000);
    let (sent, _, writes) = converse(
        rules(Framing::Line, 10, &[Part::Message], false),
        0,
        65_536,
        &[&lines],
    );
    assert!(sent == lines);
    assert_eq!(writes, 1);
}

#[test]
fn answers_that_are_larger_than_any_room_go_out_whole() {
    let message = vec![b'x'; 65_536];
    let parts = [Part::Message, Part::Seq, Part::Message, Part::Message];
    let (sent, ended, _) = converse(
        rules(Framing::Chunk, 1, &parts, false),
        3,
        65_536,
        &[&message, &message],
    );
    let expected = [filled(&parts, &message, 1), filled(&parts, &message, 2)].concat();
    assert!(sent == expected);
    assert_eq!(ended, Some(Action::FINISH));
}

/// One byte in, a thousand out: pending output stays bounded, and so does what is kept, because the
/// input is held.
#[test]
fn small_messages_with_large_answers_are_held_back() {
    let parts = [Part::Text("y".repeat(1000))];
    let lines = b"\n".repeat(65_536);
    let service = Messages::factory(
        rules(Framing::Line, 10, &parts, false),
        Box::new(|_| Box::new(Discard)),
        None,
    )(Shape::Stream);
    let mut conversation = Conversation::new(service, Narrow::new(0, 65_536));
    conversation.call(|service, cx| service.on_open(cx));
    conversation.call(|service, cx| service.on_data(cx, &lines));
    assert!(
        conversation.transport.is_held && conversation.has_more,
        "most of it is still to be answered"
    );
    assert!(
        conversation.transport.sent.len() <= 2 * 65_536,
        "one call says no more than its share"
    );
    conversation.settle();
    assert!(!conversation.transport.is_held);
    assert_eq!(conversation.transport.sent.len(), 65_536 * 1001);
}

#[test]
fn a_greeting_comes_first_and_may_be_all() {
    let mut rules = rules(Framing::Line, 10, &[Part::Message], true);
    rules.greeting = b"hello\n".as_slice().into();
    assert_eq!(
        converse(rules.clone(), 0, 100, &[b"a\nb\n"]).0,
        b"hello\na\n",
        "closed after the first answer"
    );
    rules.reply = None;
    let (sent, ended, _) = converse(rules, 0, 100, &[]);
    assert_eq!(
        (&sent[..], ended),
        (&b"hello\n"[..], Some(Action::FINISH)),
        "closed after the greeting"
    );
}

/// What a tap was shown.
struct Shown(std::sync::mpsc::Sender<String>);

impl Tap for Shown {
    fn message(&mut self, peer: &Peer, message: &[u8], is_whole: bool) {
        self.0
            .send(format!("{peer} {} {is_whole}", message.escape_ascii()))
            .unwrap();
    }

    fn end(&mut self, peer: &Peer) {
        self.0.send(format!("{peer} end")).unwrap();
    }
}

#[test]
fn a_tap_sees_messages_and_the_inner_service_sees_bytes() {
    for (framing, shown) in [
        (
            Framing::Line,
            vec![
                "192.0.2.7:99 one true",
                "192.0.2.7:99 two true",
                "192.0.2.7:99 end",
            ],
        ),
        (
            Framing::Chunk,
            vec![
                "192.0.2.7:99 on false",
                "192.0.2.7:99 e\\r\\ntwo false",
                "192.0.2.7:99 end",
            ],
        ),
    ] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let rules = service::Conversation {
            reply: None,
            ..rules(framing, 10, &[], false)
        };
        let tap = Box::new(move || Box::new(Shown(sender.clone())) as Box<dyn Tap>);
        let service =
            Messages::factory(rules, Box::new(|_| Box::new(Echo)), Some(tap))(Shape::Stream);
        let (sent, ended, _) =
            Conversation::new(service, Narrow::new(0, 100)).run(&[b"on", b"e\r\ntwo"]);
        assert_eq!(
            (&sent[..], ended),
            (&b"one\r\ntwo"[..], Some(Action::FINISH))
        );
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), shown);
    }
}

#[test]
fn a_message_that_is_too_long_ends_the_echo_as_well() {
    let rules = service::Conversation {
        reply: None,
        ..rules(Framing::Line, 3, &[], false)
    };
    let service = Messages::factory(rules, Box::new(|_| Box::new(Echo)), None)(Shape::Stream);
    let (sent, ended, _) = Conversation::new(service, Narrow::new(0, 100)).run(&[b"abc\nabcd"]);
    assert_eq!(
        (&sent[..], ended),
        (&b"abc\nabcd"[..], Some(Action::TOO_LONG))
    );
}

#[test]
fn a_datagram_is_a_message_whatever_the_framing() {
    let parts = &[
        Part::Text(".".into()),
        Part::Seq,
        Part::Text("[".into()),
        Part::Message,
        Part::Text("]".into()),
    ];
    for framing in [Framing::Line, Framing::Prefix(Width::U8), Framing::Fixed(3)] {
        let mut service = Messages::factory(
            rules(framing, 1, parts, true),
            Box::new(|_| Box::new(Discard)),
            None,
        )(Shape::Datagram);
        let mut transport = Narrow::new(0, 65_507);
        let mut send = |message: &[u8]| {
            let action = service.on_data(
                &mut Context::new(Time::ZERO, &peer(), &mut transport),
                message,
            );
            (std::mem::take(&mut transport.sent), action)
        };
        assert_eq!(
            send(b"two\nlines"),
            (b".1[two\nlines]".to_vec(), Action::Continue)
        );
        assert_eq!(send(b""), (b".2[]".to_vec(), Action::Continue));
        assert_eq!(
            send(&[b'x'; 65_507]).0,
            b"",
            "its answer would be no datagram"
        );
        assert_eq!(send(b"x").0, b".4[x]");
    }
}

/// A reactor over the simulator that answers lines, which must be finished in two seconds.
fn impatient() -> (Reactor<SimNet>, usize) {
    let conversation = service::Conversation {
        message_timeout: Some(Duration::from_secs(2)),
        ..rules(Framing::Line, 100, &[Part::Message], false)
    };
    let make = Messages::factory(conversation, Box::new(|_| Box::new(Discard)), None);
    let net = SimNet::new(1, sim::Conditions::default());
    let mut reactor = Reactor::new(net, Limits::default()).unwrap();
    let address = Address::Tcp("127.0.0.1:7".parse().unwrap());
    reactor.listen(&address, 1, make).unwrap();
    let client = reactor.net_mut().peer_connect(0).unwrap();
    (reactor, client)
}

/// Turns for so long of the simulated time.
fn pass(reactor: &mut Reactor<SimNet>, time: Duration) {
    let end = reactor.now() + time;
    while reactor.now() < end {
        reactor.turn_by(end);
    }
}

#[test]
fn a_message_that_stops_on_its_way_ends_the_conversation() {
    let (mut reactor, client) = impatient();
    reactor.net_mut().peer_send(client, b"whole\nbegun");
    pass(&mut reactor, Duration::from_secs(5));
    assert_eq!(reactor.net_mut().peer_read(client, 100), b"whole\n");
    assert_eq!(reactor.net_mut().peer_end(client), sim::PeerEnd::Finished);
    reactor.net_mut().peer_finish(client);
    pass(&mut reactor, Duration::from_secs(1));
    assert_eq!(reactor.stats().closed[CloseReason::MessageTimeout], 1);
}

#[test]
fn a_slow_but_steady_message_is_answered_and_between_messages_there_is_time() {
    let (mut reactor, client) = impatient();
    for _ in 0..3 {
        for byte in b"slow\n" {
            reactor.net_mut().peer_send(client, &[*byte]);
            pass(&mut reactor, Duration::from_secs(1));
        }
        assert_eq!(reactor.net_mut().peer_read(client, 100), b"slow\n");
        pass(&mut reactor, Duration::from_secs(60));
    }
    assert_eq!(reactor.stats().live(), 1);
}

/// While output is pending the server does not read: that is no reason to give the peer up.
#[test]
fn a_slow_reader_is_not_late_with_its_messages() {
    let (mut reactor, client) = impatient();
    let lines = b"0123456789abcde\n".repeat(3_000);
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < lines.len() {
        sent += reactor.net_mut().peer_send(client, &lines[sent..]);
        pass(&mut reactor, Duration::from_secs(7));
        let end = reactor.net_mut().peer_end(client);
        assert_eq!(end, sim::PeerEnd::Open, "after {} bytes", got.len());
        got.extend(reactor.net_mut().peer_read(client, 4_000));
    }
    assert!(got == lines);
}

/// What peers begin and do not finish is memory too.
#[test]
fn unfinished_messages_count_against_the_limit_of_pending_output() {
    let limits = Limits {
        max_pending_output: 20_000,
        ..Limits::default()
    };
    let conversation = rules(Framing::Line, 10_000, &[Part::Message], false);
    let make = Messages::factory(conversation, Box::new(|_| Box::new(Discard)), None);
    let net = SimNet::new(1, sim::Conditions::default());
    let mut reactor = Reactor::new(net, limits).unwrap();
    let address = Address::Tcp("127.0.0.1:7".parse().unwrap());
    reactor.listen(&address, 100, make).unwrap();
    for _ in 0..20 {
        let client = reactor.net_mut().peer_connect(0).unwrap();
        reactor.net_mut().peer_send(client, &[b'x'; 3_000]);
        pass(&mut reactor, Duration::from_millis(100));
        reactor.audit().unwrap();
    }
    assert!(reactor.stats().live() <= 6, "{}", reactor.stats());
    assert!(reactor.stats().closed[CloseReason::OutputLimit] >= 14);
}

/// Counts what it is shown.
struct Counted(Rc<Cell<usize>>);

impl Tap for Counted {
    fn message(&mut self, _peer: &Peer, _message: &[u8], _is_whole: bool) {
        self.0.set(self.0.get() + 1);
    }

    fn end(&mut self, _peer: &Peer) {}
}

/// One read can hold a message for each byte. They take several turns, and the peer gets its echo
/// all the same.
#[test]
fn many_tiny_messages_do_not_make_a_long_turn() {
    let shown = Rc::new(Cell::new(0));
    let counter = shown.clone();
    let conversation = service::Conversation {
        reply: None,
        ..rules(Framing::Line, 100, &[], false)
    };
    let tap: service::TapFactory = Box::new(move || Box::new(Counted(counter.clone())));
    let make = Messages::factory(conversation, Box::new(|_| Box::new(Echo)), Some(tap));
    let conditions = sim::Conditions {
        buffer: 1 << 17,
        ..sim::Conditions::default()
    };
    let mut reactor = Reactor::new(SimNet::new(1, conditions), Limits::default()).unwrap();
    let address = Address::Tcp("127.0.0.1:7".parse().unwrap());
    reactor.listen(&address, 1, make).unwrap();
    let client = reactor.net_mut().peer_connect(0).unwrap();
    assert_eq!(
        reactor.net_mut().peer_send(client, &[b'\n'; 20_000]),
        20_000
    );
    reactor.net_mut().peer_finish(client);
    let mut got = 0;
    while reactor.net_mut().peer_end(client) == sim::PeerEnd::Open {
        let before = shown.get();
        reactor.turn();
        let most = 2 * mynah::limits::TAPPED_BUDGET;
        assert!(
            shown.get() - before <= most,
            "{} in one turn",
            shown.get() - before
        );
        got += reactor.net_mut().peer_read(client, usize::MAX).len();
    }
    assert_eq!((shown.get(), got), (20_000, 20_000));
}

/// Does not like the second message.
struct Fragile(u32);

impl Tap for Fragile {
    fn message(&mut self, _peer: &Peer, _message: &[u8], _is_whole: bool) {
        self.0 += 1;
        assert!(self.0 != 2, "the panic of this test");
    }

    fn end(&mut self, _peer: &Peer) {}
}

/// All conversations of an endpoint share a buffer. What a panic has left there is not for the next
/// peer.
#[test]
fn a_tap_that_panics_leaves_nothing_for_the_next_peer() {
    let tap = Box::new(|| Box::new(Fragile(0)) as Box<dyn Tap>);
    let mut make = Messages::factory(
        rules(Framing::Line, 100, &[Part::Message], false),
        Box::new(|_| Box::new(Discard)),
        Some(tap),
    );
    let (mut first, mut second) = (make(Shape::Stream), make(Shape::Stream));
    let peer = peer();
    let feed = |service: &mut dyn Service, input: &[u8]| {
        let mut transport = Narrow::new(0, 100);
        let action = service.on_data(&mut Context::new(Time::ZERO, &peer, &mut transport), input);
        (transport.sent, action)
    };
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        feed(&mut *first, b"secret\nsecond\nthird\n")
    }));
    assert!(panicked.is_err());
    assert_eq!(
        feed(&mut *second, b"mine\n"),
        (b"mine\n".to_vec(), Action::Continue)
    );
}
