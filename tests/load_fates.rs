//! What is never answered counts: in the percentiles, in the requirements, in the totals.
//!
//! Each target fails in its own way, and each message that was due must have its one fate.

mod common;

use std::time::Duration;

use common::{Background, PATIENCE, count, load, loopback, run_to_end};
use mynah::service::{Action, Context, Service};
use mynah::{Address, Limits};
use serde_json::Value;

/// Answers so many messages, and no more; of a datagram socket all together, of a stream each
/// connection.
struct Few(u64);

impl Service for Few {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        if self.0 > 0 {
            self.0 -= 1;
            cx.reply(input);
        }
        Action::Continue
    }
}

/// Answers one message with two bytes, and ends the connection.
struct Curt;

impl Service for Curt {
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        cx.reply(b"ok");
        Action::FINISH
    }
}

/// Answers each datagram after a while.
#[derive(Default)]
struct Late(Option<Vec<u8>>);

impl Service for Late {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        if let Some(before) = self.0.replace(input.to_vec()) {
            cx.reply(&before);
        }
        Action::Continue
    }
}

fn tcp() -> Address {
    Address::Tcp(loopback())
}

fn udp() -> Address {
    Address::Udp(loopback())
}

/// The fates of a run: answered, late, lost, failed, unsent. They add up to what was due, and each
/// stands among the response times.
#[track_caller]
fn fates(report: &Value) -> [u64; 5] {
    let of = |name: &str| count(report, &format!("/messages/{name}"));
    let fates = ["answered", "late", "lost", "failed", "unsent"].map(of);
    assert_eq!(fates.iter().sum::<u64>(), of("due"), "{report:#}");
    let times = |name: &str| count(report, &format!("/times_nanoseconds/response/{name}"));
    assert_eq!(times("count"), of("due"), "{report:#}");
    assert_eq!(times("unanswered"), of("due") - fates[0], "{report:#}");
    fates
}

/// The target stops answering in the middle: what it answered before was fast, and that is not what
/// its users saw.
#[test]
fn a_target_that_stops_answering_keeps_no_percentile() {
    let server = Background::start(tcp(), Limits::default(), || Few(40));
    let args = [
        &[
            "-c",
            "5",
            "--rate",
            "1k",
            "--requests",
            "500",
            "--timeout",
            "300ms",
        ][..],
        &["--require", "p50<250ms", "--require", "p30<250ms"],
    ]
    .concat();
    let (status, report, said) = load(&server.address.to_string(), &args);
    let [answered, _, _, failed, unsent] = fates(&report);
    assert!(
        answered >= 200 && answered + failed + unsent == 500,
        "{report:#}"
    );
    // Opened again they answer again: as long as fewer than half of them do, the goal is missed.
    if answered < 250 {
        assert_eq!(status, 8, "{said}");
        assert!(said.contains("not met: p50<250ms (> "), "{said}");
        assert!(said.contains("(unanswered)"), "{said}");
        assert_eq!(report["times_nanoseconds"]["response"]["p50"], Value::Null);
        let least = count(&report, "/times_nanoseconds/response/at_least/p50");
        assert!(least > 0, "{report:#}");
    }
}

#[test]
fn lost_datagrams_are_in_the_percentiles() {
    let server = Background::start(udp(), Limits::default(), || Few(473));
    let args = [
        &[
            "-c",
            "1",
            "--rate",
            "2k",
            "--requests",
            "900",
            "--timeout",
            "300ms",
        ][..],
        &["--require", "p90<500ms"],
    ]
    .concat();
    let (status, report, said) = load(&server.address.to_string(), &args);
    assert_eq!(fates(&report), [473, 0, 427, 0, 0]);
    assert_eq!(status, 8, "{said}");
    assert!(said.contains("not met: p90<500ms (> "), "{said}");
}

#[test]
fn a_run_in_which_everything_is_lost_says_so() {
    let server = Background::start(udp(), Limits::default(), || Few(0));
    let endpoint = server.address.to_string();
    let args = [
        "-c",
        "1",
        "--rate",
        "1k",
        "--requests",
        "50",
        "--timeout",
        "200ms",
    ];
    let (status, report, said) = load(&endpoint, &args);
    assert_eq!(fates(&report), [0, 0, 50, 0, 0]);
    assert_eq!(status, 1);
    assert!(
        said.contains("no message was answered: 50 of 50 were lost"),
        "{said}"
    );
}

/// An answer behind the end of the run is late, like one before it.
#[test]
fn late_answers_behind_the_end_are_late_and_not_lost() {
    let server = Background::start(udp(), Limits::default(), Late::default);
    // Each datagram is answered when the next one comes, 100 ms later; the last one never.
    let args = [
        &[
            "-c",
            "1",
            "--rate",
            "10",
            "--arrivals",
            "uniform",
            "--requests",
            "5",
        ][..],
        &["--timeout", "50ms"],
    ]
    .concat();
    let (_, report, _) = load(&server.address.to_string(), &args);
    assert_eq!(fates(&report), [0, 4, 1, 0, 0]);
}

/// A target that answers and hangs up is connected to again at once: what is due is sent.
#[test]
fn a_connection_that_ends_behind_an_answer_holds_nothing_up() {
    let server = Background::start(tcp(), Limits::default(), || Curt);
    let args = [
        &[
            "-c",
            "5",
            "--rate",
            "100",
            "--duration",
            "2s",
            "--warmup",
            "off",
        ][..],
        &["--response", "fixed:2", "--timeout", "2s"],
    ]
    .concat();
    let (_, report, said) = load(&server.address.to_string(), &args);
    let [answered, _, _, failed, unsent] = fates(&report);
    let due = answered + failed + unsent;
    assert!(unsent == 0 && answered * 10 > due * 9, "{said}{report:#}");
    assert!(count(&report, "/errors/kinds/closed_early/count") > 0);
}

/// A rate that no generator reaches is no word on the target: all that is due in the window stands
/// behind what is due before it.
#[test]
fn a_rate_beyond_the_generator_measures_nothing() {
    let server = Background::start(tcp(), Limits::default(), || Few(u64::MAX));
    let endpoint = server.address.to_string();
    let args = [
        "--rate",
        "1000000000",
        "--duration",
        "500ms",
        "--timeout",
        "1s",
    ];
    let (status, printed, said) = run_to_end(&[&["load", &endpoint], &args[..]].concat());
    // Void if the generator was busy all the time, as on a quiet machine.
    assert!([1, 9].contains(&status), "{printed}{said}");
    assert!(printed.contains("500,000,000 not sent"), "{printed}");
    assert!(printed.contains("> "), "{printed}");
}

#[test]
fn few_messages_have_no_percentile_that_chance_decides() {
    let server = Background::start(tcp(), Limits::default(), || Few(u64::MAX));
    let endpoint = server.address.to_string();
    let args = ["-c", "2", "--requests", "20", "--require", "p99<10s"];
    let (status, report, said) = load(&endpoint, &args);
    let response = &report["times_nanoseconds"]["response"];
    assert!(response["p50"].is_u64(), "{report:#}");
    assert_eq!(
        (&response["p90"], &response["p99"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(status, 8);
    assert!(
        said.contains("p99<10s (20 messages are too few; p99 takes 1,000)"),
        "{said}"
    );
}

#[test]
fn a_goal_that_is_not_measured_is_no_goal() {
    for (words, why) in [
        ("tcp://127.0.0.1:9 --require lost=0", "only datagrams"),
        ("tcp://127.0.0.1:9 --require reordered=0", "only datagrams"),
        (
            "udp://127.0.0.1:9 --message ab --require reordered=0",
            "bear no number",
        ),
        (
            "tcp://127.0.0.1:9 --response none --require p99<1s",
            "no answer is waited for",
        ),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let (status, _, said) = run_to_end(&[&["load"], &words[..]].concat());
        assert_eq!(status, 2, "{words:?}: {said}");
        assert!(said.contains(why), "{words:?}: {said}");
    }
}

/// An outage is as long as it was, and not as long as the generator's own patience.
#[test]
fn an_outage_is_measured_to_the_moment_the_target_is_back() {
    let outage = Duration::from_millis(700);
    let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = first.local_addr().unwrap();
    let (sender, begun) = std::sync::mpsc::channel();
    let target = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let echo = |stream: &mut std::net::TcpStream| {
            let mut buffer = [0; 64];
            stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok()
        };
        let (mut stream, _) = first.accept().unwrap();
        assert!((0..20).all(|_| echo(&mut stream)));
        drop((stream, first));
        std::thread::sleep(outage);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(8).unwrap();
        sender.send(()).unwrap();
        let again: std::net::TcpListener = socket.into();
        let (mut stream, _) = again.accept().unwrap();
        while echo(&mut stream) {}
    });
    let endpoint = format!("tcp://{address}");
    let args = [
        &[
            "-c",
            "1",
            "--rate",
            "100",
            "--arrivals",
            "uniform",
            "--duration",
            "2s",
        ][..],
        &["--warmup", "off", "--timeout", "5s"],
    ]
    .concat();
    let (_, report, said) = load(&endpoint, &args);
    begun.recv_timeout(PATIENCE).unwrap();
    target.join().unwrap();
    let longest = Duration::from_nanos(
        report["times_nanoseconds"]["response"]["max"]
            .as_u64()
            .unwrap_or_default(),
    );
    // 10 ms between attempts, and what a busy machine adds.
    let slack = Duration::from_millis(250);
    assert!(
        longest > outage / 2 && longest < outage + slack,
        "{longest:?} {said}{report:#}"
    );
}

/// A target that takes connections and says nothing keeps each of them in use: what waits for one
/// is not the generator's fault.
#[test]
fn a_target_that_never_answers_is_not_the_generator_s_fault() {
    let server = Background::start(tcp(), Limits::default(), || Few(0));
    let args = [
        "-c",
        "3",
        "--rate",
        "1k",
        "--duration",
        "1s",
        "--warmup",
        "off",
        "--timeout",
        "2s",
    ];
    let (status, report, said) = load(&server.address.to_string(), &args);
    let [answered, _, _, failed, unsent] = fates(&report);
    assert!(answered == 0 && failed > 0 && unsent > 0, "{report:#}");
    assert_ne!(report["verdict"], "generator", "{report:#}");
    assert_eq!(status, 1, "{said}");
}

/// A closed loop that has sent all its datagrams waits for late answers, and then it ends.
#[test]
fn a_run_whose_last_datagrams_are_lost_has_an_end() {
    let server = Background::start(udp(), Limits::default(), || Few(98));
    let args = ["-c", "1", "--requests", "100", "--timeout", "100ms"];
    let (status, report, said) = load(&server.address.to_string(), &args);
    assert_eq!(fates(&report), [98, 0, 2, 0, 0], "{said}");
    assert_eq!(status, 0, "{said}");
}
