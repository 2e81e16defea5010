//! Every kind of endpoint, side by side in one server, each as it was asked for.

mod common;

use std::io::{self, Read};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::Duration;

use common::{
    PATIENCE, Scratch, Server, TCP, UDP, assert_echoes, connect, eventually, has_tool, loopback,
    run_to_end,
};
use mynah::net::os::{OsNet, Stream};
use mynah::net::{Keepalive, Net, StreamOptions};
use mynah::{Address, Token};
use socket2::SockRef;

fn has_ipv6() -> bool {
    let has = UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("skipped: there is no IPv6 here");
    }
    has
}

#[track_caller]
fn assert_answers(address: SocketAddr) {
    let here = if address.is_ipv6() {
        (Ipv6Addr::LOCALHOST, 0).into()
    } else {
        loopback()
    };
    let client = UdpSocket::bind(here).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(address).unwrap();
    client.send(b"datagram").unwrap();
    assert_eq!(common::again(|| client.recv(&mut [0; 64])).unwrap(), 8);
}

#[test]
fn a_server_takes_endpoints_of_every_kind_at_once() {
    let scratch = Scratch::new();
    let (stream, datagram) = (
        scratch.endpoint("unix", "stream"),
        scratch.endpoint("unixgram", "datagram"),
    );
    let abstract_name = format!("unix:@mynah-addresses-{}", std::process::id());
    let mut endpoints = vec![
        TCP,
        UDP,
        stream.as_str(),
        datagram.as_str(),
        abstract_name.as_str(),
        TCP,
        UDP,
    ];
    if has_ipv6() {
        endpoints.extend(["tcp://[::1]:0", "udp://[::1]:0"]);
    }
    let mut server = Server::start(&endpoints);
    for (index, endpoint) in server.endpoints.iter().enumerate() {
        match endpoint.split_once(':').unwrap() {
            ("tcp", _) => assert_echoes(connect(server.address(index)), b"stream"),
            ("udp", _) => assert_answers(server.address(index)),
            _ => assert_eq!(
                endpoint, endpoints[index],
                "a path is reported as it was given"
            ),
        }
    }
    assert_echoes(
        UnixStream::connect(scratch.path("stream")).unwrap(),
        b"stream",
    );
    let client = UnixDatagram::bind(scratch.path("client")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .send_to(b"datagram", scratch.path("datagram"))
        .unwrap();
    assert_eq!(common::again(|| client.recv(&mut [0; 64])).unwrap(), 8);
    assert_eq!(server.stop(), 0);
}

#[test]
fn port_0_is_reported_as_the_port_that_was_chosen() {
    let server = Server::start(&[TCP, UDP, TCP]);
    let ports: Vec<u16> = (0..3).map(|index| server.address(index).port()).collect();
    assert!(
        ports.iter().all(|port| *port > 0) && ports[0] != ports[2],
        "{ports:?}"
    );
    assert_echoes(connect(server.address(2)), b"here");
    assert_answers(server.address(1));
}

#[test]
fn ipv6_is_served_and_shown_in_brackets() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["tcp://[::1]:0", "udp://[0:0:0:0:0:0:0:1]:0"]);
    assert!(
        server
            .endpoints
            .iter()
            .all(|endpoint| endpoint.contains("://[::1]:")),
        "{:?}",
        server.endpoints
    );
    assert_echoes(connect(server.address(0)), b"six");
    assert_answers(server.address(1));
    server.wait_for_log("[::1]:");
}

/// On most systems `[::]` takes the port of IPv4 too, unless the server asks for IPv6 alone.
#[test]
fn both_families_can_have_the_same_port() {
    if !has_ipv6() {
        return;
    }
    for scheme in ["tcp", "udp"] {
        // Another program may take the port between the two starts: then try another port.
        let mut tries = (0..20).map(|_| {
            let port = Server::start(&[&format!("{scheme}://0.0.0.0:0")])
                .address(0)
                .port();
            let (v6, v4) = (
                format!("{scheme}://[::]:{port}"),
                format!("{scheme}://0.0.0.0:{port}"),
            );
            let is_free = std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
                && UdpSocket::bind(("0.0.0.0", port)).is_ok();
            (is_free, v6, v4)
        });
        let (_, v6, v4) = tries.find(|(is_free, ..)| *is_free).unwrap();
        let server = Server::start(&[&v6, &v4]);
        assert_eq!(server.endpoints, [v6, v4]);
        let port = server.address(0).port();
        for address in [
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
            (std::net::Ipv4Addr::LOCALHOST, port).into(),
        ] {
            match scheme {
                "tcp" => assert_echoes(connect(address), b"either"),
                _ => assert_answers(address),
            }
        }
    }
}

/// `[::]` means IPv6 and says so by refusing IPv4.
#[test]
fn the_ipv6_wildcard_does_not_take_ipv4() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["tcp://[::]:0"]);
    let port = server.address(0).port();
    assert_echoes(connect((Ipv6Addr::LOCALHOST, port).into()), b"six");
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens there");
}

/// A name stands for all its addresses, and each of them is announced.
#[test]
fn a_name_binds_every_address_that_it_stands_for() {
    let Ok(found) = ("localhost", 0).to_socket_addrs() else {
        eprintln!("skipped: localhost does not resolve here");
        return;
    };
    let mut expected: Vec<SocketAddr> = Vec::new();
    found.for_each(|address| {
        if !expected.contains(&address) {
            expected.push(address)
        }
    });
    if expected
        .iter()
        .any(|address| std::net::TcpListener::bind(address).is_err())
    {
        eprintln!("skipped: localhost stands for an address that this machine does not have");
        return;
    }
    // The harness reads one line an endpoint; the other lines stand behind it.
    let mut server = Server::start(&["tcp://localhost:0"]);
    assert_echoes(server.connect(), b"the first of them");
    assert_eq!(server.stop(), 0);
    let mut rest = String::new();
    server
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    let lines: Vec<&str> = server
        .endpoints
        .iter()
        .map(String::as_str)
        .chain(rest.lines())
        .collect();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, address) in lines.iter().zip(&expected) {
        let ip = line.rsplit_once(':').unwrap().0.rsplit_once('/').unwrap().1;
        assert_eq!(
            ip.trim_matches(['[', ']']),
            address.ip().to_string(),
            "{line}"
        );
    }
}

/// A second UDP server at the same port would take half of the first one's datagrams, at random.
#[test]
fn two_servers_never_share_a_port() {
    let server = Server::start(&[TCP, UDP]);
    for endpoint in &server.endpoints {
        let (status, _, stderr) = run_to_end(&["serve", "-q", endpoint]);
        assert_eq!(status, 1, "{stderr}");
    }
}

/// If the last server closed first, its connections stand in TIME_WAIT for a minute.
#[test]
fn a_restart_gets_its_port_back_at_once() {
    let mut server = Server::start(&[TCP]);
    let endpoint = server.endpoints[0].clone();
    let clients: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    clients
        .iter()
        .for_each(|client| assert_echoes(client, b"here"));
    server.signal("TERM");
    for mut client in clients {
        assert_eq!(
            common::again(|| client.read(&mut [0])).unwrap(),
            0,
            "the drain finishes the quiet ones, its side first"
        );
    }
    assert_eq!(server.wait().code(), Some(0));
    let server = Server::start(&[&endpoint]);
    assert_echoes(server.connect(), b"and here again");
}

/// A child that inherits a descriptor would keep the port and the peers for as long as it lives.
#[test]
fn every_descriptor_is_closed_on_exec() {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let scratch = Scratch::new();
    let server = Server::start(&[
        TCP,
        UDP,
        &scratch.endpoint("unix", "stream"),
        &scratch.endpoint("unixgram", "datagram"),
    ]);
    let tcp = server.connect();
    assert_echoes(&tcp, b"open");
    let unix = UnixStream::connect(scratch.path("stream")).unwrap();
    assert_echoes(&unix, b"open");
    // The server inherits what this test inherited. A child that does nothing shows what that is.
    let inherited = Command::new("sh")
        .args(["-c", "for fd in /proc/$$/fd/*; do readlink $fd; done"])
        .output()
        .unwrap()
        .stdout;
    let inherited = String::from_utf8_lossy(&inherited);
    let mut checked = 0;
    for entry in std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap() {
        let path = entry.unwrap().path();
        let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let name = std::fs::read_link(&path).unwrap();
        if number <= 2
            || inherited
                .lines()
                .any(|other| other == name.to_str().unwrap())
        {
            continue;
        }
        let info =
            std::fs::read_to_string(format!("/proc/{}/fdinfo/{number}", server.pid())).unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap()
            .trim();
        let flags = u32::from_str_radix(flags, 8).unwrap();
        assert!(
            flags & O_CLOEXEC != 0,
            "descriptor {number}, {}: flags {flags:o}",
            name.display()
        );
        checked += 1;
    }
    // At least four sockets, two connections, the selector and the waker.
    assert!(checked >= 8, "{checked} descriptors");
}

/// Runs a shell script as root of a network of its own, and returns what it printed; `None`, with a
/// word, if that is not possible.
fn run_isolated(scratch: &Scratch, script: &str) -> Option<String> {
    if !has_tool("ip") || !has_tool("nsenter") {
        return None;
    }
    let output = Command::new("unshare")
        .args(common::isolated()?)
        .args(["sh", "-c", &format!("set -e\n{script}")])
        .env("MYNAH", common::binary())
        .env("SCRATCH", scratch.path(""))
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (printed, said) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{printed}{said}");
    Some(printed)
}

/// A link-local address is useless without its interface. The kernel tells the interface of the
/// question, and the answer must name it again.
#[test]
fn a_link_local_address_answers_a_global_one() {
    let script = r#"
        unshare --net sleep 60 &
        far=$!
        here=$(readlink /proc/self/ns/net)
        until [ "$(readlink /proc/$far/ns/net)" != "$here" ]; do kill -0 $far; done
        ip link add name left type veth peer name right
        ip link set right netns $far
        ip link set left up
        ip address add fd00::1/64 dev left nodad
        ip address add fe80::7/64 dev left nodad
        nsenter --target $far --net ip link set right up
        nsenter --target $far --net ip address add fd00::2/64 dev right nodad
        "$MYNAH" serve -q 'udp://[::]:7000' > "$SCRATCH/ready" &
        server=$!
        until [ -s "$SCRATCH/ready" ]; do kill -0 $server; done
        # The neighbour may take a moment to be found.
        tries=0
        until [ "$answer" = asked ] || [ $tries = 20 ]; do
            answer=$(echo asked | nsenter --target $far --net \
                "$MYNAH" connect -q --wait 300ms --bind 'fd00::2' 'udp://[fe80::7%right]:7000')
            tries=$((tries + 1))
        done
        kill $far $server
        echo "$answer"
    "#;
    if let Some(printed) = run_isolated(&Scratch::new(), script) {
        assert_eq!(printed, "asked\n");
    }
}

/// Many a hosts file gives `localhost` the address `::1`, whether the machine has IPv6 or not.
#[test]
fn an_address_of_a_name_that_this_machine_does_not_have_is_skipped() {
    let script = r#"
        ip link set lo up
        printf '::1 both\n127.0.0.1 both\n::1 none\n' > "$SCRATCH/hosts"
        # Where the system forbids this, there is nothing to test.
        echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 || { echo skipped; exit 0; }
        unshare --mount sh -c '
            mount --bind "$SCRATCH/hosts" /etc/hosts || { echo skipped; exit 0; }
            for scheme in tcp udp; do
                "$MYNAH" serve $scheme://both:0 > "$SCRATCH/$scheme" 2> "$SCRATCH/log" &
                server=$!
                until [ -s "$SCRATCH/$scheme" ] || ! kill -0 $server; do :; done
                kill $server
                wait $server
                cat "$SCRATCH/$scheme"
                grep -o "cannot .* skipped.*" "$SCRATCH/log"
            done
            "$MYNAH" serve -q tcp://none:0 2>&1 || echo "status $?"
        '
    "#;
    let Some(printed) = run_isolated(&Scratch::new(), script) else {
        return;
    };
    if printed.contains("skipped\n") {
        eprintln!("skipped: IPv6 cannot be switched off here");
        return;
    }
    let lines: Vec<&str> = printed.lines().collect();
    let due = [
        "listening on tcp://127.0.0.1:",
        "cannot listen on tcp://[::1]:0: ",
        "listening on udp://127.0.0.1:",
        "cannot bind udp://[::1]:0: ",
        "mynah: cannot listen on tcp://[::1]:0: cannot assign requested address",
        "status 1",
    ];
    assert_eq!(lines.len(), due.len(), "{printed}");
    for (line, due) in lines.iter().zip(due) {
        assert!(line.starts_with(due), "{line}\n{printed}");
    }
}

/// The same error number says that no local port is left, which would send the user astray.
#[test]
fn without_ipv6_a_peer_of_it_is_not_a_matter_of_ports() {
    let script = r#"
        ip link set lo up
        echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 || { echo skipped; exit 0; }
        for endpoint in 'tcp://[::1]:9' 'udp://[2001:db8::1]:9'; do
            "$MYNAH" connect "$endpoint" < /dev/null 2>&1 || true
        done
        "$MYNAH" serve -q 'tcp://[::1]:0' 2>&1 || true
    "#;
    let Some(printed) = run_isolated(&Scratch::new(), script) else {
        return;
    };
    if printed.contains("skipped\n") {
        eprintln!("skipped: IPv6 cannot be switched off here");
        return;
    }
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    for line in lines {
        let is_right =
            line.contains("cannot assign requested address") && line.contains("IPv6 is off");
        assert!(is_right && !line.contains("ip_local_port_range"), "{line}");
    }
}

/// 192.0.2.0/24 belongs to documentation and to no machine.
#[test]
fn an_interface_that_is_not_here_is_named() {
    let way_out = "no interface of this machine is what --interface says";
    for words in [
        &[
            "serve",
            "-q",
            "udp://239.1.2.3:0",
            "--interface",
            "192.0.2.1",
        ][..],
        &["connect", "udp://239.1.2.3:9", "--interface", "192.0.2.1"],
    ] {
        let (status, _, stderr) = run_to_end(words);
        assert_eq!((status, stderr.contains(way_out)), (1, true), "{stderr}");
    }
}

#[test]
fn an_abstract_name_is_not_called_a_file() {
    let (status, _, stderr) = run_to_end(&["connect", "unix:@mynah-nobody-has-this"]);
    assert_eq!(status, 3, "{stderr}");
    assert!(
        stderr.contains("nobody listens on that abstract name"),
        "{stderr}"
    );
}

#[test]
fn an_ipv4_address_that_is_written_as_ipv6_is_named() {
    if !has_ipv6() {
        return;
    }
    for scheme in ["tcp", "udp"] {
        let endpoint = format!("{scheme}://[::ffff:127.0.0.1]:0");
        let (status, _, stderr) = run_to_end(&["serve", "-q", &endpoint]);
        assert_eq!(status, 1, "{stderr}");
        assert!(stderr.contains("that is an IPv4 address"), "{stderr}");
    }
}

/// Both ends of a connection, each made by an `OsNet` of its own with these options.
fn streams(options: &StreamOptions) -> [Stream; 2] {
    let net = || OsNet::new().unwrap().with_stream_options(options.clone());
    let (mut server, mut client) = (net(), net());
    let token = Token::from(mio::Token(1));
    let any = Address::Tcp(loopback());
    let (mut listener, address) = server.listen(&any, 1, token).unwrap();
    let connected = client.connect(&address, None, token).unwrap();
    let accepted = eventually("a connection", || match server.accept(&mut listener) {
        Ok((stream, _)) => Some(stream),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    });
    [accepted, connected]
}

#[test]
fn a_vanished_peer_is_asked_for_on_both_sides() {
    let keepalive = Keepalive {
        idle: Duration::from_secs(7),
        interval: Duration::from_millis(3500),
        probes: 5,
    };
    for stream in streams(&StreamOptions {
        keepalive: Some(keepalive),
    }) {
        let Stream::Tcp(socket) = stream else {
            panic!("{stream:?} is no TCP stream")
        };
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), keepalive.idle);
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(3),
            "whole seconds"
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), keepalive.probes);
    }
    for stream in streams(&StreamOptions { keepalive: None }) {
        let Stream::Tcp(socket) = stream else {
            panic!("{stream:?} is no TCP stream")
        };
        assert!(!SockRef::from(&socket).keepalive().unwrap());
    }
}

/// The kernel shows which timer runs on a connection.
#[test]
fn a_server_asks_for_vanished_peers_unless_told_otherwise() {
    if !has_tool("ss") {
        return;
    }
    let server = Server::start(&[TCP]);
    let client = server.connect();
    assert_echoes(&client, b"here");
    let port = client.local_addr().unwrap().port();
    let timers = || {
        let filter = format!("dport = :{port}");
        let output = Command::new("ss")
            .args(["-tnoH", &filter])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    eventually("the timer", || {
        timers().contains("timer:(keepalive,").then_some(())
    });
}
