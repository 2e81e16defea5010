//! What a run is: how many connections send what, when, and for how long.
//!
//! Owns the terms of a run and nothing of its progress. It never changes while the run lasts: the
//! generators share it.

use std::net::IpAddr;
use std::time::Duration;

use super::course::{Course, Stage};
use super::matching::Matching;
use super::pace::Pace;
use super::payload::Payload;
use super::response::Response;
use super::schedule::Arrivals;

/// When the next message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// After an earlier one was answered.
    Closed {
        /// The pause between the answer and the next message. Zero: at once.
        think: Duration,
    },
    /// At a rate, whatever the target does.
    Open {
        /// The rate of all connections together; of stages, their mean.
        rate: Pace,
    },
}

/// How long a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For so many messages.
    Messages(u64),
    /// For so long, and until its last message is answered.
    Time(Duration),
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

/// One run, as all generators together are to perform it.
#[derive(Debug)]
pub struct Plan {
    /// Connections, or datagram sockets.
    pub connections: u64,
    /// Local addresses that the connections take in turn. Empty: the system chooses.
    pub sources: Vec<IpAddr>,
    /// What is sent.
    pub payload: Payload,
    /// What is sent once on each connection before it is used. Its answer is waited for, and not
    /// measured.
    pub first: Option<Payload>,
    /// What an answer is.
    pub response: Response,
    /// What an answer is compared with.
    pub check: Check,
    /// How the answers to datagrams are told apart.
    pub matching: Matching,
    /// When messages go.
    pub law: Law,
    /// How the messages of an open loop are spread over the time.
    pub arrivals: Arrivals,
    /// What decides the times of an open loop: the same seed gives the same ones.
    pub seed: u64,
    /// The rates of the window in an open loop, one after the other; they take
    /// [`duration`](Plan::duration) together. Empty: one rate.
    pub stages: Vec<Stage>,
    /// Messages in flight on one connection, at most.
    pub depth: usize,
    /// Whether each message has a connection of its own.
    pub churn: bool,
    /// When a connection is closed and opened again. `None`: never.
    pub lifetime: Option<Lifetime>,
    /// When an answer, or a connection, is given up. `None`: never.
    pub timeout: Option<Duration>,
    /// Connections begun in a second, at most.
    pub connect_rate: Option<Pace>,
    /// Handshakes in flight at once, at most.
    pub handshakes: usize,
    /// The time before the window, which is not measured.
    pub warmup: Duration,
    /// The length of the window. `None`: until all messages were sent.
    pub duration: Option<Duration>,
    /// Messages in the window, of all connections together. `None`: no limit.
    pub requests: Option<u64>,
}

impl Plan {
    /// The rate over time, the warm-up included, which has the first rate of the stages.
    pub(super) fn course(&self, rate: Pace) -> Course {
        match self.stages.first() {
            None => Course::steady(rate),
            Some(first) => Course::new(
                std::iter::once(Stage::steady(first.from, self.warmup))
                    .chain(self.stages.iter().copied()),
            ),
        }
    }
}
