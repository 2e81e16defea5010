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
            ("serve --service parrot", "[possible values: echo, discard]"),
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
