//! Times on the wall clock, as the command line takes them.
//!
//! Owns the grammar, and the calendar backwards: from a date to seconds. UTC alone: the program
//! knows no time zones.
//!
//! Tests: below, against jiff.

use std::time::{Duration, SystemTime};

const DAY: u64 = 86_400;

/// A time that has not passed.
pub(super) fn wall_time(text: &str) -> Result<SystemTime, String> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let time = since_1970(text, now.as_secs() / DAY).ok_or(
        "a time is 2026-11-24T12:00:00Z, with an offset such as +01:00 instead of Z, seconds since \
         1970, or HH:MM:SS of today in UTC",
    )?;
    if time <= now {
        return Err("this time has passed; give one in the future, in UTC unless it says".into());
    }
    SystemTime::UNIX_EPOCH
        .checked_add(time)
        .ok_or_else(|| "this time is too far away".to_owned())
}

/// The time that `text` names, where `today` is so many days after 1970-01-01.
fn since_1970(text: &str, today: u64) -> Option<Duration> {
    if let Some((date, time)) = text.split_once(['T', 't', ' ']) {
        let (time, offset) = split_offset(time)?;
        let local = Duration::from_secs(days(date)? * DAY) + of_day(time)?;
        return if offset >= 0 {
            local.checked_sub(Duration::from_secs(offset.unsigned_abs()))
        } else {
            local.checked_add(Duration::from_secs(offset.unsigned_abs()))
        };
    }
    if text.contains(':') {
        return Some(Duration::from_secs(today * DAY) + of_day(text)?);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    Some(Duration::from_secs(number(seconds, 1, 11)?) + nanos(fraction)?)
}

/// A time of day and its offset from UTC in seconds.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (time, offset) = time.split_at(at);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (number(hours, 2, 2)?, number(minutes, 2, 2)?);
    let seconds = (hours * 3600 + minutes * 60) as i64;
    let is_valid = hours < 24 && minutes < 60;
    is_valid.then_some((
        time,
        if offset.starts_with('-') {
            -seconds
        } else {
            seconds
        },
    ))
}

/// `12:00:00` or `12:00:00.25`.
fn of_day(text: &str) -> Option<Duration> {
    let (time, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = time.split(':');
    let mut next = || number(parts.next()?, 2, 2);
    let (hour, minute, second) = (next()?, next()?, next()?);
    let is_valid = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    let seconds = Duration::from_secs(hour * 3600 + minute * 60 + second);
    is_valid.then_some(seconds + nanos(fraction)?)
}

/// The digits behind a point.
fn nanos(fraction: &str) -> Option<Duration> {
    let digits = number(fraction, 1, 9)?;
    let scale = 10u64.pow(9 - fraction.len() as u32);
    Some(Duration::from_nanos(digits * scale))
}

/// Digits alone, so many.
fn number(text: &str, least: usize, most: usize) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = (least..=most).contains(&text.len());
    (is_plain && fits).then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 to a date.
fn days(date: &str) -> Option<u64> {
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4, 4)?;
    let month = number(parts.next()?, 2, 2)?;
    let day = number(parts.next()?, 2, 2)?;
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_valid = parts.next().is_none()
        && year >= 1970
        && (1..=12).contains(&month)
        && (1..=length(month)).contains(&day);
    let years: u64 = (1970..year)
        .map(|year| 365 + u64::from(is_leap(year)))
        .sum();
    let months: u64 = (1..month).map(length).sum();
    is_valid.then(|| years + months + day - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let seconds = |text: &str| since_1970(text, 20_000).map(|time| time.as_secs_f64());
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2026-11-24T12:00:00Z", 1_795_521_600.0),
            ("2026-11-24 12:00:00Z", 1_795_521_600.0),
            ("2026-11-24T13:30:00+01:30", 1_795_521_600.0),
            ("2026-11-24T07:00:00.5-05:00", 1_795_521_600.5),
            ("2024-02-29T00:00:00Z", 1_709_164_800.0),
            ("1795521600", 1_795_521_600.0),
            ("1795521600.25", 1_795_521_600.25),
            ("00:00:01", 1_728_000_001.0),
            ("12:00:00.125", 1_728_043_200.125),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "noon",
            "12:00",
            "24:00:00",
            "12:60:00",
            "12:00:00:00",
            "-1",
            "+1",
            "1e9",
            "1.",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-24T12:00:00",
            "2026-11-24T12:00:00+1",
            "2026-11-24T12:00:00+24:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "26-11-24T12:00:00Z",
            "é:00:00",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert!(
            wall_time("2001-01-01T00:00:00Z")
                .unwrap_err()
                .contains("has passed")
        );
        assert!(wall_time("soon").unwrap_err().contains("a time is"));
    }

    proptest! {
        #[test]
        fn every_time_is_the_one_of_another_calendar(seconds in 0i64..200_000_000_000) {
            let text = jiff::Timestamp::from_second(seconds).unwrap().to_string();
            let read = since_1970(&text, 0).map(|time| time.as_secs());
            prop_assert_eq!(read, Some(seconds as u64));
        }
    }
}
