//! Timeouts end what has stopped, and nothing else: not what is slow, and not what was stopped
//! together with us.
//!
//! A test can show that a timeout fires, and that it does not where the peer makes progress several
//! times within it; the timeouts are chosen so that a machine would have to stand still for most of
//! a second to confuse the two.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Background, Scratch, Server, TCP, assert_echoes, assert_within, connect_small, eventually,
    loopback, pattern, stuff,
};
use mynah::service::{Action, Context, Service};
use mynah::{Address, CloseReason, Limits};

/// Between two bytes of a peer that is slow but not idle.
const TRICKLE: Duration = Duration::from_millis(20);

/// Calls `step` at intervals of a trickle, for two and a half timeouts of a second.
fn trickle(mut step: impl FnMut(u64)) {
    let start = Instant::now();
    for count in 0.. {
        if start.elapsed() > Duration::from_millis(2500) {
            return;
        }
        step(count);
        thread::sleep(TRICKLE);
    }
}

/// Reads whatever comes, then tells how it ended.
fn end_of(mut stream: &TcpStream) -> std::io::Result<usize> {
    stream.read_to_end(&mut Vec::new())
}

/// That the server has neither ended nor reset this connection, on which all that it said has been
/// read.
#[track_caller]
fn assert_open(mut stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    assert_eq!(
        common::again(|| stream.read(&mut [0])).map_err(|error| error.kind()),
        Err(ErrorKind::WouldBlock)
    );
    stream.set_nonblocking(false).unwrap();
}

/// A connection that the server owes an outbox, with all buffers on the way full.
#[track_caller]
fn stuck(server: &Server) -> (TcpStream, usize) {
    let streams = [connect_small(server.address(0))];
    let taken = stuff(&streams, &pattern(65_536, 1))[0];
    let [stream] = streams;
    (stream, taken)
}

#[test]
fn an_idle_connection_gets_an_end_of_stream() {
    let server = Server::start(&[TCP, "--idle-timeout", "300ms"]);
    let silent: Vec<_> = (0..10).map(|_| server.connect()).collect();
    let spoken: Vec<_> = (0..10).map(|_| server.connect()).collect();
    spoken
        .iter()
        .for_each(|stream| assert_echoes(stream, b"and then nothing"));
    for stream in silent.iter().chain(&spoken) {
        assert_eq!(end_of(stream).unwrap(), 0);
    }
    drop((silent, spoken));
    eventually("all are closed", || {
        (server.count_in_log("closed: idle timeout") == 20).then_some(())
    });
}

#[test]
fn a_peer_that_trickles_is_not_idle() {
    let server = Server::start(&[TCP, "--idle-timeout", "1s"]);
    let stream = server.connect();
    trickle(|count| assert_echoes(&stream, &[count as u8]));
    assert_open(&stream);
    assert_eq!(end_of(&stream).unwrap(), 0, "and is once it stops");
}

/// What only comes in is progress.
#[test]
fn a_peer_that_is_only_heard_is_not_idle() {
    let server = Server::start(&[TCP, "--idle-timeout", "1s", "--service", "discard"]);
    let mut stream = server.connect();
    trickle(|_| stream.write_all(b".").unwrap());
    assert_open(&stream);
    assert_eq!(end_of(&stream).unwrap(), 0);
}

/// Says a byte at each alarm, and never listens.
struct Tick;

impl Service for Tick {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        cx.set_alarm(cx.now + TRICKLE);
        Action::Continue
    }

    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        Action::Continue
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        cx.reply(b".");
        self.on_open(cx)
    }
}

/// What only goes out is progress.
#[test]
fn a_peer_that_is_only_spoken_to_is_not_idle() {
    let limits = Limits {
        idle_timeout: Some(Duration::from_secs(1)),
        ..Limits::default()
    };
    let server = Background::start(Address::Tcp(loopback()), limits, || Tick);
    let mut stream = server.connect();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        stream.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(server.stats().closed[CloseReason::IdleTimeout], 0);
}

#[test]
fn a_peer_that_takes_nothing_is_reset() {
    // Longer than a busy machine needs to fill the buffers: a write that meets the reset would take
    // the error that the read below expects.
    let server = Server::start(&[TCP, "--write-timeout", "2s"]);
    let (stream, _) = stuck(&server);
    server.wait_for_log("closed: write timeout");
    // It has not got everything, so it must not see what looks like the end of everything.
    assert_eq!(
        end_of(&stream).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_echoes(server.connect(), b"others are well");
}

#[test]
fn without_pending_output_no_write_timeout_fires() {
    let server = Server::start(&[TCP, "--write-timeout", "300ms"]);
    let stream = server.connect();
    assert_echoes(&stream, b"all taken");
    thread::sleep(Duration::from_secs(1));
    assert_echoes(&stream, b"still here");
}

/// Takes one small bite after the other of far more than the buffers hold, and needs longer for an
/// outbox than the timeout.
#[test]
fn a_slow_but_steady_reader_meets_no_timeout() {
    let server = Server::start(&[TCP, "--write-timeout", "1s", "--idle-timeout", "1s"]);
    let mut stream = connect_small(server.address(0));
    let mut writer = stream.try_clone().unwrap();
    let sent = pattern(2 << 20, 9);
    let bytes = sent.clone();
    let writing = thread::spawn(move || writer.write_all(&bytes).unwrap());
    let mut got = vec![0; sent.len()];
    let mut taken = 0;
    trickle(|_| {
        stream.read_exact(&mut got[taken..][..800]).unwrap();
        taken += 800;
    });
    assert_eq!(server.count_in_log("closed:"), 0);
    stream.read_exact(&mut got[taken..]).unwrap();
    assert!(got == sent);
    writing.join().unwrap();
}

/// While the server was stopped its clock ran on, and what came meanwhile stands in the kernel: the
/// alarm must look there before it acts.
#[test]
fn no_idle_timeout_fires_over_data_that_waits_in_the_kernel() {
    let server = Server::start(&[TCP, "--idle-timeout", "1s"]);
    let mut streams: Vec<_> = (0..20).map(|_| server.connect()).collect();
    streams
        .iter()
        .for_each(|stream| assert_echoes(stream, b"before"));
    server.signal("STOP");
    streams
        .iter_mut()
        .for_each(|stream| stream.write_all(b"while it was stopped").unwrap());
    thread::sleep(Duration::from_millis(1500));
    server.signal("CONT");
    for stream in &mut streams {
        let mut got = [0; 20];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"while it was stopped");
        assert_open(stream);
    }
}

#[test]
fn no_write_timeout_fires_over_room_that_waits_in_the_kernel() {
    let server = Server::start(&[TCP, "--write-timeout", "2s"]);
    let (mut stream, taken) = stuck(&server);
    server.signal("STOP");
    // Takes all that the server's kernel will give without the server.
    let mut got = vec![0; taken];
    stream.read_exact(&mut got[..40_000]).unwrap();
    thread::sleep(Duration::from_millis(2500));
    server.signal("CONT");
    stream.read_exact(&mut got[40_000..]).unwrap();
    assert!(
        got.iter().eq(pattern(65_536, 1).iter().cycle().take(taken)),
        "other bytes came back than were sent"
    );
    assert_open(&stream);
}

/// Off is off, and a timeout of many years is neither a short one nor a busy one.
#[test]
fn timeouts_that_are_off_or_huge_do_nothing() {
    for timeout in ["off", "100000h"] {
        let server = Server::start(&[
            TCP,
            "--idle-timeout",
            timeout,
            "--write-timeout",
            timeout,
            "--drain-timeout",
            timeout,
        ]);
        let (mut stream, taken) = stuck(&server);
        let idle = server.connect();
        assert_echoes(&idle, b"and then nothing");
        let before = server.cpu_ticks();
        thread::sleep(Duration::from_secs(1));
        assert_within("ticks of an idle second", server.cpu_ticks() - before, 5);
        assert_echoes(&idle, b"still here");
        stream.read_exact(&mut vec![0; taken]).unwrap();
        assert_echoes(&stream, b"still here");
    }
}

/// A peer that takes some small messages in each timeout makes progress, although the socket takes
/// nothing from us: what it took is less than the kernel went over its limit with the last write.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_of_small_messages_makes_progress_before_the_socket_has_room() {
    let scratch = Scratch::new();
    let server = Server::start(&[&scratch.endpoint("unix", "echo"), "--write-timeout", "1s"]);
    // How far the kernel goes over its limit depends on what was written before, so several.
    let mut streams: Vec<_> = (0..8)
        .map(|number| {
            let mut stream = UnixStream::connect(scratch.path("echo")).unwrap();
            for sent in 1..=100 + 6 * number {
                stream.write_all(b"a small message").unwrap();
                eventually("its echo has arrived", || {
                    (unread(&stream) == 15 * sent).then_some(())
                });
            }
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let mut quiet = 0;
    eventually("all connections are stuck", || {
        let sent = streams
            .iter_mut()
            .any(|stream| stream.write(&[b'x'; 65_536]).is_ok());
        quiet = if sent { 0 } else { quiet + 1 };
        (quiet == 10).then_some(())
    });
    trickle(|count| {
        if count % 4 == 0 {
            streams
                .iter_mut()
                .for_each(|stream| stream.read_exact(&mut [0; 15]).unwrap());
        }
    });
    assert_eq!(server.count_in_log("write timeout"), 0);
    server.wait_for_log("write timeout");
}

/// Bytes that have arrived and were not read.
#[cfg(target_os = "linux")]
fn unread(stream: &UnixStream) -> u64 {
    rustix::io::ioctl_fionread(stream).unwrap()
}
