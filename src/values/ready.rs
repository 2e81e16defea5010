//! Readiness: what a source may do next, as far as we know.
//!
//! Owns seven bits. They are *hints that stay true until the socket says otherwise*: an event sets them, and only an answer of the
//! socket (would block, end of stream, a short transfer where that is proof) clears them. Edge-triggered selectors announce
//! a change once, so a bit that is cleared too early is a connection that hangs for ever.
//!
//! Tests: below; `tests/simulation.rs` checks after every turn that no wanted bit is forgotten.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of readiness bits. Prints as seven columns, `rw-h---`: readable, writable, error, read closed (the peer's half-close),
/// write closed (hang-up), alarm, priority.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    /// Nothing is known to be possible.
    pub const NONE: Ready = Ready(0);
    /// Input (bytes, a connection, a datagram, a signal) may be waiting.
    pub const READABLE: Ready = Ready(1);
    /// The socket may take output.
    pub const WRITABLE: Ready = Ready(1 << 1);
    /// An error may be waiting on the socket.
    pub const ERROR: Ready = Ready(1 << 2);
    /// The peer has ended its sending side, though input may still stand before the end.
    pub const READ_CLOSED: Ready = Ready(1 << 3);
    /// Nothing more can be sent.
    pub const WRITE_CLOSED: Ready = Ready(1 << 4);
    /// A deadline of the source has passed.
    pub const ALARM: Ready = Ready(1 << 5);
    /// An urgent mark may stand in the input: a read stops there with more behind it.
    pub const PRIORITY: Ready = Ready(1 << 6);

    /// These bits where `holds`, none otherwise.
    #[inline]
    pub fn when(self, holds: bool) -> Ready {
        Ready(self.0 * u8::from(holds))
    }

    /// Whether every bit of `other` is set.
    #[inline]
    pub fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[inline]
    pub fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no bit is set.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Clears the bits of `other`.
    #[inline]
    pub fn remove(&mut self, other: Ready) {
        self.0 &= !other.0;
    }

    /// Clears the bits of `other` and tells whether any was set.
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
