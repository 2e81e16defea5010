//! What the load generator does for each message beside sending it: the time that it takes from what it measures.
//!
//! A message over loopback costs a generator about 5,000 ns, nearly all of them in the kernel.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use mynah::Time;
use mynah::load::{Expected, Pace, Payload, Reader, Response, Schedule, Sent, Times, Window};

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    let schedule = Schedule::new(Pace::per_second(20_000.0), Time::ZERO, 7, 50);
    let mut n = 0;
    group.bench_function("schedule: when the next message is due", |bencher| {
        bencher.iter(|| {
            n += 1;
            black_box(schedule.at(n))
        });
    });

    let (mut times, mut nanos) = (Times::default(), 1);
    group.bench_function("times: record one", |bencher| {
        bencher.iter(|| {
            nanos = (nanos * 31 + 7) % 10_000_000;
            times.record(Duration::from_nanos(nanos));
        });
    });

    let payload = Payload::pattern(64);
    for (name, expected) in [
        ("count", Expected::Anything),
        ("compare", Expected::Stream(&payload)),
    ] {
        let (mut reader, mut position) = (Reader::default(), 0);
        group.bench_function(format!("reader: {name} an answer of 64 bytes"), |bencher| {
            bencher.iter(|| {
                let heard = reader.take(
                    &Response::Same,
                    64,
                    &expected,
                    payload.stretch(position, 64),
                );
                position += 64;
                black_box(heard)
            });
        });
    }

    let (mut window, mut number) = (Window::default(), 0);
    group.bench_function("window: send a datagram and have its answer", |bencher| {
        bencher.iter(|| {
            window.send(Sent {
                intended: Time::ZERO,
                sent: Time::ZERO,
                late: Duration::ZERO,
            });
            number += 1;
            black_box(window.answer(number - 1))
        });
    });
    group.finish();
}

criterion_group!(benches, parts);
criterion_main!(benches);
