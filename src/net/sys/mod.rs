//! System calls that no library of ours wraps.
//!
//! Owns all unsafe code of the crate: socket options that socket2 does not know, a lock on a
//! directory, a timer, when bytes came, what a socket still holds for its peer, and, in `messages`,
//! many datagrams a call. Must never decide anything: one function is one system call, and every
//! pointer lives and dies in the function that makes it.

#![allow(unsafe_code)]

#[cfg(any(target_os = "linux", target_os = "android"))]
mod control;
pub(super) mod memory;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod messages;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod options;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod stamps;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod timer;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use self::messages::{receive, receive_unix, send};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use self::options::{
    offloads, prepare, set_bind_no_port, set_multicast_if, set_receive_buffer, set_send_buffer,
    stuck, unsent,
};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use self::stamps::{read_stamped, stamp};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use self::timer::{monotonic_nanos, set_timer, timer};

/// Takes an exclusive lock on a file or a directory, which ends when its last descriptor is closed.
///
/// # Errors
///
/// `WouldBlock` while another process holds it.
pub(super) fn try_lock(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes no pointer, and the descriptor is open for as long as it is borrowed.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
