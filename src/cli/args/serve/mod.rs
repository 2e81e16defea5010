//! The words of `mynah serve` and `mynah receive`, and the configuration that they give.
//!
//! Owns the rules about which options go together. A combination that could only fail later, or do
//! nothing, is refused here with a sentence that says what to write instead.
//!
//! ```text
//!   replies    what a server says          limits      how much, and for how long
//!   datagrams  how they come, which of them are answered
//! ```

mod datagrams;
mod limits;
mod replies;
#[cfg(test)]
pub(super) mod tests;

use clap::Args;
use mynah::{Endpoint, Limits};

use self::datagrams::{AnswerOptions, UdpOptions};
use self::limits::{LimitOptions, OutputOptions};
use self::replies::ReplyOptions;
use super::wire::WireOptions;
use crate::cli::serve::Config;
use crate::cli::status::Failure;

/// What a command without an endpoint serves.
const USUAL: [&str; 2] = ["tcp://127.0.0.1:7777", "udp://127.0.0.1:7777"];

/// Run the service until SIGTERM or SIGINT.
///
/// Prints one line for each endpoint once all of them can be used. The first SIGTERM or SIGINT
/// begins a drain: the server accepts what is in the backlog, finishes quiet connections, and
/// serves the others until their peer ends them or the drain timeout cuts them. The second one ends
/// at once. SIGUSR1 logs the statistics in one line. SIGHUP logs that there is no configuration
/// file to read again.
///
/// TEXT, TEMPLATE and the TEXT of --frame take the escapes \n \r \t \0 \\ \xHH; \xHH is a byte
/// that is sent as it is, whatever the encoding. SIZE is a whole number of bytes, or with its unit:
/// B, KB, KiB, MB, MiB, GB, GiB. D is a whole number with its unit, us, ms, s, m or h, or off.
///
/// Exit status: 0 nothing was cut, 1 something was cut or another failure, 2 wrong usage, 7 a name
/// does not resolve.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Listen here: tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH; port 0 asks for
    /// any free port [default: tcp://127.0.0.1:7777 and udp://127.0.0.1:7777]
    #[arg(value_name = "ENDPOINT")]
    endpoints: Vec<Endpoint>,
    #[command(flatten)]
    replies: ReplyOptions,
    /// Print each message received on standard output, with its sender, control characters escaped
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    wire: WireOptions,
    #[command(flatten)]
    bounds: LimitOptions,
    #[command(flatten)]
    datagrams: UdpOptions,
    #[command(flatten)]
    answers: AnswerOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// Print what arrives, one line a message, until SIGTERM or SIGINT.
///
/// The same as `mynah serve --service discard --print`: each line is the sender, a colon and the
/// text. Control characters are escaped, and bytes that are no text are printed as \xHH. Signals
/// work as for serve. At the end, standard error says how much was received, and how many lines
/// could not be printed.
///
/// Exit status: 0 nothing was cut, 1 something was cut, printed lines were dropped, or another
/// failure, 2 wrong usage, 7 a name does not resolve.
#[derive(Args, Debug)]
pub(super) struct Receive {
    /// Listen here: tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH; port 0 asks for
    /// any free port
    #[arg(value_name = "ENDPOINT", required = true)]
    endpoints: Vec<Endpoint>,
    #[command(flatten)]
    wire: WireOptions,
    #[command(flatten)]
    bounds: LimitOptions,
    #[command(flatten)]
    datagrams: UdpOptions,
}

impl TryFrom<Serve> for Config {
    type Error = Failure;

    fn try_from(words: Serve) -> Result<Config, Failure> {
        let is_usual = words.endpoints.is_empty();
        let endpoints = if is_usual {
            USUAL.iter().flat_map(|text| text.parse()).collect()
        } else {
            words.endpoints
        };
        words.replies.check(&endpoints, is_usual)?;
        words.wire.check(&endpoints)?;
        words.bounds.check(&endpoints)?;
        words.answers.check(&endpoints)?;
        words.output.check(&endpoints)?;
        Ok(Config {
            datagrams: words.datagrams.options(&endpoints)?,
            endpoints,
            speech: words.replies.speech(&words.wire)?,
            service: words.replies.service,
            print: words.print.then_some(words.wire.encoding),
            is_counted: false,
            streams: words.bounds.streams(),
            backlog: words.bounds.backlog(),
            max_connections: words.bounds.max_connections,
            max_pending_output: words.output.max_pending_output,
            limits: words
                .answers
                .limits(words.output.limits(words.bounds.limits())),
        })
    }
}

impl TryFrom<Receive> for Config {
    type Error = Failure;

    fn try_from(words: Receive) -> Result<Config, Failure> {
        words.wire.check(&words.endpoints)?;
        words.bounds.check(&words.endpoints)?;
        Ok(Config {
            datagrams: words.datagrams.options(&words.endpoints)?,
            endpoints: words.endpoints,
            service: "discard".to_owned(),
            speech: words.wire.speech()?,
            print: Some(words.wire.encoding),
            is_counted: true,
            streams: words.bounds.streams(),
            backlog: words.bounds.backlog(),
            max_connections: words.bounds.max_connections,
            // The server sends nothing, so no output can be pending.
            max_pending_output: None,
            limits: Limits {
                write_timeout: None,
                ..words.bounds.limits()
            },
        })
    }
}
