//! `mynah report`: several logs become one, or two are compared.
//!
//! Owns what the sums mean: generators that worked together add their rates, and their times are
//! merged, which histograms do without any error.
//!
//! Tests: `tests/load_reports.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mynah::load::{Distribution, Mark};
use serde::Serialize;

use super::load::hdr::{Counts, HdrLog, Writer};
use super::load::record::there;
use super::load::table::{measures, times_table};
use super::load::units::{count, mark, rate, time};
use super::load::{create, is_standard_output, pretty, print, tell, unwritten};
use super::status::{Failure, Status};

/// The width of a column of a comparison.
const COLUMN: usize = 22;

/// What to read, and what to make of it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) compare: bool,
    pub(crate) hdr: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
}

/// What the logs of a merge come to.
#[derive(Serialize)]
struct Merged {
    schema: &'static str,
    version: u32,
    mynah: &'static str,
    files: Vec<String>,
    /// The names of the runs; `null` where a run has none.
    labels: Vec<Option<String>>,
    measured_seconds: f64,
    rate_per_second: f64,
    answers: u64,
    /// Messages that were due and not answered in time. The percentiles hold them; one that lies
    /// among them is left out.
    unanswered: u64,
    /// `null` where not all logs say.
    errors: Option<u64>,
    response_nanoseconds: BTreeMap<String, u64>,
    service_nanoseconds: BTreeMap<String, u64>,
}

/// Reads, and reports.
pub(crate) fn run(config: &Config) -> Result<Status, Failure> {
    let logs = config
        .files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<HdrLog>, Failure>>()?;
    match &logs[..] {
        [before, after] if config.compare => print(&comparison(config, before, after)),
        _ => merge(config, &logs),
    }?;
    Ok(Status::Done)
}

fn read(path: &Path) -> Result<HdrLog, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(
            Status::Failed,
            format_args!("cannot read {}: {why}", path.display()),
        )
    };
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    HdrLog::read(&bytes).map_err(|why| failed(&why))
}

fn merge(config: &Config, logs: &[HdrLog]) -> Result<(), Failure> {
    let sum = merged(logs);
    if let Some(file) = create("--hdr", config.hdr.as_deref())? {
        let names: Vec<String> = config
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        Writer::new(file, &format!("merged from {}", names.join(", ")))
            .write_log(&sum)
            .map_err(|error| unwritten("--hdr", &error))?;
    }
    let rates: f64 = logs.iter().map(HdrLog::rate).sum();
    let path = config.json.as_deref();
    let mut file = create(
        "--json",
        path.filter(|path| !is_standard_output(Some(path))),
    )?;
    let report = pretty(&Merged {
        schema: "mynah-report",
        version: 1,
        mynah: env!("CARGO_PKG_VERSION"),
        files: config
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect(),
        labels: logs.iter().map(|log| log.label.clone()).collect(),
        measured_seconds: sum.span.as_secs_f64(),
        rate_per_second: rates,
        answers: sum.response.answered().count(),
        unanswered: sum.response.waited().count(),
        errors: sum.counts.map(|counts| counts.errors),
        response_nanoseconds: named(&sum.response),
        service_nanoseconds: named(&sum.service),
    });
    let labels: Vec<&str> = logs.iter().filter_map(|log| log.label.as_deref()).collect();
    let labels = match labels.len() {
        0 => String::new(),
        _ => format!("{}: ", labels.join(", ")),
    };
    let mut text = format!(
        "{labels}{} logs, {} long: {} answers/s, {} answers",
        logs.len(),
        time(sum.span),
        rate(rates),
        count(sum.response.answered().count())
    );
    match sum.counts {
        Some(Counts { errors, lost, .. }) => text.push_str(&format!(
            ", {} errors, {} lost\n\n",
            count(errors),
            count(lost)
        )),
        None => text.push_str("; not all of them say how many errors there were\n\n"),
    }
    times_table(
        &mut text,
        &there(&[
            ("response time", &sum.response),
            ("service time", &sum.service),
        ]),
    );
    tell(path, file.as_mut(), &report, &text)
}

/// One log that holds what all hold.
fn merged(logs: &[HdrLog]) -> HdrLog {
    let mut sum = HdrLog {
        response: Distribution::default(),
        service: Distribution::default(),
        started: logs
            .iter()
            .map(|log| log.started)
            .min()
            .unwrap_or(std::time::SystemTime::UNIX_EPOCH),
        span: logs.iter().map(|log| log.span).max().unwrap_or_default(),
        counts: Some(Counts::default()),
        label: None,
    };
    for log in logs {
        sum.response.add(&log.response);
        sum.service.add(&log.service);
        sum.counts = sum.counts.zip(log.counts).map(|(sum, log)| Counts {
            completed: sum.completed + log.completed,
            errors: sum.errors + log.errors,
            lost: sum.lost + log.lost,
        });
    }
    sum
}

fn named(times: &Distribution) -> BTreeMap<String, u64> {
    measures(times)
        .filter_map(|(name, mark)| Some((name, mark.time()?.as_nanos() as u64)))
        .collect()
}

/// Two runs beside each other.
fn comparison(config: &Config, before: &HdrLog, after: &HdrLog) -> String {
    let mut text = format!(
        "{} beside {}\n\n",
        config.files[1].display(),
        config.files[0].display()
    );
    // The columns bear the labels of the runs, as far as those fit.
    let column = |log: &HdrLog, otherwise: &str| {
        let label = log.label.as_deref().unwrap_or(otherwise);
        label.chars().take(COLUMN - 2).collect::<String>()
    };
    text.push_str(&format!(
        "  {:<24}{:>COLUMN$}{:>COLUMN$}{:>10}\n",
        "",
        column(before, "first"),
        column(after, "second"),
        "change"
    ));
    let mut line = |name: &str, first: String, second: String, ratio: f64| {
        let change = if ratio.is_finite() {
            format!("{:+.1} %", 100.0 * (ratio - 1.0))
        } else {
            "-".to_owned()
        };
        text.push_str(&format!(
            "  {name:<24}{first:>COLUMN$}{second:>COLUMN$}{change:>10}\n"
        ));
    };
    line(
        "answers/s",
        rate(before.rate()),
        rate(after.rate()),
        after.rate() / before.rate(),
    );
    if let (Some(first), Some(second)) = (before.counts, after.counts) {
        line(
            "errors",
            count(first.errors),
            count(second.errors),
            f64::NAN,
        );
        line("lost", count(first.lost), count(second.lost), f64::NAN);
    }
    for (kind, first, second) in [
        ("response", &before.response, &after.response),
        ("service", &before.service, &after.service),
    ] {
        for ((name, first), (_, second)) in measures(first).zip(measures(second)) {
            if let (Mark::Unknown, Mark::Unknown) = (first, second) {
                continue;
            }
            let ratio = match (first, second) {
                (Mark::Time(first), Mark::Time(second)) => {
                    second.as_secs_f64() / first.as_secs_f64()
                }
                _ => f64::NAN,
            };
            line(&format!("{kind} {name}"), mark(first), mark(second), ratio);
        }
    }
    text
}
