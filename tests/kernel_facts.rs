//! What the loop takes for granted about the kernel, each fact alone.
//!
//! The state machines and the simulator are built on these. Nothing of ours runs here but plain mio and plain sockets: a platform on which
//! one of these tests fails is one on which the server would hang, spin or lie, and the test's name says how.
//!
//! "No event comes" is told by a second source: it is made ready afterwards, and its event is the only one that arrives.

#![cfg(target_os = "linux")]
#![cfg_attr(
    mio_unsupported_force_poll_poll,
    allow(
        dead_code,
        unused_imports,
        reason = "what watches edges has none to watch on poll(2)"
    )
)]

mod common;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::time::Duration;

use common::{PATIENCE, Scratch, loopback};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

const SUBJECT: Token = Token(0);
const BELL: Token = Token(1);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A poll with one source under test, and a bell to ring when nothing more is expected of it.
struct Watch {
    poll: Poll,
    bell: StdUdpSocket,
    bell_here: UdpSocket,
}

/// What one or more events said together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    readable: bool,
    writable: bool,
    read_closed: bool,
    error: bool,
}

impl Watch {
    fn new(subject: &mut impl mio::event::Source, interest: Interest) -> Watch {
        let poll = Poll::new().unwrap();
        poll.registry()
            .register(subject, SUBJECT, interest)
            .unwrap();
        let mut bell_here = UdpSocket::bind(loopback()).unwrap();
        poll.registry()
            .register(&mut bell_here, BELL, Interest::READABLE)
            .unwrap();
        let bell = StdUdpSocket::bind(loopback()).unwrap();
        bell.connect(bell_here.local_addr().unwrap()).unwrap();
        Watch {
            poll,
            bell,
            bell_here,
        }
    }

    /// Rings the bell, and returns what was said about the subject until it was heard; `None` where nothing was.
    fn heard(&mut self) -> Option<Seen> {
        self.bell.send(b"!").unwrap();
        let (mut seen, mut is_rung, mut events) = (None, false, Events::with_capacity(16));
        while !is_rung {
            self.poll.poll(&mut events, Some(PATIENCE)).unwrap();
            assert!(!events.is_empty(), "the bell was never heard");
            for event in &events {
                if event.token() == BELL {
                    self.bell_here.recv(&mut [0]).unwrap();
                    is_rung = true;
                    continue;
                }
                let seen = seen.get_or_insert_with(Seen::default);
                seen.readable |= event.is_readable();
                seen.writable |= event.is_writable();
                seen.read_closed |= event.is_read_closed();
                seen.error |= event.is_error();
            }
        }
        seen
    }
}

/// A peer of ours, blocking, and our own end, as mio sees it.
fn pair() -> (std::net::TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind(loopback()).unwrap();
    let peer = common::connect(listener.local_addr().unwrap());
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (peer, TcpStream::from_std(ours))
}

/// Waits until the kernel holds `size` bytes for `stream`. Over the loopback it does at once; other kernels may take a moment.
fn wait_for_bytes(stream: &TcpStream, size: usize) {
    let mut buffer = [0; 4096];
    common::eventually("the bytes arrive", || {
        stream
            .peek(&mut buffer)
            .is_ok_and(|count| count >= size)
            .then_some(())
    });
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p1_after_data_and_fin_in_one_event_a_short_read_is_followed_by_silence() {
    let (mut peer, mut ours) = pair();
    peer.write_all(b"ten bytes.").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    wait_for_bytes(&ours, 10);
    let mut watch = Watch::new(&mut ours, BOTH);
    assert_eq!(
        watch.heard(),
        Some(Seen {
            readable: true,
            writable: true,
            read_closed: true,
            error: false
        }),
        "one event for both"
    );
    assert_eq!(ours.read(&mut [0; 4096]).unwrap(), 10, "a short read");
    assert_eq!(
        watch.heard(),
        None,
        "and no event for the end of stream behind it"
    );
    assert_eq!(
        ours.read(&mut [0; 4096]).unwrap(),
        0,
        "although it stands there"
    );
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p2_a_fin_after_a_short_read_gives_an_event() {
    let (mut peer, mut ours) = pair();
    peer.write_all(b"data").unwrap();
    wait_for_bytes(&ours, 4);
    let mut watch = Watch::new(&mut ours, BOTH);
    assert!(
        watch
            .heard()
            .is_some_and(|seen| seen.readable && !seen.read_closed)
    );
    assert_eq!(ours.read(&mut [0; 4096]).unwrap(), 4);
    assert_eq!(watch.heard(), None);
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(
        watch
            .heard()
            .is_some_and(|seen| seen.readable && seen.read_closed)
    );
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn data_after_a_short_read_gives_an_event() {
    let (mut peer, mut ours) = pair();
    let mut watch = Watch::new(&mut ours, BOTH);
    watch.heard();
    for _ in 0..10 {
        peer.write_all(b"data").unwrap();
        assert!(watch.heard().is_some_and(|seen| seen.readable));
        assert_eq!(
            ours.read(&mut [0; 4096]).unwrap(),
            4,
            "short, and no WouldBlock was seen"
        );
    }
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p3_a_partial_read_is_followed_by_silence_until_the_source_is_registered_again() {
    let (mut peer, mut ours) = pair();
    peer.write_all(b"0123456789").unwrap();
    wait_for_bytes(&ours, 10);
    let mut watch = Watch::new(&mut ours, BOTH);
    assert!(watch.heard().is_some_and(|seen| seen.readable));
    assert_eq!(
        ours.read(&mut [0; 4]).unwrap(),
        4,
        "as a budget would stop it"
    );
    assert_eq!(
        watch.heard(),
        None,
        "six bytes are left and nothing tells of them"
    );
    watch
        .poll
        .registry()
        .reregister(&mut ours, SUBJECT, BOTH)
        .unwrap();
    assert!(watch.heard().is_some_and(|seen| seen.readable));
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p4_with_interest_in_writing_alone_a_fin_is_never_announced() {
    let (peer, mut ours) = pair();
    let mut watch = Watch::new(&mut ours, Interest::WRITABLE);
    assert!(watch.heard().is_some_and(|seen| seen.writable));
    peer.shutdown(Shutdown::Write).unwrap();
    let seen = watch.heard().unwrap_or_default();
    assert!(
        !seen.readable && !seen.read_closed,
        "at most a word about writing: {seen:?}"
    );
    assert_eq!(ours.read(&mut [0]).unwrap(), 0, "although it stands there");
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p4_with_interest_in_writing_alone_a_reset_is_announced() {
    let (peer, mut ours) = pair();
    let mut watch = Watch::new(&mut ours, Interest::WRITABLE);
    watch.heard();
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    assert!(watch.heard().is_some_and(|seen| seen.error));
}

/// Other tests of this process take descriptors as well, so one of several tries has to show it.
#[test]
fn p5_the_number_of_a_closed_descriptor_goes_to_the_next_socket_while_its_event_is_still_under_way()
{
    let seen = (0..1000).any(|_| {
        let (mut peer, mut ours) = pair();
        peer.write_all(b"an event").unwrap();
        wait_for_bytes(&ours, 8);
        let mut poll = Poll::new().unwrap();
        poll.registry().register(&mut ours, SUBJECT, BOTH).unwrap();
        let mut events = Events::with_capacity(16);
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        let number = ours.as_raw_fd();
        drop(ours);
        let next = StdUdpSocket::bind(loopback()).unwrap();
        next.as_raw_fd() == number && events.iter().any(|event| event.token() == SUBJECT)
    });
    assert!(seen);
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p6_a_listener_that_is_left_before_its_backlog_is_empty_hears_nothing_until_the_next_newcomer() {
    let mut listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut watch = Watch::new(&mut listener, Interest::READABLE);
    let mut clients: Vec<_> = (0..3).map(|_| common::connect(address)).collect();
    assert!(watch.heard().is_some_and(|seen| seen.readable));
    let _first = listener.accept().unwrap();
    assert_eq!(watch.heard(), None, "two wait and nothing tells of them");
    clients.push(common::connect(address));
    assert!(watch.heard().is_some_and(|seen| seen.readable));
}

/// In a process of its own, because the limit holds for all its threads.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p6_a_descriptor_that_becomes_free_gives_no_event_on_a_listener_that_had_none() {
    const NAME: &str =
        "p6_a_descriptor_that_becomes_free_gives_no_event_on_a_listener_that_had_none";
    const LIMIT: usize = 64;
    if std::env::var_os("MYNAH_TEST_LIMITED").is_none() {
        let script =
            format!("ulimit -n {LIMIT} && exec \"$0\" --exact {NAME} --test-threads=1 --nocapture");
        let mut child = Command::new("sh");
        child
            .arg("-c")
            .arg(script)
            .arg(std::env::current_exe().unwrap())
            .env("MYNAH_TEST_LIMITED", "1");
        let output = child.output().unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let mut listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut watch = Watch::new(&mut listener, Interest::READABLE);
    let client = common::connect(address);
    let mut fillers: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok())
        .take(LIMIT)
        .collect();
    assert!(fillers.len() < LIMIT, "the limit is in force");

    assert!(watch.heard().is_some_and(|seen| seen.readable));
    let starved = listener.accept().unwrap_err();
    assert_eq!(starved.raw_os_error(), Some(libc::EMFILE));
    fillers.pop();
    assert_eq!(
        watch.heard(),
        None,
        "a descriptor is free, a client waits, and nothing tells of either"
    );
    let (accepted, peer) = listener
        .accept()
        .expect("the client still stands in the backlog");
    assert_eq!(peer, client.local_addr().unwrap());
    drop(accepted);
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p7_datagrams_left_unread_give_no_event_and_an_empty_one_is_data() {
    let mut ours = UdpSocket::bind(loopback()).unwrap();
    let peer = StdUdpSocket::bind(loopback()).unwrap();
    peer.connect(ours.local_addr().unwrap()).unwrap();
    let mut watch = Watch::new(&mut ours, Interest::READABLE);
    for message in [&b""[..], b"second", b"third"] {
        assert_eq!(peer.send(message).unwrap(), message.len());
    }
    assert!(watch.heard().is_some_and(|seen| seen.readable));
    let mut buffer = [0; 64];
    assert_eq!(
        ours.recv(&mut buffer).unwrap(),
        0,
        "the first is empty: data, not an end"
    );
    assert_eq!(
        watch.heard(),
        None,
        "two are left and nothing tells of them"
    );
    assert_eq!(ours.recv(&mut buffer).unwrap(), 6);
    assert_eq!(ours.recv(&mut buffer).unwrap(), 5);
    assert_eq!(
        ours.recv(&mut buffer).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn after_a_short_write_the_peer_that_reads_gives_a_writable_event() {
    let (mut peer, mut ours) = pair();
    let mut watch = Watch::new(&mut ours, BOTH);
    watch.heard();
    let chunk = vec![0; 1 << 20];
    let mut written = 0;
    loop {
        let count = ours.write(&chunk).unwrap();
        written += count;
        if count < chunk.len() {
            break;
        }
    }
    assert_eq!(watch.heard(), None, "short, and no WouldBlock was seen");
    let mut got = vec![0; written];
    peer.read_exact(&mut got).unwrap();
    let mut events = Events::with_capacity(16);
    watch.poll.poll(&mut events, Some(PATIENCE)).unwrap();
    assert!(
        events
            .iter()
            .any(|event| event.token() == SUBJECT && event.is_writable())
    );
}

/// A Unix datagram is refused because of its receiver, so the event that follows says nothing about the receiver: trying again on
/// that word would spin.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn a_refused_unix_datagram_is_announced_as_writable_although_nothing_has_changed() {
    let scratch = Scratch::new();
    let path = scratch.path("full");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let mut ours = mio::net::UnixDatagram::unbound().unwrap();
    let mut watch = Watch::new(&mut ours, BOTH);
    watch.heard();
    let refused = (0..100_000).find_map(|_| ours.send_to(b"x", &path).err());
    assert_eq!(
        refused.expect("its queue is full").kind(),
        ErrorKind::WouldBlock
    );
    watch.heard();
    for _ in 0..3 {
        assert_eq!(
            ours.send_to(b"x", &path).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert!(watch.heard().is_some_and(|seen| seen.writable));
    }
    receiver.recv(&mut [0]).unwrap();
    ours.send_to(b"x", &path).unwrap();
}

/// Saves a system call for each connection; `TCP_NODELAY` itself saves 40 ms a message.
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

/// What a server that answers a forged packet meets. It is no error of the socket.
#[test]
fn a_datagram_to_port_0_is_invalid_and_harms_nobody() {
    let ours = StdUdpSocket::bind(loopback()).unwrap();
    let nobody: SocketAddr = "127.0.0.1:0".parse().unwrap();
    assert_eq!(
        ours.send_to(b"x", nobody).unwrap_err().raw_os_error(),
        Some(libc::EINVAL)
    );
    let peer = StdUdpSocket::bind(loopback()).unwrap();
    ours.send_to(b"x", peer.local_addr().unwrap()).unwrap();
}

#[test]
fn the_longest_datagram_has_65_507_bytes_over_ipv4() {
    let ours = StdUdpSocket::bind(loopback()).unwrap();
    let peer = StdUdpSocket::bind(loopback()).unwrap();
    let bytes = vec![7; 65_508];
    assert_eq!(
        ours.send_to(&bytes[..65_507], peer.local_addr().unwrap())
            .unwrap(),
        65_507
    );
    let refused = ours
        .send_to(&bytes, peer.local_addr().unwrap())
        .unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
    assert_eq!(peer.recv(&mut [0; 65_536]).unwrap(), 65_507);
}

#[test]
fn the_longest_datagram_has_65_527_bytes_over_ipv6() {
    let Ok(ours) = StdUdpSocket::bind("[::1]:0") else {
        eprintln!("skipped: there is no IPv6 here");
        return;
    };
    let peer = StdUdpSocket::bind("[::1]:0").unwrap();
    let bytes = vec![7; 65_528];
    assert_eq!(
        ours.send_to(&bytes[..65_527], peer.local_addr().unwrap())
            .unwrap(),
        65_527
    );
    assert_eq!(
        ours.send_to(&bytes, peer.local_addr().unwrap())
            .unwrap_err()
            .raw_os_error(),
        Some(libc::EMSGSIZE)
    );
    assert_eq!(peer.recv(&mut [0; 65_536]).unwrap(), 65_527);
}

/// Receiving reports no refusals of earlier replies: the socket is not connected, so they belong to nobody.
#[test]
fn a_reply_to_a_closed_port_leaves_no_error_on_an_unconnected_socket() {
    let ours = StdUdpSocket::bind(loopback()).unwrap();
    ours.set_nonblocking(true).unwrap();
    let gone = StdUdpSocket::bind(loopback())
        .unwrap()
        .local_addr()
        .unwrap();
    for _ in 0..3 {
        ours.send_to(b"x", gone).unwrap();
        assert_eq!(
            ours.recv(&mut [0; 16]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
}

/// Several pieces, one datagram.
#[test]
fn pieces_that_are_sent_together_arrive_as_one_datagram() {
    let ours = StdUdpSocket::bind(loopback()).unwrap();
    let peer = StdUdpSocket::bind(loopback()).unwrap();
    let pieces = [
        IoSlice::new(b"one "),
        IoSlice::new(b""),
        IoSlice::new(b"datagram"),
    ];
    let to = SockAddr::from(peer.local_addr().unwrap());
    assert_eq!(
        SockRef::from(&ours).send_to_vectored(&pieces, &to).unwrap(),
        12
    );
    let mut got = [MaybeUninit::uninit(); 64];
    assert_eq!(SockRef::from(&peer).recv(&mut got).unwrap(), 12);
}

/// What tells a path that a dead server left from one with a live server behind it.
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
