//! A rate: messages a second.
//!
//! Owns the number, its limits and its text. When messages are due at it: `course` and `schedule`.
//!
//! Tests: below.

use std::fmt;
use std::str::FromStr;

/// Messages a second, exact to a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pace(u64);

/// Units of [`Pace`] in one message a second.
const UNIT: u64 = 1000;

impl Pace {
    /// No message at all: a pause between stages.
    pub const NONE: Pace = Pace(0);
    /// The lowest rate above none: one message in a thousand seconds.
    pub const LOWEST: Pace = Pace(1);
    /// One message a nanosecond: past it, a schedule has no times to tell messages apart.
    pub const HIGHEST: Pace = Pace(1_000_000_000 * UNIT);

    /// The nearest rate that there is.
    pub fn per_second(messages: f64) -> Pace {
        // A float turns into the nearest integer that there is, so nothing wraps.
        Pace((messages * UNIT as f64).round() as u64).clamp(Pace::LOWEST, Pace::HIGHEST)
    }

    /// Thousandths of a message a second: the exact number.
    pub(super) fn thousandths(self) -> u64 {
        self.0
    }

    /// Messages a second.
    pub fn get(self) -> f64 {
        self.0 as f64 / UNIT as f64
    }
}

/// As the command line takes it: `20000`, `100k`, `1.5M`, `0.5`.
impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Pace, String> {
        let wrong = || {
            format!(
                "a rate is messages a second, such as 20000, 100k, 1.5M or 0.5, and not '{}'",
                crate::values::escape::Escaped(text.as_bytes())
            )
        };
        let units = [("k", 1e3), ("M", 1e6), ("", 1.0)];
        let (number, unit) = units
            .iter()
            .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))
            .unwrap_or((text, &1.0));
        let is_plain = !number.is_empty()
            && number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.');
        let messages: f64 = number.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?;
        let messages = messages * unit;
        match messages {
            _ if messages < Pace::LOWEST.get() => {
                Err("a rate is at least 0.001 messages a second".into())
            }
            _ if messages > Pace::HIGHEST.get() => {
                Err("a rate is at most one message a nanosecond".into())
            }
            _ => Ok(Pace::per_second(messages)),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_units() {
        for (text, expected) in [
            ("20000", 20_000.0),
            ("100k", 100_000.0),
            ("1.5M", 1_500_000.0),
            ("0.5", 0.5),
            ("0.001", 0.001),
            (".5k", 500.0),
        ] {
            assert_eq!(text.parse::<Pace>().map(Pace::get), Ok(expected), "{text}");
        }
        for text in [
            "", "k", "fast", "1e3", "-1", "inf", "NaN", "1 k", "1K", "1..2", "0x10",
        ] {
            assert!(
                text.parse::<Pace>()
                    .unwrap_err()
                    .contains("a rate is messages a second"),
                "{text}"
            );
        }
        assert!("0".parse::<Pace>().unwrap_err().contains("at least"));
        assert!("1001M".parse::<Pace>().unwrap_err().contains("at most"));
    }
}
