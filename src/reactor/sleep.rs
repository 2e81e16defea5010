//! How long the loop may sleep.
//!
//! Owns the choice between sleeping, spinning before a deadline and polling after an event, and the
//! pause after a selector failed. It must never wait: it only computes how long.
//!
//! * **Busy polling** ([`Limits::busy_poll`]): for some time after an event the loop does not
//!   sleep, so the next event finds it awake.
//! * **Spinning** ([`Limits::spin`]): a sleep takes whole milliseconds and ends some tens of
//!   microseconds late. A loop that must meet its deadlines sleeps until shortly before one, and
//!   polls up to it.

use std::time::Duration;

use crate::values::limits::Limits;
use crate::values::time::Time;

/// The first rest after a wait that failed, and the longest: it doubles in between.
const FIRST_REST: Duration = Duration::from_millis(1);
const LONGEST_REST: Duration = Duration::from_millis(100);

/// What the loop remembers from turn to turn to decide how long it sleeps.
#[derive(Debug)]
pub(crate) struct Sleep {
    /// When there was last an event.
    last_event: Time,
    /// Whether the last turn did nothing but poll before a deadline.
    was_spinning: bool,
    /// Waits that failed, one after the other.
    failures: u32,
}

/// How the next wait is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// As the selector takes it; `None` waits for ever.
    pub(crate) timeout: Option<Duration>,
    /// Whether it polls only because a deadline is near.
    pub(crate) spins: bool,
}

impl Sleep {
    pub(crate) fn new(now: Time) -> Sleep {
        Sleep {
            last_event: now,
            was_spinning: false,
            failures: 0,
        }
    }

    /// Decides about the next wait. `deadline` is the earliest of all.
    #[inline]
    pub(crate) fn decide(
        &self,
        now: Time,
        is_runnable: bool,
        deadline: Time,
        limits: &Limits,
    ) -> Wait {
        let polls = is_runnable
            || limits
                .busy_poll
                .is_some_and(|busy| now < self.last_event + busy);
        let timeout = if polls {
            Some(Duration::ZERO)
        } else if deadline == Time::NEVER {
            None
        } else {
            Some(sleep_before(deadline - now, limits.spin))
        };
        let spins = limits.spin > Duration::ZERO && !is_runnable && timeout == Some(Duration::ZERO);
        Wait { timeout, spins }
    }

    /// Notes that a wait failed. Returns how long to pause, and whether it was the first failure. A
    /// broken selector returns at once, so without a pause the loop would spin.
    #[cold]
    pub(crate) fn failed(&mut self) -> (Duration, bool) {
        let rest = FIRST_REST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_REST);
        self.failures = self.failures.saturating_add(1);
        (rest, self.failures == 1)
    }

    /// Notes that a wait succeeded.
    #[inline]
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The wait delivered events.
    #[inline]
    pub(crate) fn saw_events(&mut self, now: Time) {
        self.last_event = now;
    }

    /// Whether a poll for nothing followed another one, so that all the time between them went into
    /// spinning. The first is left out: work may have come before it in the same turn.
    #[cold]
    pub(crate) fn spun(&mut self, found_nothing: bool) -> bool {
        std::mem::replace(&mut self.was_spinning, found_nothing) && found_nothing
    }
}

/// How long to sleep with so much left to a deadline: whole milliseconds, which is what the
/// selector takes, and no longer than up to `spin` before it.
fn sleep_before(left: Duration, spin: Duration) -> Duration {
    match spin {
        Duration::ZERO => left,
        spin => Duration::from_millis(left.saturating_sub(spin).as_millis() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u32) -> Time {
        Time::ZERO + millis * MS
    }

    fn timeout(sleep: &Sleep, deadline: Time, limits: &Limits) -> Option<Duration> {
        sleep.decide(at(10), false, deadline, limits).timeout
    }

    #[test]
    fn the_loop_sleeps_until_the_next_deadline_and_not_at_all_while_something_can_run() {
        let (sleep, limits) = (Sleep::new(Time::ZERO), Limits::default());
        assert_eq!(timeout(&sleep, Time::NEVER, &limits), None);
        assert_eq!(timeout(&sleep, at(17), &limits), Some(7 * MS));
        assert_eq!(
            timeout(&sleep, at(3), &limits),
            Some(Duration::ZERO),
            "it has passed"
        );
        let wait = sleep.decide(at(10), true, Time::NEVER, &limits);
        assert_eq!(
            wait,
            Wait {
                timeout: Some(Duration::ZERO),
                spins: false
            }
        );
    }

    #[test]
    fn spinning_begins_before_the_deadline_and_is_known_as_such() {
        let sleep = Sleep::new(Time::ZERO);
        let limits = Limits {
            spin: MS,
            ..Limits::default()
        };
        assert_eq!(timeout(&sleep, at(15), &limits), Some(4 * MS));
        let wait = sleep.decide(at(10), false, at(11), &limits);
        assert_eq!(
            wait,
            Wait {
                timeout: Some(Duration::ZERO),
                spins: true
            }
        );
        assert!(
            !sleep.decide(at(10), true, at(11), &limits).spins,
            "there is work to do"
        );
    }

    #[test]
    fn busy_polling_goes_on_for_a_while_after_an_event() {
        let mut sleep = Sleep::new(Time::ZERO);
        let limits = Limits {
            busy_poll: Some(5 * MS),
            ..Limits::default()
        };
        assert_eq!(timeout(&sleep, Time::NEVER, &limits), None);
        sleep.saw_events(at(6));
        assert_eq!(timeout(&sleep, Time::NEVER, &limits), Some(Duration::ZERO));
        sleep.saw_events(at(5));
        assert_eq!(timeout(&sleep, Time::NEVER, &limits), None);
    }

    #[test]
    fn only_time_between_two_polls_for_nothing_is_spun() {
        let mut sleep = Sleep::new(Time::ZERO);
        let found_nothing = [true, true, false, true, true, true];
        let spun = found_nothing.map(|found_nothing| sleep.spun(found_nothing));
        assert_eq!(spun, [false, true, false, false, true, true]);
    }

    #[test]
    fn a_selector_that_fails_is_asked_more_and_more_rarely() {
        let mut sleep = Sleep::new(Time::ZERO);
        let rests: Vec<_> = (0..9).map(|_| sleep.failed().0.as_millis()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
        sleep.succeeded();
        assert_eq!(sleep.failed(), (MS, true));
        assert_eq!(sleep.failed(), (2 * MS, false));
    }
}
