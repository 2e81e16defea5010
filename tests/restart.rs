//! A server that was killed is replaced at once: neither the connections that it left behind nor those in TIME_WAIT hold its port.

mod common;

use std::io::Read;

use common::{Server, TCP, UDP, assert_echoes};

#[test]
fn a_killed_server_is_replaced_on_its_port_at_once() {
    let mut server = Server::start(&[TCP, UDP]);
    let endpoints = server.endpoints.clone();
    // Held to the end: each is a connection of a dead server on the port of the living one.
    let mut left_behind = Vec::new();
    for round in 0..25 {
        let mut client = server.connect();
        assert_echoes(&client, b"established when the server ends");
        if round % 5 < 4 {
            server.signal("KILL");
            server.wait();
            left_behind.push(client);
        } else {
            // A drain ends quiet connections before their peers do, and so it is the server's address that is kept in TIME_WAIT.
            server.signal("TERM");
            assert_eq!(common::again(|| client.read(&mut [0])).unwrap(), 0);
            drop(client);
            assert_eq!(server.wait().code(), Some(0));
        }
        server = Server::start(&endpoints.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(server.endpoints, endpoints);
        assert_echoes(server.connect(), b"back again");
    }
}
