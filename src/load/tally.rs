//! The results of a run: counts, and histograms of times.
//!
//! Owns the sums, and how those of several threads or intervals become one. Must never hold a time
//! that was not measured: nothing is interpolated, and what was not answered is counted apart,
//! never left out in silence.
//!
//! The **window** is the time that is measured, after the warm-up. An exchange belongs to it if it
//! was meant to be sent in it, and is waited for after its end: a window that closed over what is
//! still on its way would leave out the slowest answers of all.
//!
//! Tests: below; `tests/load_truth.rs` counts what servers do on purpose.

use std::fmt;

use super::stage_tally::StageTallies;
use super::times::Times;
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

macro_rules! tally {
    ($($(#[$doc:meta])* $count:ident),*; $($(#[$times_doc:meta])* $times:ident),* $(,)?) => {
        /// What happened in an interval, or in a run.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Tally {
            $($(#[$doc])* pub $count: u64,)*
            $($(#[$times_doc])* pub $times: Times,)*
            /// What happened in each stage.
            pub stages: StageTallies,
            /// What went wrong, from the first connection on: an error of the warm-up is an error.
            pub troubles: Troubles,
        }

        impl Tally {
            /// Datagrams that no answer came for, however late.
            pub fn lost(&self) -> u64 {
                self.given_up.saturating_sub(self.late)
            }

            /// Adds what another one counted.
            pub fn add(&mut self, other: &Tally) {
                $(self.$count += other.$count;)*
                $(self.$times.add(&other.$times);)*
                self.stages.add(&other.stages);
                self.troubles.add(&other.troubles);
            }
        }
    };
}

tally! {
    /// Connections that were made.
    opened,
    /// Messages of the window that were sent.
    sent,
    /// Messages of the window that were answered, in it or after it.
    answered,
    /// Answers that came within the window, whatever they answered; where no answer is expected,
    /// messages that were sent within it. The rate is made of these.
    completed,
    /// Messages of the window that could not be sent before the run ended: it was behind its
    /// schedule.
    unsent,
    /// Bytes sent within the window.
    bytes_sent,
    /// Bytes that came within the window.
    bytes_received,
    /// Messages of the window that were still on their way when the run ended.
    unanswered,
    /// Datagrams whose answer did not come in time.
    given_up,
    /// Those of them whose answer came after all.
    late,
    /// Answers that came once more.
    duplicate,
    /// Answers that came behind one of a later datagram (RFC 4737, type-P-reordered).
    reordered,
    /// Bytes that were not as expected.
    wrong_bytes;
    /// From when a message was meant to be sent to the last byte of its answer.
    response,
    /// From when it was sent. The same, save in an open loop.
    service,
    /// From the beginning of a connection until it was made.
    connect,
    /// From the first message of a connection to the first byte that came back.
    first_byte,
    /// How late a message was sent although its connection was free: the generator's own fault.
    lateness,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sum_of_parts_is_the_whole() {
        let (mut whole, mut parts) = (
            Tally::default(),
            [Tally::default(), Tally::default(), Tally::default()],
        );
        for n in 0..9_999_u64 {
            let part = &mut parts[n as usize % 3];
            for tally in [&mut whole, part] {
                tally.answered += 1;
                tally.response.record(Duration::from_nanos(n * n));
                if n % 100 == 7 {
                    tally
                        .troubles
                        .count(Trouble::Reset, 2, || format!("the first in part {}", n % 3));
                }
            }
        }
        let mut sum = Tally::default();
        parts.iter().for_each(|part| sum.add(part));
        assert_eq!(
            (&sum.response, sum.answered, sum.troubles.total()),
            (&whole.response, 9_999, 200)
        );
        assert_eq!(
            sum.troubles.iter().collect::<Vec<_>>(),
            [(Trouble::Reset, 200, "the first in part 0")]
        );
    }

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
