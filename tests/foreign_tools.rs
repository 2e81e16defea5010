//! Clients that we did not write: what people really point at an echo server.
//!
//! Each test passes with a word about it where its tool is not installed.

mod common;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use common::{PATIENCE, Scratch, Server, TCP, UDP, has_tool, pattern};

/// A running tool, killed when dropped.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Tool {
    #[track_caller]
    fn start(words: &[&str]) -> Tool {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        Tool(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{words:?}: {error}")),
        )
    }

    /// Writes `input` to the tool, and ends it where `ends`. Returns what it printed: `size` bytes, or all until its end.
    #[track_caller]
    fn talk(&mut self, input: Vec<u8>, ends: bool, size: Option<usize>) -> Vec<u8> {
        let (mut stdin, mut stdout) = (self.0.stdin.take().unwrap(), self.0.stdout.take().unwrap());
        let writing = thread::spawn(move || {
            stdin.write_all(&input).unwrap();
            (!ends).then_some(stdin)
        });
        let (sender, printed) = mpsc::channel();
        thread::spawn(move || {
            let mut got = Vec::new();
            match size {
                Some(size) => {
                    got.resize(size, 0);
                    stdout.read_exact(&mut got).unwrap();
                }
                None => drop(stdout.read_to_end(&mut got).unwrap()),
            }
            sender.send(got)
        });
        let got = printed
            .recv_timeout(PATIENCE)
            .expect("the tool prints what it was sent");
        drop(writing.join().unwrap());
        got
    }
}

/// A stream tool sends a megabyte, shuts its side, prints all of it, and ends well.
#[track_caller]
fn assert_streams(words: &[&str]) {
    let mut tool = Tool::start(words);
    let sent = pattern(1 << 20, 1);
    let got = tool.talk(sent.clone(), true, None);
    assert!(
        got == sent,
        "{words:?}: {} of {} bytes came back",
        got.len(),
        sent.len()
    );
    let status = tool.0.wait().unwrap();
    assert!(status.success(), "{words:?}: {status}");
}

/// A datagram tool prints the answer to one line. It cannot know that no more comes, so it does not end by itself.
#[track_caller]
fn assert_answers(words: &[&str]) {
    let got = Tool::start(words).talk(b"hello\n".to_vec(), false, Some(6));
    assert_eq!(String::from_utf8_lossy(&got), "hello\n", "{words:?}");
}

/// A server with one endpoint of each kind, and where they are.
struct Place {
    server: Server,
    scratch: Scratch,
}

impl Place {
    fn new() -> Place {
        let scratch = Scratch::new();
        let endpoints = [
            scratch.endpoint("unix", "stream"),
            scratch.endpoint("unixgram", "datagram"),
        ];
        Place {
            server: Server::start(&[TCP, UDP, &endpoints[0], &endpoints[1]]),
            scratch,
        }
    }

    fn tcp_port(&self) -> String {
        self.server.address(0).port().to_string()
    }

    fn udp_port(&self) -> String {
        self.server.address(1).port().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path(name).display().to_string()
    }
}

#[test]
fn socat_talks_to_every_kind_of_endpoint() {
    if !has_tool("socat") {
        return;
    }
    let place = Place::new();
    assert_streams(&[
        "socat",
        "-t60",
        "-",
        &format!("TCP:127.0.0.1:{}", place.tcp_port()),
    ]);
    assert_streams(&[
        "socat",
        "-t60",
        "-",
        &format!("UNIX-CONNECT:{}", place.path("stream")),
    ]);
    assert_answers(&["socat", "-", &format!("UDP:127.0.0.1:{}", place.udp_port())]);
    assert_answers(&[
        "socat",
        "-",
        &format!(
            "UNIX-SENDTO:{},bind={}",
            place.path("datagram"),
            place.path("client")
        ),
    ]);
}

#[test]
fn ncat_talks_to_every_kind_of_endpoint_that_it_knows() {
    if !has_tool("ncat") {
        return;
    }
    let place = Place::new();
    assert_streams(&["ncat", "127.0.0.1", &place.tcp_port()]);
    assert_streams(&["ncat", "-U", &place.path("stream")]);
    assert_answers(&["ncat", "-u", "127.0.0.1", &place.udp_port()]);
}

/// The one of OpenBSD; others do not know how to shut one side.
#[test]
fn nc_talks_to_every_kind_of_endpoint_that_it_knows() {
    if !has_tool("nc.openbsd") {
        return;
    }
    let place = Place::new();
    assert_streams(&["nc.openbsd", "-N", "127.0.0.1", &place.tcp_port()]);
    assert_streams(&["nc.openbsd", "-N", "-U", &place.path("stream")]);
    assert_answers(&["nc.openbsd", "-u", "127.0.0.1", &place.udp_port()]);
}

/// A request of Redis is an array, and so a well-formed reply to itself.
#[test]
fn redis_benchmark_takes_an_echo_for_an_answer() {
    if !has_tool("redis-benchmark") {
        return;
    }
    let place = Place::new();
    for pipelined in ["1", "16"] {
        let port = place.tcp_port();
        let words = [
            "redis-benchmark",
            "-p",
            &port,
            "-t",
            "ping_mbulk",
            "-n",
            "5000",
            "-c",
            "50",
            "-P",
            pipelined,
            "--csv",
        ];
        let printed = Tool::start(&words).talk(Vec::new(), true, None);
        let printed = String::from_utf8_lossy(&printed);
        assert!(
            printed
                .lines()
                .any(|line| line.starts_with("\"PING_MBULK\"")),
            "{printed}"
        );
    }
}

#[test]
fn a_blocking_client_in_python_gets_back_what_it_sends() {
    if !has_tool("python3") {
        return;
    }
    const SCRIPT: &str = r"
import socket, sys
tcp, udp, stream, datagram, name = sys.argv[1:]
def lines(client):
    file = client.makefile('rw')
    for number in range(100):
        print('line', number, file=file, flush=True)
        assert file.readline() == f'line {number}\n'
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b''
with socket.create_connection(('127.0.0.1', int(tcp)), timeout=60) as client:
    lines(client)
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(60)
    client.connect(stream)
    lines(client)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(60)
    for size in 0, 1, 1472, 65507:
        client.sendto(b'x' * size, ('127.0.0.1', int(udp)))
        assert client.recvfrom(65536) == (b'x' * size, ('127.0.0.1', int(udp)))
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
    client.settimeout(60)
    client.bind(name)
    client.sendto(b'hello', datagram)
    assert client.recvfrom(100) == (b'hello', datagram)
print('all is well')
";
    let place = Place::new();
    let (tcp, udp) = (place.tcp_port(), place.udp_port());
    let words = [
        "python3",
        "-c",
        SCRIPT,
        &tcp,
        &udp,
        &place.path("stream"),
        &place.path("datagram"),
        &place.path("client"),
    ];
    let printed = Tool::start(&words).talk(Vec::new(), true, None);
    assert_eq!(String::from_utf8_lossy(&printed), "all is well\n");
}

/// An HTTP server of one page, as the README shows it.
fn one_page() -> Server {
    Server::start(&[
        TCP,
        "--frame",
        r"until:\r\n\r\n",
        "--reply",
        r"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nmynah",
    ])
}

#[test]
fn curl_reads_a_page() {
    if !has_tool("curl") {
        return;
    }
    let server = one_page();
    let url = format!("http://{}/", server.address(0));
    // Twice over one connection: what follows a page must be nothing but the next.
    let output = Command::new("curl")
        .args(["-sS", "-v", "--max-time", "60", &url, &url])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(output.stdout, b"mynahmynah");
    assert!(
        said.to_lowercase().contains("re-using existing connection") && !said.contains("xcess"),
        "{said}"
    );
}

#[test]
fn wrk_counts_no_error() {
    if !has_tool("wrk") {
        return;
    }
    let server = one_page();
    let url = format!("http://{}/", server.address(0));
    let output = Command::new("wrk")
        .args(["-t1", "-c50", "-d1s", &url])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("Requests/sec"),
        "{said}"
    );
    assert!(
        !said.contains("Socket errors") && !said.contains("Non-2xx"),
        "{said}"
    );
}

#[test]
fn netcat_serves_the_client() {
    if !has_tool("nc.openbsd") {
        return;
    }
    let port = std::net::TcpListener::bind(common::loopback())
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut nc = Tool::start(&["nc.openbsd", "-l", "-N", "127.0.0.1", &port.to_string()]);
    nc.0.stdin.take().unwrap().write_all(b"from nc\n").unwrap();
    let endpoint = format!("tcp://127.0.0.1:{port}");
    let got = common::eventually("nc listens", || {
        let output = assert_cmd::Command::new(common::binary())
            .args(["connect", &endpoint])
            .write_stdin("to nc\n")
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    });
    assert_eq!(got, b"from nc\n");
    let mut printed = String::new();
    nc.0.stdout
        .take()
        .unwrap()
        .read_to_string(&mut printed)
        .unwrap();
    assert_eq!(printed, "to nc\n");
}
