//! What the selectors of the operating systems promise, and what sockets are watched for.

use mio::Interest;

/// epoll and kqueue announce new readiness after a short transfer; mio's poll(2) selector re-arms
/// on `WouldBlock` alone.
pub(super) const EDGE_AFTER_PARTIAL: bool = cfg!(all(
    not(mio_unsupported_force_poll_poll),
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "illumos",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
    )
));

/// Whether events announce urgent marks, where a TCP read ends early.
pub(super) const HAS_PRIORITY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What a Unix stream and a datagram socket are watched for.
pub(super) const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// What a TCP stream is watched for: urgent marks too. A Unix stream does not need them, because a
/// short read on it never proves that it is empty.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const BOTH_AND_PRIORITY: Interest = BOTH.add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const BOTH_AND_PRIORITY: Interest = BOTH;
