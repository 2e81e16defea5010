//! Promise 3: no peer can stop the server. Peers that reset their connection at every moment of it,
//! beside one that notices nothing.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Server, TCP, assert_echoes, connect_small, eventually, pattern, reset, stuff};
use mynah::Dice;

/// Takes a fresh connection to the moment of its reset.
type Script = fn(&TcpStream, &mut Dice);

fn before_sending(_stream: &TcpStream, _dice: &mut Dice) {}

fn with_bytes_on_the_way(mut stream: &TcpStream, dice: &mut Dice) {
    stream
        .write_all(&pattern(1 + dice.below(100_000), 1))
        .unwrap();
}

fn in_the_middle_of_a_talk(mut stream: &TcpStream, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        assert_echoes(stream, &pattern(1 + dice.below(5000), 2));
    }
    stream.write_all(b"and").unwrap();
}

fn with_the_echo_unread(mut stream: &TcpStream, dice: &mut Dice) {
    stream.write_all(&pattern(1 + dice.below(5000), 3)).unwrap();
    stream.peek(&mut [0]).unwrap();
}

fn with_part_of_the_echo_read(mut stream: &TcpStream, dice: &mut Dice) {
    stream.write_all(&pattern(50_000, 4)).unwrap();
    stream
        .read_exact(&mut vec![0; 1 + dice.below(20_000)])
        .unwrap();
}

fn after_half_closing(mut stream: &TcpStream, dice: &mut Dice) {
    stream.write_all(&pattern(dice.below(50_000), 5)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
}

fn after_half_closing_in_silence(stream: &TcpStream, _dice: &mut Dice) {
    stream.shutdown(Shutdown::Write).unwrap();
}

fn with_pending_output(stream: &TcpStream, dice: &mut Dice) {
    let streams = [stream.try_clone().unwrap()];
    if dice.below(10) == 0 {
        stuff(&streams, &[b'x'; 65_536]);
    }
}

const SCRIPTS: [Script; 8] = [
    before_sending,
    with_bytes_on_the_way,
    in_the_middle_of_a_talk,
    with_the_echo_unread,
    with_part_of_the_echo_read,
    after_half_closing,
    after_half_closing_in_silence,
    with_pending_output,
];

/// A connection that talks without a pause until it is told to stop, and checks every byte.
fn steady(stream: TcpStream, stop: Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            assert_echoes(&stream, &pattern(1000 + count as usize % 3000, count));
            count += 1;
        }
        count
    })
}

/// Waits until every connection has been closed and its descriptor given back, and checks what for.
#[track_caller]
fn assert_all_let_go(server: &mut Server, count: usize, descriptors: usize) {
    eventually("all are closed", || {
        (server.count_in_log(": closed: ") == count).then_some(())
    });
    eventually("the descriptors are given back", || {
        (server.descriptors() == descriptors).then_some(())
    });
    let (resets, ends) = (
        server.count_in_log(": closed: reset by peer"),
        server.count_in_log(": closed: peer closed"),
    );
    assert_eq!(
        resets + ends,
        count,
        "{resets} resets and {ends} ends of stream, of"
    );
    server.assert_running();
}

#[test]
fn resets_at_every_moment_leave_the_others_alone() {
    const ROUNDS: usize = 800;
    let mut server = Server::start(&[TCP]);
    let stop = Arc::new(AtomicBool::new(false));
    let witness = server.connect();
    assert_echoes(&witness, b"hello");
    let descriptors = server.descriptors();
    let talking = steady(witness, stop.clone());
    let mut dice = Dice::new(0x5eed);
    for round in 0..ROUNDS {
        let stream = connect_small(server.address(0));
        SCRIPTS[round % SCRIPTS.len()](&stream, &mut dice);
        // A close with unread input resets as well, and is the more usual way.
        if dice.below(4) == 0 {
            drop(stream)
        } else {
            reset(stream)
        }
    }
    assert_all_let_go(&mut server, ROUNDS, descriptors);
    stop.store(true, Ordering::Relaxed);
    assert!(talking.join().unwrap() > 0);
}

/// All of it, the SYN to the reset, happens before the server looks: it accepts connections that
/// are gone.
#[test]
fn resets_that_stand_in_the_backlog_are_counted_and_let_go() {
    let mut server = Server::start(&[TCP]);
    let witness = server.connect();
    assert_echoes(&witness, b"hello");
    let descriptors = server.descriptors();
    server.signal("STOP");
    let mut dice = Dice::new(0xacce97);
    // A talk needs somebody who answers.
    let scripts: [Script; 4] = [
        before_sending,
        with_bytes_on_the_way,
        after_half_closing,
        after_half_closing_in_silence,
    ];
    for round in 0..200 {
        let stream = server.connect();
        scripts[round % scripts.len()](&stream, &mut dice);
        reset(stream);
    }
    (&witness).write_all(b"and you?").unwrap();
    server.signal("CONT");
    (&witness).read_exact(&mut [0; 8]).unwrap();
    assert_all_let_go(&mut server, 200, descriptors);
    assert_echoes(&witness, b"still here");
}

/// The resets of a whole batch of connections, and new connections that take their slots and
/// descriptors, are one batch of events.
#[test]
fn resets_of_many_in_one_batch_leave_their_successors_alone() {
    let mut server = Server::start(&[TCP]);
    let descriptors = server.descriptors();
    let mut old: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for round in 0..10 {
        old.iter()
            .for_each(|stream| assert_echoes(stream, &pattern(100, round)));
        server.signal("STOP");
        old.drain(..).for_each(reset);
        let mut new: Vec<_> = (0..100).map(|_| server.connect()).collect();
        new.iter_mut()
            .for_each(|stream| stream.write_all(b"first words").unwrap());
        server.signal("CONT");
        for stream in &mut new {
            let mut got = [0; 11];
            stream.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"first words");
        }
        old = new;
    }
    drop(old);
    assert_all_let_go(&mut server, 1100, descriptors);
}
