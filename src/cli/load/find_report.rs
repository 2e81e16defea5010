//! What a search has found: as a table, and as JSON.
//!
//! The head and the runs in JSON are those of any other run.
//!
//! Tests: `tests/load_find.rs`, `tests/load_reports.rs`.

use std::fmt::Write;

use mynah::load::{Found, Goal, Outcome, PRECISION, Plan, TRIALS, Verdict};
use serde::Serialize;

use super::Setting;
use super::json::{self, Head, RunValues, pretty};
use super::searched::{Searched, Tried};
use super::units::{count, mark, rate, time};

#[derive(Serialize)]
struct SearchReport<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    goal: String,
    /// One of between, spoiled, never, below, always, interrupted.
    result: &'static str,
    /// The highest rate that keeps the goal, and the lowest that does not; `null` where none was
    /// found.
    holds_per_second: Option<f64>,
    fails_per_second: Option<f64>,
    /// The lowest rate at which the generator spoiled all trials, where that ended the search.
    spoiled_per_second: Option<f64>,
    /// Whether it broke because the generator was too slow.
    generator_limited: bool,
    closed_loop_rate_per_second: f64,
    trials_at_most: u32,
    took_seconds: f64,
    trials: Vec<Trial>,
}

#[derive(Serialize)]
struct Trial {
    offered_per_second: f64,
    kept: bool,
    /// One of holds, breaks, spoiled, too_few.
    outcome: &'static str,
    /// Of what was due, the share that was answered as fast as it was due.
    achieved_share: f64,
    backlog_grows: bool,
    seed: u64,
    #[serde(flatten)]
    run: RunValues,
}

/// What a trial said, in a word.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Holds => "kept",
        Outcome::Breaks => "broken",
        Outcome::Spoiled => "spoiled",
        Outcome::TooFew => "too few",
    }
}

/// The name of what a goal is about: `p99`.
pub(super) fn measure(goal: &Goal) -> String {
    let text = goal.to_string();
    let name = text.split(['<', '=']).next().unwrap_or_default();
    name.trim().to_owned()
}

/// The report of a search.
pub(super) fn table(setting: &Setting, plan: &Plan, searched: &Searched) -> String {
    let Searched { goal, closed, .. } = searched;
    let mut text = String::new();
    let _ = writeln!(text, "{}", answer(searched));
    if let Some(note) = note(searched) {
        let _ = writeln!(text, "NOTE: {note}");
    }
    let threads = match setting.threads {
        1 => String::new(),
        threads => format!(", {threads} threads"),
    };
    let lengths = searched.lengths;
    let _ = writeln!(
        text,
        "{}{}: {} × {} B, {}{} of at most {TRIALS} trials in {}, {} to {} each after {} of \
         warm-up{threads}; the closed loop came to {}/s\n",
        super::stages::label(setting),
        closed.address,
        count(plan.connections),
        count(plan.payload.size() as u64),
        super::stages::arrivals(plan),
        searched.trials.len(),
        time(searched.took),
        time(lengths.shortest()),
        time(lengths.longest()),
        time(plan.warmup),
        rate(closed.rate())
    );
    let own = measure(goal);
    let mut names = vec!["p50", "p99", "max"];
    if !names.contains(&own.as_str()) {
        names.insert(0, &own);
    }
    let names: String = names.iter().map(|name| format!("{name:>10}")).collect();
    let _ = writeln!(
        text,
        "  {:>12}  {:<8}{names}{:>12}{:>12}",
        "rate/s", "", "got/s", "unanswered"
    );
    for tried in &searched.trials {
        let times = &tried.record.tally.response;
        let mut marks = vec![times.percentile(50.0), times.percentile(99.0), times.max()];
        if !["p50", "p99", "max"].contains(&own.as_str()) {
            marks.insert(0, goal.measured().of(times));
        }
        let marks: String = marks
            .iter()
            .map(|cell| format!("{:>10}", mark(*cell)))
            .collect();
        let _ = writeln!(
            text,
            "  {:>12}  {:<8}{marks}{:>12}{:>12}{}",
            rate(tried.rate.get()),
            word(tried.trial.outcome),
            rate(tried.record.rate()),
            count(tried.record.tally.unsuccessful()),
            remark(tried)
        );
    }
    text
}

/// What was found, in a line.
fn answer(searched: &Searched) -> String {
    let goal = &searched.goal;
    match searched.found {
        Some(Found::Between { holds, fails }) => {
            let width = fails.get() / holds.get();
            // The rates are exact to a thousandth, and so a ratio is a hair off.
            let why = if width > PRECISION + 1e-3 {
                ": all trials are used up"
            } else {
                ""
            };
            format!(
                "{goal} is kept at {}/s, and broken at {}/s ({:.1} % apart{why})",
                rate(holds.get()),
                rate(fails.get()),
                100.0 * (width - 1.0)
            )
        }
        Some(Found::Spoiled {
            holds: Some(holds),
            spoiled,
        }) => format!(
            "{goal} is kept at {}/s; at {}/s the generator cannot tell",
            rate(holds.get()),
            rate(spoiled.get())
        ),
        Some(Found::Spoiled {
            holds: None,
            spoiled,
        }) => format!(
            "the generator cannot tell whether {goal} is kept, even at {}/s",
            rate(spoiled.get())
        ),
        Some(Found::Always(holds)) => format!(
            "{goal} is kept at {}/s, the highest rate that was tried",
            rate(holds.get())
        ),
        Some(Found::Never(fails)) => {
            format!(
                "{goal} is not kept at any rate: not even at {}/s",
                rate(fails.get())
            )
        }
        Some(Found::Below(fails)) => format!(
            "{goal} is broken at {}/s; at lower rates a trial has too few messages to tell",
            rate(fails.get())
        ),
        None => format!("interrupted before it was known at which rate {goal} breaks"),
    }
}

/// What to know of the answer.
fn note(searched: &Searched) -> Option<String> {
    match searched.found? {
        Found::Spoiled { .. } => Some(
            "the generator spoiled the trials there: the target may keep it at a higher rate; add \
             --threads, or CPUs"
                .to_owned(),
        ),
        Found::Between { fails, .. } | Found::Below(fails) | Found::Never(fails) => searched
            .broken(fails)
            .map(|tried| &tried.record)
            .filter(|record| matches!(record.verdict, Verdict::Limit(_)))
            .and_then(|record| record.bottleneck()),
        Found::Always(_) => None,
    }
}

/// Why a trial was broken, if not by the goal alone.
fn remark(tried: &Tried) -> String {
    match (tried.trial.outcome, tried.record.verdict) {
        (Outcome::Spoiled, _) => "  generator too slow".to_owned(),
        (Outcome::Breaks, Verdict::Limit(_)) => "  -c or --depth is the limit".to_owned(),
        (Outcome::Breaks, _) if tried.trial.achieved < 0.99 => {
            format!("  keeps up with {:.0} %", 100.0 * tried.trial.achieved)
        }
        (Outcome::Breaks, _) if tried.trial.is_growing => "  the backlog grows".to_owned(),
        _ => String::new(),
    }
}

/// The report of a search for programs.
pub(super) fn json(setting: &Setting, plan: &Plan, searched: &Searched) -> String {
    let (result, holds, fails, spoiled) = match searched.found {
        Some(Found::Between { holds, fails }) => ("between", Some(holds), Some(fails), None),
        Some(Found::Spoiled { holds, spoiled }) => ("spoiled", holds, None, Some(spoiled)),
        Some(Found::Always(holds)) => ("always", Some(holds), None, None),
        Some(Found::Never(fails)) => ("never", None, Some(fails), None),
        Some(Found::Below(fails)) => ("below", None, Some(fails), None),
        None => ("interrupted", None, None, None),
    };
    let trial = |tried: &Tried| Trial {
        offered_per_second: tried.rate.get(),
        kept: tried.trial.outcome == Outcome::Holds,
        outcome: match tried.trial.outcome {
            Outcome::Holds => "holds",
            Outcome::Breaks => "breaks",
            Outcome::Spoiled => "spoiled",
            Outcome::TooFew => "too_few",
        },
        achieved_share: tried.trial.achieved,
        backlog_grows: tried.trial.is_growing,
        seed: tried.seed,
        run: json::run(&tried.record),
    };
    pretty(&SearchReport {
        head: json::head("mynah-find", setting, plan, &searched.closed),
        goal: searched.goal.to_string(),
        result,
        holds_per_second: holds.map(|pace| pace.get()),
        fails_per_second: fails.map(|pace| pace.get()),
        spoiled_per_second: spoiled.map(|pace| pace.get()),
        generator_limited: spoiled.is_some(),
        closed_loop_rate_per_second: searched.closed.rate(),
        trials_at_most: TRIALS,
        took_seconds: searched.took.as_secs_f64(),
        trials: searched.trials.iter().map(trial).collect(),
    })
}
