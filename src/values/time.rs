//! A point in time.
//!
//! Owns the one representation of time that is used above `net`. It never reads a clock.
//!
//! Tests: below.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the reactor's monotonic clock: nanoseconds since an arbitrary start.
///
/// It takes eight bytes, where [`std::time::Instant`] takes sixteen. Every connection stores
/// several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The start of the clock.
    pub const ZERO: Time = Time(0);
    /// Later than every other time: "no deadline".
    pub const NEVER: Time = Time(u64::MAX);

    /// Nanoseconds since the start of the clock.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self - duration`, or [`Time::ZERO`] if that lies before the start of the clock.
    #[inline]
    pub fn before(self, duration: Duration) -> Time {
        Time(
            self.0
                .saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// `self + after`, or [`Time::NEVER`] if `after` is `None`: a timeout that is off.
    #[inline]
    pub fn after(self, after: Option<Duration>) -> Time {
        after.map_or(Time::NEVER, |duration| self + duration)
    }
}

/// Saturates at [`Time::NEVER`], so a timeout of centuries is no timeout.
impl Add<Duration> for Time {
    type Output = Time;

    #[inline]
    fn add(self, duration: Duration) -> Time {
        let nanos = duration
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(duration.subsec_nanos()));
        Time(self.0.saturating_add(nanos))
    }
}

/// The time from `other` to `self`, or zero if `other` is later.
impl Sub for Time {
    type Output = Duration;

    #[inline]
    fn sub(self, other: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.0 as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_instead_of_wrapping() {
        assert_eq!(Time(5) + Duration::MAX, Time::NEVER);
        assert_eq!(Time(5) - Time(9), Duration::ZERO);
        assert_eq!(
            (
                Time(9).before(Duration::from_nanos(5)),
                Time(5).before(Duration::MAX)
            ),
            (Time(4), Time::ZERO)
        );
        assert_eq!(Time(1).after(None), Time::NEVER);
        assert_eq!(Time(1).after(Some(Duration::from_nanos(2))), Time(3));
    }
}
