//! What a run is to reach: `p99<5ms`, `errors=0`, `rate>100k`.
//!
//! Owns the grammar and the comparison. Must never call a goal reached that was not measured: where
//! there is no number, it is missed.
//!
//! Tests: below.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::distribution::{Distribution, Mark};
use super::pace::Pace;

/// One comparison of something that is measured with a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    measured: Measured,
    relation: Relation,
    limit: f64,
    text: String,
}

/// What can be compared. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measured {
    /// The response time that so many of 100 answers did not exceed.
    Percentile(f64),
    /// The longest response time.
    Max,
    /// The mean response time.
    Mean,
    /// Answers a second.
    Rate,
    /// Everything that went wrong.
    Errors,
    /// Datagrams that were not answered.
    Lost,
    /// Datagrams that were answered late.
    Late,
    /// Answers that came once more.
    Duplicate,
    /// Answers that came behind that of a later datagram.
    Reordered,
    /// Messages that could not be sent in time to be measured.
    Unsent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Below,
    AtMost,
    Equal,
    AtLeast,
    Above,
}

impl Measured {
    /// The time that it is of these; of a count, nothing.
    pub fn of(self, times: &Distribution) -> Mark {
        match self {
            Measured::Percentile(percentile) => times.percentile(percentile),
            Measured::Max => times.max(),
            Measured::Mean => times.mean(),
            _ => Mark::Unknown,
        }
    }

    /// How many times it takes, with `beyond` of them beyond a percentile.
    pub fn takes(self, beyond: u64) -> f64 {
        match self {
            Measured::Percentile(percentile) => beyond as f64 * 100.0 / (100.0 - percentile),
            _ => beyond as f64,
        }
    }

    fn is_time(self) -> bool {
        matches!(
            self,
            Measured::Percentile(_) | Measured::Max | Measured::Mean
        )
    }
}

impl Goal {
    /// What is compared.
    pub fn measured(&self) -> Measured {
        self.measured
    }

    /// Whether `value` reaches it; a time is in seconds. `None`: nothing was measured.
    pub fn is_reached(&self, value: Option<f64>) -> bool {
        // One that lies among the unanswered is not known, whatever it is longer than.
        let Some(value) = value.filter(|value| value.is_finite()) else {
            return false;
        };
        match self.relation {
            Relation::Below => value < self.limit,
            Relation::AtMost => value <= self.limit,
            // Counts are whole; a time or a rate is compared as it is printed.
            Relation::Equal => (value - self.limit).abs() <= self.limit.abs() * 1e-9,
            Relation::AtLeast => value >= self.limit,
            Relation::Above => value > self.limit,
        }
    }

    /// Whether a higher rate can only miss it: a limit on a time from above.
    pub fn bounds_a_time(&self) -> bool {
        self.measured.is_time() && matches!(self.relation, Relation::Below | Relation::AtMost)
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Goal, String> {
        const FORM: &str = "a requirement is a measure, one of < <= = >= >, and a number, such as \
                            p99<5ms, errors=0 or rate>100k";
        let at = text.find(['<', '>', '=']).ok_or(FORM)?;
        let (name, rest) = text.split_at(at);
        let relations = [
            ("<=", Relation::AtMost),
            (">=", Relation::AtLeast),
            ("<", Relation::Below),
            (">", Relation::Above),
            ("=", Relation::Equal),
        ];
        let (relation, limit) = relations
            .iter()
            .find_map(|(sign, relation)| Some((*relation, rest.strip_prefix(sign)?.trim())))
            .ok_or(FORM)?;
        let measured = measured(name.trim())?;
        let limit = match measured {
            measured if measured.is_time() => time(limit)?.as_secs_f64(),
            Measured::Rate if limit != "0" => limit.parse::<Pace>()?.get(),
            _ => limit.parse::<u32>().map(f64::from).map_err(|_| {
                format!(
                    "{} is compared with a whole number, such as errors=0",
                    name.trim()
                )
            })?,
        };
        Ok(Goal {
            measured,
            relation,
            limit,
            text: text.to_owned(),
        })
    }
}

fn measured(name: &str) -> Result<Measured, String> {
    Ok(match name {
        "max" => Measured::Max,
        "mean" => Measured::Mean,
        "rate" => Measured::Rate,
        "errors" => Measured::Errors,
        "lost" => Measured::Lost,
        "late" => Measured::Late,
        "duplicate" => Measured::Duplicate,
        "reordered" => Measured::Reordered,
        "unsent" => Measured::Unsent,
        _ => {
            let percentile = name.strip_prefix('p').filter(|digits| {
                digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.')
            });
            let percentile = percentile
                .and_then(|digits| digits.parse::<f64>().ok())
                .filter(|percentile| (0.0..=100.0).contains(percentile));
            Measured::Percentile(percentile.ok_or(
                "what can be required: p50, p99.9 or any other percentile, max, mean, rate, \
                 errors, lost, late, duplicate, reordered, unsent",
            )?)
        }
    })
}

/// A time with its unit; a fraction will do.
fn time(text: &str) -> Result<Duration, String> {
    const FORM: &str = "a time has a unit, such as 500us, 5ms, 1.5s";
    let (number, unit) = text.split_at(
        text.find(|character: char| !character.is_ascii_digit() && character != '.')
            .ok_or(FORM)?,
    );
    let unit = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(FORM.into()),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .ok_or_else(|| FORM.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_and_judged() {
        for (text, reached, missed) in [
            ("p99<5ms", 0.004_999, 0.005),
            ("p99.9<=5ms", 0.005, 0.005_001),
            ("max<1.5s", 1.4, 1.6),
            ("mean > 10us", 0.000_011, 0.000_01),
            ("rate>100k", 100_001.0, 100_000.0),
            ("rate>=0.5", 0.5, 0.4),
            ("errors=0", 0.0, 1.0),
            ("lost<=3", 3.0, 4.0),
            ("duplicate=2", 2.0, 1.0),
        ] {
            let goal: Goal = text.parse().unwrap();
            assert!(
                goal.is_reached(Some(reached)) && !goal.is_reached(Some(missed)),
                "{text}"
            );
            assert!(!goal.is_reached(None), "{text}: without a number");
            assert_eq!(goal.to_string(), text);
        }
    }

    #[test]
    fn only_an_upper_bound_of_a_time_can_be_searched_for() {
        let bounds = |text: &str| text.parse::<Goal>().unwrap().bounds_a_time();
        assert!(bounds("p99<5ms") && bounds("max<=1s"));
        assert!(!bounds("p99>5ms") && !bounds("errors<1") && !bounds("p50=1ms"));
    }

    #[test]
    fn what_is_no_goal_is_said() {
        for (text, why) in [
            ("", "a requirement is"),
            ("p99", "a requirement is"),
            ("p99<5", "a time has a unit"),
            ("p99<5m", "a time has a unit"),
            ("p99<ms", "a time has a unit"),
            ("p101<5ms", "what can be required"),
            ("px<5ms", "what can be required"),
            ("latency<5ms", "what can be required"),
            ("errors=none", "whole number"),
            ("errors=1.5", "whole number"),
            ("rate>fast", "a rate is messages a second"),
        ] {
            assert!(text.parse::<Goal>().unwrap_err().contains(why), "{text}");
        }
    }
}
