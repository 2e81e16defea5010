//! What reports say of the pace of a run: its arrivals, its stages, its label.

use std::fmt::Write;
use std::time::SystemTime;

use mynah::load::{Pace, Plan, Stage, StageTally};
use serde::Serialize;

use super::Setting;
use super::record::Record;
use super::units::{count, mark, rate, time};

/// The percentiles of a stage.
const PERCENTILES: [f64; 3] = [50.0, 90.0, 99.0];

/// The name of a run, before everything else in its headline.
pub(super) fn label(setting: &Setting) -> String {
    let label = setting.label.as_ref();
    label.map_or(String::new(), |label| format!("{label}: "))
}

/// How the messages of an open loop are spread over the time.
pub(super) fn arrivals(plan: &Plan) -> String {
    match plan.arrivals {
        mynah::load::Arrivals::Poisson => format!("poisson arrivals (seed {}), ", plan.seed),
        mynah::load::Arrivals::Uniform => "uniform arrivals, ".to_owned(),
    }
}

/// An open loop in a headline.
pub(super) fn open_loop(plan: &Plan, at: Pace) -> String {
    let arrivals = arrivals(plan);
    let arrivals = arrivals.trim_end_matches(", ");
    match plan.stages.len() {
        0 => format!("open loop at {}/s, {arrivals}", rate(at.get())),
        1 => format!("open loop in one stage, {arrivals}"),
        stages => format!("open loop in {stages} stages, {arrivals}"),
    }
}

/// `1,000/s for 10 s`, `0/s to 5,000/s in 30 s`.
fn words(stage: &Stage) -> String {
    let (from, to) = (rate(stage.from.get()), rate(stage.to.get()));
    if stage.from == stage.to {
        format!("{from}/s for {}", time(stage.length))
    } else {
        format!("{from}/s to {to}/s in {}", time(stage.length))
    }
}

/// A line for each stage.
pub(super) fn table(text: &mut String, plan: &Plan, record: &Record) {
    if plan.stages.is_empty() {
        return;
    }
    let head: String = PERCENTILES
        .iter()
        .map(|percentile| format!("{:>10}", format!("p{percentile}")))
        .collect();
    let _ = writeln!(
        text,
        "\n  {:<30}{:>10}{:>11}{head}",
        "stage", "due", "answered"
    );
    for row in rows(plan, record) {
        let [name, due, answered, times @ ..] = &row[..] else {
            continue;
        };
        let cells: String = times.iter().map(|cell| format!(" {cell:>9}")).collect();
        let _ = writeln!(text, "  {name:<30}{due:>10}{answered:>11}{cells}");
    }
}

/// Of each stage: what it was, messages that were due and answered, and the percentiles.
pub(super) fn rows(plan: &Plan, record: &Record) -> Vec<Vec<String>> {
    let none = StageTally::default();
    let row = |(index, stage): (usize, &Stage)| {
        let tally = record.tally.stages.get(index).unwrap_or(&none);
        let times = PERCENTILES.map(|percentile| mark(tally.response.percentile(percentile)));
        [words(stage), count(tally.due()), count(tally.answered)]
            .into_iter()
            .chain(times)
            .collect()
    };
    plan.stages.iter().enumerate().map(row).collect()
}

/// What JSON says of the pace, beside the rate.
#[derive(Serialize)]
pub(super) struct PaceSettings {
    /// `null` in a closed loop.
    arrivals: Option<&'static str>,
    seed: Option<u64>,
    start_at_unix_seconds: Option<f64>,
    /// `null`: as it seemed best.
    spin_seconds: Option<f64>,
}

impl PaceSettings {
    pub(super) fn new(setting: &Setting, plan: &Plan, is_open_loop: bool) -> PaceSettings {
        PaceSettings {
            arrivals: is_open_loop.then(|| plan.arrivals.name()),
            seed: is_open_loop.then_some(plan.seed),
            start_at_unix_seconds: setting.start_at.map(|at| {
                at.duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs_f64()
            }),
            spin_seconds: setting.spin.map(|spin| spin.as_secs_f64()),
        }
    }
}

/// A stage in JSON.
#[derive(Serialize)]
pub(super) struct StageReport {
    from_per_second: f64,
    to_per_second: f64,
    length_seconds: f64,
    due: u64,
    sent: u64,
    answered: u64,
    /// Answers to the messages of the stage, a second of it.
    rate_per_second: f64,
    /// `null`: it falls among messages without an answer, or there are too few.
    p50_nanoseconds: Option<u64>,
    p90_nanoseconds: Option<u64>,
    p99_nanoseconds: Option<u64>,
}

impl StageReport {
    /// Those of a run.
    pub(super) fn all(plan: &Plan, record: &Record) -> Vec<StageReport> {
        let none = StageTally::default();
        let report = |(index, stage): (usize, &Stage)| {
            let tally = record.tally.stages.get(index).unwrap_or(&none);
            let [p50, p90, p99] = PERCENTILES.map(|percentile| {
                let mark = tally.response.percentile(percentile);
                mark.time().map(|time| time.as_nanos() as u64)
            });
            StageReport {
                from_per_second: stage.from.get(),
                to_per_second: stage.to.get(),
                length_seconds: stage.length.as_secs_f64(),
                due: tally.due(),
                sent: tally.sent,
                answered: tally.answered,
                rate_per_second: tally.answered as f64 / stage.length.as_secs_f64(),
                p50_nanoseconds: p50,
                p90_nanoseconds: p90,
                p99_nanoseconds: p99,
            }
        };
        plan.stages.iter().enumerate().map(report).collect()
    }
}
