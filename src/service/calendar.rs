//! The calendar: turns the time since 1970 into a date and a time of day, in UTC.
//!
//! Owns the arithmetic of the Gregorian calendar and the RFC 3339 format. It must never use a time
//! zone or read a clock. It exists because the library without the program has few dependencies,
//! and so little code does not justify another.
//!
//! Tests: below, against jiff.

use std::fmt::{self, Display};
use std::time::Duration;

const SECONDS_A_DAY: u64 = 86_400;

/// A date and a time of day. Months and days count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) year: u64,
    pub(super) month: u8,
    pub(super) day: u8,
    /// Days since Sunday, so Sunday is 0.
    pub(super) weekday: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    pub(super) millisecond: u16,
}

impl Moment {
    /// Converts the time since 1970-01-01 00:00:00 UTC. As in Unix time, there are no leap seconds.
    pub(super) fn new(since_epoch: Duration) -> Moment {
        let (days, second) = (
            since_epoch.as_secs() / SECONDS_A_DAY,
            since_epoch.as_secs() % SECONDS_A_DAY,
        );
        let (year, month, day) = date(days);
        Moment {
            year,
            month: month as u8,
            day: day as u8,
            // 1970-01-01 was a Thursday.
            weekday: ((days + 4) % 7) as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            millisecond: since_epoch.subsec_millis() as u16,
        }
    }
}

/// Converts days since 1970-01-01 into year, month and day.
///
/// The arithmetic uses years that begin on 1 March, so that the leap day is the last day of its
/// year. The calendar repeats every 400 years, which are 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    /// Days from 1 March of the year 0 to 1 January 1970.
    const BEFORE_1970: u64 = 719_468;
    let (cycle, in_cycle) = (
        (days + BEFORE_1970) / 146_097,
        (days + BEFORE_1970) % 146_097,
    );
    let year = (in_cycle - in_cycle / 1_460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year + year / 4 - year / 100);
    // From March on, every five months together have 153 days.
    let since_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * since_march + 2) / 5 + 1;
    let month = if since_march < 10 {
        since_march + 3
    } else {
        since_march - 9
    };
    (400 * cycle + year + u64::from(month <= 2), month, day)
}

/// Displays the time since 1970-01-01 00:00:00 UTC in the format of RFC 3339, with milliseconds:
/// `2026-11-21T07:02:12.345Z`.
pub fn rfc3339(since_epoch: Duration) -> impl Display {
    Rfc3339(Moment::new(since_epoch))
}

struct Rfc3339(Moment);

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment {
            year,
            month,
            day,
            hour,
            minute,
            second,
            millisecond,
            ..
        } = self.0;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    /// The start of the year 10000, which neither jiff nor RFC 3339 can represent.
    const YEAR_10000: u64 = 253_402_300_800;

    fn text(seconds: u64, millis: u64) -> String {
        rfc3339(Duration::from_secs(seconds) + Duration::from_millis(millis)).to_string()
    }

    #[test]
    fn known_moments_print_as_in_rfc_3339() {
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(text(1_795_244_532, 345), "2026-11-21T07:02:12.345Z");
        assert_eq!(text(4_107_542_399, 999), "2100-02-28T23:59:59.999Z");
        assert_eq!(text(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(YEAR_10000 - 1, 0), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn the_largest_duration_does_not_overflow() {
        let far = Moment::new(Duration::MAX);
        assert_eq!(
            (far.hour, far.minute, far.second, far.millisecond),
            (7, 0, 15, 999)
        );
        assert!(far.year > 500_000_000_000, "{far:?}");
    }

    /// The same moment, computed by jiff.
    fn reference(seconds: u64, millis: u64) -> Moment {
        let stamp = Timestamp::from_millisecond((seconds * 1000 + millis) as i64).unwrap();
        let zoned = stamp.to_zoned(TimeZone::UTC);
        Moment {
            year: zoned.year() as u64,
            month: zoned.month() as u8,
            day: zoned.day() as u8,
            weekday: zoned.weekday().to_sunday_zero_offset() as u8,
            hour: zoned.hour() as u8,
            minute: zoned.minute() as u8,
            second: zoned.second() as u8,
            millisecond: zoned.millisecond() as u16,
        }
    }

    /// One full cycle of the calendar.
    #[test]
    fn every_day_of_400_years_agrees_with_jiff() {
        for day in 0..146_097 {
            let seconds = day * SECONDS_A_DAY;
            assert_eq!(
                Moment::new(Duration::from_secs(seconds)),
                reference(seconds, 0)
            );
        }
    }

    proptest! {
        #[test]
        fn every_moment_agrees_with_jiff(
            seconds in 0..YEAR_10000 - 30 * 3600,
            millis in 0u64..1000,
        ) {
            let since_epoch = Duration::from_secs(seconds) + Duration::from_millis(millis);
            prop_assert_eq!(Moment::new(since_epoch), reference(seconds, millis));
            let read_back: Timestamp = rfc3339(since_epoch).to_string().parse().unwrap();
            prop_assert_eq!(read_back.as_millisecond() as u64, seconds * 1000 + millis);
        }
    }
}
