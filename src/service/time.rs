//! Time (RFC 868): the seconds since the year 1900, for machines.
//!
//! Owns the four bytes. They wrap on 2036-02-07 at 06:28:16 UTC and count from zero again: four bytes hold no more, and the RFC has no other form.
//! Must never look at what the peer says.
//!
//! Tests: below, `tests/services.rs`.

use std::time::Duration;

use super::{Action, Context, Service};

/// From 1900-01-01 to 1970-01-01, both at 00:00:00 UTC, as the RFC gives it.
const FROM_1900_TO_1970: u64 = 2_208_988_800;

/// Says the time in four bytes, and ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeProtocol;

impl Service for TimeProtocol {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let seconds = since_1900(cx.wall_clock());
        cx.reply(&seconds.to_be_bytes());
        Action::FINISH
    }

    /// A datagram: a stream has had its answer.
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        self.on_open(cx)
    }
}

/// Seconds since 1900-01-01 00:00:00 UTC, the low 32 bits of them.
fn since_1900(since_1970: Duration) -> u32 {
    since_1970.as_secs().wrapping_add(FROM_1900_TO_1970) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::{feed, open_at};

    /// The moments that the RFC lists, and the wrap.
    #[test]
    fn the_seconds_are_those_of_the_rfc() {
        for (since_1970, expected) in [
            (0, 2_208_988_800),
            (189_302_400, 2_398_291_200),
            (325_036_800, 2_534_025_600),
            (420_508_800, 2_629_497_600),
            (2_085_978_495, u32::MAX),
            (2_085_978_496, 0),
            (u64::MAX, 2_208_988_799),
        ] {
            assert_eq!(
                since_1900(Duration::from_secs(since_1970)),
                expected,
                "{since_1970}"
            );
        }
    }

    #[test]
    fn four_bytes_go_out_the_highest_first() {
        let said = open_at(&mut TimeProtocol, Duration::from_millis(999));
        assert_eq!(said, (vec![0x83, 0xaa, 0x7e, 0x80], Action::FINISH));
        assert_eq!(feed(&mut TimeProtocol, b""), said);
    }
}
