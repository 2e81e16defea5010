//! What could not be reached, and what is said of it.
//!
//! Owns the sentence about a peer that no address of led to, and the exit status that goes with it.
//! Must never leave out an address that was tried.

use std::io;
use std::time::Duration;

use mynah::{Address, CloseReason, Endpoint, StartError};

use super::status::{Failure, Status};

/// An address that was tried.
#[derive(Debug)]
pub(super) struct Unreached {
    address: Address,
    reason: CloseReason,
    why: String,
}

impl Unreached {
    /// A connection that could not even be begun.
    pub(super) fn unbegun(address: &Address, error: &StartError) -> Unreached {
        let words = error.to_string();
        let why = words
            .strip_prefix(&format!("cannot connect to {address}: "))
            .unwrap_or(&words)
            .to_owned();
        Unreached {
            address: address.clone(),
            reason: reason_of(error.kind()),
            why,
        }
    }

    /// One that was begun and not made, within `timeout`.
    pub(super) fn closed(
        address: &Address,
        reason: CloseReason,
        timeout: Option<Duration>,
    ) -> Unreached {
        Unreached {
            address: address.clone(),
            reason,
            why: words_of(reason, timeout),
        }
    }
}

/// No address of an endpoint answered.
pub(super) fn unconnected(endpoint: &Endpoint, tried: &[Unreached]) -> Failure {
    let Some(Unreached {
        address,
        reason,
        why,
    }) = tried.last()
    else {
        return Failure::new(
            Status::Unresolved,
            format_args!("{endpoint} stands for no address"),
        );
    };
    let is_itself = tried.len() == 1 && address.to_string() == endpoint.to_string();
    let tried = if is_itself {
        why.clone()
    } else {
        tried
            .iter()
            .map(|tried| format!("{}: {}", tried.address, tried.why))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let hint = if tried.contains("; ") {
        ""
    } else {
        hint(*reason)
    };
    Failure::new(
        status_of(*reason),
        format_args!("cannot connect to {endpoint}: {tried}{hint}"),
    )
}

/// Why a connection is over.
pub(super) fn words_of(reason: CloseReason, timeout: Option<Duration>) -> String {
    match (reason, timeout) {
        (CloseReason::TimedOut, Some(timeout)) => format!("timed out after {timeout:?}"),
        (CloseReason::Refused, _) => "connection refused".to_owned(),
        (CloseReason::Reset, _) => "connection reset by the peer".to_owned(),
        _ => reason.to_string(),
    }
}

/// What can be done, where that is known.
pub(super) fn hint(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Refused => {
            "; nobody listens there: check the port, and whether the server runs"
        }
        CloseReason::TimedOut => {
            "; check the address and what filters on the way, or raise --timeout"
        }
        CloseReason::Unreachable => {
            "; no way leads there: check the address and this machine's routes"
        }
        _ => "",
    }
}

/// What an error of beginning a connection amounts to.
pub(super) fn reason_of(kind: io::ErrorKind) -> CloseReason {
    match kind {
        // A Unix socket whose backlog stayed full.
        io::ErrorKind::WouldBlock => CloseReason::TimedOut,
        kind => CloseReason::of_error(&kind.into()),
    }
}

/// The exit status that says why.
pub(super) fn status_of(reason: CloseReason) -> Status {
    match reason {
        CloseReason::Refused => Status::Refused,
        CloseReason::TimedOut => Status::TimedOut,
        CloseReason::Reset => Status::Reset,
        CloseReason::Unreachable => Status::Unreachable,
        _ => Status::Failed,
    }
}
