//! Promise 1: every byte before your FIN comes back before ours.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use common::{PATIENCE, Server, TCP, connect, eventually, pattern};

/// Sends `size` bytes, ends the sending side, and reads to the end of stream.
#[track_caller]
fn assert_comes_back(server: &Server, size: usize, read: impl Fn(&mut dyn Read) -> Vec<u8>) {
    let sent = pattern(size, size as u64 + 1);
    let mut stream = connect(server.address(0));
    let mut writer = stream.try_clone().unwrap();
    let bytes = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let got = read(&mut stream);
    writing.join().unwrap();
    assert_eq!(got.len(), sent.len(), "of {size} bytes");
    assert!(got == sent, "{size} bytes came back, others than were sent");
}

fn read_fast(stream: &mut dyn Read) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

/// Takes a small bite at a time with a pause between, long enough for every buffer on the way to
/// fill up.
fn read_slowly(stream: &mut dyn Read) -> Vec<u8> {
    let (mut got, mut bite) = (Vec::new(), [0; 256 * 1024]);
    loop {
        match common::again(|| stream.read(&mut bite)).unwrap() {
            0 => return got,
            count => got.extend_from_slice(&bite[..count]),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_size_comes_back_to_a_fast_reader() {
    let server = Server::start(&[TCP]);
    for size in [
        0,
        1,
        2,
        1023,
        65_535,
        65_536,
        65_537,
        131_072,
        1 << 20,
        16 << 20,
    ] {
        assert_comes_back(&server, size, read_fast);
    }
}

#[test]
fn every_size_comes_back_to_a_slow_reader() {
    let server = Server::start(&[TCP]);
    for size in [1, 65_536, 4 << 20, 16 << 20] {
        assert_comes_back(&server, size, read_slowly);
    }
}

/// The FIN stands in the server's buffers long before the last byte has left: it must not overtake
/// them.
#[test]
fn a_reader_that_starts_late_gets_everything() {
    let mut server = Server::start(&[TCP]);
    let sent = pattern(1 << 20, 7);
    let mut stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    let bytes = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    // Everything that fits anywhere has been sent before the first byte is read.
    writing.join().unwrap();
    server.assert_running();
    assert!(read_fast(&mut stream) == sent);
}

/// The data and the FIN arrive before the server looks: one event for both, and none after it.
#[test]
fn a_fin_behind_the_data_in_one_event_is_seen() {
    let server = Server::start(&[TCP]);
    for _ in 0..20 {
        server.signal("STOP");
        let mut stream = server.connect();
        stream.write_all(b"both at once").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        server.signal("CONT");
        assert_eq!(read_fast(&mut stream), b"both at once");
    }
}

/// The other direction: our side ends only after the peer's, however long the peer takes.
#[test]
fn the_server_does_not_end_its_side_first() {
    let server = Server::start(&[TCP]);
    let mut stream = server.connect();
    for message in [&b"one"[..], b"two", b"three"] {
        common::assert_echoes(&mut stream, message);
    }
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let waited = common::again(|| stream.read(&mut [0])).unwrap_err().kind();
    assert!(
        matches!(
            waited,
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
        "{waited:?}"
    );
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(common::again(|| stream.read(&mut [0])).unwrap(), 0);
}

/// Both ends of many connections close at once; each is closed for the reason that it has.
#[test]
fn connections_that_say_nothing_end_with_their_peer() {
    let server = Server::start(&[TCP]);
    let streams: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for mut stream in streams {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(common::again(|| stream.read(&mut [0])).unwrap(), 0);
    }
    eventually("all are closed", || {
        (server.count_in_log("closed: peer closed") == 50).then_some(())
    });
}
