//! Plain counters.
//!
//! Owns what a reactor has counted. Every limit has a counter. The tests use them as their oracle,
//! so they balance after every turn: `accepted + connects = live + Σ closed`.

use std::fmt;
use std::ops::Index;

use crate::values::error::CloseReason;
use crate::values::refusal::Refusal;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a reactor has counted since it was made.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Connections that ended, by reason.
            pub closed: Closed,
            /// Datagrams that were not answered by rule, by refusal.
            pub unanswered: Unanswered,
        }

        impl Stats {
            /// Every plain counter with its name, in the order of the fields.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Turns of the loop.
    turns,
    /// Turns that ended at their budget with sources left in the queue.
    turns_cut,
    /// Events that the selector delivered.
    events,
    /// Events for a source that was gone, or whose slot had a new owner. Harmless: the generation
    /// reveals them.
    stale_events,
    /// Waits that failed with something other than an interruption.
    wait_errors,
    /// Services that panicked. Each cost its own connection, or the datagrams of one burst.
    panics,
    /// Connections accepted.
    accepted,
    /// Outgoing connections, established or not.
    connects,
    /// Connections that the selector did not take, and that were reset at once; not part of
    /// `accepted`.
    unregistered,
    /// Clients that were in a backlog when it was closed, and were reset.
    backlog_cut,
    /// Connections that the end of the server closed while the kernel still held output that the
    /// peer had not taken. They count as cut, because we cannot know whether it arrived.
    untaken,
    /// Nanoseconds spent polling before a deadline without finding anything. The CPU looks busy
    /// then, and is not.
    spun_nanos,
    /// Accepts that failed with an error of the connection or the network.
    accept_errors,
    /// Accepts that failed with an error that is in no table.
    accept_unknown_errors,
    /// Times that a listener paused because descriptors or memory ran out.
    accept_starved,
    /// Times that a listener paused at the connection limit.
    accept_limited,
    /// Bytes read from connections.
    bytes_in,
    /// Bytes that sockets took from us on connections.
    bytes_out,
    /// Bytes read and discarded after our FIN.
    bytes_lingered,
    /// Times that a source stopped at its budget and went to the back of the queue.
    yields,
    /// Datagrams received.
    datagrams_in,
    /// Datagrams sent.
    datagrams_out,
    /// Datagrams too long for their buffer; dropped.
    datagrams_too_long,
    /// Replies dropped because the queue of a blocked socket was full.
    datagrams_overflowed,
    /// Replies that the socket refused for good (source port 0, a peer that is gone, …).
    datagrams_refused,
    /// Datagrams that the end of the server left without an answer: replies that waited for the
    /// socket, and datagrams that were received or still in the kernel. They count as cut.
    datagrams_cut,
    /// Datagrams that the kernel dropped because its buffer was full, where it tells.
    datagrams_dropped,
    /// Times that datagrams could not be sent together, and were sent one by one.
    datagram_fallbacks,
    /// Errors of receiving (refusals that ICMP reported, …).
    datagram_errors,
}

impl Stats {
    /// Connections that are open now.
    pub fn live(&self) -> u64 {
        self.accepted + self.connects - self.closed.total()
    }
}

macro_rules! tally {
    ($(#[$doc:meta])* $name:ident, $key:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name([u64; $key::ALL.len()]);

        impl $name {
            pub(crate) fn count(&mut self, key: $key) {
                self.0[key as usize] += 1;
            }

            /// All of them.
            pub fn total(&self) -> u64 {
                self.0.iter().sum()
            }
        }

        impl Index<$key> for $name {
            type Output = u64;

            fn index(&self, key: $key) -> &u64 {
                &self.0[key as usize]
            }
        }
    };
}

tally! {
    /// Ended connections by [`CloseReason`]: index it with one.
    Closed, CloseReason
}

tally! {
    /// Unanswered datagrams by [`Refusal`]: index it with one.
    Unanswered, Refusal
}

/// One line, with what is zero left out.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self
            .counters()
            .map(|(name, count)| (name.replace('_', " "), count));
        let closed = CloseReason::ALL
            .into_iter()
            .map(|reason| (format!("closed ({reason})"), self.closed[reason]));
        let unanswered = Refusal::ALL
            .into_iter()
            .map(|refusal| (format!("unanswered ({refusal})"), self.unanswered[refusal]));
        let mut separator = "";
        for (name, count) in plain
            .chain(closed)
            .chain(unanswered)
            .filter(|(_, count)| *count > 0)
        {
            write!(f, "{separator}{name} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_balance_and_print_what_is_not_zero() {
        let mut stats = Stats {
            accepted: 3,
            bytes_in: 7,
            ..Stats::default()
        };
        stats.closed.count(CloseReason::Reset);
        assert_eq!(stats.live(), 2);
        assert_eq!(stats.closed[CloseReason::Reset], 1);
        assert_eq!(
            stats.to_string(),
            "accepted 3, bytes in 7, closed (reset by peer) 1"
        );
    }
}
