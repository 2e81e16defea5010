//! How a client's failure ends: the exit status by its real cause, and one line that names what was tried, why it failed and what to do.

mod common;

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use common::{Scratch, binary, reset, run_to_end};
use socket2::{Domain, Socket, Type};

/// Runs a client without input to its end. Asserts that it printed nothing, and returns its exit status and the one line that it said.
#[track_caller]
fn fail(args: &[&str]) -> (i32, String) {
    let (status, printed, said) = run_to_end(&[&["connect"], args].concat());
    assert_eq!(printed, "");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("mynah: "), "{said}");
    (status, said)
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    words
        .iter()
        .for_each(|word| assert!(said.contains(word), "{word:?} is not in {said:?}"));
}

/// A port on which nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn nobody_listens_3() {
    let endpoint = format!("tcp://127.0.0.1:{}", closed_port());
    let (status, said) = fail(&[&endpoint]);
    assert_eq!(status, 3, "{said}");
    assert_says(
        &said,
        &[
            "cannot connect to",
            &endpoint,
            "connection refused",
            "nobody listens there",
        ],
    );
}

#[test]
fn a_name_whose_addresses_all_refuse_names_them_3() {
    let port = closed_port();
    let (status, said) = fail(&[&format!("tcp://localhost:{port}")]);
    assert_eq!(status, 3, "{said}");
    assert_says(
        &said,
        &[
            &format!("tcp://localhost:{port}"),
            &format!("tcp://127.0.0.1:{port}"),
            "connection refused",
        ],
    );
}

#[test]
fn a_socket_file_without_a_server_3() {
    let scratch = Scratch::new();
    drop(UnixListener::bind(scratch.path("left")).unwrap());
    let (status, said) = fail(&[&scratch.endpoint("unix", "left")]);
    assert_eq!(status, 3, "{said}");
    assert_says(
        &said,
        &["connection refused", "nobody listens on that socket file"],
    );
    let (status, said) = fail(&[&scratch.endpoint("unix", "never")]);
    assert_eq!(status, 1, "{said}");
    assert_says(&said, &["there is no such socket file"]);
}

/// Told late, by ICMP: the datagram left without an error.
#[test]
fn nobody_receives_3() {
    // Nobody else is given this port meanwhile, and a socket that speaks to one peer alone does not receive from another.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .connect(
            UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap(),
        )
        .unwrap();
    let endpoint = format!("udp://{}", socket.local_addr().unwrap());
    let output = assert_cmd::Command::new(binary())
        .args(["connect", &endpoint])
        .write_stdin("hello\n")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert_says(&said, &["cannot send to", &endpoint, "connection refused"]);
}

/// A full backlog drops what asks to connect: no answer ever comes.
#[test]
fn no_answer_comes_4() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&common::loopback().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(address).unwrap();
    let endpoint = format!("tcp://{address}");
    let (status, said) = fail(&["--timeout", "200ms", &endpoint]);
    assert_eq!(status, 4, "{said}");
    assert_says(&said, &[&endpoint, "timed out after 200ms", "--timeout"]);
}

#[test]
fn the_peer_resets_5() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let peer = thread::spawn(move || reset(listener.accept().unwrap().0));
    // Its input stays open, so that it still talks when the reset comes.
    let mut child = Command::new(binary())
        .args(["connect", &endpoint])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take();
    let status = child.wait_with_output().unwrap();
    drop(input);
    let said = String::from_utf8(status.stderr).unwrap();
    assert_eq!(status.status.code(), Some(5), "{said}");
    assert_says(&said, &[&endpoint, "connection reset by the peer"]);
    peer.join().unwrap();
}

/// In a network of its own, without a way out; where that may not be made, there is nothing to see.
#[test]
fn no_way_leads_there_6() {
    let Some(isolated) = common::isolated() else {
        return;
    };
    for endpoint in ["tcp://192.0.2.1:9", "udp://192.0.2.1:9"] {
        let output = Command::new("unshare")
            .args(isolated)
            .args([binary(), "connect", endpoint])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{said}");
        assert_says(&said, &[endpoint, "unreachable"]);
    }
}

#[test]
fn a_name_stands_for_nothing_7() {
    let (status, said) = fail(&["tcp://no-such-host.invalid:9"]);
    assert_eq!(status, 7, "{said}");
    assert_says(
        &said,
        &[
            "cannot resolve tcp://no-such-host.invalid:9",
            "check the spelling",
        ],
    );
}

#[test]
fn wrong_usage_2() {
    for (args, words) in [
        (
            &["tcp://127.0.0.1:1", "udp://127.0.0.1:1"][..],
            "a stream has one peer",
        ),
        (
            &["tcp://127.0.0.1:1", "unix:/tmp/a"],
            "a stream has one peer",
        ),
        (&[], "ENDPOINT"),
        (&["--encoding", "klingon", "tcp://127.0.0.1:1"], "klingon"),
        (
            &["--bind", "localhost", "tcp://127.0.0.1:1"],
            "names are not looked up",
        ),
        (
            &["--bind", "::1", "tcp://127.0.0.1:1"],
            "--bind gives an address that cannot speak to it",
        ),
        (
            &["--bind", "/tmp/me", "unix:/tmp/a"],
            "--bind gives an address that cannot speak to it",
        ),
        (&["--timeout", "0s", "tcp://127.0.0.1:1"], "zero"),
        (
            &["--wait", "soon", "udp://127.0.0.1:1"],
            "whole number with its unit",
        ),
        (&["--ttl", "0", "udp://127.0.0.1:1"], "1..=255"),
        (&["--ttl", "3", "tcp://127.0.0.1:1"], "--ttl is for UDP"),
        (&["--broadcast", "unix:/tmp/a"], "--broadcast is for UDP"),
        (
            &["--interface", "lo7", "udp://239.0.0.1:1"],
            "there is no such network interface",
        ),
    ] {
        let (status, said) = fail(args);
        assert_eq!(status, 2, "{args:?}: {said}");
        assert_says(&said, &[words]);
    }
}

#[test]
fn a_taken_address_to_speak_from_is_named_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let from = taken.local_addr().unwrap().to_string();
    let (status, said) = fail(&[
        "--bind",
        &from,
        &format!("tcp://{}", peer.local_addr().unwrap()),
    ]);
    assert_eq!(status, 1, "{said}");
    assert_says(&said, &[&from, "address already in use"]);
}
