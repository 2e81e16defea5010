//! Signals, as one more source of the loop.
//!
//! Owns the meaning of each signal. It must never act inside a signal handler: the handler of
//! signal-hook writes to a pipe, and the loop reads that pipe.

/// A signal that the server acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, SIGTERM: drain. A second one stops the server at once.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: log the statistics.
    Report,
}

impl Signal {
    /// The target of the log lines that answer a signal. The program shows them at every level,
    /// because an operator asked for them.
    pub const LOG_TARGET: &str = module_path!();

    /// The signals to catch. SIGPIPE is not one: Rust's runtime ignores it before `main`.
    #[cfg(feature = "cli")]
    pub(crate) const CAUGHT: [libc::c_int; 4] =
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1];

    /// Returns what a signal number means, or `None` if it is not caught.
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
