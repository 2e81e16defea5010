//! Unix datagrams: which peers get answers, whole ones, and what peers that misbehave cost.

mod common;
#[path = "unix_paths/peers.rs"]
mod peers;

use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use common::{PATIENCE, Scratch, Server, eventually, pattern};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use peers::{assert_answers, client};

/// The kernel says whether a datagram was cut, so one that fills the room exactly is known whole.
#[test]
fn the_longest_unix_datagram_that_is_answered_has_65_536_bytes() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let client = client(&scratch.path("client"));
    assert_answers(&client, &path, &pattern(65_536, 6));
    client.send_to(&pattern(65_537, 7), &path).unwrap();
    assert_answers(&client, &path, b"the longer one is dropped whole");
    assert_eq!(server.stop(), 0);
    server.wait_for_log("dropped a datagram that is longer");
}

/// A peer may send descriptors along. If the server took them, the peer could exhaust its table.
#[test]
fn descriptors_that_come_with_a_datagram_stay_with_nobody() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let client = client(&scratch.path("client"));
    client.connect(&path).unwrap();
    let before = server.descriptors();
    for _ in 0..20 {
        sendmsg::<()>(
            client.as_raw_fd(),
            &[IoSlice::new(b"take this")],
            &[ControlMessage::ScmRights(&[client.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        assert_eq!(common::again(|| client.recv(&mut [0; 64])).unwrap(), 9);
    }
    // One is for the peer itself: its file.
    common::assert_within("descriptors", server.descriptors(), before + 1);
}

/// The server cannot answer a client without a name. That costs neither it nor other clients.
#[test]
fn a_datagram_client_without_a_name_costs_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let unbound = UnixDatagram::unbound().unwrap();
    let bound = client(&scratch.path("client"));
    for _ in 0..100 {
        unbound.send_to(b"who am I", &path).unwrap();
        assert_answers(&bound, &path, b"here I am");
    }
    // A client whose name is gone before the answer comes costs no more.
    for number in 0..100 {
        let name = scratch.path(&format!("short-lived-{number}"));
        client(&name).send_to(b"I am off", &path).unwrap();
        std::fs::remove_file(&name).unwrap();
    }
    assert_answers(&bound, &path, b"still here");
    assert_eq!(server.stop(), 0);
}

/// Names as long as the kernel takes them: a path of 107 bytes, and an abstract name of 107 bytes
/// behind its zero.
#[test]
fn a_datagram_client_with_the_longest_name_is_answered_or_does_no_harm() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let room = 107 - scratch.path("").as_os_str().len();
    assert_answers(
        &client(&scratch.path(&"c".repeat(room))),
        &path,
        b"a long name",
    );

    let name: Vec<u8> = (0..107).collect();
    let client = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"every byte of it", &path).unwrap();
    assert_eq!(common::again(|| client.recv(&mut [0; 64])).unwrap(), 16);
    server.assert_running();
}

/// Fills the queue of a peer that does not read. A bounded number of its replies wait in the server
/// and reach it later, in their order. Meanwhile the server answers other peers as ever.
#[test]
fn a_datagram_peer_that_never_reads_holds_nobody_up_and_gets_its_replies_later() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let stuck = client(&scratch.path("stuck"));
    let other = client(&scratch.path("other"));
    // The kernel queues net.unix.max_dgram_qlen of them, ten by default; the server keeps 192 more.
    let sent: Vec<Vec<u8>> = (0..350)
        .map(|number: u32| format!("reply {number}").into_bytes())
        .collect();
    let (before, meanwhile) = sent.split_at(150);
    for message in before {
        stuck.send_to(message, &path).unwrap();
        assert_answers(&other, &path, b"not held up");
    }
    server.assert_burns_nothing();
    // A new reply may find room at the peer while older ones wait. It must not overtake them.
    let mut meanwhile = meanwhile.iter();
    for message in &sent {
        if let Some(message) = meanwhile.next() {
            stuck.send_to(message, &path).unwrap();
        }
        let mut got = [0; 64];
        let size = common::again(|| stuck.recv(&mut got)).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&got[..size]),
            String::from_utf8_lossy(message)
        );
    }
    assert_answers(&stuck, &path, b"all is well again");
}

/// The kernel charges unread bytes to the socket that sent them. Large replies that a peer leaves
/// unread must not use up what the replies to others need. One such peer alone cannot fill the
/// buffer that a system with high limits gives, so there it takes three.
#[test]
fn large_replies_that_are_never_read_hold_nobody_up() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let _server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let most: usize = std::fs::read_to_string("/proc/sys/net/core/wmem_max")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    let count = if most < 1 << 20 { 1 } else { 3 };
    let stuck: Vec<_> = (0..count)
        .map(|number| client(&scratch.path(&format!("stuck-{number}"))))
        .collect();
    let other = client(&scratch.path("other"));
    for number in 0..40 {
        for stuck in &stuck {
            stuck.send_to(&pattern(65_000, number), &path).unwrap();
        }
        assert_answers(&other, &path, b"small");
        // When the others hold what they can.
        if number >= 20 {
            assert_answers(&other, &path, &pattern(65_000, number + 100));
        }
    }
    // What was kept for the peer comes whole and in its order.
    for number in 0..3 {
        let mut got = vec![0; 65_536];
        let size = common::again(|| stuck[0].recv(&mut got)).unwrap();
        assert!(got[..size] == pattern(65_000, number), "{number}");
    }
}

/// The queue for a peer that never reads is bounded in bytes and in number. The server drops and
/// counts the rest.
#[test]
fn a_datagram_peer_that_never_reads_costs_a_bounded_queue() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let endpoint = scratch.endpoint("unixgram", "echo");
    let mut server = Server::start(&[&endpoint, "--unixgram-rate", "off"]);
    let stuck = client(&scratch.path("stuck"));
    let other = client(&scratch.path("other"));
    for _ in 0..20_000 {
        stuck.send_to(b"", &path).unwrap();
    }
    assert_answers(&other, &path, b"not held up");
    let before = server.resident();
    for _ in 0..20_000 {
        stuck.send_to(b"", &path).unwrap();
    }
    assert_answers(&other, &path, b"not held up either");
    common::assert_within(
        "growth in bytes",
        server.resident().saturating_sub(before),
        256 * 1024,
    );
    // The peer goes. The server must not hold for ever what it queued for it.
    drop(stuck);
    std::fs::remove_file(scratch.path("stuck")).unwrap();
    assert_eq!(server.stop(), 0);
    eventually("the counters", || {
        server.log().contains("datagrams overflowed").then_some(())
    });
}

/// The name of a peer need not be text.
#[test]
fn a_datagram_client_with_a_name_that_is_no_text_is_answered() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let _server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let name = scratch
        .path("")
        .join(std::ffi::OsStr::from_bytes(b"\xff\xfe name"));
    assert_answers(&client(&name), &path, b"bytes are bytes");
}
