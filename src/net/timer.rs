//! The timer of a poll: it ends a wait to the microsecond, where a selector takes milliseconds.
//!
//! Linux alone. `epoll_pwait2` and `ppoll` take nanoseconds too, but the kernel adds the slack of
//! the thread, 50 µs, and mio knows neither. A timerfd has no slack. It is watched edge-triggered,
//! so nothing has to be read from it: each expiry is an event, and setting it forgets the last one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use super::sys;
use crate::values::time::Time;

/// A timer, and what it is set to.
#[derive(Debug)]
pub(super) struct Timer {
    descriptor: OwnedFd,
    /// The monotonic clock at [`Time::ZERO`], never too early: a timer that fires before its time
    /// would have to be set again.
    zero: u64,
    set: Time,
}

impl Timer {
    /// A timer for the clock that began at `start`.
    pub(super) fn new(start: Instant) -> io::Result<Timer> {
        let elapsed = start.elapsed().as_nanos() as u64;
        Ok(Timer {
            descriptor: sys::timer()?,
            zero: sys::monotonic_nanos()?.saturating_sub(elapsed),
            set: Time::NEVER,
        })
    }

    pub(super) fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Most waits end with an event long before the timer, and the next one has the same end.
    #[inline]
    pub(super) fn set(&mut self, at: Time) {
        if self.set == at {
            return;
        }
        self.set = at;
        let nanos = self.zero.saturating_add(at.as_nanos()).max(1);
        if let Err(error) = sys::set_timer(self.descriptor.as_fd(), nanos) {
            // The wait ends by its timeout, up to a millisecond late.
            log::debug!("cannot set the timer: {error}");
        }
    }
}
