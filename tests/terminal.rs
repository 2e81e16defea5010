//! A client on a terminal: it says what it connected to and how it ended, and nothing that a peer sends can harm the terminal. A load generator says how
//! it goes.
#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use common::{PATIENCE, Server, TCP, UDP, binary, eventually};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A client whose standard input, output and error are a terminal, and the other end of that.
struct Terminal {
    child: Child,
    keys: File,
    shown: Vec<u8>,
}

impl Terminal {
    #[track_caller]
    fn start(args: &[&str]) -> Terminal {
        Terminal::run(&[&["connect"], args].concat())
    }

    #[track_caller]
    fn run(args: &[&str]) -> Terminal {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let path = ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
        let far = || Stdio::from(File::options().read(true).write(true).open(&path).unwrap());
        let child = Command::new(binary())
            .args(args)
            .env_remove("RUST_LOG")
            .stdin(far())
            .stdout(far())
            .stderr(far())
            .spawn()
            .unwrap();
        Terminal {
            child,
            keys: File::from(near),
            shown: Vec::new(),
        }
    }

    /// Types, as a user would; the terminal itself shows what is typed.
    fn type_in(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until all of `words` has been shown, and takes what was shown up to it.
    #[track_caller]
    fn wait_for(&mut self, words: &str) -> String {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            // A character may come in two reads, so this looks at bytes.
            let shown = String::from_utf8_lossy(&self.shown).into_owned();
            if let Some(at) = self
                .shown
                .windows(words.len())
                .position(|window| window == words.as_bytes())
            {
                return String::from_utf8_lossy(
                    &self.shown.drain(..at + words.len()).collect::<Vec<_>>(),
                )
                .into_owned();
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{words:?} was not shown; this was: {shown:?}"
            );
            let mut bytes = [0; 4096];
            match common::again(|| self.keys.read(&mut bytes)) {
                Ok(0) => panic!("the terminal has ended; shown: {shown:?}"),
                Ok(count) => self.shown.extend_from_slice(&bytes[..count]),
                // The last one at the far end has gone.
                Err(error) if error.raw_os_error() == Some(5) => {
                    panic!("the client has gone; shown: {shown:?}")
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[track_caller]
    fn end(&mut self) -> Option<i32> {
        eventually("the client ends", || self.child.try_wait().unwrap()).code()
    }
}

/// The end of the input, as a key.
const CTRL_D: &str = "\x04";

/// A line each second, on the terminal alone (`tests/load_reports.rs` sees none of it in a pipe), and gone at the end.
#[test]
fn a_load_says_how_it_goes() {
    let server = Server::start(&[TCP]);
    let mut terminal = Terminal::run(&[
        "load",
        &server.endpoints[0],
        "-c",
        "2",
        "--rate",
        "100",
        "--duration",
        "3s",
        "--spoiled",
        "warn",
        "--warmup",
        "off",
    ]);
    for words in ["connecting", " %  "] {
        terminal.wait_for(words);
    }
    let shown = terminal.wait_for("  p99 ");
    let line = shown.rsplit('\r').next().unwrap();
    assert!(
        line.contains("/s  0 errors  ") && line.contains(" unanswered  p50 "),
        "{line:?}"
    );
    let shown = terminal.wait_for("no errors");
    let table = shown.rsplit("\x1b[2K").next().unwrap();
    assert!(
        table.starts_with("NOTE: ") || table.starts_with("tcp://"),
        "{shown:?}"
    );
    assert!(table.contains('≤') && table.contains('█'), "{table}");
    assert_eq!(terminal.end(), Some(0));
}

/// An open loop that the target cannot follow: the line goes on, and says how far it is behind.
#[test]
fn a_load_that_falls_behind_says_so() {
    // It accepts, reads nothing, and answers nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let mut terminal = Terminal::run(&[
        "load",
        &endpoint,
        "-c",
        "3",
        "--rate",
        "1000",
        "--duration",
        "2s",
        "--warmup",
        "off",
        "--timeout",
        "2s",
        "--spoiled",
        "warn",
    ]);
    let shown = terminal.wait_for(" overdue  3 unanswered");
    assert!(shown.contains(" %  "), "{shown:?}");
    // Behind the end of the window too.
    terminal.wait_for("waiting for answers");
    terminal.wait_for(" overdue  3 unanswered");
    drop(listener);
    assert_eq!(terminal.end(), Some(1));
}

/// Connections that take long to open: the line counts them. The backlog is full after a few.
#[test]
fn connections_are_counted_while_they_open() {
    let server = Server::start(&[TCP]);
    let mut terminal = Terminal::run(&[
        "load",
        &server.endpoints[0],
        "-c",
        "40",
        "--connect-rate",
        "20",
        "--requests",
        "200000",
        "--spoiled",
        "warn",
    ]);
    terminal.wait_for("connecting: ");
    let shown = terminal.wait_for(" of 40 open");
    let opened = shown.trim_end_matches(" of 40 open").rsplit(' ').next();
    assert!(opened.unwrap().parse::<u32>().unwrap() < 40, "{shown:?}");
    // By its messages it is known how much is done.
    terminal.wait_for(" %  ");
    terminal.wait_for("no errors");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_session_says_what_it_connected_to_and_how_it_ended() {
    let server = Server::start(&[TCP]);
    let mut terminal = Terminal::start(&[&server.endpoints[0]]);
    terminal.wait_for(&format!(
        "mynah: connected to {} from 127.0.0.1:",
        server.endpoints[0]
    ));
    terminal.wait_for("\r\n");
    terminal.type_in("你好\n");
    assert!(
        terminal.wait_for("你好\r\n你好\r\n").contains("你好"),
        "typed once, and echoed once"
    );
    terminal.type_in(CTRL_D);
    terminal.wait_for(&format!(
        "mynah: {} closed the connection: 7 bytes sent, 7 received",
        server.endpoints[0]
    ));
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_peer_cannot_harm_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut terminal = Terminal::start(&[&format!("tcp://{}", listener.local_addr().unwrap())]);
    let (mut stream, _) = listener.accept().unwrap();
    stream
        .write_all(b"a\tb\r\n\x1b[2J\x1b]0;title\x07\rforged\xff\n")
        .unwrap();
    drop(stream);
    let shown = terminal.wait_for("closed the connection");
    assert!(
        shown.contains("a\tb\r\n\\x1b[2J\\x1b]0;title\\x07\\rforged\\xff\r\n"),
        "{shown:?}"
    );
    assert!(
        !shown.contains('\x1b') && !shown.contains('\x07'),
        "{shown:?}"
    );
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn each_typed_line_is_a_datagram() {
    let server = Server::start(&[UDP]);
    let mut terminal =
        Terminal::start(&["--until", "exit", "--wait", "200ms", &server.endpoints[0]]);
    terminal.wait_for(&format!(
        "mynah: each line is a datagram to {}\r\n",
        server.endpoints[0]
    ));
    terminal.type_in("one\n");
    terminal.wait_for("one\r\none\r\n");
    terminal.type_in("exit\n");
    terminal.wait_for("mynah: 3 bytes sent, 3 received");
    assert_eq!(terminal.end(), Some(0));
}
