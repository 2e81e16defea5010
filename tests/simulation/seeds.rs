//! Which seeds a test runs.
//!
//! `SIM_SEED=n` runs one seed. `SIM_FROM=n SIM_SEEDS=m` runs the seeds n to n + m - 1.

use std::ops::Range;

/// The seeds to run; `count` of them unless the environment says otherwise.
pub(crate) fn seeds(count: u64) -> Range<u64> {
    if let Some(seed) = knob("SIM_SEED") {
        return seed..seed + 1;
    }
    let from = knob("SIM_FROM").unwrap_or(0);
    from..from + knob("SIM_SEEDS").unwrap_or(count)
}

/// A number from the environment.
pub(crate) fn knob(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}
