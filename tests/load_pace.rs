//! When `mynah load` sends: arrivals, seeds, stages, a common start, labels. What the times
//! themselves are like is tested in `tests/load_simulation.rs`.

mod common;

use std::time::{Duration, SystemTime};

use common::{Scratch, Server, TCP, UDP, count, json, load, messages, run_to_end};
use serde_json::Value;

/// Runs that must do well.
#[track_caller]
fn load_well(endpoint: &str, args: &[&str]) -> Value {
    let (status, report, said) = load(endpoint, args);
    assert_eq!(status, 0, "{args:?}: {said}");
    report
}

fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

/// The seed that a report prints gives the same schedule again: as many messages of the same run.
#[test]
fn a_printed_seed_repeats_the_schedule() {
    let server = Server::start(&[TCP, UDP]);
    for endpoint in [
        format!("tcp://{}", server.address(0)),
        format!("udp://{}", server.address(1)),
    ] {
        let run = |more: &[&str]| {
            let words = "-c 3 --rate 2k --duration 500ms --warmup off --depth 1000";
            let words: Vec<&str> = words.split(' ').chain(more.iter().copied()).collect();
            load_well(&endpoint, &words)
        };
        let first = run(&[]);
        assert_eq!(first["settings"]["arrivals"], "poisson");
        let seed = count(&first, "/settings/seed").to_string();
        let due = |report: &Value| {
            let [sent, _, _, unsent] = messages(report);
            sent + unsent
        };
        assert_eq!(due(&first), due(&run(&["--seed", &seed])));
        assert!((905..=1095).contains(&due(&first)), "{}", due(&first));
        // Of 40 standard deviations, a few of these seeds are not all on the same one.
        let others = ["1", "2", "3", "4"].map(|seed| due(&run(&["--seed", seed])));
        assert!(others.iter().any(|other| *other != others[0]), "{others:?}");
    }
}

/// Poisson arrivals do not change how many messages a run of so many has, over any threads.
#[test]
fn a_number_of_requests_is_exact() {
    let server = Server::start(&[TCP]);
    let endpoint = format!("tcp://{}", server.address(0));
    for words in [
        "-c 7 --rate 5k --requests 1001",
        "-c 7 --rate 5k --requests 1001 --threads 3 --warmup 100ms",
        "-c 2 --rate 2k --requests 101 --churn",
        "-c 9 --rate 1k --requests 2",
    ] {
        let args: Vec<&str> = words.split(' ').collect();
        let asked: u64 = args[5].parse().unwrap();
        let report = load_well(&endpoint, &args);
        assert_eq!(messages(&report), [asked, asked, 0, 0], "{words}");
    }
}

/// Stages follow each other, and each has its own line and its own numbers.
#[test]
fn stages_are_reported_one_by_one() {
    let server = Server::start(&[TCP]);
    let endpoint = format!("tcp://{}", server.address(0));
    let words = "-c 3 --arrivals uniform --warmup 100ms --stage 1k:200ms --stage 0:100ms \
        --stage 0..2k:300ms";
    let args: Vec<&str> = words.split_whitespace().collect();
    let report = load_well(&endpoint, &args);
    let stages: Vec<[u64; 3]> = (0..3)
        .map(|stage| {
            ["due", "sent", "answered"]
                .map(|name| count(&report, &format!("/stages/{stage}/{name}")))
        })
        .collect();
    assert_eq!(stages, [[200; 3], [0; 3], [300; 3]]);
    assert_eq!(messages(&report)[..2], [500, 500]);
    assert_eq!(report["measured_seconds"], 0.6);
    assert_eq!(report["stages"][2]["to_per_second"], 2000.0);
    assert!(report["stages"][0]["p90_nanoseconds"].as_u64() > Some(0));
    assert_eq!(report["stages"][0]["p99_nanoseconds"], Value::Null);
    assert_eq!(report["stages"][1]["p99_nanoseconds"], Value::Null);

    let (status, table, said) =
        run_to_end(&[&["load", &endpoint, "--spoiled", "warn"][..], &args].concat());
    assert_eq!(status, 0, "{said}");
    for piece in [
        "open loop in 3 stages, uniform arrivals",
        "1,000/s for 200 ms",
        "0/s for 100 ms",
        "0/s to 2,000/s in 300 ms",
    ] {
        assert!(table.contains(piece), "{piece}: {table}");
    }
}

/// A stage whose messages were not answered has no percentiles among them.
#[test]
fn a_stage_without_answers_says_so() {
    let server = Server::start(&["--service", "discard", TCP]);
    let endpoint = format!("tcp://{}", server.address(0));
    let words = "-c 1 --stage 200:100ms --timeout 100ms --warmup off";
    let args: Vec<&str> = words.split(' ').collect();
    let (_, report, _) = load(&endpoint, &args);
    assert!(count(&report, "/stages/0/due") > 0, "{report:#}");
    assert_eq!(report["stages"][0]["p50_nanoseconds"], Value::Null);
    let (_, table, _) =
        run_to_end(&[&["load", &endpoint, "--spoiled", "warn"][..], &args].concat());
    assert!(table.contains("unanswered"), "{table}");
}

/// The schedule begins at the time that was given, not before, although all connections are open.
#[test]
fn a_run_begins_when_it_was_told_to() {
    let server = Server::start(&[TCP]);
    let endpoint = format!("tcp://{}", server.address(0));
    let at = now() + Duration::from_secs(2);
    let at = format!("{}.{:03}", at.as_secs(), at.subsec_millis());
    let report = load_well(
        &endpoint,
        &["-c", "2", "--requests", "10", "--start-at", &at],
    );
    let began = report["started_unix_seconds"].as_f64().unwrap();
    let told: f64 = at.parse().unwrap();
    assert!(began >= told - 0.001, "{began} {told}");
    assert_eq!(report["settings"]["start_at_unix_seconds"], told);
}

/// Connections that are not open in time do not begin late: the other machines have begun.
#[test]
fn a_start_that_is_missed_is_a_failure() {
    let server = Server::start(&[TCP]);
    let endpoint = format!("tcp://{}", server.address(0));
    let at = now() + Duration::from_secs(1);
    let at = format!("{}.{:09}", at.as_secs(), at.subsec_nanos());
    // 40 connections at ten a second take four seconds.
    let words = ["-c", "40", "--connect-rate", "10", "--start-at", &at];
    let (status, _, said) = load(&endpoint, &words);
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("--start-at: the connections were open"),
        "{said}"
    );
}

/// The label stands in every report, and in what is made of them.
#[test]
fn a_label_names_the_run_everywhere() {
    let (scratch, server) = (Scratch::new(), Server::start(&[TCP]));
    let endpoint = format!("tcp://{}", server.address(0));
    let logs = ["a", "b"].map(|name| scratch.path(name).to_str().unwrap().to_owned());
    for (log, label) in logs.iter().zip(["before it", "after it"]) {
        let words = "-c 2 --requests 50 --label";
        let mut args = vec!["load", &endpoint];
        args.extend(words.split(' ').chain([label, "--hdr", log]));
        let (status, table, said) = run_to_end(&args);
        assert_eq!(status, 0, "{said}");
        assert!(table.contains(&format!("{label}: tcp://")), "{table}");
        let (_, printed, _) = run_to_end(&[&args[..], &["--json", "-"]].concat());
        assert_eq!(json(&printed)["label"], label);
    }
    let (_, compared, _) = run_to_end(&["report", "--compare", &logs[0], &logs[1]]);
    assert!(
        compared.contains("before it") && compared.contains("after it"),
        "{compared}"
    );
    let (_, merged, _) = run_to_end(&["report", "--sequential", &logs[0], &logs[1], "--json", "-"]);
    assert_eq!(
        json(&merged)["labels"],
        json(r#"["before it", "after it"]"#)
    );
    let (_, merged, _) = run_to_end(&["report", "--sequential", &logs[0], &logs[1]]);
    assert!(merged.starts_with("before it, after it: "), "{merged}");

    // A log of somebody else's reaches the terminal without its control characters.
    let text = std::fs::read_to_string(&logs[0]).unwrap();
    std::fs::write(&logs[0], text.replace("before it", "\u{1b}[31mred")).unwrap();
    let (_, merged, _) = run_to_end(&["report", "--sequential", &logs[0], &logs[1]]);
    assert!(
        !merged.contains('\u{1b}') && merged.contains("red"),
        "{merged}"
    );
}
