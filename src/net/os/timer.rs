//! The timer of a poll: it ends a wait to the microsecond, where a selector takes milliseconds.
//!
//! Linux alone. `epoll_pwait2` and `ppoll` take nanoseconds too, but the kernel adds the slack of
//! the thread, 50 µs, and mio knows neither. A timerfd has no slack. It is watched edge-triggered,
//! so nothing has to be read from it: each expiry is an event, and setting it forgets the last one.
//!
//! Tests: `tests/precise_sleep.rs`.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use self::timerfd::Timer;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod timerfd {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::time::Instant;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry};

    use super::super::selectors::EDGE_AFTER_PARTIAL;
    use crate::net::sys;
    use crate::values::time::Time;
    use crate::values::token::Token;

    /// A timer, and what it is set to.
    #[derive(Debug)]
    pub(in crate::net::os) struct Timer {
        descriptor: OwnedFd,
        /// The monotonic clock at [`Time::ZERO`], never too early: a timer that fires before its
        /// time would have to be set again.
        zero: u64,
        set: Time,
    }

    impl Timer {
        /// A timer for the clock that began at `start`. None with mio's poll(2) selector, which
        /// would tell of the first expiry alone.
        pub(in crate::net::os) fn new(
            registry: &Registry,
            token: Token,
            start: Instant,
        ) -> io::Result<Option<Timer>> {
            if !EDGE_AFTER_PARTIAL {
                return Ok(None);
            }
            let elapsed = start.elapsed().as_nanos() as u64;
            let timer = Timer {
                descriptor: sys::timer()?,
                zero: sys::monotonic_nanos()?.saturating_sub(elapsed),
                set: Time::NEVER,
            };
            let descriptor = timer.descriptor.as_raw_fd();
            registry.register(&mut SourceFd(&descriptor), token.into(), Interest::READABLE)?;
            Ok(Some(timer))
        }

        /// Most waits end with an event long before the timer, and the next one has the same end.
        #[inline]
        pub(in crate::net::os) fn set(&mut self, at: Time) {
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
}

/// No timer.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Debug)]
pub(super) enum Timer {}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Timer {
    pub(super) fn new(
        _registry: &mio::Registry,
        _token: crate::values::token::Token,
        _start: std::time::Instant,
    ) -> std::io::Result<Option<Timer>> {
        Ok(None)
    }

    pub(super) fn set(&mut self, _at: crate::values::time::Time) {}
}
