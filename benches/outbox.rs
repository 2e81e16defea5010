//! What does pending output cost? What does it cost that an idle connection owns no buffer?
//!
//! Each case covers the life of pending output, from the first byte that a socket refuses to the
//! last that it accepts, without the socket. There are two baselines. One `VecDeque<u8>` stays with
//! its connection: it allocates once and keeps its memory. The other is dropped when it is empty,
//! as the outbox is. Neither has a limit.
//!
//! * `outbox_leftover`: the socket refuses 64 B and accepts them in the next write. This is the
//!   most common case.
//! * `outbox_full`: the socket refuses 64 KiB and accepts them in 16 writes.
//! * `outbox_pieces`: 1,024 pieces of 64 B are added one by one, as by a service with many small
//!   replies. The socket accepts them in 16 writes.
//! * `outbox_trickle`: in a full outbox, 64 B leave and 64 B are added, until all bytes have been
//!   replaced once. A ring moves no bytes for that; a contiguous buffer must.
//!
//! The throughput counts the bytes that pass. For comparison: a system call takes about 300 ns, and
//! one that sends about 3 µs.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use mynah::Time;
use mynah::stream::outbox::{LIMIT, Outbox};

/// A small piece, in bytes.
const PIECE: usize = 64;

/// What a socket accepts in one write, in bytes.
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

/// Benches one case with all three buffers. In one run of it, `bytes` bytes pass.
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

fn bench<D: Buffer>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, case: fn(&mut D, &[u8])) {
    let (mut buffer, bytes) = (D::default(), vec![b'x'; LIMIT]);
    group.bench_function(name, |bencher| {
        bencher.iter(|| case(&mut buffer, black_box(&bytes)))
    });
}

fn leftover<D: Buffer>(buffer: &mut D, bytes: &[u8]) {
    buffer.push(&bytes[..PIECE]);
    flush(buffer, PIECE);
}

fn full<D: Buffer>(buffer: &mut D, bytes: &[u8]) {
    buffer.push(bytes);
    flush(buffer, WRITE);
}

fn pieces<D: Buffer>(buffer: &mut D, bytes: &[u8]) {
    for piece in bytes.chunks(PIECE) {
        buffer.push(piece);
    }
    flush(buffer, WRITE);
}

/// The first run fills the buffer. It then stays full.
fn trickle<D: Buffer>(buffer: &mut D, bytes: &[u8]) {
    if buffer.pending().is_empty() {
        buffer.push(bytes);
    }
    for piece in bytes.chunks(PIECE) {
        buffer.sent(black_box(buffer.pending()).len().min(PIECE));
        buffer.push(piece);
    }
}

/// The socket accepts at most `most` bytes in one write, until the buffer is empty.
fn flush<D: Buffer>(buffer: &mut D, most: usize) {
    loop {
        let pending = black_box(buffer.pending());
        if pending.is_empty() {
            return;
        }
        let count = pending.len().min(most);
        buffer.sent(count);
    }
}

/// What all three buffers can do.
trait Buffer: Default {
    fn push(&mut self, bytes: &[u8]);
    fn pending(&self) -> &[u8];
    fn sent(&mut self, count: usize);
}

impl Buffer for Outbox {
    fn push(&mut self, bytes: &[u8]) {
        Outbox::push(self, bytes, Time::ZERO, Vec::try_reserve_exact)
            .expect("no case exceeds the limit");
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

impl Buffer for Kept {
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

/// A ring that releases its memory with the last byte.
#[derive(Default)]
struct Released(Kept);

impl Buffer for Released {
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
