//! A timer that is a descriptor (timerfd), so that a selector can wait for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const NANOS: u64 = 1_000_000_000;

/// A timer on the monotonic clock that is not set.
pub(in crate::net) fn timer() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let descriptor = unsafe {
        libc::timerfd_create(
            libc::CLOCK_MONOTONIC,
            libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
        )
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the descriptor is open, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Sets a timer to so many nanoseconds of the monotonic clock. One that lies in the past fires at
/// once; zero would switch the timer off.
pub(in crate::net) fn set_timer(timer: BorrowedFd<'_>, nanos: u64) -> io::Result<()> {
    let never = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let at = libc::itimerspec {
        it_interval: never,
        it_value: libc::timespec {
            tv_sec: (nanos / NANOS) as libc::time_t,
            tv_nsec: (nanos % NANOS) as libc::c_long,
        },
    };
    // SAFETY: `at` lives until the call returns, a null pointer asks for no old value, and the
    // descriptor is open for as long as it is borrowed.
    let result = unsafe {
        libc::timerfd_settime(
            timer.as_raw_fd(),
            libc::TFD_TIMER_ABSTIME,
            &at,
            std::ptr::null_mut(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The monotonic clock, which is that of the timer.
pub(in crate::net) fn monotonic_nanos() -> io::Result<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` lives until the call returns.
    match unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) } {
        0 => Ok(now.tv_sec as u64 * NANOS + now.tv_nsec as u64),
        _ => Err(io::Error::last_os_error()),
    }
}
