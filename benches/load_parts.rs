//! What does the load generator cost for each message, apart from sending it? It takes this time
//! from the measurement.
//!
//! For comparison: a message over loopback costs a generator about 5 µs, nearly all of it in the
//! kernel.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use mynah::load::{
    Arrivals, Course, Expected, Pace, Payload, Reader, Response, Schedule, Sent, Times, Window,
};
use mynah::{Dice, Time};

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    for arrivals in [Arrivals::Poisson, Arrivals::Uniform] {
        let course = Course::steady(Pace::per_second(20_000.0));
        let schedule = Schedule::new(arrivals, 1, course, Time::ZERO, 50);
        let mut lane = schedule.lane(7);
        group.bench_function(
            format!("schedule: next message, {}", arrivals.name()),
            |bencher| {
                bencher.iter(|| {
                    schedule.take(&mut lane);
                    black_box(schedule.next(&lane))
                });
            },
        );
    }

    let (mut times, mut dice) = (Times::default(), Dice::new(1));
    group.bench_function("times: record one", |bencher| {
        bencher.iter(|| {
            times.record(Duration::from_nanos(dice.roll() % 10_000_000));
        });
    });

    let payload = Payload::pattern(64);
    for (name, expected) in [
        ("count", Expected::Anything),
        ("compare", Expected::Stream(&payload)),
    ] {
        let (mut reader, mut position) = (Reader::default(), 0);
        group.bench_function(format!("reader: {name} a reply of 64 bytes"), |bencher| {
            bencher.iter(|| {
                let reply = reader.take(
                    &Response::Same,
                    &payload,
                    &expected,
                    payload.stretch(position, 64),
                );
                position += 64;
                black_box(reply)
            });
        });
    }

    let (mut window, mut number) = (Window::default(), 0);
    group.bench_function("window: send a datagram, match its reply", |bencher| {
        bencher.iter(|| {
            window.send(Sent {
                intended: Time::ZERO,
                sent: Time::ZERO,
                late: Duration::ZERO,
                held: Duration::ZERO,
            });
            number += 1;
            black_box(window.answer(number - 1))
        });
    });
    group.finish();
}

criterion_group!(benches, parts);
criterion_main!(benches);
