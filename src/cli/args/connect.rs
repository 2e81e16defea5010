//! The words of `mynah connect`.

use std::time::Duration;

use clap::Args;
use mynah::Endpoint;
use mynah::net::{DatagramOptions, Interface};

use super::kinds::Kind;
use super::usage;
use crate::cli::charset::Charset;
use crate::cli::connect::{self, Local};
use crate::cli::status::Failure;
use crate::cli::values::{Timeout, duration, interface, timeout};

/// Talk to a peer: standard input to it, and what it says to standard output.
///
/// Over a stream, the end of the input ends the sending side, and reading goes on to the peer's end
/// of stream. With datagram endpoints each line of the input is one datagram, without its end, to
/// every endpoint; answers are printed, one a line.
///
/// Into a pipe or a file goes what came, byte for byte; on a terminal control characters are
/// escaped.
///
/// Exit status: 0 done, 1 another failure, 2 wrong usage, 3 refused, 4 timed out, 5 reset by the
/// peer, 6 unreachable, 7 a name does not resolve.
#[derive(Args, Debug)]
pub(super) struct Connect {
    /// One of tcp://HOST:PORT and unix:PATH, or any number of udp://HOST:PORT and unixgram:PATH
    #[arg(value_name = "ENDPOINT", required = true)]
    endpoints: Vec<Endpoint>,
    /// Speak from this address: IP, IP:PORT, or a path for Unix datagrams
    #[arg(long, value_name = "ADDR", value_parser = Local::parse)]
    bind: Option<Local>,
    /// Stop at a line that is exactly this, which is not sent
    #[arg(long, value_name = "WORD")]
    until: Option<String>,
    /// Text encoding of the wire: the input is written in it, and what comes is read in it;
    /// standard input and output are UTF-8
    #[arg(long, value_name = "LABEL", default_value = "utf-8", value_parser = Charset::parse)]
    encoding: Charset,
    /// Give up a stream's address that does not answer within D, and try the next [default: 10s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    timeout: Option<Timeout>,
    /// Wait for answers to datagrams for D after the input has ended; off waits for ever [default:
    /// 1s]
    #[arg(long, value_name = "D", value_parser = duration)]
    wait: Option<Timeout>,
    /// Send to a broadcast address, and take answers from any sender
    #[arg(long)]
    broadcast: bool,
    /// How many hops a datagram may go [default: the system's, which for a multicast group is 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    ttl: Option<u8>,
    /// Speak to a multicast group from here: the name of a network interface, or an IPv4 address
    /// that it has [default: the system's choice]
    #[arg(long, value_name = "IF", value_parser = interface)]
    interface: Option<Interface>,
}

/// How long an address may take to answer, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long answers to datagrams are waited for, unless told otherwise.
const WAIT: Duration = Duration::from_secs(1);

impl TryFrom<Connect> for connect::Config {
    type Error = Failure;

    fn try_from(words: Connect) -> Result<connect::Config, Failure> {
        let stream = words
            .endpoints
            .iter()
            .find(|endpoint| Kind::Stream.has(endpoint));
        if let (Some(stream), 2..) = (stream, words.endpoints.len()) {
            let why = "a stream has one peer; only datagrams can go to several: give one \
                endpoint, or udp:// and unixgram: alone";
            return Err(usage(format_args!(
                "{stream} beside another endpoint: {why}"
            )));
        }
        Kind::Udp.check(
            &words.endpoints,
            &[
                (words.broadcast, "--broadcast"),
                (words.ttl.is_some(), "--ttl"),
                (words.interface.is_some(), "--interface"),
            ],
        )?;
        Kind::Datagram.check(&words.endpoints, &[(words.wait.is_some(), "--wait")])?;
        if stream.is_none() && words.timeout.is_some() {
            return Err(usage(
                "--timeout is for connecting, and datagrams need no connection; --wait says how \
                 long to wait for answers",
            ));
        }
        Ok(connect::Config {
            datagrams: DatagramOptions {
                interface: words.interface,
                broadcast: words.broadcast,
                hops: words.ttl,
                ..DatagramOptions::default()
            },
            endpoints: words.endpoints,
            bind: words.bind,
            until: words.until,
            charset: words.encoding,
            timeout: words.timeout.map_or(Some(TIMEOUT), |given| given.0),
            wait: words.wait.map_or(Some(WAIT), |given| given.0),
        })
    }
}
