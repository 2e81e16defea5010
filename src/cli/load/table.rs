//! The report for who reads: what matters most first, one number a cell, the unit beside it.

use std::fmt::Write;
use std::time::Duration;

use mynah::load::{Check, Found, Law, Plan, Response, Tally, Times};

use super::Setting;
use super::record::{Record, Searched};

/// The percentiles of the table.
pub(crate) const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

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
    if record.has_answers {
        line(&format!(
            "  {:<12}{} sent, {} answered{}",
            "messages",
            count(tally.sent),
            count(tally.answered),
            rest(record)
        ));
    } else {
        line(&format!(
            "  {:<12}{} sent{}",
            "messages",
            count(tally.sent),
            rest(record)
        ));
    }
    if record.is_datagram && record.has_answers {
        line(&format!("  {:<12}{}", "datagrams", fates(tally)));
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
        tally
            .lateness
            .percentile(99.0)
            .map_or(String::new(), |late| format!(
                ", sent 99 % within {} of their time",
                time(late)
            ))
    ));
    line("");
    times_table(&mut text, &record.times());
    troubles(&mut text, record);
    text
}

/// A run in a line.
pub(super) fn headline(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let law = match plan.law {
        Law::Open { rate } => format!("open loop at {}/s", self::rate(rate.get())),
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
    let churn = if plan.churn {
        ", a connection for each message"
    } else {
        ""
    };
    let check = match (&plan.check, &plan.response) {
        (Check::None, Response::None) => ", no answers",
        (Check::None, _) => "",
        (Check::Echo | Check::Text(_), _) => ", every byte compared",
    };
    let cut = if record.was_stopped {
        ", stopped early"
    } else {
        ""
    };
    format!(
        "{}: {law}, {} × {} B{depth}{churn}{check}{threads}, {} measured{cut}",
        record.address,
        count(plan.connections),
        count(plan.payload.size() as u64),
        time(record.measured),
    )
}

fn rest(record: &Record) -> String {
    let parts = [
        (record.tally.unanswered, "still on their way at the end"),
        (record.tally.unsent, "not sent in time"),
    ];
    parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!(", {} {what}", count(*number)))
        .collect()
}

/// What became of datagrams.
pub(super) fn fates(tally: &Tally) -> String {
    let fates = [
        (tally.lost(), "lost"),
        (tally.late, "late"),
        (tally.duplicate, "duplicate"),
        (tally.reordered, "reordered"),
    ];
    fates
        .map(|(number, fate)| format!("{} {fate}", count(number)))
        .join(", ")
}

/// What is told of times, each measure with its name.
pub(crate) fn measures(times: &Times) -> impl Iterator<Item = (String, Option<Duration>)> {
    let percentiles =
        PERCENTILES.map(|percentile| (format!("p{percentile}"), times.percentile(percentile)));
    percentiles.into_iter().chain([
        ("max".to_owned(), times.max()),
        ("mean".to_owned(), times.mean()),
    ])
}

/// Those kinds of times of which there are any.
pub(crate) fn there<'t>(times: &[(&'static str, &'t Times)]) -> Vec<(&'static str, &'t Times)> {
    times
        .iter()
        .copied()
        .filter(|(_, times)| times.count() > 0)
        .collect()
}

/// A table of times.
pub(crate) fn times_table(text: &mut String, rows: &[(&str, &Times)]) {
    if rows.is_empty() {
        return;
    }
    let head: String = PERCENTILES
        .iter()
        .map(|percentile| format!("{:>10}", format!("p{percentile}")))
        .collect();
    let _ = writeln!(text, "  {:<14}{head}{:>10}{:>10}", "", "max", "mean");
    for (name, times) in rows {
        let cells: String = measures(times)
            .map(|(_, cell)| format!("{:>10}", cell.map_or("-".to_owned(), time)))
            .collect();
        let _ = writeln!(text, "  {name:<14}{cells}");
    }
}

fn troubles(text: &mut String, record: &Record) {
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
    }
}

/// The report of a search.
pub(super) fn render_search(setting: &Setting, plan: &Plan, searched: &Searched) -> String {
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
            "NOTE: the generator was too slow where it broke: the target may keep it at a higher rate; add --threads, or processors"
        );
    }
    let _ = writeln!(
        text,
        "{}: {} × {} B, two of three trials decide, {} each after {} of warm-up{}; the closed loop came to {}/s\n",
        closed.address,
        count(plan.connections),
        count(plan.payload.size() as u64),
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
        let cell = |time: Option<Duration>| time.map_or("-".to_owned(), self::time);
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

/// A time, to three digits: `123 us`.
pub(crate) fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match time.as_nanos() {
        0..1_000 => (nanos, "ns"),
        1_000..1_000_000 => (nanos / 1e3, "us"),
        1_000_000..1_000_000_000 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// Three digits, without zeros that say nothing.
fn digits(value: f64) -> String {
    let text = match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A rate: whole where it is large.
pub(crate) fn rate(rate: f64) -> String {
    if rate >= 100.0 {
        count(rate.round() as u64)
    } else {
        digits(rate)
    }
}

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes, to three digits.
fn size(bytes: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "KB")];
    let (size, unit) = units
        .into_iter()
        .find(|(size, _)| bytes >= *size)
        .unwrap_or((1.0, "B"));
    format!("{} {unit}", digits(bytes / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_their_unit() {
        for (nanos, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1 us"),
            (12_340, "12.3 us"),
            (345_678, "346 us"),
            (1_500_000, "1.5 ms"),
            (10_000_000_000, "10 s"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [rate(0.5), rate(99.95), rate(123_456.7)],
            ["0.5", "100", "123,457"]
        );
        assert_eq!(
            [
                size(0.0),
                size(999.0),
                size(1_500.0),
                size(9.1e6),
                size(2.34e9)
            ],
            ["0 B", "999 B", "1.5 KB", "9.1 MB", "2.34 GB"]
        );
    }
}
