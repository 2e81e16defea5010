//! Readiness: what a source may be able to do next.
//!
//! Owns seven bits. Each bit is a *hint that stays set until the socket disproves it*. An event
//! sets a bit. Only the result of a system call clears it: `WouldBlock`, end of stream, or a short
//! transfer on a socket where that is proof. An edge-triggered selector announces a change once,
//! so a connection whose bit is cleared too early hangs for ever.
//!
//! Tests: below; `tests/simulation/` checks after every turn that no needed bit was lost.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of readiness bits.
///
/// Prints as seven columns, for example `rw-h---`: readable, writable, error, read closed (the
/// peer's half-close), write closed (hang-up), alarm, priority.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    /// No bit is set.
    pub const NONE: Ready = Ready(0);
    /// Input may be waiting: bytes, a connection, a datagram or a signal.
    pub const READABLE: Ready = Ready(1);
    /// The socket may accept output.
    pub const WRITABLE: Ready = Ready(1 << 1);
    /// An error may be pending on the socket.
    pub const ERROR: Ready = Ready(1 << 2);
    /// The peer has closed its write side. Unread input may precede the end of stream.
    pub const READ_CLOSED: Ready = Ready(1 << 3);
    /// No more output can be sent.
    pub const WRITE_CLOSED: Ready = Ready(1 << 4);
    /// A deadline of the source has passed.
    pub const ALARM: Ready = Ready(1 << 5);
    /// The input may hold an urgent mark. A read stops there, even if more input follows.
    pub const PRIORITY: Ready = Ready(1 << 6);

    /// Returns these bits if `holds`, and none otherwise.
    #[inline]
    pub fn when(self, holds: bool) -> Ready {
        Ready(self.0 * u8::from(holds))
    }

    /// Returns whether every bit of `other` is set.
    #[inline]
    pub fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether any bit of `other` is set.
    #[inline]
    pub fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns whether no bit is set.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Clears the bits of `other`.
    #[inline]
    pub fn remove(&mut self, other: Ready) {
        self.0 &= !other.0;
    }

    /// Clears the bits of `other` and returns whether any was set.
    #[inline]
    pub fn take(&mut self, other: Ready) -> bool {
        let was = self.intersects(other);
        self.remove(other);
        was
    }
}

impl BitOr for Ready {
    type Output = Ready;

    #[inline]
    fn bitor(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    #[inline]
    fn bitor_assign(&mut self, other: Ready) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns = [b'-'; 7];
        for (bit, letter) in b"rwehHap".iter().enumerate() {
            if self.0 & 1 << bit != 0 {
                columns[bit] = *letter;
            }
        }
        f.pad(std::str::from_utf8(&columns).unwrap_or_default())
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ready({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_print_in_columns() {
        assert_eq!(Ready::NONE.to_string(), "-------");
        assert_eq!(
            (Ready::READABLE | Ready::WRITABLE | Ready::READ_CLOSED).to_string(),
            "rw-h---"
        );
        assert_eq!(
            (Ready::ERROR | Ready::WRITE_CLOSED | Ready::ALARM).to_string(),
            "--e-Ha-"
        );
    }

    #[test]
    fn take_clears_what_it_reports() {
        let mut ready = Ready::READABLE | Ready::ALARM;
        assert!(ready.take(Ready::ALARM));
        assert!(!ready.take(Ready::ALARM));
        assert_eq!(ready, Ready::READABLE);
        assert!(!ready.contains(Ready::READABLE | Ready::WRITABLE));
        assert!(ready.intersects(Ready::READABLE | Ready::WRITABLE));
        assert_eq!((ready.when(true), ready.when(false)), (ready, Ready::NONE));
    }
}
