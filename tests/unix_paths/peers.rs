//! Clients of a Unix datagram server.

#![allow(unreachable_pub, reason = "each test file is a crate of its own")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::common::{self, PATIENCE};

/// A datagram client with a name, so that it can be answered.
pub fn client(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[track_caller]
pub fn assert_answers(client: &UnixDatagram, server: &Path, message: &[u8]) {
    client.send_to(message, server).unwrap();
    let mut got = vec![0; message.len() + 1];
    let (size, from) = common::again(|| client.recv_from(&mut got)).unwrap();
    assert!(
        got[..size] == *message,
        "{size} bytes came back, not the {} that were sent",
        message.len()
    );
    assert_eq!(
        from.as_pathname(),
        Some(server),
        "the answer comes from the path that was asked"
    );
}
