//! Daytime (RFC 867): the date and the time of day, for people.
//!
//! Owns the form of the line, `Weekday, Month D, YYYY HH:MM:SS-UTC` with CRLF, which is the first that the RFC suggests, always in UTC. Must never
//! look at what the peer says.
//!
//! Tests: below, `tests/services.rs`.

use super::calendar::Moment;
use super::{Action, Context, Service};

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Says the time in words, and ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Daytime;

impl Service for Daytime {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let line = line(Moment::new(cx.wall_clock()));
        cx.reply(line.as_bytes());
        Action::FINISH
    }

    /// A datagram: a stream has had its answer.
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        self.on_open(cx)
    }
}

fn line(at: Moment) -> String {
    let (weekday, month) = (
        WEEKDAYS[usize::from(at.weekday)],
        MONTHS[usize::from(at.month) - 1],
    );
    let Moment {
        year,
        day,
        hour,
        minute,
        second,
        ..
    } = at;
    format!("{weekday}, {month} {day}, {year} {hour:02}:{minute:02}:{second:02}-UTC\r\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::tests::{feed, open_at};

    #[test]
    fn the_line_is_the_first_that_the_rfc_suggests() {
        for (seconds, expected) in [
            (0, "Thursday, January 1, 1970 00:00:00-UTC\r\n"),
            (383_247_463, "Monday, February 22, 1982 17:37:43-UTC\r\n"),
            (
                1_798_761_599,
                "Thursday, December 31, 2026 23:59:59-UTC\r\n",
            ),
        ] {
            let said = open_at(&mut Daytime, Duration::from_secs(seconds));
            assert_eq!(said, (expected.as_bytes().to_vec(), Action::FINISH));
        }
    }

    #[test]
    fn a_datagram_gets_the_same() {
        assert_eq!(
            feed(&mut Daytime, b"anything"),
            open_at(&mut Daytime, Duration::ZERO)
        );
    }
}
