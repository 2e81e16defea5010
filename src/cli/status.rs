//! How the program ends: exit statuses, and the one line that explains a failure.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::sink;

/// The exit statuses; scripts depend on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything that was asked for was done.
    Done = 0,
    /// Any other failure; for a server, conversations were cut at its end.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Nobody listens at the address.
    Refused = 3,
    /// No answer came in time.
    TimedOut = 4,
    /// The peer reset the connection.
    Reset = 5,
    /// No way leads to the address.
    Unreachable = 6,
    /// A name does not resolve.
    Unresolved = 7,
    /// A check failed: an answer was not as expected, or a requirement was not met.
    Unmet = 8,
    /// The generator spoiled the run: its numbers say more of it than of the target.
    Spoiled = 9,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// Why the program ends early. Displays as one line.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl fmt::Display) -> Failure {
        Failure {
            status,
            message: message.to_string(),
        }
    }

    /// Writes the line to standard error and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        // If standard error is closed there is nobody left to tell.
        let line = format!("mynah: {}\n", self.message);
        let _ = sink::write_all(io::stderr(), line.as_bytes());
        self.status.into()
    }
}
