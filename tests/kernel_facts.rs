//! What the loop takes for granted about the kernel, one fact a test.
//!
//! The state machines and the simulator are built on these facts. These tests use mio and plain
//! sockets, and no code of ours. If one fails on a platform, the server would hang, spin or lie
//! there, and the test's name says how.
//!
//! How a test shows that no event comes: it makes a second source ready afterwards, and the event
//! of that source is the only one that arrives.

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
#[path = "kernel_facts/datagrams.rs"]
mod datagrams;
#[path = "kernel_facts/streams.rs"]
mod streams;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, UdpSocket as StdUdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use common::{PATIENCE, Scratch, loopback};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::SockRef;

const SUBJECT: Token = Token(0);
const BELL: Token = Token(1);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A poll with one source under test, and a bell to ring when the test expects no more of it.
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
    priority: bool,
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

    /// Rings the bell, and returns what the events before it said of the subject; `None` if there
    /// was none.
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
                seen.priority |= event.is_priority();
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

/// Waits until the kernel holds `size` bytes for `stream`. Over the loopback it does at once; other
/// kernels may take a moment.
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
            error: false,
            priority: false
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

/// Other tests of this process open descriptors too, so one of several tries must show it.
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

/// The kernel refuses a Unix datagram because of its receiver, and the event that follows says
/// nothing about the receiver. A server that tries again at each such event would spin.
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

/// Why a short read proves nothing once priority was announced.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p8_a_read_ends_at_an_urgent_mark_and_silence_follows_although_bytes_stand_behind_it() {
    let (mut peer, mut ours) = pair();
    SockRef::from(&ours).set_out_of_band_inline(true).unwrap();
    peer.write_all(b"aaaa").unwrap();
    SockRef::from(&peer).send_out_of_band(b"x").unwrap();
    peer.write_all(b"bbbb").unwrap();
    // Looking ahead ends at the mark as well.
    wait_for_bytes(&ours, 4);
    let mut watch = Watch::new(&mut ours, BOTH | Interest::PRIORITY);
    assert!(watch.heard().is_some_and(|seen| seen.priority));
    let mut got = [0; 4096];
    assert_eq!(ours.read(&mut got).unwrap(), 4, "a short read");
    assert_eq!(watch.heard(), None, "five bytes are left and nothing tells");
    assert_eq!(ours.read(&mut got).unwrap(), 5);
    assert_eq!(&got[..5], b"xbbbb", "the urgent byte is in its place");
}

/// Why a short read proves nothing on a Unix stream, whatever was announced.
#[test]
#[cfg(not(mio_unsupported_force_poll_poll))]
fn p9_a_read_ends_at_a_control_message_and_silence_follows_although_bytes_stand_behind_it() {
    let (mut peer, ours) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut ours = mio::net::UnixStream::from_std(ours);
    peer.write_all(b"one ").unwrap();
    sendmsg::<()>(
        peer.as_raw_fd(),
        &[IoSlice::new(b"two ")],
        &[ControlMessage::ScmRights(&[peer.as_raw_fd()])],
        MsgFlags::empty(),
        None,
    )
    .unwrap();
    peer.write_all(b"three").unwrap();
    let mut watch = Watch::new(&mut ours, BOTH | Interest::PRIORITY);
    assert!(
        watch
            .heard()
            .is_some_and(|seen| seen.readable && !seen.priority)
    );
    let mut got = [0; 4096];
    assert_eq!(ours.read(&mut got).unwrap(), 8, "a short read");
    assert_eq!(watch.heard(), None, "five bytes are left and nothing tells");
    assert_eq!(ours.read(&mut got).unwrap(), 5);
}
