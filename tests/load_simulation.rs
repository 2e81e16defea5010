//! The load generator over the simulated network, where the clock obeys and everything may fail.
//!
//! A seed decides everything; the variables of `tests/simulation/seeds.rs` choose the seeds.
//! Whatever happens, every message that was sent is accounted for. Where nothing fails, every
//! message that was due is sent and answered.

#[path = "simulation/seeds.rs"]
mod seeds;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mynah::Dice;
use mynah::load::{
    Arrivals, Check, Concluded, Generator, Lanes, Law, Matching, News, Orders, Pace, Payload, Plan,
    Response, Tally, Trouble,
};
use mynah::net::sim::{Conditions, PeerEnd, Selector, SimNet};
use mynah::{Address, Limits, Reactor, Time};

use self::seeds::seeds;

/// Turns after which a run hangs.
const PATIENCE: usize = 1_000_000;

/// Seeds that the test of all plans runs.
const SEEDS: u64 = 32;

fn plan(law: Law) -> Plan {
    Plan {
        connections: 3,
        sources: Vec::new(),
        payload: Payload::pattern(64),
        first: None,
        lifetime: None,
        response: Response::Same,
        check: Check::Echo,
        matching: Matching::Order,
        law,
        arrivals: Arrivals::Uniform,
        seed: 0,
        stages: Vec::new(),
        depth: 1,
        churn: false,
        timeout: Some(Duration::from_secs(30)),
        connect_rate: None,
        handshakes: 64,
        warmup: Duration::from_millis(100),
        duration: Some(Duration::from_secs(1)),
        requests: None,
    }
}

const CLOSED: Law = Law::Closed {
    think: Duration::ZERO,
};

fn open(rate: f64) -> Law {
    Law::Open {
        rate: Pace::per_second(rate),
    }
}

/// Runs a plan against peers that `play`: one call a turn for each connection, with its number.
fn run(
    seed: u64,
    conditions: Conditions,
    plan: Plan,
    mut play: impl FnMut(&mut SimNet, usize),
) -> (Tally, Concluded) {
    let limits = Limits {
        connect_timeout: plan.timeout,
        write_timeout: None,
        precise_sleep: seed % 3 > 0,
        spin: Duration::from_micros(100 * (seed % 2)),
        ..Limits::default()
    };
    let reactor = Reactor::new(SimNet::new(seed, conditions), limits).unwrap();
    let lanes = Lanes::of(0, 1, plan.connections);
    let mut generator = Generator::new(
        reactor,
        Arc::new(plan),
        lanes,
        Address::Tcp("192.0.2.1:7".parse().unwrap()),
    );
    let orders = Orders::new(Arc::new(AtomicBool::new(false)));
    let mut total = Tally::default();
    for turn in 0.. {
        let clock = generator.net_mut().clock();
        let is_over = generator.turn(&orders, &mut |news| match news {
            News::Ready => {
                orders.start(Duration::from_nanos(clock.as_nanos()) + Duration::from_millis(5))
            }
            News::Begun(tally) | News::Interval(tally) => total.add(&tally),
            News::Progress(_) | News::Ended => {}
        });
        if is_over {
            break;
        }
        let net = generator.net_mut();
        (0..net.connections()).for_each(|number| play(net, number));
        assert!(turn < PATIENCE, "seed {seed}: the run does not end");
    }
    let outcome = generator.conclude();
    total.add(&outcome.rest);
    (total, outcome)
}

/// The echo of one connection: what it has read and not sent back yet.
#[derive(Clone, Default)]
struct Echo {
    unsent: Vec<u8>,
}

impl Echo {
    fn play(&mut self, net: &mut SimNet, number: usize) {
        self.unsent.extend(net.peer_read(number, usize::MAX));
        self.send(net, number);
    }

    fn send(&mut self, net: &mut SimNet, number: usize) {
        let sent = net.peer_send(number, &self.unsent);
        self.unsent.drain(..sent);
        if self.unsent.is_empty() && net.peer_end(number) == PeerEnd::Finished {
            net.peer_finish(number);
        }
    }
}

fn echo_of(echoes: &mut Vec<Echo>, number: usize) -> &mut Echo {
    if echoes.len() <= number {
        echoes.resize(number + 1, Echo::default());
    }
    &mut echoes[number]
}

#[test]
fn every_message_is_accounted_for() {
    let mut seen = Tally::default();
    for seed in seeds(SEEDS) {
        let mut dice = Dice::new(seed);
        let faults = [0, 0, 500][dice.below(3)];
        let conditions = Conditions {
            selector: [Selector::Edge, Selector::Rearm][dice.below(2)],
            faults,
            buffer: [64, 1000, 4096][dice.below(3)],
            interruptions: [0, 10][dice.below(2)],
            unanswered: if faults > 0 { 10 } else { 0 },
            spurious: [0, 6][dice.below(2)],
            step: Duration::from_millis(1),
            ..Conditions::default()
        };
        let rate = 100.0 + dice.below(900) as f64;
        let law = [
            CLOSED,
            Law::Closed {
                think: Duration::from_millis(3),
            },
            open(rate),
        ][dice.below(3)];
        let requests = [None, Some(1 + dice.below(300) as u64)][dice.below(2)];
        let plan = Plan {
            connections: 1 + dice.below(6) as u64,
            payload: Payload::pattern(1 + dice.below(if law == open(rate) { 100 } else { 9_000 })),
            depth: [1, 1, 3, 16][dice.below(4)],
            churn: dice.once_in(3),
            timeout: Some(if faults > 0 {
                Duration::from_millis(200)
            } else {
                Duration::from_secs(30)
            }),
            requests,
            duration: Some(Duration::from_millis(400)),
            ..plan(law)
        };
        let (churn, said) = (plan.churn, format!("seed {seed}: {plan:?}"));
        let mut echoes = Vec::new();
        let (tally, outcome) = run(seed, conditions, plan, |net, number| {
            if !dice.once_in(4) {
                echo_of(&mut echoes, number).play(net, number);
            }
        });
        assert_eq!(
            tally.troubles.get(Trouble::Mismatch)
                + tally.troubles.get(Trouble::Unasked)
                + tally.wrong_bytes,
            0,
            "{said}\n{tally:?}"
        );
        // Each message that was due has one fate, and one place in the distribution.
        assert_eq!(tally.settled(), tally.due(), "{said}\n{tally:?}");
        assert_eq!(tally.response.count(), tally.due(), "{said}");
        assert_eq!(tally.response.answered().count(), tally.answered, "{said}");
        let failed = tally.failed - tally.unanswered;
        assert!(
            failed <= tally.troubles.total(),
            "{said}\n{failed} messages failed, {} were said to",
            tally.troubles.total()
        );
        if faults == 0 {
            assert_eq!(
                (tally.sent, tally.troubles.total(), tally.unanswered),
                (tally.answered, 0, 0),
                "{said}\n{:?}",
                tally.troubles
            );
            if let (Law::Open { .. }, Some(requests)) = (law, requests) {
                let due = requests.min(
                    (Pace::per_second(rate).get() * outcome.measured.as_secs_f64()).round() as u64,
                );
                assert!(
                    tally.sent.abs_diff(due) <= 1 && tally.unsent == 0,
                    "{said}\n{} sent, {} unsent, {due} were due",
                    tally.sent,
                    tally.unsent
                );
            } else if let (Law::Closed { .. }, Some(requests), false) = (law, requests, churn) {
                assert!(
                    tally.sent == requests || outcome.measured >= Duration::from_millis(400),
                    "{said}\n{} sent of {requests}",
                    tally.sent
                );
            }
        }
        seen.add(&tally);
    }
    if seeds(SEEDS).count() > 30 {
        assert!(
            seen.answered > 1000
                && seen.troubles.get(Trouble::TimedOut) > 0
                && seen.troubles.get(Trouble::Reset) > 0,
            "{:?}",
            seen.troubles
        );
    }
}

/// One stall of half a second in a run: the closed loop has one slow answer a connection, the open
/// loop has one for each message that was due meanwhile.
#[test]
fn a_stall_cannot_hide_from_the_open_loop() {
    let conditions = Conditions {
        step: Duration::from_micros(200),
        ..Conditions::default()
    };
    let stalled = |law: Law| {
        let (mut echoes, mut begun) = (Vec::new(), None);
        let plan = Plan {
            duration: Some(Duration::from_secs(2)),
            warmup: Duration::ZERO,
            ..plan(law)
        };
        let (tally, _) = run(8, conditions, plan, |net, number| {
            let since = net.clock() - *begun.get_or_insert(net.clock());
            if !(Duration::from_millis(800)..Duration::from_millis(1300)).contains(&since) {
                echo_of(&mut echoes, number).play(net, number);
            }
        });
        assert_eq!((tally.troubles.total(), tally.unsent), (0, 0));
        tally
    };
    let (closed, open) = (stalled(CLOSED), stalled(open(1000.0)));
    let millis = |tally: &Tally, rank| tally.response.answered().at_rank(rank).unwrap().as_millis();
    assert!(
        millis(&closed, closed.answered * 99 / 100) < 10 && millis(&closed, closed.answered) >= 450,
        "{closed:?}"
    );
    // A quarter of the run stood still, so a quarter of its messages waited: the first of them half
    // a second, the later ones less and less.
    assert!(
        millis(&open, 1400) < 10 && (200..=300).contains(&millis(&open, 1760)),
        "{} {}",
        millis(&open, 1400),
        millis(&open, 1760)
    );
    assert!(millis(&open, 1980) >= 450);
    // The time from the sending of each message hides the stall, as the closed loop does.
    assert!(open.service.percentile(97.0).time().unwrap().as_millis() < 10);
    assert_eq!(open.answered, 2000);
}

/// The messages that have reached a peer as a whole; `partial` keeps what has come of the next.
fn messages_of(
    net: &mut SimNet,
    number: usize,
    size: usize,
    partial: &mut Vec<Echo>,
) -> Vec<Vec<u8>> {
    let input = &mut echo_of(partial, number).unsent;
    input.extend(net.peer_read(number, usize::MAX));
    let whole = input.len() / size * size;
    let messages: Vec<u8> = input.drain(..whole).collect();
    messages.chunks(size).map(<[u8]>::to_vec).collect()
}

/// When each message reached its peer, in seconds.
fn sends(plan: Plan, seed: u64) -> (Vec<f64>, Tally) {
    let conditions = Conditions {
        step: Duration::from_millis(1),
        ..Conditions::default()
    };
    let size = plan.payload.size();
    let (mut echoes, mut partial, mut times) = (Vec::new(), Vec::new(), Vec::<f64>::new());
    let (tally, _) = run(seed, conditions, plan, |net, number| {
        let now = net.clock().as_nanos() as f64 / 1e9;
        let messages = messages_of(net, number, size, &mut partial);
        times.extend(messages.iter().map(|_| now));
        let echo = echo_of(&mut echoes, number);
        echo.unsent.extend(messages.concat());
        echo.send(net, number);
    });
    assert_eq!((tally.troubles.total(), tally.unsent), (0, 0));
    times.sort_unstable_by(f64::total_cmp);
    (times, tally)
}

/// The statistic of Anderson and Darling: how far gaps are from exponential ones. Their mean is
/// taken from themselves, so the factor is the one of Stephens (1974); 1 % of exponential samples
/// are above 1.96.
fn anderson_darling(times: &[f64]) -> f64 {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable_by(f64::total_cmp);
    let count = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / count;
    let below = |gap: f64| (-(-gap / mean).exp_m1()).clamp(1e-9, 1.0 - 1e-9);
    let term = |(index, gap): (usize, &f64)| {
        let opposite = gaps[gaps.len() - 1 - index];
        (2 * index + 1) as f64 * (below(*gap).ln() + (1.0 - below(opposite)).ln())
    };
    let sum: f64 = gaps.iter().enumerate().map(term).sum();
    (-count - sum / count) * (1.0 + 0.6 / count)
}

/// What the generator sends is a Poisson process of all connections together, as it reaches the
/// peers. A grid is not: the test sees the difference.
#[test]
fn what_is_sent_has_exponential_gaps() {
    for seed in 0..8 {
        let of = |arrivals| {
            let plan = Plan {
                connections: 5,
                arrivals,
                seed,
                depth: usize::MAX,
                warmup: Duration::ZERO,
                duration: Some(Duration::from_secs(10)),
                ..plan(open(100.0))
            };
            sends(plan, seed)
        };
        let (times, tally) = of(Arrivals::Poisson);
        let (count, distance) = (times.len() as f64, anderson_darling(&times));
        assert_eq!(times.len() as u64, tally.sent);
        assert!(
            (count / 1_000.0 - 1.0).abs() < 3.0 / 1_000f64.sqrt(),
            "seed {seed}: {count} sent, 1,000 were meant"
        );
        assert!(distance < 1.96, "seed {seed}: {distance}");
        let (times, _) = of(Arrivals::Uniform);
        assert_eq!(times.len(), 1_000);
        assert!(anderson_darling(&times) > 100.0);
        let grid = |pair: &[f64]| (pair[1] - pair[0] - 0.01).abs() < 0.001;
        assert!(times.windows(2).all(grid), "seed {seed}: a grid");
    }
}

/// The seed of the plan alone decides when messages are due.
#[test]
fn the_seed_decides_the_arrivals() {
    let count = |seed, network| {
        let plan = Plan {
            arrivals: Arrivals::Poisson,
            seed,
            depth: usize::MAX,
            ..plan(open(1000.0))
        };
        sends(plan, network).1.sent
    };
    assert_eq!(count(1, 1), count(1, 2));
    assert!((2..6).any(|seed| count(seed, 1) != count(1, 1)));
}

/// A number of messages is exact, however they are spread.
#[test]
fn counted_messages_are_all_sent_and_no_more() {
    for (arrivals, seed) in [
        (Arrivals::Poisson, 1),
        (Arrivals::Poisson, 2),
        (Arrivals::Uniform, 3),
    ] {
        for churn in [false, true] {
            let plan = Plan {
                connections: 4,
                arrivals,
                seed,
                churn,
                requests: Some(501),
                duration: None,
                ..plan(open(2000.0))
            };
            let (mut echoes, conditions) = (Vec::new(), Conditions::default());
            let (tally, outcome) = run(seed, conditions, plan, |net, number| {
                echo_of(&mut echoes, number).play(net, number)
            });
            assert_eq!((tally.sent, tally.answered, tally.unsent), (501, 501, 0));
            let measured = outcome.measured.as_secs_f64();
            assert!((measured - 0.2505).abs() < 0.001, "{measured}");
        }
    }
}

/// Each stage has its own messages, and all stages together have all of them.
#[test]
fn messages_belong_to_the_stage_in_which_they_were_due() {
    for arrivals in [Arrivals::Poisson, Arrivals::Uniform] {
        let stages = ["1000:500ms", "0:300ms", "0..2000:1s"].map(|text| text.parse().unwrap());
        let plan = Plan {
            arrivals,
            seed: 4,
            depth: usize::MAX,
            duration: Some(Duration::from_millis(1_800)),
            stages: stages.to_vec(),
            ..plan(open(833.333))
        };
        let (_, tally) = sends(plan, 4);
        let of = |index: usize| tally.stages.get(index).cloned().unwrap_or_default();
        for (index, expected) in [(0, 500.0), (1, 0.0), (2, 1_000.0f64)] {
            let due = of(index).due() as f64;
            let slack = match arrivals {
                Arrivals::Uniform => 1.0,
                Arrivals::Poisson => 3.0 * expected.sqrt(),
            };
            assert!(
                (due - expected).abs() <= slack,
                "{arrivals:?} {index}: {due}"
            );
            assert_eq!(of(index).response.count(), of(index).answered);
        }
        let sum: u64 = (0..3).map(|index| of(index).answered).sum();
        assert_eq!(sum, tally.answered);
    }
}

/// A server that takes one millisecond for each message, in their order, has a queue that theory
/// knows (M/D/1): at a load of 0.56 a message waits 0.636 ms on average. On a grid nothing waits,
/// and the same server seems to keep up to its last percent.
#[test]
fn a_queue_is_as_long_as_theory_says() {
    const SERVICE: Duration = Duration::from_millis(1);
    let mean = |arrivals| {
        let conditions = Conditions {
            step: Duration::from_micros(50),
            ..Conditions::default()
        };
        let plan = Plan {
            connections: 4,
            arrivals,
            seed: 9,
            depth: usize::MAX,
            duration: Some(Duration::from_secs(20)),
            ..plan(open(560.0))
        };
        let size = plan.payload.size();
        // Which connection asked, what, and when it is to be answered.
        let mut queue: VecDeque<(usize, Vec<u8>, Time)> = VecDeque::new();
        let (mut free_at, mut echoes, mut partial) = (Time::ZERO, Vec::new(), Vec::new());
        let (tally, _) = run(9, conditions, plan, |net, number| {
            let now = net.clock();
            for message in messages_of(net, number, size, &mut partial) {
                free_at = free_at.max(now) + SERVICE;
                queue.push_back((number, message, free_at));
            }
            while queue.front().is_some_and(|(.., at)| *at <= now) {
                let Some((asker, message, _)) = queue.pop_front() else {
                    break;
                };
                echo_of(&mut echoes, asker).unsent.extend(message);
            }
            echo_of(&mut echoes, number).send(net, number);
        });
        assert_eq!((tally.troubles.total(), tally.unsent), (0, 0));
        tally.response.mean().seconds().unwrap() * 1e3
    };
    // Each way takes up to 0.05 ms here.
    let (poisson, uniform) = (mean(Arrivals::Poisson), mean(Arrivals::Uniform));
    assert!((1.58..1.86).contains(&poisson), "{poisson} ms");
    assert!((1.0..1.2).contains(&uniform), "{uniform} ms");
}

/// The same seed gives the same run.
#[test]
fn the_same_seed_gives_the_same_run() {
    let once = || {
        let mut echoes = Vec::new();
        run(
            3,
            Conditions {
                faults: 300,
                ..Conditions::default()
            },
            plan(open(500.0)),
            |net, number| echo_of(&mut echoes, number).play(net, number),
        )
        .0
    };
    assert_eq!(once(), once());
}
