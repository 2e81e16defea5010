//! Daytime (RFC 867): the date and the time of day, for people.
//!
//! Owns the format of the line: `Weekday, Month D, YYYY HH:MM:SS-UTC` with CRLF, the first format
//! that the RFC suggests. The time is always in UTC. The reply must never depend on the input.
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

/// Sends the time as text, then finishes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Daytime;

impl Service for Daytime {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let line = line(Moment::new(cx.wall_clock()));
        cx.reply(line.as_bytes());
        Action::FINISH
    }

    /// Called for datagrams only: on a stream, `on_open` has already finished.
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
    fn the_line_has_the_first_format_of_the_rfc() {
        for (seconds, expected) in [
            (0, "Thursday, January 1, 1970 00:00:00-UTC\r\n"),
            (383_247_463, "Monday, February 22, 1982 17:37:43-UTC\r\n"),
            (
                1_798_761_599,
                "Thursday, December 31, 2026 23:59:59-UTC\r\n",
            ),
        ] {
            let reply = open_at(&mut Daytime, Duration::from_secs(seconds));
            assert_eq!(reply, (expected.as_bytes().to_vec(), Action::FINISH));
        }
    }

    #[test]
    fn a_datagram_gets_the_same_line() {
        assert_eq!(
            feed(&mut Daytime, b"anything"),
            open_at(&mut Daytime, Duration::ZERO)
        );
    }
}
