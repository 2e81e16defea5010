//! The real reactor over a simulated network: some seeds of the model, and single cases.
//!
//! `SIM_SEED=n` runs one seed; `SIM_FROM=n SIM_SEEDS=m` runs m seeds from n on (256 from 0);
//! `SIM_STEPS=n` gives each of them so many steps (400). A failure names its seed, its step and the
//! command that repeats it. `examples/swarm.rs` runs seeds for as long as you like.

mod cases;
mod model;
mod seeds;

use self::model::{Run, STEPS};
use self::seeds::{knob, seeds};

fn steps() -> usize {
    knob("SIM_STEPS").map_or(STEPS, |steps| steps as usize)
}

#[test]
fn whatever_happens_the_promises_hold() {
    for seed in seeds(256) {
        Run::new(seed).play(steps());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let seed = seeds(256).start;
    assert_eq!(Run::new(seed).play(steps()), Run::new(seed).play(steps()));
    assert_ne!(
        Run::new(seed).play(steps()),
        Run::new(seed + 1).play(steps())
    );
}
