//! The programs that people write when they learn sockets, each as one command of mynah, against plain blocking sockets at the other end, and without
//! the faults of the originals.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;

use common::{PATIENCE, Server, TCP, UDP, binary, connect, eventually, pattern};

/// What a blocking client gets for `message`: everything to the end of the stream.
#[track_caller]
fn ask(server: &Server, message: &[u8]) -> Vec<u8> {
    let mut stream = server.connect();
    stream.write_all(message).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

/// Runs `mynah connect ARGS…` with this input. Returns what it printed.
#[track_caller]
fn client(args: &[&str], input: &[u8]) -> Vec<u8> {
    let output = assert_cmd::Command::new(binary())
        .arg("connect")
        .args(args)
        .write_stdin(input)
        .timeout(PATIENCE)
        .output()
        .expect("the client runs");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    output.stdout
}

/// The next line that a server or a receiver prints.
#[track_caller]
fn printed(stdout: &mut impl BufRead) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    line
}

fn stdout(server: &mut Server) -> &mut impl BufRead {
    server.stdout.as_mut().unwrap()
}

fn endpoint(listener: &TcpListener) -> String {
    format!("tcp://{}", listener.local_addr().unwrap())
}

/// Answers once, closes, goes on with the next, one at a time, as the originals do.
fn blocking_server(answer: &'static [u8], clients: usize) -> (String, thread::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(&listener);
    let server = thread::spawn(move || {
        let serve = |(mut stream, _): (TcpStream, _)| {
            let mut message = vec![0; 1024];
            let size = stream.read(&mut message).unwrap();
            message.truncate(size);
            stream.write_all(answer).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            message
        };
        (0..clients).map(|_| serve(listener.accept().unwrap())).collect()
    });
    (endpoint, server)
}

#[test]
fn s0_an_acknowledging_server() {
    let mut server = Server::start(&[TCP, "--backlog", "1", "--reply", "服务器已收到数据", "--close", "--print"]);
    // Who says nothing blocks nobody, and a message over 1,024 bytes is no two messages.
    let silent = server.connect();
    let message = "数".repeat(1000);
    assert_eq!(ask(&server, message.as_bytes()), "服务器已收到数据".as_bytes());
    assert!(printed(stdout(&mut server)).ends_with(&format!(": {message}\n")));
    drop(silent);
    assert_eq!(client(&[&server.endpoints[0]], "再见".as_bytes()), "服务器已收到数据".as_bytes());
    assert!(printed(stdout(&mut server)).ends_with(": 再见\n"));
}

/// The text of the first is read although a character of it comes in two reads: the reply shows that the first read was served.
#[test]
fn s1_a_conversation_server() {
    let mut server = Server::start(&[TCP, "--backlog", "5", "--reply", "收到您的消息:{}", "--print"]);
    let (first, second) = (server.connect(), server.connect());
    for (stream, message) in [(&first, "一"), (&second, "二"), (&first, "三")] {
        common::assert_echoes_as(stream, message.as_bytes(), format!("收到您的消息:{message}").as_bytes());
        assert!(printed(stdout(&mut server)).ends_with(&format!(": {message}\n")), "nobody waits for anybody to leave");
    }
    let (before, after) = "四".as_bytes().split_at(1);
    for piece in [before, after] {
        common::assert_echoes_as(&first, piece, &["收到您的消息:".as_bytes(), piece].concat());
    }
    assert!(printed(stdout(&mut server)).ends_with(": 四\n"), "a character in two reads is not broken");
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(common::again(|| (&first).read(&mut [0])).unwrap(), 0);
}

/// Each message is answered whole, although the socket takes it in parts.
#[test]
fn s1_whole_answers_to_a_client_that_reads_late() {
    let server = Server::start(&[TCP, "--frame", "fixed:50000", "--reply", "收到您的消息:{}"]);
    let mut stream = server.connect();
    let messages = pattern(5_000_000, 9);
    let writer = thread::spawn({
        let (mut stream, messages) = (stream.try_clone().unwrap(), messages.clone());
        move || {
            stream.write_all(&messages).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    let expected: Vec<u8> = messages.chunks(50_000).flat_map(|message| ["收到您的消息:".as_bytes(), message].concat()).collect();
    assert!(got == expected, "{} bytes", got.len());
}

#[test]
fn s1c_a_client_connects_sends_receives_and_closes() {
    let (endpoint, server) = blocking_server("收到".as_bytes(), 1);
    assert_eq!(client(&[&endpoint], "你好".as_bytes()), "收到".as_bytes());
    assert_eq!(server.join().unwrap(), ["你好".as_bytes()]);
}

/// The greeting arrives although the client had already sent what nobody will read: that would be a reset, and a reset destroys what is on its way.
#[test]
fn s2_a_greeting_server() {
    let server = Server::start(&[TCP, "--greeting", "Hello, client!", "--close"]);
    for unread in [0, 1, 100_000] {
        assert_eq!(ask(&server, &vec![b'x'; unread]), b"Hello, client!", "{unread} bytes were not read");
    }
    assert_eq!(client(&[&server.endpoints[0]], b""), b"Hello, client!");
}

#[test]
fn s2c_a_client_that_only_receives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(&listener);
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"Hello, client!").unwrap());
    assert_eq!(client(&[&endpoint], b""), b"Hello, client!");
    server.join().unwrap();
}

fn receiver(args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let mut child = Command::new(binary())
        .arg("receive")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the receiver starts");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let line = printed(&mut stdout);
    let endpoint = line.trim_end().strip_prefix("listening on ").expect("a listening line").to_owned();
    (child, stdout, endpoint)
}

#[test]
fn s3a_and_s3b_a_sender_of_lines_and_a_receiver() {
    // One who sends to a blocking socket, from the address that it was told.
    let (peer, free) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let from = free.local_addr().unwrap();
    drop(free);
    let args = ["--bind", &format!("0.0.0.0:{}", from.port()), "--until", "exit", "--wait", "0s"];
    client(&[&args[..], &[&format!("udp://{}", peer.local_addr().unwrap())]].concat(), "你好\nexit\nnever\n".as_bytes());
    let mut got = [0; 64];
    let (size, sender) = common::again(|| peer.recv_from(&mut got)).unwrap();
    assert_eq!((&got[..size], sender), ("你好".as_bytes(), from));
    // One who receives, from a blocking socket and from a client, and cuts nothing.
    let (mut child, mut stdout, endpoint) = receiver(&[UDP]);
    let long = "长".repeat(1000);
    peer.send_to(long.as_bytes(), endpoint.strip_prefix("udp://").unwrap()).unwrap();
    assert_eq!(printed(&mut stdout), format!("{}: {long}\n", peer.local_addr().unwrap()));
    client(&["--until", "exit", "--wait", "0s", &endpoint], "再见\nexit\n".as_bytes());
    assert!(printed(&mut stdout).ends_with(": 再见\n"));
    let status = Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status().unwrap();
    assert!(status.success());
    assert_eq!(eventually("the receiver ends", || child.try_wait().unwrap()).code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.ends_with("received 2 messages, 3006 bytes\n"), "{said}");
}

/// It reads what the server answers, too.
#[test]
fn s3c_an_interactive_client_in_gbk() {
    let (endpoint, server) = blocking_server(b"\xca\xd5\xb5\xbd\xc0\xb2\xce\xd2\xb7\xb4\xc0\xa1", 1);
    assert_eq!(client(&["--encoding", "gbk", &endpoint], "你好\n".as_bytes()), "收到啦我反馈".as_bytes());
    assert_eq!(server.join().unwrap(), [b"\xc4\xe3\xba\xc3\n"]);
}

#[test]
fn s3d_a_one_shot_server_in_gbk() {
    let mut server =
        Server::start(&["tcp://0.0.0.0:0", "--backlog", "128", "--reply", "收到啦我反馈", "--close", "--encoding", "gbk", "--print"]);
    let address = (std::net::Ipv4Addr::LOCALHOST, server.address(0).port()).into();
    let silent = connect(address);
    let mut stream = connect(address);
    stream.write_all(b"\xc4\xe3\xba\xc3").unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"\xca\xd5\xb5\xbd\xc0\xb2\xce\xd2\xb7\xb4\xc0\xa1");
    assert!(printed(stdout(&mut server)).ends_with(": 你好\n"));
    drop(silent);
    let endpoint = format!("tcp://{address}");
    assert_eq!(client(&["--encoding", "gbk", &endpoint], "再见".as_bytes()), "收到啦我反馈".as_bytes());
}
