//! How much a server takes on, and for how long.

use clap::Args;
use mynah::net::{Keepalive, StreamOptions};
use mynah::{Endpoint, Limits};

use crate::cli::args::kinds::Kind;
use crate::cli::status::Failure;
use crate::cli::values::{Timeout, backlog, count, duration, keepalive, size, timeout};

/// The connections that the kernel keeps for each endpoint, unless told otherwise.
const BACKLOG: u32 = 4096;

/// How much, and for how long.
#[derive(Args, Debug)]
pub(super) struct LimitOptions {
    /// Let the kernel keep N connections for each endpoint until they are accepted [default: 4096]
    #[arg(long, value_name = "N", value_parser = backlog)]
    backlog: Option<u32>,
    /// Serve at most N connections at once; at this number the server stops accepting, and further
    /// clients wait in the backlog [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) max_connections: Option<u32>,
    /// Finish a connection on which nothing has moved for D [default: off]
    #[arg(long, value_name = "D", value_parser = timeout)]
    idle_timeout: Option<Timeout>,
    /// Probe a TCP peer that has been silent for D (whole seconds, at most 32767s), and close its
    /// connection if four probes, 15 s apart, get no answer: a peer that vanished is closed 1 m
    /// after D [default: 1m]
    #[arg(long, value_name = "D", value_parser = keepalive)]
    keepalive: Option<Timeout>,
    /// Cut what is still open D after a drain began; off waits for the last peer
    #[arg(long, value_name = "D", default_value = "5s", value_parser = duration)]
    drain_timeout: Timeout,
    /// Spin for D after the last event: lower latency, at the cost of a busy core
    #[arg(long, value_name = "D", default_value = "off", value_parser = duration)]
    busy_poll: Timeout,
}

/// How much of what it says a server keeps, and for how long.
#[derive(Args, Debug)]
pub(super) struct OutputOptions {
    /// Reset a connection whose pending output makes no progress for D [default: 30s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    write_timeout: Option<Timeout>,
    /// Keep at most SIZE of pending output for all connections together; past it the connection
    /// that has been stalled the longest is reset [default: a quarter of the available memory]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) max_pending_output: Option<usize>,
}

impl LimitOptions {
    pub(super) fn check(&self, endpoints: &[Endpoint]) -> Result<(), Failure> {
        Kind::Tcp.check(endpoints, &[(self.keepalive.is_some(), "--keepalive")])?;
        Kind::Stream.check(
            endpoints,
            &[
                (self.backlog.is_some(), "--backlog"),
                (self.max_connections.is_some(), "--max-connections"),
                (self.idle_timeout.is_some(), "--idle-timeout"),
            ],
        )
    }

    pub(super) fn backlog(&self) -> u32 {
        self.backlog.unwrap_or(BACKLOG)
    }

    pub(super) fn streams(&self) -> StreamOptions {
        let Some(given) = self.keepalive else {
            return StreamOptions::default();
        };
        let keepalive = given.0.map(|idle| Keepalive {
            idle,
            ..Keepalive::default()
        });
        StreamOptions { keepalive }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            idle_timeout: self.idle_timeout.and_then(|given| given.0),
            drain_timeout: self.drain_timeout.0,
            connect_timeout: None,
            busy_poll: self.busy_poll.0,
            ..Limits::default()
        }
    }
}

impl OutputOptions {
    pub(super) fn check(&self, endpoints: &[Endpoint]) -> Result<(), Failure> {
        Kind::Stream.check(
            endpoints,
            &[
                (self.write_timeout.is_some(), "--write-timeout"),
                (self.max_pending_output.is_some(), "--max-pending-output"),
            ],
        )
    }

    pub(super) fn limits(&self, others: Limits) -> Limits {
        match self.write_timeout {
            Some(Timeout(write_timeout)) => Limits {
                write_timeout,
                ..others
            },
            None => others,
        }
    }
}
