//! What the system tells of a stream: what its peer has not taken, and how long bytes lay unread.
//!
//! Owns what becomes of a system that does not tell. It decides nothing.

use std::io;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::io::Read;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::net::TcpStream;

use crate::net::kinds::Stream;

/// Whether the kernel will tell.
pub(super) fn begin(socket: &socket2::Socket) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return crate::net::sys::stamp(socket.as_fd()).is_ok();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = socket;
        false
    }
}

/// Reads, and notes how long the bytes lay there.
#[cold]
pub(super) fn read(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    unread: &mut Option<Duration>,
) -> io::Result<usize> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let read = || crate::net::sys::read_stamped(socket.as_raw_fd(), buffer);
        let (count, waited) = socket.try_io(read)?;
        *unread = waited;
        Ok(count)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        *unread = None;
        socket.read(buffer)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn unsent(stream: &Stream) -> Option<usize> {
    let held = match stream {
        Stream::Tcp(socket) | Stream::Stamped(socket) => crate::net::sys::unsent(socket.as_fd()),
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
        Stream::Tcp(socket) | Stream::Stamped(socket) => {
            crate::net::sys::stuck(socket.as_fd()).is_ok_and(|bytes| bytes > 0)
        }
        Stream::Unix(_) => false,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn is_stuck(_stream: &Stream) -> bool {
    false
}
