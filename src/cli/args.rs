//! The definition of the command line, and its parsing.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use log::LevelFilter;
use mynah::service;
use mynah::{Endpoint, Escaped};

use super::charset::Charset;
use super::connect::{self, Local};
use super::serve::Config;
use super::status::{Failure, Status};

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) level: LevelFilter,
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run the service.
    Serve(Config),
    /// Talk to a peer.
    Connect(connect::Config),
}

/// Where there is nothing to do but to answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Help or the version, for standard output.
    Text(clap::Error),
    /// The words are wrong.
    Usage(Failure),
}

impl Answer {
    /// Prints it and gives the exit status.
    pub(crate) fn give(&self) -> ExitCode {
        match self {
            Answer::Text(text) => {
                // A reader that has seen enough (`mynah --help | head -1`) is no failure.
                let _ = text.print();
                Status::Done.into()
            }
            Answer::Usage(failure) => failure.report(),
        }
    }
}

/// Parses the words of a command line.
///
/// # Errors
///
/// What to print instead of running: help, the version, or what is wrong.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, Answer> {
    let cli = Cli::try_parse_from(words).map_err(|error| match error.exit_code() {
        0 => Answer::Text(error),
        _ => Answer::Usage(Failure::new(Status::Usage, one_line(&error))),
    })?;
    let command = match cli.words {
        Words::Serve(serve) => Command::Serve(serve.into()),
        Words::Connect(connect) => Command::Connect(connect.try_into().map_err(Answer::Usage)?),
    };
    let level = level(cli.verbose, cli.quiet, &command);
    Ok(Invocation { level, command })
}

/// An echo and response server for TCP, UDP and Unix sockets.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = false, subcommand_required = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    words: Words,
    /// Log more: -v for every connection, -vv for every event
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet", display_order = 100)]
    verbose: u8,
    /// Log warnings and errors only
    #[arg(short, long, global = true, display_order = 100)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Words {
    // No doc comment: clap would show it in the place of all that `Serve` says of itself.
    Serve(Serve),
    Connect(Connect),
}

/// Run the service until SIGTERM or SIGINT.
///
/// Prints one line for each endpoint once it can be used. The first SIGTERM or SIGINT drains: what stands in the backlog is accepted, quiet connections are
/// finished, the others are served until their peer ends them or the drain timeout cuts them. The second one ends at once.
///
/// Exit status: 0 nothing was cut, 1 something was cut or another failure, 2 wrong usage, 7 a name does not resolve.
#[derive(Args, Debug)]
struct Serve {
    /// Where to listen: tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH; port 0 asks for any free port
    #[arg(value_name = "ENDPOINT", default_values = ["tcp://127.0.0.1:7777", "udp://127.0.0.1:7777"])]
    endpoints: Vec<Endpoint>,
    /// What to answer
    #[arg(long, value_name = "NAME", default_value = "echo", value_parser = PossibleValuesParser::new(service::NAMES).map(|name| name))]
    service: String,
    /// Print each message received on standard output, with its sender, control characters escaped
    #[arg(long)]
    print: bool,
    /// Pending connections that the kernel keeps for each endpoint
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    backlog: u32,
    /// Connections open at once; at this number accepting pauses and the rest wait in the backlog [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Finish a connection on which nothing has moved for this long
    #[arg(long, value_name = "D", default_value = "off", value_parser = timeout)]
    idle_timeout: Timeout,
    /// Reset a peer that takes nothing of what it is owed for this long
    #[arg(long, value_name = "D", default_value = "30s", value_parser = timeout)]
    write_timeout: Timeout,
    /// How long a drain may take before the rest is cut; off waits for the last peer
    #[arg(long, value_name = "D", default_value = "5s", value_parser = duration)]
    drain_timeout: Timeout,
    /// Keep polling without sleeping for this long after the last event: lower latency for a busy core
    #[arg(long, value_name = "D", default_value = "off", value_parser = duration)]
    busy_poll: Timeout,
}

impl From<Serve> for Config {
    fn from(words: Serve) -> Config {
        Config {
            endpoints: words.endpoints,
            service: words.service,
            print: words.print,
            backlog: words.backlog,
            max_connections: words.max_connections,
            idle_timeout: words.idle_timeout.0,
            write_timeout: words.write_timeout.0,
            drain_timeout: words.drain_timeout.0,
            busy_poll: words.busy_poll.0,
        }
    }
}

/// Talk to a peer: standard input to it, and what it says to standard output.
///
/// Over a stream, the end of the input ends the sending side, and reading goes on to the peer's end of stream. With datagram endpoints each line
/// of the input is one datagram, without its end, to every endpoint; answers are printed, one a line.
///
/// Into a pipe or a file goes what came, byte for byte; on a terminal control characters are escaped.
///
/// Exit status: 0 done, 1 another failure, 2 wrong usage, 3 refused, 4 timed out, 5 reset by the peer, 6 unreachable, 7 a name does not resolve.
#[derive(Args, Debug)]
struct Connect {
    /// One of tcp://HOST:PORT and unix:PATH, or any number of udp://HOST:PORT and unixgram:PATH
    #[arg(value_name = "ENDPOINT", required = true)]
    endpoints: Vec<Endpoint>,
    /// Speak from this address: IP, IP:PORT, or a path for Unix datagrams
    #[arg(long, value_name = "ADDR", value_parser = Local::parse)]
    bind: Option<Local>,
    /// Stop at a line that is exactly this, which is not sent
    #[arg(long, value_name = "WORD")]
    until: Option<String>,
    /// Text encoding of the wire: the input is written in it, and what comes is read in it; standard input and output are UTF-8
    #[arg(long, value_name = "LABEL", default_value = "utf-8", value_parser = Charset::parse)]
    encoding: Charset,
    /// Give an address up that does not answer within this time, and try the next
    #[arg(long, value_name = "D", default_value = "10s", value_parser = timeout)]
    timeout: Timeout,
    /// How long to wait for answers to datagrams after the input has ended; off waits for ever
    #[arg(long, value_name = "D", default_value = "1s", value_parser = duration)]
    wait: Timeout,
}

impl TryFrom<Connect> for connect::Config {
    type Error = Failure;

    fn try_from(words: Connect) -> Result<connect::Config, Failure> {
        let stream = words.endpoints.iter().find(|endpoint| matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Unix(_)));
        if let (Some(stream), 2..) = (stream, words.endpoints.len()) {
            let why = "a stream has one peer; only datagrams can go to several: give one endpoint, or udp:// and unixgram: alone";
            return Err(Failure::new(Status::Usage, format_args!("{stream} beside another endpoint: {why}; see --help")));
        }
        Ok(connect::Config {
            endpoints: words.endpoints,
            bind: words.bind,
            until: words.until,
            charset: words.encoding,
            timeout: words.timeout.0,
            wait: words.wait.0,
        })
    }
}

/// A duration, or off. A type of its own, because clap takes a bare `Option` for an argument that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timeout(Option<Duration>);

/// A whole number and its unit, or `off`.
fn duration(text: &str) -> Result<Timeout, String> {
    if text == "off" {
        return Ok(Timeout(None));
    }
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let nanos: u64 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err("a duration is a whole number with its unit, such as 500ms, 30s, 5m or 1h, or off".into()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(nanos)) {
        Some(nanos) => Ok(Timeout(Some(Duration::from_nanos(nanos)))),
        None if number.is_empty() => Err("the number is missing, as in 30s".into()),
        None => Err("that is longer than 584 years; off means for ever".into()),
    }
}

/// A duration after which a peer is given up: zero would give up every one of them.
fn timeout(text: &str) -> Result<Timeout, String> {
    match duration(text)? {
        Timeout(Some(Duration::ZERO)) => Err("zero would close every connection at once; off means never".into()),
        timeout => Ok(timeout),
    }
}

/// A client says on its own what matters; the log is for those who ask.
fn level(verbose: u8, quiet: bool, command: &Command) -> LevelFilter {
    match (command, quiet, verbose) {
        (_, true, _) | (Command::Connect(_), _, 0) => LevelFilter::Warn,
        (_, _, 0) => LevelFilter::Info,
        (_, _, 1) => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// clap's message without its paragraphs: what is wrong, then its tip, then where to read on.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .map(|line| line.strip_prefix("error: ").unwrap_or(line))
        .collect();
    // It repeats the words that are wrong, and those may come from anywhere.
    format!("{}; see --help", Escaped(parts.join("; ").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Invocation, Answer> {
        parse(std::iter::once("mynah").chain(words.split_whitespace()).map(OsString::from))
    }

    fn config(words: &str) -> Config {
        match parse_words(words) {
            Ok(Invocation { command: Command::Serve(config), .. }) => config,
            other => panic!("{words}: {other:?}"),
        }
    }

    fn complaint(words: &str) -> String {
        match parse_words(words) {
            Err(Answer::Usage(failure)) => {
                assert_eq!(failure.status, Status::Usage);
                failure.message
            }
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn nothing_configured_is_the_main_job() {
        let config = config("serve");
        let endpoints: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["tcp://127.0.0.1:7777", "udp://127.0.0.1:7777"]);
        assert_eq!((config.service.as_str(), config.print, config.backlog, config.max_connections), ("echo", false, 4096, None));
        assert_eq!((config.idle_timeout, config.busy_poll), (None, None));
        assert_eq!(config.write_timeout, Some(Duration::from_secs(30)));
        assert_eq!(config.drain_timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn every_option_reaches_the_configuration() {
        let config = config(
            "serve unix:/tmp/a udp://[::1]:0 --service discard --print --backlog 7 --max-connections 9 \
             --idle-timeout 500ms --write-timeout off --drain-timeout 0s --busy-poll 50us",
        );
        assert_eq!(config.endpoints.len(), 2);
        assert_eq!((config.service.as_str(), config.print, config.backlog, config.max_connections), ("discard", true, 7, Some(9)));
        assert_eq!(config.idle_timeout, Some(Duration::from_millis(500)));
        assert_eq!(config.write_timeout, None);
        assert_eq!(config.drain_timeout, Some(Duration::ZERO));
        assert_eq!(config.busy_poll, Some(Duration::from_micros(50)));
    }

    #[test]
    fn levels_follow_the_flags_before_and_after_the_command() {
        for (words, expected) in [
            ("serve", LevelFilter::Info),
            ("serve -v", LevelFilter::Debug),
            ("-v serve", LevelFilter::Debug),
            ("serve -vv", LevelFilter::Trace),
            ("serve -q", LevelFilter::Warn),
        ] {
            assert_eq!(parse_words(words).unwrap().level, expected, "{words}");
        }
    }

    #[test]
    fn what_is_wrong_is_one_line_that_names_it() {
        for (words, named) in [
            ("", "subcommand"),
            ("sreve", "'sreve'"),
            ("serve --bakclog 3", "--backlog"),
            ("serve 127.0.0.1:80", "an endpoint is tcp://"),
            ("serve --service parrot", "[possible values: echo, discard, chargen, daytime, time, qotd, whoami]"),
            ("serve --backlog 0", "0 is not in 1"),
            ("serve --max-connections 0", "0 is not in 1"),
            ("serve --max-connections x", "'x'"),
            ("serve --idle-timeout 30", "whole number with its unit"),
            ("serve --idle-timeout s", "number is missing"),
            ("serve --idle-timeout 0s", "off means never"),
            ("serve --write-timeout 1.5s", "whole number with its unit"),
            ("serve --drain-timeout 99999999999h", "584 years"),
            ("serve -q -v", "cannot be used with"),
        ] {
            let line = complaint(words);
            assert!(line.contains(named), "{words}: {line}");
            assert!(!line.contains('\n') && line.ends_with("see --help"), "{words}: {line}");
        }
    }

    #[test]
    fn help_and_version_are_answers_not_errors() {
        for words in ["--help", "serve --help", "--version", "help"] {
            assert!(matches!(parse_words(words), Err(Answer::Text(_))), "{words}");
        }
    }
}
