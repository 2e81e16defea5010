//! How long the loop may sleep.
//!
//! Owns the choice between sleeping, spinning before a deadline and polling after an event, and the
//! pause after a selector failed. It must never wait: it only computes how long.
//!
//! * **Busy polling** ([`Limits::busy_poll`]): for some time after an event the loop does not
//!   sleep, so the next event finds it awake.
//! * **Precise sleep** ([`Limits::precise_sleep`]): a selector takes its timeout in whole
//!   milliseconds. A loop that must meet its deadlines sets a timer beside it, whose event ends the
//!   wait on time.
//! * **Spinning** ([`Limits::spin`]): even so a sleep ends some tens of microseconds late. Such a
//!   loop can sleep until shortly before a deadline, and poll up to it.

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
    /// Whether there is a timer that ends a wait on time.
    has_timer: bool,
}

/// How the next wait is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// As the selector takes it; `None` waits for ever.
    pub(crate) timeout: Option<Duration>,
    /// Whether it polls only because a deadline is near.
    pub(crate) spins: bool,
    /// When the timer is to end the wait, if there is one; [`Time::NEVER`] otherwise.
    pub(crate) timer: Time,
}

impl Sleep {
    pub(crate) fn new(now: Time, has_timer: bool) -> Sleep {
        Sleep {
            last_event: now,
            was_spinning: false,
            failures: 0,
            has_timer,
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
            Some(self.sleep_before(deadline - now, limits.spin))
        };
        let timer = if self.has_timer && timeout > Some(Duration::ZERO) {
            deadline.before(limits.spin)
        } else {
            Time::NEVER
        };
        let spins = limits.spin > Duration::ZERO && !is_runnable && timeout == Some(Duration::ZERO);
        Wait {
            timeout,
            spins,
            timer,
        }
    }

    /// How long to sleep with so much left to a deadline: up to `spin` before it. Without a timer
    /// that is whole milliseconds, which is what the selector takes.
    #[inline]
    fn sleep_before(&self, left: Duration, spin: Duration) -> Duration {
        match spin {
            Duration::ZERO => left,
            spin if self.has_timer => left.saturating_sub(spin),
            spin => Duration::from_millis(left.saturating_sub(spin).as_millis() as u64),
        }
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
        let (sleep, limits) = (Sleep::new(Time::ZERO, false), Limits::default());
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
                spins: false,
                timer: Time::NEVER,
            }
        );
    }

    #[test]
    fn spinning_begins_before_the_deadline_and_is_known_as_such() {
        let sleep = Sleep::new(Time::ZERO, false);
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
                spins: true,
                timer: Time::NEVER,
            }
        );
        assert!(
            !sleep.decide(at(10), true, at(11), &limits).spins,
            "there is work to do"
        );
    }

    #[test]
    fn a_timer_ends_the_sleep_to_the_microsecond() {
        let sleep = Sleep::new(Time::ZERO, true);
        let spin = Duration::from_micros(50);
        for (spin, timer) in [(Duration::ZERO, at(11)), (spin, at(11).before(spin))] {
            let limits = Limits {
                spin,
                ..Limits::default()
            };
            let wait = sleep.decide(at(10), false, at(11), &limits);
            assert_eq!(
                wait,
                Wait {
                    timeout: Some(timer - at(10)),
                    spins: false,
                    timer
                }
            );
            // Neither a poll nor a wait for ever needs one.
            for (is_runnable, deadline) in [(true, at(11)), (false, Time::NEVER), (false, at(9))] {
                let wait = sleep.decide(at(10), is_runnable, deadline, &limits);
                assert_eq!(wait.timer, Time::NEVER);
            }
        }
    }

    #[test]
    fn busy_polling_goes_on_for_a_while_after_an_event() {
        let mut sleep = Sleep::new(Time::ZERO, false);
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
        let mut sleep = Sleep::new(Time::ZERO, false);
        let found_nothing = [true, true, false, true, true, true];
        let spun = found_nothing.map(|found_nothing| sleep.spun(found_nothing));
        assert_eq!(spun, [false, true, false, false, true, true]);
    }

    #[test]
    fn a_selector_that_fails_is_asked_more_and_more_rarely() {
        let mut sleep = Sleep::new(Time::ZERO, false);
        let rests: Vec<_> = (0..9).map(|_| sleep.failed().0.as_millis()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
        sleep.succeeded();
        assert_eq!(sleep.failed(), (MS, true));
        assert_eq!(sleep.failed(), (2 * MS, false));
    }
}
