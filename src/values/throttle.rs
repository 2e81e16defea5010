//! One line an interval.
//!
//! Owns the memory of a warning that repeats. A server at a limit meets it thousands of times a second; its
//! log gets one line an interval, with a count. It writes nothing and reads no clock.

use std::time::Duration;

use crate::values::time::Time;

/// How often a warning that repeats is written, at most.
pub const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Decides which occurrences of a warning are written.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    /// Before this time nothing is written.
    next: Time,
    /// Occurrences since the last line, this one included.
    count: u64,
}

impl Throttle {
    /// Counts an occurrence. Where a line is to be written, returns how many occurrences it stands for.
    pub fn admit(&mut self, now: Time) -> Option<u64> {
        self.count += 1;
        if now < self.next {
            return None;
        }
        self.next = now + WARNING_INTERVAL;
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_an_interval_stands_for_all_that_happened_since_the_last() {
        let mut throttle = Throttle::default();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        assert_eq!(throttle.admit(at(1)), Some(1));
        assert_eq!(throttle.admit(at(1)), None);
        assert_eq!(throttle.admit(at(10)), None);
        assert_eq!(throttle.admit(at(11)), Some(3));
        assert_eq!(throttle.admit(at(500)), Some(1));
    }
}
