//! The words of `mynah load`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mynah::Endpoint;
use mynah::load::{Check, Goal, HEADER, Law, Measured, Pace, Payload, Plan, Response};
use mynah::service::Delimiter;

use super::timing::Timing;
use super::{bytes_of, usage};
use crate::cli::charset::Charset;
use crate::cli::load::{self, Aim, Reports};
use crate::cli::status::Failure;
use crate::cli::values::{Timeout, duration, size, source, timeout};

/// What becomes of a run that the generator spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spoiled {
    Fail,
    Warn,
}

/// Generate load and report.
///
/// Opens connections, sends messages, waits for the answers, and measures. Without --rate the loop
/// is closed: a connection sends its next message when one was answered. With --rate or --stage it
/// is open: messages are due at that rate whatever the target does, at random times as from users
/// who know nothing of each other, and response times count from when a message was meant to be
/// sent, so that a target that stalls cannot hide it.
///
/// Exit status: 0 done, 1 another failure, 2 wrong usage, 3 refused, 4 timed out, 5 reset by the
/// peer, 6 unreachable, 7 a name does not resolve, 8 an answer was not as expected, or a
/// requirement was not met, 9 the generator spoiled the run: its times are more the generator's
/// than the target's.
#[derive(Args, Debug)]
pub(super) struct Load {
    /// One of tcp://HOST:PORT, udp://HOST:PORT, unix:PATH and unixgram:PATH
    #[arg(value_name = "ENDPOINT")]
    endpoint: Endpoint,
    /// Connections, or datagram sockets
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    connections: u32,
    /// Bytes of a message, of a pattern that does not repeat
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64",
        value_parser = size,
        help_heading = "Messages"
    )]
    size: usize,
    /// Send this text instead; it takes the escapes \n \r \t \0 \\ \xHH
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "size",
        help_heading = "Messages"
    )]
    message: Option<String>,
    /// Send what this file holds, as it is
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["size", "message"],
        help_heading = "Messages"
    )]
    message_file: Option<PathBuf>,
    /// What an answer is: same (as long as the message), until:TEXT, fixed:N (bytes), or none
    /// [default: same, or as long as --expect]
    #[arg(long, value_name = "R", help_heading = "Messages")]
    response: Option<String>,
    /// The text that every answer must be
    #[arg(long, value_name = "TEXT", help_heading = "Messages")]
    expect: Option<String>,
    /// Compare every byte with what was sent
    #[arg(long, conflicts_with = "expect", help_heading = "Messages")]
    verify: bool,
    /// Text encoding in which the texts of these options are written
    #[arg(
        long,
        value_name = "LABEL",
        default_value = "utf-8",
        value_parser = Charset::parse,
        help_heading = "Messages"
    )]
    encoding: Charset,
    /// An open loop: messages a second, of all connections together, such as 20000, 100k or 0.5
    #[arg(long, value_name = "R", help_heading = "Pace")]
    rate: Option<Pace>,
    #[command(flatten)]
    timing: Timing,
    /// Messages in flight on a connection at once [default: 1; for datagrams that bear a number, at
    /// a --rate, any number]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Pace"
    )]
    depth: Option<u32>,
    /// In a closed loop, pause between an answer and the next message
    #[arg(
        long,
        value_name = "D",
        default_value = "off",
        value_parser = duration,
        conflicts_with = "rate",
        help_heading = "Pace"
    )]
    think: Timeout,
    /// A connection for each message: connect, one exchange, close
    #[arg(long, conflicts_with = "depth", help_heading = "Pace")]
    churn: bool,
    /// Begin so many connections a second at most
    #[arg(long, value_name = "R", help_heading = "Pace")]
    connect_rate: Option<Pace>,
    /// Handshakes in flight at once, at most; while more than 64 are, no more than 64 begin within
    /// 10 ms
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Pace"
    )]
    handshakes: u32,
    /// Threads, each with a loop and a share of the connections
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "Pace"
    )]
    threads: u16,
    /// Speak from these addresses in turn; each has local ports of its own
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = source,
        help_heading = "Pace"
    )]
    source: Vec<IpAddr>,
    /// Measure for so long [default: 10s; with --requests, until they are sent]
    #[arg(long, value_name = "D", value_parser = timeout, help_heading = "Pace")]
    duration: Option<Timeout>,
    /// Measure so many messages, of all connections together
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..),
        help_heading = "Pace"
    )]
    requests: Option<u64>,
    /// Work for so long before measuring [default: 1s; with --requests, off]
    #[arg(long, value_name = "D", value_parser = duration, help_heading = "Pace")]
    warmup: Option<Timeout>,
    /// Give up an answer, or a connection, that does not come within this time [default: 5s; for
    /// datagrams 1s; with --find at most --duration]
    #[arg(long, value_name = "D", value_parser = timeout, help_heading = "Pace")]
    timeout: Option<Timeout>,
    /// What the run must reach, such as 'p99<5ms', 'errors=0' or 'rate>100k'; may be given several
    /// times
    #[arg(long, value_name = "GOAL", help_heading = "Goals")]
    require: Vec<Goal>,
    /// What a run ends with that says more of the generator than of the target: fail (status 9), or
    /// warn
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "fail",
        help_heading = "Goals"
    )]
    spoiled: Spoiled,
    /// Look for the highest rate that keeps this, such as 'p99<5ms'; --duration is that of each
    /// trial, 2s by default
    #[arg(
        long,
        value_name = "GOAL",
        conflicts_with_all = ["rate", "requests", "think", "require", "hdr", "html"],
        help_heading = "Goals"
    )]
    find: Option<Goal>,
    /// Write the numbers as JSON to this file, or to standard output instead of the table
    /// with -
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    json: Option<PathBuf>,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    html: Option<PathBuf>,
    /// Write the histograms of each second to this file, in the log format of HdrHistogram
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    hdr: Option<PathBuf>,
}

impl Load {
    fn is_datagram(&self) -> bool {
        matches!(self.endpoint, Endpoint::Udp(_) | Endpoint::Unixgram(_))
    }

    /// What is sent, and whether it is a text of the user's.
    fn payload(&self) -> Result<(Payload, bool), Failure> {
        let text = match (&self.message, &self.message_file) {
            (Some(text), _) => bytes_of("--message", text, self.encoding)?,
            (None, Some(file)) => std::fs::read(file).map_err(|error| {
                usage(format_args!(
                    "--message-file: cannot read {}: {error}",
                    file.display()
                ))
            })?,
            (None, None) => return Ok((Payload::pattern(self.size), false)),
        };
        if text.is_empty() {
            return Err(usage(
                "the message is empty, and such a message cannot be told from none; give at least \
                 one byte",
            ));
        }
        Ok((Payload::text(&text), true))
    }

    fn response(&self, expected: Option<&[u8]>) -> Result<Response, Failure> {
        let Some(text) = &self.response else {
            return Ok(expected.map_or(Response::Same, |expected| Response::Fixed(expected.len())));
        };
        match text
            .split_once(':')
            .map_or((text.as_str(), None), |(kind, value)| (kind, Some(value)))
        {
            ("same", None) => Ok(Response::Same),
            ("none", None) => Ok(Response::None),
            ("fixed", Some(number)) => size(number)
                .map(Response::Fixed)
                .map_err(|why| usage(format_args!("--response fixed: {why}"))),
            ("until", Some(text)) => Delimiter::new(&bytes_of(
                "--response until",
                text,
                self.encoding,
            )?)
            .map(Response::Until)
            .ok_or_else(|| {
                usage(
                    "--response until: the text that ends an answer is missing, as in until:\\r\\n",
                )
            }),
            _ => Err(usage(format_args!(
                "--response knows no '{}'; there are same, until:TEXT, fixed:N and none",
                mynah::Escaped(text.as_bytes())
            ))),
        }
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let (payload, is_text) = self.payload()?;
        let expected = self
            .expect
            .as_ref()
            .map(|text| bytes_of("--expect", text, self.encoding))
            .transpose()?;
        if expected.as_ref().is_some_and(Vec::is_empty) {
            return Err(usage(
                "--expect: the text is empty; --response none waits for no answer",
            ));
        }
        let response = self.response(expected.as_deref())?;
        let is_datagram = self.is_datagram();
        let is_numbered =
            is_datagram && !is_text && response == Response::Same && expected.is_none();
        self.check(&payload, &response, expected.as_deref(), is_numbered)?;
        let law = match self.rate.or(self.timing.mean_rate()) {
            Some(rate) => Law::Open { rate },
            None => Law::Closed {
                think: self.think.0.unwrap_or_default(),
            },
        };
        let is_open_loop = matches!(law, Law::Open { .. }) || self.find.is_some();
        self.timing.check(is_open_loop)?;
        // Where answers are matched by their order, one that is lost would shift all behind it: so
        // each is waited for.
        let default_depth = if is_numbered && is_open_loop {
            usize::MAX
        } else {
            1
        };
        let seconds = |seconds| Timeout(Some(Duration::from_secs(seconds)));
        let duration = match (self.duration, self.requests, &self.find) {
            _ if self.timing.has_stages() => self.timing.length(),
            (Some(duration), ..) => duration.0,
            (None, Some(_), _) => None,
            (None, None, Some(_)) => seconds(2).0,
            (None, None, None) => seconds(10).0,
        };
        if duration.is_none() && self.requests.is_none() {
            return Err(usage(
                "--duration off never ends; leave it out, or say with --requests how many \
                 messages to send",
            ));
        }
        let warmup = self.warmup.unwrap_or(if self.requests.is_some() {
            Timeout(None)
        } else {
            seconds(1)
        });
        Ok(Plan {
            connections: self.connections.into(),
            sources: self.source.clone(),
            check: match expected {
                Some(text) => Check::Text(text.into()),
                None if self.verify => Check::Echo,
                None => Check::None,
            },
            payload,
            response,
            is_numbered,
            law,
            arrivals: self.timing.arrivals(),
            seed: self.timing.seed(),
            stages: self.timing.stages(),
            depth: self.depth.map_or(default_depth, |depth| depth as usize),
            churn: self.churn,
            timeout: self.timeout(duration).0,
            connect_rate: self.connect_rate,
            handshakes: self.handshakes as usize,
            warmup: warmup.0.unwrap_or_default(),
            duration,
            requests: self.requests,
        })
    }

    /// A trial that leaves messages unsent has failed; the next one need not wait for long.
    fn timeout(&self, duration: Option<Duration>) -> Timeout {
        let seconds = if self.is_datagram() { 1 } else { 5 };
        let default = Duration::from_secs(seconds);
        let default = if self.find.is_some() {
            duration.map_or(default, |duration| default.min(duration))
        } else {
            default
        };
        self.timeout.unwrap_or(Timeout(Some(default)))
    }

    /// Why a goal would be about something that this run does not measure.
    fn cannot_measure(
        &self,
        measured: Measured,
        response: &Response,
        is_numbered: bool,
    ) -> Option<&'static str> {
        use Measured::{Duplicate, Late, Lost, Max, Mean, Percentile, Reordered};
        let has_answers = *response != Response::None;
        match measured {
            Percentile(_) | Max | Mean | Lost | Late | Duplicate | Reordered if !has_answers => {
                Some("with --response none no answer is waited for; leave one of them out")
            }
            Lost | Late | Duplicate | Reordered if !self.is_datagram() => {
                Some("only datagrams are counted so; for a stream, errors=0 is what to ask for")
            }
            Late | Duplicate | Reordered if !is_numbered => Some(
                "these datagrams bear no number, so answers are matched by their order alone; \
                 send the pattern (leave out --message, --expect and --response)",
            ),
            _ => None,
        }
    }

    /// What cannot be asked for together.
    fn check(
        &self,
        payload: &Payload,
        response: &Response,
        expected: Option<&[u8]>,
        is_numbered: bool,
    ) -> Result<(), Failure> {
        let fails = |why: &str| Err(usage(why));
        let fixed = if let Response::Fixed(size) = response {
            Some(*size)
        } else {
            None
        };
        match expected {
            Some(_) if *response == Response::None => {
                return fails(
                    "--expect: --response none waits for no answer; leave one of them out",
                );
            }
            Some(text) if fixed.is_some_and(|size| size != text.len()) => {
                return fails("--expect and --response fixed: are not of one length");
            }
            Some(text) if *response == Response::Same && text.len() != payload.size() => {
                return fails("--expect is not as long as the message; leave --response same out");
            }
            _ => {}
        }
        if self.verify && *response != Response::Same {
            return fails(
                "--verify compares answers with what was sent, which asks for --response same; \
                 --expect compares with a text",
            );
        }
        if *response == Response::None && self.depth.is_some() {
            return fails(
                "--depth counts messages that wait for their answer, and with --response none \
                 none does; leave it out",
            );
        }
        for goal in &self.require {
            if let Some(why) = self.cannot_measure(goal.measured(), response, is_numbered) {
                return Err(usage(format_args!("--require {goal}: {why}")));
            }
        }
        if u32::from(self.threads) > self.connections {
            return fails(
                "--threads: a thread without a connection has nothing to do; ask for as many \
                 --connections at least",
            );
        }
        if let Some(goal) = self.find.as_ref().filter(|goal| !goal.bounds_a_time()) {
            return Err(usage(format_args!(
                "--find {goal}: what can be searched for is an upper bound of a time, such as \
                 p99<5ms"
            )));
        }
        if *response == Response::None && self.find.is_some() {
            return fails(
                "--find needs the times of answers, and with --response none there are none",
            );
        }
        if self.is_datagram() {
            if self.churn {
                return fails(
                    "--churn: a datagram has no connection to open and close; leave it out",
                );
            }
            if payload.size() > 65_507 {
                return fails("a datagram holds at most 65507 bytes; send a shorter message");
            }
            if is_numbered && payload.size() < HEADER {
                return fails(
                    "--size: datagrams are told apart by a number in their first 16 bytes; ask \
                     for 16 or more, or send a --message as it is",
                );
            }
        }
        let is_ip = matches!(self.endpoint, Endpoint::Tcp(_) | Endpoint::Udp(_));
        if !is_ip && !self.source.is_empty() {
            return fails(
                "--source is for TCP and UDP; a Unix socket has no address to speak from",
            );
        }
        Ok(())
    }
}

impl TryFrom<Load> for load::Config {
    type Error = Failure;

    fn try_from(words: Load) -> Result<load::Config, Failure> {
        Ok(load::Config {
            plan: words.plan()?,
            message: words.message.clone().or_else(|| {
                words
                    .message_file
                    .as_ref()
                    .map(|file| format!("the file {}", file.display()))
            }),
            endpoint: words.endpoint,
            threads: words.threads,
            start_at: words.timing.start_at(),
            spin: words.timing.spin(),
            label: words.timing.label(),
            require: words.require,
            is_void_when_spoiled: words.spoiled == Spoiled::Fail,
            aim: words.find.map_or(Aim::Measure, Aim::Find),
            reports: Reports {
                json: words.json,
                html: words.html,
                hdr: words.hdr,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Job;
    use crate::cli::args::tests::{complaint, parse_words};

    fn config(words: &str) -> load::Config {
        match parse_words(&format!("load {words}")).unwrap().command {
            Job::Load(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_a_closed_loop_of_fifty_connections() {
        let plan = config("tcp://127.0.0.1:7").plan;
        assert_eq!(
            (plan.connections, plan.depth, plan.payload.size()),
            (50, 1, 64)
        );
        assert_eq!(
            (plan.law, plan.response, plan.check),
            (
                Law::Closed {
                    think: Duration::ZERO
                },
                Response::Same,
                Check::None
            )
        );
        assert_eq!(
            (plan.duration, plan.warmup),
            (Some(Duration::from_secs(10)), Duration::from_secs(1))
        );
        assert_eq!(plan.timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn requests_take_the_place_of_the_duration_and_the_warm_up() {
        let plan = config("tcp://127.0.0.1:7 --requests 9").plan;
        assert_eq!(
            (plan.requests, plan.duration, plan.warmup),
            (Some(9), None, Duration::ZERO)
        );
        let plan = config("tcp://127.0.0.1:7 --requests 9 --duration 3s --warmup 2s").plan;
        assert_eq!(
            (plan.duration, plan.warmup),
            (Some(Duration::from_secs(3)), Duration::from_secs(2))
        );
    }

    #[test]
    fn datagrams_are_numbered_where_they_are_ours_and_come_back() {
        for (words, is_numbered, depth) in [
            ("udp://127.0.0.1:7", true, 1),
            ("udp://127.0.0.1:7 --rate 1k", true, usize::MAX),
            ("udp://127.0.0.1:7 --rate 1k --depth 3", true, 3),
            ("udp://127.0.0.1:7 --message abc", false, 1),
            ("udp://127.0.0.1:7 --response fixed:4", false, 1),
            ("tcp://127.0.0.1:7", false, 1),
        ] {
            let plan = config(words).plan;
            assert_eq!(
                (plan.is_numbered, plan.depth),
                (is_numbered, depth),
                "{words}"
            );
        }
    }

    #[test]
    fn an_answer_is_as_long_as_what_is_expected() {
        let plan = config(r"tcp://127.0.0.1:7 --message PING\r\n --expect +PONG\r\n").plan;
        assert_eq!(
            (plan.payload.size(), plan.response, plan.check),
            (6, Response::Fixed(7), Check::Text((*b"+PONG\r\n").into()))
        );
        let plan =
            config(r"tcp://127.0.0.1:7 --message GET --expect OK\n --response until:\n").plan;
        assert!(matches!(plan.response, Response::Until(_)));
    }

    #[test]
    fn what_makes_no_sense_is_said_in_one_line() {
        for (words, why) in [
            ("", "<ENDPOINT>"),
            ("tcp://127.0.0.1:7 --size 0", "zero"),
            (
                "tcp://127.0.0.1:7 --message a --size 3",
                "cannot be used with",
            ),
            (
                "tcp://127.0.0.1:7 --message-file /no/such/file",
                "--message-file: cannot read /no/such/file",
            ),
            (
                "tcp://127.0.0.1:7 --response all",
                "--response knows no 'all'",
            ),
            ("tcp://127.0.0.1:7 --response until:", "is missing"),
            (
                "tcp://127.0.0.1:7 --response none --expect x",
                "waits for no answer",
            ),
            (
                "tcp://127.0.0.1:7 --response none --verify",
                "--response same",
            ),
            (
                "tcp://127.0.0.1:7 --response none --depth 3",
                "leave it out",
            ),
            (
                "tcp://127.0.0.1:7 --response fixed:4 --expect abc",
                "not of one length",
            ),
            (
                "tcp://127.0.0.1:7 --response same --expect abc",
                "not as long as the message",
            ),
            (
                "tcp://127.0.0.1:7 --verify --expect abc",
                "cannot be used with",
            ),
            ("tcp://127.0.0.1:7 --threads 3 -c 2", "nothing to do"),
            ("tcp://127.0.0.1:7 --duration off", "never ends"),
            ("tcp://127.0.0.1:7 --duration 0s", "zero"),
            (
                "tcp://127.0.0.1:7 --rate fast",
                "a rate is messages a second",
            ),
            (
                "tcp://127.0.0.1:7 --rate 1k --think 1ms",
                "cannot be used with",
            ),
            ("tcp://127.0.0.1:7 --arrivals poisson", "--rate, --stage"),
            ("tcp://127.0.0.1:7 --seed 7", "--rate, --stage"),
            (
                "tcp://127.0.0.1:7 --rate 1k --arrivals often",
                "poisson or uniform",
            ),
            ("tcp://127.0.0.1:7 --rate 1k --seed x", "--seed"),
            ("tcp://127.0.0.1:7 --stage 1k", "a stage is"),
            ("tcp://127.0.0.1:7 --stage 0:1s", "sends nothing"),
            (
                "tcp://127.0.0.1:7 --stage 1k:1s --rate 1k",
                "cannot be used with",
            ),
            (
                "tcp://127.0.0.1:7 --stage 1k:1s --duration 1s",
                "cannot be used with",
            ),
            (
                "tcp://127.0.0.1:7 --stage 1k:1s --requests 9",
                "cannot be used with",
            ),
            (
                "tcp://127.0.0.1:7 --stage 1k:1s --find p99<1s",
                "cannot be used with",
            ),
            ("tcp://127.0.0.1:7 --start-at noon", "a time is"),
            (
                "tcp://127.0.0.1:7 --start-at 2001-01-01T00:00:00Z",
                "has passed",
            ),
            (
                "tcp://127.0.0.1:7 --start-at 99999999999 --find p99<1s",
                "cannot be used with",
            ),
            ("tcp://127.0.0.1:7 --spin 1s", "at most 1ms"),
            ("tcp://127.0.0.1:7 --label=", "--label"),
            ("tcp://127.0.0.1:7 --require p99", "a requirement is"),
            ("tcp://127.0.0.1:7 --find errors=0", "upper bound of a time"),
            (
                "tcp://127.0.0.1:7 --find p99<1s --require errors=0",
                "cannot be used with",
            ),
            ("tcp://127.0.0.1:7 --source here", "--source"),
            ("udp://127.0.0.1:7 --churn", "no connection"),
            ("udp://127.0.0.1:7 --size 15", "ask for 16 or more"),
            ("udp://127.0.0.1:7 --size 65508", "65507"),
            ("unix:/tmp/x --source 127.0.0.1", "no address to speak from"),
        ] {
            let line = complaint(["load"].into_iter().chain(words.split_whitespace()));
            assert!(line.contains(why), "{words}: {line}");
        }
        assert!(
            complaint(["load", "tcp://127.0.0.1:7", "--message", ""])
                .contains("the message is empty")
        );
    }
}
