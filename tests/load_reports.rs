//! What `mynah load` writes of a run, read by others: the log by the HdrHistogram of Python, the
//! page by a browser. `tests/load_schema.rs` reads the JSON.

mod common;

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
        assert_eq!(read[kind]["count"], ours["count"], "{kind}");
        // Far from the middle two ranks next to each other may be far apart, and readers differ by one.
        for measure in ["p50", "max"] {
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

/// Merging logs is exact: it is as if one generator had measured everything. The two work at the
/// same time, because otherwise their rates do not add up.
#[test]
fn merged_logs_are_the_sum_of_their_runs() {
    let (scratch, server) = (Scratch::new(), Server::start(&["tcp://127.0.0.1:0"]));
    let endpoint = format!("tcp://{}", server.address(0));
    let logs: Vec<String> = ["a", "b", "c"]
        .map(|name| scratch.path(name).to_str().unwrap().to_owned())
        .into();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let start_at = (now.as_secs() + 3).to_string();
    let start = |log: &str, rate: &str, connections: &str| {
        let words = [
            "load",
            &endpoint,
            "-c",
            connections,
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
            "--start-at",
            &start_at,
        ];
        json(&run_well(&words))
    };
    let runs = std::thread::scope(|scope| {
        let first = scope.spawn(|| start(&logs[0], "1k", "3"));
        let second = start(&logs[1], "3k", "3");
        [first.join().unwrap(), second]
    });
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
        table.starts_with("a, b: 2 logs")
            && table.contains("4,000 answers, 0 errors, 0 lost, 0 unanswered")
            && table.contains("service time"),
        "{table}"
    );
}

/// A log of a run that was over before any other began.
#[track_caller]
fn logged(endpoint: &str, log: &Path, rate: &str, more: &[&str]) -> Value {
    let log = log.to_str().unwrap();
    let words = [
        "load",
        endpoint,
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
    json(&run_well(&[&words, more].concat()))
}

/// Rates add up where generators worked at the same time, and only there.
#[test]
fn runs_that_followed_each_other_are_not_summed() {
    let (scratch, server) = (Scratch::new(), Server::start(&["tcp://127.0.0.1:0"]));
    let endpoint = format!("tcp://{}", server.address(0));
    let logs = ["morning.hdr", "evening.hdr"].map(|name| scratch.path(name));
    let runs = [
        logged(&endpoint, &logs[0], "1k", &[]),
        logged(&endpoint, &logs[1], "3k", &[]),
    ];
    let [first, second] = [&logs[0], &logs[1]].map(|log| log.to_str().unwrap());
    let (status, printed, said) = run_to_end(&["report", first, second]);
    assert_eq!((status, printed.as_str()), (1, ""), "{said}");
    assert_eq!(
        said,
        "mynah: morning.hdr and evening.hdr did not overlap in time, so their rates do not add up; \
         --sequential takes them as runs one after the other, --compare sets them side by side\n"
    );
    let merged = json(&run_well(&[
        "report",
        "--sequential",
        first,
        second,
        "--json",
        "-",
    ]));
    let mean = runs
        .iter()
        .map(|run| run["rate_per_second"].as_f64().unwrap());
    let (rate, mean) = (
        merged["rate_per_second"].as_f64().unwrap(),
        mean.sum::<f64>() / 2.0,
    );
    assert!((rate / mean - 1.0).abs() < 0.02, "{rate} {mean}");
    assert_eq!(
        (&merged["answers"], &merged["sequential"]),
        (&Value::from(4000), &Value::from(true))
    );
}

/// A column bears the label of its run, or the name of its file; what was not answered is in it.
#[test]
fn a_comparison_names_its_runs() {
    let (scratch, server) = (Scratch::new(), Server::start(&["tcp://127.0.0.1:0"]));
    let endpoint = format!("tcp://{}", server.address(0));
    let logs = ["morning.hdr", "evening.hdr", "lost.hdr"].map(|name| scratch.path(name));
    logged(&endpoint, &logs[0], "1k", &[]);
    logged(&endpoint, &logs[1], "2k", &["--label", "<i>evening</i>"]);
    let [first, second, lost] = [0, 1, 2].map(|index| logs[index].to_str().unwrap());
    // It waits for a text that never comes.
    let (status, ..) = run_to_end(&[
        "load",
        &endpoint,
        "-c",
        "5",
        "--requests",
        "50",
        "--response",
        "until:x",
        "--message",
        "abc",
        "--timeout",
        "100ms",
        "--duration",
        "1s",
        "--hdr",
        lost,
    ]);
    assert_ne!(status, 0);
    let page = scratch.path("page.html");
    let words = [
        "report",
        "--compare",
        first,
        second,
        lost,
        "--html",
        page.to_str().unwrap(),
    ];
    let table = run_well(&words);
    let head = table.lines().next().unwrap();
    let names = [
        "morning.hdr",
        "<i>evening</i>",
        "change",
        "lost.hdr",
        "change",
    ];
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        names,
        "{table}"
    );
    let line = |name: &str| table.lines().find(|line| line.contains(name)).unwrap();
    assert!(line("answers/s").contains('+'), "{table}");
    assert!(line("response max").contains("(unanswered)"), "{table}");
    let unanswered = line("unanswered").split_whitespace().collect::<Vec<_>>();
    assert_eq!(unanswered[..4], ["unanswered", "0", "0", "-"], "{table}");
    let page = std::fs::read_to_string(&page).unwrap();
    for words in [
        "Response time by percentile",
        "morning.hdr",
        "were not answered",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    assert!(
        page.contains("&lt;i&gt;evening") && !page.contains("<i>evening"),
        "{page}"
    );
}

/// A page can be piped, and takes the place of the table.
#[test]
fn a_page_goes_to_standard_output_and_not_to_a_file_called_dash() {
    let (scratch, server) = (Scratch::new(), Server::start(&["tcp://127.0.0.1:0"]));
    let endpoint = format!("tcp://{}", server.address(0));
    let output = Command::new(common::binary())
        .current_dir(scratch.path("."))
        .args([
            "load",
            &endpoint,
            "--requests",
            "100",
            "-c",
            "2",
            "--html",
            "-",
        ])
        .args(["--spoiled", "warn"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.starts_with("<!doctype html>"), "{printed}");
    assert!(printed.ends_with("</html>\n"), "{printed}");
    assert!(!scratch.path("-").exists());
}

/// In a pipe nothing is said of how a run goes, unless that is asked for.
#[test]
fn progress_is_said_in_lines_where_it_is_asked_for() {
    let server = Server::start(&["tcp://127.0.0.1:0"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let words = [
        "load",
        &endpoint,
        "-c",
        "2",
        "--rate",
        "100",
        "--duration",
        "2500ms",
        "--warmup",
        "off",
        "--spoiled",
        "warn",
    ];
    let (status, _, said) = run_to_end(&[&words[..], &["--progress"]].concat());
    assert_eq!(status, 0, "{said}");
    assert!(said.lines().count() >= 3, "{said}");
    assert!(
        said.lines().any(|line| line.contains(" %  ")
            && line.contains("/s  ")
            && line.contains("0 errors")
            && line.contains("unanswered")),
        "{said}"
    );
    assert!(!said.contains('\x1b'), "{said:?}");
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
    // The pointer, over the first plot.
    let moves = "<script>document.querySelector('.area')\
        .dispatchEvent(new PointerEvent('pointermove', { clientX: 300 }))</script>\n</body>";
    let text = std::fs::read_to_string(&page).unwrap();
    assert_eq!(text.matches("<script").count(), 1, "{text}");
    let moved = scratch.path("moved.html");
    std::fs::write(&moved, text.replace("</body>", moves)).unwrap();
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
        .arg(format!("file://{}", moved.display()))
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
    assert_eq!(shown.matches("<svg").count(), 5, "{shown}");
    for words in [
        "<title>load on tcp://",
        "Response time over the run",
        "Histogram of response times",
        "measured from",
        "warm-up",
        "--duration 2s",
        "1 thread,",
        "prefers-color-scheme: dark",
        "default-src 'none'",
        "Time by percentile",
        "response time",
        "service time",
        "99.9 %",
        "&lt;script&gt;alert(1)",
    ] {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
    // Plots over one time show their values together: the heat map, the rate, the generator's.
    let tips = shown.split("<p class=\"tip\">").skip(1);
    let tips: Vec<&str> = tips.filter_map(|tip| tip.split("</p>").next()).collect();
    assert!(tips[0].contains(" answered; median "), "{tips:?}");
    assert!(tips[1].contains(" answers/s"), "{tips:?}");
    assert!(tips[2].contains("generator's "), "{tips:?}");
    assert_eq!(tips[3..], ["", ""], "{tips:?}");
    assert!(
        !shown.contains("<script>alert")
            && !shown.contains("NaN")
            && !shown.contains("src=")
            && !shown.contains("href="),
        "{shown}"
    );
}
