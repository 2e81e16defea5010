//! Signals as one more source of the loop.
//!
//! Owns which signals mean what. It never acts in a handler: the handler writes to a pipe (signal-hook),
//! and the loop reads that pipe.

/// A signal that the server acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, SIGTERM: drain; the second one stops at once.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: log the statistics.
    Report,
}

impl Signal {
    /// The signals that are caught. Rust's runtime ignores SIGPIPE before `main`.
    #[cfg(feature = "cli")]
    pub(crate) const CAUGHT: [libc::c_int; 4] =
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1];

    /// The meaning of a signal's number.
    #[cfg(feature = "cli")]
    pub(crate) fn of(number: libc::c_int) -> Option<Signal> {
        match number {
            libc::SIGINT | libc::SIGTERM => Some(Signal::Terminate),
            libc::SIGHUP => Some(Signal::Reload),
            libc::SIGUSR1 => Some(Signal::Report),
            _ => None,
        }
    }
}
