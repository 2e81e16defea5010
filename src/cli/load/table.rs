//! The report as text: what matters most first, one number a cell, the unit beside it.

use std::fmt::Write;

use mynah::load::{Check, Distribution, Law, Lifetime, Mark, Matching, Plan, Response, Tally};

use super::Setting;
use super::bars::bars;
use super::record::Record;
use super::units::{bits, count, many, mark, rate, size, time};

/// A message of so many bytes is one of many: what counts is bytes.
const BULK: usize = 4096;

/// The width of a name in the table of times, of a measure at least, and between measures.
const NAME: usize = 16;
const CELL: usize = 7;
const GAP: usize = 2;

/// The percentiles of the table.
pub(crate) const PERCENTILES: [f64; 6] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// The report of a run.
pub(super) fn render(setting: &Setting, plan: &Plan, record: &Record, screen: Screen) -> String {
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
        "  {:<12}{} sent, {} received",
        "bytes",
        throughput(plan, record.throughput(tally.bytes_sent)),
        throughput(plan, record.throughput(tally.bytes_received))
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
    times_table(&mut text, &record.times(), screen);
    if screen.has_blocks {
        histogram(&mut text, &tally.response);
    }
    super::stages::table(&mut text, plan, record);
    troubles(&mut text, plan, record);
    text
}

/// What the table is shown on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    columns: usize,
    /// Whether it may draw.
    has_blocks: bool,
}

impl Screen {
    /// Standard output: a terminal as wide as it is, anything else as wide as need be.
    pub(crate) fn of_output() -> Screen {
        let output = std::io::stdout();
        let is_terminal = std::io::IsTerminal::is_terminal(&output);
        let size = is_terminal.then(|| rustix::termios::tcgetwinsize(&output).ok());
        let columns = size.flatten().map_or(0, |size| usize::from(size.ws_col));
        Screen {
            // A terminal that does not know its width says that it has none.
            columns: if columns == 0 { usize::MAX } else { columns },
            has_blocks: is_terminal,
        }
    }
}

/// Bytes a second; of a run that is about them, bits as well.
fn throughput(plan: &Plan, bytes: f64) -> String {
    let is_bulk = plan.payload.size() >= BULK || plan.response == Response::None;
    if is_bulk {
        format!("{}/s ({})", size(bytes), bits(bytes))
    } else {
        format!("{}/s", size(bytes))
    }
}

/// Response times in classes, drawn with blocks.
fn histogram(text: &mut String, times: &Distribution) {
    const WIDTH: f64 = 48.0;
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let bars = bars(times, 16);
    let unanswered = times.waited().count();
    let most = bars.iter().map(|bar| bar.count).chain([unanswered]).max();
    let most = most.unwrap_or(0).max(1) as f64;
    let mut line = |name: String, number: u64| {
        // What there is shows, however little it is.
        let eighths = (8.0 * WIDTH * number as f64 / most).ceil() as usize;
        let mut drawn = "█".repeat(eighths / 8);
        if eighths % 8 > 0 {
            drawn.push(EIGHTHS[eighths % 8]);
        }
        let _ = writeln!(text, "  {name:>14}{:>12}  {drawn}", count(number));
    };
    bars.iter()
        .for_each(|bar| line(format!("≤ {}", time(bar.to)), bar.count));
    if unanswered > 0 {
        line("unanswered".to_owned(), unanswered);
    }
}

/// A run in a line.
pub(super) fn headline(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let law = match plan.law {
        Law::Open { rate } => super::stages::open_loop(plan, rate),
        Law::Closed { think } if think.is_zero() => "closed loop".to_owned(),
        Law::Closed { think } => format!("closed loop, {} between messages", time(think)),
    };
    let threads = threads(setting);
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

/// How many threads, where it is not one.
fn threads(setting: &Setting) -> String {
    match setting.threads {
        1 => String::new(),
        number => format!(", {}", many(number.into(), "thread")),
    }
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

/// A table of times. What does not fit beside the percentiles stands below them.
pub(crate) fn times_table(text: &mut String, rows: &[(&str, &Distribution)], screen: Screen) {
    let Some((_, first)) = rows.first() else {
        return;
    };
    // Each measure is a column: its name, and a cell for each row.
    let columns: Vec<Vec<String>> = measures(first)
        .enumerate()
        .map(|(index, (name, _))| {
            let cell = |(_, times): &(&str, &Distribution)| {
                let cell = measures(times).nth(index);
                cell.map_or(String::new(), |(_, cell)| mark(cell))
            };
            std::iter::once(name).chain(rows.iter().map(cell)).collect()
        })
        .collect();
    let width = |column: &Vec<String>| {
        let longest = column.iter().map(|cell| cell.chars().count()).max();
        longest.unwrap_or(0).max(CELL) + GAP
    };
    let is_wide = NAME + columns.iter().map(width).sum::<usize>() > screen.columns;
    let block = if is_wide {
        PERCENTILES.len()
    } else {
        columns.len()
    };
    for (index, block) in columns.chunks(block).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let names = std::iter::once("").chain(rows.iter().map(|(name, _)| *name));
        for (line, name) in names.enumerate() {
            let cells: String = block
                .iter()
                .map(|column| format!("{:>1$}", column[line], width(column)))
                .collect();
            let _ = writeln!(text, "  {name:<14}{cells}");
        }
    }
    let unanswered = rows.iter().map(|(_, times)| times.waited().count()).max();
    if let Some(unanswered @ 1..) = unanswered {
        let _ = writeln!(
            text,
            "  >: at least, because {} not answered",
            were(unanswered)
        );
    }
}

/// `1 message was`, `2 messages were`.
pub(super) fn were(number: u64) -> String {
    let verb = if number == 1 { "was" } else { "were" };
    format!("{} {verb}", many(number, "message"))
}

fn troubles(text: &mut String, plan: &Plan, record: &Record) {
    let troubles = &record.tally.troubles;
    if troubles.total() == 0 {
        let _ = writeln!(text, "\n  no errors");
        return;
    }
    let _ = writeln!(text, "\n  {}", many(troubles.total(), "error"));
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
