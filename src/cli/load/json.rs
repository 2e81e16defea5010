//! The report for programs: one schema, with its version, all settings, and the unit in every name.
//!
//! A field is never renamed, and never means something else; what is added leaves the version as it
//! is. `schema/load.schema.json` is published, and `tests/load_schema.rs` holds it to that.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mynah::load::{
    Check, Distribution, Goal, Law, Lifetime, Mark, Matching, Pace, Payload, Plan, Response,
    Verdict,
};
use serde::Serialize;

use super::Setting;
use super::host::Host;
use super::machine::Machine;
use super::outputs::command_line;
use super::record::Record;
use super::stages::{PaceSettings, StageReport};
use super::table::measures;

/// Of the schema.
const VERSION: u32 = 1;

/// What every report begins with.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    schema: &'static str,
    version: u32,
    mynah: &'static str,
    /// `null`: it was not named.
    label: Option<&'a str>,
    /// The command line, each word as a shell would take it.
    command: Vec<String>,
    machine: Machine,
    target: Target<'a>,
    settings: Settings<'a>,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(flatten)]
    run: RunValues,
    stages: Vec<StageReport>,
    requirements: Vec<Requirement>,
}

#[derive(Serialize)]
struct Target<'a> {
    endpoint: String,
    address: &'a str,
}

#[derive(Serialize)]
struct Settings<'a> {
    r#loop: &'static str,
    rate_per_second: Option<f64>,
    #[serde(flatten)]
    pace: PaceSettings,
    connections: u64,
    threads: u16,
    message_bytes: usize,
    /// `null`: the pattern.
    message: Option<&'a str>,
    response: String,
    /// Whether that has fields that are filled in.
    template: bool,
    /// How answers are told apart: order, header, or field:OFFSET:LEN.
    r#match: String,
    check: &'static str,
    expect: Option<String>,
    /// `null`: any number.
    depth: Option<usize>,
    churn: bool,
    /// `null`: connections are kept. Messages, or seconds.
    lifetime_messages: Option<u64>,
    lifetime_seconds: Option<f64>,
    first_message_bytes: Option<usize>,
    think_seconds: f64,
    timeout_seconds: Option<f64>,
    warmup_seconds: f64,
    duration_seconds: Option<f64>,
    requests: Option<u64>,
    connect_rate_per_second: Option<f64>,
    sources: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct RunValues {
    started_unix_seconds: f64,
    measured_seconds: f64,
    stopped_early: bool,
    /// One of target, shared, generator, limit, too_few.
    verdict: &'static str,
    bottleneck: Option<String>,
    shortfall: Option<String>,
    rate_per_second: f64,
    messages: MessageCounts,
    bytes: ByteCounts,
    connections: ConnectionCounts,
    datagrams: Option<DatagramCounts>,
    times_nanoseconds: Kinds,
    errors: Errors,
    generator: GeneratorShare,
    intervals: Vec<Interval>,
}

#[derive(Serialize)]
struct MessageCounts {
    /// Those of the window; due = answered + left + late + lost + failed + unsent.
    due: u64,
    sent: u64,
    answered: u64,
    /// Sent, where no answer is waited for.
    left: u64,
    late: u64,
    lost: u64,
    failed: u64,
    completed: u64,
    unanswered: u64,
    unsent: u64,
    wrong_bytes: u64,
}

#[derive(Serialize)]
struct ByteCounts {
    sent: u64,
    received: u64,
}

#[derive(Serialize)]
struct ConnectionCounts {
    opened: u64,
    open_at_end: u64,
}

#[derive(Serialize)]
struct DatagramCounts {
    lost: u64,
    late: u64,
    duplicate: u64,
    reordered: u64,
}

/// The kinds of times; `null` where there are none.
#[derive(Serialize)]
struct Kinds {
    response: Option<Summary>,
    service: Option<Summary>,
    connect: Option<Summary>,
    first_byte: Option<Summary>,
    lateness: Option<Summary>,
    added: Option<Summary>,
    held: Option<Summary>,
}

/// Of the times of messages. A measure is `null` where it lies among those that were not answered,
/// or where there are too few to tell.
#[derive(Serialize)]
struct Summary {
    count: u64,
    unanswered: u64,
    #[serde(flatten)]
    measures: BTreeMap<String, Option<u64>>,
    /// Of each measure that lies among the unanswered, how long it is at least.
    at_least: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Errors {
    total: u64,
    kinds: BTreeMap<&'static str, ErrorCount>,
}

#[derive(Serialize)]
struct ErrorCount {
    count: u64,
    first: String,
}

#[derive(Serialize)]
struct GeneratorShare {
    busy_share: f64,
    #[serde(flatten)]
    host: Host,
    lateness_p99_nanoseconds: Option<u64>,
}

#[derive(Serialize)]
struct Interval {
    at_seconds: f64,
    length_seconds: f64,
    rate_per_second: f64,
    p50_nanoseconds: Option<u64>,
    p99_nanoseconds: Option<u64>,
    max_nanoseconds: Option<u64>,
    errors: u64,
}

#[derive(Serialize)]
struct Requirement {
    goal: String,
    /// Times in seconds.
    measured: Option<f64>,
    met: bool,
}

/// The report of a run.
pub(super) fn render(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let requirement = |goal: &Goal| {
        let measured = record.measure(goal.measured());
        Requirement {
            goal: goal.to_string(),
            measured,
            met: goal.is_reached(measured),
        }
    };
    pretty(&Report {
        head: head("mynah-load", setting, plan, record),
        run: run(record),
        stages: StageReport::all(plan, record),
        requirements: setting.require.iter().map(requirement).collect(),
    })
}

pub(super) fn head<'a>(
    schema: &'static str,
    setting: &'a Setting,
    plan: &Plan,
    record: &'a Record,
) -> Head<'a> {
    Head {
        schema,
        version: VERSION,
        mynah: env!("CARGO_PKG_VERSION"),
        label: setting.label.as_deref(),
        command: command_line(),
        machine: Machine::this(),
        target: Target {
            endpoint: setting.endpoint.to_string(),
            address: &record.address,
        },
        settings: settings(setting, plan),
    }
}

/// A report as it is written.
pub(crate) fn pretty(report: &impl Serialize) -> String {
    // Numbers, texts and lists alone: there is nothing that could not be written.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}

fn settings<'a>(setting: &'a Setting, plan: &Plan) -> Settings<'a> {
    let seconds = |duration: Duration| duration.as_secs_f64();
    let (law, rate, think) = match plan.law {
        Law::Open { rate } => ("open", Some(rate.get()), Duration::ZERO),
        Law::Closed { think } => ("closed", None, think),
    };
    Settings {
        r#loop: law,
        rate_per_second: rate,
        pace: PaceSettings::new(setting, plan, matches!(plan.law, Law::Open { .. })),
        connections: plan.connections,
        threads: setting.threads,
        message_bytes: plan.payload.size(),
        message: setting.message.as_deref(),
        response: match &plan.response {
            Response::Same => "same".to_owned(),
            Response::Fixed(size) => format!("fixed:{size}"),
            Response::Until(delimiter) => format!("until:{}", mynah::Escaped(delimiter.text())),
            Response::Prefix(prefix) => format!(
                "prefix:u{}{}",
                8 * prefix.width.bytes(),
                if prefix.is_little_endian { "le" } else { "" }
            ),
            Response::Datagram => "datagram".to_owned(),
            Response::None => "none".to_owned(),
        },
        template: plan.payload.as_template().is_some(),
        r#match: match plan.matching {
            Matching::Order => "order".to_owned(),
            Matching::Header => "header".to_owned(),
            Matching::Field(field) => format!("field:{field}"),
        },
        check: match &plan.check {
            Check::None if plan.matching == Matching::Header => "number",
            Check::None => "none",
            Check::Echo => "echo",
            Check::Text(_) => "text",
        },
        expect: if let Check::Text(text) = &plan.check {
            Some(mynah::Escaped(text).to_string())
        } else {
            None
        },
        depth: (plan.depth < usize::MAX).then_some(plan.depth),
        churn: plan.churn,
        lifetime_messages: match plan.lifetime {
            Some(Lifetime::Messages(messages)) => Some(messages),
            Some(Lifetime::Time(_)) | None => None,
        },
        lifetime_seconds: match plan.lifetime {
            Some(Lifetime::Time(time)) => Some(seconds(time)),
            Some(Lifetime::Messages(_)) | None => None,
        },
        first_message_bytes: plan.first.as_ref().map(Payload::size),
        think_seconds: seconds(think),
        timeout_seconds: plan.timeout.map(seconds),
        warmup_seconds: seconds(plan.warmup),
        duration_seconds: plan.duration.map(seconds),
        requests: plan.requests,
        connect_rate_per_second: plan.connect_rate.map(Pace::get),
        sources: plan.sources.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn run(record: &Record) -> RunValues {
    let tally = &record.tally;
    RunValues {
        started_unix_seconds: record
            .started
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64(),
        measured_seconds: record.measured.as_secs_f64(),
        stopped_early: record.was_stopped,
        verdict: match record.verdict {
            Verdict::Target => "target",
            Verdict::Shared(_) => "shared",
            Verdict::Generator(_) => "generator",
            Verdict::Limit(_) => "limit",
            Verdict::Full(_) => "full",
            Verdict::TooFew => "too_few",
        },
        bottleneck: record.bottleneck(),
        shortfall: record.shortfall(),
        rate_per_second: record.rate(),
        messages: MessageCounts {
            due: tally.due(),
            sent: tally.sent,
            answered: tally.answered,
            left: tally.left,
            late: tally.late,
            lost: tally.lost(),
            failed: tally.failed,
            completed: tally.completed,
            unanswered: tally.unanswered,
            unsent: tally.unsent,
            wrong_bytes: tally.wrong_bytes,
        },
        bytes: ByteCounts {
            sent: tally.bytes_sent,
            received: tally.bytes_received,
        },
        connections: ConnectionCounts {
            opened: tally.opened,
            open_at_end: record.open,
        },
        datagrams: (record.is_datagram && record.has_answers).then(|| DatagramCounts {
            lost: tally.lost(),
            late: tally.late,
            duplicate: tally.duplicate,
            reordered: tally.reordered,
        }),
        times_nanoseconds: Kinds {
            response: summary(&tally.response),
            service: summary(&tally.service),
            connect: summary(&tally.connect),
            first_byte: summary(&tally.first_byte),
            lateness: summary(&tally.lateness),
            added: summary(&tally.added),
            held: summary(&tally.held),
        },
        errors: Errors {
            total: tally.troubles.total(),
            kinds: tally
                .troubles
                .iter()
                .map(|(trouble, count, first)| {
                    (
                        trouble.name(),
                        ErrorCount {
                            count,
                            first: first.to_owned(),
                        },
                    )
                })
                .collect(),
        },
        generator: GeneratorShare {
            busy_share: record.busy,
            host: record.host,
            lateness_p99_nanoseconds: known(tally.lateness.percentile(99.0)),
        },
        intervals: record
            .seconds
            .iter()
            .map(|second| Interval {
                at_seconds: second.at.as_secs_f64(),
                length_seconds: second.length.as_secs_f64(),
                rate_per_second: second.rate,
                p50_nanoseconds: known(second.p50),
                p99_nanoseconds: known(second.p99),
                max_nanoseconds: known(second.max),
                errors: second.errors,
            })
            .collect(),
    }
}

fn summary(times: &Distribution) -> Option<Summary> {
    let with_rare = || measures(times).chain([("p99.99".to_owned(), times.percentile(99.99))]);
    let least = |mark: Mark| match mark {
        Mark::Unanswered(least) => Some(nanos(least)),
        Mark::Time(_) | Mark::Unknown => None,
    };
    (times.count() > 0).then(|| Summary {
        count: times.count(),
        unanswered: times.waited().count(),
        measures: with_rare()
            .map(|(name, mark)| (name, known(mark)))
            .collect(),
        at_least: with_rare()
            .filter_map(|(name, mark)| Some((name, least(mark)?)))
            .collect(),
    })
}

fn known(mark: Mark) -> Option<u64> {
    mark.time().map(nanos)
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}
