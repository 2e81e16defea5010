//! Numbers as a report shows them: to three digits, with their unit.
//!
//! Owns the rounding for every report that people read. JSON and the logs get whole numbers.
//!
//! Tests: below.

use std::time::Duration;

use mynah::load::Mark;

/// What is known of a measure: a time, what it is longer than, or nothing.
pub(crate) fn mark(mark: Mark) -> String {
    match mark {
        Mark::Time(known) => time(known),
        Mark::Unanswered(least) => format!("> {}", time(least)),
        Mark::Unknown => "-".to_owned(),
    }
}

/// A time, to three digits: `123 µs`.
pub(crate) fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match time.as_nanos() {
        0..1_000 => (nanos, "ns"),
        1_000..1_000_000 => (nanos / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// Three digits, without trailing zeros.
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

/// A number with commas between its thousands.
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
pub(super) fn size(bytes: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "KB")];
    let (size, unit) = units
        .into_iter()
        .find(|(size, _)| bytes >= *size)
        .unwrap_or((1.0, "B"));
    format!("{} {unit}", digits(bytes / size))
}

/// Bits a second, to three digits.
pub(super) fn bits(bytes: f64) -> String {
    let bits = 8.0 * bytes;
    let units = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    let (size, unit) = units
        .into_iter()
        .find(|(size, _)| bits >= *size)
        .unwrap_or((1.0, "bit/s"));
    format!("{} {unit}", digits(bits / size))
}

/// A number of things, whose name is given for one: `1 thread`, `2 threads`.
pub(crate) fn many(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_their_unit() {
        for (nanos, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1 µs"),
            (12_340, "12.3 µs"),
            (345_678, "346 µs"),
            (1_500_000, "1.5 ms"),
            (10_000_000_000, "10 s"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(many(1, "thread"), "1 thread");
        assert_eq!(many(0, "error"), "0 errors");
        assert_eq!(bits(125e6), "1 Gbit/s");
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
