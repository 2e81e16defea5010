//! Promise 10: what a peer sends cannot forge a log line or a terminal escape.
//!
//! Nor what it is called, nor what was typed on the command line. Everything that the program writes is read here as bytes: no control character
//! but the ends of our own lines, none that makes a terminal turn text around, and as many lines as there were messages.

mod common;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

use common::{PATIENCE, Scratch, Server, TCP, UDP, assert_echoes, connect, loopback, run_to_end};

/// What attacks look like, each as one message, and as it must be shown.
const HOSTILE: &[(&[u8], &str)] = &[
    (b"\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
    (
        b"\r\n[2026-01-01T00:00:00Z ERROR mynah] forged",
        "\\r\\n[2026-01-01T00:00:00Z ERROR mynah] forged",
    ),
    (b"over\rwritten", "over\\rwritten"),
    (b"end\0of\x0bstring\x0c", "end\\x00of\\x0bstring\\x0c"),
    (
        b"\xff\xfe \xc3( \xed\xa0\x80 \xf0\x9f!",
        "\\xff\\xfe \\xc3( \\xed\\xa0\\x80 \\xf0\\x9f!",
    ),
    (
        "C1: \u{9b}31m\u{90}\u{85}".as_bytes(),
        "C1: \\xc2\\x9b31m\\xc2\\x90\\xc2\\x85",
    ),
    (
        "\u{202e}desrever\u{2066}\u{200f}\u{2028}\u{2029}\u{feff}".as_bytes(),
        "\\u{202e}desrever\\u{2066}\\u{200f}\\u{2028}\\u{2029}\\u{feff}",
    ),
    (b"\x7f\x08\x08", "\\x7f\\x08\\x08"),
    (b"\\x1b is not \x1b", "\\\\x1b is not \\x1b"),
    (b"\t", "\\t"),
    (
        "harmless: größer 服务器".as_bytes(),
        "harmless: größer 服务器",
    ),
];

/// Nothing in `text` may act on a terminal, save for the ends of lines.
#[track_caller]
fn assert_harmless(text: &str) {
    let acts = |character: char| {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        character != '\n' && (character.is_control() || turns)
    };
    if let Some(at) = text.find(acts) {
        let from = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        panic!(
            "{:?} stands in {:?}",
            text[at..].chars().next(),
            text[from..].lines().next()
        );
    }
}

/// All of standard output behind the listening lines, once the server has ended.
fn printed(server: &mut Server) -> String {
    assert_eq!(server.stop(), 0);
    let mut bytes = Vec::new();
    server
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    String::from_utf8(bytes).expect("what is printed is text, whatever was sent")
}

/// The log once it is complete, each line of which must be one of ours.
#[track_caller]
fn whole_log(server: &Server) -> String {
    server.wait_for_log("stopped: ");
    let log = server.log();
    assert_harmless(&log);
    for line in log.lines() {
        assert!(
            line.starts_with("[20") && line.contains(" mynah::"),
            "a line that nobody logged: {line}"
        );
    }
    log
}

#[test]
fn what_is_sent_over_tcp_is_printed_escaped_one_line_a_message() {
    let mut server = Server::start(&[TCP, "--print", "-v"]);
    let stream = server.connect();
    // The answer to one before the next is sent: what one message is hangs on how it is read.
    HOSTILE
        .iter()
        .for_each(|(message, _)| assert_echoes(&stream, message));
    let peer = stream.local_addr().unwrap();
    drop(stream);
    let printed = printed(&mut server);
    assert_harmless(&printed);
    let expected: Vec<String> = HOSTILE
        .iter()
        .map(|(_, shown)| format!("{peer}: {shown}"))
        .collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    whole_log(&server);
}

#[test]
fn what_is_sent_over_udp_is_printed_escaped_one_line_a_datagram() {
    let mut server = Server::start(&[UDP, "--print", "-v"]);
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server.address(0)).unwrap();
    for (message, _) in HOSTILE.iter().chain(&[(&b""[..], "")]) {
        socket.send(message).unwrap();
        let mut got = [0; 1024];
        let size = common::again(|| socket.recv(&mut got)).unwrap();
        assert_eq!(&got[..size], *message, "what comes back is not escaped");
    }
    let peer = socket.local_addr().unwrap();
    let printed = printed(&mut server);
    assert_harmless(&printed);
    let shown = HOSTILE.iter().map(|(_, shown)| *shown).chain([""]);
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        shown
            .map(|shown| format!("{peer}: {shown}"))
            .collect::<Vec<_>>()
    );
    whole_log(&server);
}

/// The name of a Unix peer is the peer's own choice, and stands in the log and before each printed line.
#[test]
fn the_name_of_a_peer_is_escaped_wherever_it_is_shown() {
    let scratch = Scratch::new();
    let mut server = Server::start(&[
        &scratch.endpoint("unixgram", "echo"),
        &scratch.endpoint("unix", "stream"),
        "--print",
        "-v",
    ]);
    let name = OsStr::from_bytes(b"a\n[2026 ERROR mynah] forged\x1b[31m\xff\xe2\x80\xae");
    let shown = "a\\n[2026 ERROR mynah] forged\\x1b[31m\\xff\\u{202e}";
    let client = UnixDatagram::bind(scratch.path("").join(name)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hello\n", scratch.path("echo")).unwrap();
    assert_eq!(common::again(|| client.recv(&mut [0; 64])).unwrap(), 6);
    // Gone before it can be answered, so that the log has to name it. The server stands still meanwhile.
    server.signal("STOP");
    client.send_to(b"bye", scratch.path("echo")).unwrap();
    drop(client);
    server.signal("CONT");
    server.wait_for_log("sending refused");

    let stream = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    stream
        .bind(
            &socket2::SockAddr::unix(scratch.path("").join(OsStr::from_bytes(b"s\r\n\x1b")))
                .unwrap(),
        )
        .unwrap();
    stream
        .connect(&socket2::SockAddr::unix(scratch.path("stream")).unwrap())
        .unwrap();
    (&stream).write_all(b"hello").unwrap();
    (&stream).read_exact(&mut [0; 5]).unwrap();
    drop(stream);

    let printed = printed(&mut server);
    assert_harmless(&printed);
    let at = scratch.path("").display().to_string();
    let expected = [
        format!("{at}{shown}: hello\\n"),
        format!("{at}{shown}: bye"),
        format!("{at}s\\r\\n\\x1b: hello"),
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    let log = whole_log(&server);
    assert!(
        log.contains(shown) && log.contains("s\\r\\n\\x1b: accepted"),
        "{log}"
    );
}

/// As a path from another program's configuration may be.
#[test]
fn an_endpoint_with_control_characters_is_shown_escaped() {
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint("unix", "a\nlistening on tcp:forged\u{1b}[31m");
    let server = Server::start(&[&endpoint]);
    let shown = scratch.endpoint("unix", "a\\nlistening on tcp:forged\\x1b[31m");
    assert_eq!(server.endpoints, std::slice::from_ref(&shown));

    let (status, stdout, stderr) = run_to_end(&["serve", "-q", &endpoint]);
    assert_eq!((status, stdout.as_str()), (1, ""));
    assert_harmless(&stderr);
    assert!(
        stderr.lines().count() == 1 && stderr.contains(&shown),
        "{stderr}"
    );
}

#[test]
fn wrong_words_with_control_characters_are_one_harmless_line() {
    let hostile = "x\u{1b}[31m\u{7}\r\n\0mynah: all is well\u{9b}\u{202e}".replace('\0', "");
    for words in [
        vec!["serve", &hostile],
        vec!["serve", &format!("tcp://{hostile}:1")],
        vec!["serve", &format!("tcp://host:{hostile}")],
        vec!["serve", &format!("--{hostile}")],
        vec!["serve", "--service", &hostile],
        vec!["serve", "--idle-timeout", &hostile],
        vec![&hostile],
    ] {
        let (status, stdout, stderr) = run_to_end(&words);
        assert!(status == 2 || status == 7, "{words:?}: {status}");
        assert_eq!(stdout, "");
        assert_harmless(&stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.starts_with("mynah: ") && stderr.contains("\\x1b[31m"),
            "{stderr}"
        );
    }
}

/// The log in all its detail says nothing about what was sent.
#[test]
fn nothing_of_what_is_sent_reaches_the_log() {
    let mut server = Server::start(&[TCP, "-v"]);
    for (message, _) in HOSTILE {
        assert_echoes(connect(server.address(0)), message);
    }
    assert_eq!(server.stop(), 0);
    let log = whole_log(&server);
    assert!(!log.contains("forged") && !log.contains("title"), "{log}");
}
