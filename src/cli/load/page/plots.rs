//! The plots of a run.

use std::time::Duration;

use mynah::load::{Column, Distribution, ROWS, Timeline, row_start};

use super::super::bars::bars;
use super::super::record::Record;
use super::super::units::{count, many, rate, time as words};
use super::frame::{CLASSES, Curve, Plot, Scale, percent, span, time};

/// Columns of a heat map, at most: more would be narrower than a pixel of a small screen.
const COLUMNS: usize = 200;

/// The shades of a heat map, each as dark as its number.
const SHADES: usize = 8;

/// The axis that all plots over time share.
const TIME: &str = "time";

/// Curves of percentiles: how long it took so many of all messages.
pub(super) fn percentiles(runs: &[(String, &Distribution)]) -> String {
    let curve = |(index, (name, times)): (usize, &(String, &Distribution))| {
        let answered = times.answered();
        let share = answered.count() as f64 / times.count().max(1) as f64;
        let points = answered.histogram().iter_quantiles(8).map(|point| {
            let nanos = point.value_iterated_to().min(answered.histogram().max());
            (share * point.quantile_iterated_to(), nanos as f64 / 1e9)
        });
        // The last one stands at 100 %, which is infinitely far away.
        let points = points.filter(|(share, _)| *share < 1.0).collect();
        Curve::line(name, CLASSES[index % CLASSES.len()], points)
    };
    let curves: Vec<Curve> = runs.iter().enumerate().map(curve).collect();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points()
        .map(|(share, _)| -(1.0 - share).log10())
        .fold(1.0, f64::max);
    let nines =
        (0..=(4.0 * last) as u32).map(|quarter| 1.0 - 10f64.powf(-f64::from(quarter) / 4.0));
    let values = nines.map(|share| {
        let cells: Vec<String> = runs
            .iter()
            .map(|(name, times)| {
                let rank = (share * times.count() as f64).ceil() as u64;
                let at = times.answered().at_rank(rank.max(1));
                format!("{name} {}", at.map_or("unanswered".to_owned(), words))
            })
            .collect();
        let digits = if share > 0.99 { 3 } else { 1 };
        (
            share,
            format!("{:.digits$} %: {}", 100.0 * share, cells.join(", ")),
        )
    });
    Plot {
        height: 260,
        axis: "",
        x: (Scale::Nines(last), percent),
        y: (span(points().map(|(_, time)| *time)), time),
        values: values.collect(),
        ground: String::new(),
        curves,
    }
    .render()
}

/// How many took how long.
pub(super) fn histogram(times: &Distribution) -> String {
    let bars = bars(times, 60);
    let all = times.count().max(1) as f64;
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    let low = |from: Duration| from.as_secs_f64().max(1e-9);
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
        return String::new();
    };
    let x = Scale::Log(low(first.from), low(last.to));
    let plot = Plot {
        height: 200,
        axis: "",
        x: (x, time),
        y: (Scale::Linear(0.0, 1.05 * most as f64), rate),
        curves: vec![Curve::columns("", "c0", Vec::new(), 0.0)],
        ground: String::new(),
        values: bars
            .iter()
            .map(|bar| {
                let middle = (low(bar.from) * low(bar.to)).sqrt();
                let (from, to) = (words(bar.from), words(bar.to));
                let share = 100.0 * bar.count as f64 / all;
                (
                    middle,
                    format!("{from} to {to}: {} ({share:.3} %)", count(bar.count)),
                )
            })
            .collect(),
    };
    // Their widths differ on this scale, so they are drawn one by one.
    let path: String = bars
        .iter()
        .map(|bar| plot.rectangle((low(bar.from), low(bar.to)), (0.0, bar.count as f64)))
        .collect();
    Plot {
        ground: format!("<path class=\"fill c0\" d=\"{path}\"/>"),
        ..plot
    }
    .render()
}

/// Each response time of a run where it was meant to be sent: the darker, the more of them.
pub(super) fn heat(record: &Record) -> String {
    let timeline = record.timeline.folded(COLUMNS);
    let columns = timeline.columns();
    let used = |row: &usize| columns.iter().any(|column| column.rows[*row] > 0);
    let rows: Vec<usize> = (0..ROWS).filter(used).collect();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return String::new();
    };
    let has_lost = columns.iter().any(|column| column.unanswered > 0);
    let (low, high) = (seconds(row_start(*first)), seconds(row_start(last + 1)));
    // What was not answered stands above, apart.
    let top = if has_lost {
        high * (high / low).powf(0.1).max(1.3)
    } else {
        high
    };
    let width = timeline.length().as_secs_f64();
    let plot = Plot {
        height: 260,
        axis: TIME,
        x: over(record),
        y: (Scale::Log(low, top), time),
        curves: Vec::new(),
        ground: String::new(),
        values: columns
            .iter()
            .enumerate()
            .map(|(index, column)| (middle(index, width), moment(index, width, column)))
            .collect(),
    };
    let most = columns.iter().flat_map(|column| column.rows).max();
    let shade = |number: f64, most: f64| {
        let part = (1.0 + number).ln() / (1.0 + most).ln();
        ((part * SHADES as f64).ceil() as usize).clamp(1, SHADES)
    };
    let mut paths = [const { String::new() }; SHADES];
    let mut lost = String::new();
    for (index, column) in columns.iter().enumerate() {
        let x = (index as f64 * width, (index + 1) as f64 * width);
        for row in *first..=*last {
            let number = column.rows[row];
            if number > 0 {
                let y = (seconds(row_start(row)), seconds(row_start(row + 1)));
                let shade = shade(f64::from(number), f64::from(most.unwrap_or(1)));
                paths[shade - 1].push_str(&plot.rectangle(x, y));
            }
        }
        if column.unanswered > 0 {
            lost.push_str(&plot.rectangle(x, ((high * top).sqrt(), top)));
        }
    }
    let mut ground: String = paths
        .iter()
        .zip(1..)
        .map(|(path, shade)| {
            let opacity = f64::from(shade) / SHADES as f64;
            format!("<path class=\"heat\" fill-opacity=\"{opacity}\" d=\"{path}\"/>")
        })
        .collect();
    ground.push_str(&format!("<path class=\"lost\" d=\"{lost}\"/>"));
    Plot { ground, ..plot }.render()
}

/// The rate, the errors and the generator's part, over the same time.
pub(super) fn course(record: &Record) -> String {
    let timeline = record.timeline.folded(COLUMNS);
    [
        rates(record, &timeline),
        errors(record),
        generators(record, &timeline),
    ]
    .concat()
}

fn rates(record: &Record, timeline: &Timeline) -> String {
    let width = timeline.length().as_secs_f64();
    // The last column may be a sliver, whose rate nobody saw.
    let whole = (record.measured.as_secs_f64() / width + 1e-6)
        .floor()
        .max(1.0) as usize;
    let columns = timeline.columns().iter().take(whole);
    let points: Vec<(f64, f64)> = columns
        .enumerate()
        .map(|(index, column)| (middle(index, width), column.completed as f64 / width))
        .collect();
    let what = if record.has_answers {
        "answers/s"
    } else {
        "messages/s"
    };
    let highest = highest(&points);
    Plot {
        height: 150,
        axis: TIME,
        x: over(record),
        y: (Scale::Linear(0.0, 1.1 * highest), rate),
        values: points
            .iter()
            .map(|(at, value)| (*at, format!("{}: {} {what}", time(*at), rate(*value))))
            .collect(),
        curves: vec![Curve::line(what, "c0", points)],
        ground: String::new(),
    }
    .render()
}

fn errors(record: &Record) -> String {
    let seconds = record.seconds.iter();
    let points: Vec<(f64, f64)> = seconds
        .map(|second| (second.at.as_secs_f64(), second.errors as f64))
        .collect();
    if highest(&points) == 0.0 || record.tally.troubles.total() == 0 {
        return String::new();
    }
    Plot {
        height: 90,
        axis: TIME,
        x: over(record),
        y: (Scale::Linear(0.0, 1.1 * highest(&points)), rate),
        values: points
            .iter()
            .map(|(at, number)| {
                let errors = many(*number as u64, "error");
                (
                    at + 0.5,
                    format!("the second from {} on: {errors}", time(*at)),
                )
            })
            .collect(),
        curves: vec![Curve::columns("errors, each second", "bad", points, 1.0)],
        ground: String::new(),
    }
    .render()
}

/// The most that the generator added, and the longest times beside it.
fn generators(record: &Record, timeline: &Timeline) -> String {
    let width = timeline.length().as_secs_f64();
    let points = |of: fn(&Column) -> Duration| -> Vec<(f64, f64)> {
        let columns = timeline.columns().iter().enumerate();
        columns
            .map(|(index, column)| (middle(index, width), seconds(of(column))))
            .filter(|(_, time)| *time > 0.0)
            .collect()
    };
    let curves = vec![
        Curve::line(
            "longest response time",
            "c0",
            points(|column| column.longest),
        ),
        Curve::line(
            "most that the generator added",
            "c1",
            points(|column| column.added),
        ),
    ];
    if curves[0].points.is_empty() {
        return String::new();
    }
    let times = curves.iter().flat_map(|curve| &curve.points);
    Plot {
        height: 150,
        axis: TIME,
        x: over(record),
        y: (span(times.map(|(_, time)| *time)), time),
        values: timeline
            .columns()
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let at = middle(index, width);
                let (longest, added) = (words(column.longest), words(column.added));
                (
                    at,
                    format!("{}: longest {longest}, generator's {added}", time(at)),
                )
            })
            .collect(),
        curves,
        ground: String::new(),
    }
    .render()
}

/// What is known of a column.
fn moment(index: usize, width: f64, column: &Column) -> String {
    let at = |percentile| column.percentile(percentile).map_or("-".to_owned(), words);
    let lost = match column.unanswered {
        0 => String::new(),
        number => format!(", {} unanswered", count(number)),
    };
    format!(
        "{} to {}: {} answered{lost}; median {}, 99 % {}, longest {}",
        time(index as f64 * width),
        time((index + 1) as f64 * width),
        count(column.answered()),
        at(50.0),
        at(99.0),
        words(column.longest)
    )
}

/// The axis of a run's time.
fn over(record: &Record) -> (Scale, super::frame::Name) {
    (
        Scale::Linear(0.0, record.measured.as_secs_f64().max(1e-3)),
        time,
    )
}

fn middle(index: usize, width: f64) -> f64 {
    (index as f64 + 0.5) * width
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn highest(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(_, value)| *value).fold(0.0, f64::max)
}

/// A curve for each run over its own time.
pub(super) fn over_time(
    name: super::frame::Name,
    is_log: bool,
    length: Duration,
    runs: &[(String, Vec<(f64, f64)>)],
) -> String {
    let curves: Vec<Curve> = runs
        .iter()
        .zip(CLASSES.iter().cycle())
        .map(|((name, points), class)| Curve::line(name, class, points.clone()))
        .collect();
    let all = || runs.iter().flat_map(|(_, points)| points);
    let y = if is_log {
        span(all().map(|(_, value)| *value))
    } else {
        let highest = all().map(|(_, value)| *value).fold(0.0, f64::max);
        Scale::Linear(0.0, 1.1 * highest.max(1.0))
    };
    let places = all().map(|(at, _)| *at);
    let mut places: Vec<f64> = places.collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let values = places.into_iter().map(|at| {
        let near = |points: &[(f64, f64)]| {
            let distance = |(place, _): &(f64, f64)| (place - at).abs();
            let by_distance =
                |one: &&(f64, f64), other: &&(f64, f64)| distance(one).total_cmp(&distance(other));
            points.iter().min_by(by_distance).map(|(_, value)| *value)
        };
        let cells: Vec<String> = runs
            .iter()
            .filter_map(|(run, points)| Some(format!("{run} {}", name(near(points)?))))
            .collect();
        (at, format!("{}: {}", time(at), cells.join(", ")))
    });
    Plot {
        height: 170,
        axis: TIME,
        x: (Scale::Linear(0.0, seconds(length).max(1e-3)), time),
        y: (y, name),
        values: values.collect(),
        curves,
        ground: String::new(),
    }
    .render()
}
