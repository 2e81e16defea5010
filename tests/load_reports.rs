//! What `mynah load` writes of a run, read by others: JSON by its schema, the log by the HdrHistogram of Python, the page by a browser.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use common::{Scratch, Server, has_tool, json, run_to_end};
use serde_json::Value;

/// Runs `mynah`, which must succeed in silence. Returns what it printed.
#[track_caller]
fn run_well(args: &[&str]) -> String {
    // Many tests share few processors: what a generator that waits for one adds is no finding.
    let is_load = args[0] == "load";
    let lenient = if is_load {
        &["--spoiled", "warn"][..]
    } else {
        &[]
    };
    let (status, printed, said) = run_to_end(&[args, lenient].concat());
    assert_eq!((status, said.as_str()), (0, ""), "{args:?}");
    printed
}

/// Every field of a report with the kinds of values that it has. What stands in a list, or under the name of an error, is one field.
fn schema(value: &Value, path: &str, fields: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kinds = fields.entry(path.to_owned()).or_default();
    // What is null now and then depends on the run; so do these two, which are texts where they are anything.
    if path.ends_with(".bottleneck") || path.ends_with(".shortfall") {
        assert!(value.is_null() || value.is_string(), "{path}: {value}");
        kinds.insert("text");
        return;
    }
    // Whether a measure of times is known, and which of them lie among the unanswered, depends on
    // the run as well.
    if path.contains(".times_nanoseconds.") && path.ends_with(".at_least") {
        kinds.insert("object");
        return;
    }
    let is_summary = path.split(".times_nanoseconds.").nth(1);
    if is_summary.is_some_and(|rest| rest.contains('.')) {
        assert!(value.is_null() || value.is_u64(), "{path}: {value}");
        kinds.insert("integer");
        return;
    }
    let kind = match value {
        Value::Null => return,
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "integer",
        Value::String(_) => "text",
        Value::Array(items) => {
            items
                .iter()
                .for_each(|item| schema(item, &format!("{path}[]"), fields));
            "list"
        }
        Value::Object(items) => {
            for (name, item) in items {
                let name = if path.ends_with(".kinds") { "*" } else { name };
                schema(item, &format!("{path}.{name}"), fields);
            }
            "object"
        }
    };
    fields.entry(path.to_owned()).or_default().insert(kind);
}

/// Scripts depend on it: a field that is gone, renamed or of another kind is a new version of the schema. `UPDATE_SCHEMA=1` writes it anew.
#[test]
fn the_schema_of_the_json_report_is_the_one_that_was_promised() {
    let server = Server::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    let (tcp, udp) = (
        format!("tcp://{}", server.address(0)),
        format!("udp://{}", server.address(1)),
    );
    let mut fields = BTreeMap::new();
    let start_at = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
        + 3;
    let start_at = format!("{start_at}.25");
    for args in [
        &["load", &tcp, "--requests", "10", "-c", "2"][..],
        &[
            "load",
            &udp,
            "--duration",
            "1200ms",
            "--warmup",
            "100ms",
            "--rate",
            "100.5",
            "-c",
            "2",
            "--depth",
            "3",
            "--require",
            "p99<10s",
            "--require",
            "rate>0.1",
        ],
        &[
            "load",
            &tcp,
            "--requests",
            "10",
            "-c",
            "2",
            "--message",
            "a",
            "--expect",
            "b",
            "--source",
            "127.0.0.2",
            "--connect-rate",
            "100.5",
            "--timeout",
            "off",
        ],
        &[
            "load",
            &tcp,
            "--stage",
            "0..500:100ms",
            "--seed",
            "1",
            "--label",
            "a name",
            "--spin",
            "off",
            "--start-at",
            &start_at,
        ],
        &[
            "load",
            &tcp,
            "--find",
            "p50<1ns",
            "--duration",
            "20ms",
            "--warmup",
            "off",
            "-c",
            "1",
        ],
        &[
            "load",
            &tcp,
            "--find",
            "p50<3600s",
            "--duration",
            "20ms",
            "--warmup",
            "off",
            "-c",
            "1",
        ],
    ] {
        let (_, printed, _) = run_to_end(&[args, &["--json", "-"]].concat());
        let report = json(&printed);
        assert_eq!(report["version"], 1);
        schema(&report, report["schema"].as_str().unwrap(), &mut fields);
    }
    // Whether a trial has enough messages for a percentile, and the generator enough time, depends
    // on the machine.
    for (path, kind) in [
        ("mynah-find.trials[].intervals[].p99_nanoseconds", "integer"),
        ("mynah-find.spoiled_per_second", "fraction"),
    ] {
        fields.entry(path.to_owned()).or_default().insert(kind);
    }
    // Whether a trial of 20 ms has errors depends on the machine; their form is that of a run's.
    fields.retain(|path, _| !path.starts_with("mynah-find.trials[].errors.kinds."));
    let lines: String = fields
        .iter()
        .map(|(path, kinds)| {
            format!(
                "{path}: {}\n",
                kinds.iter().copied().collect::<Vec<_>>().join(" | ")
            )
        })
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/load_schema.txt");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &lines).unwrap();
    }
    let promised = std::fs::read_to_string(&path).unwrap();
    let (is, was) = (
        lines.lines().collect::<BTreeSet<_>>(),
        promised.lines().collect::<BTreeSet<_>>(),
    );
    assert!(
        is == was,
        "new: {:#?}\ngone: {:#?}",
        is.difference(&was).collect::<Vec<_>>(),
        was.difference(&is).collect::<Vec<_>>()
    );
}

/// A JSON report to a file leaves the table where it is.
#[test]
fn every_report_can_be_had_at_once() {
    let (scratch, server) = (Scratch::new(), Server::start(&["tcp://127.0.0.1:0"]));
    let endpoint = format!("tcp://{}", server.address(0));
    let [report, page, log] =
        ["json", "html", "hdr"].map(|name| scratch.path(name).to_str().unwrap().to_owned());
    let args = [
        "load",
        &endpoint,
        "--requests",
        "100",
        "-c",
        "2",
        "--json",
        &report,
        "--html",
        &page,
        "--hdr",
        &log,
    ];
    let table = run_well(&args);
    for words in [
        endpoint.as_str(),
        "closed loop",
        "answers/s",
        "100 due: 100 answered",
        "response time",
        "p99.9",
        "no errors",
    ] {
        assert!(table.contains(words), "{words} is not in {table}");
    }
    assert_eq!(
        json(&std::fs::read_to_string(&report).unwrap())["messages"]["answered"],
        100
    );
    assert!(std::fs::read_to_string(&page).unwrap().contains("<svg"));
    assert!(
        std::fs::read_to_string(&log)
            .unwrap()
            .lines()
            .any(|line| line.contains("HISTF"))
    );
}

/// A Python that has the library `hdrhistogram`.
fn python() -> Option<String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python3");
    let pythons = [own.to_str().unwrap().to_owned(), "python3".to_owned()];
    let found = pythons.into_iter().find(|python| {
        Command::new(python)
            .args(["-c", "import hdrh.log"])
            .output()
            .is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        eprintln!("skipped: no Python has the library hdrhistogram");
    }
    found
}

const READER: &str = r"
import json, sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
reference = HdrHistogram(1, 3600 * 10**9, 3)
sums, intervals = {}, 0
reader = HistogramLogReader(sys.argv[1], reference)
while True:
    histogram = reader.get_next_interval_histogram()
    if histogram is None:
        break
    tag = histogram.get_tag() or 'response'
    intervals += 1
    sums.setdefault(tag, HdrHistogram(1, 3600 * 10**9, 3)).add(histogram)
print(json.dumps({
    'intervals': intervals,
    'start': reader.get_start_time_sec(),
    **{tag: {
        'count': sum.get_total_count(),
        'max': sum.get_max_value(),
        **{'p' + str(p): sum.get_value_at_percentile(p) for p in (50, 90, 99, 99.9, 99.99)},
    } for tag, sum in sums.items()},
}))
";

#[test]
fn another_reader_finds_the_same_in_the_log() {
    let Some(python) = python() else { return };
    let (scratch, server) = (Scratch::new(), Server::start(&["tcp://127.0.0.1:0"]));
    let (log, endpoint) = (scratch.path("log"), format!("tcp://{}", server.address(0)));
    let args = [
        "load",
        &endpoint,
        "-c",
        "5",
        "--rate",
        "2k",
        "--duration",
        "2500ms",
        "--warmup",
        "100ms",
        "--json",
        "-",
        "--hdr",
        log.to_str().unwrap(),
    ];
    let report = json(&run_well(&args));
    let output = Command::new(python)
        .arg("-c")
        .arg(READER)
        .arg(&log)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read = json(&String::from_utf8_lossy(&output.stdout));
    // Two full seconds and what was left, of each kind of times.
    assert_eq!(read["intervals"], 6);
    assert!(
        (read["start"].as_f64().unwrap() - report["started_unix_seconds"].as_f64().unwrap()).abs()
            < 0.002
    );
    for kind in ["response", "service"] {
        let ours = &report["times_nanoseconds"][kind];
        assert_eq!(read[kind]["count"], 5000, "{kind}");
        for measure in ["p50", "p90", "p99", "max"] {
            // The same bucket; which end of it stands for it is a matter of taste.
            let (ours, theirs) = (
                ours[measure].as_f64().unwrap(),
                read[kind][measure].as_f64().unwrap(),
            );
            assert!(
                (ours / theirs - 1.0).abs() < 0.002,
                "{kind} {measure}: {ours} and {theirs}"
            );
        }
    }
}

/// Merging logs is exact: it is as if one generator had measured everything.
#[test]
fn merged_logs_are_the_sum_of_their_runs() {
    let (scratch, server) = (Scratch::new(), Server::start(&["tcp://127.0.0.1:0"]));
    let endpoint = format!("tcp://{}", server.address(0));
    let logs: Vec<String> = ["a", "b", "c"]
        .map(|name| scratch.path(name).to_str().unwrap().to_owned())
        .into();
    let mut runs = Vec::new();
    for (log, rate) in logs[..2].iter().zip(["1k", "3k"]) {
        let args = [
            "load",
            &endpoint,
            "-c",
            "3",
            "--rate",
            rate,
            "--arrivals",
            "uniform",
            "--duration",
            "1s",
            "--warmup",
            "off",
            "--json",
            "-",
            "--hdr",
            log,
        ];
        runs.push(json(&run_well(&args)));
    }
    let merged = json(&run_well(&[
        "report", &logs[0], &logs[1], "--json", "-", "--hdr", &logs[2],
    ]));
    let rates: f64 = runs
        .iter()
        .map(|run| run["rate_per_second"].as_f64().unwrap())
        .sum();
    assert!(
        (merged["rate_per_second"].as_f64().unwrap() / rates - 1.0).abs() < 0.01,
        "{rates} {merged}"
    );
    assert_eq!(
        (&merged["answers"], &merged["errors"]),
        (&Value::from(4000), &Value::from(0))
    );
    let longest = runs
        .iter()
        .map(|run| {
            run["times_nanoseconds"]["response"]["max"]
                .as_f64()
                .unwrap()
        })
        .fold(0.0, f64::max);
    assert!(
        (merged["response_nanoseconds"]["max"].as_f64().unwrap() / longest - 1.0).abs() < 0.002,
        "{longest} {merged}"
    );
    // A merged log is a log, which holds the same.
    let again = json(&run_well(&["report", &logs[2], "--json", "-"]));
    for field in [
        "answers",
        "errors",
        "response_nanoseconds",
        "service_nanoseconds",
    ] {
        assert_eq!(again[field], merged[field], "{field}");
    }
    let table = run_well(&["report", &logs[0], &logs[1]]);
    assert!(
        table.contains("2 logs")
            && table.contains("4,000 answers, 0 errors")
            && table.contains("service time"),
        "{table}"
    );
    let table = run_well(&["report", "--compare", &logs[0], &logs[1]]);
    assert!(
        table
            .lines()
            .any(|line| line.contains("answers/s") && line.contains('+')),
        "{table}"
    );
    assert!(table.contains("response p99"), "{table}");
}

#[test]
fn what_is_no_log_is_said() {
    let scratch = Scratch::new();
    let path = scratch.path("log");
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    run_well(&[
        "load",
        &format!("tcp://{}", server.address(0)),
        "--requests",
        "100",
        "--hdr",
        path.to_str().unwrap(),
    ]);
    let log = std::fs::read_to_string(&path).unwrap();
    let whole = &log[log.find("HISTF").unwrap()..].lines().next().unwrap();
    let damaged = [
        format!("#[BaseTime: 9300000000000000000.0 (seconds since epoch)]\n0.0,1.0,1.0,{whole}\n"),
        format!("18000000000000000000.0,18000000000000000000.0,1.0,{whole}\n"),
    ];
    for (text, why) in [
        ("", "no histograms"),
        ("#only a comment\n", "no histograms"),
        ("{\"json\": 1}\n", "no log of HdrHistogram"),
        ("0.0,1.0,1.0,HISTFxxxx\n", "cannot be read"),
        (&damaged[0], "its times are damaged"),
        (&damaged[1], "its times are damaged"),
    ] {
        std::fs::write(&path, text).unwrap();
        let (status, printed, said) = run_to_end(&["report", path.to_str().unwrap()]);
        assert_eq!(
            (status, printed.as_str(), said.lines().count()),
            (1, "", 1),
            "{text:?}: {said}"
        );
        assert!(
            said.contains("cannot read") && said.contains(why),
            "{text:?}: {said}"
        );
    }
    let (status, _, said) = run_to_end(&["report", "/no/such/log"]);
    assert_eq!(status, 1);
    assert!(
        said.starts_with("mynah: cannot read /no/such/log: "),
        "{said}"
    );
}

#[test]
fn a_browser_shows_the_page_without_an_error() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| has_tool(name))
    else {
        return;
    };
    let (scratch, server) = (Scratch::new(), Server::start(&["tcp://127.0.0.1:0"]));
    let (page, endpoint) = (
        scratch.path("page.html"),
        format!("tcp://{}", server.address(0)),
    );
    // A name that would be markup, if it were not shown as text.
    let args = [
        "load",
        &endpoint,
        "-c",
        "2",
        "--rate",
        "500",
        "--duration",
        "2s",
        "--message",
        "<script>alert(1)</script>",
        "--html",
        page.to_str().unwrap(),
    ];
    run_well(&args);
    let profile = format!("--user-data-dir={}", scratch.path("profile").display());
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            "--log-level=0",
            &profile,
            "--dump-dom",
        ])
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let (shown, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}");
    let console: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    assert!(console.is_empty(), "{console:?}");
    assert_eq!(shown.matches("<svg").count(), 3, "{shown}");
    for words in [
        "<title>load on tcp://",
        "Time by percentile",
        "response time",
        "service time",
        "99.9 %",
        "&lt;script&gt;alert(1)",
    ] {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
    assert!(
        !shown.contains("<script>")
            && !shown.contains("NaN")
            && !shown.contains("src=")
            && !shown.contains("href="),
        "{shown}"
    );
}
