//! Output that nobody reads costs lines, never the loop.
//!
//! A pipe holds 64 KiB and then makes its writer wait for ever. The server must go on echoing beside a standard output or a standard error of that
//! kind, keep the lines that it does write whole, and say how many it did not.

mod common;

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};

use common::{
    PATIENCE, Server, TCP, UDP, assert_echoes, assert_within, binary, connect, eventually,
    loopback, pattern,
};

/// Kills the child when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Killed {
    fn signal(&self, name: &str) {
        assert!(
            Command::new("sh")
                .arg("-c")
                .arg(format!("kill -{name} {}", self.0.id()))
                .status()
                .unwrap()
                .success()
        );
    }
}

/// A client over UDP, where one message is one datagram and so one line.
fn client(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server.address(0)).unwrap();
    socket
}

/// Sends what says which it is, `count` times, and hears each back.
#[track_caller]
fn send_lines(client: &UdpSocket, from: usize, count: usize) {
    let mut got = [0; 8192];
    for number in from..from + count {
        client.send(&line(number)).unwrap();
        let size = common::again(|| client.recv(&mut got)).unwrap();
        assert!(got[..size] == line(number));
    }
}

fn line(number: usize) -> Vec<u8> {
    format!("<{number:08} {}>", "x".repeat(4000)).into_bytes()
}

/// The numbers of the printed lines, each of which must be whole.
#[track_caller]
fn numbers(peer: SocketAddr, printed: &str) -> Vec<usize> {
    let number_of = |text: &str| {
        let number: usize = text
            .strip_prefix(&format!("{peer}: <"))?
            .get(..8)?
            .parse()
            .ok()?;
        (text == format!("{peer}: {}", String::from_utf8(line(number)).unwrap())).then_some(number)
    };
    let whole = |text: &str| {
        number_of(text).unwrap_or_else(|| {
            panic!(
                "a line that is not whole: {} bytes, {:.60}",
                text.len(),
                text
            )
        })
    };
    printed.lines().map(whole).collect()
}

#[test]
fn a_standard_output_that_nobody_reads_costs_lines_and_says_how_many() {
    const SENT: usize = 2000;
    let mut server = Server::start(&[UDP, "--print"]);
    let socket = client(&server);
    let peer = socket.local_addr().unwrap();
    let before = server.resident();
    // Eight megabytes through a pipe of 64 KiB and a queue of a bounded size.
    send_lines(&socket, 0, SENT);
    server.wait_for_log("standard output is not read fast enough; printed lines are dropped");
    assert_within(
        "growth in bytes",
        server.resident().saturating_sub(before),
        8 << 20,
    );
    server.assert_burns_nothing();

    // Now somebody reads. As soon as there is room again, the next line is printed, and the number that is missing is said.
    let mut stdout = server.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut printed = String::new();
        stdout.read_to_string(&mut printed).unwrap();
        printed
    });
    let mut sent = SENT;
    eventually("the number of lines that were dropped", || {
        send_lines(&socket, sent, 1);
        sent += 1;
        server
            .log()
            .contains("printed lines were dropped")
            .then_some(())
    });
    assert_eq!(server.stop(), 0);
    let printed = reading.join().unwrap();
    let numbers = numbers(peer, &printed);
    assert!(numbers.is_sorted(), "in the order in which they came");
    server.wait_for_log("stopped: ");
    let log = server.log();
    let dropped: usize = log
        .lines()
        .filter_map(|line| {
            line.split_once("] ")?
                .1
                .strip_suffix(" printed lines were dropped")?
                .parse::<usize>()
                .ok()
        })
        .sum();
    assert_eq!(numbers.len() + dropped, sent, "{log}");
    assert!(
        numbers.len() < SENT && numbers.last() == Some(&(sent - 1)),
        "{} were printed",
        numbers.len()
    );
}

/// A reader that keeps up loses nothing, up to the last line before the end.
#[test]
fn a_standard_output_that_is_read_misses_nothing() {
    let mut server = Server::start(&[UDP, "--print"]);
    let mut stdout = server.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut printed = String::new();
        stdout.read_to_string(&mut printed).unwrap();
        printed
    });
    let socket = client(&server);
    let peer = socket.local_addr().unwrap();
    send_lines(&socket, 0, 100);
    assert_eq!(server.stop(), 0);
    assert_eq!(
        numbers(peer, &reading.join().unwrap()),
        (0..100).collect::<Vec<_>>()
    );
}

/// As after `mynah serve --print | head -1`.
#[test]
fn a_standard_output_that_was_closed_does_not_end_the_server() {
    let mut server = Server::start(&[TCP, "--print"]);
    drop(server.stdout.take());
    let mut stream = server.connect();
    (0..200).for_each(|number| assert_echoes(&stream, &line(number)));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(common::again(|| stream.read(&mut [0])).unwrap(), 0);
    server.assert_burns_nothing();
    assert_eq!(server.stop(), 0);
    assert!(
        server.log().lines().count() < 20,
        "and not a line of the log for each: {}",
        server.log()
    );
}

/// Without any standard output at all, as some supervisors start their programs; nor an input, nor an error output.
#[test]
fn streams_that_are_closed_from_the_beginning_do_not_end_up_as_sockets() {
    for closed in [">&-", "<&- >&- 2>&-"] {
        let scratch = common::Scratch::new();
        let script = format!(
            "exec \"$0\" serve --print {} {closed}",
            scratch.endpoint("unix", "echo")
        );
        let child = Killed(
            Command::new("sh")
                .arg("-c")
                .arg(script)
                .arg(binary())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let stream = eventually("the server listens", || {
            std::os::unix::net::UnixStream::connect(scratch.path("echo")).ok()
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for number in 0..100 {
            assert_echoes(&stream, &line(number));
        }
        child.signal("TERM");
        drop(stream);
        eventually("the socket file is removed at the end", || {
            (!common::stands(&scratch.path("echo"))).then_some(())
        });
    }
}

/// With every event traced, into a pipe that is never read.
#[test]
fn a_standard_error_that_nobody_reads_does_not_stop_the_echo() {
    let mut command = Command::new(binary());
    command
        .args(["serve", "-vv", TCP])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Killed(command.spawn().unwrap());
    let stderr = child.0.stderr.take().unwrap();
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    let address = first
        .trim_end()
        .strip_prefix("listening on tcp://")
        .unwrap()
        .parse()
        .unwrap();

    // Two lines of sixty bytes a message: twice what the pipe, the queue and the writer hold together.
    let stream = connect(address);
    let message = pattern(10, 1);
    for _ in 0..40_000 {
        assert_echoes(&stream, &message);
    }
    // Now it is read: whole lines, and a word about those that are missing.
    let reading = std::thread::spawn(move || {
        let mut log = String::new();
        let end = BufReader::new(stderr).read_to_string(&mut log);
        end.map(|_| log)
    });
    for _ in 0..1000 {
        assert_echoes(&stream, &message);
    }
    drop(stream);
    child.signal("TERM");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let log = reading.join().unwrap().unwrap();
    assert!(
        log.lines().any(|line| line
            .ends_with("log lines before this one were dropped: standard error was not read]")),
        "it says so"
    );
    for line in log.lines() {
        let is_ours = line.starts_with("[20") && line.contains(" mynah::")
            || line.contains("log lines before this one were dropped");
        assert!(is_ours, "a line that is not whole: {line}");
    }
}

/// It must not wait for its last words to be read, either.
#[test]
fn outputs_that_nobody_reads_do_not_keep_the_server_from_ending() {
    let mut command = Command::new(binary());
    command
        .args(["serve", "-vv", "--print", TCP])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Killed(command.spawn().unwrap());
    let (mut stdout, _stderr) = (
        BufReader::new(child.0.stdout.take().unwrap()),
        child.0.stderr.take().unwrap(),
    );
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    let address = first
        .trim_end()
        .strip_prefix("listening on tcp://")
        .unwrap()
        .parse()
        .unwrap();
    let mut stream = connect(address);
    (0..1000).for_each(|number| assert_echoes(&stream, &line(number)));
    child.signal("TERM");
    stream.shutdown(Shutdown::Write).unwrap();
    match common::again(|| stream.read(&mut [0])) {
        Ok(0) => {}
        other => assert_eq!(other.unwrap_err().kind(), ErrorKind::ConnectionReset),
    }
    let status = eventually("the server ends", || child.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
