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

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What the threads share.
struct Swarm {
    next: AtomicU64,
    done: AtomicU64,
    is_stopped: Arc<AtomicBool>,
    deadline: Instant,
}

impl Swarm {
    /// Runs seeds until the time is over or another thread has failed. A seed that fails panics.
    fn run(&self) {
        while !self.is_stopped.load(Ordering::Relaxed) && Instant::now() < self.deadline {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            model::Run::new(seed).play(model::STEPS);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The time and the first seed, as the command line has them.
fn arguments() -> Option<(Duration, u64)> {
    let mut words = std::env::args().skip(1);
    let time = words.next().unwrap_or("10s".into());
    let seconds = time.strip_suffix('s').unwrap_or(&time).parse().ok()?;
    let from = words.next().map_or(Some(0), |word| word.parse().ok())?;
    let is_all = words.next().is_none();
    is_all.then_some((Duration::from_secs(seconds), from))
}

/// Lets the first panic print its report and stop the others. Another thread that fails at the same
/// time stays silent: it waits here until the process ends.
fn report_one_panic(is_stopped: Arc<AtomicBool>) {
    let report = std::panic::take_hook();
    let has_failed = AtomicBool::new(false);
    std::panic::set_hook(Box::new(move |panic| {
        while has_failed.swap(true, Ordering::Relaxed) {
            thread::park();
        }
        is_stopped.store(true, Ordering::Relaxed);
        report(panic);
    }));
}

fn main() -> ExitCode {
    let Some((time, from)) = arguments() else {
        eprintln!("usage: swarm [SECONDS[s] [FROM]]");
        return ExitCode::from(2);
    };
    let is_stopped = Arc::new(AtomicBool::new(false));
    report_one_panic(is_stopped.clone());
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGINT, is_stopped.clone())
    {
        eprintln!("swarm: cannot catch Ctrl-C: {error}");
    }
    let begun = Instant::now();
    let swarm = Arc::new(Swarm {
        next: AtomicU64::new(from),
        done: AtomicU64::new(0),
        is_stopped,
        deadline: begun + time,
    });
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (sender, results) = mpsc::channel();
    for _ in 0..threads {
        let (swarm, sender) = (swarm.clone(), sender.clone());
        thread::spawn(move || {
            let result = std::panic::catch_unwind(|| swarm.run());
            sender.send(result.is_ok())
        });
    }
    let is_well = results.iter().take(threads).all(|is_well| is_well);
    let (done, seconds) = (
        swarm.done.load(Ordering::Relaxed),
        begun.elapsed().as_secs_f64(),
    );
    let rate = done as f64 / seconds;
    println!("{done} seeds from {from} in {seconds:.1} s: {rate:.0} a second");
    ExitCode::from(u8::from(!is_well))
}
