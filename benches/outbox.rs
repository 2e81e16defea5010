//! What does it cost to owe a peer bytes, and what does it cost that an idle connection owns no buffer?
//!
//! Each case is a whole debt, from the first byte that a socket refuses to the last that it takes, without the socket. The baselines are
//! what one would write without [`Outbox`]: a `VecDeque<u8>` that stays with its connection, which pays for a buffer once and keeps it for
//! life, and one that is dropped when it is empty, which promises what the outbox does. Neither has a limit.
//!
//! * `outbox_leftover`: 64 B are refused and leave at once: the commonest debt.
//! * `outbox_full`: 64 KiB are refused whole and leave in sixteen writes.
//! * `outbox_pieces`: 1,024 pieces of 64 B come one by one, as from a service that says little and often, and leave in sixteen writes.
//! * `outbox_trickle`: a full outbox; 64 B leave, 64 B come, until all has changed once. A ring does that for nothing; bytes in a row must be moved.
//!
//! The throughput is that of the bytes that pass; for scale, a system call takes some 300 ns, and one that sends about 3 µs.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use mynah::Time;
use mynah::stream::outbox::{LIMIT, Outbox};

/// A small piece, in bytes.
const PIECE: usize = 64;

/// What a socket takes at once of a large debt, in bytes.
const WRITE: usize = LIMIT / 16;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    compare(
        &mut criterion,
        "outbox_leftover",
        PIECE,
        leftover::<Outbox>,
        leftover::<Kept>,
        leftover::<Released>,
    );
    compare(
        &mut criterion,
        "outbox_full",
        LIMIT,
        full::<Outbox>,
        full::<Kept>,
        full::<Released>,
    );
    compare(
        &mut criterion,
        "outbox_pieces",
        LIMIT,
        pieces::<Outbox>,
        pieces::<Kept>,
        pieces::<Released>,
    );
    compare(
        &mut criterion,
        "outbox_trickle",
        LIMIT,
        trickle::<Outbox>,
        trickle::<Kept>,
        trickle::<Released>,
    );
    criterion.final_summary();
}

/// Benches one case over the three buffers; `bytes` is how many pass in one run of it.
fn compare(
    criterion: &mut Criterion,
    name: &str,
    bytes: usize,
    outbox: fn(&mut Outbox, &[u8]),
    kept: fn(&mut Kept, &[u8]),
    released: fn(&mut Released, &[u8]),
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    bench(&mut group, "outbox", outbox);
    bench(&mut group, "deque-kept", kept);
    bench(&mut group, "deque-released", released);
}

fn bench<D: Debt>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, case: fn(&mut D, &[u8])) {
    let (mut debt, bytes) = (D::default(), vec![b'x'; LIMIT]);
    group.bench_function(name, |bencher| {
        bencher.iter(|| case(&mut debt, black_box(&bytes)))
    });
}

fn leftover<D: Debt>(debt: &mut D, bytes: &[u8]) {
    debt.push(&bytes[..PIECE]);
    pay(debt, PIECE);
}

fn full<D: Debt>(debt: &mut D, bytes: &[u8]) {
    debt.push(bytes);
    pay(debt, WRITE);
}

fn pieces<D: Debt>(debt: &mut D, bytes: &[u8]) {
    for piece in bytes.chunks(PIECE) {
        debt.push(piece);
    }
    pay(debt, WRITE);
}

/// Begins with an empty buffer the first time and with a full one from then on: the debt is never paid.
fn trickle<D: Debt>(debt: &mut D, bytes: &[u8]) {
    if debt.pending().is_empty() {
        debt.push(bytes);
    }
    for piece in bytes.chunks(PIECE) {
        debt.sent(black_box(debt.pending()).len().min(PIECE));
        debt.push(piece);
    }
}

/// The socket takes `most` bytes at a time until nothing is owed.
fn pay<D: Debt>(debt: &mut D, most: usize) {
    loop {
        let pending = black_box(debt.pending());
        if pending.is_empty() {
            return;
        }
        let count = pending.len().min(most);
        debt.sent(count);
    }
}

/// What the buffers that are compared can do.
trait Debt: Default {
    fn push(&mut self, bytes: &[u8]);
    fn pending(&self) -> &[u8];
    fn sent(&mut self, count: usize);
}

impl Debt for Outbox {
    fn push(&mut self, bytes: &[u8]) {
        Outbox::push(self, bytes, Time::ZERO, Vec::try_reserve_exact)
            .expect("the cases stay within the limit");
    }

    fn pending(&self) -> &[u8] {
        Outbox::pending(self)
    }

    fn sent(&mut self, count: usize) {
        Outbox::sent(self, count, Time::ZERO, &mut 0);
    }
}

/// A ring that keeps its memory.
#[derive(Default)]
struct Kept(VecDeque<u8>);

impl Debt for Kept {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn pending(&self) -> &[u8] {
        self.0.as_slices().0
    }

    fn sent(&mut self, count: usize) {
        self.0.drain(..count);
    }
}

/// A ring that gives its memory back with the last byte.
#[derive(Default)]
struct Released(Kept);

impl Debt for Released {
    fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    fn pending(&self) -> &[u8] {
        self.0.pending()
    }

    fn sent(&mut self, count: usize) {
        self.0.sent(count);
        if self.0.0.is_empty() {
            self.0 = Kept::default();
        }
    }
}
