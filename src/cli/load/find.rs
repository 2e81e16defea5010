//! The search for the highest rate that keeps a goal: trials, one after the other.
//!
//! Owns the runs. Which rate is next: `PaceSearch` of the library.
//!
//! Tests: `tests/load_find.rs`.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mynah::Address;
use mynah::load::{Found, Goal, Law, Pace, PaceSearch, Plan};

use super::crew::Crew;
use super::live::Live;
use super::record::Record;
use super::{Files, Setting, check_answered, find_report, tell};
use crate::cli::status::{Failure, Status};

/// A search.
#[derive(Debug)]
pub(super) struct Searched {
    pub(super) goal: Goal,
    /// The run of the closed loop, which gives the scale.
    pub(super) closed: Record,
    /// Each trial: its rate, whether the goal was kept, and the run.
    pub(super) trials: Vec<(Pace, bool, Record)>,
    /// `None`: it was interrupted.
    pub(super) found: Option<Found>,
}

impl Searched {
    /// Whether the rate that it ended at is the generator's limit rather than the target's.
    pub(super) fn is_limited(&self) -> bool {
        let (Some(Found::Between { fails, .. }) | Some(Found::Never(fails))) = self.found else {
            return false;
        };
        let mut broken = self
            .trials
            .iter()
            .filter(|(rate, has_held, _)| *rate == fails && !has_held)
            .peekable();
        broken.peek().is_some() && broken.all(|(_, _, record)| record.bottleneck().is_some())
    }
}

/// Runs at one rate after the other, until it is known at which the limit breaks.
pub(super) fn find(
    setting: &Setting,
    mut plan: Plan,
    goal: &Goal,
    addresses: &[Address],
    stop: &Arc<AtomicBool>,
) -> Result<Status, Failure> {
    let mut files = Files::create(&setting.reports)?;
    // The closed loop tells the scale: where there is no queue, it is what the target can do.
    let mut live = Live::new(&plan, io::stderr().is_terminal());
    let depth = plan.depth;
    plan.depth = if depth == usize::MAX { 1 } else { depth };
    let mut shared = Arc::new(plan);
    let trial = |shared: &Arc<Plan>, live: &mut Live| {
        let crew = Crew {
            endpoint: &setting.endpoint,
            plan: shared,
            threads: setting.threads,
            spin: setting.spin,
            start_at: setting.start_at,
            stop,
            is_watch_slow: false,
        };
        crew.work(addresses, &mut |second, tally| {
            live.show(second, tally);
            Ok(())
        })
    };
    let closed = trial(&shared, &mut live)?;
    check_answered(&closed, &shared)?;
    let scale = Pace::per_second(closed.rate() / 2.0);
    let (mut search, mut trials) = (PaceSearch::new(scale), Vec::new());
    let found = loop {
        if stop.load(Ordering::Acquire) {
            break None;
        }
        let rate = search.rate();
        plan = Arc::try_unwrap(shared)
            .map_err(|_| Failure::new(Status::Failed, "a generator is still at work"))?;
        (plan.law, plan.depth) = (Law::Open { rate }, depth);
        shared = Arc::new(plan);
        let record = trial(&shared, &mut live)?;
        if record.was_stopped {
            break None;
        }
        let has_held = record.keeps(goal);
        live.note(&format!(
            "{rate}: {goal} {} ({})",
            if has_held { "kept" } else { "broken" },
            record.words(goal.measured())
        ));
        trials.push((rate, has_held, record));
        if let Some(found) = search.tell(has_held) {
            break Some(found);
        }
    };
    live.clear();
    let searched = Searched {
        goal: goal.clone(),
        closed,
        trials,
        found,
    };
    tell(
        setting.reports.json.as_deref(),
        files.json.as_mut(),
        &find_report::json(setting, &shared, &searched),
        &find_report::table(setting, &shared, &searched),
    )?;
    match found {
        Some(Found::Never(rate)) => Err(Failure::new(
            Status::Unmet,
            format_args!("{goal} is not kept at any rate, down to {rate}"),
        )),
        Some(_) => Ok(Status::Done),
        None => Err(Failure::new(Status::Failed, "the search was interrupted")),
    }
}
