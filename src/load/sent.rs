//! A message on its way.
//!
//! Owns what part of its delay is the generator's own. Pure.
//!
//! ```text
//!   intended       connection free            sent                answered
//!      ├── held ────────┼── late ───────────────┼── service time ────┤
//!      └── response time ────────────────────────────────────────────┘
//! ```

use std::time::Duration;

use crate::values::time::Time;

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it was meant to be sent.
    pub intended: Time,
    /// When it was.
    pub sent: Time,
    /// How much of the time between is the sender's own fault: it could have been sent so much
    /// earlier.
    pub late: Duration,
    /// How much of it was a wait for a connection that was free, for room to open one, or for the
    /// next attempt at one.
    pub held: Duration,
}

impl Sent {
    /// A message that is sent `now`, and could have been since `free_since`, on a connection that
    /// has been there since `open_since`.
    #[inline]
    pub fn new(intended: Time, now: Time, free_since: Time, open_since: Time) -> Sent {
        Sent {
            intended,
            sent: now,
            late: now - intended.max(free_since),
            held: free_since - intended.max(open_since),
        }
    }

    /// Of one that waited for its connection to be opened again: the generator rested from
    /// `failed` to `tried` although it could have tried at once.
    #[cold]
    pub fn rested(self, failed: Time, tried: Time) -> Sent {
        let rested = tried - self.intended.max(failed);
        Sent {
            held: self.held + rested,
            ..self
        }
    }

    /// Since when the next message could have been sent where it had to wait for the end of this
    /// one, which came `now`: as much earlier as this one could have been sent. A generator that
    /// stands still is late with all that it has to make up for, not with the first of it alone.
    #[inline]
    pub fn frees_since(self, now: Time) -> Time {
        now.before(self.late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn each_part_of_a_delay_has_its_cause() {
        let parts = |sent: Sent| (sent.held.as_millis(), sent.late.as_millis());
        // Sent 2 ms late on a free connection; after a wait of 30 ms for one that was busy; and on
        // one that was opened in between, for which nobody waited in a queue.
        assert_eq!(parts(Sent::new(at(100), at(102), at(50), at(10))), (0, 2));
        assert_eq!(parts(Sent::new(at(100), at(131), at(130), at(10))), (30, 1));
        assert_eq!(parts(Sent::new(at(100), at(131), at(130), at(125))), (5, 1));
        // The connection failed at 90 and was tried again at 120.
        let reopened = Sent::new(at(100), at(126), at(125), at(125));
        assert_eq!(parts(reopened.rested(at(90), at(120))), (20, 1));
    }
}
