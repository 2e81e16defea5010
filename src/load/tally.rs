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
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::values::error::CloseReason;

/// Times in nanoseconds, to three digits, up to [`Times::LONGEST`].
///
/// HDR histograms: the error is below 0.1 % at any size, recording takes 5 ns
/// (`benches/load_parts.rs`), and sums of them are exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Times(Histogram<u64>);

impl Times {
    /// The longest time that is told apart: an hour. Longer ones count as one.
    pub const LONGEST: Duration = Duration::from_secs(3600);

    /// Records a time.
    #[inline]
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(time.as_nanos() as u64);
    }

    /// Adds what another one holds.
    pub fn add(&mut self, other: &Times) {
        // All have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `percentile` of 100 did not exceed; `None` where there are none. Up to 0.1 %
    /// above the one that was measured, never below.
    pub fn percentile(&self, percentile: f64) -> Option<Duration> {
        // 99.9 / 100.0 is a hair above 0.999, and of 5,000 times that hair is the next one.
        let quantile = (percentile * 1e10).round() / 1e12;
        (self.count() > 0)
            .then(|| Duration::from_nanos(self.0.value_at_quantile(quantile).min(self.0.max())))
    }

    /// The longest; `None` where there are none.
    pub fn max(&self) -> Option<Duration> {
        self.percentile(100.0)
    }

    /// The arithmetic mean; `None` where there are none.
    pub fn mean(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.0.mean().round() as u64))
    }

    /// The histogram itself, to be written or drawn.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl Default for Times {
    fn default() -> Times {
        let longest = Times::LONGEST.as_nanos() as u64;
        Times(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are constant and right"))
    }
}

/// From a histogram with any bounds, such as one that was read.
impl From<&Histogram<u64>> for Times {
    fn from(histogram: &Histogram<u64>) -> Times {
        let mut times = Times::default();
        for value in histogram.iter_recorded() {
            times.0.saturating_record_n(
                value.value_iterated_to(),
                value.count_since_last_iteration(),
            );
        }
        times
    }
}

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
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth_and_never_below() {
        let mut times = Times::default();
        assert_eq!(
            (times.percentile(50.0), times.max(), times.mean()),
            (None, None, None)
        );
        (1..=100_000).for_each(|micros| times.record(Duration::from_micros(micros)));
        for (percentile, micros) in [
            (50.0, 50_000.0),
            (90.0, 90_000.0),
            (99.0, 99_000.0),
            (99.9, 99_900.0),
            (99.99, 99_990.0),
            (100.0, 100_000.0),
        ] {
            let got = times.percentile(percentile).unwrap().as_secs_f64() * 1e6;
            assert!(
                (micros..micros * 1.001).contains(&got),
                "p{percentile} {got}"
            );
        }
        let mean = times.mean().unwrap().as_secs_f64() * 1e6;
        assert!((mean - 50_000.5).abs() < 50.0, "{mean}");
    }

    #[test]
    fn a_percentile_is_the_time_of_its_rank_and_not_the_next_one() {
        for (percentile, rank) in [
            (99.9, 4995),
            (99.98, 4999),
            (50.0, 2500),
            (0.02, 1),
            (33.34, 1667),
        ] {
            let mut times = Times::default();
            (0..5000).for_each(|index| {
                times.record(Duration::from_millis(if index < rank { 1 } else { 1000 }))
            });
            assert_eq!(
                times.percentile(percentile).unwrap().as_millis(),
                1,
                "p{percentile}"
            );
        }
    }

    #[test]
    fn what_takes_longer_than_an_hour_counts_as_an_hour() {
        let mut times = Times::default();
        times.record(Duration::MAX);
        assert!(times.max().unwrap() >= Times::LONGEST && times.count() == 1);
    }

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
