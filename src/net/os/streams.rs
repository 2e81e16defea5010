//! What the system tells of a stream: what its peer has not taken, and how long bytes lay unread.
//!
//! Owns what becomes of a system that does not tell. It decides nothing.

use std::io::{self, Read};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::net::kinds::Stream;

/// Asks the kernel to tell when bytes come. One that does not is no reason not to speak.
pub(super) fn stamp(socket: &socket2::Socket) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = crate::net::sys::stamp(socket.as_fd());
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = socket;
}

/// Reads, and notes how long the bytes lay there.
#[cold]
pub(super) fn read_stamped(
    stream: &mut Stream,
    buffer: &mut [u8],
    unread: &mut Option<Duration>,
) -> io::Result<usize> {
    *unread = None;
    match stream {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Stream::Tcp(socket) => {
            let read = || crate::net::sys::read_stamped(socket.as_raw_fd(), buffer);
            let (count, waited) = socket.try_io(read)?;
            *unread = waited;
            Ok(count)
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Stream::Tcp(socket) => socket.read(buffer),
        Stream::Unix(socket) => socket.read(buffer),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn unsent(stream: &Stream) -> Option<usize> {
    let held = match stream {
        Stream::Tcp(socket) => crate::net::sys::unsent(socket.as_fd()),
        Stream::Unix(socket) => crate::net::sys::unsent(socket.as_fd()),
    };
    held.ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn unsent(_stream: &Stream) -> Option<usize> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_stuck(stream: &Stream) -> bool {
    match stream {
        Stream::Tcp(socket) => crate::net::sys::stuck(socket.as_fd()).is_ok_and(|bytes| bytes > 0),
        Stream::Unix(_) => false,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn is_stuck(_stream: &Stream) -> bool {
    false
}
