//! A warning that is worth one line, not one line each time.
//!
//! Owns the time of the last line, and how often something happened since. Pure: the caller passes
//! the time.

use std::fmt;
use std::time::Duration;

use crate::values::time::Time;

/// A warning is logged at most once in this time.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often something happened, and whether to log it.
#[derive(Debug, Default)]
pub(crate) struct Notice {
    /// When the next line may be logged.
    quiet_until: Time,
    /// How often it happened without a line.
    unsaid: u64,
}

/// The end of a warning: how often it happened since the last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsaid(u64);

impl Notice {
    /// Counts one more. Returns what to add to the line, if one is due.
    pub(crate) fn happened(&mut self, now: Time) -> Option<Unsaid> {
        if now < self.quiet_until {
            self.unsaid += 1;
            return None;
        }
        self.quiet_until = now + INTERVAL;
        Some(Unsaid(std::mem::take(&mut self.unsaid)))
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (once more since the last warning)"),
            count => write!(f, " ({count} more times since the last warning)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_an_interval_with_a_count() {
        let mut notice = Notice::default();
        let said = |notice: &mut Notice, seconds| {
            let now = Time::ZERO + Duration::from_secs(seconds);
            notice.happened(now).map(|unsaid| unsaid.to_string())
        };
        assert_eq!(said(&mut notice, 1).as_deref(), Some(""));
        assert_eq!(said(&mut notice, 2), None);
        assert_eq!(
            said(&mut notice, 11).as_deref(),
            Some(" (once more since the last warning)")
        );
        for _ in 0..1000 {
            assert_eq!(said(&mut notice, 20), None);
        }
        assert_eq!(
            said(&mut notice, 21).as_deref(),
            Some(" (1000 more times since the last warning)")
        );
    }
}
