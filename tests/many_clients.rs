//! Promise 5: nobody starves. Many clients at once, each served as if it were alone.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    Background, Server, TCP, assert_echoes, assert_within, eventually, loopback, pattern,
};
use mynah::limits::READ_BUDGET;
use mynah::service::Echo;
use mynah::{Address, Limits};

const CLIENTS: usize = 300;

/// What a client says in a round: bytes that no other client says, nor the same one in another round.
fn message(client: usize, round: usize) -> Vec<u8> {
    pattern(
        1 + (client * 37 + round * 4099) % 16_000,
        (client * 1000 + round) as u64,
    )
}

#[track_caller]
fn assert_receives(mut stream: &TcpStream, expected: &[u8], whose: usize) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(
        got == expected,
        "client {whose} got other bytes than it sent"
    );
}

/// All send before any of them reads, and they read in another order than they sent.
#[test]
fn three_hundred_clients_get_each_their_own() {
    let server = Server::start(&[TCP]);
    let clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for round in 0..5 {
        for (index, mut client) in clients.iter().enumerate() {
            client.write_all(&message(index, round)).unwrap();
        }
        for (index, client) in clients.iter().enumerate().rev() {
            assert_receives(client, &message(index, round), index);
        }
    }
}

/// The events of all of them stand in one batch, and some of those clients end while the batch is worked off.
#[test]
fn clients_that_end_in_a_batch_of_events_leave_the_others_alone() {
    let server = Server::start(&[TCP]);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|index| (index, server.connect()))
        .collect();
    for round in 0..3 {
        let ends = |index: usize| index % 3 == round;
        server.signal("STOP");
        for (index, client) in &mut clients {
            client.write_all(&message(*index, round)).unwrap();
            if ends(*index) {
                client.shutdown(Shutdown::Write).unwrap();
            }
        }
        server.signal("CONT");
        for (index, client) in &clients {
            assert_receives(client, &message(*index, round), *index);
        }
        for (index, client) in &mut clients {
            if ends(*index) {
                assert_eq!(
                    common::again(|| client.read(&mut [0])).unwrap(),
                    0,
                    "client {index} has ended, and so must the server's side"
                );
            }
        }
        clients.retain(|(index, _)| !ends(*index));
    }
    eventually("all are closed", || {
        (server.count_in_log("closed: peer closed") == CLIENTS).then_some(())
    });
}

/// Half-closed clients wait for what they are owed beside others that go on talking.
#[test]
fn a_client_that_half_closes_gets_the_rest_while_the_others_go_on() {
    let server = Server::start(&[TCP]);
    let talkers: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for round in 0..20 {
        let sent = pattern(200_000, round);
        let mut half = server.connect();
        half.write_all(&sent).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        for (index, talker) in talkers.iter().enumerate() {
            assert_echoes(talker, &message(index, round as usize));
        }
        let mut got = Vec::new();
        half.read_to_end(&mut got).unwrap();
        assert!(
            got == sent,
            "{} of {} bytes came back",
            got.len(),
            sent.len()
        );
    }
}

/// Sends as fast as the socket takes it, until told to stop. With `reads` it takes the echo as well, so that the server never has to stop
/// serving it.
fn flood(stream: TcpStream, reads: bool, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let (mut writer, mut reader) = (stream.try_clone().unwrap(), stream);
    writer.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let (bytes, mut bite) = (vec![b'f'; 256 * 1024], vec![0; 256 * 1024]);
        while !stop.load(Ordering::Relaxed) {
            let mut moved = 0;
            let wrote = writer.write(&bytes);
            let read = if reads { reader.read(&mut bite) } else { Ok(0) };
            for result in [wrote, read] {
                match result {
                    Ok(count) => moved += count,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            if moved == 0 {
                thread::sleep(Duration::from_micros(100));
            }
        }
    })
}

const FLOODING: usize = 4;
const QUIET: usize = 50;
const PING: usize = 64;

#[test]
fn quiet_clients_are_served_beside_flooding_ones() {
    let server = Background::start(Address::Tcp(loopback()), Limits::default(), || Echo);
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..FLOODING)
        .map(|index| flood(server.connect(), index % 2 == 0, stop.clone()))
        .collect();
    let quiet: Vec<_> = (0..QUIET).map(|_| server.connect()).collect();
    for round in 0..30 {
        for (index, client) in quiet.iter().enumerate() {
            assert_echoes(client, &pattern(PING, (index * 100 + round) as u64));
        }
    }
    // Newcomers are let in as well.
    for _ in 0..20 {
        assert_echoes(server.connect(), &[b'n'; PING]);
    }
    let stats = server.stats();
    stop.store(true, Ordering::Relaxed);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    // What makes the difference between slow and starved: a turn, in which everybody is served once, has a bound however much is there to read.
    let most_a_turn = FLOODING * READ_BUDGET + (QUIET + 20) * PING;
    assert_within(
        "bytes read",
        stats.bytes_in,
        (stats.turns + 1) * most_a_turn as u64,
    );
    assert!(
        stats.bytes_in > (FLOODING * READ_BUDGET) as u64,
        "that was no flood: {stats}"
    );
}
