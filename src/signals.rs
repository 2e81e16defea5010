//! Signals as one more source of the loop.
//!
//! Owns which signals mean what. Must never act in a handler: the handler writes to a pipe (signal-hook), the loop reads it.

/// A signal that the server acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, SIGTERM: drain; the second one ends at once.
    Terminate,
}

impl Signal {
    /// The signals that are caught. SIGPIPE is ignored by Rust's runtime before `main`.
    #[cfg(feature = "cli")]
    pub(crate) const CAUGHT: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];

    /// What a signal's number means to us.
    #[cfg(feature = "cli")]
    pub(crate) fn of(number: libc::c_int) -> Option<Signal> {
        Signal::CAUGHT
            .contains(&number)
            .then_some(Signal::Terminate)
    }
}
