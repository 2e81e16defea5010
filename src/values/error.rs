//! What can go wrong, split by who must act on it.
//!
//! * [`CloseReason`]: the peer, or nobody. One connection ends, and its reason is logged and
//!   counted.
//! * `AcceptError`: the machine. Accepting goes on or pauses; it never ends.
//! * [`StartError`]: the user, before anything runs. It says what was tried, on which address, why
//!   it failed, and what to do.
//!
//! Our own defects are `debug_assert!`s. Nothing here panics.

use std::fmt;
use std::io;

/// Why a connection ended. Counted one by one in [`Stats::closed`](crate::Stats::closed).
///
/// A service names `Finished`, `MessageTooLong` or `MessageTimeout` when it finishes, and `Aborted`
/// or `NoMemory` when it aborts; it may repeat the reason that [`on_finish`] gave it. Only the loop
/// may use the others: a service would make it count something that did not happen.
///
/// [`on_finish`]: crate::service::Service::on_finish
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The peer ended its sending side, and all pending output was sent.
    PeerClosed,
    /// The service asked to finish: what it said was sent before our end of stream.
    Finished,
    /// No byte moved in either direction for the idle timeout.
    IdleTimeout,
    /// Pending output made no progress for the write timeout.
    WriteTimeout,
    /// The peer reset the connection, or went away while output was pending.
    Reset,
    /// No server listens at the remote address.
    Refused,
    /// The connection was not established in time, or the peer's machine stopped answering.
    TimedOut,
    /// There is no route to the peer.
    Unreachable,
    /// The socket reported another error.
    Failed,
    /// The service asked to abort.
    Aborted,
    /// The service wrote more than the outbox may hold: a defect of the service.
    OutboxFull,
    /// The peer sent a message that is longer than the limit.
    MessageTooLong,
    /// A message began, and no more of it came for the message timeout.
    MessageTimeout,
    /// All connections together had too much pending output, and this one had stalled the longest.
    OutputLimit,
    /// There was no memory to keep bytes for this peer.
    NoMemory,
    /// The service panicked: a defect of the service.
    Panicked,
    /// Quiet while the server was draining.
    Drained,
    /// Cut at the end of a drain, with pending output or unread input.
    Cut,
}

impl CloseReason {
    /// All reasons, in the order of [`Stats::closed`](crate::Stats::closed).
    pub const ALL: [CloseReason; 18] = [
        CloseReason::PeerClosed,
        CloseReason::Finished,
        CloseReason::IdleTimeout,
        CloseReason::WriteTimeout,
        CloseReason::Reset,
        CloseReason::Refused,
        CloseReason::TimedOut,
        CloseReason::Unreachable,
        CloseReason::Failed,
        CloseReason::Aborted,
        CloseReason::OutboxFull,
        CloseReason::MessageTooLong,
        CloseReason::MessageTimeout,
        CloseReason::OutputLimit,
        CloseReason::NoMemory,
        CloseReason::Panicked,
        CloseReason::Drained,
        CloseReason::Cut,
    ];

    /// Whether the connection must end with a reset even if no output is pending. An end of stream
    /// would tell the peer that it has got everything, and here that is not known.
    pub fn is_abortive(self) -> bool {
        use CloseReason::*;
        matches!(
            self,
            WriteTimeout | Aborted | OutboxFull | OutputLimit | NoMemory | Panicked | Cut
        )
    }

    /// Whether the server chose to end the connection, and neither the peer nor the service did.
    pub fn is_ours(self) -> bool {
        use CloseReason::*;
        matches!(
            self,
            IdleTimeout
                | WriteTimeout
                | OutboxFull
                | OutputLimit
                | NoMemory
                | Panicked
                | Drained
                | Cut
        )
    }

    /// The reason that an I/O error of a connection amounts to, whether it is open or still to be
    /// made.
    pub fn of_error(error: &io::Error) -> CloseReason {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => CloseReason::Reset,
            // What shutdown returns after a reset. After an end of stream no read reports the
            // reset.
            io::ErrorKind::NotConnected => CloseReason::Reset,
            io::ErrorKind::ConnectionRefused => CloseReason::Refused,
            io::ErrorKind::TimedOut => CloseReason::TimedOut,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => CloseReason::Unreachable,
            _ => CloseReason::Failed,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::PeerClosed => "peer closed",
            CloseReason::Finished => "finished",
            CloseReason::IdleTimeout => "idle timeout",
            CloseReason::WriteTimeout => "write timeout",
            CloseReason::Reset => "reset by peer",
            CloseReason::Refused => "refused",
            CloseReason::TimedOut => "timed out",
            CloseReason::Unreachable => "unreachable",
            CloseReason::Failed => "socket error",
            CloseReason::Aborted => "aborted by the service",
            CloseReason::OutboxFull => "outbox full",
            CloseReason::MessageTooLong => "message too long",
            CloseReason::MessageTimeout => "message timeout",
            CloseReason::OutputLimit => "total pending output limit",
            CloseReason::NoMemory => "out of memory",
            CloseReason::Panicked => "the service panicked",
            CloseReason::Drained => "drained",
            CloseReason::Cut => "cut at the drain timeout",
        })
    }
}

/// What an error of `accept` asks for. accept(2) passes on errors of the connection and of the
/// network beside those of the listener. A server that confuses them ends because one client left
/// early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptError {
    /// The backlog is empty.
    Done,
    /// This connection is gone; the next one may be fine.
    Again,
    /// No descriptor or no memory: pause, and leave the rest in the backlog.
    Starved,
    /// Not in the table: counted, and treated as starved, so that it can neither end the listener
    /// nor make it spin.
    Unknown,
}

impl AcceptError {
    pub(crate) fn of(error: &io::Error) -> AcceptError {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                AcceptError::Starved
            }
            // accept(2), "Error handling": errors pending on the new socket, and rules of a
            // firewall.
            Some(
                libc::ECONNABORTED
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::ETIMEDOUT
                | libc::EPERM,
            ) => AcceptError::Again,
            _ => match error.kind() {
                io::ErrorKind::WouldBlock => AcceptError::Done,
                io::ErrorKind::Interrupted => AcceptError::Again,
                _ => AcceptError::Unknown,
            },
        }
    }
}

/// Why the service could not start. Displays as one line.
#[derive(Debug)]
pub struct StartError {
    tried: String,
    why: io::Error,
    hint: Option<&'static str>,
}

impl StartError {
    /// `tried` says what was tried and where, such as `listen on tcp://127.0.0.1:80`.
    pub fn new(tried: impl Into<String>, why: io::Error) -> StartError {
        StartError {
            tried: tried.into(),
            why,
            hint: None,
        }
    }

    /// Adds what the user can do about it.
    pub fn with_hint(self, hint: Option<&'static str>) -> StartError {
        StartError { hint, ..self }
    }

    /// The errno of the cause, if the operating system gave one.
    pub fn code(&self) -> Option<i32> {
        self.why.raw_os_error()
    }

    /// The kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        self.why.kind()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.tried, plain(&self.why))?;
        self.hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

/// The words of an error without std's " (os error 98)": the number does not say what to do.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_words() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(
                CloseReason::ALL
                    .iter()
                    .filter(|other| other.to_string() == reason.to_string())
                    .count(),
                1
            );
        }
    }

    #[test]
    fn a_peer_that_has_left_is_a_reset_whichever_call_tells_of_it() {
        let reason = |code| CloseReason::of_error(&io::Error::from_raw_os_error(code));
        for code in [
            libc::ECONNRESET,
            libc::EPIPE,
            libc::ENOTCONN,
            libc::ECONNABORTED,
        ] {
            assert_eq!(reason(code), CloseReason::Reset, "errno {code}");
        }
        assert_eq!(reason(libc::ECONNREFUSED), CloseReason::Refused);
        assert_eq!(reason(libc::ETIMEDOUT), CloseReason::TimedOut);
        for code in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ENETDOWN] {
            assert_eq!(reason(code), CloseReason::Unreachable, "errno {code}");
        }
        assert_eq!(reason(libc::EIO), CloseReason::Failed);
    }

    #[test]
    fn accept_errors_fall_into_four_classes() {
        let class = |code| AcceptError::of(&io::Error::from_raw_os_error(code));
        assert_eq!(class(libc::EAGAIN), AcceptError::Done);
        for code in [
            libc::EINTR,
            libc::ECONNABORTED,
            libc::EPROTO,
            libc::EPERM,
            libc::ENETDOWN,
        ] {
            assert_eq!(class(code), AcceptError::Again, "errno {code}");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(class(code), AcceptError::Starved, "errno {code}");
        }
        for code in [libc::EBADF, libc::EINVAL, libc::EFAULT, 9999] {
            assert_eq!(class(code), AcceptError::Unknown, "errno {code}");
        }
    }

    #[test]
    fn a_start_error_is_one_line() {
        let error = StartError::new(
            "listen on tcp://127.0.0.1:80",
            io::Error::from_raw_os_error(libc::EADDRINUSE),
        )
        .with_hint(Some("choose another port"));
        assert_eq!(
            error.to_string(),
            "cannot listen on tcp://127.0.0.1:80: address already in use; choose another port"
        );
    }
}
