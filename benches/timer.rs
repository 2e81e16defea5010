//! What does a deadline cost among 100,000 sources, and would anything but std's heap earn its lines?
//!
//! The heap is used as `Sources` uses it: one alarm a source, its time beside the source, superseded entries left behind. The baseline is
//! a `BTreeSet` of (deadline, token) that is always exact: setting a deadline takes the old one out. All times are virtual, and no clock is
//! read; the time of one operation is the inverse of the throughput.
//!
//! * `timer_set`: every source gets its first deadline, in an order that has nothing to do with the deadlines.
//! * `timer_nearer`: every source gets a nearer deadline, three times over. The heap keeps what is superseded until that is more than half.
//! * `timer_message`: a message from a random source pushes its idle timeout back, ten messages a source within one timeout. The heap stores a time
//!   for each, and fires and sets again once a timeout; the set moves an entry for each. This is the case that a server lives in.
//! * `timer_fire`: an alarm fires and its source sets the next one: the half of `timer_message` that does touch the heap.
//! * `timer_due`: all 100,000 are due at once, as after the process was stopped and continued.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use mynah::Token;
use mynah::{Time, reactor::timer::Timer};

const SOURCES: usize = 100_000;

/// An idle timeout in the virtual time of these benches.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Messages that one source sends within one timeout.
const MESSAGES: u32 = 10;

/// Operations that are timed together where one alone would be too short.
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
    let mut running: Option<(D, Time, Random)> = None;
    group.bench_function(D::NAME, |bencher| {
        let (deadlines, now, random) = running.get_or_insert_with(|| {
            let mut deadlines = D::new();
            fill(&mut deadlines, &random_times(TIMEOUT));
            (deadlines, Time::ZERO, Random::default())
        });
        bencher.iter(|| {
            for _ in 0..BATCH {
                *now = *now + step;
                deadlines.set(random.below(SOURCES), *now + TIMEOUT);
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

/// The deadlines of all sources, the true one of each beside it.
trait Deadlines {
    const NAME: &str;
    fn new() -> Self;
    /// The deadline of a source.
    fn get(&self, slot: usize) -> Time;
    /// Sets it anew, nearer or farther.
    fn set(&mut self, slot: usize, at: Time);
    /// The next time at which there is something to do.
    fn next(&self) -> Time;
    /// Gives a new deadline to every source whose own has come. `NEVER` is none.
    fn expire(&mut self, now: Time, again: impl Fn(Time) -> Time);
}

/// Ours, and what stands beside each source in `Sources` and `Connection`.
struct Heap {
    timer: Timer,
    /// When the alarm of each source rings.
    alarm_at: Vec<Time>,
    /// When it should.
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
    /// As `Sources::arm`.
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

/// The baseline: exact at all times.
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

/// A time for each source, anywhere up to `most`.
fn random_times(most: Duration) -> Vec<Time> {
    let mut random = Random::default();
    (0..SOURCES)
        .map(|_| Time::ZERO + Duration::from_nanos(random.below(most.as_nanos() as usize) as u64))
        .collect()
}

/// Numbers without pattern, the same in every run (xorshift).
struct Random(u64);

impl Default for Random {
    fn default() -> Random {
        Random(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper bits are the better ones.
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}
