//! What does a deadline cost among 100,000 sources? Is std's heap good enough?
//!
//! The heap is used as `Sources` uses it: one alarm for each source, its time stored beside the
//! source, outdated entries left in the heap. The baseline is a `BTreeSet` of (deadline, token)
//! that is always exact: setting a deadline removes the old one. All times are virtual; no clock is
//! read. The time of one operation is the inverse of the throughput.
//!
//! * `timer_set`: every source gets its first deadline. The deadlines are in random order.
//! * `timer_nearer`: every source gets a nearer deadline, three times. The heap keeps outdated
//!   entries until they are more than half of it.
//! * `timer_message`: a message from a random source pushes back its idle timeout. Each source
//!   sends ten messages within one timeout. For each message the heap stores a time, and the set
//!   moves an entry. Once in a timeout the heap's alarm fires and is set again. This is the usual
//!   work of a server.
//! * `timer_fire`: an alarm fires and its source sets the next one. This is the part of
//!   `timer_message` that touches the heap.
//! * `timer_due`: all 100,000 deadlines expire at once, as after SIGSTOP and SIGCONT.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use mynah::reactor::timer::Timer;
use mynah::{Dice, Time, Token};

const SOURCES: usize = 100_000;

/// The idle timeout, in virtual time.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Messages that one source sends within one timeout.
const MESSAGES: u32 = 10;

/// Operations that are timed together, because one is too short to time.
const BATCH: u64 = 1000;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let heap: [fn(&mut Criterion); 5] = [
        set::<Heap>,
        nearer::<Heap>,
        message::<Heap>,
        fire::<Heap>,
        due::<Heap>,
    ];
    let tree: [fn(&mut Criterion); 5] = [
        set::<Tree>,
        nearer::<Tree>,
        message::<Tree>,
        fire::<Tree>,
        due::<Tree>,
    ];
    for (heap, tree) in heap.into_iter().zip(tree) {
        heap(&mut criterion);
        tree(&mut criterion);
    }
    criterion.final_summary();
}

fn set<D: Deadlines>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer_set");
    group
        .throughput(Throughput::Elements(SOURCES as u64))
        .sampling_mode(SamplingMode::Flat);
    let times = random_times(TIMEOUT);
    group.bench_function(D::NAME, |bencher| {
        bencher.iter_batched_ref(
            D::new,
            |deadlines| fill(deadlines, &times),
            BatchSize::PerIteration,
        )
    });
}

fn nearer<D: Deadlines>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer_nearer");
    group
        .throughput(Throughput::Elements(3 * SOURCES as u64))
        .sampling_mode(SamplingMode::Flat);
    let full = || {
        let mut deadlines = D::new();
        fill(&mut deadlines, &random_times(4 * TIMEOUT));
        deadlines
    };
    group.bench_function(D::NAME, |bencher| {
        bencher.iter_batched_ref(
            full,
            |deadlines| {
                for _ in 0..3 {
                    for slot in 0..SOURCES {
                        deadlines.set(slot, half(deadlines.get(slot)));
                    }
                }
            },
            BatchSize::PerIteration,
        );
    });
}

fn message<D: Deadlines>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer_message");
    group.throughput(Throughput::Elements(BATCH));
    let step = TIMEOUT / (SOURCES as u32 * MESSAGES);
    let mut running: Option<(D, Time, Dice)> = None;
    group.bench_function(D::NAME, |bencher| {
        let (deadlines, now, dice) = running.get_or_insert_with(|| {
            let mut deadlines = D::new();
            fill(&mut deadlines, &random_times(TIMEOUT));
            (deadlines, Time::ZERO, Dice::new(1))
        });
        bencher.iter(|| {
            for _ in 0..BATCH {
                *now = *now + step;
                deadlines.set(dice.below(SOURCES), *now + TIMEOUT);
                deadlines.expire(*now, |at| at.max(*now) + TIMEOUT);
            }
        });
    });
}

fn fire<D: Deadlines>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer_fire");
    group.throughput(Throughput::Elements(BATCH));
    let mut running: Option<D> = None;
    group.bench_function(D::NAME, |bencher| {
        let deadlines = running.get_or_insert_with(|| {
            let mut deadlines = D::new();
            fill(&mut deadlines, &random_times(TIMEOUT));
            deadlines
        });
        bencher.iter(|| {
            for _ in 0..BATCH {
                let next = deadlines.next();
                deadlines.expire(next, |at| at + TIMEOUT);
            }
        });
    });
}

fn due<D: Deadlines>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer_due");
    group
        .throughput(Throughput::Elements(SOURCES as u64))
        .sampling_mode(SamplingMode::Flat);
    let full = || {
        let mut deadlines = D::new();
        fill(&mut deadlines, &random_times(TIMEOUT));
        deadlines
    };
    group.bench_function(D::NAME, |bencher| {
        bencher.iter_batched_ref(
            full,
            |deadlines| deadlines.expire(Time::ZERO + TIMEOUT, |_| Time::NEVER),
            BatchSize::PerIteration,
        );
    });
}

/// Gives source `slot` its first deadline, `times[slot]`.
fn fill(deadlines: &mut impl Deadlines, times: &[Time]) {
    for (slot, at) in times.iter().enumerate() {
        deadlines.set(slot, *at);
    }
}

/// What both data structures can do.
trait Deadlines {
    const NAME: &str;
    fn new() -> Self;
    /// The deadline of a source.
    fn get(&self, slot: usize) -> Time;
    /// Changes the deadline of a source, to an earlier or a later time.
    fn set(&mut self, slot: usize, at: Time);
    /// The next time at which `expire` has work to do.
    fn next(&self) -> Time;
    /// Gives a new deadline to every source whose deadline has passed. `NEVER` means none.
    fn expire(&mut self, now: Time, again: impl Fn(Time) -> Time);
}

/// The timer of the reactor, with the times that `Sources` and `Connection` store.
struct Heap {
    timer: Timer,
    /// When the alarm of each source fires.
    alarm_at: Vec<Time>,
    /// When the source is due. It can be later than its alarm.
    deadline: Vec<Time>,
}

impl Deadlines for Heap {
    const NAME: &str = "heap";

    fn new() -> Heap {
        Heap {
            timer: Timer::default(),
            alarm_at: vec![Time::NEVER; SOURCES],
            deadline: vec![Time::NEVER; SOURCES],
        }
    }

    fn get(&self, slot: usize) -> Time {
        self.deadline[slot]
    }

    fn set(&mut self, slot: usize, at: Time) {
        self.deadline[slot] = at;
        self.arm(slot, at);
    }

    fn next(&self) -> Time {
        self.timer.next()
    }

    fn expire(&mut self, now: Time, again: impl Fn(Time) -> Time) {
        while let Some((token, at)) = self.timer.pop_due(now) {
            let slot = token.slot();
            if self.alarm_at[slot] != at {
                continue;
            }
            self.alarm_at[slot] = Time::NEVER;
            if self.deadline[slot] <= now {
                self.deadline[slot] = again(at);
            }
            if self.deadline[slot] < Time::NEVER {
                self.arm(slot, self.deadline[slot]);
            }
        }
    }
}

impl Heap {
    /// Works like `Sources::arm`.
    fn arm(&mut self, slot: usize, at: Time) {
        if at >= self.alarm_at[slot] {
            return;
        }
        self.alarm_at[slot] = at;
        let alarm_at = &self.alarm_at;
        self.timer.set(token(slot), at, SOURCES, |token, at| {
            alarm_at[token.slot()] == at
        });
    }
}

/// The baseline. Its set holds exactly one entry for each deadline.
struct Tree {
    set: BTreeSet<(Time, Token)>,
    deadline: Vec<Time>,
}

impl Deadlines for Tree {
    const NAME: &str = "btree";

    fn new() -> Tree {
        Tree {
            set: BTreeSet::new(),
            deadline: vec![Time::NEVER; SOURCES],
        }
    }

    fn get(&self, slot: usize) -> Time {
        self.deadline[slot]
    }

    fn set(&mut self, slot: usize, at: Time) {
        let before = std::mem::replace(&mut self.deadline[slot], at);
        if before != Time::NEVER {
            self.set.remove(&(before, token(slot)));
        }
        self.set.insert((at, token(slot)));
    }

    fn next(&self) -> Time {
        self.set.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    fn expire(&mut self, now: Time, again: impl Fn(Time) -> Time) {
        while self.next() <= now {
            let Some((at, token)) = self.set.pop_first() else {
                return;
            };
            let next = again(at);
            self.deadline[token.slot()] = next;
            if next < Time::NEVER {
                self.set.insert((next, token));
            }
        }
    }
}

fn token(slot: usize) -> Token {
    Token::from(mio::Token(black_box(slot)))
}

fn half(at: Time) -> Time {
    Time::ZERO + Duration::from_nanos(at.as_nanos() / 2)
}

/// A random time below `bound` for each source. The times are the same in every run.
fn random_times(bound: Duration) -> Vec<Time> {
    let mut dice = Dice::new(0);
    (0..SOURCES)
        .map(|_| Time::ZERO + Duration::from_nanos(dice.roll() % bound.as_nanos() as u64))
        .collect()
}
