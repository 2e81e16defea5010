//! `mynah report`: several logs become one, or are compared.
//!
//! Owns what the sums mean: generators that worked together add their rates, and their times are
//! merged, which histograms do without any error. Must never add the rates of runs that were not
//! at the same time.
//!
//! Tests: `tests/load_reports.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mynah::Escaped;
use mynah::load::{Distribution, Mark};
use serde::Serialize;

use super::load::hdr::{Counts, HdrLog, Writer};
use super::load::outputs::{Files, Reports, unwritten};
use super::load::page::{Run, render_runs};
use super::load::pretty;
use super::load::record::there;
use super::load::table::{Screen, measures, times_table};
use super::load::units::{count, many, mark, rate, time};
use super::status::{Failure, Status};

/// The width of a column of a comparison, at least and at most, and that of the change beside it.
const COLUMN: usize = 22;
const LONGEST: usize = 40;
const CHANGE: usize = 10;

/// What the runs of several logs are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Generators that worked together: their rates are added.
    Together,
    /// One after the other: their rates have a mean.
    Sequential,
    /// To be compared with the first of them.
    Compared,
}

/// What to read, and what to make of it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) relation: Relation,
    pub(crate) reports: Reports,
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
    /// Whether the runs followed each other; else they were at the same time.
    sequential: bool,
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
    for (index, file) in config.files.iter().enumerate() {
        if config.files[..index].contains(file) {
            return Err(Failure::new(
                Status::Usage,
                format_args!("{} is given twice, and would count twice", file.display()),
            ));
        }
    }
    let logs = config
        .files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<HdrLog>, Failure>>()?;
    let runs = named_runs(&config.files, logs);
    if config.relation == Relation::Together {
        check_overlap(&runs)?;
    }
    let mut files = Files::create(&config.reports)?;
    if config.relation == Relation::Compared {
        let page = || page(config, &runs, None);
        let table = comparison(&runs);
        config.reports.tell(&mut files, "", page, &table)?;
    } else {
        merge(config, &mut files, &runs)?;
    }
    Ok(Status::Done)
}

/// A log, and what it is called.
struct Named {
    name: String,
    log: HdrLog,
}

/// Gives each log the name of its run, or else that of its file. Two of one name, such as two runs
/// of one label, have those of their files.
fn named_runs(files: &[PathBuf], logs: Vec<HdrLog>) -> Vec<Named> {
    let labels: Vec<Option<String>> = logs.iter().map(|log| log.label.clone()).collect();
    let is_unique = |label: &String| {
        let is_same = |other: &&Option<String>| other.as_ref() == Some(label);
        labels.iter().filter(is_same).count() == 1
    };
    let file_name = |file: &PathBuf| {
        let alone = file.file_name().unwrap_or(file.as_os_str());
        let is_alone = |other: &&PathBuf| other.file_name() == file.file_name();
        let name = if files.iter().filter(is_alone).count() > 1 {
            file.as_os_str()
        } else {
            alone
        };
        Escaped(name.as_encoded_bytes()).to_string()
    };
    files
        .iter()
        .zip(logs)
        .map(|(file, log)| Named {
            name: log
                .label
                .clone()
                .filter(is_unique)
                .unwrap_or_else(|| file_name(file)),
            log,
        })
        .collect()
}

/// Rates add up where generators worked at the same time, and only there: all runs must share at
/// least half of the shortest one.
fn check_overlap(runs: &[Named]) -> Result<(), Failure> {
    let end = |run: &&Named| run.log.started + run.log.span;
    let (Some(last), Some(first)) = (
        runs.iter().max_by_key(|run| run.log.started),
        runs.iter().min_by_key(end),
    ) else {
        return Ok(());
    };
    let shortest = runs.iter().map(|run| run.log.span).min();
    let common = end(&first).duration_since(last.log.started);
    let common = common.unwrap_or_default();
    if common >= shortest.unwrap_or_default() / 2 {
        return Ok(());
    }
    let shared = if common.is_zero() {
        "did not overlap in time".to_owned()
    } else {
        format!("overlap for {} only", time(common))
    };
    Err(Failure::new(
        Status::Failed,
        format_args!(
            "{} and {} {shared}, so their rates do not add up; --sequential takes them as runs one \
             after the other, --compare sets them side by side",
            first.name, last.name
        ),
    ))
}

/// The page of several runs.
fn page(config: &Config, runs: &[Named], together: Option<&HdrLog>) -> String {
    let on_page: Vec<Run<'_>> = runs
        .iter()
        .map(|Named { name, log }| Run {
            name,
            started: log.started,
            length: log.span,
            rate: log.rate(),
            errors: log.counts.map(|counts| counts.errors),
            response: &log.response,
            intervals: &log.intervals,
        })
        .collect();
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = match config.relation {
        Relation::Compared => format!("{} compared", names.join(", ")),
        Relation::Together => format!("{} together", names.join(", ")),
        Relation::Sequential => format!("{} one after the other", names.join(", ")),
    };
    let sum = together.filter(|_| runs.len() > 1);
    render_runs(&title, &on_page, sum.map(|log| &log.response))
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

fn merge(config: &Config, files: &mut Files, runs: &[Named]) -> Result<(), Failure> {
    let is_sequential = config.relation == Relation::Sequential;
    let sum = merged(runs, is_sequential);
    let paths: Vec<String> = config
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    if let Some(file) = files.hdr.take() {
        Writer::new(file, &format!("merged from {}", paths.join(", ")))
            .write_log(&sum)
            .map_err(|error| unwritten("--hdr", &error))?;
    }
    let rates = if is_sequential {
        sum.rate()
    } else {
        runs.iter().map(|run| run.log.rate()).sum()
    };
    let report = pretty(&Merged {
        schema: "mynah-report",
        version: 1,
        mynah: env!("CARGO_PKG_VERSION"),
        files: paths,
        labels: runs.iter().map(|run| run.log.label.clone()).collect(),
        sequential: is_sequential,
        measured_seconds: sum.span.as_secs_f64(),
        rate_per_second: rates,
        answers: sum.response.answered().count(),
        unanswered: sum.response.waited().count(),
        errors: sum.counts.map(|counts| counts.errors),
        response_nanoseconds: named(&sum.response),
        service_nanoseconds: named(&sum.service),
    });
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let mut text = format!(
        "{}: {}{}, {} long: {} answers/s, {} answers",
        names.join(", "),
        many(runs.len() as u64, "log"),
        if is_sequential {
            ", one after the other"
        } else {
            ""
        },
        time(sum.span),
        rate(rates),
        count(sum.response.answered().count())
    );
    match sum.counts {
        Some(Counts { errors, lost, .. }) => {
            let (errors, unanswered) = (many(errors, "error"), sum.response.waited().count());
            let (lost, unanswered) = (count(lost), count(unanswered));
            text.push_str(&format!(
                ", {errors}, {lost} lost, {unanswered} unanswered\n\n"
            ));
        }
        None => text.push_str("; not all of them say how many errors there were\n\n"),
    }
    times_table(
        &mut text,
        &there(&[
            ("response time", &sum.response),
            ("service time", &sum.service),
        ]),
        Screen::of_output(),
    );
    let page = || page(config, runs, Some(&sum));
    config.reports.tell(files, &report, page, &text)
}

/// One log that holds what all hold. It is as long as the longest, or as all of them in sequence.
fn merged(runs: &[Named], is_sequential: bool) -> HdrLog {
    let spans = runs.iter().map(|run| run.log.span);
    let mut sum = HdrLog {
        response: Distribution::default(),
        service: Distribution::default(),
        started: runs
            .iter()
            .map(|run| run.log.started)
            .min()
            .unwrap_or(std::time::SystemTime::UNIX_EPOCH),
        span: if is_sequential {
            spans.fold(Duration::ZERO, Duration::saturating_add)
        } else {
            spans.max().unwrap_or_default()
        },
        intervals: Vec::new(),
        counts: Some(Counts::default()),
        label: None,
    };
    for Named { log, .. } in runs {
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

/// Runs beside each other, all compared with the first.
fn comparison(runs: &[Named]) -> String {
    let Some(first) = runs.first() else {
        return String::new();
    };
    let name_width = |run: &Named| run.name.chars().count() + 2;
    let width = runs
        .iter()
        .map(name_width)
        .max()
        .unwrap_or(0)
        .clamp(COLUMN, LONGEST);
    let cut = |name: &str| name.chars().take(width - 2).collect::<String>();
    let mut text = String::new();
    let mut head = format!("  {:<18}", "");
    for (index, run) in runs.iter().enumerate() {
        head.push_str(&format!("{:>width$}", cut(&run.name)));
        if index > 0 {
            head.push_str(&format!("{:>CHANGE$}", "change"));
        }
    }
    text.push_str(&format!("{head}\n"));
    let mut line = |name: &str, cells: Vec<(String, Option<f64>)>| {
        let base = cells.first().and_then(|(_, value)| *value);
        let mut words = format!("  {name:<18}");
        for (index, (cell, value)) in cells.iter().enumerate() {
            words.push_str(&format!("{cell:>width$}"));
            let ratio = base.zip(*value).map(|(base, value)| value / base);
            let change = match ratio.filter(|ratio| ratio.is_finite()) {
                Some(ratio) => format!("{:+.1} %", 100.0 * (ratio - 1.0)),
                None => "-".to_owned(),
            };
            if index > 0 {
                words.push_str(&format!("{change:>CHANGE$}"));
            }
        }
        text.push_str(&format!("{words}\n"));
    };
    let cells = |of: &dyn Fn(&HdrLog) -> (String, Option<f64>)| {
        runs.iter().map(|run| of(&run.log)).collect::<Vec<_>>()
    };
    line(
        "answers/s",
        cells(&|log| (rate(log.rate()), Some(log.rate()))),
    );
    let counted = |of: &dyn Fn(Counts) -> u64| {
        cells(&|log| {
            (
                log.counts
                    .map_or("-".to_owned(), |counts| count(of(counts))),
                None,
            )
        })
    };
    line("errors", counted(&|counts| counts.errors));
    line("lost", counted(&|counts| counts.lost));
    line(
        "unanswered",
        cells(&|log| (count(log.response.waited().count()), None)),
    );
    type Pick = fn(&HdrLog) -> &Distribution;
    let kinds: [(&str, Pick); 2] = [
        ("response", |log| &log.response),
        ("service", |log| &log.service),
    ];
    for (kind, pick) in kinds {
        for (index, (name, _)) in measures(pick(&first.log)).enumerate() {
            let at = |log: &HdrLog| {
                let (_, at) = measures(pick(log)).nth(index)?;
                Some(at)
            };
            let marks: Vec<Mark> = runs
                .iter()
                .map(|run| at(&run.log).unwrap_or(Mark::Unknown))
                .collect();
            if marks.iter().all(|at| *at == Mark::Unknown) {
                continue;
            }
            let cell = |at: Mark| {
                let note = if matches!(at, Mark::Unanswered(_)) {
                    " (unanswered)"
                } else {
                    ""
                };
                let value = at.time().map(|time| time.as_secs_f64());
                (format!("{}{note}", mark(at)), value)
            };
            line(
                &format!("{kind} {name}"),
                marks.into_iter().map(cell).collect(),
            );
        }
    }
    text
}
