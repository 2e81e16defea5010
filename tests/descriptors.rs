//! Promise 6: out of descriptors is a pause, not a spin and not a hang.
//!
//! A server with 64 descriptors meets 120 clients, each of which has sent its message before anybody could have accepted it. Those beyond the
//! 64th stand in the backlog: they must cost nothing while they wait, and be served in their order, on the connection they have.

mod common;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

use common::{
    PATIENCE, Server, TCP, UDP, assert_echoes, connect, eventually, has_tool, is_quiet, loopback,
};

const DESCRIPTORS: usize = 64;

/// The message of the client with this number; all are of one length.
fn message(number: usize) -> Vec<u8> {
    format!("client {number:04}").into_bytes()
}

/// Numbers that the server may still give to descriptors. The limit bounds the numbers, and a descriptor that some ancestor of this test
/// left open may stand above it.
fn places(server: &Server) -> usize {
    let is_free =
        |number: &usize| !std::fs::exists(format!("/proc/{}/fd/{number}", server.pid())).unwrap();
    (0..DESCRIPTORS).filter(is_free).count()
}

/// Connects clients in their order, each with its message sent.
fn crowd(server: &Server, numbers: std::ops::Range<usize>) -> VecDeque<(usize, TcpStream)> {
    numbers
        .map(|number| {
            let mut stream = connect(server.address(0));
            stream.write_all(&message(number)).unwrap();
            (number, stream)
        })
        .collect()
}

#[track_caller]
fn assert_served((number, stream): &mut (usize, TcpStream)) {
    let mut got = vec![0; message(*number).len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&got),
        String::from_utf8_lossy(&message(*number))
    );
}

/// Lets the oldest clients go one by one. Each place that becomes free is the next one's in the backlog, and nobody else's.
#[track_caller]
fn assert_served_in_order(mut clients: VecDeque<(usize, TcpStream)>, places: usize) {
    clients.iter_mut().take(places).for_each(assert_served);
    while clients.len() > places {
        assert!(
            is_quiet(&clients[places].1),
            "client {} is served although no place is free",
            clients[places].0
        );
        clients.pop_front();
        assert_served(&mut clients[places - 1]);
    }
}

#[test]
fn clients_wait_for_a_descriptor_at_no_cost_and_are_served_in_their_order() {
    let mut server =
        Server::start_with_descriptors(DESCRIPTORS, &[TCP, UDP, "--max-connections", "1000"]);
    let places = places(&server);
    let clients = crowd(&server, 0..120);
    server.wait_for_log("cannot accept");
    eventually("every descriptor is in use", || {
        (self::places(&server) == 0).then_some(())
    });

    server.assert_burns_nothing();
    // What needs no descriptor goes on.
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"still here", server.address(1)).unwrap();
    assert_eq!(common::again(|| socket.recv(&mut [0; 64])).unwrap(), 10);

    assert_served_in_order(clients, places);
    server.wait_for_log("accepting again");
    eventually("every descriptor comes back", || {
        (self::places(&server) == places).then_some(())
    });
    assert_eq!(
        server.count_in_log("cannot accept"),
        1,
        "one warning for one episode"
    );
    assert_eq!(server.count_in_log(": accepted"), 120);
    assert_echoes(server.connect(), b"as if nothing had been");

    // The next time is another episode, and as good as the first. So soon after the first it gets no
    // line of its own, unless this machine is very slow.
    assert_served_in_order(crowd(&server, 120..200), places);
    eventually("all are accepted", || {
        (server.count_in_log(": accepted") == 201).then_some(())
    });
    assert!(server.count_in_log("cannot accept") <= 2);
    server.assert_running();
}

/// No retry and no newcomer has to come by: the close itself lets the next one in. What the listener was woken by stands in the trace:
/// readable (the close said so) beside or without the alarm.
#[test]
fn a_descriptor_that_a_connection_frees_serves_the_next_client_at_once() {
    let server =
        Server::start_with_descriptors(DESCRIPTORS, &[TCP, "-v", "--max-connections", "1000"]);
    let places = places(&server);
    let clients = crowd(&server, 0..places + 20);
    server.wait_for_log("cannot accept");
    assert_served_in_order(clients, places);
    eventually("all are gone", || {
        (server.count_in_log("closed: peer closed") == places + 20).then_some(())
    });

    // The listener runs just before every line about accepting: the run's own line says what woke it.
    let log = server.log();
    let (mut accepted, mut woken_by) = (0, "");
    for line in log.lines() {
        if let Some((_, run)) = line.split_once("] run ") {
            woken_by = run;
        } else if line.contains(": accepted") {
            accepted += 1;
            assert!(
                woken_by.contains(" r"),
                "{line}: on a retry alone ({woken_by})"
            );
        }
    }
    assert_eq!(accepted, places + 20);
}

/// Nothing tells a process that its own limit was raised, or that others have left more to it. It looks again by itself.
#[test]
fn descriptors_that_others_free_are_noticed() {
    if !has_tool("prlimit") {
        return;
    }
    let server = Server::start_with_descriptors(200, &[TCP]);
    let limit = |soft: usize| {
        let status = Command::new("prlimit")
            .arg(format!("--pid={}", server.pid()))
            .arg(format!("--nofile={soft}:200"))
            .status();
        assert!(status.unwrap().success());
    };
    limit(DESCRIPTORS);
    let mut clients = crowd(&server, 0..120);
    server.wait_for_log("cannot accept");
    limit(200);
    clients.iter_mut().for_each(assert_served);
}

#[test]
fn without_an_option_the_limit_on_connections_stays_below_that_on_descriptors() {
    let mut server = Server::start_with_descriptors(DESCRIPTORS, &[TCP, UDP]);
    server.wait_for_log("descriptor limit 64, at most ");
    let log = server.log();
    let (_, rest) = log.split_once("at most ").unwrap();
    let places: usize = rest.split_whitespace().next().unwrap().parse().unwrap();
    assert!(
        (DESCRIPTORS / 2..DESCRIPTORS).contains(&places),
        "{places} places"
    );

    assert_served_in_order(crowd(&server, 0..120), places);
    eventually("all are gone", || {
        (server.count_in_log("closed: peer closed") == 120).then_some(())
    });
    assert_eq!(server.stop(), 0);
    server.wait_for_log("stopped: ");
    let log = server.log();
    assert!(
        log.contains(&format!("{places} connections open, the limit")),
        "{log}"
    );
    assert!(
        !log.contains("cannot accept") && !log.contains("accept starved"),
        "{log}"
    );
}

/// The soft limit is low for the sake of programs that use select(2); ours does not.
#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let server = Server::start_after("ulimit -n 300 && ulimit -Sn 64", &[TCP]);
    server.wait_for_log("descriptor limit 300, at most ");
    let mut clients = crowd(&server, 0..200);
    clients.iter_mut().for_each(assert_served);
    assert!(server.descriptors() > 200);
}
