//! The real reactor over a simulated network, beside a model of what every peer may expect.
//!
//! A seed decides everything: what the peers do, how events come, which calls fail, how the clock
//! runs. The rules are in `rules.rs`. `tests/simulation/` runs some seeds; `examples/swarm.rs` runs
//! seeds without end.

mod client;
mod datagrams;
pub(crate) mod rules;
pub(crate) mod services;

use std::time::Duration;

use mynah::net::sim::{Conditions, PeerEnd, Selector, SimNet};
use mynah::{Address, Dice, Ending, Lifecycle, Limits, Reactor, Signal, service};

use self::client::{Client, Expected};
use self::datagrams::Datagrams;
use self::rules::Before;
use self::services::{AnswerOnce, Fragile, MAGIC};

/// Steps of a run, unless a test asks for others.
pub(crate) const STEPS: usize = 400;

/// Rounds after which a run hangs.
const PATIENCE: usize = 5_000;

/// Connections that the model keeps under way.
const CLIENTS: usize = 30;

/// What each listener serves: its number is its place.
const LISTENERS: [Expected; 4] = [
    Expected::Echo,
    Expected::Answer,
    Expected::Echo,
    Expected::Fragile,
];

/// One run: the server, its peers, and what is known of them.
pub(crate) struct Run {
    seed: u64,
    step: usize,
    dice: Dice,
    conditions: Conditions,
    limits: Limits,
    reactor: Reactor<SimNet>,
    clients: Vec<Client>,
    datagrams: Datagrams,
    is_draining: bool,
    before: Before,
}

fn conditions(dice: &mut Dice) -> Conditions {
    Conditions {
        selector: [Selector::Edge, Selector::Edge, Selector::Rearm][dice.below(3)],
        faults: [0, 0, 300, 60][dice.below(4)],
        interruptions: [0, 10][dice.below(2)],
        shortages: [0, 0, 20][dice.below(3)],
        descriptors: [usize::MAX, 12][dice.below(2)],
        buffer: [64, 4096, 200_000][dice.below(3)],
        step: Duration::from_millis(20),
        jumps: [0, 0, 200][dice.below(3)],
        unanswered: 0,
        spurious: [0, 6][dice.below(2)],
        segment: [usize::MAX, usize::MAX, 0, 50][dice.below(4)],
    }
}

fn limits(dice: &mut Dice) -> Limits {
    let unlimited = Limits::default().max_pending_output;
    Limits {
        max_connections: [1000, 8][dice.below(2)],
        idle_timeout: [None, Some(Duration::from_secs(3))][dice.below(2)],
        connect_timeout: None,
        write_timeout: [None, Some(Duration::from_secs(2))][dice.below(2)],
        drain_timeout: Some(Duration::from_secs(5)),
        busy_poll: [None, None, Some(Duration::from_micros(50))][dice.below(3)],
        spin: [0, 0, 1][dice.below(3)] * Duration::from_millis(1),
        precise_sleep: dice.once_in(2),
        allow_amplification: false,
        udp_rate: [None, None, None, Some(2)][dice.below(4)],
        unixgram_rate: [Some(50), Some(2)][dice.below(2)],
        max_pending_output: [unlimited, unlimited, unlimited, 20_000][dice.below(4)],
    }
}

impl Run {
    pub(crate) fn new(seed: u64) -> Run {
        services::silence_deliberate_panics();
        let mut dice = Dice::new(seed);
        let (conditions, limits) = (conditions(&mut dice), limits(&mut dice));
        let net = SimNet::new(dice.roll(), conditions);
        let mut reactor = Reactor::new(net, limits.clone()).unwrap();
        reactor.catch_signals().unwrap();
        let echo = || service::factory("echo", &service::Host::new("here", 1)).unwrap();
        let fragile = || -> service::Factory { Box::new(|shape| Box::new(Fragile(shape))) };
        for (number, expected) in LISTENERS.into_iter().enumerate() {
            let address = if dice.once_in(2) {
                Address::Unix(format!("/listener/{number}").into())
            } else {
                Address::Tcp(([127, 0, 0, 1], number as u16).into())
            };
            let make: service::Factory = match expected {
                Expected::Echo => echo(),
                Expected::Answer => Box::new(|_| Box::new(AnswerOnce)),
                Expected::Fragile => fragile(),
            };
            let backlog = [64, 2][dice.below(2)];
            reactor.listen(&address, backlog, make).unwrap();
        }
        for socket in [datagrams::PLAIN, datagrams::UNIX, datagrams::GROUP] {
            let make = if socket == datagrams::GROUP {
                fragile()
            } else {
                echo()
            };
            reactor.bind(&datagrams::address(socket), make).unwrap();
        }
        reactor.net_mut().alias(datagrams::alias(), datagrams::UNIX);
        Run {
            seed,
            step: 0,
            dice,
            conditions,
            limits,
            reactor,
            clients: Vec::new(),
            datagrams: Datagrams::default(),
            is_draining: false,
            before: Before::default(),
        }
    }

    /// All of it: act, settle, drain. Returns the trace, which the same seed repeats.
    pub(crate) fn play(mut self, steps: usize) -> u64 {
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
        let chosen = self.dice.below(self.clients.len());
        match self.dice.below(24) {
            0..=2 => self.connect(),
            3..=8 => self.send(chosen),
            9..=13 => {
                let count = 1 + self.dice.below(8000);
                self.read(chosen, count);
            }
            14 => self.end(chosen),
            15 if self.dice.once_in(4) => self.reset(chosen),
            16 => {
                if let Some(client) = self.clients.get_mut(chosen) {
                    client.is_stalled = !client.is_stalled;
                    client.was_stalled = true;
                }
            }
            17..=18 => self.datagrams.send(self.reactor.net_mut(), &mut self.dice),
            19 => self.datagrams.stall(self.reactor.net_mut(), &mut self.dice),
            20 => self.send_marked(chosen),
            21 if self.dice.once_in(2) => self.doom(chosen),
            22 => {
                let signal = [Signal::Reload, Signal::Report][self.dice.below(2)];
                self.reactor.net_mut().raise(signal);
            }
            _ => {}
        }
    }

    /// Some clients connect to one listener.
    fn connect(&mut self) {
        let listener = self.dice.below(LISTENERS.len());
        for _ in 0..1 + self.dice.below(4) {
            let talking = self.clients.iter().filter(|client| !client.has_finished);
            if talking.count() < CLIENTS {
                if let Some(number) = self.reactor.net_mut().peer_connect(listener) {
                    self.clients.push(Client::new(number, LISTENERS[listener]));
                }
            }
        }
    }

    /// The client that was chosen, if it can still send.
    fn talking(&mut self, chosen: usize) -> Option<&mut Client> {
        let client = self.clients.get_mut(chosen);
        client.filter(|client| client.is_talking())
    }

    fn send(&mut self, chosen: usize) {
        let most = if self.dice.once_in(10) { 100_000 } else { 3000 };
        let size = 1 + self.dice.below(most);
        if let Some(client) = self.talking(chosen) {
            let (number, bytes) = (client.number, client.next(size));
            let count = self.reactor.net_mut().peer_send(number, &bytes);
            self.clients[chosen].sent.extend_from_slice(&bytes[..count]);
        }
    }

    /// Sends a byte that ends a read early, with more behind it.
    fn send_marked(&mut self, chosen: usize) {
        if let Some(client) = self.talking(chosen) {
            let (number, bytes) = (client.number, client.next(1));
            let count = self.reactor.net_mut().peer_send_marked(number, bytes[0]);
            self.clients[chosen].sent.extend_from_slice(&bytes[..count]);
            self.send(chosen);
        }
    }

    /// Sends the byte that makes a fragile service panic.
    fn doom(&mut self, chosen: usize) {
        let client = self.talking(chosen);
        if let Some(client) = client.filter(|client| client.expected == Expected::Fragile) {
            let number = client.number;
            let count = self.reactor.net_mut().peer_send(number, &[MAGIC]);
            self.clients[chosen].is_doomed = count > 0;
        }
    }

    fn end(&mut self, chosen: usize) {
        if let Some(client) = self.clients.get_mut(chosen) {
            client.has_finished = true;
            self.reactor.net_mut().peer_finish(client.number);
        }
    }

    fn reset(&mut self, chosen: usize) {
        if let Some(client) = self.clients.get_mut(chosen) {
            client.has_reset = true;
            self.reactor.net_mut().peer_reset(client.number);
        }
    }

    /// Reads, and checks that what comes is what the server owes.
    fn read(&mut self, chosen: usize, count: usize) {
        let client = self.clients.get_mut(chosen);
        if let Some(client) = client.filter(|client| !client.is_stalled) {
            client.take(&self.reactor.net_mut().peer_read(client.number, count));
        }
    }

    /// A client that waits for an answer reads it as it comes.
    fn read_answers(&mut self) {
        for chosen in 0..self.clients.len() {
            if self.clients[chosen].expected == Expected::Answer {
                self.read(chosen, usize::MAX);
            }
        }
    }

    fn read_everything(&mut self) {
        (0..self.clients.len()).for_each(|chosen| self.read(chosen, usize::MAX));
    }

    /// Every peer ends its side and reads to the end, in a network without faults: the loop comes
    /// to rest, and everybody has got everything.
    fn settle(&mut self) {
        self.calm();
        (0..self.clients.len()).for_each(|chosen| self.end(chosen));
        for round in 0.. {
            self.read_everything();
            self.turn();
            let waiting = self.waiting();
            if waiting.is_empty() && self.reactor.stats().live() == 0 {
                break;
            }
            assert!(round < PATIENCE, "the peers wait for ever: {waiting:#?}");
        }
        self.check_clients();
        for round in 0.. {
            let stats = self.reactor.stats().clone();
            let net = self.reactor.net_mut();
            if self.datagrams.are_settled(net, &stats) {
                self.datagrams.check_replies(net);
                break;
            }
            assert!(
                round < PATIENCE,
                "datagrams neither answered nor counted: {stats} of {:?}, {} to ourselves",
                self.datagrams,
                net.looped()
            );
            self.turn();
        }
    }

    /// From now on nothing fails, nothing comes by chance, and every peer reads.
    fn calm(&mut self) {
        self.reactor.net_mut().set_conditions(Conditions {
            faults: 0,
            interruptions: 0,
            shortages: 0,
            jumps: 0,
            spurious: 0,
            ..self.conditions
        });
        for client in &mut self.clients {
            client.is_stalled = false;
        }
        self.datagrams.calm(self.reactor.net_mut());
    }

    /// The clients that have not come to their ends.
    fn waiting(&mut self) -> Vec<String> {
        let net = self.reactor.net_mut();
        let open = self
            .clients
            .iter()
            .filter(|client| !client.has_reset && net.peer_end(client.number) == PeerEnd::Open);
        open.map(|client| {
            let (number, sent, got) = (client.number, client.sent.len(), client.got);
            format!("client {number}: {sent} bytes sent, {got} came back")
        })
        .collect()
    }

    fn begin_drain(&mut self) {
        self.is_draining = true;
        for client in &mut self.clients {
            client.sent_before_drain = Some(client.sent.len());
        }
        if self.dice.once_in(2) {
            self.reactor.net_mut().raise(Signal::Terminate);
        } else {
            self.reactor.handle().terminate();
        }
    }

    /// The drain, to its end. Peers that read lose nothing that they had sent before it, and the
    /// server leaves nothing behind.
    fn finish(mut self) -> u64 {
        self.calm();
        for round in 0.. {
            self.read_everything();
            if self.turn() == Lifecycle::Stopped {
                break;
            }
            assert!(round < 10 * PATIENCE, "the drain does not end");
        }
        let ending = self.reactor.run();
        self.read_everything();
        self.check_ending(ending);
        if ending == Ending::Clean {
            self.check_drained();
        }
        self.reactor.net_mut().trace()
    }
}

/// Says where a run was when it failed.
impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "failed at step {} of seed {seed}, under {:?} and {:?}\n\
                 repeat it with: SIM_SEED={seed} cargo test --test simulation",
                self.step,
                self.conditions,
                self.limits,
                seed = self.seed,
            );
        }
    }
}
