//! The real reactor over a simulated network, beside a model of what every peer may expect.
//!
//! A seed decides everything: what peers do, how events come, which calls fail, how the clock goes. After every turn the model checks that
//! echoed bytes are the beginning of the sent ones, that nothing that could run stands outside the run queue, that no peer is owed more than an
//! outbox holds, that the counters balance and that no deadline is overdue. When the peers have come to their ends it checks that everybody got
//! everything, and after the drain that nothing is left.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` so many (256), `SIM_STEPS=n` so many steps each (400). A failure names its seed and step.

use std::sync::LazyLock;
use std::time::Duration;

use mynah::Dice;
use mynah::net::sim::{PeerEnd, Rules, Selector, SimNet};
use mynah::service::{Action, Context, Service};
use mynah::stream::outbox::LIMIT;
use mynah::{Address, CloseReason, Ending, Lifecycle, Limits, Peer, Reactor, Stats, Time, service};

/// A peer of a connection, as the model knows it.
#[derive(Debug)]
struct Client {
    number: usize,
    /// What has been sent, and what is to come back for it.
    sent: Vec<u8>,
    expected: Expected,
    got: usize,
    has_finished: bool,
    has_reset: bool,
    is_stalled: bool,
    /// Who does not read for longer than the server lingers has no promise of a reply.
    was_stalled: bool,
    /// What had been sent when the drain began; it is owed whatever happens then.
    sent_before_drain: Option<usize>,
}

/// What a client is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Its own bytes.
    Echo,
    /// [`ANSWER`] bytes and an end of stream, as soon as it has sent anything.
    Answer,
}

/// The length of the answer: more than the small sockets hold.
const ANSWER: usize = 10_000;

/// Answers the first input and ends.
struct AnswerOnce;

impl Service for AnswerOnce {
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        cx.reply(&ANSWER_TEXT);
        Action::FINISH
    }
}

static ANSWER_TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..ANSWER)
        .map(|at| (at.wrapping_mul(17) >> 2) as u8)
        .collect()
});

impl Client {
    fn new(number: usize, expected: Expected) -> Client {
        let (sent, sent_before_drain) = (Vec::new(), None);
        Client {
            number,
            sent,
            expected,
            got: 0,
            has_finished: false,
            has_reset: false,
            is_stalled: false,
            was_stalled: false,
            sent_before_drain,
        }
    }

    /// The bytes at `from` and after, as many as `count`, that may come back.
    fn owed(&self, from: usize, count: usize) -> Option<&[u8]> {
        match self.expected {
            Expected::Echo => self.sent.get(from..from + count),
            Expected::Answer if self.sent.is_empty() && count > 0 => None,
            Expected::Answer => ANSWER_TEXT.get(from..from + count),
        }
    }

    /// How much must have come back for the first `sent` bytes.
    fn owed_for(&self, sent: usize) -> usize {
        match self.expected {
            Expected::Echo => sent,
            Expected::Answer => {
                if sent > 0 {
                    ANSWER
                } else {
                    0
                }
            }
        }
    }
}

/// One run: the server, its peers, and what is known of them.
struct Run {
    seed: u64,
    step: usize,
    dice: Dice,
    rules: Rules,
    limits: Limits,
    reactor: Reactor<SimNet>,
    clients: Vec<Client>,
    /// For each datagram socket, what was delivered to it: sender's port and running number.
    datagrams: [u32; 2],
    is_draining: bool,
    clock_before: Time,
}

/// A port for each datagram peer; datagrams carry a running number.
const DATAGRAM_PEERS: usize = 5;

/// Connections that the model keeps under way.
const CLIENTS: usize = 30;

impl Run {
    fn new(seed: u64) -> Run {
        let mut dice = Dice::new(seed);
        let rules = Rules {
            selector: if dice.once_in(3) {
                Selector::Rearm
            } else {
                Selector::Edge
            },
            faults: [0, 0, 300, 60][dice.below(4)],
            descriptors: [usize::MAX, 12][dice.below(2)],
            buffer: [64, 4096, 200_000][dice.below(3)],
            step: Duration::from_millis(20),
            jumps: [0, 0, 200][dice.below(3)],
            unanswered: 0,
            spurious: [0, 6][dice.below(2)],
            segment: [usize::MAX, usize::MAX, 0, 50][dice.below(4)],
        };
        let limits = Limits {
            max_connections: [1000, 8][dice.below(2)],
            idle_timeout: [None, Some(Duration::from_secs(3))][dice.below(2)],
            connect_timeout: None,
            write_timeout: [None, Some(Duration::from_secs(2))][dice.below(2)],
            drain_timeout: Some(Duration::from_secs(5)),
            busy_poll: [None, None, Some(Duration::from_micros(50))][dice.below(3)],
            spin: [0, 0, 1][dice.below(3)] * Duration::from_millis(1),
            allow_amplification: false,
            udp_rate: [None, None, None, Some(2)][dice.below(4)],
            ..Limits::default()
        };
        let mut reactor = Reactor::new(SimNet::new(dice.roll(), rules), limits.clone()).unwrap();
        let echo = || service::factory("echo", &service::Host::new("here", 1)).unwrap();
        reactor.catch_signals().unwrap();
        reactor
            .listen(&Address::Tcp("127.0.0.1:7".parse().unwrap()), 64, echo())
            .unwrap();
        reactor
            .listen(
                &Address::Tcp("127.0.0.1:8".parse().unwrap()),
                64,
                Box::new(|_| Box::new(AnswerOnce)),
            )
            .unwrap();
        reactor
            .bind(&Address::Udp("127.0.0.1:7".parse().unwrap()), echo())
            .unwrap();
        reactor
            .bind(&Address::Unixgram("/sim".into()), echo())
            .unwrap();
        let (clients, datagrams) = (Vec::new(), [0; 2]);
        Run {
            seed,
            step: 0,
            dice,
            rules,
            limits,
            reactor,
            clients,
            datagrams,
            is_draining: false,
            clock_before: Time::ZERO,
        }
    }

    /// All of it: act, settle, drain. Returns the trace, for the test that the same seed gives the same.
    fn play(mut self, steps: usize) -> u64 {
        let drains_early = self.dice.once_in(2);
        let drain_at = if drains_early {
            self.dice.below(steps)
        } else {
            steps
        };
        for step in 0..steps {
            self.step = step;
            if step == drain_at {
                self.begin_drain();
            }
            self.act();
            self.read_answers();
            if self.dice.once_in(2) && self.turn() == Lifecycle::Stopped {
                break;
            }
        }
        if !self.is_draining {
            self.settle();
            self.begin_drain();
        }
        self.finish()
    }

    /// A peer does something.
    fn act(&mut self) {
        let net = self.reactor.net_mut();
        let chosen = self.dice.below(self.clients.len());
        match self.dice.below(20) {
            0..=2
                if self
                    .clients
                    .iter()
                    .filter(|client| !client.has_finished)
                    .count()
                    < CLIENTS =>
            {
                let (listener, expected) = [
                    (0, Expected::Echo),
                    (0, Expected::Echo),
                    (1, Expected::Answer),
                ][self.dice.below(3)];
                if let Some(number) = net.peer_connect(listener) {
                    self.clients.push(Client::new(number, expected));
                }
            }
            3..=8 => self.send(chosen),
            9..=13 => {
                let count = 1 + self.dice.below(8000);
                self.read(chosen, count);
            }
            14 => {
                if let Some(client) = self.clients.get_mut(chosen) {
                    net.peer_finish(client.number);
                    client.has_finished = true;
                }
            }
            15 if self.dice.once_in(4) => {
                if let Some(client) = self.clients.get_mut(chosen) {
                    net.peer_reset(client.number);
                    client.has_reset = true;
                }
            }
            16 => {
                if let Some(client) = self.clients.get_mut(chosen) {
                    client.is_stalled = !client.is_stalled;
                    client.was_stalled = true;
                }
            }
            17..=18 => self.send_datagram(),
            19 => {
                let peer = datagram_peer(self.dice.below(DATAGRAM_PEERS));
                let is_stuck = self.dice.once_in(2);
                net.set_stuck(1, &peer, is_stuck);
            }
            _ => {}
        }
    }

    fn send(&mut self, chosen: usize) {
        let most = if self.dice.once_in(10) { 100_000 } else { 3000 };
        let size = 1 + self.dice.below(most);
        let Some(client) = self.clients.get_mut(chosen) else {
            return;
        };
        if client.has_finished || client.has_reset {
            return;
        }
        // Bytes that differ with the client and the place.
        let start = client.sent.len();
        let bytes: Vec<u8> = (start..start + size)
            .map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ client.number as u8)
            .collect();
        let count = self.reactor.net_mut().peer_send(client.number, &bytes);
        client.sent.extend_from_slice(&bytes[..count]);
    }

    /// Reads, and checks that what comes is what was sent, in order.
    fn read(&mut self, chosen: usize, count: usize) {
        let Some(client) = self
            .clients
            .get_mut(chosen)
            .filter(|client| !client.is_stalled)
        else {
            return;
        };
        let bytes = self.reactor.net_mut().peer_read(client.number, count);
        let owed = client.owed(client.got, bytes.len());
        assert!(
            owed == Some(&bytes[..]),
            "client {}: what came at {} is not what was owed",
            client.number,
            client.got
        );
        client.got += bytes.len();
    }

    /// Who waits for an answer reads it as it comes.
    fn read_answers(&mut self) {
        for chosen in 0..self.clients.len() {
            if self.clients[chosen].expected == Expected::Answer {
                self.read(chosen, usize::MAX);
            }
        }
    }

    fn send_datagram(&mut self) {
        let socket = self.dice.below(2);
        let peer = match self.dice.below(10) {
            0 => forged_peer(),
            _ => datagram_peer(self.dice.below(DATAGRAM_PEERS)),
        };
        // Several of one size may come as one message and leave as one.
        let size = [4, 100, 100, 4 + self.dice.below(60_000)][self.dice.below(4)];
        for _ in 0..1 + self.dice.below(5) {
            self.datagrams[socket] += 1;
            let mut bytes = self.datagrams[socket].to_be_bytes().to_vec();
            bytes.resize(size, 0);
            self.reactor.net_mut().deliver(socket, peer.clone(), bytes);
        }
    }

    /// One turn, and all that must hold after it.
    fn turn(&mut self) -> Lifecycle {
        let lifecycle = self.reactor.turn();
        if let Err(breach) = self.reactor.audit() {
            panic!("{breach}");
        }
        let live = self.reactor.stats().live() as usize;
        // In a drain the ones that only linger do not count.
        assert!(
            live <= self.limits.max_connections || self.is_draining,
            "{live} connections are open"
        );
        assert!(
            self.reactor.owed() <= live * LIMIT,
            "{} bytes are owed to {live} peers",
            self.reactor.owed()
        );
        self.check_deadlines();
        lifecycle
    }

    /// No connection may outlive its idle timeout: measured by the clock before this turn, because its wait may have let the clock go on.
    fn check_deadlines(&mut self) {
        let before = self.clock_before;
        let net = self.reactor.net_mut();
        self.clock_before = net.clock();
        let Some(idle) = self.limits.idle_timeout else {
            return;
        };
        for client in &self.clients {
            let overdue = net
                .last_moved(client.number)
                .filter(|moved| *moved + idle < before);
            assert_eq!(
                overdue, None,
                "client {} has been idle for too long at {before}",
                client.number
            );
        }
    }

    /// Whether nothing but the peers themselves can have kept them from getting everything.
    fn is_undisturbed(&self, client: &Client) -> bool {
        let lingered_out = client.expected == Expected::Answer && client.was_stalled;
        !client.has_reset && self.timed_out() == 0 && !lingered_out
    }

    /// Connections that a timeout ended.
    fn timed_out(&self) -> u64 {
        let closed = &self.reactor.stats().closed;
        closed[CloseReason::IdleTimeout] + closed[CloseReason::WriteTimeout]
    }

    /// Every peer ends its side and reads to the end, in a network without faults: everybody gets everything, and the loop comes to rest.
    fn settle(&mut self) {
        self.calm();
        for client in &mut self.clients {
            client.has_finished = true;
            self.reactor.net_mut().peer_finish(client.number);
        }
        for round in 0.. {
            for chosen in 0..self.clients.len() {
                self.read(chosen, usize::MAX);
            }
            self.turn();
            let net = self.reactor.net_mut();
            let is_over = self
                .clients
                .iter()
                .all(|client| net.peer_end(client.number) != PeerEnd::Open || client.has_reset);
            if is_over && self.reactor.stats().live() == 0 {
                break;
            }
            assert!(
                round < 5000,
                "the peers are kept waiting: {:?}",
                self.waiting()
            );
        }
        for index in 0..self.clients.len() {
            let (is_faulted, end) = {
                let (number, net) = (self.clients[index].number, self.reactor.net_mut());
                (net.is_faulted(number), net.peer_end(number))
            };
            let client = &self.clients[index];
            if !is_faulted && self.is_undisturbed(client) {
                // One that goes on sending after its answer and never ends its side is reset when the linger is over, the answer read.
                let is_well = end == PeerEnd::Finished || client.expected == Expected::Answer;
                assert!(is_well, "client {} came to {end:?}", client.number);
                let owed = client.owed_for(client.sent.len());
                assert_eq!(
                    client.got, owed,
                    "client {}: an end of stream before everything had come",
                    client.number
                );
            }
        }
        self.check_datagrams();
    }

    /// From now on nothing fails, nothing comes by chance, and every peer reads.
    fn calm(&mut self) {
        self.rules = Rules {
            faults: 0,
            jumps: 0,
            spurious: 0,
            ..self.rules
        };
        let rules = self.rules;
        self.reactor.net_mut().set_rules(rules);
        self.clients
            .iter_mut()
            .for_each(|client| client.is_stalled = false);
        for peer in 0..DATAGRAM_PEERS {
            self.reactor
                .net_mut()
                .set_stuck(1, &datagram_peer(peer), false);
        }
    }

    fn waiting(&mut self) -> Vec<String> {
        let net = self.reactor.net_mut();
        let open = self
            .clients
            .iter()
            .filter(|client| net.peer_end(client.number) == PeerEnd::Open && !client.has_reset);
        open.map(|client| {
            format!("{client:?}").chars().take(60).collect::<String>()
                + &format!(" … got {} of {}", client.got, client.sent.len())
        })
        .collect()
    }

    /// Every datagram that came was answered once, in order for each peer, or counted.
    fn check_datagrams(&mut self) {
        for round in 0.. {
            let stats = self.reactor.stats();
            if stats.datagrams_in == u64::from(self.datagrams.iter().sum::<u32>())
                && unanswered(stats) == 0
            {
                break;
            }
            assert!(
                round < 5000,
                "datagrams neither answered nor counted: {} of {:?}",
                self.reactor.stats(),
                self.datagrams
            );
            self.turn();
        }
        for socket in 0..2 {
            let mut last = [0; DATAGRAM_PEERS];
            for (peer, bytes) in self.reactor.net_mut().datagrams_sent(socket) {
                assert_ne!(
                    *peer,
                    forged_peer(),
                    "socket {socket}: an answer to a name server"
                );
                let number = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                let port = usize::from(peer.socket_addr().unwrap().port()) - 5000;
                assert!(
                    last[port] < number,
                    "socket {socket}: datagram {number} of peer {port} came after {}",
                    last[port]
                );
                last[port] = number;
            }
        }
    }

    fn begin_drain(&mut self) {
        self.is_draining = true;
        for client in &mut self.clients {
            let is_accepted = self.reactor.net_mut().is_accepted(client.number);
            client.sent_before_drain = is_accepted.then_some(client.sent.len());
        }
        if self.dice.once_in(2) {
            self.reactor.net_mut().raise();
        } else {
            self.reactor.handle().terminate();
        }
    }

    /// The drain, to its end: peers that read lose nothing that they had sent before it, and the server leaves nothing behind.
    fn finish(mut self) -> u64 {
        self.calm();
        for round in 0.. {
            (0..self.clients.len()).for_each(|chosen| self.read(chosen, usize::MAX));
            if self.turn() == Lifecycle::Stopped {
                break;
            }
            assert!(round < 50_000, "the drain does not end");
        }
        let ending = self.reactor.run();
        (0..self.clients.len()).for_each(|chosen| self.read(chosen, usize::MAX));
        let stats = self.reactor.stats();
        let cut = stats.closed[CloseReason::Cut] + stats.backlog_cut;
        let unanswered = unanswered(self.reactor.stats());
        let timed_out = self.timed_out();
        if ending == Ending::Clean {
            assert_eq!(
                (cut, unanswered),
                (0, 0),
                "connections cut, datagrams unanswered"
            );
        } else {
            assert!(
                cut + unanswered + timed_out > 0,
                "{ending:?}, and nothing was"
            );
        }
        assert_eq!(
            self.reactor.net_mut().open_sockets(),
            0,
            "sockets are left open"
        );
        assert_eq!(self.reactor.stats().live(), 0);
        for index in 0..self.clients.len() {
            let is_faulted = self
                .reactor
                .net_mut()
                .is_faulted(self.clients[index].number);
            let client = &self.clients[index];
            if let Some(sent) = client
                .sent_before_drain
                .filter(|_| ending == Ending::Clean && !is_faulted && self.is_undisturbed(client))
            {
                let owed = client.owed_for(sent);
                assert!(
                    client.got >= owed,
                    "client {}: {} of {owed} bytes that were owed before the drain came",
                    client.number,
                    client.got
                );
            }
        }
        self.reactor.net_mut().trace()
    }
}

/// Says where a run was when it failed.
impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "failed with SIM_SEED={} at step {} under {:?} and {:?}",
                self.seed, self.step, self.rules, self.limits
            );
        }
    }
}

/// Datagrams that were received and neither answered nor given up.
fn unanswered(stats: &Stats) -> u64 {
    stats.datagrams_in
        - stats.datagrams_out
        - stats.datagrams_refused
        - stats.datagrams_overflowed
        - stats.unanswered.total()
}

/// Who answers us in turn, if we answer.
fn forged_peer() -> Peer {
    Peer::V4([192, 0, 2, 53].into(), 53)
}

fn datagram_peer(index: usize) -> Peer {
    Peer::V4([127, 0, 0, 1].into(), 5000 + index as u16)
}

fn knob(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}

fn steps() -> usize {
    knob("SIM_STEPS").unwrap_or(400) as usize
}

/// Some interfaces promise to cut datagrams and then do not: none is lost, and the socket does not ask twice.
#[test]
fn datagrams_that_cannot_be_cut_leave_one_by_one() {
    for (segment, together) in [(0, false), (500, true)] {
        let rules = Rules {
            segment,
            ..Rules::default()
        };
        let mut reactor = Reactor::new(SimNet::new(1, rules), Limits::default()).unwrap();
        let echo = service::factory("echo", &service::Host::new("here", 1)).unwrap();
        reactor
            .bind(&Address::Udp("127.0.0.1:7".parse().unwrap()), echo)
            .unwrap();
        let mut due = Vec::new();
        for round in 0..10_u8 {
            for number in 0..6_u8 {
                let bytes =
                    vec![10 * round + number; if together && round > 4 { 400 } else { 1000 }];
                reactor
                    .net_mut()
                    .deliver(0, datagram_peer(0), bytes.clone());
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

#[test]
fn whatever_happens_the_promises_hold() {
    let seeds = match knob("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..knob("SIM_SEEDS").unwrap_or(256),
    };
    for seed in seeds {
        Run::new(seed).play(steps());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let seed = knob("SIM_SEED").unwrap_or(4711);
    assert_eq!(Run::new(seed).play(steps()), Run::new(seed).play(steps()));
    assert_ne!(
        Run::new(seed).play(steps()),
        Run::new(seed + 1).play(steps())
    );
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
    let mut reactor = Reactor::new(SimNet::new(1, Rules::default()), Limits::default()).unwrap();
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
    reactor.net_mut().set_rules(Rules {
        buffer: 1 << 20,
        jumps: 20,
        ..Rules::default()
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
