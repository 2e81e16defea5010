//! The small services, as their RFCs have them, over every kind of socket and with the real binary: each on streams and on datagrams.
//!
//! What is short is delivered although the peer has spoken first; what is endless is exact at any speed, costs no more than one piece for who does not
//! read it, and ends with its peer.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, SystemTime};

use common::{PATIENCE, Scratch, Server, TCP, UDP, again, assert_within, connect_small, loopback};
use jiff::Timestamp;
use mynah::net::sim::{Conditions, PeerEnd, SimNet};
use mynah::service::{Host, factory};
use mynah::{Address, Limits, Reactor};

/// A server of one service on a socket of each kind, in the order of [`KINDS`].
struct Served {
    server: Server,
    scratch: Scratch,
}

const KINDS: [&str; 4] = ["tcp", "udp", "unix", "unixgram"];

/// How one client was answered.
struct Answer {
    kind: &'static str,
    bytes: Vec<u8>,
    /// The client's own address, as the server should know it.
    client: String,
    /// Where the client sent to.
    server: String,
}

impl Served {
    #[track_caller]
    fn start(service: &str) -> Served {
        let scratch = Scratch::new();
        let (stream, datagram) = (
            scratch.endpoint("unix", "stream"),
            scratch.endpoint("unixgram", "datagram"),
        );
        Served {
            server: Server::start(&[
                TCP,
                UDP,
                &stream,
                &datagram,
                "--allow-amplification",
                "--service",
                service,
            ]),
            scratch,
        }
    }

    /// Asks on a socket of each kind, one after the other.
    #[track_caller]
    fn ask(&self) -> Vec<Answer> {
        KINDS
            .iter()
            .enumerate()
            .map(|(index, kind)| self.ask_one(index, kind))
            .collect()
    }

    #[track_caller]
    fn ask_one(&self, index: usize, kind: &'static str) -> Answer {
        let endpoint = &self.server.endpoints[index];
        let server = endpoint
            .strip_prefix(kind)
            .unwrap()
            .trim_start_matches(':')
            .trim_start_matches("//")
            .to_owned();
        let (bytes, client) = match kind {
            "tcp" => {
                let stream = self.server.connect();
                (
                    read_whole(&stream),
                    stream.local_addr().unwrap().to_string(),
                )
            }
            "udp" => {
                let socket = self.udp();
                socket.send(b"").unwrap();
                (
                    receive(|buffer| socket.recv(buffer)),
                    socket.local_addr().unwrap().to_string(),
                )
            }
            "unix" => (read_whole(&self.unix()), "unnamed".to_owned()),
            _ => {
                let path = self.scratch.path("client name");
                let socket = UnixDatagram::bind(&path).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.send_to(b"anything", &server).unwrap();
                let bytes = receive(|buffer| socket.recv(buffer));
                std::fs::remove_file(&path).unwrap();
                (bytes, path.to_str().unwrap().replace(' ', "\\x20"))
            }
        };
        Answer {
            kind,
            bytes,
            client,
            server,
        }
    }

    #[track_caller]
    fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind(loopback()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(self.server.address(1)).unwrap();
        socket
    }

    #[track_caller]
    fn unix(&self) -> UnixStream {
        let stream = UnixStream::connect(self.scratch.path("stream")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// All that comes before the end of stream. A reset is a failure.
#[track_caller]
fn read_whole(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[track_caller]
fn receive(mut call: impl FnMut(&mut [u8]) -> std::io::Result<usize>) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let size = again(|| call(&mut buffer)).unwrap();
    buffer[..size].to_vec()
}

fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

/// Calls `ask` and returns what it gave, with every second of the time that it took.
fn with_seconds<T>(ask: impl FnOnce() -> T) -> (T, Vec<u64>) {
    let before = now().as_secs();
    let answer = ask();
    (answer, (before..=now().as_secs()).collect())
}

#[test]
fn daytime_is_the_line_that_rfc_867_suggests() {
    let served = Served::start("daytime");
    let (answers, seconds) = with_seconds(|| served.ask());
    let expected = |second: &u64| {
        let time = Timestamp::from_second(*second as i64)
            .unwrap()
            .strftime("%A, %B %-d, %Y %H:%M:%S-UTC\r\n")
            .to_string();
        time.into_bytes()
    };
    let expected: Vec<Vec<u8>> = seconds.iter().map(expected).collect();
    for Answer { kind, bytes, .. } in answers {
        assert!(
            expected.contains(&bytes),
            "{kind}: {}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn time_is_the_seconds_since_1900_in_four_bytes() {
    let served = Served::start("time");
    let (answers, seconds) = with_seconds(|| served.ask());
    let expected: Vec<[u8; 4]> = seconds
        .iter()
        .map(|second| ((second + 2_208_988_800) as u32).to_be_bytes())
        .collect();
    for Answer { kind, bytes, .. } in answers {
        assert!(
            expected.iter().any(|time| *time == bytes[..]),
            "{kind}: {bytes:?} is not in {expected:?}"
        );
    }
}

#[test]
fn a_quote_is_short_printable_and_not_the_last_one() {
    let served = Served::start("qotd");
    let mut said: BTreeSet<(&str, Vec<u8>)> = BTreeSet::new();
    for _ in 0..3 {
        for Answer { kind, bytes, .. } in served.ask() {
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert!(
                text.len() < 512 && text.ends_with("\r\n"),
                "{kind}: {text:?}"
            );
            assert!(
                text.replace("\r\n", "")
                    .chars()
                    .all(|character| (' '..='~').contains(&character)),
                "{kind}: {text:?}"
            );
            assert!(
                said.insert((kind, bytes)),
                "{kind} said this before: {text:?}"
            );
        }
    }
}

#[test]
fn whoami_tells_every_peer_how_it_got_here() {
    let served = Served::start("whoami");
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (host, process) = (
        format!("host={}", name.trim_end()),
        format!("process={}", served.server.pid()),
    );
    for connections in [[1, 0, 2, 0], [3, 0, 4, 0]] {
        let before = now().as_millis() as i64;
        let answers = served.ask();
        let after = now().as_millis() as i64;
        for (
            Answer {
                kind,
                bytes,
                client,
                server,
            },
            connection,
        ) in answers.into_iter().zip(connections)
        {
            let line = String::from_utf8(bytes).unwrap();
            let fields: Vec<&str> = line.strip_suffix('\n').expect(&line).split(' ').collect();
            let [peer, local, number, time, last @ ..] = &fields[..] else {
                panic!("{kind}: {line:?}")
            };
            assert_eq!(
                (*peer, *local),
                (&*format!("peer={client}"), &*format!("local={server}")),
                "{kind}"
            );
            assert_eq!(
                (*number, last),
                (
                    &*format!("connection={connection}"),
                    &[&*host, &*process][..]
                ),
                "{kind}"
            );
            let time = time
                .strip_prefix("time=")
                .filter(|time| time.len() == 24 && time.ends_with('Z'))
                .expect(&line);
            assert!(
                (before..=after).contains(&time.parse::<Timestamp>().unwrap().as_millisecond()),
                "{kind}: {line:?}"
            );
        }
    }
}

/// Who closes over unread input resets the connection, and the reset destroys what was said.
#[test]
fn what_is_said_on_open_is_delivered_to_who_spoke_first() {
    for service in ["daytime", "time", "qotd", "whoami"] {
        let served = Served::start(service);
        // Stopped, it finds all of this before it says a word.
        served.server.signal("STOP");
        let (mut tcp, mut unix) = (served.server.connect(), served.unix());
        tcp.write_all(&[b'?'; 100_000]).unwrap();
        unix.write_all(&[b'?'; 100_000]).unwrap();
        served.server.signal("CONT");
        for said in [read_whole(&tcp), read_whole(&unix)] {
            assert!(
                (4..600).contains(&said.len()),
                "{service}: {} bytes",
                said.len()
            );
        }
        tcp.write_all(b"and more, which nobody hears").unwrap();
    }
}

/// The character generator's stream, as RFC 864 draws it: line by line, character by character.
fn character(at: usize) -> u8 {
    let (line, column) = (at / 74, at % 74);
    match column {
        72 => b'\r',
        73 => b'\n',
        _ => b' ' + ((line + column) % 95) as u8,
    }
}

/// All lines once.
const PIECE: usize = 95 * 74;

/// Reads on until there are `size` bytes or the end, at most `most` at a time, and asserts that they are the generator's. Returns how many there were.
#[track_caller]
fn assert_generated(mut stream: impl Read, size: usize, most: usize) -> usize {
    let (mut at, mut buffer) = (0, vec![0; most]);
    while at < size {
        let count = again(|| stream.read(&mut buffer)).unwrap();
        if count == 0 {
            break;
        }
        let differs = buffer[..count]
            .iter()
            .zip(at..)
            .find(|(byte, at)| **byte != character(*at));
        assert_eq!(differs, None, "not what stands at this place of the stream");
        at += count;
    }
    at
}

#[test]
fn chargen_is_exact_for_every_reader_at_any_speed() {
    let served = Served::start("chargen");
    let address = served.server.address(0);
    // Two readers of each kind beside one another: one takes much at a time, one little, and the sizes have nothing to do with lines or pieces.
    let mut readers: Vec<(Box<dyn Read + Send>, usize)> = Vec::new();
    for most in [61, 1_000, 65_521] {
        readers.push((Box::new(common::connect(address)), most));
        readers.push((Box::new(connect_small(address)), most));
        readers.push((Box::new(served.unix()), most));
    }
    let threads: Vec<_> = readers
        .into_iter()
        .map(|(mut stream, most)| {
            thread::spawn(move || assert_generated(&mut stream, 3 << 20, most))
        })
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap() >= 3 << 20, "the stream has ended");
    }
}

#[test]
fn chargen_generates_no_more_than_a_piece_ahead() {
    const PEERS: usize = 500;
    let server = Server::start(&[TCP, "--service", "chargen", "--write-timeout", "off"]);
    // What a connection costs once, whatever it is served, is paid before we count.
    drop(
        (0..PEERS)
            .map(|_| connect_small(server.address(0)))
            .collect::<Vec<_>>(),
    );
    common::eventually("all are closed", || {
        (server.count_in_log("closed:") == PEERS).then_some(())
    });
    let base = server.resident();
    let peers: Vec<TcpStream> = (0..PEERS)
        .map(|_| connect_small(server.address(0)))
        .collect();
    for peer in &peers {
        assert_eq!(again(|| peer.peek(&mut [0])).unwrap(), 1);
    }
    server.assert_burns_nothing();
    assert_within(
        "resident bytes",
        server.resident(),
        base + PEERS * (PIECE + 1024) + (1 << 20),
    );
    // And nothing was lost on the way.
    for peer in &peers[..20] {
        assert!(
            assert_generated(peer, 300_000, 4096) >= 300_000,
            "the stream has ended"
        );
    }
}

/// What a peer says to a generator is thrown away, all of it, and its end is the end: also where it reads so slowly that it is owed something at any time.
#[test]
fn chargen_hears_its_peer_out_and_ends_with_it() {
    /// More than the server would generate before it hears of the end.
    const ENDLESS: usize = 1 << 32;
    let served = Served::start("chargen");
    let (tcp, unix) = (connect_small(served.server.address(0)), served.unix());
    let input = vec![b'q'; 4 << 20];
    thread::scope(|scope| {
        scope.spawn(|| {
            (&tcp)
                .write_all(&input)
                .and_then(|()| tcp.shutdown(Shutdown::Write))
                .unwrap()
        });
        scope.spawn(|| {
            (&unix)
                .write_all(&input)
                .and_then(|()| unix.shutdown(Shutdown::Write))
                .unwrap()
        });
        for reader in [
            scope.spawn(|| assert_generated(&tcp, ENDLESS, 700)),
            scope.spawn(|| assert_generated(&unix, ENDLESS, 700)),
        ] {
            assert!(
                reader.join().unwrap() < ENDLESS,
                "the peer's end of stream is not noticed"
            );
        }
    });
    served.server.wait_for_log("closed: peer closed");
}

/// The same by the slowest socket there is, which never takes a whole piece: without a pause for it, input would never be read.
#[test]
fn chargen_hears_its_peer_through_a_socket_that_is_smaller_than_a_piece() {
    const INPUT: usize = 5_000;
    let mut reactor = Reactor::new(
        SimNet::new(
            7,
            Conditions {
                buffer: 256,
                ..Conditions::default()
            },
        ),
        Limits::default(),
    )
    .unwrap();
    let make = factory("chargen", &Host::new("here", 1)).unwrap();
    reactor
        .listen(&Address::Tcp("127.0.0.1:19".parse().unwrap()), 1, make)
        .unwrap();
    let peer = reactor.net_mut().peer_connect(0).unwrap();
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..100_000 {
        reactor.turn();
        let net = reactor.net_mut();
        got.extend(net.peer_read(peer, 100));
        sent += net.peer_send(peer, &[b'x'; INPUT][sent..]);
        if sent == INPUT {
            net.peer_finish(peer);
        }
        if net.peer_end(peer) == PeerEnd::Finished {
            break;
        }
    }
    assert_eq!(
        (reactor.net_mut().peer_end(peer), reactor.stats().bytes_in),
        (PeerEnd::Finished, INPUT as u64),
        "{}",
        reactor.stats()
    );
    assert!(
        got.len() % PIECE == 0
            && got
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == character(at)),
        "not the pattern"
    );
}

#[test]
fn a_chargen_datagram_is_up_to_512_characters_of_the_pattern() {
    let served = Served::start("chargen");
    let (socket, mut lengths) = (served.udp(), BTreeSet::new());
    for _ in 0..64 {
        socket.send(b"how much?").unwrap();
        let bytes = receive(|buffer| socket.recv(buffer));
        assert!(
            bytes.len() <= 512
                && bytes
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == character(at)),
            "{}",
            bytes.escape_ascii()
        );
        lengths.insert(bytes.len());
    }
    assert!(lengths.len() > 8, "chance had it so: {lengths:?}");
    let gram = served.ask_one(3, "unixgram").bytes;
    assert!(
        gram.len() <= 512
            && gram
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == character(at)),
        "{}",
        gram.escape_ascii()
    );
}
