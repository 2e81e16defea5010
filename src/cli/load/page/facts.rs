//! What a page says of a run in numbers and words.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use mynah::load::{Distribution, Mark, Plan};

use super::super::Setting;
use super::super::machine::Machine;
use super::super::outputs::command_line;
use super::super::record::Record;
use super::super::units::{count, many, mark, rate, time};
use super::super::{stages, table};
use super::html::{self, escaped};

/// The numbers that matter most.
pub(super) fn cards(record: &Record) -> String {
    let tally = &record.tally;
    let at = |percentile| tally.response.percentile(percentile);
    let (total, lost) = (tally.troubles.total(), tally.lost());
    let what = if record.has_answers {
        "answers/s"
    } else {
        "messages/s"
    };
    let mut cards = vec![(rate(record.rate()), what.to_owned(), false)];
    for (value, what) in [
        (at(50.0), "median"),
        (at(99.0), "99 %"),
        (at(99.9), "99.9 %"),
        (tally.response.max(), "longest"),
    ] {
        let is_unanswered = matches!(value, Mark::Unanswered(_));
        let note = if is_unanswered { " (unanswered)" } else { "" };
        cards.push((mark(value), format!("{what}{note}"), is_unanswered));
    }
    cards.push((count(total), "errors".to_owned(), total > 0));
    if record.is_datagram && record.has_answers {
        cards.push((count(lost), "datagrams lost".to_owned(), lost > 0));
    }
    let mut text = "<div class=\"cards\">".to_owned();
    for (value, what, is_bad) in cards {
        let class = if is_bad { "card bad" } else { "card" };
        let (value, what) = (escaped(&value), escaped(&what));
        let _ = write!(
            text,
            "<div class=\"{class}\"><b>{value}</b><span>{what}</span></div>"
        );
    }
    text + "</div>\n"
}

/// A table of times.
pub(super) fn times(rows: &[(&str, &Distribution)]) -> String {
    let Some((_, first)) = rows.first() else {
        return String::new();
    };
    let names = table::measures(first).map(|(name, _)| name);
    let head: Vec<String> = std::iter::once(String::new())
        .chain(names)
        .chain(["count".to_owned()])
        .collect();
    let row = |(name, times): &(&str, &Distribution)| {
        let cells = table::measures(times).map(|(_, cell)| mark(cell));
        std::iter::once((*name).to_owned())
            .chain(cells)
            .chain([count(times.count())])
            .collect()
    };
    html::numbers(&head, &rows.iter().map(row).collect::<Vec<_>>())
}

/// A line for each stage.
pub(super) fn stages(plan: &Plan, record: &Record) -> String {
    if plan.stages.is_empty() {
        return String::new();
    }
    let head = ["stage", "due", "answered", "p50", "p90", "p99"].map(str::to_owned);
    html::numbers(&head, &stages::rows(plan, record))
}

/// What went wrong.
pub(super) fn errors(record: &Record) -> String {
    let troubles = &record.tally.troubles;
    if troubles.total() == 0 {
        return "<p>None.</p>".to_owned();
    }
    let rows: Vec<(String, String)> = troubles
        .iter()
        .map(|(trouble, number, first)| {
            let said = format!("{}, the first: {first}", count(number));
            (trouble.to_string(), said)
        })
        .collect();
    html::words(&rows)
}

/// A time of the wall clock.
pub(super) fn date(at: SystemTime) -> String {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    mynah::service::rfc3339(since).to_string()
}

/// What was asked for, and where it ran.
pub(super) fn run(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let (tally, machine) = (&record.tally, Machine::this());
    let off = |length: Duration| {
        if length.is_zero() {
            "none".to_owned()
        } else {
            time(length)
        }
    };
    let mut rows = vec![
        ("measured from", date(record.started)),
        ("measured for", time(record.measured)),
        ("warm-up", off(plan.warmup)),
        ("command", command_line().join(" ")),
        (
            "target",
            format!("{} ({})", setting.endpoint, record.address),
        ),
    ];
    if let Some(label) = &setting.label {
        rows.push(("label", label.clone()));
    }
    rows.push((
        "message",
        format!("{} bytes", count(plan.payload.size() as u64)),
    ));
    if let Some(message) = &setting.message {
        rows.push(("text", message.clone()));
    }
    let timeout = plan.timeout.map_or("none".to_owned(), time);
    rows.push(("timeout", timeout));
    rows.push(("messages", table::fates(record)));
    if record.is_datagram && record.has_answers {
        rows.push(("datagrams", table::disorder(tally)));
    }
    let (sent, received) = (count(tally.bytes_sent), count(tally.bytes_received));
    rows.push(("bytes", format!("{sent} sent, {received} received")));
    rows.push((
        "connections",
        format!(
            "{} asked for, {} opened, {} open at the end",
            count(plan.connections),
            count(tally.opened),
            count(record.open)
        ),
    ));
    let late = match tally.lateness.percentile(99.0) {
        Mark::Time(late) => format!(
            ", sent 99 % of the messages within {} of their time",
            time(late)
        ),
        _ => String::new(),
    };
    let threads = many(setting.threads.into(), "thread");
    let busy = 100.0 * record.busy;
    let which = if setting.threads == 1 {
        ""
    } else {
        "the busiest "
    };
    rows.push((
        "generator",
        format!("{threads}, {which}busy for {busy:.0} % of the time{late}"),
    ));
    if let Some(withheld) = record.host.words() {
        rows.push(("withheld", withheld));
    }
    let Machine {
        processor,
        processors,
        system,
        kernel,
        ..
    } = machine;
    rows.push((
        "machine",
        format!("{processors} × {processor}, {system} {kernel}"),
    ));
    rows.push(("mynah", env!("CARGO_PKG_VERSION").to_owned()));
    let rows: Vec<(String, String)> = rows
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    html::words(&rows)
}
