//! Urgent data and control messages: a read ends early at each, and no byte may be lost or wait.
//!
//! TCP has one urgent mark, Unix streams have one byte of urgent data and may carry descriptors.
//! All of them are rare, so servers forget them. An echo returns them in their place.

mod common;

use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use common::{PATIENCE, Scratch, Server, TCP, binary, eventually, loopback, read_to_end};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::SockRef;

/// How often a race is tried. Without the cure one of three tries hung.
const ROUNDS: usize = 100;

/// A telnet client's interrupt key: IAC IP, then IAC DM with the mark on it (RFC 854).
const INTERRUPT: [&[u8]; 2] = [b"\xff\xf4", b"\xff\xf2"];

/// Sends `before`, `urgent` as urgent data, `behind`.
#[track_caller]
fn send(mut stream: impl Write + AsFd, before: &[u8], urgent: &[u8], behind: &[u8]) {
    stream.write_all(before).unwrap();
    assert_eq!(
        SockRef::from(&stream).send_out_of_band(urgent).unwrap(),
        urgent.len()
    );
    stream.write_all(behind).unwrap();
}

/// Reads exactly what is due.
#[track_caller]
fn assert_returns(mut stream: impl Read, due: &[u8]) {
    let mut got = vec![0; due.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(
        got.escape_ascii().to_string(),
        due.escape_ascii().to_string()
    );
}

/// A server and the way to connect to it.
struct Served {
    server: Server,
    scratch: Scratch,
}

impl Served {
    #[track_caller]
    fn unix(args: &[&str]) -> Served {
        let scratch = Scratch::new();
        let endpoint = scratch.endpoint("unix", "echo");
        let server = Server::start(&[&[endpoint.as_str()], args].concat());
        Served { server, scratch }
    }

    #[track_caller]
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.scratch.path("echo")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

#[test]
fn urgent_data_comes_back_in_its_place() {
    let server = Server::start(&[TCP]);
    for _ in 0..ROUNDS {
        let stream = server.connect();
        send(&stream, b"aaaa", b"x", b"bbbb");
        assert_returns(&stream, b"aaaaxbbbb");
    }
}

/// All of it is there before the server looks: the first read ends at the mark, and no event tells
/// of the rest.
#[test]
fn what_stands_behind_an_urgent_mark_is_not_forgotten() {
    let server = Server::start(&[TCP]);
    let streams: Vec<_> = (0..10).map(|_| server.connect()).collect();
    server.signal("STOP");
    for stream in &streams {
        send(stream, b"aaaa", b"x", b"bbbb");
    }
    server.signal("CONT");
    for stream in &streams {
        assert_returns(stream, b"aaaaxbbbb");
    }
}

#[test]
fn urgent_data_before_the_end_of_stream_comes_back_before_ours() {
    let server = Server::start(&[TCP]);
    for _ in 0..ROUNDS {
        let stream = server.connect();
        send(&stream, b"", b"abc", b"");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&stream), b"abc");
    }
}

/// Several marks: the last one counts, and the others are bytes like any.
#[test]
fn a_stream_of_urgent_marks_loses_nothing() {
    let server = Server::start(&[TCP]);
    let stream = server.connect();
    let mut due = Vec::new();
    for number in 0..ROUNDS {
        let line = format!("{number} ");
        send(&stream, line.as_bytes(), b"!", b"\n");
        due.extend([line.as_bytes(), b"!\n"].concat());
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        String::from_utf8(read_to_end(&stream)).unwrap(),
        String::from_utf8(due).unwrap()
    );
}

#[test]
fn the_interrupt_of_telnet_does_not_hold_up_the_line_behind_it() {
    let server = Server::start(&[TCP, "--frame", "line", "--reply", "{}"]);
    let due = [INTERRUPT[0], INTERRUPT[1], b"line\n"].concat();
    for _ in 0..ROUNDS {
        let stream = server.connect();
        send(&stream, INTERRUPT[0], INTERRUPT[1], b"line\n");
        assert_returns(&stream, &due);
    }
}

#[test]
fn urgent_data_on_a_unix_stream_comes_back_in_its_place() {
    let served = Served::unix(&["--frame", "line", "--reply", "{}"]);
    for _ in 0..ROUNDS {
        let stream = served.connect();
        // Of the three bytes the last one alone is urgent.
        if SockRef::from(&stream).send_out_of_band(b"xyz").is_err() {
            eprintln!("skipped: no urgent data on Unix streams here");
            return;
        }
        send(&stream, b"aaaa", b"xyz", b"bbbb\n");
        assert_returns(&stream, b"xyzaaaaxyzbbbb\n");
        send(&stream, b"a", b"x\n", b"");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&stream), b"ax\n");
    }
}

/// A read ends at a message with descriptors. They are not for us: the kernel closes them.
#[test]
fn descriptors_on_a_unix_stream_cost_no_byte_and_stay_with_nobody() {
    let mut served = Served::unix(&["--frame", "line", "--reply", "{}"]);
    let before = served.server.descriptors();
    let passed = std::fs::File::open("/dev/null").unwrap();
    let mut streams = Vec::new();
    for _ in 0..ROUNDS {
        let mut stream = served.connect();
        stream.write_all(b"one ").unwrap();
        sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(b"two ")],
            &[ControlMessage::ScmRights(&[passed.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        stream.write_all(b"three\n").unwrap();
        assert_returns(&stream, b"one two three\n");
        streams.push(stream);
    }
    assert_eq!(served.server.descriptors(), before + ROUNDS);
    drop(streams);
    eventually("the connections are closed", || {
        (served.server.descriptors() == before).then_some(())
    });
    assert_eq!(served.server.stop(), 0);
}

/// What `mynah connect ENDPOINT` prints of what a peer says.
#[track_caller]
fn printed_by_a_client(endpoint: &str, say: impl FnOnce()) -> Vec<u8> {
    let child = Command::new(binary())
        .args(["connect", "-q", endpoint])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    say();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    output.stdout
}

#[test]
fn a_client_hears_the_urgent_data_of_its_server() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    for _ in 0..10 {
        let printed = printed_by_a_client(&endpoint, || {
            let (stream, _) = listener.accept().unwrap();
            send(&stream, b"aaaa", b"x", b"bbbb");
            send(&stream, b"", b"abc", b"");
        });
        assert_eq!(printed.escape_ascii().to_string(), "aaaaxbbbbabc");
    }
}

#[test]
fn a_client_hears_the_urgent_data_of_its_server_on_a_unix_stream() {
    let scratch = Scratch::new();
    let listener = UnixListener::bind(scratch.path("server")).unwrap();
    let endpoint = scratch.endpoint("unix", "server");
    let printed = printed_by_a_client(&endpoint, || {
        let (stream, _) = listener.accept().unwrap();
        send(&stream, b"aaaa", b"x", b"bbbb");
    });
    assert_eq!(printed.escape_ascii().to_string(), "aaaaxbbbb");
}
