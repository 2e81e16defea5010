//! At the limit on connections the rest wait in the backlog, in their order and at no cost.

mod common;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Scratch, Server, TCP, assert_echoes, connect, eventually, is_quiet};

const LIMIT: usize = 10;

/// Clients in their order, each with its message sent before anybody may have accepted it.
fn crowd(server: &Server, count: usize) -> VecDeque<(String, TcpStream)> {
    numbered(server, 0..count)
}

fn numbered(server: &Server, numbers: std::ops::Range<usize>) -> VecDeque<(String, TcpStream)> {
    numbers
        .map(|number| {
            let mut stream = server.connect();
            let message = format!("client {number:02}");
            stream.write_all(message.as_bytes()).unwrap();
            (message, stream)
        })
        .collect()
}

#[track_caller]
fn assert_served((message, stream): &mut (String, TcpStream)) {
    let mut got = vec![0; message.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), *message);
}

/// The most connections that were open at once, by the log.
fn most_open(log: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for line in log.lines() {
        open += usize::from(line.contains(": accepted"));
        open -= usize::from(line.contains(": closed: "));
        most = most.max(open);
    }
    most
}

#[test]
fn clients_beyond_the_limit_are_served_in_their_order_as_others_leave() {
    let mut server = Server::start(&[TCP, "--max-connections", "10"]);
    let mut clients = crowd(&server, 39);
    clients.iter_mut().take(LIMIT).for_each(assert_served);
    // One that comes while the listener is paused is an event, and so known to wait. mio's poll(2)
    // selector gives none before the backlog was emptied.
    clients.extend(numbered(&server, 39..40));
    if cfg!(not(mio_unsupported_force_poll_poll)) {
        server.wait_for_log("10 connections open, the limit");
    }
    server.assert_burns_nothing();
    assert_eq!(server.count_in_log(": accepted"), LIMIT);
    assert!(
        clients
            .iter()
            .skip(LIMIT)
            .all(|(_, stream)| is_quiet(stream)),
        "nobody is served out of turn"
    );

    // One leaves, one comes in; then several at once.
    while clients.len() > LIMIT + 12 {
        clients.pop_front();
        assert_served(&mut clients[LIMIT - 1]);
        assert!(is_quiet(&clients[LIMIT].1), "one place, one client");
    }
    for _ in 0..3 {
        clients.drain(..4);
        clients
            .iter_mut()
            .take(LIMIT)
            .skip(LIMIT - 4)
            .for_each(assert_served);
    }
    assert_eq!(clients.len(), LIMIT);
    clients.clear();
    eventually("all are gone", || {
        (server.count_in_log(": closed: ") == 40).then_some(())
    });
    let log = server.log();
    assert_eq!(most_open(&log), LIMIT, "{log}");
    assert_eq!(
        server.count_in_log("connections open, the limit"),
        1,
        "one warning for one episode"
    );
    server.wait_for_log("accepting again");
    assert_echoes(server.connect(), b"as if nothing had been");
    server.assert_running();
}

/// One that gives up in the backlog takes nobody's place for longer than it takes to notice.
#[test]
fn clients_that_leave_the_backlog_do_not_block_it() {
    let server = Server::start(&[TCP, "--max-connections", "10"]);
    let mut clients = crowd(&server, 40);
    clients.iter_mut().take(LIMIT).for_each(assert_served);
    let mut last = clients.split_off(35);
    // The ten that are served leave as well as the twenty-five that were waiting.
    drop(clients);
    last.iter_mut().for_each(assert_served);
}

/// The limit is the server's, not each endpoint's: what one lets go, the other may take.
#[test]
fn all_endpoints_share_one_limit() {
    let scratch = Scratch::new();
    let server = Server::start(&[
        TCP,
        TCP,
        &scratch.endpoint("unix", "echo"),
        "--max-connections",
        "10",
    ]);
    let mut first = crowd(&server, LIMIT);
    first.iter_mut().for_each(assert_served);
    let mut other = connect(server.address(1));
    other.write_all(b"waiting at another door").unwrap();
    let mut unix = std::os::unix::net::UnixStream::connect(scratch.path("echo")).unwrap();
    unix.set_read_timeout(Some(common::PATIENCE)).unwrap();
    unix.write_all(b"and at a third").unwrap();
    server.assert_burns_nothing();
    assert!(is_quiet(&other));
    assert_eq!(server.count_in_log(": accepted"), LIMIT);

    first.drain(..2);
    other.read_exact(&mut [0; 23]).unwrap();
    unix.read_exact(&mut [0; 14]).unwrap();
    assert_eq!(most_open(&server.log()), LIMIT);
}

/// The limit is reached, and nobody stands outside: nothing to warn of.
#[test]
fn a_limit_that_keeps_nobody_waiting_is_no_warning() {
    let server = Server::start(&[TCP, "--max-connections", "1"]);
    assert_echoes(server.connect(), b"the only one");
    eventually("it is gone", || {
        (server.count_in_log(": closed: ") == 1).then_some(())
    });
    assert_echoes(server.connect(), b"and the next");
    assert_eq!(server.count_in_log("the limit"), 0, "{}", server.log());
    assert_eq!(server.count_in_log("accepting again"), 0);
}

/// However often the limit is reached, the log says so once an interval, with a count.
#[test]
fn churn_at_the_limit_does_not_flood_the_log() {
    let server = Server::start(&[TCP, "--max-connections", "1"]);
    for _ in 0..100 {
        for client in &mut crowd(&server, 3) {
            assert_served(client);
            client.1.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }
    eventually("all are gone", || {
        (server.count_in_log(": closed: ") == 300).then_some(())
    });
    let said = server.count_in_log("the limit") + server.count_in_log("accepting again");
    // Two lines an interval of ten seconds; this takes far less than a minute.
    assert!((1..=12).contains(&said), "{said} lines");
}

#[test]
fn a_limit_of_one_serves_one_after_the_other() {
    let server = Server::start(&[TCP, "--max-connections", "1"]);
    for mut client in crowd(&server, 20) {
        assert_served(&mut client);
    }
    eventually("all are gone", || {
        (server.count_in_log(": closed: ") == 20).then_some(())
    });
    assert_eq!(most_open(&server.log()), 1);
}
