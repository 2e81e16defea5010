//! The report as text: what matters most first, one number a cell, the unit beside it.

use std::fmt::Write;

use mynah::load::{Check, Distribution, Law, Lifetime, Mark, Matching, Plan, Response, Tally};

use super::Setting;
use super::record::Record;
use super::units::{count, mark, rate, size, time};

/// The percentiles of the table.
pub(crate) const PERCENTILES: [f64; 6] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// The report of a run.
pub(super) fn render(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        let _ = writeln!(text, "{words}");
    };
    [record.bottleneck(), record.shortfall()]
        .iter()
        .flatten()
        .for_each(|warning| line(&format!("NOTE: {warning}")));
    line(&headline(setting, plan, record));
    line("");
    let tally = &record.tally;
    let what = if record.has_answers {
        "answers"
    } else {
        "messages"
    };
    line(&format!("  {:<12}{} {what}/s", "rate", rate(record.rate())));
    line(&format!(
        "  {:<12}{}/s sent, {}/s received",
        "bytes",
        size(record.throughput(tally.bytes_sent)),
        size(record.throughput(tally.bytes_received))
    ));
    line(&format!("  {:<12}{}", "messages", fates(record)));
    if record.is_datagram && record.has_answers {
        let matching = match plan.matching {
            Matching::Order => "; answers are matched by their order, see --match",
            Matching::Header | Matching::Field(_) => "",
        };
        line(&format!(
            "  {:<12}{}{matching}",
            "datagrams",
            disorder(tally)
        ));
    }
    line(&format!(
        "  {:<12}{} opened, {} open at the end",
        if record.is_datagram {
            "sockets"
        } else {
            "connections"
        },
        count(tally.opened),
        count(record.open)
    ));
    line(&format!(
        "  {:<12}{}{}",
        "generator",
        format_args!("busy for {:.0} % of the time", 100.0 * record.busy),
        if let Mark::Time(late) = tally.lateness.percentile(99.0) {
            format!(", sent 99 % within {} of their time", time(late))
        } else {
            String::new()
        }
    ));
    if let Some(words) = record.host.words() {
        line(&format!("  {:<12}{words}", ""));
    }
    line("");
    times_table(&mut text, &record.times());
    super::stages::table(&mut text, plan, record);
    troubles(&mut text, plan, record);
    text
}

/// A run in a line.
pub(super) fn headline(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let law = match plan.law {
        Law::Open { rate } => super::stages::open_loop(plan, rate),
        Law::Closed { think } if think.is_zero() => "closed loop".to_owned(),
        Law::Closed { think } => format!("closed loop, {} between messages", time(think)),
    };
    let threads = if setting.threads == 1 {
        String::new()
    } else {
        format!(", {} threads", setting.threads)
    };
    let depth = match plan.depth {
        1 => String::new(),
        usize::MAX => ", any number in flight".to_owned(),
        depth => format!(", {depth} in flight each"),
    };
    let churn = match plan.lifetime {
        _ if plan.churn => ", a connection for each message".to_owned(),
        Some(Lifetime::Messages(messages)) => {
            format!(", a connection for each {} messages", count(messages))
        }
        Some(Lifetime::Time(lifetime)) => format!(", a connection each {}", time(lifetime)),
        None => String::new(),
    };
    let check = match (&plan.check, &plan.response) {
        (Check::None, Response::None) => ", no answers",
        (Check::None, _) => "",
        (Check::Echo | Check::Text(_), _) => ", every byte compared",
    };
    let most = if plan.payload.shortest() < plan.payload.size() {
        "up to "
    } else {
        ""
    };
    let cut = if record.was_stopped {
        ", stopped early"
    } else {
        ""
    };
    format!(
        "{}{}: {law}, {} × {most}{} B{depth}{churn}{check}{threads}, {} measured{cut}",
        super::stages::label(setting),
        record.address,
        count(plan.connections),
        count(plan.payload.size() as u64),
        time(record.measured),
    )
}

/// What became of the messages that were due: the parts add up.
pub(super) fn fates(record: &Record) -> String {
    let tally = &record.tally;
    let ends = [
        (tally.answered, "answered", record.has_answers),
        (tally.left, "sent", !record.has_answers),
        (tally.late, "late", record.is_datagram && record.has_answers),
        (
            tally.lost(),
            "lost",
            record.is_datagram && record.has_answers,
        ),
        (tally.failed, "failed", tally.failed > 0),
        (tally.unsent, "not sent", tally.unsent > 0),
    ];
    let parts: Vec<String> = ends
        .iter()
        .filter(|(.., is_told)| *is_told)
        .map(|(number, fate, _)| format!("{} {fate}", count(*number)))
        .collect();
    let rest = match tally.unanswered {
        0 => String::new(),
        number => format!("; {} of them still on their way at the end", count(number)),
    };
    format!("{} due: {}{rest}", count(tally.due()), parts.join(", "))
}

/// What else became of datagrams.
pub(super) fn disorder(tally: &Tally) -> String {
    format!(
        "{} duplicate, {} reordered",
        count(tally.duplicate),
        count(tally.reordered)
    )
}

/// What is told of times, each measure with its name.
pub(crate) fn measures(times: &Distribution) -> impl Iterator<Item = (String, Mark)> {
    let percentiles =
        PERCENTILES.map(|percentile| (format!("p{percentile}"), times.percentile(percentile)));
    let others = [
        ("max", times.max()),
        ("min", times.min()),
        ("mean", times.mean()),
        ("stddev", times.deviation()),
    ];
    let others = others.map(|(name, mark)| (name.to_owned(), mark));
    percentiles.into_iter().chain(others)
}

/// A table of times.
pub(crate) fn times_table(text: &mut String, rows: &[(&str, &Distribution)]) {
    let Some((_, first)) = rows.first() else {
        return;
    };
    let head: String = measures(first)
        .map(|(name, _)| format!("{name:>9}"))
        .collect();
    let _ = writeln!(text, "  {:<14}{head}", "");
    for (name, times) in rows {
        let cells: String = measures(times)
            .map(|(_, cell)| format!("{:>9}", mark(cell)))
            .collect();
        let _ = writeln!(text, "  {name:<14}{cells}");
    }
    let unanswered: u64 = rows
        .iter()
        .map(|(_, times)| times.waited().count())
        .max()
        .unwrap_or(0);
    if unanswered > 0 {
        let _ = writeln!(
            text,
            "  {:<14}{} were not answered: a time that lies among them is longer than it could be \
             measured (>)",
            "",
            count(unanswered)
        );
    }
}

fn troubles(text: &mut String, plan: &Plan, record: &Record) {
    let troubles = &record.tally.troubles;
    if troubles.total() == 0 {
        let _ = writeln!(text, "\n  no errors");
        return;
    }
    let _ = writeln!(text, "\n  {} errors", count(troubles.total()));
    for (trouble, number, first) in troubles.iter() {
        let _ = writeln!(
            text,
            "    {:<20}{:>10}   first: {first}",
            trouble.to_string(),
            count(number)
        );
        if let Some(hint) = super::hint(trouble, plan) {
            let _ = writeln!(text, "    {:<20}{hint}", "");
        }
    }
}
