//! Promise 9: a drain loses nothing that was received before it began, and ends on time.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use common::{
    Background, PATIENCE, Server, TCP, UDP, assert_echoes, connect_small, eventually, loopback,
    pattern, read_to_end, stuff,
};
use mynah::service::{Action, Context, Echo, Service};
use mynah::{Address, CloseReason, Ending, Limits};

/// Longer than any of these tests is patient: what ends within it ends for another reason.
const NO_HURRY: [&str; 2] = ["--drain-timeout", "10m"];

/// A connection that the server owes more than it will take: nothing but a cut ends it.
#[track_caller]
fn stuck(server: &Server) -> TcpStream {
    let streams = [connect_small(server.address(0))];
    stuff(&streams, &[b'x'; 65_536]);
    let [stream] = streams;
    stream
}

#[track_caller]
fn status(server: &mut Server) -> i32 {
    server.wait().code().expect("an exit status, not a signal")
}

#[track_caller]
fn begin_drain(server: &Server) {
    server.signal("TERM");
    server.wait_for_log("draining");
}

#[test]
fn what_is_under_way_comes_back_and_then_the_end() {
    let mut server = Server::start(&[TCP, NO_HURRY[0], NO_HURRY[1]]);
    let sent = pattern(8 << 20, 1);
    let clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let taken = stuff(&clients, &sent);
    begin_drain(&server);
    for (client, taken) in clients.iter().zip(taken) {
        // Nobody has ended this side: the server does, once it owes nothing and nothing more comes.
        let got = read_to_end(client);
        assert_eq!(got.len(), taken);
        assert!(
            got.iter().eq(sent.iter().cycle().take(taken)),
            "other bytes came back than were sent"
        );
    }
    drop(clients);
    assert_eq!(status(&mut server), 0);
}

/// Clients whose connection and words the kernel has accepted, and the server has not.
#[test]
fn what_stands_in_the_backlog_is_accepted_and_served() {
    let mut server = Server::start(&[TCP, NO_HURRY[0], NO_HURRY[1]]);
    server.signal("STOP");
    let clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for (index, mut client) in clients.iter().enumerate() {
        client.write_all(&pattern(10_000, index as u64)).unwrap();
        if index % 2 == 0 {
            client.shutdown(Shutdown::Write).unwrap();
        }
    }
    server.signal("TERM");
    server.signal("CONT");
    for (index, client) in clients.iter().enumerate() {
        assert!(
            read_to_end(client) == pattern(10_000, index as u64),
            "client {index}"
        );
    }
    drop(clients);
    assert_eq!(status(&mut server), 0);
}

/// Those that do not fit under the limit are accepted as the others leave.
#[test]
fn a_backlog_beyond_the_limit_is_served_by_and_by() {
    let mut server = Server::start(&[TCP, "--max-connections", "4", NO_HURRY[0], NO_HURRY[1]]);
    let clients: Vec<_> = (0..30).map(|_| server.connect()).collect();
    for (index, mut client) in clients.iter().enumerate() {
        client.write_all(&pattern(1000, index as u64)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    server.signal("TERM");
    for (index, client) in clients.iter().enumerate() {
        assert!(
            read_to_end(client) == pattern(1000, index as u64),
            "client {index}"
        );
    }
    assert_eq!(status(&mut server), 0);
}

/// The first client is finished and never ends its side. It must not keep the second one outside
/// until it is too late.
#[test]
fn a_finished_connection_does_not_count_against_the_limit() {
    let mut server = Server::start(&[
        TCP,
        "--max-connections",
        "1",
        "--drain-timeout",
        "4s", // Less than a finished connection lingers.
    ]);
    let first = server.connect();
    assert_echoes(&first, b"and then nothing");
    let mut second = server.connect();
    second.write_all(b"from the backlog").unwrap();
    begin_drain(&server);
    assert_eq!(read_to_end(&second), b"from the backlog");
    assert_eq!(status(&mut server), 0);
    assert_eq!(read_to_end(&first), b"");
}

/// At the limit all the time: what is left in the backlog at the end is cut, and the status says
/// so.
#[test]
fn clients_that_are_never_accepted_are_cut() {
    let mut server = Server::start(&[TCP, "--max-connections", "1", "--drain-timeout", "500ms"]);
    let stuck = stuck(&server);
    let mut waiting: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.write_all(b"never read").unwrap();
    }
    begin_drain(&server);
    assert_eq!(status(&mut server), 1);
    assert!(server.log().contains("reset 3 clients in the backlog"));
    assert!(server.log().contains("cut 4 conversations"));
    for mut client in waiting {
        let error = client.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    drop(stuck);
}

/// Clients that came and left while nobody accepted them have lost nothing.
#[test]
fn clients_that_left_the_backlog_are_not_cut() {
    let mut server = Server::start(&[TCP, "--max-connections", "1", "--drain-timeout", "500ms"]);
    let stuck = stuck(&server);
    for _ in 0..3 {
        drop(server.connect());
        common::reset(server.connect());
    }
    begin_drain(&server);
    assert_eq!(status(&mut server), 1);
    assert!(
        server.log().contains("cut 1 conversation"),
        "{}",
        server.log()
    );
    let is_reset = |line: &str| line.contains("reset ") && line.contains(" in the backlog");
    assert!(!server.log().lines().any(is_reset), "{}", server.log());
    drop(stuck);
}

#[test]
fn quiet_connections_are_finished() {
    let mut server = Server::start(&[TCP, NO_HURRY[0], NO_HURRY[1]]);
    let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    clients
        .iter()
        .for_each(|client| assert_echoes(client, b"and then nothing"));
    begin_drain(&server);
    for client in &clients {
        assert_eq!(read_to_end(client), b"");
    }
    drop(clients);
    assert_eq!(status(&mut server), 0);
    assert_eq!(server.count_in_log("closed: drained"), 50);
}

/// Twice as long as it takes to be called quiet, and with nothing lost on the way.
#[test]
fn a_busy_connection_is_served_until_its_peer_ends_it() {
    let mut server = Server::start(&[TCP, NO_HURRY[0], NO_HURRY[1]]);
    let client = server.connect();
    assert_echoes(&client, b"before");
    begin_drain(&server);
    for round in 0..200 {
        assert_echoes(&client, &pattern(5000, round));
        thread::sleep(Duration::from_millis(10));
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
    assert_eq!(status(&mut server), 0);
    assert_eq!(server.count_in_log("closed: peer closed"), 1);
}

#[test]
fn newcomers_are_refused_while_a_drain_goes_on() {
    let mut server = Server::start(&[TCP, NO_HURRY[0], NO_HURRY[1]]);
    let address = server.address(0);
    let stuck = stuck(&server);
    begin_drain(&server);
    eventually("the listener is closed", || {
        TcpStream::connect(address)
            .err()
            .inspect(|error| assert_eq!(error.kind(), ErrorKind::ConnectionRefused))
    });
    server.assert_running();
    drop(stuck);
    assert_eq!(status(&mut server), 0);
}

#[test]
fn at_the_drain_timeout_the_rest_is_cut_with_a_reset() {
    let mut server = Server::start(&[TCP, "--drain-timeout", "1500ms"]);
    let (stuck, quiet) = (stuck(&server), server.connect());
    assert_echoes(&quiet, b"and then nothing");
    begin_drain(&server);
    assert_eq!(read_to_end(&quiet), b"");
    assert_eq!(status(&mut server), 1);
    let error = (&stuck).read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::ConnectionReset,
        "what was cut must not look complete"
    );
    assert!(
        server.log().contains("cut 1 conversation"),
        "the quiet connection had been given its end"
    );
}

/// The write timeout may come first; the pending output is lost all the same, and the status must
/// not hide it.
#[test]
fn what_a_write_timeout_ends_during_a_drain_counts_as_cut() {
    let mut server = Server::start(&[TCP, "--write-timeout", "1s", NO_HURRY[0], NO_HURRY[1]]);
    let stuck = stuck(&server);
    begin_drain(&server);
    assert_eq!(status(&mut server), 1);
    assert_eq!(server.count_in_log("closed: write timeout"), 1);
    drop(stuck);
}

#[test]
fn a_second_signal_ends_at_once_what_is_under_way() {
    for (first, second) in [("TERM", "INT"), ("INT", "TERM"), ("TERM", "TERM")] {
        let mut server = Server::start(&[TCP, NO_HURRY[0], NO_HURRY[1]]);
        let stuck = stuck(&server);
        server.signal(first);
        server.wait_for_log("draining");
        server.signal(second);
        assert_eq!(status(&mut server), 1, "{first}, {second}");
        assert_eq!(
            (&stuck).read_to_end(&mut Vec::new()).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    }
}

/// Both signals are there when the server looks: they are two all the same.
#[test]
fn two_signals_at_once_are_two() {
    let mut server = Server::start(&[TCP, NO_HURRY[0], NO_HURRY[1]]);
    let _stuck = stuck(&server);
    server.signal("STOP");
    server.signal("TERM");
    server.signal("INT");
    server.signal("CONT");
    assert_eq!(status(&mut server), 1);
}

/// The peer has been sent everything and its end of stream; only its own is missing. Ending now
/// takes nothing from it.
#[test]
fn a_second_signal_that_cuts_nothing_is_a_clean_end() {
    let mut server = Server::start(&[TCP, NO_HURRY[0], NO_HURRY[1]]);
    let client = server.connect();
    assert_echoes(&client, b"and then nothing");
    begin_drain(&server);
    assert_eq!(read_to_end(&client), b"");
    server.signal("INT");
    assert_eq!(status(&mut server), 0);
}

#[test]
fn with_nobody_connected_a_drain_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[TCP, UDP, NO_HURRY[0], NO_HURRY[1]]);
        server.signal(signal);
        assert_eq!(status(&mut server), 0, "{signal}");
    }
}

#[test]
fn a_datagram_that_stands_in_the_kernel_is_answered() {
    let mut server = Server::start(&[UDP, NO_HURRY[0], NO_HURRY[1]]);
    let client = UdpSocket::bind(loopback()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(server.address(0)).unwrap();
    server.signal("STOP");
    // Several budgets of them.
    for index in 0..200u8 {
        client.send(&[index; 100]).unwrap();
    }
    server.signal("TERM");
    server.signal("CONT");
    for index in 0..200u8 {
        let mut got = [0; 200];
        assert_eq!(common::again(|| client.recv(&mut got)).unwrap(), 100);
        assert_eq!(got[0], index);
    }
    assert_eq!(status(&mut server), 0);
}

/// The second signal ends the server before one turn has answered all that stands in the kernel:
/// the last look at the socket does.
#[test]
fn two_signals_at_once_leave_no_datagram_that_one_more_run_can_answer() {
    let mut server = Server::start(&[UDP, NO_HURRY[0], NO_HURRY[1]]);
    // Each of several clients has room for its answers.
    let clients = [0; 4].map(|_| UdpSocket::bind(loopback()).unwrap());
    for client in &clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(server.address(0)).unwrap();
    }
    server.signal("STOP");
    for index in 0..64u8 {
        for client in &clients {
            client.send(&[index; 20]).unwrap();
        }
    }
    server.signal("TERM");
    server.signal("INT");
    server.signal("CONT");
    assert_eq!(status(&mut server), 0);
    for client in &clients {
        for index in 0..64u8 {
            let mut got = [0; 200];
            assert_eq!(common::again(|| client.recv(&mut got)).unwrap(), 20);
            assert_eq!(got[0], index);
        }
    }
}

#[test]
fn a_broken_pipe_is_no_signal_to_end() {
    let mut server = Server::start(&[TCP]);
    let client = server.connect();
    server.signal("PIPE");
    assert_echoes(&client, b"what pipe?");
    server.assert_running();
    drop(client);
    assert_eq!(server.stop(), 0);
}

fn serve(limits: Limits) -> Background {
    Background::start(Address::Tcp(loopback()), limits, || Echo)
}

#[test]
fn a_handle_drains_stops_and_counts_from_another_thread() {
    let server = serve(Limits {
        drain_timeout: None,
        ..Limits::default()
    });
    let client = server.connect();
    assert_echoes(&client, b"counted");
    let stats = server.stats();
    assert_eq!(
        (
            stats.accepted,
            stats.live(),
            stats.bytes_in,
            stats.bytes_out
        ),
        (1, 1, 7, 7)
    );
    let handle = server.handle.clone();
    handle.terminate();
    assert_eq!(read_to_end(&client), b"");
    drop(client);
    assert_eq!(server.wait(), Ending::Clean);
    assert_eq!(handle.stats(), None, "the reactor is gone");
    // Nor does a handle mind asking a reactor that is gone.
    handle.terminate();
    handle.stop();
}

/// Ends a server at once, in both ways that a handle knows.
const ENDS: [fn(&Background); 2] = [
    |server| {
        server.handle.terminate();
        server.handle.terminate();
    },
    |server| server.handle.stop(),
];

#[test]
fn a_handle_that_terminates_twice_or_stops_cuts_what_has_pending_output() {
    for end in ENDS {
        let server = serve(Limits {
            drain_timeout: None,
            ..Limits::default()
        });
        let Address::Tcp(address) = server.address else {
            panic!("{} is no TCP endpoint", server.address)
        };
        let clients = [connect_small(address), connect_small(address)];
        stuff(&clients, &[b'x'; 65_536]);
        end(&server);
        assert_eq!(server.wait(), Ending::Cut(2));
        for client in &clients {
            let error = common::again(|| { client }.read_to_end(&mut Vec::new())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
}

/// Nothing is pending and nothing unread: an end at once takes nothing from these peers.
#[test]
fn connections_that_lose_nothing_are_not_cut() {
    for end in ENDS {
        let server = serve(Limits {
            drain_timeout: None,
            ..Limits::default()
        });
        let clients = [server.connect(), server.connect()];
        clients
            .iter()
            .for_each(|client| assert_echoes(client, b"here"));
        end(&server);
        assert_eq!(server.wait(), Ending::Clean);
        for client in &clients {
            assert_eq!(read_to_end(client), b"");
        }
    }
}

/// Tells where it was when it ended.
struct Told(std::sync::mpsc::Sender<CloseReason>);

impl Service for Told {
    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        Action::Continue
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.0.send(reason).unwrap();
    }
}

#[test]
fn every_service_is_told_of_the_end() {
    let (sender, told) = std::sync::mpsc::channel();
    let server = Background::start(Address::Tcp(loopback()), Limits::default(), move || {
        Told(sender.clone())
    });
    let clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    eventually("all are accepted", || {
        (server.stats().accepted == 10).then_some(())
    });
    server.handle.stop();
    assert_eq!(server.wait(), Ending::Clean);
    assert_eq!(told.iter().collect::<Vec<_>>(), [CloseReason::Drained; 10]);
    drop(clients);
}
