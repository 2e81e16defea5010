//! Datagrams on their way in and out, many at a time.
//!
//! Owns the one buffer that all datagram sockets receive into, and what a datagram brings beside
//! its bytes. Must never decide which peer is answered.
//!
//! ```text
//!   buffer   │ slot 0            │ slot 1            │ … BURST slots of SLOT bytes
//!            │ aaaa bbbb cc      │ dddd              │
//!   parts      0: three datagrams  1: one               one part for each message of the kernel
//! ```
//!
//! A kernel that coalesces (UDP_GRO) gives several datagrams of one sender as one message. All but
//! the last have the same size, so a part has a segment size.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::sys::memory;
use crate::values::limits::READ_BUFFER;
use crate::values::path::Path;

/// The most messages that one call receives or sends; 1 MiB of address space in all. 8, 16, 32 and
/// 64 gave the same CPU time and the same rates beside a C loop with 32 a call: 1.11 to 1.12 times
/// that loop's with 64 datagrams in flight, 1.01 to 1.02 times with 50 flows of 4.
pub const BURST: usize = 16;

/// Room for one message, in bytes: the longest datagram of UDP, whatever a kernel coalesces, and a
/// Unix datagram of 65,536 bytes. A longer Unix datagram is cut, says so, and is never answered.
pub const SLOT: usize = READ_BUFFER;

/// One message of the kernel: a datagram, or several of one sender.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it came from.
    pub path: Path,
    /// Where its bytes begin in the buffer.
    pub at: usize,
    /// How many there are.
    pub size: usize,
    /// How long each of its datagrams is; the last may be shorter. Never 0.
    pub segment: usize,
    /// Whether the datagram was longer than its slot.
    pub is_cut: bool,
    /// How long it lay in the socket, where that was told.
    pub unread: Option<Duration>,
}

impl Part {
    /// Where its datagrams stand in the buffer, in the order in which they came. An empty datagram
    /// counts.
    pub fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (at, end, segment) = (self.at, self.at + self.size, self.segment);
        let count = self.size.div_ceil(segment).max(1);
        (0..count).map(move |index| at + index * segment..end.min(at + (index + 1) * segment))
    }
}

/// Datagrams that were received together. Only used memory is touched: small datagrams cost one
/// page a slot.
#[derive(Debug, Default)]
pub struct Burst {
    buffer: Vec<u8>,
    /// What was received.
    pub parts: Vec<Part>,
    /// Whether the socket had less than there was room for.
    pub is_short: bool,
    /// How many datagrams the kernel has dropped on this socket because its buffer was full, if the
    /// kernel tells; it wraps.
    pub dropped: Option<u32>,
}

impl Burst {
    /// Forgets what was received.
    ///
    /// # Errors
    ///
    /// There is no memory for the buffer, which the first call makes.
    pub fn begin(&mut self) -> io::Result<()> {
        self.parts.clear();
        self.is_short = false;
        self.dropped = None;
        if self.buffer.is_empty() {
            self.parts.try_reserve(BURST)?;
            self.buffer = memory::zeroed(BURST * SLOT).ok_or(io::ErrorKind::OutOfMemory)?;
        }
        Ok(())
    }

    /// The buffer, to receive into.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Notes the one datagram at the beginning of the buffer, on a system that does not say whether
    /// it was cut: a datagram that fills its slot may have been longer.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn take_one(&mut self, size: usize, path: Path) {
        self.parts.push(Part {
            path,
            at: 0,
            size,
            segment: size.max(1),
            is_cut: size >= SLOT,
            unread: None,
        });
    }

    /// The bytes that were received.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }
}

/// One or several datagrams of equal size to one peer.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// To which peer, from which address of ours, with how many hops.
    pub path: &'a Path,
    /// The bytes, in pieces.
    pub pieces: &'a [std::io::IoSlice<'a>],
    /// If they are several datagrams: how long each is; the last may be shorter. The kernel or the
    /// device cuts them, and no piece ends inside one.
    pub segment: Option<u16>,
}

impl<'a> Transmit<'a> {
    /// How many bytes this is.
    pub fn size(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    /// How many datagrams this is.
    pub fn count(&self) -> usize {
        self.segment
            .map_or(1, |segment| self.size().div_ceil(segment.into()))
    }

    /// The datagrams of a message that is several.
    pub fn datagrams(&self, segment: u16) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.pieces
            .iter()
            .flat_map(move |piece| piece.chunks(segment.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::peer::Peer;

    #[test]
    fn a_message_is_cut_where_its_datagrams_end() {
        let (path, bytes) = (Path::plain(Peer::unnamed()), [1, 2, 3, 4, 5]);
        let pieces = [
            std::io::IoSlice::new(&bytes[..4]),
            std::io::IoSlice::new(&bytes[4..]),
        ];
        let message = Transmit {
            path: &path,
            pieces: &pieces,
            segment: Some(2),
        };
        assert_eq!(message.count(), 3);
        assert_eq!(
            message.datagrams(2).collect::<Vec<_>>(),
            [&[1, 2][..], &[3, 4], &[5]]
        );
        assert_eq!(
            Transmit {
                segment: None,
                ..message
            }
            .count(),
            1
        );
    }

    #[test]
    fn a_part_is_cut_where_its_datagrams_end() {
        let part = |size, segment| Part {
            path: Path::plain(Peer::unnamed()),
            at: 100,
            size,
            segment,
            is_cut: false,
            unread: None,
        };
        assert_eq!(
            part(10, 4).datagrams().collect::<Vec<_>>(),
            [100..104, 104..108, 108..110]
        );
        assert_eq!(
            part(8, 4).datagrams().collect::<Vec<_>>(),
            [100..104, 104..108]
        );
        assert!(part(3, 3).datagrams().eq(std::iter::once(100..103)));
        assert!(
            part(0, 1).datagrams().eq(std::iter::once(100..100)),
            "an empty datagram is one"
        );
    }
}
