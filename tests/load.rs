//! `mynah load`, as it is used: messages and answers of all kinds, paces, ends, and what is said where it cannot be done.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;

use common::{
    Scratch, Server, binary, count, eventually, fates, has_tool, isolated, json, load, run_to_end,
    signal,
};
use serde_json::Value;

/// Runs a load that is to be right: the endpoint first.
#[track_caller]
fn load_well(args: &[&str]) -> Value {
    let (status, report, said) = load(args[0], &args[1..]);
    assert_eq!((status, said.as_str()), (0, ""), "{args:?}");
    report
}

/// The service of all four kinds of sockets.
fn serve_all(scratch: &Scratch) -> (Server, Vec<String>) {
    let paths = [
        scratch.endpoint("unix", "stream"),
        scratch.endpoint("unixgram", "datagram"),
    ];
    let server = Server::start(&[
        "tcp://127.0.0.1:0",
        "udp://127.0.0.1:0",
        &paths[0],
        &paths[1],
    ]);
    let endpoints = vec![
        format!("tcp://{}", server.address(0)),
        format!("udp://{}", server.address(1)),
        paths[0].clone(),
        paths[1].clone(),
    ];
    (server, endpoints)
}

#[test]
fn every_message_is_answered_on_all_sockets_in_both_loops() {
    let scratch = Scratch::new();
    let (_server, endpoints) = serve_all(&scratch);
    for endpoint in &endpoints {
        for pace in [
            &["--depth", "1"][..],
            &["--depth", "7"],
            &["--rate", "5k"],
            &["--rate", "5k", "--depth", "3"],
        ] {
            let report = load_well(
                &[
                    &[
                        endpoint.as_str(),
                        "-c",
                        "5",
                        "--requests",
                        "1000",
                        "--verify",
                    ],
                    pace,
                ]
                .concat(),
            );
            let counts = ["sent", "answered", "unanswered", "unsent", "wrong_bytes"]
                .map(|name| count(&report, &format!("/messages/{name}")));
            assert_eq!(counts, [1000, 1000, 0, 0, 0], "{endpoint} {pace:?}");
            assert_eq!(
                (
                    count(&report, "/errors/total"),
                    count(&report, "/connections/opened")
                ),
                (0, 5),
                "{endpoint} {pace:?}"
            );
            assert_eq!(count(&report, "/times_nanoseconds/response/count"), 1000);
            let is_open = pace[0] == "--rate";
            assert_eq!(
                report
                    .pointer("/times_nanoseconds/service")
                    .unwrap()
                    .is_object(),
                is_open
            );
            if endpoint.starts_with("u") && !endpoint.starts_with("unix:") {
                assert_eq!(fates(&report), [0; 4], "{endpoint} {pace:?}");
            }
        }
    }
}

/// Sends three messages, and fails unless the run ends because of answers that were not as expected.
/// Returns how many were not, and what the run said.
#[track_caller]
fn mismatches(endpoint: &str, message: &str, response: &str, expect: &str) -> (u64, String) {
    let (status, report, said) = load(
        endpoint,
        &[
            "-c",
            "1",
            "--requests",
            "3",
            "--message",
            message,
            "--response",
            response,
            "--expect",
            expect,
        ],
    );
    assert_eq!(status, 8, "{said}");
    (count(&report, "/errors/kinds/mismatch/count"), said)
}

#[test]
fn threads_and_sources_share_the_work() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    for pace in [&["--depth", "2"][..], &["--rate", "5k"], &["--churn"]] {
        let args = [
            &[
                endpoint.as_str(),
                "-c",
                "7",
                "--threads",
                "3",
                "--requests",
                "700",
                "--verify",
                "--source",
                "127.0.0.2,127.0.0.3",
            ],
            pace,
        ]
        .concat();
        let report = load_well(&args);
        assert_eq!(
            (
                count(&report, "/messages/sent"),
                count(&report, "/messages/answered")
            ),
            (700, 700),
            "{pace:?}"
        );
        assert_eq!(count(&report, "/settings/threads"), 3);
    }
}

#[test]
fn churn_makes_a_connection_for_each_message() {
    let scratch = Scratch::new();
    let (_server, endpoints) = serve_all(&scratch);
    for endpoint in [&endpoints[0], &endpoints[2]] {
        for pace in [&["--verify"][..], &["--rate", "2k"]] {
            let report = load_well(
                &[
                    &[endpoint.as_str(), "-c", "9", "--requests", "300", "--churn"],
                    pace,
                ]
                .concat(),
            );
            assert_eq!(
                (
                    count(&report, "/messages/answered"),
                    count(&report, "/errors/total")
                ),
                (300, 0),
                "{endpoint} {pace:?}"
            );
            // The one that tells whether there is a target carries the first message: the target
            // sees no connection that nobody uses.
            assert_eq!(
                count(&report, "/connections/opened"),
                300,
                "{endpoint} {pace:?}"
            );
        }
    }
}

#[test]
fn messages_longer_than_any_buffer_come_back_whole() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let report = load_well(&[
        &endpoint,
        "-c",
        "3",
        "--requests",
        "30",
        "--size",
        "3MiB",
        "--verify",
        "--depth",
        "2",
    ]);
    assert_eq!(
        (
            count(&report, "/messages/answered"),
            count(&report, "/messages/wrong_bytes")
        ),
        (30, 0)
    );
    assert!(count(&report, "/bytes/received") <= 90 << 20);
}

#[test]
fn no_answer_is_waited_for_where_none_is_expected() {
    let scratch = Scratch::new();
    let (_server, endpoints) = serve_all(&scratch);
    for endpoint in &endpoints {
        for pace in [
            &["--requests", "1000"][..],
            &["--requests", "200", "--rate", "2k"],
        ] {
            let report =
                load_well(&[&[endpoint.as_str(), "-c", "4", "--response", "none"], pace].concat());
            assert_eq!(
                count(&report, "/messages/sent").to_string(),
                pace[1],
                "{endpoint} {pace:?}"
            );
            // What went when the window had just ended is sent, and no part of the rate.
            assert!(
                count(&report, "/messages/completed") <= count(&report, "/messages/sent"),
                "{endpoint} {pace:?}"
            );
        }
    }
}

#[test]
fn answers_end_where_they_are_said_to() {
    let server = Server::start(&[
        "tcp://127.0.0.1:0",
        "--frame",
        "line",
        "--reply",
        "{seq}: {}",
    ]);
    let endpoint = format!("tcp://{}", server.address(0));
    let report = load_well(&[
        &endpoint,
        "-c",
        "2",
        "--requests",
        "500",
        "--message",
        r"hello\n",
        "--response",
        r"until:hello\n",
        "--depth",
        "4",
    ]);
    assert_eq!(
        (
            count(&report, "/messages/answered"),
            count(&report, "/errors/total")
        ),
        (500, 0)
    );
    let (mismatches, said) = mismatches(&endpoint, r"a\n", r"until:\n", r"2: a\n");
    assert_eq!(mismatches, 2, "{said}");
    assert_eq!(said, "mynah: 2 answers were not as expected\n");
}

#[test]
fn a_message_may_come_from_a_file() {
    let scratch = Scratch::new();
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let path = scratch.path("message");
    std::fs::write(&path, common::pattern(200_000, 3)).unwrap();
    let report = load_well(&[
        &format!("tcp://{}", server.address(0)),
        "--requests",
        "20",
        "-c",
        "2",
        "--verify",
        "--message-file",
        path.to_str().unwrap(),
    ]);
    assert_eq!(
        (
            count(&report, "/settings/message_bytes"),
            count(&report, "/messages/answered")
        ),
        (200_000, 20)
    );
}

/// On a grid the rate that was asked for is the rate that is had, to the message.
#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let server = Server::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    for (scheme, index) in [("tcp", 0), ("udp", 1)] {
        let endpoint = format!("{scheme}://{}", server.address(index));
        let report = load_well(&[
            &endpoint,
            "-c",
            "7",
            "--rate",
            "1234.5",
            "--arrivals",
            "uniform",
            "--duration",
            "2s",
            "--warmup",
            "300ms",
        ]);
        assert_eq!(
            (
                count(&report, "/messages/sent"),
                count(&report, "/messages/answered")
            ),
            (2469, 2469),
            "{scheme}"
        );
    }
}

#[test]
fn pauses_are_kept_between_messages() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let report = load_well(&[
        &endpoint,
        "-c",
        "4",
        "--think",
        "50ms",
        "--duration",
        "1s",
        "--warmup",
        "off",
    ]);
    // One at the start and one after each pause: a pause may end late, and never early.
    let sent = count(&report, "/messages/sent");
    assert!((4..=4 * 20).contains(&sent), "{sent}");
}

/// Messages that can never be sent do not keep a run alive for ever.
#[test]
fn a_target_that_leaves_in_the_middle_ends_a_run_without_another_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 64];
        for _ in 0..10 {
            stream.read_exact(&mut buffer).unwrap();
            stream.write_all(&buffer).unwrap();
        }
    });
    let (status, report, said) = load(
        &endpoint,
        &["-c", "1", "--requests", "1000", "--timeout", "300ms"],
    );
    peer.join().unwrap();
    assert_eq!(
        (status, count(&report, "/messages/answered")),
        (1, 10),
        "{said}"
    );
    assert!(
        said.contains("messages were not sent: no connection was left that worked"),
        "{said}"
    );
    assert!(
        count(&report, "/errors/kinds/refused/count") > 0,
        "{report:#}"
    );
    assert_eq!(
        count(&report, "/messages/sent") + count(&report, "/messages/unsent"),
        1000
    );
    assert!(
        report["shortfall"]
            .as_str()
            .unwrap()
            .contains("of 1,000 messages were not sent: no connection was left that worked"),
        "{report:#}"
    );
}

#[test]
fn an_address_to_speak_from_must_be_of_the_same_kind() {
    let (status, _, said) = load("tcp://127.0.0.1:9", &["--source", "::1"]);
    assert_eq!(status, 2);
    assert!(said.contains("both must be IPv4, or IPv6"), "{said}");
}

#[test]
fn requirements_decide_the_exit_status() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let goals = [
        "--require",
        "p90<60s",
        "--require",
        "errors=0",
        "--require",
        "rate>1",
        "--require",
        "unsent=0",
    ];
    let report = load_well(
        &[
            &[endpoint.as_str(), "-c", "2", "--requests", "100"],
            &goals[..],
        ]
        .concat(),
    );
    assert!(
        report["requirements"]
            .as_array()
            .unwrap()
            .iter()
            .all(|goal| goal["met"] == true)
    );
    let (status, report, said) = load(
        &endpoint,
        &[
            "-c",
            "2",
            "--requests",
            "100",
            "--require",
            "errors=0",
            "--require",
            "max<1ns",
            "--require",
            "rate>999M",
        ],
    );
    assert_eq!(status, 8);
    assert!(
        said.starts_with("mynah: not met: max<1ns (")
            && said.contains("), rate>999M (")
            && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(
        report["requirements"]
            .as_array()
            .unwrap()
            .iter()
            .map(|goal| &goal["met"])
            .collect::<Vec<_>>(),
        [true, false, false]
    );
}

/// The line on standard error and the exit status, of a run that does not begin.
#[test]
fn a_target_that_is_not_there_is_said_at_once() {
    let scratch = Scratch::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let udp = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for (endpoint, status, why) in [
        (
            format!("tcp://127.0.0.1:{port}"),
            3,
            "connection refused; nobody listens there",
        ),
        (format!("tcp://localhost:{port}"), 3, "connection refused"),
        (
            format!("udp://127.0.0.1:{udp}"),
            3,
            "connection refused; nobody listens there",
        ),
        (
            scratch.endpoint("unix", "none"),
            1,
            "there is no such socket file",
        ),
        (
            scratch.endpoint("unixgram", "none"),
            1,
            "there is no such socket file",
        ),
        ("tcp://name.invalid:7".to_owned(), 7, "cannot resolve"),
    ] {
        for pace in [&[][..], &["--rate", "1k"], &["--threads", "2"]] {
            let (got, report, said) = load(&endpoint, &[&["-c", "5"], pace].concat());
            assert_eq!(
                (got, said.lines().count(), &report),
                (status, 1, &Value::Null),
                "{endpoint} {pace:?}: {said}"
            );
            assert!(
                said.starts_with("mynah: cannot ")
                    && said.contains(why)
                    && said.contains(&endpoint),
                "{said}"
            );
        }
    }
    let (got, _, said) = load(&format!("tcp://127.0.0.1:{port}"), &["--churn"]);
    assert_eq!((got, said.lines().count()), (3, 1), "{said}");
}

#[test]
fn more_connections_than_descriptors_are_refused_before_the_run() {
    let (status, _, said) = load("tcp://127.0.0.1:9", &["-c", "4000000000"]);
    assert_eq!(status, 1);
    assert!(
        said.contains("do not fit into") && said.contains("ulimit -Hn"),
        "{said}"
    );
}

#[test]
fn a_report_that_cannot_be_written_is_said_before_the_run() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    for option in ["--json", "--html", "--hdr"] {
        let (status, _, said) = run_to_end(&[
            "load",
            &format!("tcp://{}", server.address(0)),
            option,
            "/no/such/place",
        ]);
        assert_eq!((status, said.lines().count()), (1, 1));
        assert!(
            said.contains(option) && said.contains("/no/such/place"),
            "{said}"
        );
    }
    assert_eq!(server.count_in_log("accepted"), 0);
}

/// The interrupt of a terminal ends the window, and what there is is reported.
#[test]
fn an_interrupt_reports_what_there_is() {
    let server = Server::start(&["tcp://127.0.0.1:0", "-v"]);
    let endpoint = format!("tcp://{}", server.address(0));
    for extra in [
        &[][..],
        &["--threads", "2"],
        &["--rate", "100"],
        &["--requests", "1000000000"],
    ] {
        let before = server.count_in_log("accepted");
        let mut run = Command::new(binary());
        run.args([
            "load",
            &endpoint,
            "-c",
            "3",
            "--duration",
            "1h",
            "--warmup",
            "off",
            "--json",
            "-",
        ])
        .args(extra);
        let mut run = run
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("connections are made", || {
            (server.count_in_log("accepted") >= before + 3).then_some(())
        });
        // At any time from then on: also before the start.
        signal(run.id(), "INT");
        let (mut printed, mut said) = (String::new(), String::new());
        run.stdout
            .take()
            .unwrap()
            .read_to_string(&mut printed)
            .unwrap();
        run.stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let status = run.wait().unwrap().code();
        let report = json(&printed);
        assert_eq!(report["stopped_early"], true, "{extra:?}");
        assert_eq!(
            count(&report, "/messages/unanswered") + count(&report, "/errors/total"),
            0,
            "{extra:?}"
        );
        let has_any = count(&report, "/messages/answered") > 0;
        assert_eq!(
            status,
            Some(if has_any { 0 } else { 1 }),
            "{extra:?}: {said}"
        );
    }
}

/// The last answer of all is not waited for for ever, and what is waited for is said.
#[test]
fn a_target_that_says_nothing_ends_the_run_with_its_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let (status, report, said) = load(
        &endpoint,
        &["-c", "2", "--requests", "4", "--timeout", "200ms"],
    );
    assert_eq!(status, 1);
    assert_eq!(
        (
            count(&report, "/errors/kinds/timed_out/count"),
            count(&report, "/messages/answered")
        ),
        (4, 0)
    );
    assert!(
        said.contains("no message was answered: connection ")
            && said.contains("no answer within 200ms"),
        "{said}"
    );
}

#[test]
fn a_peer_that_leaves_is_an_error_and_the_run_goes_on() {
    let server = Server::start(&["tcp://127.0.0.1:0", "--close", "--reply", "{}"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let (status, report, said) = load(
        &endpoint,
        &["-c", "3", "--requests", "30", "--timeout", "5s"],
    );
    assert_eq!(status, 0, "{said}");
    // Each connection is closed after its answer, and the message that went meanwhile is lost.
    assert_eq!(count(&report, "/messages/sent"), 30);
    let failed = 30 - count(&report, "/messages/answered");
    let kinds = ["closed_early", "reset"].map(|kind| {
        report["errors"]["kinds"][kind]["count"]
            .as_u64()
            .unwrap_or(0)
    });
    assert!(
        failed > 0
            && kinds.iter().sum::<u64>() >= failed
            && kinds.iter().sum::<u64>() == count(&report, "/errors/total"),
        "{report:#}"
    );
    // Where a connection has one message alone, that is what is wanted.
    let report = load_well(&[&endpoint, "-c", "3", "--requests", "30", "--churn"]);
    assert_eq!(
        (
            count(&report, "/messages/answered"),
            count(&report, "/errors/total")
        ),
        (30, 0)
    );
}

/// A single answer that a peer gives before it is asked is counted as what it is, and spoils nothing.
#[test]
fn what_was_not_asked_for_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"unasked!").unwrap();
        let mut buffer = [0; 8];
        while stream.read(&mut buffer).unwrap() > 0 {
            stream.write_all(&buffer).unwrap();
        }
    });
    let (status, report, _) = load(
        &endpoint,
        &["-c", "1", "--requests", "10", "--size", "8", "--rate", "20"],
    );
    peer.join().unwrap();
    assert_eq!((status, count(&report, "/messages/answered")), (0, 10));
    assert_eq!(count(&report, "/errors/kinds/unasked/count"), 1);
}

#[test]
fn redis_answers() {
    if !has_tool("redis-server") {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path("redis.sock");
    let mut redis = Command::new("redis-server")
        .args([
            "--port",
            "0",
            "--save",
            "",
            "--unixsocket",
            path.to_str().unwrap(),
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("redis listens", || {
        std::os::unix::net::UnixStream::connect(&path).ok()
    });
    let endpoint = scratch.endpoint("unix", "redis.sock");
    for depth in ["1", "16"] {
        let report = load_well(&[
            &endpoint,
            "-c",
            "5",
            "--requests",
            "5000",
            "--message",
            r"PING\r\n",
            "--expect",
            r"+PONG\r\n",
            "--depth",
            depth,
        ]);
        assert_eq!(
            (
                count(&report, "/messages/answered"),
                count(&report, "/errors/total")
            ),
            (5000, 0)
        );
    }
    let (mismatches, said) = mismatches(&endpoint, r"PONG\r\n", r"until:\r\n", r"+PONG\r\n");
    assert_eq!(mismatches, 3, "{said}");
    redis.kill().unwrap();
    redis.wait().unwrap();
}

/// Out of local ports is said in those words, and another address to speak from has ports of its own.
#[test]
fn out_of_ports_is_said_in_those_words() {
    let Some(isolated) = isolated() else { return };
    // Eight ports in a network of its own, and more connections than that.
    let script = format!(
        r#"ip link set lo up && echo "40000 40007" > /proc/sys/net/ipv4/ip_local_port_range
        {0} serve tcp://127.0.0.1:7777 -q > /dev/null & server=$!
        while ! {0} load tcp://127.0.0.1:7777 -c 1 --requests 1 > /dev/null 2>&1; do :; done
        {0} load tcp://127.0.0.1:7777 -c 40 --duration 300ms --warmup off --spoiled warn --json - ; echo "== $?"
        {0} load tcp://127.0.0.1:7777 -c 40 --duration 300ms --warmup off --spoiled warn --json - --source 127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5,127.0.0.6 ; echo "== $?"
        kill $server; wait $server"#,
        binary()
    );
    let output = Command::new("unshare")
        .args(isolated)
        .args(["sh", "-c", &script])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let reports: Vec<&str> = printed.split("== 0\n").collect();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(reports.len(), 3, "{printed}{said}");
    let short = json(reports[0]);
    assert!(
        count(&short, "/errors/kinds/no_port/count") >= 32,
        "{short:#}"
    );
    let first = short["errors"]["kinds"]["no_port"]["first"]
        .as_str()
        .unwrap();
    assert!(
        first.contains("no local port is left") && first.contains("ip_local_port_range"),
        "{first}"
    );
    let enough = json(reports[1]);
    assert_eq!(
        (
            count(&enough, "/errors/total"),
            count(&enough, "/connections/opened")
        ),
        (0, 40),
        "{enough:#}"
    );
}
