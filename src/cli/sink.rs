//! Writing to a descriptor that refuses for a while.
//!
//! Owns the meaning of each error of a write: what can be tried again, and when. It must never take
//! an error that passes for the end: standard output may be a pipe that another process made
//! non-blocking, and a disk that is full has room again later.
//!
//! Tests: below; `outlet.rs` with a scripted sink; `tests/stuck_output.rs` with the real binary.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Where an outlet writes. A trait, so that a test can script the errors.
pub(super) trait Sink: Send {
    /// Writes the beginning of `bytes`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits until a write may succeed that gave `WouldBlock`.
    fn wait_writable(&mut self);

    /// Waits for `time`.
    fn pause(&mut self, time: Duration);
}

/// When to try a write again that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// A signal interrupted it.
    AtOnce,
    /// The descriptor is non-blocking and full.
    WhenWritable,
    /// The disk is full, the device fails: this may pass.
    Later,
    /// The reader is gone.
    Never,
}

impl Retry {
    /// When to try again after `error`.
    pub(super) fn after(error: &io::Error) -> Retry {
        match error.kind() {
            io::ErrorKind::Interrupted => Retry::AtOnce,
            io::ErrorKind::WouldBlock => Retry::WhenWritable,
            io::ErrorKind::BrokenPipe => Retry::Never,
            _ if Errno::from_io_error(error) == Some(Errno::BADF) => Retry::Never,
            _ => Retry::Later,
        }
    }
}

/// Standard output or standard error, without the buffer of the standard library: after an error
/// that buffer hides how much was written.
#[derive(Debug)]
pub(super) struct Descriptor<F>(pub(super) F);

impl<F: AsFd> Descriptor<F> {
    /// Whether a short write does not wait. An error counts too: the write tells it.
    fn is_writable(&self) -> bool {
        let timeout = rustix::event::Timespec::default();
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&timeout));
        ready.is_ok_and(|ready| ready > 0)
    }
}

impl<F: AsFd + Send> Sink for Descriptor<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn wait_writable(&mut self) {
        // Whatever it returns, the next write tells.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None);
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// Writes all of `bytes` to standard output or standard error, and waits for their reader if need
/// be. For a program that has nothing else to do meanwhile.
///
/// # Errors
///
/// The first error that does not pass by waiting for the reader.
pub(super) fn write_all(descriptor: impl AsFd + Send, mut bytes: &[u8]) -> io::Result<()> {
    let mut sink = Descriptor(descriptor);
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => match Retry::after(&error) {
                Retry::AtOnce => {}
                Retry::WhenWritable => sink.wait_writable(),
                Retry::Later | Retry::Never => return Err(error),
            },
        }
    }
    Ok(())
}

/// What a pipe takes without a wait if it takes anything (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;

/// Writes as much of `bytes` to standard output as it takes without a wait, and returns the rest.
/// Of a descriptor that is closed or broken nothing is left to say: there is no rest.
pub(super) fn write_now(descriptor: impl AsFd + Send, mut bytes: &[u8]) -> &[u8] {
    let mut sink = Descriptor(descriptor);
    while !bytes.is_empty() {
        if !sink.is_writable() {
            return bytes;
        }
        match sink.write(&bytes[..bytes.len().min(PIECE)]) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) => match Retry::after(&error) {
                Retry::AtOnce => {}
                Retry::WhenWritable | Retry::Later => return bytes,
                Retry::Never => return &[],
            },
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_gone_reader_alone_is_final() {
        for (errno, expected) in [
            (Errno::INTR, Retry::AtOnce),
            (Errno::AGAIN, Retry::WhenWritable),
            (Errno::NOSPC, Retry::Later),
            (Errno::IO, Retry::Later),
            (Errno::DQUOT, Retry::Later),
            (Errno::PIPE, Retry::Never),
            (Errno::BADF, Retry::Never),
        ] {
            assert_eq!(Retry::after(&errno.into()), expected, "{errno}");
        }
    }

    #[test]
    fn a_full_non_blocking_descriptor_is_waited_for() {
        let (mut far, near) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let bytes: Vec<u8> = (0..1 << 20).map(|index| (index % 251) as u8).collect();
        let reading = thread::spawn(move || {
            let mut got = Vec::new();
            far.read_to_end(&mut got).map(|_| got)
        });
        write_all(&near, &bytes).unwrap();
        drop(near);
        assert!(reading.join().unwrap().unwrap() == bytes);
    }
}
