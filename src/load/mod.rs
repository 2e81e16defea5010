//! The load generator: clients on the same reactor as the server's, sent on their way by a pacer, and measured.
//!
//! Owns what a message is, when it goes, and what became of it. Must never touch a socket or read a clock by itself: it runs on [`Reactor`](crate::Reactor), so
//! all of it runs on the simulator too.
//!
//! ```text
//!   generator   opens connections, keeps the phases         one a thread; their tallies are added
//!       │       (openings: which of them when)
//!       │
//!   stream      one connection      datagrams  one socket   services, like the server's
//!       │                                │
//!   pacer       when a message is due    window    the fate of each datagram
//!   payload     what is sent             response  what comes back, and whether it is right
//!       │
//!   desk        what the callers of one thread share: the phase, the quota, the tally
//!   tally       counts, and histograms of times
//!
//!   goal        p99<5ms                  search    the highest rate that keeps one
//! ```
//!
//! **Two laws.** In a *closed loop* a connection sends its next message when one of its messages has been answered: the load follows the target, and
//! a target that stalls is asked less, so the stall is one slow answer for each connection. In an *open loop* messages are due at a rate, whatever the
//! target does, and the response time counts from when a message was *meant* to be sent: a stall is as many slow answers as users would have had.
//!
//! **Phases.** Connections are opened; all generators start together; the warm-up is not measured; the window is; what was meant to be sent in it
//! is still waited for behind its end.

mod datagrams;
mod desk;
mod generator;
mod goal;
mod openings;
mod orders;
mod pacer;
mod payload;
mod response;
mod search;
mod stream;
mod tally;
mod window;

use std::net::IpAddr;
use std::time::Duration;

pub use self::generator::Generator;
pub use self::goal::{Goal, Measured};
pub use self::orders::{Lanes, News, Orders, Outcome, Unreached};
pub use self::pacer::{Rate, Schedule};
pub use self::payload::Payload;
pub use self::response::{Expected, Heard, Reader, Response};
pub use self::search::{Found, Search};
pub use self::tally::{Tally, Times, Trouble, Troubles};
pub use self::window::{Fate, Sent, Window};

/// When the next message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// When an earlier one was answered, and so much time has passed since.
    Closed {
        /// Zero: at once.
        think: Duration,
    },
    /// At a rate, shared out among all connections.
    Open {
        /// Of all connections together.
        rate: Rate,
    },
}

/// What an answer is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing.
    None,
    /// What was sent.
    Echo,
    /// A text.
    Text(Box<[u8]>),
}

/// What is asked of all generators together.
#[derive(Debug)]
pub struct Plan {
    /// Connections, or datagram sockets.
    pub connections: u64,
    /// Where they speak from, in turn; empty: where the system chooses.
    pub sources: Vec<IpAddr>,
    /// What is sent.
    pub payload: Payload,
    /// What comes back.
    pub response: Response,
    /// What it is compared with.
    pub check: Check,
    /// Whether each datagram begins with its number: [`HEADER`] bytes of it.
    pub is_numbered: bool,
    /// When messages go.
    pub law: Law,
    /// Messages that may be on their way on one connection.
    pub depth: usize,
    /// A connection for each message.
    pub churn: bool,
    /// How long an answer, or a connection, is waited for.
    pub timeout: Option<Duration>,
    /// Connections begun in a second, at most.
    pub connect_rate: Option<Rate>,
    /// Not measured.
    pub warmup: Duration,
    /// Of what is measured; `None`: until all messages were sent.
    pub duration: Option<Duration>,
    /// Messages that are measured, of all connections together.
    pub requests: Option<u64>,
}

/// Bytes at the beginning of a datagram that say which it is: a mark of the socket, the number, and a sum over both that a damaged one fails.
pub const HEADER: usize = 16;
