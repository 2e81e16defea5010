//! The client: what goes in at one end comes out at the other, whatever standard input and output are, against plain blocking sockets.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{PATIENCE, Scratch, Server, TCP, UDP, binary, eventually, pattern};

/// `mynah connect ARGS…`, with pipes at both ends.
fn client(args: &[&str]) -> Child {
    Command::new(binary())
        .arg("connect")
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a client with this input to its end. Returns its exit status, what it printed and what it said.
#[track_caller]
fn converse(args: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
    let output = assert_cmd::Command::new(binary())
        .arg("connect")
        .args(args)
        .env_remove("RUST_LOG")
        .write_stdin(input)
        .timeout(PATIENCE)
        .output();
    let output = output.unwrap();
    (
        output.status.code().expect("an exit status"),
        output.stdout,
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn endpoint(listener: &TcpListener) -> String {
    format!("tcp://{}", listener.local_addr().unwrap())
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Bytes that the socket at this local address still holds for its peer (proc(5), `/proc/net/tcp`: two hexadecimal addresses, then its queues).
fn unsent(local: SocketAddr) -> usize {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", local.port());
    let fields = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let queues = fields
        .filter(|fields| fields[1].ends_with(&port))
        .map(|fields| fields[4].to_owned());
    queues
        .map(|queues| usize::from_str_radix(&queues[..8], 16).unwrap())
        .max()
        .unwrap_or(0)
}

#[track_caller]
fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn udp_endpoint(socket: &UdpSocket) -> String {
    format!("udp://{}", socket.local_addr().unwrap())
}

/// More than all buffers of the path hold, so that both sides must read while they are owed.
#[test]
fn megabytes_come_back_through_an_echo() {
    let scratch = Scratch::new();
    let server = Server::start(&[TCP, &scratch.endpoint("unix", "echo")]);
    let sent = pattern(20_000_000, 1);
    for endpoint in &server.endpoints {
        let (status, got, said) = converse(&[endpoint], &sent);
        assert_eq!((status, said.as_str()), (0, ""));
        assert!(
            got == sent,
            "{endpoint}: {} of {} bytes",
            got.len(),
            sent.len()
        );
    }
}

#[test]
fn the_end_of_the_input_is_a_half_close_and_the_peer_has_the_last_word() {
    let listener = listen();
    let peer = thread::spawn({
        let listener = listener.try_clone().unwrap();
        move || {
            let mut stream = accept(&listener);
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            stream.write_all(b"after your end: ").unwrap();
            stream.write_all(&got).unwrap();
        }
    });
    assert_eq!(
        converse(&[&endpoint(&listener)], b"hello"),
        (0, b"after your end: hello".to_vec(), String::new())
    );
    peer.join().unwrap();
}

/// A peer that has said all may still listen: what stands in the input is not lost with its end.
#[test]
fn a_peer_that_ends_first_still_gets_the_input() {
    let listener = listen();
    let endpoint = endpoint(&listener);
    let sent = pattern(3_000_000, 4);
    let peer = thread::spawn(move || {
        let mut stream = accept(&listener);
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(
        converse(&[&endpoint], &sent),
        (0, b"bye".to_vec(), String::new())
    );
    assert!(peer.join().unwrap() == sent);
}

/// A client with more to say than anybody takes, which stands still, and the connection that it made.
fn talking_client(listener: &TcpListener) -> (Child, thread::JoinHandle<()>, TcpStream) {
    let mut child = client(&[&endpoint(listener)]);
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || while input.write_all(&[b'x'; 65_536]).is_ok() {});
    let mut stream = accept(listener);
    stream.read_exact(&mut [0; 65_536]).unwrap();
    eventually("its socket is full", || {
        (unsent(stream.peer_addr().unwrap()) > 0 && common::state(child.id()) == Some('S'))
            .then_some(())
    });
    common::signal(child.id(), "STOP");
    (child, writer, stream)
}

/// One that has closed is no failure, and more input than it ever takes is left where it is. What it said before is shown, even where we find
/// that it has gone by saying more: a broken pipe ends our half alone.
#[test]
fn a_peer_that_closes_first_ends_it() {
    let listener = listen();
    let (child, writer, mut stream) = talking_client(&listener);
    // Until the client's socket is empty: what is left unread would make of the end a reset.
    stream.set_nonblocking(true).unwrap();
    let mut got = vec![0; 65_536];
    eventually("all has been read", || match stream.read(&mut got) {
        Ok(_) => None,
        Err(_) => (unsent(stream.peer_addr().unwrap()) == 0 && stream.peek(&mut got).is_err())
            .then_some(()),
    });
    stream.write_all(b"bye").unwrap();
    drop(stream);
    common::signal(child.id(), "CONT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..], said.as_str()),
        (Some(0), &b"bye"[..], "")
    );
    writer.join().unwrap();
}

/// A reset is one, but what stood before it is shown too.
#[test]
fn what_a_peer_said_before_its_reset_is_shown() {
    let listener = listen();
    let (child, writer, mut stream) = talking_client(&listener);
    stream.write_all(b"bye").unwrap();
    common::reset(stream);
    common::signal(child.id(), "CONT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(5), &b"bye"[..]),
        "{said}"
    );
    assert!(
        said.contains("reset by the peer; ") && said.contains(" and 3 received"),
        "{said}"
    );
    writer.join().unwrap();
}

#[test]
fn a_client_that_only_receives_needs_no_input() {
    let listener = listen();
    let mut child = client(&[&endpoint(&listener)]);
    let mut stream = accept(&listener);
    stream.write_all(b"Hello, client!").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    // Its standard input is still open: the peer's end is the end.
    let mut got = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut got)
        .unwrap();
    assert_eq!(got, "Hello, client!");
    assert_eq!(
        eventually("it ends", || child.try_wait().unwrap()).code(),
        Some(0)
    );
}

#[test]
fn standard_input_may_be_a_file_or_nothing_or_closed() {
    let (scratch, server) = (Scratch::new(), Server::start(&[TCP]));
    let path = scratch.path("input");
    std::fs::write(&path, pattern(1_000_000, 2)).unwrap();
    let run = |redirection: &str| {
        let script = format!("exec \"$0\" connect \"$1\" {redirection}");
        let output = Command::new("sh")
            .args(["-c", &script, binary(), &server.endpoints[0]])
            .output()
            .unwrap();
        (
            output.status.code(),
            output.stdout,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (status, got, said) = run(&format!("< {}", path.display()));
    assert_eq!((status, said.as_str()), (Some(0), ""));
    assert!(got == pattern(1_000_000, 2));
    assert_eq!(run("< /dev/null"), (Some(0), vec![], String::new()));
    assert_eq!(run("<&-"), (Some(0), vec![], String::new()));
}

/// As `head` expects: whoever has seen enough closes its end, and nothing is said of it.
#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let server = Server::start(&[TCP]);
    let mut child = client(&[&server.endpoints[0]]);
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || while input.write_all(&[b'x'; 65_536]).is_ok() {});
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 10]).unwrap();
    drop(output);
    assert_eq!(
        eventually("it ends", || child.try_wait().unwrap()).code(),
        Some(0)
    );
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "");
    writer.join().unwrap();
}

#[test]
fn a_hundred_thousand_lines_reach_a_slow_reader() {
    let server = Server::start(&[TCP]);
    let mut child = client(&[&server.endpoints[0]]);
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        for line in 0..100_000 {
            writeln!(input, "line {line}").unwrap();
        }
    });
    // Reads a little, then lets the others fill every buffer there is, again and again.
    let mut output = BufReader::with_capacity(512, child.stdout.take().unwrap());
    for line in 0..100_000 {
        if line % 10_000 == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        let mut got = String::new();
        output.read_line(&mut got).unwrap();
        assert_eq!(got, format!("line {line}\n"));
    }
    writer.join().unwrap();
    assert_eq!(
        eventually("it ends", || child.try_wait().unwrap()).code(),
        Some(0)
    );
}

/// A reader that does not read pushes the peer back: the client itself keeps a bounded number of bytes.
#[test]
fn a_reader_that_does_not_read_costs_bounded_memory() {
    let listener = listen();
    let mut child = client(&[&endpoint(&listener)]);
    let mut stream = accept(&listener);
    stream.set_nonblocking(true).unwrap();
    let (mut taken, mut quiet) = (0, 0);
    eventually("the client takes no more", || {
        match stream.write(&[b'x'; 65_536]) {
            Ok(count) => {
                taken += count;
                quiet = 0;
            }
            Err(_) => quiet += 1,
        }
        (quiet == 50).then_some(())
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap();
    common::assert_within("kilobytes of resident memory", resident, 16 * 1024);
    // And not a byte is lost.
    stream.set_nonblocking(false).unwrap();
    drop(stream);
    let mut got = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), taken);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_word_ends_the_input() {
    let listener = listen();
    let mut child = client(&["--until", "exit", &endpoint(&listener)]);
    let mut stream = accept(&listener);
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\nexit now\nexit\nnever\n").unwrap();
    // The pipe is still open.
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    assert_eq!(got, "one\nexit now\n");
    drop(stream);
    assert_eq!(
        eventually("it ends", || child.try_wait().unwrap()).code(),
        Some(0)
    );
}

#[test]
fn text_is_written_and_read_in_the_encoding_of_the_wire() {
    let listener = listen();
    let mut child = client(&["--encoding", "gbk", &endpoint(&listener)]);
    let mut stream = accept(&listener);
    stream.set_nodelay(true).unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all("你好\n".as_bytes())
        .unwrap();
    let mut got = [0; 5];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"\xc4\xe3\xba\xc3\n");
    // Each byte in a segment of its own.
    for byte in b"\xca\xd5\xb5\xbd\xff" {
        stream.write_all(&[*byte]).unwrap();
    }
    drop(stream);
    let mut printed = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut printed)
        .unwrap();
    assert_eq!(printed, "收到\u{fffd}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// What stands before it is sent, and what the peer says to that is shown.
#[test]
fn what_cannot_be_encoded_is_named_and_nothing_else_is_lost() {
    let listener = listen();
    let endpoint = endpoint(&listener);
    let peer = thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        stream.write_all(b"yes").unwrap();
        got
    });
    let (status, printed, said) = converse(
        &["--encoding", "iso-8859-2", &endpoint],
        "ok\n你".as_bytes(),
    );
    assert_eq!(
        (status, said.as_str()),
        (1, "mynah: line 2: '你' cannot be written in ISO-8859-2\n")
    );
    assert_eq!(
        (peer.join().unwrap().as_str(), printed.as_slice()),
        ("ok\n", &b"yes"[..])
    );
}

#[test]
fn each_line_is_a_datagram_to_every_endpoint() {
    let (one, two) = (bound(), bound());
    let (status, printed, said) = converse(
        &[
            "--until",
            "exit",
            "--wait",
            "0s",
            &udp_endpoint(&one),
            &udp_endpoint(&two),
        ],
        "a\n\n你好\nlast\nexit\nnever\n".as_bytes(),
    );
    assert_eq!(
        (status, printed.as_slice(), said.as_str()),
        (0, &b""[..], "")
    );
    for socket in [&one, &two] {
        let mut got = [0; 64];
        for expected in ["a", "", "你好", "last"] {
            let size = common::again(|| socket.recv(&mut got)).unwrap();
            assert_eq!(&got[..size], expected.as_bytes());
        }
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut got).is_err(), "nothing else was sent");
    }
}

#[test]
fn answers_to_datagrams_are_printed_one_a_line() {
    let scratch = Scratch::new();
    let server = Server::start(&[UDP, &scratch.endpoint("unixgram", "echo")]);
    for endpoint in &server.endpoints {
        assert_eq!(
            converse(&["--wait", "300ms", endpoint], b"one\ntwo\nlast"),
            (0, b"one\ntwo\nlast\n".to_vec(), String::new())
        );
    }
}

/// A datagram that nobody answers looks like one that nobody got.
#[test]
fn a_datagram_without_an_answer_is_said_so() {
    let peer = bound();
    let endpoint = udp_endpoint(&peer);
    let due = |words: &[&str], input: &[u8]| {
        let (status, printed, said) = converse(words, input);
        assert_eq!((status, printed), (0, Vec::new()));
        said
    };
    assert_eq!(
        due(&["--wait", "50ms", &endpoint], b"hello\n"),
        "mynah: no answer within 50ms\n"
    );
    assert_eq!(due(&["--wait", "0s", &endpoint], b"hello\n"), "");
    assert_eq!(
        due(&["--wait", "50ms", &endpoint], b""),
        "",
        "nothing was asked"
    );
}

/// Answers are waited for, and no longer than was asked for.
#[test]
fn a_datagram_client_speaks_from_the_address_it_was_given() {
    let (peer, free) = (bound(), bound());
    let from = free.local_addr().unwrap();
    drop(free);
    let mut child = client(&[
        "--bind",
        &from.to_string(),
        "--wait",
        "off",
        &udp_endpoint(&peer),
    ]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    let (_, sender) = common::again(|| peer.recv_from(&mut [0; 64])).unwrap();
    assert_eq!(sender, from);
    drop(input);
    peer.send_to(b"late", from).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "late\n");
    assert_eq!(child.try_wait().unwrap(), None, "it waits for ever");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_unix_datagram_client_has_a_name_and_takes_its_file_away() {
    let scratch = Scratch::new();
    let peer = UnixDatagram::bind(scratch.path("peer")).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let me = scratch.path("me");
    let (status, _, said) = converse(
        &[
            "--bind",
            me.to_str().unwrap(),
            "--wait",
            "0s",
            &scratch.endpoint("unixgram", "peer"),
        ],
        b"hello\n",
    );
    assert_eq!((status, said.as_str()), (0, ""));
    let (_, from) = common::again(|| peer.recv_from(&mut [0; 64])).unwrap();
    assert_eq!(from.as_pathname(), Some(me.as_path()));
    assert!(!common::stands(&me), "the file is gone with the client");
}

/// A client that has no room for more rests; a reset that comes meanwhile takes nothing of what had arrived.
#[test]
fn a_reset_behind_a_slow_reader_costs_nothing_that_had_arrived() {
    let listener = listen();
    let mut child = client(&[&endpoint(&listener)]);
    let input = child.stdin.take();
    let mut stream = accept(&listener);
    // More than the client takes by itself; the rest stands in its socket, as far as that has room.
    let sent = pattern(1_000_000, 8);
    stream.write_all(&sent).unwrap();
    eventually("it rests", || {
        (common::state(child.id()) == Some('S')).then_some(())
    });
    let arrived = sent.len() - unsent(stream.local_addr().unwrap());
    common::reset(stream);
    eventually("it has heard of that", || {
        (common::state(child.id()) == Some('S')).then_some(())
    });
    let output = child.wait_with_output().unwrap();
    drop(input);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        sent.starts_with(&output.stdout) && output.stdout.len() >= arrived,
        "{} of {arrived} bytes; {said}",
        output.stdout.len()
    );
}

/// A datagram peer that does not read keeps new lines waiting, and loses none: not the many in the middle, and not the last.
#[test]
fn lines_to_a_stuck_unix_datagram_peer_wait() {
    let scratch = Scratch::new();
    let peer = UnixDatagram::bind(scratch.path("peer")).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    for lines in [3, 20_000] {
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        let mut fillers = 0;
        while filler.send_to(b"filler", scratch.path("peer")).is_ok() {
            fillers += 1;
        }
        let mut child = client(&["--wait", "0s", &scratch.endpoint("unixgram", "peer")]);
        let mut input = child.stdin.take().unwrap();
        let pid = child.id();
        let writer = thread::spawn(move || {
            (0..lines).for_each(|line| writeln!(input, "{line}").unwrap());
            // The end comes by itself, when the lines are on their way.
            eventually("it sleeps", || {
                (lines > 3 || common::state(pid) == Some('S')).then_some(())
            });
        });
        // Asleep with its input read, or stuck before that: the thread that reads has gone, or has no more room.
        let threads =
            || std::fs::read_dir(format!("/proc/{}/task", child.id())).map_or(0, Iterator::count);
        eventually("it can do no more", || {
            (threads() <= 2 || writer.is_finished()).then_some(())
        });
        eventually("it sleeps or has ended", || {
            matches!(common::state(child.id()), Some('S' | 'Z') | None).then_some(())
        });
        let mut got = [0; 64];
        for at in 0..fillers + lines {
            let size = common::again(|| peer.recv(&mut got)).unwrap();
            let due = if at < fillers {
                "filler".to_owned()
            } else {
                (at - fillers).to_string()
            };
            assert_eq!(&got[..size], due.as_bytes());
        }
        writer.join().unwrap();
        assert_eq!(
            eventually("it ends", || child.try_wait().unwrap()).code(),
            Some(0)
        );
    }
}

/// The end of the input may be there before anything was taken of it.
#[test]
fn a_last_line_without_an_end_is_sent_as_a_datagram() {
    let server = Server::start(&[UDP]);
    for _ in 0..20 {
        let (status, got, said) = converse(&[&server.endpoints[0]], b"no end");
        assert_eq!((status, &got[..], said.as_str()), (0, &b"no end\n"[..], ""));
    }
}

/// Whoever is in the group answers as itself, and is heard although it is not whom we spoke to.
#[test]
fn a_multicast_group_is_joined_and_spoken_to_on_the_interface_asked_for() {
    let server = Server::start(&["udp://239.255.77.1:0", "--interface", "127.0.0.1"]);
    let endpoint = &server.endpoints[0];
    let (status, got, said) = converse(
        &["--interface", "127.0.0.1", endpoint],
        b"is anybody there?\n",
    );
    assert_eq!(
        (status, &got[..], said.as_str()),
        (0, &b"is anybody there?\n"[..], "")
    );
}

/// Only a server that is bound to the broadcast address answers what was sent there.
#[cfg(target_os = "linux")]
#[test]
fn a_broadcast_address_is_sent_to_when_told_to() {
    let bound = Server::start(&["udp://127.255.255.255:0"]);
    let endpoint = &bound.endpoints[0];
    let (status, got, said) = converse(&["--broadcast", endpoint], b"everybody!\n");
    assert_eq!(
        (status, &got[..], said.as_str()),
        (0, &b"everybody!\n"[..], "")
    );
    let (status, _, said) = converse(&[endpoint], b"everybody!\n");
    assert!(
        status == 1 && said.contains("is sent to with --broadcast"),
        "{status}: {said}"
    );

    let mut any = Server::start(&["udp://0.0.0.0:0"]);
    let endpoint = format!("udp://127.255.255.255:{}", any.address(0).port());
    let words = ["--broadcast", "--wait", "0s", &endpoint];
    assert_eq!(converse(&words, b"everybody!\n").1, b"");
    assert_eq!(any.stop(), 0);
    any.wait_for_log("unanswered (sent to a broadcast or multicast address) 1");
}

#[test]
fn what_is_sent_has_as_many_hops_as_was_asked_for() {
    let server = Server::start(&[UDP]);
    // With one hop nothing is left for the answer, which the server counts.
    assert_eq!(
        converse(
            &["--ttl", "1", "--wait", "0s", &server.endpoints[0]],
            b"a\n"
        ),
        (0, vec![], String::new())
    );
    assert_eq!(
        converse(&["--ttl", "2", &server.endpoints[0]], b"b\n"),
        (0, b"b\n".to_vec(), String::new())
    );
}

#[test]
fn addresses_of_a_name_are_tried_in_turn() {
    // `localhost` is ::1 first where IPv6 is there at all; nobody listens on that.
    let listener = listen();
    let peer = thread::spawn({
        let listener = listener.try_clone().unwrap();
        move || accept(&listener).write_all(b"here").unwrap()
    });
    let endpoint = format!("tcp://localhost:{}", listener.local_addr().unwrap().port());
    assert_eq!(
        converse(&[&endpoint], b""),
        (0, b"here".to_vec(), String::new())
    );
    peer.join().unwrap();
}

/// A piece of a file that is missing would go unnoticed.
#[test]
fn a_standard_output_on_a_full_disk_is_a_failure() {
    let (stream, datagrams) = (Server::start(&[TCP]), Server::start(&[UDP]));
    for server in [&stream, &datagrams] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut child = Command::new(binary())
            .args(["connect", &server.endpoints[0]])
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("mynah: cannot write to standard output: No space left"),
            "{said}"
        );
    }
}

/// A backlog that is full for a while is no refusal.
#[test]
fn a_full_unix_backlog_is_waited_for() {
    let scratch = Scratch::new();
    let path = scratch.path("full");
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    listener.listen(0).unwrap();
    let listener: UnixListener = listener.into();
    let mut crowd = Vec::new();
    let probe = || {
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
            .connect(&socket2::SockAddr::unix(&path).unwrap())
            .map(|()| socket)
    };
    while let Ok(socket) = probe() {
        crowd.push(socket);
    }
    let (status, _, said) = converse(
        &["--timeout", "100ms", &scratch.endpoint("unix", "full")],
        b"",
    );
    assert_eq!(status, 4, "{said}");
    let mut child = client(&[&scratch.endpoint("unix", "full")]);
    let peer = thread::spawn(move || {
        for _ in 0..=crowd.len() {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"here");
        }
    });
    let mut got = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut got)
        .unwrap();
    assert_eq!(got, "here");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    peer.join().unwrap();
}

#[test]
fn the_client_talks_to_socat() {
    if !common::has_tool("socat") {
        return;
    }
    let port = listen().local_addr().unwrap().port();
    let mut socat = Command::new("socat")
        .arg(format!("TCP-LISTEN:{port},bind=127.0.0.1"))
        .arg("PIPE")
        .spawn()
        .unwrap();
    let endpoint = format!("tcp://127.0.0.1:{port}");
    let got = eventually("socat listens", || {
        let (status, got, _) = converse(&[&endpoint], b"hello\n");
        (status == 0).then_some(got)
    });
    assert_eq!(got, b"hello\n");
    socat.wait().unwrap();
}
