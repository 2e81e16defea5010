//! The results of a run: what became of its messages, and their times.
//!
//! Owns the sums, and how those of several threads or intervals become one. Must never lose a
//! message: each that was due in the window has one fate, and the fates add up
//! ([`Tally::settled`]).
//!
//! The **window** is the time that is measured, after the warm-up. A message belongs to it if it
//! was meant to be sent in it, and is waited for after its end: a window that closed over what is
//! still on its way would leave out the slowest answers of all.
//!
//! ```text
//!   due ──┬── sent ──┬── answered          in time
//!         │          ├── left              where no answer is waited for
//!         │          ├── late or lost      datagrams that were given up
//!         │          └── failed            its connection ended, or took too long
//!         └── unsent                       the run ended before it could be
//! ```
//!
//! Tests: below; `tests/load_truth.rs` counts what servers do on purpose.

use super::distribution::Distribution;
use super::stage_tally::StageTallies;
use super::trouble::Troubles;

macro_rules! tally {
    ($($(#[$doc:meta])* $count:ident),*; $($(#[$times_doc:meta])* $times:ident),* $(,)?) => {
        /// What happened in an interval, or in a run.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Tally {
            $($(#[$doc])* pub $count: u64,)*
            $($(#[$times_doc])* pub $times: Distribution,)*
            /// What happened in each stage.
            pub stages: StageTallies,
            /// What went wrong, from the first connection on: an error of the warm-up is an error.
            pub troubles: Troubles,
        }

        impl Tally {
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
    /// Messages of the window that left, where no answer is waited for.
    left,
    /// Answers that came within the window, whatever they answered; where no answer is expected,
    /// messages that were sent within it. The rate is made of these.
    completed,
    /// Messages of the window that could not be sent before the run ended: it was behind its
    /// schedule.
    unsent,
    /// Messages of the window that were sent on a connection that ended or took too long before
    /// they were answered.
    failed,
    /// Bytes sent within the window.
    bytes_sent,
    /// Bytes that came within the window.
    bytes_received,
    /// Those of the failed and of the lost that were still on their way when the run ended.
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
    /// From when a message was meant to be sent to the last byte of its answer. Every message that
    /// was due is a member.
    response,
    /// From when it was sent. The same, save in an open loop, where it is recorded.
    service,
    /// What the generator and its limits added: from when it was meant to be sent until it was, and
    /// while its answer lay in the socket.
    added,
    /// The share of that in which its connection was free: the generator's own fault.
    lateness,
    /// The share in which it waited for a connection that was free, or for room to open one.
    held,
    /// From the beginning of a connection until it was made.
    connect,
    /// From the first message of a connection to the first byte that came back.
    first_byte,
}

impl Tally {
    /// Messages that were due in the window.
    pub fn due(&self) -> u64 {
        self.sent + self.unsent
    }

    /// Datagrams that no answer came for, however late.
    pub fn lost(&self) -> u64 {
        self.given_up.saturating_sub(self.late)
    }

    /// Messages of the window that have their fate. When the run is over, all that were due.
    pub fn settled(&self) -> u64 {
        self.answered + self.left + self.given_up + self.failed + self.unsent
    }

    /// Messages of the window that were not answered in time, whatever the reason.
    pub fn unsuccessful(&self) -> u64 {
        self.given_up + self.failed + self.unsent
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::trouble::Trouble;
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
                    tally.failed += 1;
                    tally.response.give_up(Duration::from_nanos(n), 1);
                    tally
                        .troubles
                        .count(Trouble::Reset, 2, || format!("the first in part {}", n % 3));
                }
            }
        }
        let mut sum = Tally::default();
        parts.iter().for_each(|part| sum.add(part));
        assert_eq!(
            (&sum.response, sum.settled(), sum.troubles.total()),
            (&whole.response, 9_999 + 100, 200)
        );
        assert_eq!(
            sum.troubles.iter().collect::<Vec<_>>(),
            [(Trouble::Reset, 200, "the first in part 0")]
        );
    }
}
