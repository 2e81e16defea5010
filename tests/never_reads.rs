//! Promise 4: memory is bounded. A peer that never reads costs a fixed number of bytes, and no
//! processor time.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::Duration;

use common::{
    Scratch, Server, TCP, UDP, assert_echoes, assert_within, connect_small, eventually, pattern,
    reset, stuff,
};
use mynah::stream::outbox;
use socket2::{Domain, SockAddr, Socket, Type};

/// What a connection may cost beside its outbox: its row in the table, its alarm, and what the
/// allocator adds.
const ROW: usize = 1024;

/// What the process may take once, at any load: tables that have grown, pages of code that were
/// touched, the log.
const ONCE: usize = 1 << 20;

const PEERS: usize = 500;

/// Connects peers and has them send until every one of them is stuck.
#[track_caller]
fn stuck_peers(server: &Server, count: usize) -> Vec<TcpStream> {
    let peers: Vec<_> = (0..count)
        .map(|_| connect_small(server.address(0)))
        .collect();
    // A server that keeps up reads little at a time, and owes no more than that when its peer gets
    // stuck. One that finds a full receive buffer owes what is left of a great read. How much that
    // is depends on what went before, so let that be something else for each peer.
    for (index, mut peer) in peers.iter().enumerate() {
        peer.write_all(&vec![b'x'; index * 131 % outbox::LIMIT])
            .unwrap();
    }
    assert_echoes(server.connect(), b"and all of that is on its way back");
    server.signal("STOP");
    stuff(&peers, &[b'x'; 65_536]);
    server.signal("CONT");
    stuff(&peers, &[b'x'; 65_536]);
    peers
}

/// Processor time is given in hundredths of a second: of a second in which nothing happens, next to
/// none may be used.
#[track_caller]
fn assert_idle(server: &Server) {
    let before = server.cpu_ticks();
    thread::sleep(Duration::from_secs(1));
    assert_within("ticks of an idle second", server.cpu_ticks() - before, 5);
}

#[test]
fn peers_that_never_read_cost_an_outbox_each_and_no_more() {
    let server = Server::start(&[TCP, "--write-timeout", "off"]);
    let mut steady = server.connect();
    assert_echoes(&mut steady, b"before");
    let (descriptors, base) = (server.descriptors(), server.resident());
    let most = base + PEERS * (outbox::LIMIT + ROW) + ONCE;
    for round in 0..6 {
        let peers = stuck_peers(&server, PEERS);
        // However many rounds: what one has left behind serves the next.
        assert_within("resident bytes", server.resident(), most);
        assert!(
            server.resident() > base + PEERS * outbox::LIMIT / 4,
            "these peers are not stuck"
        );
        assert_echoes(&mut steady, &pattern(100_000, round));
        assert_echoes(server.connect(), b"a newcomer");
        drop(peers);
        eventually("the descriptors are given back", || {
            (server.descriptors() == descriptors).then_some(())
        });
    }
}

/// An outbox goes with its last byte, not with its connection: what one peer has given back is
/// there for the next, while both stay connected.
#[test]
fn peers_that_read_in_the_end_own_no_outbox_any_more() {
    let server = Server::start(&[TCP, "--write-timeout", "off"]);
    let base = server.resident();
    let most = base + 100 * outbox::LIMIT + 500 * ROW + ONCE;
    let sent = pattern(1 << 16, 3);
    let mut idle = Vec::new();
    for _ in 0..5 {
        let peers: Vec<_> = (0..100).map(|_| connect_small(server.address(0))).collect();
        let taken = stuff(&peers, &sent);
        assert_within("resident bytes", server.resident(), most);
        for (mut peer, taken) in peers.iter().zip(taken) {
            let mut got = vec![0; taken];
            peer.read_exact(&mut got).unwrap();
            assert!(
                got.chunks(sent.len()).all(|chunk| sent.starts_with(chunk)),
                "other bytes came back than were sent"
            );
        }
        idle.extend(peers);
    }
    idle.iter().for_each(|peer| assert_echoes(peer, b"and on"));
}

#[test]
fn stuck_peers_cost_no_processor_time() {
    let server = Server::start(&[TCP, "--write-timeout", "off"]);
    let _peers = stuck_peers(&server, 100);
    assert_idle(&server);
    assert_echoes(server.connect(), b"still here");
}

/// The end of stream of a stuck peer stands in the kernel unread, and says "readable" for as long
/// as it does.
#[test]
fn stuck_peers_that_half_closed_cost_no_processor_time() {
    let server = Server::start(&[TCP, "--write-timeout", "off"]);
    let peers = stuck_peers(&server, 100);
    peers
        .iter()
        .for_each(|peer| peer.shutdown(Shutdown::Write).unwrap());
    assert_idle(&server);
    assert_eq!(
        server.count_in_log("closed:"),
        1,
        "beside the one that had its say: a peer that half-closed may still read"
    );
    assert_echoes(server.connect(), b"still here");
}

/// Nobody reads from a stuck peer, so nobody would be told by a read that it has left.
#[test]
fn stuck_peers_that_reset_are_let_go_at_once() {
    let server = Server::start(&[TCP, "--write-timeout", "off"]);
    let descriptors = server.descriptors();
    stuck_peers(&server, 100).into_iter().for_each(reset);
    eventually("all are closed", || {
        (server.count_in_log("closed: reset by peer") == 100).then_some(())
    });
    eventually("the descriptors are given back", || {
        (server.descriptors() == descriptors).then_some(())
    });
    assert_idle(&server);
}

/// A peer that was stuck, half-closed, and reads at last, gets everything and then the end.
#[test]
fn a_stuck_peer_that_half_closed_gets_everything_when_it_reads() {
    let server = Server::start(&[TCP]);
    let sent = pattern(1 << 16, 5);
    let peers = [connect_small(server.address(0))];
    let taken = stuff(&peers, &sent)[0];
    let [mut peer] = peers;
    peer.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), taken);
    assert!(
        got.iter().eq(sent.iter().cycle().take(taken)),
        "other bytes came back than were sent"
    );
}

/// The process may have less memory than its peers could fill. Then some of them are reset, and the
/// process goes on. Unix peers, because the kernel keeps little for them.
#[test]
fn peers_that_never_read_cannot_take_the_last_memory() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start_after(
        "ulimit -v 200000",
        &[
            &scratch.endpoint("unix", "echo"),
            "--write-timeout",
            "off",
            // More than there is: so the allocator is asked for what it does not have.
            "--max-pending-output",
            "1GiB",
        ],
    );
    let mut stuck = Vec::new();
    eventually("there is no memory left", || {
        for _ in 0..100 {
            // Without memory the server does not accept, and the backlog gets full: do not wait there.
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            if socket.connect(&SockAddr::unix(&path).unwrap()).is_err() {
                break;
            }
            let mut stream = UnixStream::from(socket);
            while stream.write(&[b'x'; 65_536]).is_ok() {}
            stuck.push(stream);
        }
        for mut stream in &stuck {
            while stream.write(&[b'x'; 65_536]).is_ok() {}
        }
        server.assert_running();
        let has_reset = server.count_in_log("closed: out of memory") > 0;
        let has_paused = server.count_in_log("cannot accept: out of memory") > 0;
        (has_reset || has_paused).then_some(())
    });
    drop(stuck);
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    assert_echoes(&stream, b"and all is well");
    server.assert_running();
}

/// The limit of memory may fall while the server runs. What datagrams need is there already.
#[test]
fn datagrams_are_answered_in_a_process_that_gets_no_more_memory() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start(&[UDP, &scratch.endpoint("unixgram", "echo")]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kibibytes: u64 = size
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    // What the allocator has in hand differs; a burst takes 1 MiB.
    let most = (kibibytes + 256) * 1024;
    let limited = std::process::Command::new("prlimit")
        .args([
            "--pid",
            &server.pid().to_string(),
            &format!("--as={most}:{most}"),
        ])
        .status();
    if !limited.is_ok_and(|status| status.success()) {
        eprintln!("skipped: prlimit cannot limit a process");
        return;
    }
    let client = common::udp_client(server.address(0));
    let named = UnixDatagram::bind(scratch.path("client")).unwrap();
    named.set_read_timeout(Some(common::PATIENCE)).unwrap();
    for _ in 0..100 {
        client.send(b"still here?").unwrap();
        assert_eq!(common::again(|| client.recv(&mut [0; 64])).unwrap(), 11);
        named.send_to(b"still here?", &path).unwrap();
        assert_eq!(common::again(|| named.recv(&mut [0; 64])).unwrap(), 11);
    }
    server.assert_running();
}
