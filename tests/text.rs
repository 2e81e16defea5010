//! Text at both ends: what is printed is read in the encoding of the wire, wherever a read happens to end, and what is said is written in it.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};

use common::{
    PATIENCE, Scratch, Server, TCP, UDP, assert_echoes, binary, eventually, loopback, read_to_end,
    run_to_end,
};

/// The next line of standard output.
#[track_caller]
fn next_line(server: &mut Server) -> String {
    let mut line = String::new();
    server
        .stdout
        .as_mut()
        .unwrap()
        .read_line(&mut line)
        .unwrap();
    line.strip_suffix('\n')
        .unwrap_or_else(|| panic!("no whole line: {line:?}"))
        .to_owned()
}

/// All of standard output that has not been read, once the server has ended.
#[track_caller]
fn rest(server: &mut Server) -> String {
    assert_eq!(server.stop(), 0);
    let mut text = String::new();
    server
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[track_caller]
fn read_exactly(mut stream: impl Read, size: usize) -> Vec<u8> {
    let mut got = vec![0; size];
    stream.read_exact(&mut got).unwrap();
    got
}

/// Labels, bytes, and what is printed of them, with those that are no text as `\xHH`.
const TEXTS: &[(&str, &[u8], &str)] = &[
    (
        "utf-8",
        "größer 收到 🐦\u{1b}".as_bytes(),
        "größer 收到 🐦\\x1b",
    ),
    (
        "utf-8",
        b"a\xff\xe6\x9cb\xf0\x9f\x90",
        "a\\xff\\xe6\\x9cb\\xf0\\x9f\\x90",
    ),
    ("gbk", b"\xca\xd5\xb5\xbd\xc0\xb2\n", "收到啦\\n"),
    ("gbk", b"a\xff\xca\xd5\xca", "a\\xff收\\xca"),
    (
        "gb18030",
        b"\x94\x39\xcd\x32 \xca\xd5\x81\x30\x81",
        "🐦 收\\x81\\x30\\x81",
    ),
    (
        "shift_jis",
        b"\x83\x7d\x83\x43\x83\x69\xb6\x83",
        "マイナｶ\\x83",
    ),
    ("iso-2022-jp", b"\x1b$B%^%$\x1b(B!\xff", "マイ!\\xff"),
];

/// Each byte in a segment of its own, and read before the next is sent: the echo tells.
#[test]
fn a_character_is_never_broken_by_where_a_read_ends() {
    for (label, bytes, expected) in TEXTS {
        let mut server = Server::start(&[TCP, "--print", "--encoding", label]);
        let stream = server.connect();
        bytes
            .chunks(1)
            .for_each(|byte| assert_echoes(&stream, byte));
        let sender = format!("{}: ", stream.local_addr().unwrap());
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&stream), b"");
        let printed = rest(&mut server);
        let texts = printed.lines().map(|line| {
            line.strip_prefix(&sender)
                .unwrap_or_else(|| panic!("{label}: {line:?} is not from {sender}"))
        });
        assert_eq!(texts.collect::<String>(), *expected, "{label}");
    }
}

/// What is cut off by the end of its stream was sent nevertheless.
#[test]
fn a_character_that_never_ends_is_shown_as_its_bytes_on_a_line_of_its_own() {
    let mut server = Server::start(&[TCP, "--print", "--encoding", "gbk"]);
    let stream = server.connect();
    assert_echoes(&stream, b"ok\xca");
    let peer = stream.local_addr().unwrap();
    assert_eq!(next_line(&mut server), format!("{peer}: ok"));
    common::reset(stream);
    assert_eq!(
        next_line(&mut server),
        format!("{peer}: \\xca"),
        "also where it ended badly"
    );
    // The first half of a character of one connection never meets the second half of another's.
    let (first, second) = (server.connect(), server.connect());
    assert_echoes(&first, b"\xca");
    assert_echoes(&second, b"\xd5\xb5");
    drop((first, second));
    let printed = rest(&mut server);
    assert!(
        !printed.contains('收') && printed.contains("\\xca\n"),
        "{printed}"
    );
}

#[test]
fn a_datagram_is_a_text_of_its_own() {
    let mut server = Server::start(&[UDP, "--print", "--encoding", "gbk"]);
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.connect(server.address(0)).unwrap();
    let sender = socket.local_addr().unwrap();
    for (bytes, shown) in [
        (&b"\xca\xd5"[..], "收"),
        (b"\xca", "\\xca"),
        (b"\xd5", "\\xd5"),
        (b"", ""),
        (b"\xb5\xbd\n", "到\\n"),
    ] {
        socket.send(bytes).unwrap();
        assert_eq!(next_line(&mut server), format!("{sender}: {shown}"));
    }
    assert_eq!(rest(&mut server), "");
}

#[test]
fn a_framed_message_is_printed_whole_however_it_comes() {
    let mut server = Server::start(&[TCP, "--print", "--frame", "line", "--encoding", "shift_jis"]);
    let stream = server.connect();
    let sender = stream.local_addr().unwrap();
    b"\x83\x7d\x83\x43\r\n\x83\n\n\x83\x69"
        .chunks(1)
        .for_each(|byte| assert_echoes(&stream, byte));
    stream.shutdown(Shutdown::Write).unwrap();
    for shown in ["マイ", "\\x83", "", "ナ"] {
        assert_eq!(next_line(&mut server), format!("{sender}: {shown}"));
    }
    assert_eq!(rest(&mut server), "");
}

/// The programs of the tutorials: a greeting, an acknowledgement, a conversation.
#[test]
fn greetings_and_replies_are_said_over_tcp() {
    let greeting = Server::start(&[TCP, "--greeting", r"Hello, client!\r\n", "--close"]);
    assert_eq!(read_to_end(greeting.connect()), b"Hello, client!\r\n");

    let once = Server::start(&[
        TCP,
        "--reply",
        "收到啦我反馈",
        "--encoding",
        "gbk",
        "--close",
    ]);
    let mut stream = once.connect();
    stream.write_all(b"hello").unwrap();
    assert_eq!(
        read_to_end(stream),
        b"\xca\xd5\xb5\xbd\xc0\xb2\xce\xd2\xb7\xb4\xc0\xa1"
    );

    let conversation = Server::start(&[
        TCP,
        "--greeting",
        "hi ",
        "--reply",
        r"收到您的消息:{}\x7b{conn}/{seq}\n",
    ]);
    for connection in 1..=2 {
        let mut stream = conversation.connect();
        assert_eq!(read_exactly(&stream, 3), b"hi ");
        for sequence in 1..=3 {
            stream.write_all("再见".as_bytes()).unwrap();
            let expected = format!("收到您的消息:再见{{{connection}/{sequence}\n");
            assert_eq!(
                String::from_utf8(read_exactly(&stream, expected.len())),
                Ok(expected)
            );
        }
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&stream), b"");
    }
}

#[test]
fn a_bare_close_echoes_one_message() {
    let server = Server::start(&[TCP, "--close", "--frame", "line"]);
    let mut stream = server.connect();
    stream.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(read_to_end(stream), b"one\n");
}

#[test]
fn frames_cut_a_stream_into_messages() {
    for (frame, sent, answered) in [
        ("line", &b"a\nbc\r\n"[..], &b"<a>\n<bc>\r\n"[..]),
        ("until:--", b"a--bc--", b"<a>--<bc>--"),
        (r"until:\x00", b"a\0bc\0", b"<a>\0<bc>\0"),
        ("fixed:2", b"abcd", b"<ab><cd>"),
        ("prefix:u8", b"\x01a\x02bc", b"\x03<a>\x04<bc>"),
        (
            "prefix:u16",
            b"\x00\x01a\x00\x02bc",
            b"\x00\x03<a>\x00\x04<bc>",
        ),
        ("prefix:u32", b"\x00\x00\x00\x01a", b"\x00\x00\x00\x03<a>"),
    ] {
        let server = Server::start(&[TCP, "--frame", frame, "--reply", "<{}>"]);
        let mut stream = server.connect();
        // Byte by byte, and all at once.
        sent.chunks(1)
            .for_each(|byte| stream.write_all(byte).unwrap());
        stream.write_all(sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            read_to_end(stream),
            [answered, answered].concat(),
            "{frame}"
        );
    }
}

#[test]
fn a_message_that_is_too_long_ends_its_connection_and_no_other() {
    let server = Server::start(&[
        TCP,
        "--frame",
        "line",
        "--reply",
        "{}!",
        "--max-message",
        "4",
    ]);
    let (mut long, mut short) = (server.connect(), server.connect());
    long.write_all(b"1234\n12345\n1\n").unwrap();
    assert_eq!(read_to_end(long), b"1234!\n");
    server.wait_for_log("message too long");
    short.write_all(b"ok\n").unwrap();
    assert_eq!(read_exactly(short, 4), b"ok!\n");
}

#[test]
fn replies_are_said_over_unix_sockets_and_datagrams() {
    let scratch = Scratch::new();
    let endpoints = [
        scratch.endpoint("unix", "stream"),
        scratch.endpoint("unixgram", "gram"),
        UDP.to_owned(),
    ];
    let words: Vec<&str> = endpoints
        .iter()
        .map(String::as_str)
        .chain([
            "--allow-amplification",
            "--reply",
            "你好 {}",
            "--encoding",
            "gbk",
        ])
        .collect();
    let server = Server::start(&words);
    const ANSWER: &[u8] = b"\xc4\xe3\xba\xc3 x";

    let mut stream = UnixStream::connect(scratch.path("stream")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").unwrap();
    assert_eq!(read_exactly(&stream, ANSWER.len()), ANSWER);

    let gram = UnixDatagram::bind(scratch.path("me")).unwrap();
    gram.set_read_timeout(Some(PATIENCE)).unwrap();
    gram.send_to(b"x", scratch.path("gram")).unwrap();
    let mut got = [0; 64];
    let size = common::again(|| gram.recv(&mut got)).unwrap();
    assert_eq!(&got[..size], ANSWER);

    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let udp = server.endpoints[2].strip_prefix("udp://").unwrap();
    socket.send_to(b"x", udp).unwrap();
    let size = common::again(|| socket.recv(&mut got)).unwrap();
    assert_eq!(&got[..size], ANSWER);
}

#[test]
fn a_greeting_over_a_unix_socket_is_followed_by_the_service() {
    let scratch = Scratch::new();
    let server = Server::start(&[&scratch.endpoint("unix", "stream"), "--greeting", "hi"]);
    let stream = UnixStream::connect(scratch.path("stream")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read_exactly(&stream, 2), b"hi");
    assert_echoes(&stream, b"and an echo");
    drop(server);
}

#[test]
fn receive_prints_as_it_comes_and_counts() {
    let scratch = Scratch::new();
    let mut server = Server::receive(&[
        TCP,
        UDP,
        &scratch.endpoint("unixgram", "gram"),
        "--frame",
        "line",
        "--encoding",
        "gbk",
    ]);
    let mut stream = server.connect();
    // Each line is there before the next is sent.
    for (bytes, shown) in [
        (&b"\xca\xd5\n"[..], "收"),
        (b"\n", ""),
        (b"\x1b\xff\r\n", "\\x1b\\xff"),
    ] {
        stream.write_all(bytes).unwrap();
        assert_eq!(
            next_line(&mut server),
            format!("{}: {shown}", stream.local_addr().unwrap())
        );
    }
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.send_to(b"a\nb", server.address(1)).unwrap();
    assert_eq!(
        next_line(&mut server),
        format!("{}: a\\nb", socket.local_addr().unwrap())
    );
    UnixDatagram::unbound()
        .unwrap()
        .send_to(b"hey", scratch.path("gram"))
        .unwrap();
    assert_eq!(next_line(&mut server), "unnamed: hey");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(stream), b"", "nothing is answered");
    assert_eq!(rest(&mut server), "");
    // 2 + 0 + 2 bytes of lines, 3 and 3 of datagrams.
    server.wait_for_log("received 5 messages, 10 bytes\n");
    assert!(
        server.log().ends_with("received 5 messages, 10 bytes\n"),
        "the count is the last word: {}",
        server.log()
    );
}

#[test]
fn receive_counts_nothing_where_nothing_came() {
    let mut server = Server::receive(&[TCP]);
    assert_eq!(rest(&mut server), "");
    server.wait_for_log("received 0 messages, 0 bytes\n");
}

/// `serve` says no such thing: what it counts is in its log.
#[test]
fn serve_keeps_its_count_in_the_log() {
    let mut server = Server::start(&[TCP, "--service", "discard", "--print"]);
    assert_eq!(rest(&mut server), "");
    server.wait_for_log("stopped: ");
    assert!(!server.log().contains("received"), "{}", server.log());
}

/// A line of a long message may be longer than all that usually waits to be printed.
#[test]
fn a_long_message_is_printed_whole() {
    let mut server = Server::receive(&[TCP, "--frame", "fixed:2MiB", "--max-message", "2MiB"]);
    let mut stream: TcpStream = server.connect();
    let sender = stream.local_addr().unwrap();
    let mut stdout = server.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line
    });
    stream.write_all(&vec![0x1b; 2 << 20]).unwrap();
    eventually("the line is printed", || {
        reading.is_finished().then_some(())
    });
    let line = reading.join().unwrap();
    assert!(
        line == format!("{sender}: {}\n", "\\x1b".repeat(2 << 20)),
        "{} bytes",
        line.len()
    );
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_is_wrong_is_status_2_and_one_line_that_says_what_to_do() {
    for (words, named) in [
        (
            &["serve", "--greeting", "hi"][..],
            &["udp://127.0.0.1:7777", "name stream endpoints alone"][..],
        ),
        (
            &["serve", "--close", UDP],
            &["--close", "udp://127.0.0.1:0"],
        ),
        (
            &["serve", "--reply", "a", "--service", "discard"],
            &["leave one of them out"],
        ),
        (
            &["serve", "--close", "--service", "discard", TCP],
            &["add --greeting"],
        ),
        (
            &["serve", "--reply", r"a\q"],
            &["at character 2", r"\q is no escape"],
        ),
        (
            &["serve", "--reply", "a{"],
            &["at character 2", "never closed"],
        ),
        (
            &["serve", "--reply", "🐦", "--encoding", "gbk"],
            &["--reply", "'🐦'", "--encoding"],
        ),
        (&["serve", "--frame", "until:"], &["until:END"]),
        (&["serve", "--frame", "fixed:0"], &["--frame"]),
        (&["serve", "--frame", "fixed:65537"], &["--max-message"]),
        (&["serve", "--frame", "word"], &["'word'", "prefix:u16"]),
        (&["serve", "--max-message", "0"], &["--max-message"]),
        (&["serve", "--encoding", "klingon"], &["'klingon'", "gbk"]),
        (&["serve", "--encoding", "utf-16le"], &["cannot be written"]),
        (&["receive"], &["ENDPOINT"]),
        (&["receive", TCP, "--reply", "x"], &["--reply"]),
        (&["completions", "tcsh"], &["bash", "fish"]),
    ] {
        let (status, stdout, stderr) = run_to_end(words);
        assert_eq!(
            (status, stdout.as_str(), stderr.lines().count()),
            (2, "", 1),
            "{words:?}: {stderr}"
        );
        assert!(
            stderr.starts_with("mynah: ") && stderr.ends_with("; see --help\n"),
            "{words:?}: {stderr}"
        );
        assert!(
            named.iter().all(|name| stderr.contains(name)),
            "{words:?}: {stderr} does not say {named:?}"
        );
    }
    let (_, _, stderr) = run_to_end(&["serve", "--greeting", &"x".repeat(65_537), TCP]);
    assert!(
        stderr.contains("65537 bytes are more than the 65536"),
        "{:.200}",
        stderr
    );
}

/// The names of the long options in a help text.
fn long_options(help: &str) -> Vec<&str> {
    let options = help
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'));
    options
        .filter_map(|line| line.split_once("--")?.1.split([' ', '.']).next())
        .collect()
}

#[test]
fn the_manual_page_names_every_option_of_every_command() {
    let (status, page, stderr) = run_to_end(&["man"]);
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(
        page.contains(".TH mynah 1") && page.contains(".SH \"MYNAH SERVE\""),
        "{page}"
    );
    for (command, some) in [
        ("serve", "greeting"),
        ("receive", "frame"),
        ("connect", "until"),
    ] {
        let (_, help, _) = run_to_end(&[command, "--help"]);
        let options = long_options(&help);
        assert!(
            options.contains(&some) && options.contains(&"encoding"),
            "{options:?}"
        );
        let (_, section) = page
            .split_once(&format!(".SH \"MYNAH {}\"", command.to_uppercase()))
            .unwrap();
        let section = section.split("\n.SH ").next().unwrap();
        // Not the synopsis, which names them all without a word about them.
        let (_, explained) = section
            .split_once(".SS OPTIONS")
            .unwrap_or_else(|| panic!("{command}: {section}"));
        for option in options {
            assert!(
                explained.contains(&format!("\\fB\\-\\-{}\\fR", option.replace('-', "\\-"))),
                "{command}: --{option} is not in the page"
            );
        }
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (status, script, stderr) = run_to_end(&["completions", shell]);
        assert_eq!((status, stderr.as_str()), (0, ""), "{shell}");
        for word in [
            "serve",
            "connect",
            "receive",
            "man",
            "completions",
            "max-message",
            "busy-poll",
        ] {
            assert!(script.contains(word), "{shell}: {word} is not in it");
        }
    }
}

/// As in `mynah man | head -1`.
#[test]
fn pages_into_a_pipe_that_was_closed_are_a_success() {
    for words in [&["man"][..], &["completions", "bash"]] {
        let mut child = std::process::Command::new(binary())
            .args(words)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_to_string(&mut stderr)
            .unwrap();
        let status = eventually("the program ends", || child.try_wait().unwrap());
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{words:?}");
    }
}
