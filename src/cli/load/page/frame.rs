//! A plot: curves over two axes, as SVG in a frame of HTML.
//!
//! Owns the geometry. The SVG stretches to any width, and the text stands outside of it, so that
//! it is as large on a phone as elsewhere. Values for the pointer lie in an attribute, as text.

use std::fmt::Write;
use std::time::Duration;

use super::super::units;
use super::html::escaped;

/// The width of an SVG in its own units; its height is that of the plot in pixels.
const WIDTH: f64 = 1000.0;

/// What an axis spans, and how.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Linear(f64, f64),
    Log(f64, f64),
    /// Nines: how rare a longer time is. 90 %, 99 % and 99.9 % are equally far apart, from 0 to so
    /// many nines.
    Nines(f64),
}

impl Scale {
    /// Where a value stands, from 0 to 1.
    pub(super) fn at(self, value: f64) -> f64 {
        let part = match self {
            Scale::Linear(low, high) => (value - low) / (high - low),
            Scale::Log(low, high) => (value / low).ln() / (high / low).ln(),
            Scale::Nines(most) => -(1.0 - value).log10() / most,
        };
        if part.is_nan() {
            0.0
        } else {
            part.clamp(0.0, 1.0)
        }
    }

    /// Values that are worth a mark, about `most` of them.
    fn marks(self, most: usize) -> Vec<f64> {
        match self {
            Scale::Linear(low, high) => {
                let step = nice((high - low) / most as f64);
                let first = (low / step).ceil() as i64;
                let last = (high / step + 1e-9).floor() as i64;
                (first..=last).map(|index| index as f64 * step).collect()
            }
            Scale::Log(low, high) => {
                let decades = (high / low).log10();
                let bounds: &[f64] = match decades {
                    few if few < 3.2 => &[1.0, 2.0, 5.0],
                    _ => &[1.0],
                };
                let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
                let all = (first..=last)
                    .flat_map(|power| bounds.iter().map(move |bound| bound * 10f64.powi(power)));
                all.filter(|value| (low..=high).contains(value)).collect()
            }
            Scale::Nines(most) => [0.0, 0.5]
                .into_iter()
                .chain((1..=12).map(|nines| 1.0 - 10f64.powi(-nines)))
                .filter(|share| -(1.0 - share).log10() <= most + 1e-9)
                .collect(),
        }
    }
}

/// A logarithmic scale of times, in seconds, from a round one to a round one.
pub(super) fn span(times: impl Iterator<Item = f64>) -> Scale {
    let (low, high) = times
        .filter(|time| *time > 0.0)
        .fold((f64::MAX, f64::MIN), |(low, high), time| {
            (low.min(time), high.max(time))
        });
    if low > high {
        return Scale::Log(1e-4, 1e-2);
    }
    // The largest round time below is the inverse of the smallest round rate above.
    let (low, high) = (1.0 / nice(1.0 / low.max(1e-8)), nice(high.max(2e-8)));
    Scale::Log(low, if high > low { high } else { 2.0 * low })
}

/// A step of 1, 2 or 5 times a power of ten that is no less than `step`.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps.into_iter().find(|nice| *nice >= step).unwrap_or(step)
}

/// What a value of an axis is called.
pub(super) type Name = fn(f64) -> String;

/// A time, which axes hold in seconds.
pub(super) fn time(seconds: f64) -> String {
    if seconds == 0.0 {
        return "0 s".to_owned();
    }
    units::time(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A share of all.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.10}", 100.0 * share);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Line,
    /// Columns from the ground, each as wide as it is.
    Columns,
}

/// Points of one kind.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    /// Its colour: a class of the page.
    pub(super) class: &'static str,
    pub(super) shape: Shape,
    pub(super) points: Vec<(f64, f64)>,
    /// How wide a column is.
    pub(super) width: f64,
}

/// The colours of curves, in turn.
pub(super) const CLASSES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

impl Curve {
    /// A line.
    pub(super) fn line(name: &str, class: &'static str, points: Vec<(f64, f64)>) -> Curve {
        Curve {
            name: name.to_owned(),
            class,
            shape: Shape::Line,
            points,
            width: 0.0,
        }
    }

    /// Columns, each from its place on and `width` wide.
    pub(super) fn columns(
        name: &str,
        class: &'static str,
        points: Vec<(f64, f64)>,
        width: f64,
    ) -> Curve {
        Curve {
            shape: Shape::Columns,
            width,
            ..Curve::line(name, class, points)
        }
    }
}

/// A plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    /// In pixels.
    pub(super) height: u32,
    /// Plots that share it show their values together; empty: none does.
    pub(super) axis: &'static str,
    pub(super) x: (Scale, Name),
    pub(super) y: (Scale, Name),
    pub(super) curves: Vec<Curve>,
    /// SVG below the curves.
    pub(super) ground: String,
    /// What is shown beside the pointer, and where.
    pub(super) values: Vec<(f64, String)>,
}

impl Plot {
    /// The plot as HTML.
    pub(super) fn render(&self) -> String {
        let height = f64::from(self.height);
        let mut svg = String::new();
        let (x_marks, y_marks) = (self.x.0.marks(8), self.y.0.marks(5));
        for value in &y_marks {
            let y = height * (1.0 - self.y.0.at(*value));
            let _ = write!(svg, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
        }
        for value in &x_marks {
            let x = WIDTH * self.x.0.at(*value);
            let _ = write!(svg, "<path class=\"grid\" d=\"M{x:.1} 0V{height}\"/>");
        }
        svg.push_str(&self.ground);
        self.curves
            .iter()
            .for_each(|curve| self.draw(curve, &mut svg));
        let names: String = self
            .curves
            .iter()
            .filter(|curve| !curve.name.is_empty())
            .map(|curve| {
                let name = escaped(&curve.name);
                format!("<span class=\"key {}\">{name}</span>", curve.class)
            })
            .collect();
        let y_names: String = y_marks
            .iter()
            .map(|value| {
                let at = 100.0 * self.y.0.at(*value);
                let name = escaped(&(self.y.1)(*value));
                format!("<span style=\"bottom:{at:.2}%\">{name}</span>")
            })
            .collect();
        let x_names: String = x_marks
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let at = 100.0 * self.x.0.at(*value);
                // Where they are many, a narrow screen shows every other one.
                let is_odd = index % 2 * usize::from(x_marks.len() > 5);
                let class = match (at > 96.0, is_odd) {
                    (true, 0) => "last",
                    (true, _) => "last odd",
                    (false, 0) => "",
                    (false, _) => "odd",
                };
                let name = escaped(&(self.x.1)(*value));
                format!("<span class=\"{class}\" style=\"left:{at:.2}%\">{name}</span>")
            })
            .collect();
        let places: Vec<(f64, &str)> = self
            .values
            .iter()
            .map(|(at, text)| ((self.x.0.at(*at) * 1e4).round() / 1e4, text.as_str()))
            .collect();
        // Numbers and texts alone: there is nothing that could not be written.
        let values = serde_json::to_string(&places).unwrap_or_default();
        format!(
            "<div class=\"plot\" data-axis=\"{}\" data-points=\"{}\">\n\
             <div class=\"legend\">{names}</div>\n\
             <div class=\"area\" style=\"height:{}px\"><svg viewBox=\"0 0 {WIDTH} {}\" \
             preserveAspectRatio=\"none\">{svg}</svg>{y_names}<i></i></div>\n\
             <div class=\"steps\">{x_names}</div>\n<p class=\"tip\"></p>\n</div>\n",
            self.axis,
            escaped(&values),
            self.height,
            self.height
        )
    }

    fn draw(&self, curve: &Curve, svg: &mut String) {
        let height = f64::from(self.height);
        let x = |value: f64| WIDTH * self.x.0.at(value);
        let y = |value: f64| height * (1.0 - self.y.0.at(value));
        let mut path = String::new();
        for (index, (at, value)) in curve.points.iter().enumerate() {
            let (left, top) = (x(*at), y(*value));
            let _ = match (curve.shape, index) {
                (Shape::Line, 0) => write!(path, "M{left:.1} {top:.1}"),
                (Shape::Line, _) => write!(path, "L{left:.1} {top:.1}"),
                (Shape::Columns, _) => {
                    let right = x(at + curve.width);
                    write!(path, "M{left:.1} {height}V{top:.1}H{right:.1}V{height}z")
                }
            };
        }
        let kind = match curve.shape {
            Shape::Line => "line",
            Shape::Columns => "fill",
        };
        let _ = write!(svg, "<path class=\"{kind} {}\" d=\"{path}\"/>", curve.class);
    }

    /// A rectangle of the ground, as a part of a path.
    pub(super) fn rectangle(&self, x: (f64, f64), y: (f64, f64)) -> String {
        let height = f64::from(self.height);
        let (left, right) = (WIDTH * self.x.0.at(x.0), WIDTH * self.x.0.at(x.1));
        let (bottom, top) = (
            height * (1.0 - self.y.0.at(y.0)),
            height * (1.0 - self.y.0.at(y.1)),
        );
        format!("M{left:.1} {bottom:.1}V{top:.1}H{right:.1}V{bottom:.1}z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(Scale::Linear(0.0, 9.3).marks(5), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(Scale::Linear(0.0, 0.0).marks(5).first(), Some(&0.0));
        assert_eq!(Scale::Nines(2.5).marks(5).len(), 4);
        for (low, high) in [(1e-6, 1.0), (3e-5, 4e-5), (1e-4, 9e-4)] {
            let marks = Scale::Log(low, high).marks(5);
            assert!(marks.len() <= 10, "{marks:?}");
        }
        assert_eq!(
            [percent(0.0), percent(0.5), percent(0.999)],
            ["0 %", "50 %", "99.9 %"]
        );
    }

    #[test]
    fn a_place_is_never_outside_and_text_is_never_markup() {
        for scale in [
            Scale::Linear(1.0, 1.0),
            Scale::Log(1.0, 2.0),
            Scale::Nines(3.0),
        ] {
            for value in [0.0, 1.0, f64::INFINITY, f64::NAN, -1.0] {
                assert!((0.0..=1.0).contains(&scale.at(value)), "{scale:?} {value}");
            }
        }
        let plot = Plot {
            height: 100,
            axis: "",
            x: (Scale::Linear(0.0, 1.0), percent),
            y: (Scale::Linear(0.0, 1.0), percent),
            curves: vec![Curve::line("<b>\"&", "c0", vec![(0.0, 0.5)])],
            ground: String::new(),
            values: vec![(0.5, "<i>\"'".to_owned())],
        };
        let html = plot.render();
        assert!(!html.contains("<b>") && !html.contains("<i>\""), "{html}");
        assert!(html.contains("&lt;b&gt;&quot;&amp;"), "{html}");
    }
}
