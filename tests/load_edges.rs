//! Runs at their edges: targets that fail, stall, leave or have no room, at each phase of a run. Whatever happens, a run ends, what was sent is accounted
//! for, and nobody is blamed for what another one did.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Background, Scratch, Server, again, count, load, loopback, messages};
use mynah::service::{Action, Context, Service};
use mynah::{Address, Limits};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

/// Every message that was due has one fate, and a place among the response times.
#[track_caller]
fn assert_balances(report: &Value) {
    let of = |name: &str| count(report, &format!("/messages/{name}"));
    let fates = ["answered", "left", "late", "lost", "failed", "unsent"];
    assert_eq!(fates.map(of).iter().sum::<u64>(), of("due"), "{report:#}");
    if of("left") == 0 && of("due") > 0 {
        let times = |name: &str| count(report, &format!("/times_nanoseconds/response/{name}"));
        assert_eq!(times("count"), of("due"), "{report:#}");
        assert_eq!(
            times("unanswered"),
            of("due") - of("answered"),
            "{report:#}"
        );
    }
    let failed = of("failed").saturating_sub(of("unanswered"));
    assert!(failed <= count(report, "/errors/total"), "{report:#}");
}

/// A listener that plays with each connection in a thread of its own until the test is over.
struct Odd {
    endpoint: String,
    is_over: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Odd {
    fn start(mut play: impl FnMut(std::net::TcpStream) + Send + 'static) -> Odd {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = is_over.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = again(|| listener.accept()) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                play(stream);
            }
        });
        Odd {
            endpoint: format!("tcp://{address}"),
            is_over,
            address,
        }
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Ends the accept.
        let _ = std::net::TcpStream::connect(self.address);
    }
}

#[test]
fn a_single_connection_churns_too() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    for args in [
        &["-c", "1"][..],
        &["-c", "1", "--rate", "500"],
        &["-c", "3", "--threads", "3"],
    ] {
        let (status, report, said) = load(
            &endpoint,
            &[args, &["--churn", "--requests", "50", "--verify"]].concat(),
        );
        assert_eq!(
            (status, messages(&report)),
            (0, [50, 50, 0, 0]),
            "{args:?}: {said}"
        );
    }
}

/// A pause between connections is no sign that the target has gone.
#[test]
fn a_pause_that_is_longer_than_the_timeout_ends_nothing() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let (status, report, said) = load(
        &endpoint,
        &[
            "-c",
            "1",
            "--churn",
            "--requests",
            "3",
            "--think",
            "400ms",
            "--timeout",
            "200ms",
        ],
    );
    assert_eq!((status, messages(&report)), (0, [3, 3, 0, 0]), "{said}");
}

/// A target with room for few connections: the others are errors, and the run begins without them.
#[test]
fn a_run_begins_although_some_connections_cannot_be_made() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0))))
        .unwrap();
    socket.listen(0).unwrap();
    let endpoint = format!(
        "tcp://{}",
        socket.local_addr().unwrap().as_socket().unwrap()
    );
    let listener: TcpListener = socket.into();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..count]).unwrap();
        }
        listener
    });
    let (_, report, said) = load(
        &endpoint,
        &[
            "-c",
            "30",
            "--timeout",
            "400ms",
            "--duration",
            "500ms",
            "--warmup",
            "off",
        ],
    );
    drop(peer.join().unwrap());
    assert!(count(&report, "/messages/answered") > 0, "{said}{report:#}");
    assert!(
        count(&report, "/errors/kinds/timed_out/count") >= 20,
        "{report:#}"
    );
    assert_balances(&report);
}

/// Nothing is waited for, and yet a target that takes nothing is known.
#[test]
fn a_target_that_does_not_read_ends_a_run_that_waits_for_no_answers() {
    let mut kept = Vec::new();
    let odd = Odd::start(move |stream| kept.push(stream));
    let args = [
        "-c",
        "1",
        "--response",
        "none",
        "--requests",
        "3",
        "--size",
        "32MiB",
        "--timeout",
        "300ms",
    ];
    let (status, report, said) = load(&odd.endpoint, &args);
    assert_eq!(
        (
            status,
            count(&report, "/messages/completed"),
            count(&report, "/errors/kinds/timed_out/count")
        ),
        (1, 0, 3),
        "{said}{report:#}"
    );
    assert!(said.contains("took nothing"), "{said}");
}

/// What is not read is not sent, and costs no processor.
#[test]
fn a_blocked_generator_sleeps() {
    let mut kept = Vec::new();
    let odd = Odd::start(move |stream| kept.push(stream));
    let args = [
        "-c",
        "1",
        "--response",
        "none",
        "--rate",
        "20",
        "--size",
        "16MiB",
        "--duration",
        "1s",
        "--warmup",
        "off",
        "--timeout",
        "500ms",
    ];
    let (_, report, _) = load(&odd.endpoint, &args);
    assert!(
        report["generator"]["busy_share"].as_f64().unwrap() < 0.6,
        "{report:#}"
    );
    assert!(
        !report["bottleneck"]
            .as_str()
            .unwrap_or_default()
            .contains("busy"),
        "{report:#}"
    );
}

/// A message counts as sent when it has left, not when it stands in line.
#[test]
fn what_is_counted_as_sent_has_been_received() {
    let (sender, counts) = std::sync::mpsc::channel();
    let odd = Odd::start(move |mut stream| {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let mut total = 0;
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                total += count as u64;
            }
            sender.send(total)
        });
    });
    for args in [
        &["--requests", "3"][..],
        &["--requests", "1"],
        &["--requests", "2", "--churn"],
    ] {
        let (status, report, said) = load(
            &odd.endpoint,
            &[&["-c", "1", "--response", "none", "--size", "10MB"], args].concat(),
        );
        let requests: u64 = args[1].parse().unwrap();
        assert_eq!(
            (status, count(&report, "/messages/completed")),
            (0, requests),
            "{said}"
        );
        let connections = if args.contains(&"--churn") {
            requests
        } else {
            1
        };
        let received: u64 = (0..connections)
            .map(|_| counts.recv_timeout(common::PATIENCE).unwrap())
            .sum();
        assert_eq!(received, requests * 10_000_000, "{args:?}");
    }
}

/// A target that fails at once is asked no sooner than it was to be, and the messages keep the times that they were meant for.
#[test]
fn failures_do_not_hurry_an_open_loop() {
    let odd = Odd::start(drop);
    let (_, report, said) = load(
        &odd.endpoint,
        &[
            "-c",
            "5",
            "--churn",
            "--rate",
            "20",
            "--arrivals",
            "uniform",
            "--duration",
            "1s",
            "--warmup",
            "off",
        ],
    );
    let [sent, answered, _, unsent] = messages(&report);
    assert_eq!((sent + unsent, answered), (20, 0), "{said}{report:#}");
    assert_balances(&report);
}

/// Half as fast as asked: its messages are late, and that is not the generator's fault.
#[test]
fn the_target_s_slowness_is_not_the_generator_s_lateness() {
    let odd = Odd::start(|mut stream| {
        let mut buffer = [0; 64];
        if stream.read_exact(&mut buffer).is_ok() {
            thread::sleep(Duration::from_millis(20));
            let _ = stream.write_all(&buffer);
        }
    });
    let (_, report, _) = load(
        &odd.endpoint,
        &["-c", "2", "--churn", "--rate", "200", "--requests", "100"],
    );
    let [late, response] = [
        "/times_nanoseconds/lateness/p90",
        "/times_nanoseconds/response/p90",
    ]
    .map(|path| count(&report, path));
    assert!(
        response > 1_000_000_000 && late < response / 4,
        "{late} {response}"
    );
}

/// Answers every second datagram.
#[derive(Default)]
struct Half(u64);

impl Service for Half {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        self.0 += 1;
        if self.0 % 2 == 0 {
            cx.reply(input);
        }
        Action::Continue
    }
}

#[test]
fn datagrams_on_their_way_at_the_end_are_accounted_for() {
    let server = Background::start(Address::Udp(loopback()), Limits::default(), Half::default);
    let (_, report, _) = load(
        &server.address.to_string(),
        &[
            "-c",
            "1",
            "--rate",
            "100",
            "--requests",
            "20",
            "--timeout",
            "off",
        ],
    );
    assert_eq!(
        (messages(&report), count(&report, "/datagrams/lost")),
        ([20, 10, 10, 0], 10)
    );
}

/// A Unix listener without room is no error, and what could not be sent to it is sent later.
#[test]
fn a_full_backlog_of_a_unix_socket_loses_no_message() {
    let scratch = Scratch::new();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket
        .bind(&SockAddr::unix(scratch.path("socket")).unwrap())
        .unwrap();
    socket.listen(0).unwrap();
    let peer = thread::spawn(move || {
        for _ in 0..60 {
            let (mut stream, _) = again(|| socket.accept()).unwrap();
            let mut buffer = [0; 64];
            thread::sleep(Duration::from_millis(2));
            if stream.read_exact(&mut buffer).is_ok() {
                let _ = stream.write_all(&buffer);
            }
        }
    });
    let (status, report, said) = load(
        &scratch.endpoint("unix", "socket"),
        &["-c", "20", "--churn", "--requests", "60"],
    );
    peer.join().unwrap();
    assert_eq!(
        (status, messages(&report), count(&report, "/errors/total")),
        (0, [60, 60, 0, 0], 0),
        "{said}{report:#}"
    );
}

/// A target that stands still for good: what was not sent in the window is told, and nothing of the warm-up with it.
#[test]
fn the_warm_up_is_no_part_of_what_was_not_sent() {
    let mut kept = Vec::new();
    let odd = Odd::start(move |stream| kept.push(stream));
    let args = [
        "-c",
        "1",
        "--rate",
        "100",
        "--arrivals",
        "uniform",
        "--warmup",
        "500ms",
        "--duration",
        "200ms",
        "--timeout",
        "2s",
    ];
    let (status, report, _) = load(&odd.endpoint, &args);
    let [sent, answered, _, unsent] = messages(&report);
    assert_eq!((status, sent + unsent, answered), (1, 20, 0), "{report:#}");
}

/// One thread that finds nobody ends all of them: nobody waits for a report that will not be.
#[test]
fn a_thread_without_a_target_ends_the_others() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..count]).unwrap();
        }
    });
    let (status, report, said) = load(
        &endpoint,
        &["-c", "2", "--threads", "2", "--duration", "1h"],
    );
    peer.join().unwrap();
    assert_eq!(
        (status, report, said.lines().count()),
        (3, Value::Null, 1),
        "{said}"
    );
}

/// Answers all but one.
#[derive(Default)]
struct Swallow(u64);

impl Service for Swallow {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        self.0 += 1;
        if self.0 != 101 {
            cx.reply(input);
        }
        Action::Continue
    }
}

/// The seconds of a run are as long as the run, also where its last message is waited for in vain.
#[test]
fn the_intervals_are_the_run() {
    let server = Background::start(
        Address::Tcp(loopback()),
        Limits::default(),
        Swallow::default,
    );
    let (_, report, said) = load(
        &server.address.to_string(),
        &["-c", "1", "--requests", "101", "--timeout", "1500ms"],
    );
    assert_eq!(
        (
            messages(&report),
            count(&report, "/errors/kinds/timed_out/count")
        ),
        ([101, 100, 0, 0], 1),
        "{said}"
    );
    let intervals = report["intervals"].as_array().unwrap();
    let length: f64 = intervals
        .iter()
        .map(|interval| interval["length_seconds"].as_f64().unwrap())
        .sum();
    assert!(
        (length - report["measured_seconds"].as_f64().unwrap()).abs() < 1e-6,
        "{report:#}"
    );
}

/// More messages than there will ever be time for.
#[test]
fn no_number_of_requests_is_too_many() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let most = u64::MAX.to_string();
    let (status, report, said) = load(
        &endpoint,
        &[
            "-c",
            "1",
            "--rate",
            "1k",
            "--arrivals",
            "uniform",
            "--warmup",
            "100ms",
            "--requests",
            &most,
            "--duration",
            "300ms",
        ],
    );
    assert_eq!((status, messages(&report)), (0, [300, 300, 0, 0]), "{said}");
}
