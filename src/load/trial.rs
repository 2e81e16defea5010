//! What one trial of a search says of its rate.
//!
//! Owns the judgement. Pure: counts and times in, an outcome out. Must never call a rate kept that
//! the target does not serve: a backlog that has not yet reached the goal's limit grows until it
//! does.
//!
//! A trial **holds** if the goal is reached, and the target answers at least 99 % of what is due
//! as fast as it is due, and the last third of the window is no slower than the first. Lost
//! datagrams are unanswered members of the distribution, so they count in the goal's percentile,
//! and nowhere else.
//!
//! Tests: below, against simulated queues.

use std::time::Duration;

use super::course::Stage;
use super::distribution::{BEYOND, Mark};
use super::goal::{Goal, Measured};
use super::pace::Pace;
use super::plan::{Law, Plan};
use super::schedule::Arrivals;
use super::search::Outcome;
use super::tally::Tally;
use super::verdict::Verdict;

/// The share of what is due that the target answers meanwhile, at least.
const KEPT_UP: f64 = 0.99;

/// Below this share, a trial is far from the edge.
const OVERRUN: f64 = 0.9;

/// So many times the limit is far from the edge, and so is the limit divided by it.
const FAR: f64 = 2.0;

/// With fewer messages than this, a percent of them is none.
const COUNTED: u64 = 100;

/// Of so many messages that all miss the goal, it is not chance.
const FEW: u64 = 5;

/// Parts of a window, of which the first and the last are compared.
const PARTS: u32 = 3;

/// What a trial says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Of its rate.
    pub outcome: Outcome,
    /// It is far from the edge: no other trial is needed.
    pub is_clear: bool,
    /// The share of what was due that was answered as fast as it was due.
    pub achieved: f64,
    /// Messages waited longer and longer.
    pub is_growing: bool,
}

impl Plan {
    /// Makes this the plan of a trial: an open loop at `rate`, of `duration`, whose parts are
    /// counted by themselves.
    pub fn try_rate(&mut self, rate: Pace, duration: Duration, seed: u64) {
        let part = Stage::steady(rate, duration / PARTS);
        self.stages = vec![part; PARTS as usize];
        self.law = Law::Open { rate };
        self.duration = Some(part.length * PARTS);
        self.seed = seed;
    }
}

impl Trial {
    /// Judges a run of a plan that [`Plan::try_rate`] made. `blame` says whose times they are;
    /// `is_exhausted`, that the generator had no time left.
    pub fn of(
        goal: &Goal,
        tally: &Tally,
        plan: &Plan,
        measured: Duration,
        blame: &Verdict,
        is_exhausted: bool,
    ) -> Trial {
        let achieved = achieved(tally, plan, measured);
        let is_growing = tally.due() >= COUNTED && is_growing(tally, measured);
        let is_slow = tally.due() >= COUNTED && achieved < KEPT_UP || is_growing;
        let value = goal.measured().of(&tally.response).seconds();
        let outcome = match value.map(|value| goal.is_reached(Some(value))) {
            Some(true) if !is_slow => Outcome::Holds,
            None if !is_slow && !is_surely_missed(goal, tally) => Outcome::TooFew,
            _ if is_exhausted || is_to_blame(blame, goal.measured(), is_slow) => Outcome::Spoiled,
            _ => Outcome::Breaks,
        };
        let is_met = |value: f64| goal.is_reached(Some(value));
        let typical = typical(tally);
        let is_clear = match outcome {
            Outcome::Holds => value.is_some_and(|value| is_met(value * FAR)),
            Outcome::Breaks => {
                is_slow && achieved < OVERRUN
                    || typical.is_some_and(|typical| !is_met(typical))
                        && value.or(typical).is_some_and(|value| !is_met(value / FAR))
            }
            Outcome::Spoiled | Outcome::TooFew => false,
        };
        Trial {
            outcome,
            is_clear,
            achieved,
            is_growing,
        }
    }
}

/// Whether the generator may be why a trial breaks: not where its part is seen at percentiles
/// above the goal's alone.
fn is_to_blame(blame: &Verdict, measured: Measured, is_slow: bool) -> bool {
    match (blame, measured) {
        (Verdict::Generator(part), Measured::Percentile(percentile)) => {
            part.percentile <= percentile.max(if is_slow { 90.0 } else { 50.0 })
        }
        (Verdict::Generator(_), _) => true,
        _ => false,
    }
}

/// The median; of few messages, the shortest time.
fn typical(tally: &Tally) -> Option<f64> {
    match tally.response.percentile(50.0) {
        Mark::Unknown if tally.response.count() < FEW => None,
        // Where none was answered, there is no shortest time.
        Mark::Unknown => Some(tally.response.min().seconds().unwrap_or(f64::INFINITY)),
        mark => mark.seconds(),
    }
}

/// Whether a percentile that takes more messages is missed all the same: a lower one, that can be
/// told, misses the goal, or all messages do.
fn is_surely_missed(goal: &Goal, tally: &Tally) -> bool {
    let count = tally.response.count();
    let told = 100.0 * (1.0 - BEYOND as f64 / count.max(1) as f64);
    let told = tally.response.percentile(told.max(0.0)).seconds();
    let is_missed = |value: Option<f64>| value.is_some_and(|value| !goal.is_reached(Some(value)));
    is_missed(typical(tally)) || count > BEYOND && is_missed(told)
}

/// The share of what was due that was answered as fast as it was due. Where answers take their
/// time, as many are on their way at the end of the window as at its beginning, but for chance.
fn achieved(tally: &Tally, plan: &Plan, measured: Duration) -> f64 {
    let due = tally.due() as f64;
    let pace = due / measured.as_secs_f64().max(1e-9);
    let first = tally.stages.get(0).map(|stage| &stage.response);
    let took = first.and_then(|times| times.percentile(50.0).time());
    let took = took.unwrap_or_default();
    // Without a warm-up of that length, nothing is on its way at the beginning.
    let filling = pace * took.saturating_sub(plan.warmup).as_secs_f64();
    let chance = match plan.arrivals {
        // Two numbers of a Poisson process; their difference, at two standard deviations.
        Arrivals::Poisson => 2.0 * (2.0 * pace * took.as_secs_f64()).sqrt(),
        Arrivals::Uniform => 0.0,
    };
    let answered = (tally.completed + tally.given_up) as f64;
    ((answered + filling + chance) / due.max(1.0)).min(1.0)
}

/// Whether messages of the last part of the window waited longer than those of the first: the
/// target lost more than a percent of the time between them.
fn is_growing(tally: &Tally, measured: Duration) -> bool {
    let median = |part: u32| {
        let times = &tally.stages.get(part as usize)?.response;
        match times.percentile(50.0) {
            Mark::Time(time) | Mark::Unanswered(time) => Some(time),
            Mark::Unknown => None,
        }
    };
    let between = measured * (PARTS - 1) / PARTS;
    match (median(0), median(PARTS - 1)) {
        (Some(first), Some(last)) => last > first + between.mul_f64(1.0 - KEPT_UP),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::matching::Matching;
    use super::super::payload::Payload;
    use super::super::plan::Check;
    use super::super::response::Response;
    use super::super::search::{Found, PaceSearch};
    use super::super::verdict::Part;
    use super::*;

    fn plan(warmup: Duration) -> Plan {
        Plan {
            connections: 50,
            sources: Vec::new(),
            payload: Payload::pattern(64),
            response: Response::Same,
            check: Check::None,
            matching: Matching::Order,
            first: None,
            lifetime: None,
            law: Law::Closed {
                think: Duration::ZERO,
            },
            arrivals: Arrivals::Poisson,
            seed: 0,
            stages: Vec::new(),
            depth: usize::MAX,
            churn: false,
            timeout: None,
            connect_rate: None,
            handshakes: 64,
            warmup,
            duration: Some(Duration::from_secs(2)),
            requests: None,
        }
    }

    /// Numbers from 0 to 1 (splitmix64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// A server: when does it answer, given when a message comes? `None`: never.
    type Server<'a> = dyn FnMut(f64, &mut Dice) -> Option<f64> + 'a;

    /// One server that takes `service` seconds for each message, in order; then it takes `delay`
    /// more until the answer is there.
    fn queue(service: f64, delay: f64) -> impl FnMut(f64, &mut Dice) -> Option<f64> {
        let mut free = 0.0f64;
        move |at, _| {
            free = free.max(at) + service;
            Some(free + delay)
        }
    }

    /// A trial of `plan` against a server. What is not answered is given up after a second.
    fn run(plan: &Plan, server: &mut Server<'_>) -> (Tally, Duration) {
        let Law::Open { rate } = plan.law else {
            panic!("a closed loop")
        };
        let (mut dice, mut tally) = (Dice(plan.seed), Tally::default());
        let duration = plan.duration.unwrap();
        let from = plan.warmup.as_secs_f64();
        let to = from + duration.as_secs_f64();
        let mut at = 0.0;
        loop {
            at += match plan.arrivals {
                Arrivals::Poisson => -(1.0 - dice.roll()).ln() / rate.get(),
                Arrivals::Uniform => 1.0 / rate.get(),
            };
            if at >= to {
                return (tally, duration);
            }
            let answered = server(at, &mut dice);
            let is_completed = answered.is_some_and(|then| (from..to).contains(&then));
            tally.completed += u64::from(is_completed);
            if at < from {
                continue;
            }
            tally.sent += 1;
            let part = ((at - from) / (to - from) * 3.0) as usize;
            let stage = tally.stages.of(part.min(2));
            match answered {
                Some(then) => {
                    tally.answered += 1;
                    let time = Duration::from_secs_f64(then - at);
                    tally.response.record(time);
                    stage.response.record(time);
                }
                None => {
                    tally.given_up += 1;
                    tally.response.give_up(Duration::from_secs(1), 1);
                    stage.response.give_up(Duration::from_secs(1), 1);
                }
            }
        }
    }

    fn trial_of(goal: &str, plan: &Plan, server: &mut Server<'_>) -> Trial {
        let goal: Goal = goal.parse().unwrap();
        let (tally, measured) = run(plan, server);
        Trial::of(&goal, &tally, plan, measured, &Verdict::Target, false)
    }

    fn trial(goal: &str, rate: f64, warmup: f64, server: &mut Server<'_>) -> Trial {
        let mut plan = plan(Duration::from_secs_f64(warmup));
        plan.try_rate(Pace::per_second(rate), Duration::from_secs(2), 7);
        trial_of(goal, &plan, server)
    }

    /// A search of trials of `seconds` each.
    fn search<S: FnMut(f64, &mut Dice) -> Option<f64>>(
        goal: &str,
        closed: f64,
        seconds: u64,
        seed: u64,
        server: impl Fn() -> S,
    ) -> (Found, u32) {
        let pace = Pace::per_second;
        let mut search = PaceSearch::new(pace(closed / 4.0), pace(closed / 2.0), pace(150.0));
        let mut plan = plan(Duration::from_millis(500));
        loop {
            let seed = seed * 1_000 + u64::from(search.trials());
            plan.try_rate(search.rate(), Duration::from_secs(seconds), seed);
            let trial = trial_of(goal, &plan, &mut server());
            if let Some(found) = search.tell(trial.outcome, trial.is_clear) {
                return (found, search.trials());
            }
        }
    }

    /// An M/D/1 queue with a service time of 1 ms has p99 = 5 ms at 560/s.
    #[test]
    fn the_edge_of_a_queue_is_where_the_analysis_says() {
        let mut worst = 0.0f64;
        for seed in 0..20 {
            let (found, trials) = search("p99<5ms", 1_000.0, 6, seed, || queue(1e-3, 0.0));
            let Found::Between { holds, fails } = found else {
                panic!("{found:?}")
            };
            let edge = (holds.get() * fails.get()).sqrt();
            worst = worst.max((edge / 560.0 - 1.0).abs());
            assert!(
                (edge / 560.0 - 1.0).abs() < 0.1,
                "seed {seed}: {found:?} in {trials} trials"
            );
        }
        println!("off by {worst:.3} at most");
    }

    #[test]
    fn a_rate_that_the_target_does_not_serve_is_not_kept_however_lax_the_goal() {
        for warmup in [0.0, 0.5, 1.0, 5.0] {
            for rate in [1_477.0, 1_100.0] {
                let trial = trial("p99<10s", rate, warmup, &mut queue(1e-3, 0.0));
                assert_eq!(trial.outcome, Outcome::Breaks, "{rate} {warmup}: {trial:?}");
            }
            let trial = trial("p99<10s", 800.0, warmup, &mut queue(1e-3, 0.0));
            assert_eq!(trial.outcome, Outcome::Holds, "{warmup}: {trial:?}");
        }
        let (found, _) = search("p99<10s", 1_000.0, 2, 1, || queue(1e-3, 0.0));
        let Found::Between { holds, fails } = found else {
            panic!("{found:?}")
        };
        assert!(holds.get() > 900.0 && fails.get() < 1_100.0, "{found:?}");
    }

    #[test]
    fn a_delay_is_no_backlog() {
        for (rate, warmup) in [(200.0, 0.0), (200.0, 1.0), (5_000.0, 0.0), (5_000.0, 1.0)] {
            let trial = trial("p90<1s", rate, warmup, &mut queue(0.0, 0.25));
            assert_eq!(trial.outcome, Outcome::Holds, "{rate} {warmup}: {trial:?}");
        }
    }

    #[test]
    fn a_stream_that_fails_one_message_in_twenty_is_not_kept_up_with() {
        let mut plan = plan(Duration::ZERO);
        plan.try_rate(Pace::per_second(1e3), Duration::from_secs(2), 7);
        let mut drops = |at: f64, dice: &mut Dice| (dice.roll() >= 0.05).then_some(at + 0.001);
        let (mut tally, measured) = run(&plan, &mut drops);
        tally.failed = std::mem::take(&mut tally.given_up);
        let goal = "p50<10ms".parse().unwrap();
        let trial = Trial::of(&goal, &tally, &plan, measured, &Verdict::Target, false);
        assert_eq!(trial.outcome, Outcome::Breaks, "{trial:?}");
    }

    /// What is on its way at the ends of a window differs by chance, and more of it by more.
    #[test]
    fn a_backlog_behind_a_long_delay_is_seen_in_the_times() {
        let trial = trial("p90<9s", 5_000.0, 2.0, &mut queue(1.0 / 4_930.0, 1.0));
        assert!(trial.is_growing && trial.achieved > KEPT_UP, "{trial:?}");
        assert_eq!(trial.outcome, Outcome::Breaks);
    }

    #[test]
    fn few_messages_can_break_a_percentile_and_cannot_keep_it() {
        let slow = trial("p99<10ms", 20.0, 0.5, &mut queue(0.0, 0.25));
        assert_eq!((slow.outcome, slow.is_clear), (Outcome::Breaks, true));
        let rare = trial("p99<10ms", 3.0, 0.5, &mut queue(0.0, 0.25));
        assert_eq!((rare.outcome, rare.is_clear), (Outcome::Breaks, true));
        let fast = trial("p99<10ms", 20.0, 0.5, &mut queue(0.0, 0.001));
        assert_eq!(fast.outcome, Outcome::TooFew);
    }

    #[test]
    fn lost_datagrams_count_in_the_percentile_and_nowhere_else() {
        let lossy =
            |loss: f64| move |at: f64, dice: &mut Dice| (dice.roll() >= loss).then_some(at + 0.001);
        for (goal, loss, outcome) in [
            ("p50<10ms", 0.0005, Outcome::Holds),
            ("p50<10ms", 0.05, Outcome::Holds),
            ("p99<10ms", 0.0005, Outcome::Holds),
            ("p99<10ms", 0.05, Outcome::Breaks),
        ] {
            let trial = trial(goal, 5_000.0, 0.5, &mut lossy(loss));
            assert_eq!(trial.outcome, outcome, "{goal} {loss}: {trial:?}");
        }
    }

    #[test]
    fn what_the_generator_did_is_not_held_against_the_target() {
        let mut plan = plan(Duration::ZERO);
        plan.try_rate(Pace::per_second(1e3), Duration::from_secs(2), 7);
        let (tally, measured) = run(&plan, &mut queue(0.0, 0.02));
        let blame = |percentile| {
            Verdict::Generator(Part {
                percentile,
                response: Duration::from_millis(20),
                added: Duration::from_millis(15),
            })
        };
        let outcome = |goal: &str, verdict| {
            let goal = goal.parse().unwrap();
            Trial::of(&goal, &tally, &plan, measured, &verdict, false).outcome
        };
        assert_eq!(outcome("p99<10ms", blame(90.0)), Outcome::Spoiled);
        assert_eq!(outcome("p99<10ms", blame(99.9)), Outcome::Breaks);
        // With its part in them, the times are still short enough.
        assert_eq!(outcome("p99<30ms", blame(90.0)), Outcome::Holds);
    }
}
