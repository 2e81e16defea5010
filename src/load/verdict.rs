//! Whose times these are: the target's, or the generator's.
//!
//! Owns the comparison of the rows of a report, percentile by percentile. Pure. Must never excuse
//! the generator: what it added to a time stands beside that time, at the same percentile.
//!
//! Tests: below.

use std::time::Duration;

use super::distribution::Mark;
use super::plan::Plan;
use super::tally::Tally;

/// The percentiles that are compared, where they are known.
const COMPARED: [f64; 6] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// A share of a response time that is worth a note, and the least time: waking a thread takes a
/// good part of it.
const WORTH_A_NOTE: f64 = 0.1;
const NOTED: Duration = Duration::from_micros(100);

/// A share that makes the time the generator's rather than the target's, and the least time: below
/// it, the times are too short for a program that sleeps and is woken.
const SPOILING: f64 = 0.5;
const SPOILED: Duration = Duration::from_millis(1);

/// Connections that are in use for more of the time than this leave no room for what is due.
const IN_USE: f64 = 0.9;

/// A target that takes no longer than this many times its shortest time for a typical message is
/// not held up by the others.
const UNHURRIED: u32 = 2;

/// Whose times these are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The target's.
    Target,
    /// The target's, but the generator has a share in them that one can see.
    Shared(Part),
    /// The generator's: the run says more of it than of the target, and is void.
    Generator(Part),
    /// Those of too few connections: the target answers as fast as it can, and messages wait for
    /// one that is free.
    Limit(Part),
    /// All connections are in use, and it cannot be told whether the target is too slow for the
    /// rate or they are too few.
    Full(Part),
    /// There were too few messages to tell.
    TooFew,
}

/// What was added to the response time at a percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Of 100.
    pub percentile: f64,
    /// The response time there, or what it was at least.
    pub response: Duration,
    /// How much the generator and its limits added there.
    pub added: Duration,
}

impl Part {
    fn exceeds(&self, share: f64, least: Duration) -> bool {
        self.added > least && self.added.as_secs_f64() > share * self.response.as_secs_f64()
    }
}

impl Verdict {
    /// Of a run that was to go by `plan`, with a window of `measured`. `is_busy`: the generator had
    /// no time left.
    pub fn of(tally: &Tally, plan: &Plan, measured: Duration, is_busy: bool) -> Verdict {
        let part = |percentile| {
            let response = known(tally.response.percentile(percentile))?;
            let added = known(tally.added.percentile(percentile)).unwrap_or_default();
            Some(Part {
                percentile,
                response,
                added,
            })
        };
        let parts: Vec<Part> = COMPARED.into_iter().filter_map(part).collect();
        if parts.is_empty() {
            return Verdict::TooFew;
        }
        let is_held = |part: &Part| {
            let held = known(tally.held.percentile(part.percentile)).unwrap_or_default();
            2 * held >= part.added
        };
        let first = |share, least, is_held_too: bool| {
            let mut parts = parts.iter().copied();
            parts.find(|part| part.exceeds(share, least) && is_held(part) == is_held_too)
        };
        if let Some(part) = first(SPOILING, SPOILED, false) {
            return Verdict::Generator(part);
        }
        match first(SPOILING, SPOILED, true) {
            // More connections would not help.
            Some(part) if is_busy => return Verdict::Generator(part),
            Some(part) if is_steady(tally) => return Verdict::Limit(part),
            Some(part) if in_use(tally, plan, measured) > IN_USE => {
                return if is_unhurried(tally) {
                    Verdict::Limit(part)
                } else {
                    Verdict::Full(part)
                };
            }
            _ => {}
        }
        first(WORTH_A_NOTE, NOTED, false).map_or(Verdict::Target, Verdict::Shared)
    }
}

/// What is known of a time: itself, or what it was at least.
fn known(mark: Mark) -> Option<Duration> {
    match mark {
        Mark::Time(time) | Mark::Unanswered(time) => Some(time),
        Mark::Unknown => None,
    }
}

/// The share of the time in which the connections were in use.
fn in_use(tally: &Tally, plan: &Plan, measured: Duration) -> f64 {
    let answered = tally.service.answered();
    let Some(mean) = answered.mean() else {
        return 0.0;
    };
    let places = plan.connections as f64 * plan.depth as f64;
    answered.count() as f64 * mean.as_secs_f64() / (places * measured.as_secs_f64().max(1e-9))
}

/// Whether the target took about as long for each message: no stall of its own made any wait.
fn is_steady(tally: &Tally) -> bool {
    let service = &tally.service;
    let (longest, shortest) = (known(service.max()), service.answered().min());
    longest
        .zip(shortest)
        .is_some_and(|(longest, shortest)| longest < UNHURRIED * shortest)
}

/// Whether the target does not make its messages wait for each other.
fn is_unhurried(tally: &Tally) -> bool {
    let typical = known(tally.service.percentile(50.0));
    let shortest = tally.service.answered().min();
    typical
        .zip(shortest)
        .is_some_and(|(typical, shortest)| typical < UNHURRIED * shortest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::matching::Matching;
    use crate::load::pace::Pace;
    use crate::load::payload::Payload;
    use crate::load::plan::{Check, Law};
    use crate::load::response::Response;
    use crate::load::schedule::Arrivals;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn plan(connections: u64) -> Plan {
        Plan {
            connections,
            sources: Vec::new(),
            payload: Payload::pattern(64),
            first: None,
            lifetime: None,
            response: Response::Same,
            check: Check::None,
            matching: Matching::Order,
            law: Law::Open {
                rate: Pace::per_second(100.0),
            },
            arrivals: Arrivals::Uniform,
            seed: 0,
            stages: Vec::new(),
            depth: 1,
            churn: false,
            timeout: None,
            connect_rate: None,
            handshakes: 64,
            warmup: Duration::ZERO,
            duration: Some(Duration::from_secs(10)),
            requests: None,
        }
    }

    /// Messages with so many milliseconds each: held, late, and of service.
    fn tally(messages: impl IntoIterator<Item = (u64, u64, u64)>) -> Tally {
        let mut tally = Tally::default();
        for (held, late, service) in messages {
            tally.response.record(millis(held + late + service));
            tally.service.record(millis(service));
            tally.added.record(millis(held + late));
            tally.lateness.record(millis(late));
            tally.held.record(millis(held));
        }
        tally
    }

    fn verdict(messages: impl IntoIterator<Item = (u64, u64, u64)>, connections: u64) -> Verdict {
        Verdict::of(
            &tally(messages),
            &plan(connections),
            Duration::from_secs(10),
            false,
        )
    }

    #[test]
    fn a_target_that_stalls_is_to_blame_and_not_the_generator() {
        // For half a second of ten nothing is answered; what waits for a connection meanwhile waits
        // because of that.
        let stalled = (0..50).map(|n| (490 - 10 * n.min(48), 0, 5 + n / 48 * 480));
        let all = (0..950).map(|_| (0, 0, 5)).chain(stalled);
        assert_eq!(verdict(all, 10), Verdict::Target);
    }

    #[test]
    fn a_generator_that_was_stopped_is_to_blame() {
        let all = (0..1000).map(|n| (0, if n < 50 { 45 } else { 0 }, 1));
        let Verdict::Generator(part) = verdict(all, 10) else {
            panic!("not the generator");
        };
        assert_eq!(part.percentile, 99.0);
        assert!(part.added >= millis(45), "{part:?}");
        // It may be late by as much where that is nothing beside the target's time.
        let slow = (0..1000).map(|n| (0, if n < 50 { 45 } else { 0 }, 900));
        assert_eq!(verdict(slow, 100), Verdict::Target);
        let slower = (0..1000).map(|n| (0, if n < 50 { 45 } else { 0 }, 200));
        assert!(matches!(verdict(slower, 100), Verdict::Shared(_)));
    }

    #[test]
    fn too_few_connections_on_a_long_way_are_named_as_such() {
        // 10 connections carry 50 messages a second over a way of 200 ms; 100 are due.
        let all = (0..500).map(|n| (10 * n, 0, 200));
        assert!(matches!(verdict(all, 10), Verdict::Limit(_)));
        // A target that is slow because it is busy has a shorter time to show for it, and so has
        // one that is slow with some messages.
        let all = (0..500).map(|n| (10 * n, 0, if n == 0 { 20 } else { 200 }));
        assert!(matches!(verdict(all, 10), Verdict::Full(_)));
    }

    #[test]
    fn what_was_never_sent_counts_for_whom_it_waited() {
        let mut late = tally((0..100).map(|_| (0, 900, 1)));
        late.response.give_up(millis(2000), 5000);
        late.added.give_up(millis(2000), 5000);
        let window = Duration::from_secs(10);
        assert!(matches!(
            Verdict::of(&late, &plan(10), window, false),
            Verdict::Generator(_)
        ));
        let few = tally((0..19).map(|_| (0, 0, 1)));
        assert_eq!(Verdict::of(&few, &plan(10), window, false), Verdict::TooFew);
    }
}
