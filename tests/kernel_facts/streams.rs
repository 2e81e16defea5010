//! Facts about stream sockets: what they hand down, hold, keep and lose.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::common::{self, PATIENCE, Scratch, loopback};
use crate::{pair, wait_for_bytes};

/// This saves a system call a connection; `TCP_NODELAY` itself saves 40 ms a message.
#[test]
fn tcp_nodelay_is_handed_down_from_the_listener() {
    for is_on in [true, false] {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_tcp_nodelay(is_on).unwrap();
        listener.bind(&loopback().into()).unwrap();
        listener.listen(1).unwrap();
        let _peer = common::connect(listener.local_addr().unwrap().as_socket().unwrap());
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(accepted.tcp_nodelay().unwrap(), is_on);
    }
}

/// The reset destroys what the peer has not read yet: a reply with it.
#[test]
fn closing_over_unread_input_resets() {
    let (mut peer, mut ours) = pair();
    peer.write_all(b"never read").unwrap();
    wait_for_bytes(&ours, 10);
    ours.write_all(b"reply").unwrap();
    drop(ours);
    let error = std::io::copy(&mut peer, &mut std::io::sink()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn finishing_first_and_reading_to_the_end_delivers() {
    let (mut peer, mut ours) = pair();
    peer.write_all(b"read in the end").unwrap();
    wait_for_bytes(&ours, 15);
    ours.write_all(b"reply").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ours.read(&mut [0; 64]).unwrap(), 15);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"reply");
}

/// How a server tells a stale path from one that a live server listens on.
#[test]
fn a_leftover_unix_path_is_in_use_and_refuses() {
    let scratch = Scratch::new();
    let path = scratch.path("left");
    drop(UnixListener::bind(&path).unwrap());
    assert!(common::stands(&path), "closing does not remove the file");
    assert_eq!(
        UnixListener::bind(&path).unwrap_err().kind(),
        ErrorKind::AddrInUse
    );
    for kind in [Type::STREAM, Type::DGRAM] {
        let probe = Socket::new(Domain::UNIX, kind, None).unwrap();
        assert_eq!(
            probe
                .connect(&SockAddr::unix(&path).unwrap())
                .unwrap_err()
                .kind(),
            ErrorKind::ConnectionRefused
        );
    }
    let live = UnixDatagram::bind(scratch.path("live")).unwrap();
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let refused = probe
        .connect(&SockAddr::unix(scratch.path("live")).unwrap())
        .unwrap_err();
    assert_eq!(
        refused.raw_os_error(),
        Some(libc::EPROTOTYPE),
        "a live socket of the other kind does not refuse"
    );
    drop(live);
}

/// So a probe alone cannot tell the named socket of a client from a stale path.
#[test]
fn a_bound_socket_that_does_not_listen_refuses_like_a_leftover() {
    let scratch = Scratch::new();
    let name = SockAddr::unix(scratch.path("client")).unwrap();
    let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    client.bind(&name).unwrap();
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    assert_eq!(
        probe.connect(&name).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}

/// Both ends of a TCP connection whose listener has these options.
fn accepted_by(prepare: impl FnOnce(&Socket)) -> (TcpStream, TcpStream) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    prepare(&listener);
    listener.bind(&loopback().into()).unwrap();
    listener.listen(1).unwrap();
    let listener = TcpListener::from(listener);
    let peer = common::connect(listener.local_addr().unwrap());
    (peer, listener.accept().unwrap().0)
}

#[test]
fn keepalive_is_handed_down_from_the_listener() {
    let options = TcpKeepalive::new()
        .with_time(Duration::from_secs(61))
        .with_interval(Duration::from_secs(16))
        .with_retries(5);
    let (_peer, ours) = accepted_by(|listener| listener.set_tcp_keepalive(&options).unwrap());
    let ours = SockRef::from(&ours);
    assert!(ours.keepalive().unwrap());
    assert_eq!(ours.tcp_keepalive_time().unwrap().as_secs(), 61);
    assert_eq!(ours.tcp_keepalive_interval().unwrap().as_secs(), 16);
    assert_eq!(ours.tcp_keepalive_retries().unwrap(), 5);
}

/// Handed down from a TCP listener, the option costs no system call a connection.
#[test]
fn urgent_data_is_kept_in_its_place_only_if_asked_for() {
    for (is_inline, due) in [(true, &b"abc"[..]), (false, b"ab")] {
        let (peer, ours) =
            accepted_by(|listener| listener.set_out_of_band_inline(is_inline).unwrap());
        let is_handed_down = SockRef::from(&ours).out_of_band_inline().unwrap();
        assert_eq!(is_handed_down, is_inline);
        SockRef::from(&peer).send_out_of_band(b"abc").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(common::read_to_end(&ours), due);
    }
}

/// Both ends of a Unix connection; `None`, with a word, if Unix streams have no urgent data.
fn unix_pair() -> Option<(UnixStream, UnixStream)> {
    let (peer, ours) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    if SockRef::from(&peer).send_out_of_band(b"x").is_err() {
        eprintln!("skipped: no urgent data on Unix streams here");
        return None;
    }
    SockRef::from(&ours).set_out_of_band_inline(true).unwrap();
    assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 1);
    Some((peer, ours))
}

#[test]
fn a_unix_listener_does_not_hand_down_where_urgent_data_goes() {
    let scratch = Scratch::new();
    let path = scratch.path("listener");
    let listener = UnixListener::bind(&path).unwrap();
    SockRef::from(&listener)
        .set_out_of_band_inline(true)
        .unwrap();
    let _peer = UnixStream::connect(&path).unwrap();
    let (ours, _) = listener.accept().unwrap();
    assert!(!SockRef::from(&ours).out_of_band_inline().unwrap());
}

/// Only the last byte of an urgent message is urgent, and a read ends before it.
#[test]
fn a_unix_stream_keeps_urgent_data_in_its_place_if_asked_for() {
    let Some((mut peer, mut ours)) = unix_pair() else {
        return;
    };
    peer.write_all(b"aaaa").unwrap();
    SockRef::from(&peer).send_out_of_band(b"xyz").unwrap();
    peer.write_all(b"bbbb").unwrap();
    let mut got = [0; 64];
    let size = ours.read(&mut got).unwrap();
    assert_eq!(&got[..size], b"aaaaxy", "a short read with more behind it");
    ours.read_exact(&mut got[..5]).unwrap();
    assert_eq!(&got[..5], b"zbbbb");
}

/// So a drain that accepts N connections leaves one behind.
#[test]
fn a_backlog_of_n_holds_n_and_one_more() {
    const BACKLOG: i32 = 3;
    let scratch = Scratch::new();
    let unix = SockAddr::unix(scratch.path("listener")).unwrap();
    for (domain, name) in [(Domain::IPV4, loopback().into()), (Domain::UNIX, unix)] {
        let listener = Socket::new(domain, Type::STREAM, None).unwrap();
        listener.bind(&name).unwrap();
        listener.listen(BACKLOG).unwrap();
        listener.set_nonblocking(true).unwrap();
        let name = listener.local_addr().unwrap();
        let clients: Vec<Socket> = (0..=BACKLOG)
            .map(|_| {
                let client = Socket::new(domain, Type::STREAM, None).unwrap();
                client.set_nonblocking(true).unwrap();
                let _ = client.connect(&name);
                client
            })
            .collect();
        let held = std::iter::from_fn(|| listener.accept().ok()).count();
        assert_eq!(held as i32, BACKLOG + 1, "{domain:?}");
        drop(clients);
    }
}
