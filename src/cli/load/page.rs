//! The report with plots: one page that needs nothing but a browser, with the plots drawn into
//! it.
//!
//! Must never fetch anything, and never show what came from outside other than as text.

use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use mynah::load::{Distribution, Mark, Plan};
use plotters::coord::ranged1d::{NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;

use super::Setting;
use super::machine::Machine;
use super::record::{Record, Second};
use super::table;
use super::units::{count, mark, rate, time};

/// Of a plot, in the units of the page; it is shown as wide as there is room.
const SIZE: (u32, u32) = (960, 330);

const BLUE: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
const ORANGE: RGBColor = RGBColor(0xd9, 0x6b, 0x1a);
const GREY: RGBColor = RGBColor(0x9a, 0xa3, 0xad);
const INK: RGBColor = RGBColor(0x33, 0x3b, 0x44);
const GRID: RGBColor = RGBColor(0xe6, 0xe9, 0xed);

const STYLE: &str = "
  :root { color-scheme: light }
  body { margin: 0; background: #f4f6f8; color: #222a33; font: 15px/1.5 system-ui, sans-serif }
  main { max-width: 1020px; margin: 0 auto; padding: 28px 20px 60px }
  h1 { font-size: 21px; margin: 0 0 2px } h2 { font-size: 16px; margin: 0 0 10px }
  .sub { color: #5b6672; margin: 0 0 18px }
  .note { background: #fff4e0; border-left: 4px solid #d98a1a; padding: 10px 14px;
    margin: 0 0 14px; border-radius: 4px }
  .cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
    margin: 0 0 18px }
  .card, section { background: #fff; border: 1px solid #dfe4e9; border-radius: 8px }
  .card { padding: 12px 14px }
  .card b { display: block; font-size: 22px; font-weight: 600; white-space: nowrap }
  .card span { color: #5b6672; font-size: 13px } .bad b { color: #b3261e }
  section { padding: 16px 18px; margin: 0 0 18px; overflow-x: auto }
  svg { width: 100%; height: auto; display: block }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
  td, th { padding: 5px 10px; text-align: right; border-bottom: 1px solid #edf0f3;
    white-space: nowrap; font-weight: normal }
  th { color: #5b6672 } td:first-child, th:first-child { text-align: left }
  table.words td { text-align: left; white-space: normal }
  table.words td:first-child { width: 11em; color: #5b6672; white-space: nowrap }
  tr:last-child td { border-bottom: 0 }
";

/// The page of a run.
pub(super) fn render(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let mut page = String::new();
    let title = format!("load on {}", record.address);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{}</h1>\n<p class=\"sub\">{}</p>\n",
        escaped(&title),
        escaped(&title),
        escaped(&table::headline(setting, plan, record))
    );
    for warning in [record.bottleneck(), record.shortfall()].iter().flatten() {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(warning));
    }
    cards(&mut page, record);
    if record.tally.response.answered().count() > 0 {
        section(&mut page, "Time by percentile", plot_percentiles(record));
        section(&mut page, "Times", times_table(record));
        section(
            &mut page,
            "Time of answers over the run",
            plot_times(record),
        );
    }
    section(
        &mut page,
        if record.has_answers {
            "Answers a second"
        } else {
            "Messages a second"
        },
        plot_rate(record),
    );
    section(&mut page, "Errors", errors_table(record));
    section(&mut page, "Run", run_table(setting, plan, record));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn cards(page: &mut String, record: &Record) {
    let tally = &record.tally;
    let at = |percentile| mark(tally.response.percentile(percentile));
    page.push_str("<div class=\"cards\">");
    let mut card = |value: String, what: &str, is_bad: bool| {
        let class = if is_bad { "card bad" } else { "card" };
        let _ = write!(
            page,
            "<div class=\"{class}\"><b>{}</b><span>{}</span></div>",
            escaped(&value),
            escaped(what)
        );
    };
    card(
        rate(record.rate()),
        if record.has_answers {
            "answers/s"
        } else {
            "messages/s"
        },
        false,
    );
    card(at(50.0), "median", false);
    card(at(99.0), "99 %", false);
    card(at(99.9), "99.9 %", false);
    card(mark(tally.response.max()), "longest", false);
    card(
        count(tally.troubles.total()),
        "errors",
        tally.troubles.total() > 0,
    );
    if tally.given_up > 0 {
        card(count(tally.lost()), "datagrams lost", tally.lost() > 0);
    }
    page.push_str("</div>\n");
}

fn section(page: &mut String, heading: &str, body: String) {
    if !body.is_empty() {
        let _ = writeln!(page, "<section>\n<h2>{heading}</h2>\n{body}\n</section>");
    }
}

fn times_table(record: &Record) -> String {
    let head: String = table::measures(&record.tally.response)
        .map(|(name, _)| format!("<th>{name}</th>"))
        .collect();
    let mut text = format!("<table><tr><th></th>{head}<th>count</th></tr>");
    for (name, times) in record.times() {
        let cells: String = table::measures(times)
            .map(|(_, cell)| format!("<td>{}</td>", escaped(&mark(cell))))
            .collect();
        let _ = write!(
            text,
            "<tr><td>{name}</td>{cells}<td>{}</td></tr>",
            count(times.count())
        );
    }
    text + "</table>"
}

fn errors_table(record: &Record) -> String {
    let troubles = &record.tally.troubles;
    if troubles.total() == 0 {
        return "<p>None.</p>".to_owned();
    }
    let mut text = "<table class=\"words\">".to_owned();
    for (trouble, number, first) in troubles.iter() {
        let _ = write!(
            text,
            "<tr><td>{trouble}</td><td>{}, the first: {}</td></tr>",
            count(number),
            escaped(first)
        );
    }
    text + "</table>"
}

fn run_table(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let (tally, machine) = (&record.tally, Machine::this());
    let mut rows = vec![
        (
            "target",
            format!("{} ({})", setting.endpoint, record.address),
        ),
        ("messages", table::fates(record)),
        (
            "bytes",
            format!(
                "{} sent, {} received",
                count(tally.bytes_sent),
                count(tally.bytes_received)
            ),
        ),
        (
            "connections",
            format!(
                "{} asked for, {} opened, {} open at the end",
                count(plan.connections),
                count(tally.opened),
                count(record.open)
            ),
        ),
    ];
    if record.is_datagram && record.has_answers {
        rows.push(("datagrams", table::disorder(tally)));
    }
    if let Some(message) = &setting.message {
        rows.push(("message", message.clone()));
    }
    let late = match tally.lateness.percentile(99.0) {
        Mark::Time(late) => format!(
            ", sent 99 % of the messages within {} of their time",
            time(late)
        ),
        _ => String::new(),
    };
    rows.push((
        "generator",
        format!(
            "{} threads, the busiest for {:.0} % of the time{late}",
            setting.threads,
            100.0 * record.busy
        ),
    ));
    rows.push((
        "machine",
        format!(
            "{} × {}, {} {}",
            machine.processors, machine.processor, machine.system, machine.kernel
        ),
    ));
    rows.push(("mynah", env!("CARGO_PKG_VERSION").to_owned()));
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<tr><td>{name}</td><td>{}</td></tr>", escaped(value)))
        .collect();
    format!("<table class=\"words\">{rows}</table>")
}

/// Text as text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Nines: how rare a time is that is longer, on a scale where 90 %, 99 % and 99.9 % are equally far
/// apart.
#[derive(Clone)]
struct Nines(Range<f64>);

impl Ranged for Nines {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.0.start) / (self.0.end - self.0.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: plotters::coord::ranged1d::KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        let half = f64::log10(2.0);
        std::iter::once(0.0)
            .chain([half])
            .chain((1..=12).map(f64::from))
            .filter(|nines| *nines <= self.0.end)
            .collect()
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

impl ValueFormatter<f64> for Nines {
    fn format(value: &f64) -> String {
        let percent = 100.0 * (1.0 - 10f64.powf(-value));
        let text = format!("{percent:.10}");
        format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A time of an axis, which is in milliseconds.
fn label(millis: f64) -> String {
    time(Duration::from_secs_f64((millis / 1e3).max(0.0)))
}

/// What a plot of times spans, on a logarithmic scale.
fn span(curves: &[Curve]) -> Range<f64> {
    let times = curves
        .iter()
        .flat_map(|(_, points, _)| points)
        .map(|(_, millis)| *millis);
    let (low, high) = times.fold((f64::MAX, f64::MIN), |(low, high), time| {
        (low.min(time), high.max(time))
    });
    let (low, high) = if low > high {
        (0.1, 1.0)
    } else {
        (low.max(1e-5), high.max(2e-5))
    };
    // The names of the lines stand above them.
    low * 0.8..high * 4.0
}

fn plot_percentiles(record: &Record) -> String {
    let curve = |times: &Distribution| -> Vec<(f64, f64)> {
        let share = times.answered().count() as f64 / times.count() as f64;
        let points = times.answered().histogram().iter_quantiles(8).map(|point| {
            (
                share * point.quantile_iterated_to(),
                point.value_iterated_to(),
            )
        });
        let nines = |quantile: f64| -(1.0 - quantile).log10();
        // The last one stands at 100 %, which is infinitely far away.
        points
            .filter(|(quantile, _)| *quantile < 1.0)
            .map(|(quantile, nanos)| (nines(quantile), nanos as f64 / 1e6))
            .collect()
    };
    let curves: Vec<Curve> = record
        .message_times()
        .into_iter()
        .zip([BLUE, ORANGE, GREY])
        .map(|((name, times), colour)| (name, curve(times), colour))
        .collect();
    let last = curves
        .iter()
        .flat_map(|(_, points, _)| points)
        .map(|(nines, _)| *nines)
        .fold(1.0, f64::max);
    let height = span(&curves);
    drawn(|root| {
        let mut chart =
            frame(root).build_cartesian_2d(Nines(0.0..last), height.clone().log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("answers that took no longer")
            .y_label_formatter(&|millis| label(*millis))
            .y_labels(7);
        style(&mut mesh)?;
        lines(&mut chart, &curves)
    })
}

/// Where the point of a second stands, in seconds.
fn middle(second: &Second) -> f64 {
    (second.at + second.length / 2).as_secs_f64()
}

fn plot_times(record: &Record) -> String {
    type Pick = fn(&Second) -> Mark;
    let picks: [(&str, Pick, RGBColor); 3] = [
        ("longest", |second| second.max, GREY),
        ("99 %", |second| second.p99, ORANGE),
        ("median", |second| second.p50, BLUE),
    ];
    let curves: Vec<Curve> = picks
        .into_iter()
        .map(|(name, pick, colour)| {
            let points = record
                .seconds
                .iter()
                .filter_map(|second| Some((middle(second), millis(pick(second).time()?))));
            (name, points.collect(), colour)
        })
        .collect();
    let height = span(&curves);
    over_time(record, &curves, |root, width| {
        let mut chart = frame(root).build_cartesian_2d(0.0..width, height.clone().log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("seconds")
            .y_label_formatter(&|millis| label(*millis))
            .y_labels(6);
        style(&mut mesh)?;
        lines(&mut chart, &curves)
    })
}

fn plot_rate(record: &Record) -> String {
    // What was left at the end is no full second; a sliver of one would stand for a rate that
    // nobody saw.
    let whole = record
        .seconds
        .iter()
        .filter(|second| second.length >= Duration::from_millis(500));
    let points: Vec<(f64, f64)> = whole.map(|second| (middle(second), second.rate)).collect();
    let highest = points
        .iter()
        .map(|(_, rate)| *rate)
        .fold(0.0, f64::max)
        .max(1.0);
    let curves = [("", points, BLUE)];
    over_time(record, &curves, |root, width| {
        let mut chart = frame(root).build_cartesian_2d(0.0..width, 0.0..highest * 1.15)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("seconds")
            .y_label_formatter(&|value| rate(*value))
            .y_labels(6);
        style(&mut mesh)?;
        line(&mut chart, "", &curves[0].1, BLUE)
    })
}

/// A line of a plot: its name, its points, its colour.
type Curve = (&'static str, Vec<(f64, f64)>, RGBColor);
type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A plot over the seconds of the run; nothing where there are not two of them.
fn over_time(record: &Record, curves: &[Curve], draw: impl Fn(&Root<'_>, f64) -> Drawn) -> String {
    if curves.iter().all(|(_, points, _)| points.len() < 2) {
        return String::new();
    }
    let width = record.measured.as_secs_f64().max(1.0);
    drawn(|root| draw(root, width))
}

/// The text of a plot; nothing where it cannot be drawn.
fn drawn(draw: impl Fn(&Root<'_>) -> Drawn) -> String {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        if let Err(error) = draw(&root).and_then(|()| Ok(root.present()?)) {
            log::warn!("a plot cannot be drawn: {error}");
        }
    }
    text
}

fn frame<'a, 'b>(root: &'a Root<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut chart = ChartBuilder::on(root);
    chart
        .margin(6)
        .margin_right(28)
        .x_label_area_size(46)
        .y_label_area_size(70);
    chart
}

fn style<X, Y, XT, YT>(mesh: &mut plotters::chart::MeshStyle<'_, '_, X, Y, SVGBackend<'_>>) -> Drawn
where
    X: Ranged<ValueType = XT> + ValueFormatter<XT>,
    Y: Ranged<ValueType = YT> + ValueFormatter<YT>,
{
    let text = ("sans-serif", 14).into_font().color(&INK);
    mesh.label_style(text)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .draw()?;
    Ok(())
}

fn line<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    name: &str,
    points: &[(f64, f64)],
    colour: RGBColor,
) -> Drawn
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let drawn = chart.draw_series(LineSeries::new(
        points.iter().copied(),
        colour.stroke_width(2),
    ))?;
    if !name.is_empty() {
        drawn
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3)));
    }
    Ok(())
}

/// All lines, and their names.
fn lines<'a, 'b: 'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
    curves: &[Curve],
) -> Drawn
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for (name, points, colour) in curves {
        line(chart, name, points, *colour)?;
    }
    let text = ("sans-serif", 14).into_font().color(&INK);
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(text)
        .draw()?;
    Ok(())
}
