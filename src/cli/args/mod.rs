//! The definition of the command line, and its parsing.
//!
//! Owns the words that all commands share, and the form of a usage error: one line. A command's own
//! words are in the file of its name.

mod connect;
mod kinds;
mod load;
mod messages;
mod report;
mod serve;
mod template;
mod timing;
mod wire;

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use log::LevelFilter;
use mynah::Escaped;

use super::charset::Charset;
use super::status::{Failure, Status};
use super::text::Text;
use super::{connect as connecting, load as loading, report as reporting, serve as serving};

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) level: LevelFilter,
    pub(crate) command: Job,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Run the service.
    Serve(Box<serving::Config>),
    /// Talk to a peer.
    Connect(connecting::Config),
    /// Generate load.
    Load(Box<loading::Config>),
    /// Merge or compare the logs of runs.
    Report(reporting::Config),
    /// Write the manual page.
    Man,
    /// Write the completions of a shell.
    Completions(Shell),
}

/// Where there is nothing to do but to answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Help or the version, for standard output. The help goes to standard error, and is a failure,
    /// if no command was given.
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
                match text.exit_code() {
                    0 => Status::Done.into(),
                    _ => Status::Usage.into(),
                }
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
    let words = with_negatives(words.into_iter().collect());
    let cli = Cli::try_parse_from(words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Answer::Text(error),
        _ => Answer::Usage(Failure::new(Status::Usage, one_line(error))),
    })?;
    let command = match cli.words {
        Words::Serve(serve) => Job::Serve(Box::new(serve.try_into().map_err(Answer::Usage)?)),
        Words::Receive(receive) => Job::Serve(Box::new(receive.try_into().map_err(Answer::Usage)?)),
        Words::Connect(connect) => Job::Connect(connect.try_into().map_err(Answer::Usage)?),
        Words::Load(load) => Job::Load(Box::new((*load).try_into().map_err(Answer::Usage)?)),
        Words::Report(report) => Job::Report(report.try_into().map_err(Answer::Usage)?),
        Words::Man => Job::Man,
        Words::Completions { shell } => Job::Completions(shell),
    };
    let level = level(cli.verbose, cli.quiet, &command);
    Ok(Invocation { level, command })
}

/// Joins an option and a negative number behind it to one word, as in `--idle-timeout=-5s`. clap
/// takes `-5s` for an option by itself, and says so. The option knows better what is wrong with it.
fn with_negatives(words: Vec<OsString>) -> Vec<OsString> {
    let definition = definition();
    let command = words
        .iter()
        .find_map(|word| definition.find_subcommand(word))
        .unwrap_or(&definition);
    let takes_value = |word: &str| {
        let is_it = |option: &&clap::Arg| match word.strip_prefix("--") {
            Some(long) => option.get_long() == Some(long),
            None => {
                option
                    .get_short()
                    .map(|short| format!("-{short}"))
                    .as_deref()
                    == Some(word)
            }
        };
        let mut options = command.get_arguments().filter(is_it);
        options.any(|option| option.get_action().takes_values())
    };
    let is_negative = |word: &str| {
        let number = word.strip_prefix('-');
        number.is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()))
    };
    let mut joined: Vec<OsString> = Vec::with_capacity(words.len());
    let mut has_ended = false;
    for word in words {
        has_ended |= word == "--";
        match (joined.last_mut(), word.to_str()) {
            (Some(option), Some(text))
                if !has_ended && is_negative(text) && option.to_str().is_some_and(takes_value) =>
            {
                option.push("=");
                option.push(text);
            }
            _ => joined.push(word),
        }
    }
    joined
}

/// The definition of the whole command line, for those that describe it.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

/// An echo and response server for TCP, UDP and Unix sockets, with its client and load generator.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    words: Words,
    /// Log more: -v for every connection, -vv for every event
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        conflicts_with = "quiet",
        display_order = 100
    )]
    verbose: u8,
    /// Log warnings, errors and what signals ask for only
    #[arg(short, long, global = true, display_order = 100)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Words {
    // No doc comment: clap would show it instead of all that `Serve` says of itself.
    Serve(serve::Serve),
    Connect(connect::Connect),
    Receive(serve::Receive),
    Load(Box<load::Load>),
    Report(report::Report),
    /// Write the manual page to standard output, as in: mynah man > mynah.1
    Man,
    /// Write the completions of a shell to standard output, as in: mynah completions bash >
    /// /etc/bash_completion.d/mynah
    Completions {
        /// The shell to complete in
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// A client reports what matters by itself; its log is for debugging.
fn level(verbose: u8, quiet: bool, command: &Job) -> LevelFilter {
    match (command, quiet, verbose) {
        (_, true, _) | (Job::Connect(_) | Job::Load(_) | Job::Report(_), _, 0) => LevelFilter::Warn,
        (_, _, 0) => LevelFilter::Info,
        (_, _, 1) => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// What is wrong with words that are right one by one.
fn usage(why: impl fmt::Display) -> Failure {
    Failure::new(Status::Usage, format_args!("{why}; see --help"))
}

/// The bytes of a text that was given with `option`, in the encoding of the wire.
fn bytes_of(option: &str, text: &str, encoding: Charset) -> Result<Vec<u8>, Failure> {
    let text = Text::parse(text).map_err(|why| usage(format_args!("{option}: {why}")))?;
    text.encode(encoding).map_err(|character| {
        let shown = Escaped(character.encode_utf8(&mut [0; 4]).as_bytes()).to_string();
        usage(format_args!(
            "{option}: '{shown}' cannot be written in {encoding}; choose another \
            --encoding, or give its bytes as \\xHH"
        ))
    })
}

/// clap's message without its paragraphs: what is wrong, then its tip, then where to read on. It
/// repeats the words that are wrong, and those may come from anywhere, so they are escaped before
/// anything is made of them.
fn one_line(mut error: clap::Error) -> String {
    error.remove(ContextKind::Usage);
    let context: Vec<(ContextKind, ContextValue)> = error
        .context()
        .map(|(kind, value)| (kind, value.clone()))
        .collect();
    for (kind, value) in context {
        error.insert(kind, escaped(value));
    }
    let text = error.render().to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let parts: Vec<&str> = lines
        .map(|line| line.strip_prefix("error: ").unwrap_or(line))
        .collect();
    // A heading and what stands below it are one sentence.
    format!("{}; see --help", parts.join("; ").replace(":; ", ": "))
}

fn escaped(value: ContextValue) -> ContextValue {
    let escape = |text: &str| Escaped(text.as_bytes()).to_string();
    let escape_styled = |text: &StyledStr| StyledStr::from(escape(&text.to_string()));
    match value {
        ContextValue::String(text) => ContextValue::String(escape(&text)),
        ContextValue::Strings(texts) => {
            ContextValue::Strings(texts.iter().map(|text| escape(text)).collect())
        }
        ContextValue::StyledStr(text) => ContextValue::StyledStr(escape_styled(&text)),
        ContextValue::StyledStrs(texts) => {
            ContextValue::StyledStrs(texts.iter().map(escape_styled).collect())
        }
        other => other,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(super) fn parse_words(words: &str) -> Result<Invocation, Answer> {
        parse(
            std::iter::once("mynah")
                .chain(words.split_whitespace())
                .map(OsString::from),
        )
    }

    /// The one line that is said about `words`.
    #[track_caller]
    pub(super) fn complaint<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
        let words: Vec<&str> = words.into_iter().collect();
        match parse(["mynah"].iter().chain(&words).map(OsString::from)) {
            Err(Answer::Usage(failure)) => {
                assert_eq!(failure.status, Status::Usage);
                assert!(
                    !failure.message.chars().any(char::is_control)
                        && failure.message.ends_with("; see --help"),
                    "{}",
                    failure.message
                );
                failure.message
            }
            other => panic!("{words:?}: {other:?}"),
        }
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
            ("sreve", "'sreve'"),
            ("serve --bakclog 3", "--backlog"),
            ("serve 127.0.0.1:80", "did you mean tcp://127.0.0.1:80?"),
            ("serve --backlog off", "cannot be switched off"),
            ("serve --max-connections off", "leave the option out"),
            ("serve --backlog 2147483648", "more than 2147483647"),
            (
                "serve --max-connections 99999999999",
                "more than 4294967295",
            ),
            (
                "serve --udp-rate 10k",
                "without a unit, such as 10000, or off",
            ),
            (
                "load tcp://h:1 --source foo",
                "an address to speak from is an IPv4",
            ),
            (
                "serve --service parrot",
                "[possible values: echo, discard, chargen, daytime, time, qotd, whoami]",
            ),
            ("serve -q -v", "cannot be used with"),
            ("receive", "<ENDPOINT>"),
            ("completions", "<SHELL>"),
            (
                "completions tcsh",
                "[possible values: bash, elvish, fish, powershell, zsh]",
            ),
        ] {
            let line = complaint(words.split_whitespace());
            assert!(line.contains(named), "{words}: {line}");
        }
    }

    #[test]
    fn a_negative_number_belongs_to_the_option_before_it() {
        for (words, named) in [
            ("serve --idle-timeout -5s", "a duration cannot be negative"),
            ("serve --max-pending-output -5", "a size cannot be negative"),
            ("serve --max-connections -3", "cannot be negative"),
            ("serve --udp-rate -3", "a cap cannot be negative"),
            ("load tcp://h:1 -c -3", "-3"),
            // No option stands before these.
            ("serve -5s", "unexpected argument '-5'"),
            ("serve --print -5s", "unexpected argument '-5'"),
            ("serve -- --idle-timeout -5s", "an endpoint is tcp://"),
        ] {
            let line = complaint(words.split_whitespace());
            assert!(line.contains(named), "{words}: {line}");
        }
    }

    /// Nor do they end the line where they look like a part of clap's.
    #[test]
    fn wrong_words_are_shown_whole_and_escaped() {
        const HOSTILE: &str = "a\nUsage: b\nFor more information\n\x1b[2J\u{202e}";
        const SHOWN: &str = r"a\nUsage: b\nFor more information\n\x1b[2J\u{202e}";
        let option = format!("--{HOSTILE}");
        for words in [
            &[HOSTILE][..],
            &["serve", HOSTILE],
            &["serve", &option],
            &["serve", "--service", HOSTILE],
            &["serve", "--backlog", HOSTILE],
        ] {
            let line = complaint(words.iter().copied());
            assert!(line.contains(SHOWN), "{words:?}: {line}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn help_and_version_are_answers_not_errors() {
        for words in [
            "--help",
            "serve --help",
            "receive --help",
            "--version",
            "help",
            "",
        ] {
            assert!(
                matches!(parse_words(words), Err(Answer::Text(_))),
                "{words}"
            );
        }
    }
}
