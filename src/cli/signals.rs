//! Signals that must not end the process.
//!
//! Owns what happens to them before the loop runs, and to SIGXFSZ always. It never acts on a
//! signal: the loop does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGUSR1, SIGXFSZ};

/// A file that reaches the limit of the process (`ulimit -f`) is an error of the write, which the
/// output counts and reports, and not the end.
pub(crate) fn survive_file_limit() -> io::Result<()> {
    survive(SIGXFSZ)
}

/// The signals by which an operator talks to a server. They may come before the loop listens to
/// them, as while a name is looked up.
pub(crate) fn survive_operator() -> io::Result<()> {
    survive(SIGHUP)?;
    survive(SIGUSR1)
}

fn survive(signal: i32) -> io::Result<()> {
    signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map(|_| ())
}
