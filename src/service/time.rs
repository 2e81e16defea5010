//! Time (RFC 868): the seconds since the year 1900, for machines.
//!
//! Owns the four bytes of the reply, which must never depend on the input. They wrap to zero on
//! 2036-02-07 at 06:28:16 UTC: the RFC defines no longer format.
//!
//! Tests: below, `tests/services.rs`.

use std::time::Duration;

use super::{Action, Context, Service};

/// Seconds from 1900-01-01 to 1970-01-01, both at 00:00:00 UTC. The RFC gives this number.
const FROM_1900_TO_1970: u64 = 2_208_988_800;

/// Sends the time in four bytes, then finishes.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeProtocol;

impl Service for TimeProtocol {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let seconds = since_1900(cx.wall_clock());
        cx.reply(&seconds.to_be_bytes());
        Action::FINISH
    }

    /// Called for datagrams only: on a stream, `on_open` has already finished.
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        self.on_open(cx)
    }
}

/// The low 32 bits of the seconds since 1900-01-01 00:00:00 UTC.
fn since_1900(since_1970: Duration) -> u32 {
    since_1970.as_secs().wrapping_add(FROM_1900_TO_1970) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::{feed, open_at};

    /// The examples of the RFC, and the wrap.
    #[test]
    fn the_seconds_match_the_examples_of_the_rfc() {
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
    fn the_reply_is_four_bytes_in_network_order() {
        let reply = open_at(&mut TimeProtocol, Duration::from_millis(999));
        assert_eq!(reply, (vec![0x83, 0xaa, 0x7e, 0x80], Action::FINISH));
        assert_eq!(feed(&mut TimeProtocol, b""), reply);
    }
}
