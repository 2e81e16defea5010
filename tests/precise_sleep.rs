//! Sleeps that end by a timer, to the microsecond (Linux), and servers that have none.
//!
//! mio's poll(2) selector has no use for a timer that nobody reads.

#![cfg(not(mio_unsupported_force_poll_poll))]
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use common::{Server, TCP};
use mynah::net::os::OsNet;
use mynah::{Limits, Reactor};

/// Turns after which a timer that never fires is given up.
const PATIENCE: usize = 10_000;

/// Turns that end half a millisecond after they began, until `events` events have come; how many
/// came.
fn sleep(limits: Limits, turns: usize, events: u64) -> u64 {
    let mut reactor = Reactor::new(OsNet::new().unwrap(), limits).unwrap();
    for _ in 0..turns {
        if reactor.stats().events == events {
            break;
        }
        let until = reactor.now() + Duration::from_micros(500);
        reactor.turn_by(until);
    }
    reactor.stats().events
}

/// A timer that is set again needs no read in between: each expiry is an event of its own. A loop
/// that was not asked to be precise has no timer, so nothing ends its waits but their timeout.
#[test]
fn a_precise_sleep_ends_by_its_timer() {
    for spin in [0, 100] {
        let limits = Limits {
            precise_sleep: true,
            spin: Duration::from_micros(spin),
            ..Limits::default()
        };
        assert_eq!(sleep(limits, PATIENCE, 50), 50, "spin {spin} µs");
    }
    assert_eq!(sleep(Limits::default(), 50, 1), 0);
}

/// A server pays nothing for the timer of the load generator.
#[test]
fn a_server_has_no_timer() {
    for flags in [&[TCP][..], &["--busy-poll", "50us", TCP]] {
        let server = Server::start(flags);
        common::assert_echoes(server.connect(), b"hello");
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        let links: Vec<String> = descriptors
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .map(|link| link.display().to_string())
            .collect();
        assert!(
            links.iter().any(|link| link.contains("eventpoll")),
            "{links:?}"
        );
        assert!(
            !links.iter().any(|link| link.contains("timerfd")),
            "{links:?}"
        );
    }
}
