//! The search for the highest rate that keeps a goal: trials, one after the other.
//!
//! Owns the runs. Which rate is next: `PaceSearch`; what a trial says of its rate: [`Trial`].
//!
//! Tests: `tests/load_find.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mynah::Address;
use mynah::load::{Found, Goal, Plan, TRIALS, Trial, Verdict};

use super::crew::Crew;
use super::live::Live;
use super::outputs::Files;
use super::record::{BUSY, Record};
use super::searched::{Lengths, Searched, Tried};
use super::units::{rate, time};
use super::{Setting, check_answered, find_report};
use crate::cli::status::{Failure, Status};

/// Runs at one rate after the other, until it is known at which the limit breaks.
pub(super) fn find(
    setting: &Setting,
    mut plan: Plan,
    goal: &Goal,
    addresses: &[Address],
    stop: &Arc<AtomicBool>,
) -> Result<Status, Failure> {
    let mut files = Files::create(&setting.reports)?;
    let begun = Instant::now();
    let (depth, seed, duration) = (plan.depth, plan.seed, plan.duration);
    let lengths = Lengths::new(goal, duration.unwrap_or_default());
    let mut live = Live::new(setting.has_progress);
    live.note(&format!(
        "at most {TRIALS} trials, about {} s; most searches take a third of that",
        lengths.all(plan.warmup).as_secs()
    ));
    // The closed loop tells the scale: where there is no queue, it is what the target can do.
    plan.depth = if depth == usize::MAX { 1 } else { depth };
    let mut shared = Arc::new(plan);
    let run = |shared: &Arc<Plan>, live: &mut Live| {
        let crew = Crew {
            endpoint: &setting.endpoint,
            plan: shared,
            threads: setting.threads,
            spin: setting.spin,
            start_at: setting.start_at,
            stop,
            is_watch_slow: false,
            watched: live.every(),
        };
        crew.work(addresses, &mut |sight| {
            live.show(&sight);
            Ok(())
        })
    };
    live.begin("closed loop");
    let closed = run(&shared, &mut live)?;
    check_answered(&closed, &shared)?;
    rest_after(&closed, closed.rate(), lengths, stop);
    let mut search = lengths.search(closed.rate());
    let mut trials = Vec::new();
    let found = loop {
        if stop.load(Ordering::Acquire) {
            break None;
        }
        let (at, number) = (search.rate(), search.trials() + 1);
        let length = if search.is_probing() {
            lengths.of_probe(at)
        } else {
            lengths.at(at)
        };
        let which = format!(
            "trial {number} of about {}: {}/s",
            search.about().max(number),
            rate(at.get())
        );
        live.begin(&which);
        plan = own(shared)?;
        plan.try_rate(at, length, seed_of(seed, number));
        plan.depth = depth;
        shared = Arc::new(plan);
        let record = run(&shared, &mut live)?;
        if record.was_stopped {
            break None;
        }
        // With --spoiled warn a trial says what it says, whoever had a share in it.
        let (verdict, is_busy) = if setting.is_void_when_spoiled {
            (record.verdict, record.busy > BUSY)
        } else {
            (Verdict::Target, false)
        };
        let trial = Trial::of(
            goal,
            &record.tally,
            &shared,
            record.measured,
            &verdict,
            is_busy,
        );
        live.note(&format!(
            "{which} {} ({})",
            find_report::word(trial.outcome),
            record.words(goal.measured())
        ));
        rest_after(&record, closed.rate(), lengths, stop);
        trials.push(Tried {
            rate: at,
            seed: shared.seed,
            trial,
            record,
        });
        if let Some(found) = search.tell(trial.outcome, trial.is_clear) {
            break Some(found);
        }
    };
    live.clear();
    // The plan of all trials.
    plan = own(shared)?;
    (plan.seed, plan.duration) = (seed, duration);
    plan.stages.clear();
    let searched = Searched {
        goal: goal.clone(),
        closed,
        trials,
        found,
        lengths,
        took: begun.elapsed(),
    };
    setting.reports.tell(
        &mut files,
        &find_report::json(setting, &plan, &searched),
        String::new,
        &find_report::table(setting, &plan, &searched),
    )?;
    judge(&searched, setting)
}

/// Gives the target the time that it needs for what it was asked and has not answered: it would
/// make the next trial wait. No longer than a trial.
fn rest_after(record: &Record, scale: f64, lengths: Lengths, stop: &AtomicBool) {
    const LOOK: Duration = Duration::from_millis(50);
    let needed = record.tally.unsuccessful() as f64 / scale.max(1e-3);
    let needed = needed.min(lengths.longest().as_secs_f64());
    let until = Instant::now() + Duration::from_secs_f64(needed);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if left.is_zero() || stop.load(Ordering::Acquire) {
            return;
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// Generators share a plan while they work, and have gone by now.
fn own(shared: Arc<Plan>) -> Result<Plan, Failure> {
    Arc::try_unwrap(shared)
        .map_err(|_| Failure::new(Status::Failed, "a generator is still at work"))
}

/// Of a trial by its number: two trials of one rate are independent, and the same seed gives the
/// same search. Short enough to be typed.
fn seed_of(seed: u64, number: u32) -> u64 {
    const STEP: u64 = 0x9e37_79b9;
    seed.wrapping_add(u64::from(number) * STEP) & u64::from(u32::MAX)
}

/// Whether a rate was found.
fn judge(searched: &Searched, setting: &Setting) -> Result<Status, Failure> {
    let goal = &searched.goal;
    let unmet = |why: String| Err(Failure::new(Status::Unmet, why));
    match searched.found {
        Some(Found::Never(at)) => {
            let broken = searched.broken(at);
            let words = broken.map_or(String::new(), |tried| format!(" ({})", words(goal, tried)));
            unmet(format!(
                "{goal} is not kept at any rate: not even at {}/s{words}",
                rate(at.get())
            ))
        }
        Some(Found::Below(at)) => unmet(format!(
            "{goal} is not kept at {}/s, and at lower rates a trial of {} has too few \
                 messages to tell; give a longer --duration, or a lower percentile",
            rate(at.get()),
            time(searched.lengths.longest())
        )),
        Some(Found::Spoiled {
            holds: None,
            spoiled,
        }) => {
            let why = format!(
                "the generator spoiled every trial, even at {}/s; add --threads, or CPUs",
                rate(spoiled.get())
            );
            let status = if setting.is_void_when_spoiled {
                Status::Spoiled
            } else {
                Status::Unmet
            };
            Err(Failure::new(status, why))
        }
        Some(_) => Ok(Status::Done),
        None => Err(Failure::new(Status::Failed, "the search was interrupted")),
    }
}

/// What a trial measured of the goal; where a percentile takes more messages, the median.
fn words(goal: &Goal, tried: &Tried) -> String {
    let record = &tried.record;
    match record.measure(goal.measured()) {
        Some(_) => format!(
            "{} {}",
            find_report::measure(goal),
            record.words(goal.measured())
        ),
        None => format!(
            "p50 {}",
            super::units::mark(record.tally.response.percentile(50.0))
        ),
    }
}
