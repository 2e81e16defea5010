//! `mynah load`: from the configuration to a run, what is reported of it, and what it is worth.
//!
//! Owns the order of things: resolve, run or search, report, judge. The load itself is the
//! library's ([`mynah::load`]).
//!
//! ```text
//!   crew       threads, each with a generator; their news become one record
//!   record     the results of a run, and what they say about the generator
//!   table      the report as text      json    for programs      page    with plots
//!   find       the runs of a search      searched    its trials    find_report    what was found
//!   stages     the part of the reports that is about the pace
//!   hdr        logs of HdrHistogram, to be merged
//!   bars       classes of a histogram
//!   outputs    where reports go
//!   live       the line on a terminal  units   numbers as people read them
//!   machine    where all this was measured, host what was kept from the generator there
//! ```
//!
//! Tests: `tests/load.rs`, `tests/load_truth.rs`, `tests/load_reports.rs`.

mod bars;
mod crew;
mod find;
mod find_report;
pub(crate) mod hdr;
mod host;
mod json;
mod live;
mod machine;
pub(crate) mod outputs;
pub(crate) mod page;
pub(crate) mod record;
mod searched;
mod stages;
pub(crate) mod table;
pub(crate) mod units;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use mynah::load::{Check, Goal, Plan, Response, Trouble};
use mynah::{Address, Endpoint};

use self::crew::{Crew, Sight};
pub(crate) use self::json::pretty;
use self::live::Live;
use self::outputs::{Files, Reports, unwritten};
use self::record::Record;
use self::table::Screen;
use super::descriptors::{SPARE_DESCRIPTORS, raise_descriptor_limit};
use super::serve::resolve;
use super::status::{Failure, Status};

/// What to load, how, and what to say of it.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) endpoint: Endpoint,
    pub(crate) plan: Plan,
    /// The text of the message, as it was given.
    pub(crate) message: Option<String>,
    pub(crate) threads: u16,
    /// When to begin; `None`: as soon as all connections are open.
    pub(crate) start_at: Option<SystemTime>,
    /// For how long to spin before a message is due; `None`: as it seems best.
    pub(crate) spin: Option<Duration>,
    /// The name of the run.
    pub(crate) label: Option<String>,
    pub(crate) require: Vec<Goal>,
    /// Whether a run that the generator spoiled has failed.
    pub(crate) is_void_when_spoiled: bool,
    pub(crate) aim: Aim,
    pub(crate) reports: Reports,
    /// Whether to say how it goes where there is no terminal.
    pub(crate) has_progress: bool,
}

/// What a run is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Aim {
    /// To be measured.
    Measure,
    /// To find the highest rate that keeps this.
    Find(Goal),
}

/// Loads, and reports.
pub(crate) fn run(config: Config) -> Result<Status, Failure> {
    let addresses = speakable(&config, resolve(std::slice::from_ref(&config.endpoint))?)?;
    check_descriptors(config.plan.connections)?;
    let stop = catch_interrupts()?;
    let Config {
        endpoint,
        plan,
        message,
        threads,
        start_at,
        spin,
        label,
        require,
        is_void_when_spoiled,
        aim,
        reports,
        has_progress,
    } = config;
    let setting = Setting {
        endpoint,
        message,
        threads,
        start_at,
        spin,
        label,
        require,
        is_void_when_spoiled,
        reports,
        has_progress,
    };
    match aim {
        Aim::Measure => measure(&setting, plan, &addresses, &stop),
        Aim::Find(goal) => find::find(&setting, plan, &goal, &addresses, &stop),
    }
}

/// The addresses that can be spoken to from those that are to be spoken from.
fn speakable(config: &Config, mut addresses: Vec<Address>) -> Result<Vec<Address>, Failure> {
    let is_alike = |address: &Address| match address {
        Address::Tcp(remote) | Address::Udp(remote) => config
            .plan
            .sources
            .iter()
            .all(|source| source.is_ipv4() == remote.is_ipv4()),
        Address::Unix(_) | Address::Unixgram(_) => true,
    };
    let found = addresses.len();
    addresses.retain(is_alike);
    if addresses.is_empty() && found > 0 {
        let why = "--source gives an address that cannot speak to it; both must be IPv4, or IPv6; \
            see --help";
        return Err(Failure::new(
            Status::Usage,
            format_args!("{}: {why}", config.endpoint),
        ));
    }
    Ok(addresses)
}

/// What stays the same from run to run.
pub(super) struct Setting {
    pub(super) endpoint: Endpoint,
    pub(super) message: Option<String>,
    pub(super) threads: u16,
    pub(super) start_at: Option<SystemTime>,
    pub(super) spin: Option<Duration>,
    pub(super) label: Option<String>,
    pub(super) require: Vec<Goal>,
    is_void_when_spoiled: bool,
    pub(super) reports: Reports,
    has_progress: bool,
}

fn measure(
    setting: &Setting,
    plan: Plan,
    addresses: &[Address],
    stop: &Arc<AtomicBool>,
) -> Result<Status, Failure> {
    let plan = Arc::new(plan);
    // A file that cannot be written is known before the run, and not after it.
    let mut files = Files::create(&setting.reports)?;
    let mut log = files
        .hdr
        .take()
        .map(|file| hdr::Writer::new(file, &format!("load on {}", setting.endpoint)))
        .map(|log| log.with_label(setting.label.as_deref()));
    let mut live = Live::new(setting.has_progress);
    let crew = Crew {
        endpoint: &setting.endpoint,
        plan: &plan,
        threads: setting.threads,
        spin: setting.spin,
        start_at: setting.start_at,
        stop,
        is_watch_slow: log.is_some(),
        watched: live.every(),
    };
    let record = crew.work(addresses, &mut |sight| {
        live.show(&sight);
        match (sight, &mut log) {
            (Sight::Second(second, tally), Some(log)) => log
                .write(second, tally)
                .map_err(|error| unwritten("--hdr", &error)),
            _ => Ok(()),
        }
    });
    live.clear();
    let record = record?;
    if let Some(log) = log {
        log.close(&record)
            .map_err(|error| unwritten("--hdr", &error))?;
    }
    let table = table::render(setting, &plan, &record, Screen::of_output());
    let json = json::render(setting, &plan, &record);
    let page = || page::render(setting, &plan, &record);
    setting.reports.tell(&mut files, &json, page, &table)?;
    judge(setting, &plan, &record)
}

/// Whether the run did what it was to do.
fn judge(setting: &Setting, plan: &Plan, record: &Record) -> Result<Status, Failure> {
    let mut faults = Vec::new();
    let void = record.spoiled().filter(|_| setting.is_void_when_spoiled);
    faults.extend(void.map(|why| (Status::Spoiled, format!("the run is void: {why}"))));
    let unmet: Vec<String> = setting
        .require
        .iter()
        .filter(|goal| !goal.is_reached(record.measure(goal.measured())))
        .map(|goal| format!("{goal} ({})", record.words(goal.measured())))
        .collect();
    if !unmet.is_empty() {
        faults.push((Status::Unmet, format!("not met: {}", unmet.join(", "))));
    }
    let wrong = record.tally.troubles.get(Trouble::Mismatch);
    if wrong > 0 && plan.check != Check::None {
        faults.push((
            Status::Unmet,
            format!("{wrong} answers were not as expected"),
        ));
    }
    // The first decides the status, and all of them are told.
    if let Some((status, _)) = faults.first() {
        let words: Vec<&str> = faults.iter().map(|(_, words)| words.as_str()).collect();
        return Err(Failure::new(*status, words.join("; ")));
    }
    if let (Some(shortfall), false) = (record.shortfall(), record.is_open_loop) {
        return Err(Failure::new(Status::Failed, shortfall));
    }
    check_answered(record, plan)?;
    Ok(Status::Done)
}

/// A run in which nothing was answered is no run.
fn check_answered(record: &Record, plan: &Plan) -> Result<(), Failure> {
    if record.tally.answered + record.tally.left > 0 {
        return Ok(());
    }
    let tally = &record.tally;
    let why = match tally.troubles.iter().next() {
        Some((_, _, first)) => first.to_owned(),
        None if tally.lost() > 0 => format!("{} of {} were lost", tally.lost(), tally.due()),
        None if tally.unsent > 0 => format!("{} of {} were not sent", tally.unsent, tally.due()),
        None => "nothing was measured".to_owned(),
    };
    let first = tally.troubles.iter().next();
    let hint = first
        .and_then(|(trouble, ..)| hint(trouble, plan))
        .map_or(String::new(), |hint| format!("; {hint}"));
    Err(Failure::new(
        Status::Failed,
        format_args!("no message was answered: {why}{hint}"),
    ))
}

/// What to do where something goes wrong because the target speaks otherwise than it was described.
fn hint(trouble: Trouble, plan: &Plan) -> Option<&'static str> {
    match trouble {
        Trouble::ClosedEarly if !plan.churn && plan.response != Response::None => {
            Some("if the target closes after each answer, add --churn")
        }
        Trouble::Unasked if plan.response != Response::Datagram => Some(
            "if answers are longer than --response says, say where one ends: until:TEXT, fixed:N \
             or prefix:WIDTH",
        ),
        _ => None,
    }
}

/// More connections than descriptors would fail one by one, late.
fn check_descriptors(connections: u64) -> Result<(), Failure> {
    let descriptors = raise_descriptor_limit();
    let most = descriptors.saturating_sub(SPARE_DESCRIPTORS) as u64;
    if connections <= most {
        return Ok(());
    }
    let why = format!(
        "{connections} connections do not fit into {descriptors} descriptors: ask for {most} at \
         most, or raise the hard limit (ulimit -Hn)"
    );
    Err(Failure::new(Status::Failed, why))
}

/// The first interrupt ends the run, and what there is is reported; the second ends the program.
fn catch_interrupts() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the flag is not yet set where the first one looks at it.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| {
                Failure::new(
                    Status::Failed,
                    format_args!("cannot catch signals: {error}"),
                )
            })?;
    }
    Ok(stop)
}
