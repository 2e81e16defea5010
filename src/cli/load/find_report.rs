//! What a search has found: as a table, and as JSON.
//!
//! The head and the runs in JSON are those of any other run.
//!
//! Tests: `tests/load_find.rs`, `tests/load_reports.rs`.

use std::fmt::Write;

use mynah::load::{Found, Pace, Plan};
use serde::Serialize;

use super::Setting;
use super::find::Searched;
use super::json::{self, Head, RunValues, pretty};
use super::record::Record;
use super::units::{count, mark, rate, time};

#[derive(Serialize)]
struct SearchReport<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    goal: String,
    /// The highest rate that keeps the goal, and the lowest that does not; `null` where none was
    /// found.
    holds_per_second: Option<f64>,
    fails_per_second: Option<f64>,
    /// Whether it broke because the generator was too slow.
    generator_limited: bool,
    closed_loop_rate_per_second: f64,
    trials: Vec<Trial>,
}

#[derive(Serialize)]
struct Trial {
    offered_per_second: f64,
    kept: bool,
    #[serde(flatten)]
    run: RunValues,
}

/// The report of a search.
pub(super) fn table(setting: &Setting, plan: &Plan, searched: &Searched) -> String {
    let Searched {
        goal,
        closed,
        trials,
        found,
    } = searched;
    let mut text = String::new();
    let answer = match found {
        Some(Found::Between { holds, fails }) => {
            format!(
                "{goal} is kept at {}/s, and broken at {}/s",
                rate(holds.get()),
                rate(fails.get())
            )
        }
        Some(Found::Always(holds)) => format!(
            "{goal} is kept at {}/s, the highest rate that was tried",
            rate(holds.get())
        ),
        Some(Found::Never(fails)) => format!("{goal} is broken even at {}/s", rate(fails.get())),
        None => format!("interrupted before it was known at which rate {goal} breaks"),
    };
    let _ = writeln!(text, "{answer}");
    if searched.is_limited() {
        let _ = writeln!(
            text,
            "NOTE: the generator was too slow where it broke: the target may keep it at a higher \
             rate; add --threads, or processors"
        );
    }
    let _ = writeln!(
        text,
        "{}{}: {} × {} B, {}two of three trials decide, {} each after {} of warm-up{}; the closed \
         loop came to {}/s\n",
        super::stages::label(setting),
        closed.address,
        count(plan.connections),
        count(plan.payload.size() as u64),
        super::stages::arrivals(plan),
        plan.duration.map_or("-".to_owned(), time),
        time(plan.warmup),
        if setting.threads == 1 {
            String::new()
        } else {
            format!(", {} threads", setting.threads)
        },
        rate(closed.rate())
    );
    let _ = writeln!(
        text,
        "  {:>12}  {:<8}{:>10}{:>10}{:>10}{:>12}",
        "rate/s", "", "p50", "p99", "max", "got/s"
    );
    for (tried, has_held, record) in trials {
        let response = &record.tally.response;
        let cell = mark;
        let note = if record.bottleneck().is_some() {
            "  generator too slow"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  {:>12}  {:<8}{:>10}{:>10}{:>10}{:>12}{note}",
            rate(tried.get()),
            if *has_held { "kept" } else { "broken" },
            cell(response.percentile(50.0)),
            cell(response.percentile(99.0)),
            cell(response.max()),
            rate(record.rate())
        );
    }
    text
}

/// The report of a search.
pub(super) fn json(setting: &Setting, plan: &Plan, searched: &Searched) -> String {
    let Searched {
        goal,
        closed,
        trials,
        found,
    } = searched;
    let (holds, fails) = match found {
        Some(Found::Between { holds, fails }) => (Some(holds.get()), Some(fails.get())),
        Some(Found::Always(holds)) => (Some(holds.get()), None),
        Some(Found::Never(fails)) => (None, Some(fails.get())),
        None => (None, None),
    };
    let trial = |(rate, kept, record): &(Pace, bool, Record)| Trial {
        offered_per_second: rate.get(),
        kept: *kept,
        run: json::run(record),
    };
    pretty(&SearchReport {
        head: json::head("mynah-find", setting, plan, closed),
        goal: goal.to_string(),
        holds_per_second: holds,
        fails_per_second: fails,
        generator_limited: searched.is_limited(),
        closed_loop_rate_per_second: closed.rate(),
        trials: trials.iter().map(trial).collect(),
    })
}
