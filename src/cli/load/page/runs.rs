//! Several runs on one page, from their logs.

use std::time::{Duration, SystemTime};

use mynah::load::Distribution;

use super::super::units::{count, rate};
use super::{facts, frame, html, plots, style};

/// A run, as a log tells of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) name: &'a str,
    pub(crate) started: SystemTime,
    pub(crate) length: Duration,
    pub(crate) rate: f64,
    /// `None`: the log does not say.
    pub(crate) errors: Option<u64>,
    pub(crate) response: &'a Distribution,
    /// Each of its intervals: the middle and its length in seconds, and its times.
    pub(crate) intervals: &'a [Interval],
}

/// An interval of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    /// Since the run began.
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    pub(crate) answered: u64,
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
}

/// The page of several runs: `title` says what they are to each other, and `together` is what they
/// come to, where that means something.
pub(crate) fn render(title: &str, runs: &[Run<'_>], together: Option<&Distribution>) -> String {
    let mut body = String::new();
    let head = ["", "measured from (UTC)", "answers/s", "errors"].map(str::to_owned);
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let errors = run.errors.map_or("-".to_owned(), count);
            vec![
                run.name.to_owned(),
                facts::date(run.started),
                rate(run.rate),
                errors,
            ]
        })
        .collect();
    html::section(&mut body, "Runs", &html::numbers(&head, &rows));
    let sum = together.map(|times| ("together", times));
    let times = runs.iter().map(|run| (run.name, run.response)).chain(sum);
    let times: Vec<(&str, &Distribution)> = times.collect();
    let named: Vec<(String, &Distribution)> = times
        .iter()
        .map(|(name, times)| ((*name).to_owned(), *times))
        .collect();
    let says: String = times
        .iter()
        .filter(|(_, times)| times.waited().count() > 0)
        .map(|(name, times)| {
            let (lost, all) = (count(times.waited().count()), count(times.count()));
            html::paragraph(
                "says",
                &format!("{name}: {lost} of {all} were not answered"),
            )
        })
        .collect();
    let percentiles = [says, plots::percentiles(&named)].concat();
    html::section(&mut body, "Response time by percentile", &percentiles);
    html::section(&mut body, "Response times", &facts::times(&times));
    let length = runs.iter().map(|run| run.length).max().unwrap_or_default();
    let curves = |of: &dyn Fn(&Interval) -> Option<f64>| -> Vec<(String, Vec<(f64, f64)>)> {
        let points = |run: &Run<'_>| {
            let points = run.intervals.iter().filter_map(|interval| {
                let middle = interval.at + interval.length / 2;
                Some((middle.as_secs_f64(), of(interval)?))
            });
            (run.name.to_owned(), points.collect())
        };
        runs.iter().map(points).collect()
    };
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let rates = curves(&|interval| {
        let is_whole = interval.length >= Duration::from_millis(500);
        is_whole.then(|| interval.answered as f64 / interval.length.as_secs_f64())
    });
    for (heading, name, is_log, curves) in [
        (
            "Median over the run",
            frame::time as frame::Name,
            true,
            curves(&|interval| seconds(interval.p50)),
        ),
        (
            "99 % over the run",
            frame::time,
            true,
            curves(&|interval| seconds(interval.p99)),
        ),
        ("Answers a second", rate, false, rates),
    ] {
        if curves.iter().any(|(_, points)| points.len() > 1) {
            let plot = plots::over_time(name, is_log, length, &curves);
            html::section(&mut body, heading, &plot);
        }
    }
    style::page(title, &body)
}
