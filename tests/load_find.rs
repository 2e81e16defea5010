//! `mynah load --find` against targets whose limits are known.
//!
//! A target may only be slower than it is meant to be, never faster: so what is asserted of rates
//! is from above. How exact a search is: the simulated queues of `src/load/trial.rs`.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use common::{Server, load};
use serde_json::Value;

const MESSAGE: usize = 64;

/// Short trials. The seed makes the arrivals the same each time.
const SHORT: [&str; 6] = ["--duration", "300ms", "--warmup", "100ms", "--seed", "1"];

fn trials(report: &Value) -> &Vec<Value> {
    report["trials"].as_array().unwrap()
}

fn sleep_until(at: Instant) {
    thread::sleep(at.saturating_duration_since(Instant::now()));
}

/// Answers the messages of all connections in the order in which they come, each after another
/// millisecond.
fn queue() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || serve_in_order(&messages));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut message = [0; MESSAGE];
                while (&stream).read_exact(&mut message).is_ok() {
                    let Ok(stream) = stream.try_clone() else {
                        return;
                    };
                    if sender.send((stream, message)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    endpoint
}

fn serve_in_order(messages: &Receiver<(TcpStream, [u8; MESSAGE])>) {
    let mut free = Instant::now();
    loop {
        let next = match messages.try_recv() {
            Ok(next) => next,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                let Ok(next) = messages.recv() else { return };
                free = free.max(Instant::now());
                next
            }
        };
        // What waited is served from when the one before it was: a late sleep costs no time.
        free += Duration::from_millis(1);
        sleep_until(free);
        let (mut stream, message) = next;
        let _ = stream.write_all(&message);
    }
}

/// Answers datagrams after a delay, all but each one in `loss`.
fn datagrams(delay: Duration, loss: Option<u64>) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("udp://{}", socket.local_addr().unwrap());
    let answers = socket.try_clone().unwrap();
    let (sender, due) = mpsc::channel::<(Instant, SocketAddr, Vec<u8>)>();
    thread::spawn(move || {
        for (at, peer, message) in due {
            sleep_until(at);
            let _ = answers.send_to(&message, peer);
        }
    });
    thread::spawn(move || {
        let mut room = [0; 2048];
        for number in 1u64.. {
            let Ok((size, peer)) = socket.recv_from(&mut room) else {
                return;
            };
            if loss.is_some_and(|loss| number % loss == 0) {
                continue;
            }
            let answer = (Instant::now() + delay, peer, room[..size].to_vec());
            if sender.send(answer).is_err() {
                return;
            }
        }
    });
    endpoint
}

#[test]
fn a_goal_that_a_low_rate_misses_ends_the_search_with_it() {
    let endpoint = datagrams(Duration::from_millis(250), None);
    for connections in ["1", "50"] {
        let args = ["--find", "p99<10ms", "-c", connections, "--duration", "1s"];
        let (status, report, said) = load(&endpoint, &args);
        assert_eq!(status, 8, "{said}");
        // On a busy machine the probe may have too few messages, and then the search says that.
        assert!(said.contains("p99<10ms is not kept at"), "{said}");
        assert!(trials(&report).len() <= 6, "{report:#}");
    }
}

#[test]
fn a_rate_that_the_target_does_not_serve_is_not_found() {
    let args = ["--find", "p50<10s", "-c", "50", "--depth", "4"];
    let (status, report, said) = load(&queue(), &[&args[..], &SHORT].concat());
    assert_eq!((status, said.as_str()), (0, ""));
    let holds = report["holds_per_second"].as_f64().unwrap();
    assert!(holds < 1_250.0, "{holds}: {report:#}");
    for trial in trials(&report) {
        let offered = trial["offered_per_second"].as_f64().unwrap();
        let kept = trial["kept"].as_bool().unwrap();
        assert!(!kept || offered < 1_250.0, "{trial:#}");
        assert_eq!(kept, trial["outcome"] == "holds");
    }
}

#[test]
fn over_a_lossy_path_the_percentile_decides() {
    let endpoint = datagrams(Duration::ZERO, Some(20));
    let args = ["-c", "4", "--timeout", "100ms"];
    let find = |goal| load(&endpoint, &[&["--find", goal], &args[..], &SHORT].concat());
    // Half of the messages are answered, however busy the machine is.
    let (status, report, said) = find("p50<10s");
    assert_eq!((status, said.as_str()), (0, ""), "{report:#}");
    let is_kept_with_losses = |trial: &Value| {
        let due = trial["messages"]["due"].as_u64().unwrap();
        // With fewer, the share of answers is not looked at.
        trial["kept"] == true
            && due >= 200
            && trial["times_nanoseconds"]["response"]["unanswered"] != 0
    };
    assert!(
        trials(&report).iter().any(is_kept_with_losses),
        "{report:#}"
    );
    // One in twenty is not, and so not 99 % of them are.
    let (status, report, said) = find("p99<10s");
    assert_eq!(status, 8, "{said}");
    assert!(
        trials(&report).iter().all(|trial| trial["kept"] == false),
        "{report:#}"
    );
}

#[test]
fn a_search_has_an_end_and_its_trials_seeds_of_their_own() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let args = ["--find", "p50<3600s", "-c", "4"];
    let short = ["--duration", "50ms", "--warmup", "off", "--seed", "7"];
    let seeds = || {
        let (status, report, said) = load(&endpoint, &[&args[..], &short].concat());
        assert_eq!((status, said.as_str()), (0, ""));
        assert!(report["holds_per_second"].is_f64(), "{report:#}");
        let tried = trials(&report);
        assert!((2..=20).contains(&tried.len()), "{report:#}");
        let seeds: Vec<u64> = tried
            .iter()
            .map(|trial| trial["seed"].as_u64().unwrap())
            .collect();
        seeds
    };
    let (first, second) = (seeds(), seeds());
    let mut distinct = first.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), first.len());
    assert!(first.iter().zip(&second).all(|(one, other)| one == other));
}
