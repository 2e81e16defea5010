//! Each datagram gets one whole datagram back, and nothing that arrives ends the server.

mod common;

use std::io::{ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{PATIENCE, Scratch, Server, TCP, UDP, assert_echoes, loopback, pattern};
use mynah::net::os::OsNet;
use mynah::{Address, Limits, Reactor, service};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

const UDP6: &str = "udp://[::1]:0";

/// A client of the server's endpoint at `index`.
fn client(server: &Server, index: usize) -> UdpSocket {
    common::udp_client(server.address(index))
}

/// The client is connected, so it hears only what comes from the address that it asked.
#[track_caller]
fn assert_answers(client: &UdpSocket, message: &[u8]) {
    client.send(message).unwrap();
    let mut got = vec![0; 65_536];
    let size = common::again(|| client.recv(&mut got)).unwrap();
    assert!(
        got[..size] == *message,
        "{size} bytes came back, not the {} that were sent",
        message.len()
    );
}

/// The same beside a flood. The kernel may have no room for what we send, and drop it: send it
/// again until an answer comes. `number` tells the answers to one message from those to another.
#[track_caller]
fn assert_answers_in_the_end(client: &UdpSocket, number: u64) {
    let message = pattern(100, number);
    client
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    common::eventually("an answer", || {
        client.send(&message).unwrap();
        let mut got = [0; 128];
        while let Ok(size) = common::again(|| client.recv(&mut got)) {
            if got[..size] == message {
                return Some(());
            }
        }
        None
    });
}

fn assert_every_size_comes_back(endpoint: &str, longest: usize) {
    let server = Server::start(&[endpoint]);
    let client = client(&server, 0);
    for size in [0, 1, 2, 1472, 1473, 8192, 9000, 65_507, longest] {
        assert_answers(&client, &pattern(size, size as u64));
    }
    // Nothing but the answers came.
    client.set_nonblocking(true).unwrap();
    assert_eq!(
        common::again(|| client.recv(&mut [0; 16]))
            .unwrap_err()
            .kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn every_size_comes_back_whole_over_ipv4() {
    assert_every_size_comes_back(UDP, 65_507);
}

#[test]
fn every_size_comes_back_whole_over_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("skipped: there is no IPv6 here");
        return;
    }
    assert_every_size_comes_back(UDP6, 65_527);
}

/// 200 datagrams from each of 20 sockets, with a few in flight. No queue of the kernel overflows,
/// so nothing may be missing.
#[test]
fn each_sender_gets_its_own_answers_in_order() {
    const IN_FLIGHT: usize = 4;
    let server = Server::start(&[UDP]);
    let clients: Vec<UdpSocket> = (0..20).map(|_| client(&server, 0)).collect();
    let message =
        |client: usize, number: usize| format!("client {client}, datagram {number}").into_bytes();
    let expect = |client: usize, number: usize| {
        let mut got = [0; 64];
        let size = common::again(|| clients[client].recv(&mut got)).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&got[..size]),
            String::from_utf8_lossy(&message(client, number))
        );
    };
    for number in 0..200 {
        for (client, socket) in clients.iter().enumerate() {
            socket.send(&message(client, number)).unwrap();
            if number >= IN_FLIGHT {
                expect(client, number - IN_FLIGHT);
            }
        }
    }
    for number in 200 - IN_FLIGHT..200 {
        (0..clients.len()).for_each(|client| expect(client, number));
    }
}

/// No socket has port 0, but a packet can name it. To answer is an error, which must cost nothing
/// but that answer.
#[test]
fn a_packet_from_port_0_does_not_end_the_server() {
    let Ok(raw) = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) else {
        eprintln!("skipped: raw sockets need root");
        return;
    };
    let mut server = Server::start(&[UDP]);
    let address = server.address(0);
    let payload = b"from nowhere";
    // Source port, destination port, length, and no checksum.
    let mut packet = vec![0, 0];
    packet.extend(address.port().to_be_bytes());
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let to = SockAddr::from(SocketAddr::new(address.ip(), 0));
    for _ in 0..100 {
        assert_eq!(raw.send_to(&packet, &to).unwrap(), packet.len());
    }
    let client = client(&server, 0);
    assert_answers(&client, b"still here");
    assert_eq!(server.stop(), 0);
    server.wait_for_log("stopped: ");
    assert!(
        server.log().contains("datagrams in 101,"),
        "the packets did arrive: {}",
        server.log()
    );
}

#[test]
fn answers_to_ports_that_are_closed_by_then_do_no_harm() {
    let mut server = Server::start(&[UDP]);
    let lasting = client(&server, 0);
    for number in 0..10_000 {
        client(&server, 0)
            .send(format!("off again {number}").as_bytes())
            .unwrap();
        if number % 20 == 0 {
            assert_answers(&lasting, b"still here");
        }
    }
    assert_answers(&lasting, b"still here");
    server.assert_running();
}

/// The flood gets its share of a turn and no more: a conversation beside it goes on, and ends.
#[test]
fn a_flood_of_datagrams_does_not_stop_a_tcp_conversation_nor_a_datagram_one() {
    let server = Server::start(&[TCP, UDP, UDP]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let socket = client(&server, 1);
                let bytes = pattern(1400, 9);
                while !stop.load(Ordering::Relaxed) {
                    // The answers that nobody reads come back as refusals.
                    let _ = socket.send(&bytes);
                }
            });
        }
        let stream = server.connect();
        let other = client(&server, 2);
        for number in 0..500 {
            assert_echoes(&stream, &pattern(100, number));
            assert_answers_in_the_end(&other, number);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// The kernel drops what does not fit into the client's buffer. It must not wait in the server, nor
/// disturb later answers.
#[test]
fn a_client_with_a_tiny_buffer_loses_its_own_answers_alone() {
    let server = Server::start(&[UDP]);
    let tiny = client(&server, 0);
    SockRef::from(&tiny).set_recv_buffer_size(1).unwrap();
    let other = client(&server, 0);
    let bytes = pattern(1000, 1);
    for _ in 0..2000 {
        tiny.send(&bytes).unwrap();
    }
    assert_answers_in_the_end(&other, 1);
    // Whatever reached it is whole.
    tiny.set_nonblocking(true).unwrap();
    let mut got = [0; 2048];
    while let Ok(size) = common::again(|| tiny.recv(&mut got)) {
        assert!(got[..size] == bytes, "{size} bytes");
    }
    tiny.set_nonblocking(false).unwrap();
    assert_answers_in_the_end(&tiny, 2);
}

/// An empty datagram is data: its answer is empty, and the datagrams behind it are not forgotten.
#[test]
fn empty_datagrams_between_others_are_answered_in_their_order() {
    let server = Server::start(&[UDP]);
    let client = client(&server, 0);
    server.signal("STOP");
    let messages = [&b""[..], b"a", b"", b"", b"b", b""];
    messages
        .iter()
        .for_each(|message| assert_eq!(client.send(message).unwrap(), message.len()));
    server.signal("CONT");
    for message in messages {
        let mut got = [0; 16];
        let size = common::again(|| client.recv(&mut got)).unwrap();
        assert_eq!(&got[..size], message);
    }
}

/// The socket holds more than one turn may take, and no event tells of the rest.
#[test]
fn what_a_turn_leaves_in_the_socket_is_answered_without_another_packet() {
    let mut server = Server::start(&[UDP]);
    let client = client(&server, 0);
    server.signal("STOP");
    for number in 0..150_u8 {
        client.send(&[number]).unwrap();
    }
    server.signal("CONT");
    for number in 0..150_u8 {
        let mut got = [0; 16];
        assert_eq!(
            (common::again(|| client.recv(&mut got)).unwrap(), got[0]),
            (1, number)
        );
    }
    assert_eq!(server.stop(), 0);
    server.wait_for_log("stopped: ");
    assert!(
        server.log().contains(" yields "),
        "others had their turn in between: {}",
        server.log()
    );
}

/// On a wildcard address the answer leaves from the address that was asked. From another one a
/// connected client would never hear it.
#[test]
fn the_address_that_was_asked_is_the_one_that_answers() {
    let server = Server::start(&["udp://0.0.0.0:0", "udp://[::]:0"]);
    let port = server.address(0).port();
    for asked in ["127.0.0.1", "127.0.0.2", "127.255.0.9"] {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect((asked, port)).unwrap();
        assert_answers(&client, asked.as_bytes());
    }
    let client = UdpSocket::bind("[::1]:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(("::1", server.address(1).port())).unwrap();
    assert_answers(&client, b"::1");
}

/// A wildcard socket has many addresses, and each datagram may have been sent to another one.
#[test]
fn a_text_names_the_address_that_this_datagram_was_sent_to() {
    let server = Server::start(&["udp://0.0.0.0:0", "--reply", "{local}"]);
    let port = server.address(0).port();
    for asked in ["127.0.0.1", "127.0.0.2", "127.0.0.1"] {
        let client = common::udp_client((asked.parse::<IpAddr>().unwrap(), port).into());
        client
            .send(b"a question that is longer than the answer")
            .unwrap();
        let mut got = [0; 64];
        let size = common::again(|| client.recv(&mut got)).unwrap();
        let due = format!("{asked}:{port}");
        assert_eq!(String::from_utf8_lossy(&got[..size]), due);
    }
}

/// A network of our own, if the tools that make interfaces in it are installed.
fn isolated() -> Option<&'static [&'static str]> {
    let has_tools = ["nsenter", "ip"].iter().all(|tool| common::has_tool(tool));
    if has_tools { common::isolated() } else { None }
}

/// Runs a script there. It finds the program in `$MYNAH` and a place for its files at `$READY`.
#[track_caller]
fn run_isolated(isolated: &[&str], script: &str, scratch: &Scratch) {
    let mut command = Command::new("unshare");
    command
        .args(isolated)
        .args(["sh", "-c", script])
        .env("MYNAH", common::binary())
        .env("READY", scratch.path("ready"));
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

/// The packets of this interface are shorter than the datagrams. It cannot cut them, so they go one
/// by one, and in fragments.
#[test]
fn datagrams_longer_than_a_packet_come_back_all_the_same() {
    let Some(isolated) = isolated() else { return };
    let scratch = Scratch::new();
    let script = r#"
        set -e
        unshare --net sleep 60 &
        far=$!
        here=$(readlink /proc/self/ns/net)
        until [ "$(readlink /proc/$far/ns/net)" != "$here" ]; do kill -0 $far; done
        ip link add name left type veth peer name right
        ip link set right netns $far
        ip address add 10.9.0.1/24 dev left
        ip link set left up
        nsenter --target $far --net ip address add 10.9.0.2/24 dev right
        nsenter --target $far --net ip link set right up
        "$MYNAH" serve -v udp://0.0.0.0:7000 > "$READY" 2> "$READY.log" &
        server=$!
        until [ -s "$READY" ]; do kill -0 $server; done
        for size in 1400 2000 9000; do
            line=$(head -c $size /dev/zero | tr '\0' x)
            for number in 10 11 12 13 14 15 16 17 18 19; do echo "$number$line"; done
        done > "$READY.in"
        # All at once: the fifth field of /proc/net/udp says how much stands in the socket.
        kill -STOP $server
        nsenter --target $far --net "$MYNAH" connect --wait 3s udp://10.9.0.1:7000 \
            < "$READY.in" > "$READY.out" &
        client=$!
        held=0
        until [ $((0x$held)) -gt 124000 ]; do
            kill -0 $client
            set -- $(tail -n 1 /proc/$server/net/udp)
            held=${5#*:}
        done
        kill -CONT $server
        wait $client
        kill $far
        kill $server
        wait $server
    "#;
    run_isolated(isolated, script, &scratch);
    let read = |name: &str| std::fs::read(scratch.path(name)).unwrap();
    assert!(
        read("ready.in") == read("ready.out"),
        "{} bytes came back",
        read("ready.out").len()
    );
    let log = String::from_utf8(read("ready.log")).unwrap();
    assert!(log.contains("datagram fallbacks"), "nothing was cut: {log}");
}

/// A network of our own has two interfaces with two addresses each, of both families. Each address
/// is asked, on a wildcard socket and on a socket of its own.
#[test]
fn every_address_of_a_machine_answers_as_itself() {
    let Some(isolated) = isolated() else { return };
    let script = r#"
        set -e
        ip link set lo up
        ip link add name left type veth peer name right
        for each in \
            "left 10.1.0.1/24" "left 10.1.0.2/24" "right 10.2.0.1/24" "right 10.2.0.2/24" \
            "left fd00:1::1/64" "left fd00:1::2/64" "right fd00:2::1/64" "right fd00:2::2/64"
        do
            set -- $each
            case $2 in *:*) no_wait=nodad;; *) no_wait=;; esac
            ip address add "$2" dev "$1" $no_wait
        done
        ip link set left up; ip link set right up
        addresses="10.1.0.1 10.1.0.2 10.2.0.1 10.2.0.2"
        addresses="$addresses [fd00:1::1] [fd00:1::2] [fd00:2::1] [fd00:2::2]"
        each_of_them=$(for each in $addresses; do echo "udp://$each:8000"; done)
        "$MYNAH" serve -q udp://0.0.0.0:7000 udp://[::]:7000 $each_of_them > "$READY" &
        server=$!
        until [ "$(wc -l < "$READY")" = 10 ]; do kill -0 $server; done
        for each in $addresses; do
            for port in 7000 8000; do
                answer=$(printf '%s\n' "$each" | "$MYNAH" connect --wait 300ms "udp://$each:$port")
                [ "$answer" = "$each" ] ||
                    { echo "$each:$port answered '$answer'"; kill $server; exit 1; }
            done
        done
        kill $server; wait $server
        # A group of one link, by the name of the interface.
        "$MYNAH" serve -q 'udp://[ff02::7:7]:9000' --interface left > "$READY.group" &
        server=$!
        until [ -s "$READY.group" ]; do kill -0 $server; done
        answer=$(echo 'and here?' |
            "$MYNAH" connect --wait 300ms --interface left 'udp://[ff02::7:7]:9000')
        [ "$answer" = 'and here?' ] ||
            { echo "the group answered '$answer'"; kill $server; exit 1; }
        kill $server; wait $server
    "#;
    run_isolated(isolated, script, &Scratch::new());
}

/// A client lets its kernel cut a message. The same datagrams come back in their order, the short
/// one last.
#[cfg(target_os = "linux")]
#[test]
fn datagrams_that_were_cut_by_the_kernel_come_back_as_they_were() {
    use nix::sys::socket::{setsockopt, sockopt};

    let server = Server::start(&[UDP]);
    let client = client(&server, 0);
    for (segment, count, rest) in [
        (1, 64, 0),
        (64, 60, 1),
        (1200, 50, 1199),
        (1472, 44, 0),
        (9000, 7, 2500),
        (30_000, 2, 5000),
    ] {
        if setsockopt(&client, sockopt::UdpGsoSegment, &segment).is_err() {
            eprintln!("skipped: this kernel does not cut datagrams");
            return;
        }
        let message = pattern(segment as usize * count + rest, segment as u64);
        assert_eq!(client.send(&message).unwrap(), message.len());
        let mut got = vec![0; 65_536];
        for datagram in message.chunks(segment as usize) {
            let size = common::again(|| client.recv(&mut got)).unwrap();
            assert!(
                got[..size] == *datagram,
                "{size} bytes came back, not {}",
                datagram.len()
            );
        }
    }
}

/// One message of the kernel may be many datagrams, and one call of it many messages. Still a run
/// exceeds its budget by less than one message, and what it leaves is answered later: in order, to
/// the right peer, although the other socket receives in between.
#[cfg(target_os = "linux")]
#[test]
fn a_run_exceeds_its_budget_by_less_than_one_message() {
    use mynah::limits::DATAGRAM_BUDGET;
    use nix::sys::socket::{setsockopt, sockopt};

    const MESSAGES: usize = 12;
    const SEGMENTS: usize = 60;
    let mut reactor = Reactor::new(OsNet::new().unwrap(), Limits::default()).unwrap();
    let mut bind = || {
        let make: service::Factory = Box::new(|_| Box::new(service::Echo));
        match reactor.bind(&Address::Udp(loopback()), make).unwrap() {
            Address::Udp(bound) => common::udp_client(bound),
            other => panic!("{other} is not UDP"),
        }
    };
    let clients = [bind(), bind()];
    for (number, client) in clients.iter().enumerate() {
        if setsockopt(client, sockopt::UdpGsoSegment, &4).is_err() {
            eprintln!("skipped: this kernel does not cut datagrams");
            return;
        }
        client.set_nonblocking(true).unwrap();
        for message in 0..MESSAGES {
            let datagrams = (0..SEGMENTS).flat_map(|segment| {
                let place = (message * SEGMENTS + segment) as u16;
                [place.to_be_bytes(), (number as u16).to_be_bytes()].concat()
            });
            client.send(&datagrams.collect::<Vec<u8>>()).unwrap();
        }
    }
    let mut next = [0; 2];
    let due = (MESSAGES * SEGMENTS) as u16;
    while next != [due, due] {
        let before = reactor.stats().datagrams_in;
        reactor.turn_by(reactor.now() + PATIENCE);
        let count = reactor.stats().datagrams_in - before;
        assert!(count > 0, "{next:?} came back, then nothing");
        common::assert_within(
            "datagrams in one turn of two sockets",
            count,
            2 * (DATAGRAM_BUDGET + SEGMENTS - 1) as u64,
        );
        for (number, client) in clients.iter().enumerate() {
            let mut got = [0; 16];
            while let Ok(size) = client.recv(&mut got) {
                let due = [next[number].to_be_bytes(), (number as u16).to_be_bytes()].concat();
                assert_eq!(got[..size], due);
                next[number] += 1;
            }
        }
    }
}

/// One burst holds sizes and peers in any order: each peer gets its own answers, in its order.
#[test]
fn mixed_sizes_and_peers_in_one_burst_are_not_mixed_up() {
    let mut server = Server::start(&[UDP]);
    let clients: Vec<UdpSocket> = (0..3).map(|_| client(&server, 0)).collect();
    server.signal("STOP");
    let sizes = [
        100, 100, 0, 100, 40, 100, 100, 1473, 100, 7, 7, 7, 0, 0, 9000, 100,
    ];
    let message = |client: usize, at: usize| {
        pattern(
            sizes[(at * (client + 1)) % sizes.len()],
            (client * 100 + at) as u64,
        )
    };
    for at in 0..sizes.len() {
        for (number, client) in clients.iter().enumerate() {
            client.send(&message(number, at)).unwrap();
        }
    }
    server.signal("CONT");
    for (number, client) in clients.iter().enumerate() {
        for at in 0..sizes.len() {
            let mut got = vec![0; 65_536];
            let size = common::again(|| client.recv(&mut got)).unwrap();
            assert!(
                got[..size] == message(number, at),
                "client {number}, datagram {at}: {size} bytes"
            );
        }
    }
    assert_eq!(server.stop(), 0);
}

/// 600 small ones at once: the system's usual buffer holds 277.
#[test]
fn a_burst_fits_into_the_receive_buffer() {
    let server = Server::start(&[UDP]);
    let client = client(&server, 0);
    if SockRef::from(&client)
        .set_recv_buffer_size(1 << 20)
        .is_err()
        || SockRef::from(&client).recv_buffer_size().unwrap() < 1 << 21
    {
        // Without CAP_NET_ADMIN or a higher limit neither side can have more: nothing to test.
        eprintln!("skipped: this system gives no larger buffers");
        return;
    }
    server.signal("STOP");
    for number in 0..600_u16 {
        client.send(&number.to_be_bytes()).unwrap();
    }
    server.signal("CONT");
    for number in 0..600_u16 {
        let mut got = [0; 16];
        assert_eq!(common::again(|| client.recv(&mut got)).unwrap(), 2);
        assert_eq!(got[..2], number.to_be_bytes());
    }
}

/// The server counts what the kernel could not hold, so that you do not look for it on the network.
#[cfg(target_os = "linux")]
#[test]
fn what_the_kernel_drops_is_counted() {
    let mut server = Server::start(&[UDP, "--udp-buffer", "4KiB"]);
    let client = client(&server, 0);
    server.signal("STOP");
    for _ in 0..200 {
        client.send(&[0; 100]).unwrap();
    }
    server.signal("CONT");
    // The count comes with the next datagram that is received.
    assert_answers_in_the_end(&client, 1);
    assert_eq!(server.stop(), 0);
    server.wait_for_log("stopped: ");
    let (log, count) = (server.log(), |name: &str, log: &str| {
        let rest = log
            .rsplit_once("stopped: ")
            .and_then(|(_, stats)| stats.split_once(&format!("{name} ")))
            .map_or("0", |(_, rest)| rest);
        rest.split([',', '\n'])
            .next()
            .unwrap()
            .trim()
            .parse::<u64>()
            .unwrap()
    });
    let (received, dropped) = (
        count("datagrams in", &log),
        count("datagrams dropped", &log),
    );
    assert!(dropped > 0 && received + dropped >= 201, "{log}");
}

/// A datagram that is gathered from several pieces is still one.
#[test]
fn a_datagram_sent_in_pieces_comes_back_as_one() {
    let server = Server::start(&[UDP]);
    let client = client(&server, 0);
    let pieces = [
        IoSlice::new(b"one "),
        IoSlice::new(b"data"),
        IoSlice::new(b"gram"),
    ];
    assert_eq!(SockRef::from(&client).send_vectored(&pieces).unwrap(), 12);
    let mut got = [0; 64];
    assert_eq!(common::again(|| client.recv(&mut got)).unwrap(), 12);
    assert_eq!(&got[..12], b"one datagram");
}

/// The answer goes to the port that asked, even if many ports of one address ask at once.
#[test]
fn a_socket_that_is_not_connected_hears_from_the_address_that_it_asked() {
    let server = Server::start(&[UDP, UDP]);
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for index in [0, 1, 0] {
        socket
            .send_to(b"who answers?", server.address(index))
            .unwrap();
        let (size, from) = common::again(|| socket.recv_from(&mut [0; 64])).unwrap();
        assert_eq!((size, from), (12, server.address(index)));
    }
}
