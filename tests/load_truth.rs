//! Servers that do wrong on purpose, and a load generator that counts it exactly.
//!
//! Each is a service on our own reactor, so that how often it does wrong is known to the message.

mod common;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Background, Scratch, count, fates, loopback};
use mynah::service::{Action, Context, Echo, Service};
use mynah::{Address, Limits};
use serde_json::Value;

/// Loads a server with one connection.
#[track_caller]
fn load(endpoint: &Address, args: &[&str]) -> (i32, Value) {
    let (status, report, _) = common::load(&endpoint.to_string(), &[&["-c", "1"], args].concat());
    (status, report)
}

/// An echo that changes one byte in a million.
#[derive(Clone)]
struct Corrupt {
    bytes: u64,
    changed: Arc<AtomicU64>,
}

impl Service for Corrupt {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let mut answer = input.to_vec();
        for byte in &mut answer {
            self.bytes += 1;
            if self.bytes % 1_000_000 == 0 {
                *byte ^= 1;
                self.changed.fetch_add(1, Ordering::Relaxed);
            }
        }
        cx.reply(&answer);
        Action::Continue
    }
}

#[test]
fn one_byte_in_a_million_is_found_each_time() {
    for depth in ["1", "5"] {
        let changed = Arc::new(AtomicU64::new(0));
        let service = Corrupt {
            bytes: 0,
            changed: changed.clone(),
        };
        let server = Background::start(Address::Tcp(loopback()), Limits::default(), move || {
            service.clone()
        });
        let (status, report) = load(
            &server.address,
            &[
                "--verify",
                "--requests",
                "25000",
                "--size",
                "1000",
                "--depth",
                depth,
            ],
        );
        let wrong = changed.load(Ordering::Relaxed);
        assert_eq!((status, wrong), (8, 25));
        assert_eq!(
            (
                count(&report, "/messages/wrong_bytes"),
                count(&report, "/errors/kinds/mismatch/count")
            ),
            (wrong, wrong)
        );
        assert_eq!(
            (
                count(&report, "/messages/answered"),
                count(&report, "/errors/total")
            ),
            (25_000, wrong)
        );
        let first = report
            .pointer("/errors/kinds/mismatch/first")
            .unwrap()
            .as_str()
            .unwrap();
        assert_eq!(
            first,
            "connection 0: byte 999999 of what came back is not what was expected"
        );
    }
}

/// Without being asked to compare, it does not.
#[test]
fn what_is_not_compared_is_not_found() {
    let service = Corrupt {
        bytes: 0,
        changed: Arc::default(),
    };
    let server = Background::start(Address::Tcp(loopback()), Limits::default(), move || {
        service.clone()
    });
    let (status, report) = load(&server.address, &["--requests", "2500", "--size", "1000"]);
    assert_eq!((status, count(&report, "/errors/total")), (0, 0));
}

/// An echo of datagrams that does wrong by the number of each.
struct Mangle {
    number: usize,
    kept: Vec<Vec<u8>>,
    wrong: Wrong,
}

#[derive(Clone, Copy)]
enum Wrong {
    /// Of ten: the fourth is lost.
    Lose,
    /// The fourth is answered in the place of the sixth: behind the fifth, and the sixth is lost.
    Reorder,
    /// The fourth is answered again in the place of the fifth, which is lost.
    Double,
    /// The fourth is answered much later, in the place of the fourth of the ten that are 45 tens later.
    Delay,
    /// A byte of the fourth is changed: of its number or of the rest.
    Damage { at: usize },
}

impl Mangle {
    fn of(wrong: Wrong) -> Mangle {
        Mangle {
            number: 0,
            kept: Vec::new(),
            wrong,
        }
    }
}

impl Service for Mangle {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        let place = self.number % 10;
        self.number += 1;
        let mut answer = input.to_vec();
        match (self.wrong, place) {
            (Wrong::Lose, 3) => return Action::Continue,
            (Wrong::Reorder, 3) | (Wrong::Double, 3) => self.kept = vec![answer.clone()],
            (Wrong::Reorder, 5) | (Wrong::Double, 4) => answer = self.kept.remove(0),
            (Wrong::Delay, 3) => {
                self.kept.push(answer);
                if self.kept.len() <= 45 {
                    return Action::Continue;
                }
                answer = self.kept.remove(0);
            }
            (Wrong::Damage { at }, 3) => answer[at] ^= 0x40,
            _ => {}
        }
        if matches!((self.wrong, place), (Wrong::Reorder, 3)) {
            return Action::Continue;
        }
        cx.reply(&answer);
        Action::Continue
    }
}

/// Loads such an echo with a hundred times ten datagrams, on UDP and on Unix sockets.
#[track_caller]
fn mangled(wrong: Wrong, args: &[&str], check: impl Fn(i32, &Value)) {
    let scratch = Scratch::new();
    for address in [
        Address::Udp(loopback()),
        Address::Unixgram(scratch.path("socket")),
    ] {
        let server = Background::start(address, Limits::default(), move || Mangle::of(wrong));
        let (status, report) = load(
            &server.address,
            &[
                &["--requests", "1000", "--rate", "1k", "--timeout", "300ms"],
                args,
            ]
            .concat(),
        );
        assert_eq!(count(&report, "/messages/sent"), 1000);
        check(status, &report);
    }
}

#[test]
fn lost_datagrams_are_counted() {
    mangled(Wrong::Lose, &[], |status, report| {
        assert_eq!((status, fates(report)), (0, [100, 0, 0, 0]));
        assert_eq!(
            (
                count(report, "/messages/answered"),
                count(report, "/errors/total")
            ),
            (900, 0)
        );
    });
}

#[test]
fn datagrams_out_of_order_are_counted() {
    mangled(Wrong::Reorder, &["--verify"], |status, report| {
        assert_eq!((status, fates(report)), (0, [100, 0, 0, 100]));
        assert_eq!(
            (
                count(report, "/messages/answered"),
                count(report, "/errors/total")
            ),
            (900, 0)
        );
    });
}

#[test]
fn datagrams_that_come_twice_are_counted() {
    mangled(Wrong::Double, &["--verify"], |status, report| {
        assert_eq!((status, fates(report)), (0, [100, 0, 100, 0]));
        assert_eq!(
            (
                count(report, "/messages/answered"),
                count(report, "/errors/total")
            ),
            (900, 0)
        );
    });
}

/// Each is answered when 450 more have been sent, which at this pace is after its time; the last 45 never.
#[test]
fn datagrams_that_come_late_are_told_from_lost_ones() {
    mangled(
        Wrong::Delay,
        &["--require", "late=55", "--require", "lost=45"],
        |status, report| {
            assert_eq!((status, fates(report)), (0, [45, 55, 0, 0]));
            assert_eq!(count(report, "/messages/answered"), 900);
        },
    );
}

/// A datagram whose number is damaged is that, and not the answer to another one; its own question goes unanswered.
#[test]
fn damaged_datagrams_are_counted() {
    for at in [0, 3, 4, 11, 12, 15] {
        mangled(Wrong::Damage { at }, &[], |status, report| {
            assert_eq!((status, fates(report)), (0, [100, 0, 0, 0]), "byte {at}");
            assert_eq!(
                count(report, "/errors/kinds/mismatch/count"),
                100,
                "byte {at}"
            );
        });
    }
    mangled(Wrong::Damage { at: 16 }, &["--verify"], |status, report| {
        assert_eq!((status, fates(report)), (8, [0; 4]));
        assert_eq!(
            (
                count(report, "/errors/kinds/mismatch/count"),
                count(report, "/messages/answered")
            ),
            (100, 1000)
        );
    });
}

/// Answers each message after 20 ms.
#[derive(Default)]
struct Slow(Vec<u8>);

impl Service for Slow {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        self.0.extend_from_slice(input);
        cx.set_alarm(cx.now + Duration::from_millis(20));
        Action::Continue
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        cx.reply(&std::mem::take(&mut self.0));
        Action::Continue
    }
}

/// A closed loop cannot see from its own clock that it was stopped: the kernel tells when the
/// answers came.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_loop_that_is_stopped_again_and_again_is_void() {
    let server = Background::start(Address::Tcp(loopback()), Limits::default(), Slow::default);
    let mut run = Command::new(common::binary());
    run.args(["load", &server.address.to_string(), "-c", "20"])
        .args(["--duration", "2s", "--warmup", "off"])
        .stdout(Stdio::piped());
    let run = run.spawn().unwrap();
    common::eventually("the load is under way", || {
        (server.stats().bytes_in > 64 * 40).then_some(())
    });
    for _ in 0..15 {
        common::signal(run.id(), "STOP");
        std::thread::sleep(Duration::from_millis(80));
        common::signal(run.id(), "CONT");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = run.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(9), "{printed}");
    assert!(printed.starts_with("NOTE: the generator was"), "{printed}");
}

/// A generator that stands still is no word on its target, and says so before anything else. An answer that comes meanwhile looks like a slow one; with
/// eight connections that are idle nearly always, it is the answer of one of them at the most.
#[test]
fn a_generator_that_stood_still_says_so_in_its_first_line() {
    let server = Background::start(Address::Tcp(loopback()), Limits::default(), || Echo);
    let mut run = Command::new(common::binary());
    run.args([
        "load",
        &server.address.to_string(),
        "-c",
        "8",
        "--rate",
        "800",
        "--requests",
        "1600",
    ])
    .stdout(Stdio::piped());
    let run = run.spawn().unwrap();
    common::eventually("the load is under way", || {
        (server.stats().bytes_in > 64 * 100).then_some(())
    });
    common::signal(run.id(), "STOP");
    std::thread::sleep(Duration::from_millis(700));
    common::signal(run.id(), "CONT");
    let output = run.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let first = printed.lines().next().unwrap();
    assert!(
        first.starts_with("NOTE: the generator was the bottleneck: of p"),
        "{printed}"
    );
    assert!(printed.contains("1,600 due: 1,600 answered"), "{printed}");
    assert_eq!(output.status.code(), Some(9), "{printed}");
}

/// An echo that stands still once, for half a second, at the message of this number.
struct Stall {
    number: u64,
}

impl Service for Stall {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        self.number += 1;
        if self.number == 300 {
            // By design: the whole server stands still.
            std::thread::sleep(Duration::from_millis(500));
        }
        cx.reply(input);
        Action::Continue
    }
}

/// The same stall, seen by both loops: in the closed one it is one answer of a thousand, in the open one it is half of them.
#[test]
fn a_stall_shows_in_the_open_loop_and_not_in_the_closed_one() {
    let run = |pace: &[&str]| {
        let server = Background::start(Address::Tcp(loopback()), Limits::default(), || Stall {
            number: 0,
        });
        let (status, report) = load(&server.address, &[&["--requests", "1000"], pace].concat());
        assert_eq!((status, count(&report, "/messages/answered")), (0, 1000));
        let millis = |name: &str| count(&report, &format!("/times_nanoseconds/{name}")) / 1_000_000;
        // The messages that had to wait for the target's answer went late, and that is not the generator's doing.
        let late = report["generator"]["lateness_p99_nanoseconds"]
            .as_u64()
            .unwrap_or(0);
        assert!(late < 250_000_000, "{late}");
        (
            millis("response/p90"),
            millis("response/p99"),
            millis("response/max"),
            report
                .pointer("/times_nanoseconds/service/p99")
                .map(|time| time.as_u64()),
        )
    };
    let (_, closed_p99, closed_max, _) = run(&[]);
    assert!(
        closed_p99 < 250 && closed_max >= 500,
        "{closed_p99} {closed_max}"
    );
    let (open_p90, open_p99, open_max, service) = run(&["--rate", "1k"]);
    assert!(
        open_p90 >= 250 && open_p99 >= 450 && open_max >= 500,
        "{open_p90} {open_p99} {open_max}"
    );
    // What hides it: the same answers, timed from when they were sent.
    assert!(service.flatten().unwrap() < 250_000_000, "{service:?}");
}
