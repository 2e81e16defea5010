//! A datagram says where it comes from, and ours believe it only as far as it can do no harm.

mod common;

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use common::{Background, PATIENCE, Server, UDP, again, eventually, loopback, udp_client};
use mynah::Refusal;
use mynah::{Address, Limits, service};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Writes datagrams with any source there is.
struct Forger(Socket);

impl Forger {
    /// `None`, with a word, where raw sockets may not be made.
    fn new() -> Option<Forger> {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))
            .and_then(|raw| raw.set_header_included_v4(true).map(|()| raw));
        if raw.is_err() {
            eprintln!("skipped: raw sockets need root");
        }
        raw.ok().map(Forger)
    }

    fn forge(
        &self,
        from: SocketAddrV4,
        to: SocketAddr,
        hops: u8,
        payload: &[u8],
    ) -> io::Result<usize> {
        let SocketAddr::V4(to) = to else {
            panic!("{to} is not IPv4")
        };
        let length = (28 + payload.len()) as u16;
        // The kernel writes the checksum of the header, and a checksum of zero over UDP is none (RFC 768).
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, hops, 17, 0, 0]);
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend((length - 20).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        self.0.send_to(&packet, &SockAddr::from(to))
    }
}

fn echo(limits: Limits) -> Background {
    Background::start(Address::Udp(loopback()), limits, || service::Echo)
}

fn socket_addr(server: &Background) -> SocketAddr {
    match server.address {
        Address::Udp(address) => address,
        ref other => panic!("{other} is not UDP"),
    }
}

#[track_caller]
fn assert_answers(client: &UdpSocket, message: &[u8]) {
    client.send(message).unwrap();
    let mut got = [0; 2048];
    let size = again(|| client.recv(&mut got)).unwrap();
    assert_eq!(&got[..size], message);
}

/// One forged packet of each kind, and an honest one behind it, which is all that is answered.
#[test]
fn no_forged_source_is_answered() {
    let Some(forger) = Forger::new() else { return };
    let server = echo(Limits::default());
    let address = socket_addr(&server);
    let local = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let services = [
        7, 9, 13, 17, 19, 37, 53, 69, 123, 161, 389, 517, 1900, 5353, 11211,
    ];
    let mut due = vec![
        (Refusal::PortZero, local(0)),
        (Refusal::Ourselves, local(address.port())),
    ];
    due.extend(services.map(|port| (Refusal::ServicePort, local(port))));
    for (_, from) in &due {
        forger.forge(*from, address, 64, b"forged").unwrap();
    }
    forger.forge(local(40_000), address, 1, b"forged").unwrap();
    due.push((Refusal::Loop, local(40_000)));
    // A kernel may drop these by itself (martian sources), and writes its own address where a source is 0.0.0.0; where it does not, we refuse.
    for ip in ["0.1.2.3", "255.255.255.255", "240.0.0.1", "224.0.0.1"] {
        let _ = forger.forge(
            SocketAddrV4::new(ip.parse().unwrap(), 40_000),
            address,
            64,
            b"forged",
        );
    }
    assert_answers(&udp_client(address), b"honest");
    let stats = server.stats();
    assert_eq!(stats.datagrams_out, 1, "{stats}");
    assert_eq!(stats.datagrams_in, 1 + stats.unanswered.total(), "{stats}");
    for refusal in [
        Refusal::PortZero,
        Refusal::Ourselves,
        Refusal::ServicePort,
        Refusal::Loop,
    ] {
        let count = due.iter().filter(|(other, _)| *other == refusal).count();
        assert_eq!(
            stats.unanswered[refusal], count as u64,
            "{refusal}: {stats}"
        );
    }
}

/// The packet that would keep two echo servers busy for ever: each bounce has one hop less, and the last has none.
#[test]
fn a_loop_between_two_servers_dies_by_itself() {
    let Some(forger) = Forger::new() else { return };
    let (one, other) = (echo(Limits::default()), echo(Limits::default()));
    let (SocketAddr::V4(from), to) = (socket_addr(&one), socket_addr(&other)) else {
        panic!("IPv6")
    };
    let mut bounces = 0;
    for (round, hops) in [64_u8, 255].into_iter().enumerate() {
        forger.forge(from, to, hops, b"forever?").unwrap();
        bounces += u64::from(hops);
        eventually("it has bounced as often as it can", || {
            (one.stats().datagrams_in + other.stats().datagrams_in == bounces).then_some(())
        });
        // What is behind these in the sockets would have been a bounce too many.
        assert_answers(&udp_client(to), b"quiet");
        assert_answers(&udp_client(from.into()), b"quiet");
        bounces += 2;
        let (one, other) = (one.stats(), other.stats());
        assert_eq!(
            one.datagrams_in + other.datagrams_in,
            bounces,
            "{one}; {other}"
        );
        assert_eq!(
            one.unanswered[Refusal::Loop] + other.unanswered[Refusal::Loop],
            round as u64 + 1,
            "{one}; {other}"
        );
    }
}

/// An honest client sends with 64 hops, and an answer that has 63 reaches it wherever it is within 31.
#[test]
fn an_answer_has_one_hop_less_than_its_request() {
    // A raw socket is given a copy of every packet, with its header.
    let Ok(mut raw) = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) else {
        eprintln!("skipped: raw sockets need root");
        return;
    };
    raw.set_read_timeout(Some(PATIENCE)).unwrap();
    let server = echo(Limits::default());
    let socket = udp_client(socket_addr(&server));
    let ports = [
        socket_addr(&server).port().to_be_bytes(),
        socket.local_addr().unwrap().port().to_be_bytes(),
    ]
    .concat();
    for hops in [64, 255, 2] {
        socket.set_ttl(hops).unwrap();
        socket.send(b"how far?").unwrap();
        let left = loop {
            let mut packet = [0; 2048];
            let size = again(|| raw.read(&mut packet)).unwrap();
            if size >= 24 && packet[20..24] == ports[..] {
                break packet[8];
            }
        };
        assert_eq!(u32::from(left), hops - 1);
    }
}

#[test]
fn an_answer_is_no_longer_than_its_request_unless_that_is_allowed() {
    for (args, is_allowed) in [
        (&[UDP, "--reply", "<{}>"][..], false),
        (&[UDP, "--reply", "<{}>", "--allow-amplification"], true),
    ] {
        let mut server = Server::start(args);
        let client = udp_client(server.address(0));
        client.send(b"hello").unwrap();
        if is_allowed {
            let mut got = [0; 64];
            let size = again(|| client.recv(&mut got)).unwrap();
            assert_eq!(&got[..size], b"<hello>");
        }
        // The kernel hands over what it holds before the end.
        assert_eq!(server.stop(), 0);
        server.wait_for_log("stopped: ");
        assert_eq!(
            server
                .log()
                .contains("unanswered (longer than its request) 1"),
            !is_allowed,
            "{}",
            server.log()
        );
    }
}

/// All of 127.0.0.0/8 is here, so each source can be a socket of its own.
#[test]
fn each_source_gets_its_answers_of_a_second_and_no_more() {
    const MOST: u32 = 5;
    let server = echo(Limits {
        udp_rate: Some(MOST),
        ..Limits::default()
    });
    let address = socket_addr(&server);
    let first = udp_client(address);
    first.set_nonblocking(true).unwrap();
    for number in 0..200_u8 {
        first.send(&[number]).unwrap();
    }
    let stats = eventually("all have come", || {
        Some(server.stats()).filter(|stats| stats.datagrams_in == 200)
    });
    // However slow we are, no second has passed more often than the refusals say.
    assert_eq!(
        stats.datagrams_out + stats.unanswered[Refusal::Rate],
        200,
        "{stats}"
    );
    assert!(
        stats.unanswered[Refusal::Rate] > 0 && stats.datagrams_out >= u64::from(MOST),
        "{stats}"
    );
    // Another source has a share of its own, unless it falls on the same slot of 16,384; then the third does not.
    let others =
        ["127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0"].map(|from| UdpSocket::bind(from).unwrap());
    for other in &others {
        other.send_to(b"and I?", address).unwrap();
    }
    eventually("another source is answered", || {
        others.iter().find_map(|other| {
            other.set_nonblocking(true).unwrap();
            other.recv(&mut [0; 64]).ok()
        })
    });
}
