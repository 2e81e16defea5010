//! Runs the simulation over seeds, on all CPUs, for a given time.
//!
//! ```console
//! $ cargo run --release --example swarm -- 60s [FROM]
//! 12000 seeds from 0 in 10.0 s: 1200 a second
//! ```
//!
//! It stops at the first seed that breaks a promise, prints it with the command that repeats it,
//! and exits with status 1. Ctrl-C ends it early. The model is that of `tests/simulation/`.

#[path = "../tests/simulation/model/mod.rs"]
mod model;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the threads share.
struct Swarm {
    next: AtomicU64,
    done: AtomicU64,
    has_failed: AtomicBool,
    is_interrupted: Arc<AtomicBool>,
    deadline: Instant,
}

impl Swarm {
    /// Runs seeds until the time is over or one has failed.
    fn run(&self) {
        while !self.is_over() {
            let run = model::Run::new(self.next.fetch_add(1, Ordering::Relaxed));
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| run.play(model::STEPS)));
            match result {
                Ok(_) => self.done.fetch_add(1, Ordering::Relaxed),
                Err(_) => return self.has_failed.store(true, Ordering::Relaxed),
            };
        }
    }

    fn is_over(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
            || self.is_interrupted.load(Ordering::Relaxed)
            || Instant::now() >= self.deadline
    }
}

/// The time and the first seed, as the command line has them.
fn arguments() -> Option<(Duration, u64)> {
    let mut words = std::env::args().skip(1);
    let time = words.next().unwrap_or("10s".into());
    let seconds = time.strip_suffix('s').unwrap_or(&time).parse().ok()?;
    let from = words.next().map_or(Some(0), |word| word.parse().ok())?;
    (words.next().is_none()).then_some((Duration::from_secs(seconds), from))
}

fn main() -> ExitCode {
    let Some((time, from)) = arguments() else {
        eprintln!("usage: swarm [SECONDS[s] [FROM]]");
        return ExitCode::from(2);
    };
    let is_interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) =
        signal_hook::flag::register(signal_hook::consts::SIGINT, is_interrupted.clone())
    {
        eprintln!("swarm: cannot catch Ctrl-C: {error}");
    }
    let begun = Instant::now();
    let swarm = Swarm {
        next: AtomicU64::new(from),
        done: AtomicU64::new(0),
        has_failed: AtomicBool::new(false),
        is_interrupted,
        deadline: begun + time,
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| swarm.run());
        }
    });
    let (done, seconds) = (swarm.done.into_inner(), begun.elapsed().as_secs_f64());
    let rate = done as f64 / seconds;
    println!("{done} seeds from {from} in {seconds:.1} s: {rate:.0} a second");
    ExitCode::from(u8::from(swarm.has_failed.into_inner()))
}
