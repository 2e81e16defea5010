//! The command line is a contract: what goes to which stream, one line a failure, and the exit
//! status that scripts branch on.

mod common;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};

use common::{
    PATIENCE, Server, TCP, UDP, assert_echoes, binary, connect, has_tool, read_to_end, run_to_end,
    udp_client,
};

/// Runs `mynah WORDS…`, which must fail with `status` and one line that says all of `named`. Lines of
/// the log may come before it.
#[track_caller]
fn assert_fails(words: &[&str], status: i32, named: &[&str]) {
    let (got, stdout, stderr) = run_to_end(words);
    assert_eq!(got, status, "{words:?}: {stderr}");
    assert_eq!(stdout, "", "{words:?}");
    let (log, said): (Vec<&str>, Vec<&str>) =
        stderr.lines().partition(|line| line.starts_with('['));
    assert!(
        log.iter()
            .all(|line| line.contains(" INFO ") || line.contains(" WARN ")),
        "{words:?}: {stderr}"
    );
    let [line] = said[..] else {
        panic!("{words:?}: one line was expected: {stderr}")
    };
    assert!(line.starts_with("mynah: "), "{words:?}: {line}");
    assert!(
        named.iter().all(|name| line.contains(name)),
        "{words:?}: {line} does not say {named:?}"
    );
    assert_eq!(
        stderr.lines().last(),
        Some(line),
        "what went wrong comes last"
    );
}

/// Serves one connection, then ends by SIGTERM; with `flags` before the endpoint and this `RUST_LOG`.
fn serve_one(flags: &[&str], rust_log: Option<&str>) -> Output {
    let mut command = Command::new(binary());
    command.arg("serve").args(flags).arg(TCP);
    match rust_log {
        Some(value) => command.env("RUST_LOG", value),
        None => command.env_remove("RUST_LOG"),
    };
    run_one(&mut command)
}

fn run_one(command: &mut Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line
        .trim_end()
        .strip_prefix("listening on tcp://")
        .expect("a listening line")
        .parse()
        .unwrap();
    assert_echoes(connect(address), b"hello");
    assert!(
        Command::new("sh")
            .arg("-c")
            .arg(format!("kill -TERM {}", child.id()))
            .status()
            .unwrap()
            .success()
    );
    let mut output = child.wait_with_output().unwrap();
    stdout.read_to_end(&mut output.stdout).unwrap();
    output
}

fn log_of(flags: &[&str], rust_log: Option<&str>) -> String {
    String::from_utf8(serve_one(flags, rust_log).stderr).unwrap()
}

/// The log of a server that may use so many KiB of addresses.
fn log_within(kibibytes: u32, flags: &[&str]) -> String {
    let script = format!("ulimit -v {kibibytes} && exec \"$0\" serve \"$@\" {TCP}");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(binary()).args(flags);
    let output = run_one(command.env_remove("RUST_LOG"));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_default_of_pending_output_fits_into_the_memory_that_there_is() {
    let log = log_within(400_000, &[]);
    let most: u64 = log
        .lines()
        .find_map(|line| {
            line.split_once("at most ")?
                .1
                .strip_suffix(" bytes of pending output")
        })
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{log}"));
    assert!(most <= 400_000 * 1024 / 4, "{log}");
    assert!(!log.contains(" WARN "), "{log}");

    let log = log_within(400_000, &["--max-pending-output", "3MiB"]);
    assert!(
        log.contains("at most 3145728 bytes of pending output"),
        "{log}"
    );
    let log = log_within(400_000, &["--max-pending-output", "2000MiB"]);
    assert!(log.contains("lower --max-pending-output"), "{log}");
}

#[test]
fn a_message_that_stops_in_the_middle_costs_its_connection() {
    let words = [TCP, "--frame", "line", "--reply", "{}"];
    let server = Server::start(&[&words[..], &["--message-timeout", "50ms"]].concat());
    let mut stream = server.connect();
    stream.write_all(b"whole\nhal").unwrap();
    assert_eq!(read_to_end(&stream), b"whole\n");
    server.wait_for_log("message timeout");
}

#[test]
fn help_and_version_go_to_standard_output_and_are_a_success() {
    let (status, stdout, stderr) = run_to_end(&["--version"]);
    assert_eq!(
        (status, stdout.as_str(), stderr.as_str()),
        (0, concat!("mynah ", env!("CARGO_PKG_VERSION"), "\n"), "")
    );
    for words in [&["--help"][..], &["-h"], &["help"]] {
        let (status, stdout, stderr) = run_to_end(words);
        assert_eq!((status, stderr.as_str()), (0, ""), "{words:?}");
        assert!(
            stdout.contains("Usage: mynah") && stdout.contains("serve"),
            "{words:?}: {stdout}"
        );
    }
    for words in [&["serve", "--help"][..], &["help", "serve"]] {
        let (status, stdout, stderr) = run_to_end(words);
        assert_eq!((status, stderr.as_str()), (0, ""), "{words:?}");
        let options = [
            "--service",
            "--print",
            "--backlog",
            "--max-connections",
            "--idle-timeout",
            "--write-timeout",
            "--drain-timeout",
        ];
        let udp = [
            "--udp-buffer",
            "--udp-rate",
            "--allow-amplification",
            "--interface",
        ];
        for named in options.into_iter().chain(udp).chain([
            "--busy-poll",
            "ENDPOINT",
            "tcp://HOST:PORT",
            "unixgram:PATH",
            "Exit status",
        ]) {
            assert!(
                stdout.contains(named),
                "{words:?}: {named} is not in it: {stdout}"
            );
        }
        assert!(
            stdout.lines().all(|line| line.chars().count() <= 110),
            "{stdout}"
        );
    }
}

/// As in `mynah --help | head -1`.
#[test]
fn help_into_a_pipe_that_was_closed_is_a_success() {
    for words in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        let mut child = Command::new(binary())
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stderr).as_ref()
            ),
            (Some(0), ""),
            "{words:?}"
        );
    }
}

#[test]
fn wrong_words_are_status_2_and_one_line_that_names_them() {
    for (words, named) in [
        (&["sreve"][..], &["'sreve'", "serve"][..]),
        (
            &["serve", "--servcie", "echo"],
            &["'--servcie'", "'--service'"],
        ),
        (
            &["serve", "--service", "parrot"],
            &["'parrot'", "echo", "discard"],
        ),
        (&["serve", "--service"], &["--service"]),
        (
            &["serve", "localhost:80"],
            &["'localhost:80'", "did you mean tcp://localhost:80?"],
        ),
        (
            &["serve", "tcp://localhost"],
            &["'tcp://localhost'", "the port is missing"],
        ),
        (&["serve", "tcp://::1:80"], &["brackets"]),
        (&["serve", "tcp://localhost:65536"], &["0 to 65535"]),
        (&["serve", "unix:"], &["the path is missing"]),
        (
            &["serve", TCP, "http://localhost:80"],
            &["'http://localhost:80'", "http:// is not supported"],
        ),
        (&["serve", "--max-connections", "0"], &["--max-connections"]),
        (
            &["serve", "--idle-timeout", "30"],
            &["--idle-timeout", "30s"],
        ),
        (&["serve", "-q", "-v"], &["cannot be used with"]),
        (&["serve", "--udp-rate", "0"], &["--udp-rate"]),
        (
            &["serve", TCP, "--udp-rate", "9"],
            &["--udp-rate is for UDP"],
        ),
        (
            &["serve", TCP, "--allow-amplification"],
            &["--allow-amplification is for UDP"],
        ),
        (
            &["serve", TCP, "--udp-buffer", "1MiB"],
            &["--udp-buffer is for UDP"],
        ),
        (
            &["receive", TCP, "--interface", "127.0.0.1"],
            &["--interface is for UDP"],
        ),
        (&["serve", "--udp-buffer", "0"], &["--udp-buffer"]),
        (
            &["serve", "--interface", "no such"],
            &["--interface", "no such network interface"],
        ),
        (&["--no-such-option"], &["--no-such-option"]),
    ] {
        assert_fails(words, 2, &[named, &["see --help"]].concat());
    }
}

#[test]
fn no_words_at_all_are_answered_with_the_help() {
    let (status, stdout, stderr) = run_to_end(&[]);
    assert_eq!((status, stdout.as_str()), (2, ""));
    let (_, help, _) = run_to_end(&["-h"]);
    assert_eq!(stderr, help);
}

/// `mynah serve`, spelt out, is not a second server beside itself: its manual page and its help name
/// endpoints that can be typed.
#[test]
fn the_default_endpoints_can_be_typed_as_they_are_shown() {
    for words in [&["man"][..], &["serve", "--help"]] {
        let (_, text, _) = run_to_end(words);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains("tcp://127.0.0.1:7777 and udp://127.0.0.1:7777"),
            "{text}"
        );
        assert!(!text.contains("7777,"), "{text}");
    }
}

#[test]
fn an_endpoint_that_is_listed_twice_is_a_mistake_of_the_command() {
    let server = Server::start(&[TCP]);
    let taken = server.endpoints[0].as_str();
    let port = server.address(0).port();
    assert_fails(
        &["serve", taken, taken],
        2,
        &[&format!("{taken} is listed twice; leave one of them out")],
    );
    let any = format!("tcp://0.0.0.0:{port}");
    assert_fails(&["serve", &any, taken], 2, &["both take", &any]);
}

/// Each would do nothing, and the user would not know.
#[test]
fn an_option_that_no_endpoint_would_use_is_refused() {
    for (words, named) in [
        (&["serve", UDP, "--frame", "line"][..], "--frame is for str"),
        (&["serve", UDP, "--keepalive", "5s"], "--keepalive is for T"),
        (&["serve", TCP, "--max-message", "9"], "without --frame"),
        (
            &["receive", TCP, "--message-timeout", "9s"],
            "without --frame",
        ),
        (
            &["connect", "tcp://127.0.0.1:1", "--wait", "1s"],
            "--wait is for datagrams",
        ),
        (
            &["connect", "udp://127.0.0.1:1", "--timeout", "1s"],
            "--wait says how long",
        ),
    ] {
        assert_fails(words, 2, &[named]);
    }
}

#[test]
fn a_reply_that_udp_never_sends_is_warned_of_at_the_start_and_when_it_is_kept_back() {
    let server = Server::start(&[UDP, "--reply", "pong: {}"]);
    server.wait_for_log("every --reply is longer than the datagram");
    let client = udp_client(server.address(0));
    let said = "an answer was longer than its datagram";
    for _ in 0..3 {
        client.send(b"ping").unwrap();
    }
    server.wait_for_log(said);
    drop(client);
    let server = {
        let mut server = server;
        assert_eq!(server.stop(), 0);
        server
    };
    server.wait_for_log("unanswered (longer than its request) 3");
    assert_eq!(server.count_in_log(said), 1, "{}", server.log());
    assert_eq!(server.count_in_log("--allow-amplification"), 2);

    for (words, is_warned) in [
        (&["--service", "whoami"][..], true),
        (&["--reply", "pong"], true),
        (&["--reply", "{}"], false),
        (&["--reply", "pong: {}", "--allow-amplification"], false),
    ] {
        let mut server = Server::start(&[words, &[UDP]].concat());
        assert_eq!(server.stop(), 0);
        let count = server.count_in_log("--allow-amplification");
        assert_eq!(count, usize::from(is_warned), "{words:?}");
    }
}

#[test]
fn too_few_descriptors_are_warned_of_in_one_line() {
    for descriptors in [6, 10] {
        let script = format!("ulimit -n {descriptors} && exec \"$0\" serve -q {TCP} {TCP} {TCP}");
        let mut child = Command::new("sh")
            .args(["-c", &script, binary()])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(
            line.contains(" WARN ")
                && line.contains(&format!("{descriptors} descriptors are too few"))
                && line.contains("raise the limit (ulimit -n)"),
            "{line}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_word_that_is_no_text_is_status_2_and_one_line() {
    let output = assert_cmd::Command::new(binary())
        .arg("serve")
        .arg(OsStr::from_bytes(b"tcp://\xff:1"))
        .timeout(PATIENCE)
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(2), &b""[..])
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("mynah: ") && stderr.lines().count() == 1,
        "{stderr}"
    );
}

#[test]
fn a_port_in_use_is_status_1_and_says_what_to_do() {
    let server = Server::start(&[TCP, UDP]);
    for endpoint in &server.endpoints {
        assert_fails(
            &["serve", endpoint],
            1,
            &[
                "cannot ",
                endpoint,
                "address already in use",
                "choose another port",
            ],
        );
    }
    // Nothing is announced before everything can be used.
    assert_fails(
        &["serve", TCP, UDP, &server.endpoints[0]],
        1,
        &["address already in use"],
    );
    assert_fails(
        &["serve", "-q", &server.endpoints[0]],
        1,
        &["address already in use"],
    );
}

#[test]
fn a_port_that_needs_a_privilege_is_status_1_and_says_which() {
    let setting = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default()
    };
    if setting("ip_unprivileged_port_start")
        .trim()
        .parse::<u16>()
        .is_ok_and(|start| start <= 80)
    {
        eprintln!("skipped: port 80 needs no privilege here");
        return;
    }
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout == b"0\n");
    let mut command = if is_root {
        if !has_tool("setpriv") {
            return;
        }
        let mut command = assert_cmd::Command::new("setpriv");
        command
            .args(["--reuid=65534", "--clear-groups"])
            .arg(binary());
        command
    } else {
        assert_cmd::Command::new(binary())
    };
    let output = command
        .args(["serve", "-q", "tcp://127.0.0.1:80"])
        .env_remove("RUST_LOG")
        .timeout(PATIENCE)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    if stderr.contains("failed to execute") {
        eprintln!("skipped: another user may not run the binary: {stderr}");
        return;
    }
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(1), &b""[..]),
        "{stderr}"
    );
    assert!(
        stderr.starts_with("mynah: cannot listen on tcp://127.0.0.1:80: permission denied; "),
        "{stderr}"
    );
    assert!(
        stderr.contains("CAP_NET_BIND_SERVICE") && stderr.lines().count() == 1,
        "{stderr}"
    );
}

/// 192.0.2.0/24 belongs to documentation and to no machine.
#[test]
fn an_address_that_is_not_ours_is_status_1_and_says_so() {
    if std::fs::read_to_string("/proc/sys/net/ipv4/ip_nonlocal_bind")
        .is_ok_and(|text| text.trim() == "1")
    {
        eprintln!("skipped: this machine binds addresses that it does not have");
        return;
    }
    for endpoint in ["tcp://192.0.2.1:0", "udp://192.0.2.1:0"] {
        assert_fails(
            &["serve", endpoint],
            1,
            &[
                endpoint,
                "cannot assign requested address",
                "no interface of this machine",
            ],
        );
    }
}

/// The top level domain `invalid` is promised never to exist.
#[test]
fn a_name_that_does_not_resolve_is_status_7_and_nothing_is_bound() {
    assert_fails(
        &["serve", "tcp://nosuchhost.invalid:0"],
        7,
        &[
            "cannot resolve tcp://nosuchhost.invalid:0",
            "check the spelling",
        ],
    );
    assert_fails(
        &["serve", TCP, "udp://nosuchhost.invalid:0"],
        7,
        &["cannot resolve udp://nosuchhost.invalid:0"],
    );
}

/// They are there as soon as one may connect, which is what reading them without another output proves, and nothing follows.
#[test]
fn the_listening_lines_are_all_of_standard_output() {
    let output = serve_one(&[], None);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"", "behind the listening line");

    let mut server = Server::start(&[TCP, UDP, TCP]);
    let schemes: Vec<&str> = server
        .endpoints
        .iter()
        .map(|endpoint| &endpoint[..3])
        .collect();
    assert_eq!(schemes, ["tcp", "udp", "tcp"], "in the order of the words");
    assert!(
        server
            .endpoints
            .iter()
            .all(|endpoint| !endpoint.ends_with(":0")),
        "with the ports that were chosen"
    );
    assert_eq!(server.stop(), 0);
    let mut rest = String::new();
    server
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert_eq!(rest, "");
}

#[test]
fn the_log_is_on_standard_error_and_as_chatty_as_the_flags_say() {
    assert_eq!(
        log_of(&["-q"], None),
        "",
        "quiet means silent while nothing is wrong"
    );
    let usual = log_of(&[], None);
    assert!(
        usual.contains(" INFO ") && !usual.contains("DEBUG"),
        "{usual}"
    );
    assert!(
        usual.contains("draining") && usual.contains("stopped: "),
        "{usual}"
    );
    let more = log_of(&["-v"], None);
    assert!(
        more.contains(": accepted") && !more.contains("TRACE"),
        "{more}"
    );
    let most = log_of(&["-vv"], None);
    assert!(most.contains("TRACE mynah::reactor] event "), "{most}");
    assert!(
        !most.contains("mio::"),
        "the log is about this program: {most}"
    );
}

#[test]
fn an_empty_rust_log_is_none() {
    let log = log_of(&[], Some(""));
    assert!(log.contains(" INFO ") && !log.contains("DEBUG"), "{log}");
}

/// The variable may be set for all programs that run in a shell.
#[test]
fn a_rust_log_for_other_programs_changes_nothing() {
    assert_eq!(log_of(&["-q"], Some("hyper=debug")), "");
    let log = log_of(&[], Some("hyper=debug"));
    assert!(
        log.contains("stopped: ") && !log.contains(" WARN "),
        "{log}"
    );
}

/// A misspelt level must not silence everything.
#[test]
fn nonsense_in_rust_log_is_said_once_and_ignored() {
    for text in ["nonsense", "inof", "mynah=loud", "a=b=c"] {
        let log = log_of(&[], Some(text));
        let ignored = format!("RUST_LOG={text} is ignored");
        assert_eq!(log.matches(&ignored).count(), 1, "{log}");
        assert!(log.contains("stopped: ") && !log.contains("DEBUG"), "{log}");
        assert_eq!(log_of(&["-q"], Some(text)).lines().count(), 1);
    }
}

#[test]
fn rust_log_goes_above_the_flags() {
    for flags in [&[][..], &["-v"], &["-vv"]] {
        assert_eq!(log_of(flags, Some("off")), "", "{flags:?}");
        assert_eq!(log_of(flags, Some("warn")), "", "{flags:?}");
    }
    assert!(log_of(&["-q"], Some("debug")).contains(": accepted"));
    let some = log_of(&["-q"], Some("mynah::reactor=debug"));
    assert!(
        some.contains(": accepted") && !some.contains("mynah::cli"),
        "{some}"
    );
}

/// One loop on one thread: a process with two pays for it with each system call.
#[cfg(target_os = "linux")]
#[test]
fn a_server_is_one_thread() {
    let server = Server::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    assert_eq!(threads.count(), 1);
}
