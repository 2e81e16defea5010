//! Signals that do not end the server.
//!
//! SIGTERM and SIGINT are in `tests/drain.rs`. An operator sends the others to a server that must go
//! on serving.

mod common;

use common::{Server, TCP, UDP, assert_echoes};

#[test]
fn sighup_says_that_there_is_nothing_to_read_again() {
    let mut server = Server::start(&[TCP]);
    let stream = server.connect();
    for count in 1..=3 {
        server.signal("HUP");
        common::eventually("the line about it", || {
            let line = "SIGHUP: there is no configuration file to read again";
            (server.count_in_log(line) == count).then_some(())
        });
        assert_echoes(&stream, b"still here");
    }
    drop(stream);
    assert_eq!(server.stop(), 0);
}

#[test]
fn sigusr1_logs_the_statistics_in_one_line() {
    let mut server = Server::start(&[TCP, UDP]);
    let stream = server.connect();
    assert_echoes(&stream, b"seven b");
    server.signal("USR1");
    server.wait_for_log("bytes in 7, bytes out 7");
    let log = server.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("bytes in"))
        .collect();
    assert!(
        matches!(lines[..], [line] if line.contains("accepted 1,") && line.contains(" INFO ")),
        "{log}"
    );
    assert_echoes(&stream, b"still here");
    drop(stream);
    assert_eq!(server.stop(), 0);
}

/// An operator who sends SIGUSR1 asked for the answer.
#[test]
fn sigusr1_is_answered_by_a_quiet_server_too() {
    let mut server = Server::start_quiet(&[TCP]);
    let stream = server.connect();
    assert_echoes(&stream, b"seven b");
    server.signal("USR1");
    server.wait_for_log("bytes in 7, bytes out 7");
    drop(stream);
    assert_eq!(server.stop(), 0);
    let log = server.log();
    assert_eq!(log.lines().count(), 1, "{log}");
}

/// One that comes during a drain changes nothing about it.
#[test]
fn neither_ends_a_drain() {
    let mut server = Server::start(&[TCP, "--drain-timeout", "off"]);
    let stream = server.connect();
    assert_echoes(&stream, b"before");
    server.signal("TERM");
    server.wait_for_log("draining: 1 connection open");
    assert_echoes(&stream, b"during");
    server.signal("HUP");
    server.signal("USR1");
    server.wait_for_log("SIGHUP: ");
    server.wait_for_log("bytes in 12");
    server.assert_running();
    drop(stream);
    assert_eq!(server.wait().code(), Some(0));
}
