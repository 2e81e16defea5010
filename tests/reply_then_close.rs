//! Promise 2: a reply is delivered, not reset. A server that closes a socket with unread input
//! resets the connection, and a reset destroys what the peer has not read yet; so the server
//! finishes, and throws away what still comes, within bounds.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use common::{
    Background, PATIENCE, Scratch, assert_within, eventually, loopback, pattern, read_to_end,
};
use mynah::limits::LINGER_BYTES;
use mynah::service::{Action, Context, Service};
use mynah::stream::outbox;
use mynah::{Address, CloseReason, Ending, Limits};

/// Greets and ends.
struct Greet(&'static [u8]);

impl Service for Greet {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        cx.reply(self.0);
        Action::FINISH
    }

    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        panic!("a service that has finished is told nothing any more")
    }
}

/// Answers the first input with as much as can be said at once, and ends.
struct AnswerOnce(Vec<u8>);

impl Service for AnswerOnce {
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        cx.reply(&self.0);
        Action::FINISH
    }
}

/// Says something long, as much at a time as there is room for, whenever everything before has
/// left; then ends.
struct Recite {
    text: Vec<u8>,
    said: usize,
}

impl Recite {
    fn new(text: Vec<u8>) -> Recite {
        Recite { text, said: 0 }
    }

    fn go_on(&mut self, cx: &mut Context<'_>) -> Action {
        let rest = &self.text[self.said..];
        let part = &rest[..rest.len().min(cx.room())];
        cx.reply(part);
        self.said += part.len();
        if self.said == self.text.len() {
            Action::FINISH
        } else {
            Action::More
        }
    }
}

impl Service for Recite {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        self.go_on(cx)
    }

    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        Action::Continue
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        self.go_on(cx)
    }
}

/// Says something and takes the connection away.
struct AbortOnData;

impl Service for AbortOnData {
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        cx.reply(b"you will hardly read this");
        Action::ABORT
    }
}

fn serve<S: Service + 'static>(make: impl Fn() -> S + Send + 'static) -> Background {
    Background::start(Address::Tcp(loopback()), Limits::default(), make)
}

/// Sends `size` bytes from another thread; the server may end its side at any moment of that, and
/// must let us finish.
fn send(mut stream: impl Write + Send + 'static, size: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || stream.write_all(&pattern(size, 1)).unwrap())
}

#[track_caller]
fn wait_until_closed(server: &Background, reason: CloseReason, count: u64) {
    eventually(&format!("{count} connections are closed"), || {
        (server.stats().closed[reason] == count).then_some(())
    });
    assert_eq!(server.stats().live(), 0);
}

#[test]
fn a_greeting_is_read_by_a_client_that_goes_on_sending() {
    let server = serve(|| Greet(b"busy, come back later\r\n"));
    for round in 1..=20 {
        let mut stream = server.connect();
        let sending = send(stream.try_clone().unwrap(), 2 << 20);
        // Reads only when all has been sent: a reset on the way would have destroyed the greeting.
        sending.join().unwrap();
        assert_eq!(read_to_end(&mut stream), b"busy, come back later\r\n");
        drop(stream);
        wait_until_closed(&server, CloseReason::Finished, round);
    }
}

#[test]
fn a_reply_is_read_by_a_client_that_sent_more_than_was_wanted() {
    let reply = pattern(outbox::LIMIT, 2);
    let server = serve({
        let reply = reply.clone();
        move || AnswerOnce(reply.clone())
    });
    for _ in 0..10 {
        let mut stream = server.connect();
        let sending = send(stream.try_clone().unwrap(), 8 << 20);
        assert!(read_to_end(&mut stream) == reply);
        sending.join().unwrap();
    }
    wait_until_closed(&server, CloseReason::Finished, 10);
    assert_within(
        "bytes that the service saw",
        server.stats().bytes_in,
        10 * outbox::LIMIT as u64,
    );
}

/// The same over a Unix socket, where unread input turns a close into a reset as well.
#[test]
fn a_reply_over_a_unix_socket_is_read_too() {
    let scratch = Scratch::new();
    let path = scratch.path("reply.sock");
    let server = Background::start(Address::Unix(path.clone()), Limits::default(), || {
        AnswerOnce(pattern(outbox::LIMIT, 3))
    });
    for _ in 0..10 {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sending = send(stream.try_clone().unwrap(), 4 << 20);
        assert!(read_to_end(&mut stream) == pattern(outbox::LIMIT, 3));
        sending.join().unwrap();
    }
    wait_until_closed(&server, CloseReason::Finished, 10);
}

/// The half-close that comes before the reply, behind it, or not at all makes no difference to the
/// reply.
#[test]
fn a_client_that_half_closes_gets_the_whole_reply() {
    let server = serve(|| AnswerOnce(pattern(outbox::LIMIT, 4)));
    for size in [1, 1000, 65_536, 200_000] {
        let mut stream = server.connect();
        let sending = send(stream.try_clone().unwrap(), size);
        sending.join().unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(
            read_to_end(&mut stream) == pattern(outbox::LIMIT, 4),
            "after {size} bytes"
        );
    }
    eventually("all are closed", || {
        (server.stats().live() == 0).then_some(())
    });
    assert_eq!(server.stats().accepted, 4);
}

#[test]
fn a_service_that_speaks_as_the_socket_takes_it_is_heard_to_its_end() {
    let text = pattern(4 << 20, 5);
    let server = serve({
        let text = text.clone();
        move || Recite::new(text.clone())
    });
    // A slow reader, which is always behind, and a fast one, which is never.
    for pause in [Some(Duration::from_millis(1)), None] {
        let mut stream = server.connect();
        let (mut got, mut bite) = (Vec::new(), vec![0; 32 * 1024]);
        loop {
            match common::again(|| stream.read(&mut bite)).unwrap() {
                0 => break,
                count => got.extend_from_slice(&bite[..count]),
            }
            pause.into_iter().for_each(thread::sleep);
        }
        assert_eq!(got.len(), text.len());
        assert!(got == text, "other bytes came than were said");
    }
    wait_until_closed(&server, CloseReason::Finished, 2);
}

/// Nobody throws away for ever what a peer sends that does not listen.
#[test]
fn lingering_has_a_bound_in_bytes() {
    let server = serve(|| Greet(b"no"));
    let mut stream = server.connect();
    let chunk = vec![b'x'; 64 * 1024];
    let error = loop {
        if let Err(error) = stream.write_all(&chunk) {
            break error;
        }
    };
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    wait_until_closed(&server, CloseReason::Finished, 1);
    assert_within(
        "bytes discarded",
        server.stats().bytes_lingered,
        LINGER_BYTES as u64,
    );
}

/// Nor waits for ever for a peer that neither sends nor ends.
#[test]
fn lingering_has_a_bound_in_time() {
    let server = serve(|| Greet(b"no"));
    let mut stream = server.connect();
    assert_eq!(read_to_end(&mut stream), b"no");
    assert_eq!(server.stats().live(), 1, "the peer still has its side open");
    wait_until_closed(&server, CloseReason::Finished, 1);
}

#[test]
fn an_aborted_connection_is_reset() {
    let server = serve(|| AbortOnData);
    let mut stream: TcpStream = server.connect();
    stream.write_all(b"?").unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    wait_until_closed(&server, CloseReason::Aborted, 1);
    server.handle.terminate();
    assert_eq!(
        server.wait(),
        Ending::Clean,
        "what a service aborts is not cut by the drain"
    );
}
