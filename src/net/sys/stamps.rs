//! When the kernel received what is read.
//!
//! Owns `SO_TIMESTAMPNS` (socket(7)): with each read the kernel tells when the last of its bytes
//! came from the network, by the clock of the day.

use std::io;
use std::mem;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use super::options::set;

/// Asks for it.
pub(crate) fn stamp(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Reads from a stream, and tells how long the last of the bytes had lain in the socket.
pub(crate) fn read_stamped(
    socket: RawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<Duration>)> {
    let mut slot = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut control = [0u64; 8];
    // SAFETY: a plain C structure, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut slot;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control) as _;
    // SAFETY: the header names one slot and one control buffer, with their sizes, and both outlive
    // the call.
    let count = unsafe { libc::recvmsg(socket, &raw mut header, 0) };
    let Ok(count) = usize::try_from(count) else {
        return Err(io::Error::last_os_error());
    };
    let mut stamp = None;
    // SAFETY: the kernel has written control messages of `msg_controllen` bytes there, and the
    // macros of cmsg(3) stay within them; the value is read without asking for alignment.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(message) = next.as_ref() {
            if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)
            {
                let data = libc::CMSG_DATA(message).cast::<libc::timespec>();
                stamp = Some(data.read_unaligned());
            }
            next = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok((count, stamp.map(since)))
}

/// How long ago a time of day was. A clock that was set back says: just now.
pub(super) fn since(stamp: libc::timespec) -> Duration {
    let stamp = Duration::new(
        stamp.tv_sec.try_into().unwrap_or(0),
        stamp.tv_nsec.try_into().unwrap_or(0),
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(stamp)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;

    #[test]
    fn a_read_tells_how_long_its_bytes_waited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        stamp(ours.as_fd()).unwrap();
        // The first bytes that come after the option was set may still come without a stamp.
        let mut waited = None;
        for _ in 0..100 {
            let sent = std::time::Instant::now();
            peer.write_all(b"here").unwrap();
            let mut buffer = [0; 16];
            let (count, told) = read_stamped(ours.as_raw_fd(), &mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"here");
            if let Some(told) = told {
                assert!(told <= sent.elapsed(), "{told:?}");
                waited = Some(told);
            }
        }
        assert!(waited.is_some());
    }
}
