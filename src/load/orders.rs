//! What generators and their crew say to each other.
//!
//! Owns the share of each generator, the orders that all of them follow, and what they tell. Must
//! never hold anything of a connection: all of it crosses threads.
//!
//! Tests: below.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::progress::Progress;
use super::tally::Tally;
use super::timeline::Timeline;
use crate::values::error::{CloseReason, StartError};
use crate::values::time::Time;

/// The connections of one generator: `count` of all, from the number `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// The number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Lanes {
    /// The lanes of the generator `index` of `generators`, which share `connections`.
    pub fn of(index: u64, generators: u64, connections: u64) -> Lanes {
        let first = |index: u64| {
            (u128::from(connections) * u128::from(index) / u128::from(generators)) as u64
        };
        Lanes {
            first: first(index),
            count: first(index + 1) - first(index),
        }
    }

    /// Its share of `whole`; the shares of all generators together are the whole.
    pub(super) fn share_of(self, whole: u64, connections: u64) -> u64 {
        let part =
            |lane: u64| (u128::from(whole) * u128::from(lane) / u128::from(connections)) as u64;
        part(self.first + self.count) - part(self.first)
    }
}

/// What all generators are told, from any thread. A thread that sleeps must be woken to hear of it
/// ([`Handle::nudge`](crate::Handle::nudge)).
#[derive(Debug)]
pub struct Orders {
    start: AtomicU64,
    stop: Arc<AtomicBool>,
    abort: AtomicBool,
}

impl Orders {
    /// Orders to end as soon as `stop` is set, which may be by a signal.
    pub fn new(stop: Arc<AtomicBool>) -> Orders {
        Orders {
            start: AtomicU64::new(u64::MAX),
            stop,
            abort: AtomicBool::new(false),
        }
    }

    /// Begin at this time of the common clock.
    pub fn start(&self, at: Duration) {
        self.start.store(at.as_nanos() as u64, Ordering::Release);
    }

    /// Stop at once: the results of this run are of no use any more.
    pub fn abort(&self) {
        self.abort.store(true, Ordering::Release);
    }

    /// Whether all generators are to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.is_aborted()
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }

    /// When all generators begin; [`Time::NEVER`] until that is known.
    pub(super) fn started(&self) -> Time {
        Time::ZERO + Duration::from_nanos(self.start.load(Ordering::Acquire))
    }
}

/// Why the first connection was not made.
#[derive(Debug)]
pub enum ReachError {
    /// It could not even be begun.
    Unbegun(StartError),
    /// It was begun.
    Closed(CloseReason),
}

/// What a generator says while it works.
#[derive(Debug)]
pub enum News {
    /// Every connection was tried.
    Ready,
    /// The window begins. What happened before it is errors and connections alone.
    Begun(Box<Tally>),
    /// What happened in the last second of the window.
    Interval(Box<Tally>),
    /// How far it has come, where somebody watches ([`Generator::watched`](super::Generator)).
    Progress(Progress),
    /// The window is over, and what was on its way has come or is given up.
    Ended,
}

/// How a run ended.
#[derive(Debug)]
pub struct Concluded {
    /// What happened since the last interval.
    pub rest: Box<Tally>,
    /// The window in columns.
    pub timeline: Timeline,
    /// How long the window was.
    pub measured: Duration,
    /// Connections open at its end.
    pub open: u64,
    /// How much of the window was spent polling for nothing
    /// ([`Limits::spin`](crate::Limits::spin)).
    pub spun: Duration,
    /// Nobody listens at the target of the datagrams.
    pub is_refused: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lanes_and_shares_add_up(
            generators in 1u64..20,
            connections in 1u64..5000,
            whole in 0u64..1_000_000_000,
        ) {
            let lanes_of = |index| Lanes::of(index, generators, connections);
            let lanes: Vec<Lanes> = (0..generators).map(lanes_of).collect();
            prop_assert_eq!(lanes.iter().map(|lanes| lanes.count).sum::<u64>(), connections);
            let are_adjacent = |pair: &[Lanes]| pair[0].first + pair[0].count == pair[1].first;
            prop_assert!(lanes.windows(2).all(are_adjacent));
            let shares = lanes.iter().map(|lanes| lanes.share_of(whole, connections));
            prop_assert_eq!(shares.sum::<u64>(), whole);
        }
    }
}
