//! A datagram says where it comes from, and our servers believe it only if that can do no harm.

mod common;

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use common::{
    Background, PATIENCE, Scratch, Server, UDP, again, binary, eventually, loopback, udp_client,
};
use mynah::Refusal;
use mynah::{Address, Limits, service};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Writes datagrams with any source.
struct Forger(Socket);

impl Forger {
    /// `None`, and a line that says so, if raw sockets are not allowed.
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
        // The kernel writes the checksum of the header. Over UDP a checksum of zero is none (RFC
        // 768).
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

/// One forged packet of each kind, and an honest one behind them: only that one gets an answer.
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
    // A kernel may drop these by itself (martian sources), and replaces the source 0.0.0.0 with its
    // own address. If it delivers them, we refuse.
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

/// A server on all addresses has more of them than the loopback and the one that was asked.
#[test]
fn no_address_of_this_machine_is_answered_at_our_own_port() {
    let Some(forger) = Forger::new() else { return };
    let Some(here) = other_address() else {
        eprintln!("skipped: this machine has no address but the loopback");
        return;
    };
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let server = Background::start(Address::Udp(any), Limits::default(), || service::Echo);
    let port = socket_addr(&server).port();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    forger
        .forge(SocketAddrV4::new(here, port), to, 255, b"forever?")
        .unwrap();
    // A stranger may well send from the port that is ours.
    forger
        .forge(
            SocketAddrV4::new([198, 51, 100, 7].into(), port),
            to,
            64,
            b"stranger",
        )
        .unwrap();
    assert_answers(&udp_client(to), b"honest");
    let stats = server.stats();
    assert_eq!(stats.unanswered[Refusal::Ourselves], 1, "{stats}");
    assert_eq!(stats.unanswered.total(), 1, "{stats}");
}

/// An address of this machine that is not in 127.0.0.0/8: the one that it would speak from.
fn other_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect("198.51.100.7:9").ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(here) if !here.ip().is_loopback() => Some(*here.ip()),
        _ => None,
    }
}

/// One packet could keep two echo servers busy for ever: but each bounce has one hop less, and the
/// last has none.
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
        // These come behind any bounce that would be one too many.
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

/// An honest client sends with 64 hops, and an answer with 63 reaches it.
#[test]
fn an_answer_has_one_hop_less_than_its_request() {
    // A raw socket gets a copy of every packet, with its header.
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
        // The server reads what the kernel holds before it ends.
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

/// One packet to all hosts would have all of them shout at its source.
#[test]
fn what_is_sent_to_all_hosts_is_not_answered() {
    let any = Address::Udp((Ipv4Addr::UNSPECIFIED, 0).into());
    let server = Background::start(any, Limits::default(), || service::Echo);
    let port = socket_addr(&server).port();
    let client = udp_client((Ipv4Addr::LOCALHOST, port).into());
    let shouting = UdpSocket::bind("127.0.0.1:0").unwrap();
    shouting.set_broadcast(true).unwrap();
    shouting
        .send_to(b"all of you", ("127.255.255.255", port))
        .unwrap();
    eventually("it is refused", || {
        (server.stats().unanswered[Refusal::ToGroup] == 1).then_some(())
    });
    assert_answers(&client, b"only me");
    assert_eq!(server.stats().datagrams_out, 1, "{}", server.stats());
    // A server that is bound to that address was put there to answer it.
    let all = Address::Udp("127.255.255.255:0".parse().unwrap());
    let server = Background::start(all, Limits::default(), || service::Echo);
    shouting
        .send_to(b"all of you", socket_addr(&server))
        .unwrap();
    let mut got = [0; 64];
    shouting.set_read_timeout(Some(PATIENCE)).unwrap();
    let size = again(|| shouting.recv(&mut got)).unwrap();
    assert_eq!(&got[..size], b"all of you");
}

fn unix_echo(path: &Path, limits: Limits) -> Background {
    Background::start(Address::Unixgram(path.into()), limits, || service::Echo)
}

/// A socket whose name resolves to the socket at `target`: what is sent to its name arrives there.
fn impostor(scratch: &Scratch, target: &Path) -> UnixDatagram {
    let path = scratch.path("impostor");
    let socket = UnixDatagram::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    symlink(target, &path).unwrap();
    socket
}

#[track_caller]
fn assert_unix_answers(scratch: &Scratch, name: &str, server: &Path, message: &[u8]) {
    let client = UnixDatagram::bind(scratch.path(name)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(message, server).unwrap();
    let mut got = [0; 64];
    let size = again(|| client.recv(&mut got)).unwrap();
    assert_eq!(&got[..size], message);
}

/// A name can be a link to the server itself. Nothing is sent there.
#[test]
fn a_unix_server_does_not_answer_itself() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let server = unix_echo(&path, Limits::default());
    let impostor = impostor(&scratch, &path);
    impostor.send_to(b"forever?", &path).unwrap();
    assert_unix_answers(&scratch, "honest", &path, b"quiet");
    let stats = server.stats();
    assert_eq!((stats.datagrams_in, stats.datagrams_out), (2, 1), "{stats}");
    assert_eq!(stats.datagrams_refused, 1, "{stats}");
}

/// Makes the first path lead to the socket at the second.
type Lead = fn(&Path, &Path);

/// A peer may lead its own name to a socket that it must not reach: by a link, by a link in the
/// place of a directory, by another name of the file, or by moving it. The server has the right to
/// send there, and must not lend it.
#[test]
fn a_unix_server_does_not_speak_to_a_socket_for_another_peer() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let server = unix_echo(&path, Limits::default());
    let others = scratch.path("others");
    std::fs::create_dir(&others).unwrap();
    let victims = ["linked", "through", "hard", "moved"].map(|name| {
        let victim = UnixDatagram::bind(others.join(name)).unwrap();
        victim.set_nonblocking(true).unwrap();
        (others.join(name), victim)
    });
    let ways: [(&str, Lead); 4] = [
        ("linked", |name, victim| symlink(victim, name).unwrap()),
        ("own/through", |name, victim| {
            let (own, others) = (name.parent().unwrap(), victim.parent().unwrap());
            std::fs::remove_dir(own).unwrap();
            symlink(others, own).unwrap();
        }),
        ("hard", |name, victim| {
            std::fs::hard_link(victim, name).unwrap()
        }),
        ("moved", |name, victim| {
            std::fs::rename(victim, name).unwrap()
        }),
    ];
    std::fs::create_dir(scratch.path("own")).unwrap();
    for ((name, lead), (victim, _)) in ways.iter().zip(&victims) {
        let name = scratch.path(name);
        let deputy = UnixDatagram::bind(&name).unwrap();
        // Once as itself, so that the server knows it.
        deputy.send_to(b"honest", &path).unwrap();
        deputy.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(again(|| deputy.recv(&mut [0; 64])).unwrap(), 6);
        std::fs::remove_file(&name).unwrap();
        lead(&name, victim);
        deputy.send_to(b"for another", &path).unwrap();
    }
    assert_unix_answers(&scratch, "honest", &path, b"quiet");
    for (name, victim) in &victims {
        let heard = victim.recv(&mut [0; 64]);
        assert!(heard.is_err(), "{}: {heard:?}", name.display());
    }
    let stats = server.stats();
    assert_eq!(stats.datagrams_refused, 4, "{stats}");
    assert_eq!((stats.datagrams_in, stats.datagrams_out), (9, 5), "{stats}");
}

/// A peer that replaces its own socket is another one with the same name, connected or not, and is
/// answered at the new one. So are more peers than the server knows at once.
#[test]
fn a_unix_peer_is_answered_at_the_socket_that_has_its_name_now() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let server = unix_echo(&path, Limits::default());
    let mut old = Vec::new();
    for round in 0..3 {
        for number in 0..40 {
            let name = scratch.path(&format!("peer-{number}"));
            let _ = std::fs::remove_file(&name);
            let peer = UnixDatagram::bind(&name).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            if (round + number) % 2 == 0 {
                peer.connect(&path).unwrap();
            }
            for message in [&b"one"[..], b"other"] {
                match peer.peer_addr() {
                    Ok(_) => peer.send(message).unwrap(),
                    Err(_) => peer.send_to(message, &path).unwrap(),
                };
                let mut got = [0; 64];
                let size = again(|| peer.recv(&mut got)).unwrap();
                assert_eq!(&got[..size], message);
            }
            old.push(peer);
        }
    }
    assert_eq!(server.stats().datagrams_out, 240);
}

/// The same with an abstract name, and with another socket of the same server.
#[cfg(target_os = "linux")]
#[test]
fn a_unix_server_does_not_answer_its_abstract_names() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let name = format!("mynah-guards-{}", std::process::id());
    let abstract_name = format!("unixgram:@{name}");
    let mut server = Server::start(&[&scratch.endpoint("unixgram", "echo"), &abstract_name]);
    let to = SocketAddr::from_abstract_name(&name).unwrap();
    impostor(&scratch, &path)
        .send_to_addr(b"forever?", &to)
        .unwrap();
    // The first answer comes behind the datagram, the second behind all that it may have caused.
    for name in ["one", "two", "three"] {
        assert_unix_answers(&scratch, name, &path, b"quiet");
    }
    assert_eq!(server.stop(), 0);
    server.wait_for_log("stopped: ");
    let log = server.log();
    assert!(log.contains("datagrams in 4, datagrams out 3,"), "{log}");
    assert!(log.contains("datagrams refused 1"), "{log}");
}

/// An honest client in another directory has the relative name of the server, so that name leads the
/// server to itself. It sends nothing there, however the two spell the name.
#[test]
fn a_unix_server_does_not_answer_a_client_that_has_its_own_name() {
    for (endpoint, why) in [
        ("unixgram:./echo", "unanswered (from our own address) 1"),
        ("unixgram:echo", "datagrams refused 1"),
    ] {
        let scratch = Scratch::new();
        let (here, there) = (scratch.path("here"), scratch.path("there"));
        std::fs::create_dir(&here).unwrap();
        std::fs::create_dir(&there).unwrap();
        std::fs::write(there.join("line"), "hello\n").unwrap();
        let mut server = Server::start_after(&format!("cd {}", here.display()), &[endpoint]);
        let client = Command::new(binary())
            .args(["connect", "-q", "--wait", "0s", "--bind", "./echo"])
            .arg(format!("unixgram:{}", here.join("echo").display()))
            .current_dir(&there)
            .stdin(std::fs::File::open(there.join("line")).unwrap())
            .status();
        assert!(client.unwrap().success());
        // The first answer comes behind the line, the second behind all that it may have caused.
        for name in ["one", "two", "three"] {
            assert_unix_answers(&scratch, name, &here.join("echo"), b"quiet");
        }
        assert_eq!(server.stop(), 0);
        server.wait_for_log("stopped: ");
        let log = server.log();
        assert!(log.contains("datagrams in 4, datagrams out 3,"), "{log}");
        assert!(log.contains(why), "{why}: {log}");
    }
}

/// Two servers that name each other: Unix datagrams have no hop limit, so only the cap ends it. A
/// client of another directory starts it, whose relative name is that of the other server.
#[test]
fn a_loop_between_two_unix_servers_ends_at_the_cap() {
    let scratch = Scratch::new();
    let (here, there) = (scratch.path("here"), scratch.path("there"));
    std::fs::create_dir(&here).unwrap();
    std::fs::create_dir(&there).unwrap();
    std::fs::write(there.join("line"), "forever?\n").unwrap();
    let setup = format!("cd {}", here.display());
    let start = |name| Server::start_after(&setup, &[name, "--unixgram-rate", "50"]);
    let (mut one, mut other) = (start("unixgram:./one"), start("unixgram:./other"));
    let client = Command::new(binary())
        .args(["connect", "-q", "--wait", "0s", "--bind", "./other"])
        .arg(format!("unixgram:{}", here.join("one").display()))
        .current_dir(&there)
        .stdin(std::fs::File::open(there.join("line")).unwrap())
        .status();
    assert!(client.unwrap().success());
    eventually("one of them has had enough", || {
        let refusals = |server: &Server| server.count_in_log("has had 50 answers in this second");
        (refusals(&one) + refusals(&other) == 1).then_some(())
    });
    // There was one datagram, and it has not been answered.
    let mut answered = 0;
    for server in [&mut one, &mut other] {
        assert_eq!(server.stop(), 0);
        server.wait_for_log("stopped: ");
        answered += server.count_in_log("unanswered (rate) 1");
    }
    assert_eq!(answered, 1, "{}{}", one.log(), other.log());
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
    // On a slow machine more than one second may have passed. The counts still add up.
    assert_eq!(
        stats.datagrams_out + stats.unanswered[Refusal::Rate],
        200,
        "{stats}"
    );
    assert!(
        stats.unanswered[Refusal::Rate] > 0 && stats.datagrams_out >= u64::from(MOST),
        "{stats}"
    );
    // Another source has a share of its own, unless it falls on the same one of 16,384 slots. Then
    // the third does not.
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
