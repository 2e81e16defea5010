//! The words of `mynah serve` and `mynah receive`, and the configuration that they give.
//!
//! Owns the rules about which options go together. A combination that could only fail later, or do
//! nothing, is refused here with a sentence that says what to write instead.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mynah::net::{DatagramOptions, Interface, Keepalive, StreamOptions};
use mynah::service::{self, Template};
use mynah::{Endpoint, Limits};

use super::usage;
use super::wire::WireOptions;
use crate::cli::serve::Config;
use crate::cli::status::Failure;
use crate::cli::values::{
    RateCap, Timeout, duration, interface, keepalive, rate_cap, size, timeout,
};

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
    /// any free port
    #[arg(
        value_name = "ENDPOINT",
        default_values = ["tcp://127.0.0.1:7777", "udp://127.0.0.1:7777"]
    )]
    endpoints: Vec<Endpoint>,
    /// Answer with this service
    #[arg(
        long,
        value_name = "NAME",
        default_value = "echo",
        value_parser = PossibleValuesParser::new(service::NAMES).map(|name| name)
    )]
    service: String,
    /// Send this to each client of a stream when it connects
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    greeting: Option<String>,
    /// Answer each message with this; {} is the message, {peer} the client's address, {local} the
    /// address it reached, {conn} the connection's number, {seq} the message's number, {time} the
    /// time; {{ and }} are braces
    #[arg(long, value_name = "TEMPLATE", allow_hyphen_values = true)]
    reply: Option<String>,
    /// Close a stream connection after its first reply, or after the greeting without --reply
    #[arg(long)]
    close: bool,
    /// Print each message received on standard output, with its sender, control characters escaped
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    wire: WireOptions,
    #[command(flatten)]
    bounds: LimitOptions,
    #[command(flatten)]
    datagrams: UdpOptions,
    /// Let an answer to a UDP datagram be longer than the datagram; a sender with a forged address
    /// can then turn few bytes into many for its victim
    #[arg(long)]
    allow_amplification: bool,
    /// Send one source at most N answers to UDP datagrams in a second [default: no cap]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    udp_rate: Option<u32>,
    /// Send one Unix datagram peer at most N answers in a second, or off; the cap bounds what a
    /// loop of two servers that answer each other costs [default: 50000]
    #[arg(long, value_name = "N", value_parser = rate_cap)]
    unixgram_rate: Option<RateCap>,
    /// Reset a connection whose pending output makes no progress for D
    #[arg(long, value_name = "D", default_value = "30s", value_parser = timeout)]
    write_timeout: Timeout,
    /// Keep at most SIZE of pending output for all connections together; past it the connection
    /// that has been stalled the longest is reset [default: a quarter of the available memory]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_pending_output: Option<usize>,
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

/// How much, and for how long.
#[derive(Args, Debug)]
struct LimitOptions {
    /// Let the kernel keep N connections for each endpoint until they are accepted
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX))
    )]
    backlog: u32,
    /// Serve at most N connections at once; at this number the server stops accepting, and further
    /// clients wait in the backlog [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Finish a connection on which nothing has moved for D
    #[arg(long, value_name = "D", default_value = "off", value_parser = timeout)]
    idle_timeout: Timeout,
    /// Probe a TCP peer that has been silent for D, and close its connection if four probes get no
    /// answer
    #[arg(long, value_name = "D", default_value = "1m", value_parser = keepalive)]
    keepalive: Timeout,
    /// Cut what is still open D after a drain began; off waits for the last peer
    #[arg(long, value_name = "D", default_value = "5s", value_parser = duration)]
    drain_timeout: Timeout,
    /// Spin for D after the last event: lower latency, at the cost of a busy core
    #[arg(long, value_name = "D", default_value = "off", value_parser = duration)]
    busy_poll: Timeout,
}

/// How UDP sockets are made.
#[derive(Args, Debug)]
struct UdpOptions {
    /// Ask for a receive buffer of SIZE on each UDP socket, so that a burst fits [default: 2MiB, or
    /// what the system allows]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    udp_buffer: Option<usize>,
    /// Join a multicast group on this interface: its name, or an IPv4 address that it has [default:
    /// the system's choice]
    #[arg(long, value_name = "IF", value_parser = interface)]
    interface: Option<Interface>,
}

impl UdpOptions {
    /// An option that no endpoint here would use is a mistake.
    fn options(&self, endpoints: &[Endpoint]) -> Result<DatagramOptions, Failure> {
        let usual = DatagramOptions::default();
        check_udp(endpoints, self.udp_buffer.is_some(), "--udp-buffer")?;
        check_udp(endpoints, self.interface.is_some(), "--interface")?;
        Ok(DatagramOptions {
            receive_buffer: self.udp_buffer.or(usual.receive_buffer),
            warns_of_buffer: self.udp_buffer.is_some(),
            interface: self.interface,
            ..usual
        })
    }
}

fn check_udp(endpoints: &[Endpoint], is_given: bool, option: &str) -> Result<(), Failure> {
    match endpoints
        .iter()
        .any(|endpoint| matches!(endpoint, Endpoint::Udp(_)))
    {
        false if is_given => Err(usage(format_args!(
            "{option} is for UDP, and no endpoint is; name one, such as udp://127.0.0.1:7777, or \
             leave it out"
        ))),
        _ => Ok(()),
    }
}

fn check_unixgram(endpoints: &[Endpoint], is_given: bool) -> Result<(), Failure> {
    match endpoints
        .iter()
        .any(|endpoint| matches!(endpoint, Endpoint::Unixgram(_)))
    {
        false if is_given => Err(usage(
            "--unixgram-rate is for Unix datagrams, and no endpoint is; name one, such as \
             unixgram:/tmp/echo, or leave it out",
        )),
        _ => Ok(()),
    }
}

impl TryFrom<Serve> for Config {
    type Error = Failure;

    fn try_from(words: Serve) -> Result<Config, Failure> {
        words.check_streams()?;
        words.check_service()?;
        check_udp(
            &words.endpoints,
            words.allow_amplification,
            "--allow-amplification",
        )?;
        check_udp(&words.endpoints, words.udp_rate.is_some(), "--udp-rate")?;
        check_unixgram(&words.endpoints, words.unixgram_rate.is_some())?;
        let datagrams = words.datagrams.options(&words.endpoints)?;
        let mut speech = words.wire.speech()?;
        if let Some(greeting) = &words.greeting {
            speech.greeting = words.wire.greeting(greeting)?;
        }
        if let Some(reply) = &words.reply {
            speech.reply = Some(words.wire.reply(reply, &speech.framing)?);
        } else if words.close && words.greeting.is_none() {
            speech.reply = Some(Template::message());
        }
        speech.close = words.close;
        let usual = Limits::default();
        Ok(Config {
            endpoints: words.endpoints,
            service: words.service,
            speech,
            print: words.print.then_some(words.wire.encoding),
            is_counted: false,
            datagrams,
            streams: words.bounds.streams(),
            backlog: words.bounds.backlog,
            max_connections: words.bounds.max_connections,
            max_pending_output: words.max_pending_output,
            limits: Limits {
                allow_amplification: words.allow_amplification,
                udp_rate: words.udp_rate,
                unixgram_rate: words.unixgram_rate.map_or(usual.unixgram_rate, |cap| cap.0),
                ..words.bounds.limits(words.write_timeout)
            },
        })
    }
}

impl TryFrom<Receive> for Config {
    type Error = Failure;

    fn try_from(words: Receive) -> Result<Config, Failure> {
        let datagrams = words.datagrams.options(&words.endpoints)?;
        Ok(Config {
            datagrams,
            endpoints: words.endpoints,
            service: "discard".to_owned(),
            speech: words.wire.speech()?,
            print: Some(words.wire.encoding),
            is_counted: true,
            streams: words.bounds.streams(),
            backlog: words.bounds.backlog,
            max_connections: words.bounds.max_connections,
            // The server sends nothing, so no output can be pending.
            max_pending_output: None,
            limits: words.bounds.limits(Timeout(None)),
        })
    }
}

impl Serve {
    /// `--greeting` and `--close` need a connection.
    fn check_streams(&self) -> Result<(), Failure> {
        let option = match (&self.greeting, self.close) {
            (Some(_), _) => "--greeting",
            (None, true) => "--close",
            (None, false) => return Ok(()),
        };
        match self
            .endpoints
            .iter()
            .find(|endpoint| matches!(endpoint, Endpoint::Udp(_) | Endpoint::Unixgram(_)))
        {
            None => Ok(()),
            Some(endpoint) => Err(usage(format_args!(
                "{option} is for stream connections, and {endpoint} has none; name stream \
                 endpoints alone, such as tcp://127.0.0.1:7777"
            ))),
        }
    }

    /// One option says what answers, and one what closes.
    fn check_service(&self) -> Result<(), Failure> {
        let service = self.service.as_str();
        match service {
            "echo" => Ok(()),
            _ if self.reply.is_some() => Err(usage(format_args!(
                "--reply and --service {service} are two answers to one message; leave one of \
                 them out"
            ))),
            "discard" if self.close && self.greeting.is_none() => Err(usage(
                "--close closes after a first reply, and --service discard never gives one; add \
                 --greeting, or leave --close out",
            )),
            "discard" => Ok(()),
            _ if self.close => Err(usage(format_args!(
                "--service {service} decides by itself when to close; leave --close out"
            ))),
            _ => Ok(()),
        }
    }
}

impl LimitOptions {
    fn streams(&self) -> StreamOptions {
        let keepalive = self.keepalive.0.map(|idle| Keepalive {
            idle,
            ..Keepalive::default()
        });
        StreamOptions { keepalive }
    }

    fn limits(&self, write_timeout: Timeout) -> Limits {
        Limits {
            idle_timeout: self.idle_timeout.0,
            write_timeout: write_timeout.0,
            drain_timeout: self.drain_timeout.0,
            connect_timeout: None,
            busy_poll: self.busy_poll.0,
            ..Limits::default()
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::args::tests::{complaint, parse_words};
    use crate::cli::args::{Invocation, Job, parse};
    use crate::cli::charset::Charset;
    use crate::cli::serve::Speech;
    use mynah::service::{Framing, TemplateError};
    use mynah::stream::outbox;
    use std::time::Duration;

    const TCP: &str = "tcp://127.0.0.1:0";

    fn config(words: &str) -> Config {
        match parse_words(words) {
            Ok(Invocation {
                command: Job::Serve(config),
                ..
            }) => *config,
            other => panic!("{words}: {other:?}"),
        }
    }

    /// `mynah serve WORDS… tcp://127.0.0.1:0`, with words that may contain blanks.
    pub(in crate::cli::args) fn speech(words: &[&str]) -> Speech {
        match parse(
            ["mynah", "serve"]
                .iter()
                .chain(words)
                .chain(&[TCP])
                .map(std::ffi::OsString::from),
        ) {
            Ok(Invocation {
                command: Job::Serve(config),
                ..
            }) => config.speech,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    pub(in crate::cli::args) fn template(text: &str) -> Template {
        Template::parse(text, |_, text| {
            Ok::<_, TemplateError>(text.as_bytes().to_vec())
        })
        .unwrap()
    }

    #[test]
    fn nothing_configured_is_the_main_job() {
        let config = config("serve");
        let endpoints: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["tcp://127.0.0.1:7777", "udp://127.0.0.1:7777"]);
        assert_eq!(
            (config.service.as_str(), config.print, config.is_counted),
            ("echo", None, false)
        );
        assert!(config.speech.is_plain(), "no service around the service");
        assert_eq!(config.speech.max_message, 65_536);
        assert_eq!((config.backlog, config.max_connections), (4096, None));
        assert_eq!(
            (config.limits.idle_timeout, config.limits.busy_poll),
            (None, None)
        );
        assert_eq!(config.limits.write_timeout, Some(Duration::from_secs(30)));
        assert_eq!(config.limits.drain_timeout, Some(Duration::from_secs(5)));
        assert_eq!(config.max_pending_output, None);
        assert_eq!(config.streams, StreamOptions::default());
        let message_timeout = config.speech.message_timeout;
        assert_eq!(message_timeout, Some(Duration::from_secs(30)));
    }

    #[test]
    fn every_limit_reaches_the_configuration() {
        let config = config(
            "serve unix:/tmp/a udp://[::1]:0 --service discard --print --backlog 7 \
             --max-connections 9 --idle-timeout 500ms --write-timeout off --drain-timeout 0s \
             --busy-poll 50us --max-pending-output 3MiB --message-timeout 2s --keepalive off",
        );
        assert_eq!(config.endpoints.len(), 2);
        assert_eq!(
            (config.service.as_str(), config.print),
            ("discard", Some(Charset::parse("utf-8").unwrap()))
        );
        assert_eq!((config.backlog, config.max_connections), (7, Some(9)));
        assert_eq!(config.limits.idle_timeout, Some(Duration::from_millis(500)));
        assert_eq!(config.limits.write_timeout, None);
        assert_eq!(config.limits.drain_timeout, Some(Duration::ZERO));
        assert_eq!(config.limits.busy_poll, Some(Duration::from_micros(50)));
        assert_eq!(config.max_pending_output, Some(3 << 20));
        assert_eq!(config.streams.keepalive, None);
        let message_timeout = config.speech.message_timeout;
        assert_eq!(message_timeout, Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_cap_on_unix_datagrams_can_be_lowered_and_switched_off() {
        let cap = |words: &str| config(words).limits.unixgram_rate;
        assert_eq!(cap("serve"), Some(50_000));
        assert_eq!(cap("serve unixgram:/tmp/a --unixgram-rate 7"), Some(7));
        assert_eq!(cap("serve unixgram:/tmp/a --unixgram-rate off"), None);
    }

    #[test]
    fn receive_is_discard_and_print() {
        let receive = config(
            "receive unix:/tmp/a udp://[::1]:0 --encoding gbk --frame line --max-message 1KiB \
             --backlog 7 --idle-timeout 1s",
        );
        assert_eq!(
            (
                receive.endpoints.len(),
                receive.service.as_str(),
                receive.is_counted
            ),
            (2, "discard", true)
        );
        assert_eq!(receive.print, Some(Charset::parse("gbk").unwrap()));
        assert_eq!(
            (receive.speech.framing, receive.speech.max_message),
            (Framing::Line, 1024)
        );
        assert_eq!(
            (receive.backlog, receive.limits.idle_timeout),
            (7, Some(Duration::from_secs(1)))
        );
    }

    #[test]
    fn a_close_has_something_to_close_after() {
        for (words, reply) in [
            (&["--close"][..], Some(Template::message())),
            (&["--close", "--reply", "bye"], Some(template("bye"))),
            (&["--close", "--greeting", "hi"], None),
            (
                &["--close", "--greeting", "hi", "--reply", "bye"],
                Some(template("bye")),
            ),
            (
                &["--close", "--greeting", "hi", "--service", "discard"],
                None,
            ),
        ] {
            let speech = speech(words);
            assert_eq!((speech.close, speech.reply), (true, reply), "{words:?}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_a_way_out() {
        let long = "x".repeat(outbox::LIMIT + 1);
        for (words, named) in [
            (
                &["--greeting", "hi"][..],
                &[
                    "--greeting is for stream",
                    "udp://127.0.0.1:7777",
                    "name stream endpoints",
                ][..],
            ),
            (
                &["--close"],
                &["--close is for stream", "udp://127.0.0.1:7777"],
            ),
            (
                &["--close", TCP, "unixgram:/tmp/a"],
                &["--close is for stream", "unixgram:/tmp/a"],
            ),
            (
                &["--reply", "a", "--service", "discard"],
                &["--reply and --service discard", "leave one of them out"],
            ),
            (
                &["--close", "--service", "discard", TCP],
                &["never gives one", "add --greeting"],
            ),
            (&["--greeting", "", TCP], &["--greeting: the text is empty"]),
            (
                &["--greeting", r"a\q", TCP],
                &[r"--greeting: at character 2, \q is no escape; there are \n \r \t \0 \\ \xHH"],
            ),
            (
                &["--greeting", "收🐦", "--encoding", "gbk", TCP],
                &[
                    "--greeting: '🐦' cannot be written in GBK",
                    "another --encoding",
                ],
            ),
            (
                &["--greeting", &long, TCP],
                &["--greeting: 65537 bytes", "65536"],
            ),
            (&["--reply", &long], &["--reply: 65537 bytes", "65536"]),
            (
                &["--reply", "收{"],
                &["--reply: at character 2, a brace is never closed"],
            ),
            (
                &["--reply", "收}x"],
                &["--reply: at character 2, a brace closes"],
            ),
            (
                &["--reply", "a {now}"],
                &["--reply: at character 3, there is no field {now}"],
            ),
            (
                &["--reply", r"收{}{\q"],
                &[r"--reply: at character 5, \q is no escape"],
            ),
            (
                &["--reply", r"\{}"],
                &[r"--reply: at character 1, \{ is no escape"],
            ),
            (
                &["--reply", "{}é服", "--encoding", "latin1"],
                &["--reply: '服' cannot be written in windows-1252"],
            ),
            (
                &["--reply", &long[..256], "--frame", "prefix:u8"],
                &[
                    "256 bytes",
                    "prefix:u8 announces at most 255",
                    "wider prefix",
                ],
            ),
            (
                &["--frame", "lines"],
                &["--frame knows no 'lines'", "until:TEXT"],
            ),
            (&["--frame", "line:"], &["--frame knows no 'line:'"]),
            (
                &["--frame", "prefix:u64"],
                &["--frame knows no 'prefix:u64'"],
            ),
            (&["--frame", "\x1b"], &[r"--frame knows no '\x1b'"]),
            (
                &["--frame", "until:"],
                &["--frame until: the text that ends a message is missing"],
            ),
            (
                &["--frame", r"until:\"],
                &["--frame until: at character 1, the backslash at the end"],
            ),
            (
                &["--frame", "until:服", "--encoding", "latin1"],
                &["--frame until: '服' cannot be written"],
            ),
            (&["--frame", "fixed:0"], &["--frame fixed: zero"]),
            (
                &["--frame", "fixed:"],
                &["--frame fixed: the number is missing"],
            ),
            (
                &["--frame", "fixed:65537"],
                &[
                    "fixed:65537 is longer",
                    "65536",
                    "raise --max-message to 65537",
                ],
            ),
            (&["--max-message", "0"], &["'--max-message <SIZE>'", "zero"]),
            (
                &["--max-message", "1TB"],
                &["'--max-message <SIZE>'", "KiB"],
            ),
            (
                &["--encoding", "utf-16"],
                &["'--encoding <LABEL>'", "cannot be written"],
            ),
            (
                &["--encoding", "gb"],
                &["'--encoding <LABEL>'", "no encoding has this name", "gbk"],
            ),
            (&["--backlog", "0"], &["0 is not in 1"]),
            (&["--max-connections", "0"], &["0 is not in 1"]),
            (&["--max-connections", "x"], &["'x'"]),
            (&["--idle-timeout", "30"], &["whole number with its unit"]),
            (&["--idle-timeout", "0s"], &["off means never"]),
            (
                &["--write-timeout", "1.5s"],
                &["whole number with its unit"],
            ),
            (&["--drain-timeout", "99999999999h"], &["584 years"]),
            (&["--message-timeout", "0s"], &["off means never"]),
            (
                &["--message-timeout", "30"],
                &["whole number with its unit"],
            ),
            (&["--keepalive", "500ms"], &["whole seconds"]),
            (&["--keepalive", "10h"], &["32,767"]),
            (&["--keepalive", "0s"], &["off means never"]),
            (&["--max-pending-output", "0"], &["zero"]),
            (&["--max-pending-output", "1TB"], &["KiB"]),
            (
                &["--unixgram-rate", "0", "unixgram:/tmp/a"],
                &["zero would answer nobody", "off"],
            ),
            (
                &["--unixgram-rate", "5k", "unixgram:/tmp/a"],
                &["whole number", "off"],
            ),
            (
                &["--unixgram-rate", "5", TCP],
                &["--unixgram-rate is for Unix datagrams", "leave it out"],
            ),
        ] {
            let line = complaint(["serve"].iter().chain(words).copied());
            assert!(
                named.iter().all(|name| line.contains(name)),
                "{words:?}: {line} does not say {named:?}"
            );
        }
        for words in [
            "receive tcp://h:1 --reply a",
            "receive tcp://h:1 --service echo",
            "receive tcp://h:1 --write-timeout 1s",
            "receive tcp://h:1 --max-pending-output 1MiB",
            "receive unixgram:a --unixgram-rate 1",
            "receive tcp://h:1 --close",
        ] {
            assert!(
                complaint(words.split(' ')).contains("unexpected argument"),
                "{words}"
            );
        }
    }

    /// A service that speaks by itself also ends by itself.
    #[test]
    fn only_services_that_wait_for_us_are_closed() {
        for service in service::NAMES
            .into_iter()
            .filter(|name| !["echo", "discard"].contains(name))
        {
            let line = complaint(["serve", "--close", "--service", service, TCP]);
            assert!(line.contains("decides by itself when to close"), "{line}");
        }
    }
}
