//! Output that nobody reads costs lines, never the loop, and the lines that are lost are counted.
//!
//! A pipe holds 64 KiB and then blocks its writer for ever; a non-blocking one and a full disk give
//! an error that passes. In all of these cases the server must go on serving, write whole lines
//! alone, and say how many it lost.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use common::{
    PATIENCE, Scratch, Server, TCP, UDP, assert_echoes, assert_within, binary, connect, eventually,
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

/// How many lines a note stands for, if this is one.
fn noted(text: &str) -> Option<usize> {
    let (count, _) = text.strip_prefix('[')?.split_once(" line")?;
    let count = count.parse().ok()?;
    let plural = if count == 1 { " was" } else { "s were" };
    (text == format!("[{count} line{plural} dropped here]")).then_some(count)
}

/// The numbers of the printed lines, each of which must be whole, and how many the notes between
/// them stand for.
#[track_caller]
fn numbers(peer: SocketAddr, printed: &str) -> (Vec<usize>, usize) {
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
    let (notes, lines): (Vec<&str>, Vec<&str>) =
        printed.lines().partition(|text| noted(text).is_some());
    (
        lines.into_iter().map(whole).collect(),
        notes.into_iter().filter_map(noted).sum(),
    )
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
    server.wait_for_log("1 printed line dropped: standard output: it is not read fast enough");
    assert_within(
        "growth in bytes",
        server.resident().saturating_sub(before),
        8 << 20,
    );
    server.assert_burns_nothing();

    // Now somebody reads. As soon as there is room again, lines are printed, behind a note that says
    // how many are missing.
    let mut stdout = server.stdout.take().unwrap();
    let printed = Arc::new(Mutex::new(String::new()));
    let sink = printed.clone();
    let reading = std::thread::spawn(move || {
        let mut line = String::new();
        while stdout.read_line(&mut line).unwrap() > 0 {
            sink.lock().unwrap().push_str(&line);
            line.clear();
        }
    });
    eventually("the note on what was dropped", || {
        let printed = printed.lock().unwrap();
        printed
            .lines()
            .any(|text| noted(text).is_some())
            .then_some(())
    });
    send_lines(&socket, SENT, 1);
    assert_eq!(server.stop(), 0, "the conversations are what serve is for");
    reading.join().unwrap();
    let (numbers, dropped) = numbers(peer, &printed.lock().unwrap());
    assert!(numbers.is_sorted(), "in the order in which they came");
    assert_eq!(numbers.len() + dropped, SENT + 1);
    assert!(
        numbers.len() < SENT && numbers.last() == Some(&SENT),
        "{} were printed",
        numbers.len()
    );
    server.wait_for_log(&format!("mynah: {dropped} printed lines dropped: "));
    let warnings = server.count_in_log(" WARN ");
    assert!(warnings <= 3, "one an interval: {}", server.log());
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
        ((0..100).collect(), 0)
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

/// A pipe whose write end is non-blocking, as a program may leave it that shares it with us.
fn non_blocking_pipe(scratch: &Scratch) -> (File, File) {
    let path = scratch.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let mut non_blocking = OpenOptions::new();
    non_blocking.custom_flags(libc::O_NONBLOCK);
    // A write end alone could not be opened; a non-blocking read end can.
    let _first = non_blocking.clone().read(true).open(&path).unwrap();
    let near = non_blocking.write(true).open(&path).unwrap();
    (File::open(&path).unwrap(), near)
}

/// The lines that come out of a pipe. It gives up on one that does not come.
fn lines_of(far: File) -> impl Iterator<Item = String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(far).lines().map(Result::unwrap);
        lines.for_each(|line| drop(sender.send(line)));
    });
    std::iter::from_fn(move || lines.recv_timeout(PATIENCE).ok())
}

/// A running `mynah receive unix:… --frame line`, and what it says on standard error.
struct Receiver {
    child: Killed,
    scratch: Scratch,
    stderr: Option<std::process::ChildStderr>,
}

impl Receiver {
    fn start(scratch: Scratch, stdout: impl Into<Stdio>) -> Receiver {
        let mut child = Killed(
            Command::new(binary())
                .args(["receive", "--frame", "line"])
                .arg(scratch.endpoint("unix", "in"))
                .env_remove("RUST_LOG")
                .stdin(Stdio::null())
                .stdout(stdout)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let stderr = child.0.stderr.take();
        Receiver {
            child,
            scratch,
            stderr,
        }
    }

    /// Sends the lines and waits until the server has read all of them.
    #[track_caller]
    fn send(&self, lines: impl Iterator<Item = String>) {
        let mut stream = eventually("the server listens", || {
            UnixStream::connect(self.scratch.path("in")).ok()
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        lines.for_each(|line| stream.write_all(line.as_bytes()).unwrap());
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(common::again(|| stream.read(&mut [0])).unwrap(), 0);
    }

    /// SIGTERM; the exit status and standard error.
    #[track_caller]
    fn stop(&mut self) -> (Option<i32>, String) {
        self.child.signal("TERM");
        let status = eventually("the server ends", || self.child.0.try_wait().unwrap());
        let mut log = String::new();
        self.stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (status.code(), log)
    }
}

/// A receiver that got `messages` while nobody read its non-blocking standard output, and what it
/// prints after its first line.
#[track_caller]
fn unread(messages: impl Iterator<Item = String>) -> (Receiver, impl Iterator<Item = String>) {
    let scratch = Scratch::new();
    let (far, near) = non_blocking_pipe(&scratch);
    let receiver = Receiver::start(scratch, near);
    receiver.send(messages);
    let mut lines = lines_of(far);
    lines.next().unwrap();
    (receiver, lines)
}

#[test]
fn a_non_blocking_standard_output_misses_nothing_that_the_queue_holds() {
    const SENT: usize = 3000;
    // Five times what the pipe holds, and a third of what the queue does, before anybody reads.
    let (mut receiver, mut lines) = unread((0..SENT).map(|number| format!("{number:0100}\n")));
    for number in 0..SENT {
        let line = lines.next().expect("another line");
        assert_eq!(line, format!("unnamed: {number:0100}"));
    }
    let (status, log) = receiver.stop();
    assert_eq!(status, Some(0), "{log}");
    assert!(!log.contains("dropped"), "{log}");
}

#[test]
fn what_a_non_blocking_standard_output_costs_is_counted_and_a_failure() {
    const SENT: usize = 3000;
    let (mut receiver, mut lines) = unread((0..SENT).map(|number| format!("{number:04000}\n")));
    let (mut printed, mut dropped) = (0, 0);
    while printed + dropped < SENT {
        let line = lines.next().expect("another line");
        match noted(&line) {
            Some(count) => dropped += count,
            None => {
                assert_eq!(line, format!("unnamed: {:04000}", printed + dropped));
                printed += 1;
            }
        }
    }
    assert!(dropped > 0);
    let (status, log) = receiver.stop();
    assert_eq!(status, Some(1), "{log}");
    assert!(
        log.ends_with(&format!(
            "received {SENT} messages, {} bytes\nmynah: {dropped} printed lines dropped: \
             standard output: it is not read fast enough\n",
            SENT * 4000
        )),
        "{log}"
    );
}

/// As when the disk is full and stays so. The line that says where it listens is one of them.
#[test]
fn lines_that_could_not_be_written_to_the_end_are_a_failure() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut receiver = Receiver::start(Scratch::new(), full);
    receiver.send((0..3).map(|number| format!("{number}\n")));
    let (status, log) = receiver.stop();
    assert_eq!(status, Some(1), "{log}");
    let expected = "mynah: 4 printed lines still waiting to be written: standard output: No space";
    assert!(log.contains(expected), "{log}");
}

/// As `mynah receive | head -1`: the reader has seen enough, and misses nothing.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let (far, near) = UnixStream::pair().unwrap();
    drop(far);
    let near = std::os::fd::OwnedFd::from(near);
    let mut receiver = Receiver::start(Scratch::new(), near);
    receiver.send((0..1000).map(|number| format!("{number}\n")));
    let (status, log) = receiver.stop();
    assert_eq!(status, Some(0), "{log}");
    let told = log.matches("nothing more is printed").count();
    assert!(told == 1 && !log.contains("dropped"), "{log}");
}

/// A file system of 64 KiB. Unmounted when dropped.
struct SmallDisk(Scratch);

impl SmallDisk {
    /// `None`, with a word, for a user who may not mount.
    fn new() -> Option<SmallDisk> {
        let scratch = Scratch::new();
        let disk = scratch.path("disk");
        fs::create_dir(&disk).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&disk)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no small file system can be mounted");
            return None;
        }
        Some(SmallDisk(scratch))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path("disk").join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path("disk")).status();
    }
}

/// Fills a file until the disk is full.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[b'x'; 4096]).is_ok() {}
}

#[test]
fn a_log_goes_on_when_a_full_disk_has_space_again() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let log = File::create(disk.path("log")).unwrap();
    let mut command = Command::new(binary());
    command
        .args(["serve", "-v"])
        .arg(disk.0.endpoint("unix", "echo"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let mut child = Killed(command.spawn().unwrap());
    let converse = || {
        let stream = eventually("the server listens", || {
            UnixStream::connect(disk.0.path("echo")).ok()
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_echoes(&stream, b"hello");
    };
    converse();
    fill(&disk.path("filler"));
    let read = || fs::read_to_string(disk.path("log")).unwrap();
    // More lines than the last page of the log has room for; a part of a line may be the last.
    let mut conversations = 1;
    eventually("the log cannot be written any more", || {
        converse();
        conversations += 1;
        let said = read().matches(": accepted").count();
        (conversations > said + 20).then_some(())
    });
    fs::remove_file(disk.path("filler")).unwrap();
    eventually("the log goes on", || {
        (read().matches(": accepted").count() == conversations).then_some(())
    });
    converse();
    child.signal("TERM");
    let status = eventually("the server ends", || child.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let log = read();
    assert_eq!(log.matches(": accepted").count(), conversations + 1);
    for line in log.lines() {
        let is_whole = line.starts_with("[20") && line.matches(" mynah::").count() == 1;
        assert!(is_whole, "a line that is not whole: {line}");
    }
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
    assert!(log.lines().any(|line| noted(line).is_some()), "it says so");
    for line in log.lines() {
        let is_ours = line.starts_with("[20") && line.contains(" mynah::") || noted(line).is_some();
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

/// The pipe may be full from the beginning. The server cannot say where it listens, and serves all
/// the same. A signal ends it, cleanly.
#[test]
fn a_standard_output_that_is_full_from_the_beginning_does_not_hold_up_the_server() {
    let scratch = Scratch::new();
    let socket = scratch.path("echo");
    let (_far, mut near) = non_blocking_pipe(&scratch);
    while near.write(&[b'x'; 4096]).is_ok() {}
    // A byte that did not fit into a page may fit by itself.
    while near.write(b"x").is_ok() {}
    let blocking = OpenOptions::new()
        .write(true)
        .open(scratch.path("pipe"))
        .unwrap();
    let mut command = Command::new(binary());
    command
        .args(["serve", "-q", &scratch.endpoint("unix", "echo")])
        .stdin(Stdio::null())
        .stdout(blocking);
    let mut child = Killed(command.spawn().unwrap());
    let stream = eventually("the server listens", || UnixStream::connect(&socket).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_echoes(&stream, b"served");
    drop(stream);
    child.signal("TERM");
    let status = eventually("the server ends", || child.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(!socket.exists(), "it takes its file with it");
}
