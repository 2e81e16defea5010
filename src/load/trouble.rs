//! What goes wrong with exchanges and with connections.
//!
//! Owns the kinds, how often each occurred, and the first of each in words. Must never grow with
//! what happens: one count and one text a kind.
//!
//! Tests: below.

use std::fmt;

use crate::values::error::CloseReason;

/// What can go wrong with an exchange, or with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Trouble {
    /// Nobody listens there.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// No answer, or no connection, in time.
    TimedOut,
    /// The peer ended the connection although it was still needed.
    ClosedEarly,
    /// The answer was not the one that was expected.
    Mismatch,
    /// An answer to nothing that was asked.
    Unasked,
    /// No way leads to the peer.
    Unreachable,
    /// All local ports are in use.
    NoPort,
    /// The process has no more descriptors.
    NoDescriptor,
    /// Anything else.
    Other,
}

impl Trouble {
    /// All of them, in the order of their numbers.
    pub const ALL: [Trouble; 10] = [
        Trouble::Refused,
        Trouble::Reset,
        Trouble::TimedOut,
        Trouble::ClosedEarly,
        Trouble::Mismatch,
        Trouble::Unasked,
        Trouble::Unreachable,
        Trouble::NoPort,
        Trouble::NoDescriptor,
        Trouble::Other,
    ];

    /// One word, as reports for programs have it.
    pub fn name(self) -> &'static str {
        match self {
            Trouble::Refused => "refused",
            Trouble::Reset => "reset",
            Trouble::TimedOut => "timed_out",
            Trouble::ClosedEarly => "closed_early",
            Trouble::Mismatch => "mismatch",
            Trouble::Unasked => "unasked",
            Trouble::Unreachable => "unreachable",
            Trouble::NoPort => "no_port",
            Trouble::NoDescriptor => "no_descriptor",
            Trouble::Other => "other",
        }
    }

    /// What the end of a connection amounts to that was still needed.
    pub fn of_close(reason: CloseReason) -> Trouble {
        match reason {
            CloseReason::Refused => Trouble::Refused,
            CloseReason::Reset => Trouble::Reset,
            CloseReason::TimedOut | CloseReason::IdleTimeout | CloseReason::WriteTimeout => {
                Trouble::TimedOut
            }
            CloseReason::Unreachable => Trouble::Unreachable,
            CloseReason::PeerClosed | CloseReason::Finished => Trouble::ClosedEarly,
            _ => Trouble::Other,
        }
    }

    /// What an error of a call amounts to.
    pub fn of_error(kind: std::io::ErrorKind, code: Option<i32>) -> Trouble {
        match (kind, code) {
            (std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::AddrInUse, _) => {
                Trouble::NoPort
            }
            (_, Some(libc::EMFILE | libc::ENFILE)) => Trouble::NoDescriptor,
            _ => match Trouble::of_close(CloseReason::of_error(&kind.into())) {
                Trouble::ClosedEarly => Trouble::Other,
                trouble => trouble,
            },
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::TimedOut => "timed out",
            Trouble::ClosedEarly => "closed early",
            Trouble::NoPort => "no local port left",
            Trouble::NoDescriptor => "no descriptor left",
            other => other.name(),
        })
    }
}

/// What went wrong: how often of each kind, and the first of each in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    counts: [u64; Trouble::ALL.len()],
    first: [Option<Box<str>>; Trouble::ALL.len()],
}

impl Troubles {
    /// Counts `count` of a kind; `words` are asked for where they are the first.
    #[cold]
    pub fn count(&mut self, trouble: Trouble, count: u64, words: impl FnOnce() -> String) {
        let index = trouble as usize;
        if self.first[index].is_none() && count > 0 {
            self.first[index] = Some(words().into());
        }
        self.counts[index] += count;
    }

    /// Adds those of another one, which came later.
    pub fn add(&mut self, other: &Troubles) {
        for (trouble, count, words) in other.iter() {
            self.count(trouble, count, || words.to_owned());
        }
    }

    /// How many of a kind.
    pub fn get(&self, trouble: Trouble) -> u64 {
        self.counts[trouble as usize]
    }

    /// How many of all kinds.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those that there are, each with its count and the first of them in words.
    pub fn iter(&self) -> impl Iterator<Item = (Trouble, u64, &str)> {
        let all = Trouble::ALL.into_iter().zip(self.counts).zip(&self.first);
        all.filter(|((_, count), _)| *count > 0)
            .map(|((trouble, count), first)| (trouble, count, first.as_deref().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_its_own_place_and_name() {
        for (index, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(trouble as usize, index);
            assert_eq!(
                Trouble::ALL
                    .iter()
                    .filter(|other| other.name() == trouble.name())
                    .count(),
                1
            );
        }
    }
}
