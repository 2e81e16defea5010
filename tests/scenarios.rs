//! The programs that people write when they learn sockets, each as one command of mynah, against plain blocking sockets at the other end, and without
//! the faults of the originals. The commands are those of the README; only their ports are any free ones here.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use common::{
    PATIENCE, Server, again, assert_echoes_as, binary, connect, connect_small, eventually,
    loopback, read_to_end, stuff,
};

const S0: &str =
    "mynah serve tcp://127.0.0.1:12345 --backlog 1 --reply '服务器已收到数据' --close --print";
const S1: &str = "mynah serve tcp://127.0.0.1:8888 --backlog 5 --reply '收到您的消息:{}'";
const S1C: &str = "mynah connect tcp://127.0.0.1:8888";
const S2: &str = "mynah serve tcp://127.0.0.1:8889 --greeting 'Hello, client!' --close";
const S2C: &str = "mynah connect tcp://127.0.0.1:8889 < /dev/null";
const S3A: &str = "mynah connect udp://127.0.0.1:8080 --bind 0.0.0.0:7890 --until exit";
const S3B: &str = "mynah receive udp://127.0.0.1:8080";
const S3C: &str = "mynah connect tcp://127.0.0.1:7891 --encoding gbk";
const S3D: &str =
    "mynah serve tcp://0.0.0.0:7891 --backlog 128 --reply '收到啦我反馈' --close --encoding gbk";

/// `收到啦我反馈`, `你好` and `数` in GBK.
const FEEDBACK: &[u8] = b"\xca\xd5\xb5\xbd\xc0\xb2\xce\xd2\xb7\xb4\xc0\xa1";
const HELLO: &[u8] = b"\xc4\xe3\xba\xc3";
const NUMBER: &[u8] = b"\xca\xfd";

/// The words behind `mynah SUBCOMMAND`, without a redirection and with every port 0.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" < ").next().unwrap();
    let mut words = Vec::new();
    for (index, piece) in command.split('\'').enumerate() {
        match index % 2 {
            0 => words.extend(piece.split_whitespace().map(any_port)),
            _ => words.push(piece.to_owned()),
        }
    }
    words.split_off(2)
}

fn any_port(word: &str) -> String {
    match word.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => format!("{host}:0"),
        _ => word.to_owned(),
    }
}

/// Runs the command of a server or of a receiver, and these words behind it.
#[track_caller]
fn serve(command: &str, more: &[&str]) -> Server {
    let words = words(command);
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    if command == S3B {
        Server::receive(&words)
    } else {
        Server::start(&words)
    }
}

/// The words of a client's command, with the endpoint that is there in place of the one that is named.
fn client_words(command: &str, endpoint: &str) -> Vec<String> {
    words(command)
        .into_iter()
        .map(|word| {
            if word.contains("://") {
                endpoint.to_owned()
            } else {
                word
            }
        })
        .collect()
}

/// Runs a client with this input to its end. Returns what it printed.
#[track_caller]
fn client(command: &str, endpoint: &str, input: &str) -> String {
    client_saying("", command, endpoint, input)
}

/// The same for a client of a peer that answers no datagram.
#[track_caller]
fn unanswered(command: &str, endpoint: &str, input: &str) -> String {
    client_saying("mynah: no answer within 1s\n", command, endpoint, input)
}

/// The same for a client that says this on standard error.
#[track_caller]
fn client_saying(said: &str, command: &str, endpoint: &str, input: &str) -> String {
    let mut program = assert_cmd::Command::new(binary());
    let program = program
        .arg("connect")
        .args(client_words(command, endpoint))
        .env_remove("RUST_LOG");
    let output = program
        .write_stdin(input)
        .timeout(PATIENCE)
        .output()
        .unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(0), said)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Reads from a pipe, which knows no deadline, so that what never comes fails its test. Returns the pipe, too.
#[track_caller]
fn read_pipe<P: Send + 'static, T: Send + 'static>(
    mut pipe: P,
    read: impl FnOnce(&mut P) -> T + Send + 'static,
) -> (P, T) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let got = read(&mut pipe);
        let _ = sender.send((pipe, got));
    });
    receiver
        .recv_timeout(PATIENCE)
        .expect("something is printed")
}

/// The next line that a server prints.
#[track_caller]
fn printed(server: &mut Server) -> String {
    let (stdout, line) = read_pipe(server.stdout.take().unwrap(), |stdout| {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line
    });
    server.stdout = Some(stdout);
    line
}

/// A blocking server of one client.
fn blocking<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, thread::JoinHandle<T>) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let server = move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        serve(stream)
    };
    (endpoint, thread::spawn(server))
}

/// A blocking client, from its connect to the end of stream: what it sends is answered, and printed whole with its address.
#[track_caller]
fn assert_acknowledges(
    server: &mut Server,
    address: SocketAddr,
    message: &[u8],
    answer: &[u8],
    shown: &str,
) {
    let mut stream = connect(address);
    stream.write_all(message).unwrap();
    assert_eq!(read_to_end(&stream), answer);
    let sender = stream.local_addr().unwrap();
    // Half a character is waited for until its sender has left.
    drop(stream);
    assert_eq!(printed(server), format!("{sender}: {shown}\n"));
}

#[test]
fn the_readme_shows_every_command() {
    let readme = include_str!("../README.md");
    for command in [S0, S1, S1C, S2, S2C, S3A, S3B, S3C, S3D] {
        assert!(readme.contains(command), "{command}");
    }
}

/// Who says nothing blocks nobody; a message over 1,024 bytes is whole; half a character is no reason to stop.
#[test]
fn s0_an_acknowledging_server() {
    let mut server = serve(S0, &[]);
    let (address, answer) = (server.address(0), "服务器已收到数据");
    let silent = connect(address);
    let long = "数".repeat(1000);
    assert_acknowledges(
        &mut server,
        address,
        long.as_bytes(),
        answer.as_bytes(),
        &long,
    );
    assert_acknowledges(
        &mut server,
        address,
        &"数".as_bytes()[..1],
        answer.as_bytes(),
        r"\xe6",
    );
    assert_eq!(client(S1C, &server.endpoints[0], "再见"), answer);
    assert!(printed(&mut server).ends_with(": 再见\n"));
    // It has not been forgotten either.
    assert_echoes_as(&silent, b"x", answer.as_bytes());
}

/// Nobody waits for another to leave, and a character in two reads is printed whole: the reply in between shows that they were two.
#[test]
fn s1_a_conversation_server() {
    let mut server = serve(S1, &["--print"]);
    let (first, second) = (server.connect(), server.connect());
    for (stream, message) in [(&first, "一"), (&second, "二"), (&first, "三")] {
        assert_echoes_as(
            stream,
            message.as_bytes(),
            format!("收到您的消息:{message}").as_bytes(),
        );
        assert_eq!(
            printed(&mut server),
            format!("{}: {message}\n", stream.local_addr().unwrap())
        );
    }
    for piece in "四".as_bytes().chunks(1) {
        assert_echoes_as(&first, piece, &["收到您的消息:".as_bytes(), piece].concat());
    }
    assert_eq!(
        printed(&mut server),
        format!("{}: 四\n", first.local_addr().unwrap())
    );
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&first), b"", "it ends when the client does");
}

/// Its client does not read until the server can send no more, and so every send that comes last has sent a part only.
#[test]
fn s1_answers_whole_to_a_client_that_reads_late() {
    let server = serve(S1, &[]);
    let stream = connect_small(server.address(0));
    let numbers: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    let taken = stuff(std::slice::from_ref(&stream), numbers.as_bytes())[0];
    stream.shutdown(Shutdown::Write).unwrap();
    // Where the reads ended is not known; what stands between the answers' beginnings is.
    let got = String::from_utf8(read_to_end(&stream)).unwrap();
    let sent = numbers.repeat(taken / numbers.len() + 1);
    assert!(got.starts_with("收到您的消息:0\n1\n"), "{:.100}", got);
    assert!(
        got.replace("收到您的消息:", "") == sent[..taken],
        "{} bytes for {taken}",
        got.len()
    );
}

#[test]
fn s1c_a_client_connects_sends_receives_and_closes() {
    let (endpoint, server) = blocking(|mut stream| {
        let mut message = [0; 1024];
        let size = stream.read(&mut message).unwrap();
        stream
            .write_all(&["收到您的消息:".as_bytes(), &message[..size]].concat())
            .unwrap();
        stream.read(&mut message).unwrap()
    });
    assert_eq!(client(S1C, &endpoint, "你好"), "收到您的消息:你好");
    assert_eq!(server.join().unwrap(), 0, "the client's end is the end");
    assert_eq!(
        client(S1C, &serve(S1, &[]).endpoints[0], "你好"),
        "收到您的消息:你好"
    );
}

/// The client's words stand unread when the server accepts it, and it goes on with them before it reads: to close would be a reset, and a reset destroys
/// a greeting on its way.
#[test]
fn s2_a_greeting_server() {
    let server = serve(S2, &[]);
    assert_eq!(
        read_to_end(server.connect()),
        b"Hello, client!",
        "without waiting for input"
    );
    server.signal("STOP");
    let mut stream = server.connect();
    stream.write_all(&[b'x'; 1000]).unwrap();
    server.signal("CONT");
    again(|| stream.peek(&mut [0])).unwrap();
    stream.write_all(&vec![b'x'; 4_000_000]).unwrap();
    assert_eq!(read_to_end(&stream), b"Hello, client!");
}

#[test]
fn s2c_a_client_that_only_receives() {
    let (endpoint, server) = blocking(|mut stream| stream.write_all(b"Hello, client!").unwrap());
    assert_eq!(client(S2C, &endpoint, ""), "Hello, client!");
    server.join().unwrap();
    assert_eq!(
        client(S2C, &serve(S2, &[]).endpoints[0], ""),
        "Hello, client!"
    );
}

#[test]
fn s3a_a_sender_of_lines() {
    let peer = UdpSocket::bind(loopback()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let long = "长".repeat(1000);
    assert_eq!(
        unanswered(
            S3A,
            &format!("udp://{}", peer.local_addr().unwrap()),
            &format!("你好\n{long}\nexit\nnever\n")
        ),
        ""
    );
    let mut got = [0; 4096];
    for expected in ["你好", &long] {
        let size = again(|| peer.recv(&mut got)).unwrap();
        assert_eq!(&got[..size], expected.as_bytes());
    }
    peer.set_nonblocking(true).unwrap();
    assert!(
        peer.recv(&mut got).is_err(),
        "neither the last word nor what stands behind it is sent"
    );
}

/// A datagram over 1,024 bytes is whole.
#[test]
fn s3b_a_receiver() {
    let mut server = serve(S3B, &[]);
    let peer = UdpSocket::bind(loopback()).unwrap();
    for message in ["长".repeat(1000), "短".to_owned()] {
        peer.send_to(message.as_bytes(), server.address(0)).unwrap();
        assert_eq!(
            printed(&mut server),
            format!("{}: {message}\n", peer.local_addr().unwrap())
        );
    }
    assert_eq!(unanswered(S3A, &server.endpoints[0], "再见\nexit\n"), "");
    assert!(printed(&mut server).ends_with(": 再见\n"));
    assert_eq!(server.stop(), 0);
    server.wait_for_log("received 3 messages, 3009 bytes\n");
}

/// It reads what the server answers, while its user goes on. Half a character comes with the one before it, and its end only when that one is shown:
/// so it did come in two reads.
#[test]
fn s3c_an_interactive_client_in_gbk() {
    let (is_shown, shown) = mpsc::channel();
    let (endpoint, server) = blocking(move |stream| {
        let mut lines = Vec::new();
        for line in BufReader::new(&stream).split(b'\n') {
            lines.push(line.unwrap());
            let (before, after) = FEEDBACK.split_at(3);
            (&stream).write_all(before).unwrap();
            shown.recv().unwrap();
            (&stream).write_all(after).unwrap();
        }
        lines
    });
    let mut command = Command::new(binary());
    let command = command
        .arg("connect")
        .args(client_words(S3C, &endpoint))
        .env_remove("RUST_LOG");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut user, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for line in ["你好\n", "数\n"] {
        user.write_all(line.as_bytes()).unwrap();
        screen = assert_shows(screen, "收");
        is_shown.send(()).unwrap();
        screen = assert_shows(screen, "到啦我反馈");
    }
    drop(user);
    assert_eq!(
        eventually("the client ends", || child.try_wait().unwrap()).code(),
        Some(0)
    );
    assert_eq!(server.join().unwrap(), [HELLO, NUMBER]);
}

#[track_caller]
fn assert_shows(screen: ChildStdout, expected: &'static str) -> ChildStdout {
    let (screen, shown) = read_pipe(screen, |screen| {
        let mut shown = vec![0; expected.len()];
        screen.read_exact(&mut shown).unwrap();
        String::from_utf8_lossy(&shown).into_owned()
    });
    assert_eq!(shown, expected);
    screen
}

/// As the acknowledging server, and both what comes and what is said is GBK.
#[test]
fn s3d_a_one_shot_server_in_gbk() {
    let mut server = serve(S3D, &["--print"]);
    assert!(server.address(0).ip().is_unspecified());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address(0).port()));
    let silent = connect(address);
    assert_acknowledges(&mut server, address, HELLO, FEEDBACK, "你好");
    assert_acknowledges(
        &mut server,
        address,
        &NUMBER.repeat(1000),
        FEEDBACK,
        &"数".repeat(1000),
    );
    assert_eq!(
        client(S3C, &format!("tcp://{address}"), "再见"),
        "收到啦我反馈"
    );
    assert!(printed(&mut server).ends_with(": 再见\n"));
    assert_echoes_as(&silent, HELLO, FEEDBACK);
}
