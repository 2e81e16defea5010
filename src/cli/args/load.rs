//! The words of `mynah load`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mynah::Endpoint;
use mynah::load::{Goal, Law, Lifetime, Matching, Measured, Pace, Plan, Response};

use super::messages::{Messages, Terms};
use super::timing::Timing;
use super::usage;
use crate::cli::load::outputs::Reports;
use crate::cli::load::{self, Aim};
use crate::cli::status::Failure;
use crate::cli::values::{Timeout, duration, source, timeout};

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
    #[command(flatten)]
    messages: Messages,
    /// An open loop: messages a second, of all connections together, such as 20000, 100k or 0.5
    #[arg(short, long, value_name = "R", help_heading = "Pace")]
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
    /// Close a connection and open it again after so many messages, such as 100, or after so long,
    /// such as 10s; what is in flight is answered first
    #[arg(
        long,
        value_name = "N|D",
        value_parser = lifetime,
        conflicts_with = "churn",
        help_heading = "Pace"
    )]
    lifetime: Option<Lifetime>,
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
        short,
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
    #[arg(short, long, value_name = "D", value_parser = timeout, help_heading = "Pace")]
    duration: Option<Timeout>,
    /// Measure so many messages, of all connections together
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..),
        help_heading = "Pace"
    )]
    requests: Option<u64>,
    /// Work for so long before measuring [default: 1s; with --find, 500ms; with --requests, off]
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
    /// Look for the highest rate that keeps this, such as 'p99<5ms': at most 20 trials of
    /// --duration [default: 2s], or up to three times that where a percentile takes more messages.
    /// It takes about 130 s at most, and most searches a third of that
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
    /// Write a page with plots to this file, or to standard output instead of the table with -
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    html: Option<PathBuf>,
    /// Write the histograms of each second to this file, in the log format of HdrHistogram
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    hdr: Option<PathBuf>,
    /// Say each second on standard error how the run goes, also where that is no terminal
    #[arg(long, help_heading = "Reports")]
    progress: bool,
}

impl Load {
    fn is_datagram(&self) -> bool {
        matches!(self.endpoint, Endpoint::Udp(_) | Endpoint::Unixgram(_))
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let terms = self.messages.terms(self.is_datagram())?;
        self.check(&terms)?;
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
        let default_depth = if terms.matching != Matching::Order && is_open_loop {
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
        let warmup = self.warmup.unwrap_or(match (self.requests, &self.find) {
            (Some(_), _) => Timeout(None),
            (None, Some(_)) => Timeout(Some(Duration::from_millis(500))),
            (None, None) => seconds(1),
        });
        Ok(Plan {
            connections: self.connections.into(),
            sources: self.source.clone(),
            payload: terms.payload,
            first: terms.first,
            response: terms.response,
            check: terms.check,
            matching: terms.matching,
            law,
            arrivals: self.timing.arrivals(),
            seed: self.timing.seed(),
            stages: self.timing.stages(),
            depth: self.depth.map_or(default_depth, |depth| depth as usize),
            churn: self.churn,
            lifetime: self.lifetime,
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
    fn cannot_measure(&self, measured: Measured, terms: &Terms) -> Option<&'static str> {
        use Measured::{Duplicate, Late, Lost, Max, Mean, Percentile, Reordered};
        let has_answers = terms.response != Response::None;
        match measured {
            Percentile(_) | Max | Mean | Lost | Late | Duplicate | Reordered if !has_answers => {
                Some("with --response none no answer is waited for; leave one of them out")
            }
            Lost | Late | Duplicate | Reordered if !self.is_datagram() => {
                Some("only datagrams are counted so; for a stream, errors=0 is what to ask for")
            }
            Late | Duplicate | Reordered if terms.matching == Matching::Order => Some(
                "these datagrams bear no number, so answers are matched by their order alone; \
                 add --match, or send the pattern (leave out --message, --expect and --response)",
            ),
            _ => None,
        }
    }

    /// What cannot be asked for together.
    fn check(&self, terms: &Terms) -> Result<(), Failure> {
        let fails = |why: &str| Err(usage(why));
        if let Endpoint::Tcp(target) | Endpoint::Udp(target) = &self.endpoint {
            if target.port() == 0 {
                return Err(usage(format_args!(
                    "{}: nobody listens at port 0; give the port of the target",
                    self.endpoint
                )));
            }
        }
        if terms.response == Response::None && self.depth.is_some() {
            return fails(
                "--depth counts messages that wait for their answer, and with --response none \
                 none does; leave it out",
            );
        }
        for goal in &self.require {
            if let Some(why) = self.cannot_measure(goal.measured(), terms) {
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
        if terms.response == Response::None && self.find.is_some() {
            return fails(
                "--find needs the times of answers, and with --response none there are none",
            );
        }
        if self.is_datagram() && self.churn {
            return fails("--churn: a datagram has no connection to open and close; leave it out");
        }
        if self.is_datagram() && self.lifetime.is_some() {
            return fails("--lifetime: a datagram socket has no connection; leave it out");
        }
        let most = terms.matching.most_in_flight();
        if self.depth.is_some_and(|depth| depth as usize > most) {
            return Err(usage(format_args!(
                "--depth: the field of --match tells at most {most} datagrams apart; ask for fewer"
            )));
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
        let reports = Reports {
            json: words.json.clone(),
            html: words.html.clone(),
            hdr: words.hdr.clone(),
        };
        reports.check().map_err(usage)?;
        Ok(load::Config {
            plan: words.plan()?,
            message: words.messages.told(),
            endpoint: words.endpoint,
            threads: words.threads,
            start_at: words.timing.start_at(),
            spin: words.timing.spin(),
            label: words.timing.label(),
            require: words.require,
            is_void_when_spoiled: words.spoiled == Spoiled::Fail,
            aim: words.find.map_or(Aim::Measure, Aim::Find),
            reports,
            has_progress: words.progress,
        })
    }
}

/// A number of messages, or a time.
fn lifetime(text: &str) -> Result<Lifetime, String> {
    match (text.parse(), timeout(text)) {
        (Ok(0), _) => Err("a connection carries one message at least; --churn is for one".into()),
        (Ok(messages), _) => Ok(Lifetime::Messages(messages)),
        (Err(_), Ok(Timeout(Some(time)))) => Ok(Lifetime::Time(time)),
        (Err(_), Ok(Timeout(None))) => Err("without --lifetime a connection is kept".into()),
        (Err(_), Err(_)) => Err(
            "a lifetime is a number of messages, such as 100, or a time, \
            such as 10s"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use mynah::load::Check;

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
        let field = |text: &str| Matching::Field(text.parse().unwrap());
        for (words, matching, depth) in [
            ("udp://127.0.0.1:7", Matching::Header, 1),
            ("udp://127.0.0.1:7 --rate 1k", Matching::Header, usize::MAX),
            ("udp://127.0.0.1:7 --rate 1k --depth 3", Matching::Header, 3),
            ("udp://127.0.0.1:7 --message abc", Matching::Order, 1),
            ("udp://127.0.0.1:7 --message abc -r 1k", Matching::Order, 1),
            ("udp://127.0.0.1:7 --response fixed:4", Matching::Order, 1),
            (
                "udp://127.0.0.1:7 --message abc --match 0:2 -r 1k",
                field("0:2"),
                usize::MAX,
            ),
            ("udp://127.0.0.1:7 --match 8:8 --verify", field("8:8"), 1),
            ("tcp://127.0.0.1:7", Matching::Order, 1),
        ] {
            let plan = config(words).plan;
            assert_eq!((plan.matching, plan.depth), (matching, depth), "{words}");
        }
    }

    #[test]
    fn with_a_field_any_datagram_is_an_answer() {
        let response = |words: &str| config(&format!("udp://127.0.0.1:7 {words}")).plan.response;
        assert_eq!(response("--message abc --match 0:2"), Response::Datagram);
        assert_eq!(response("--match 0:2 --verify"), Response::Same);
        assert_eq!(response("--match 0:2 --expect abc"), Response::Fixed(3));
        assert_eq!(response("--match 0:2 --response same"), Response::Same);
    }

    #[test]
    fn the_short_options_are_those_of_other_generators() {
        let config = config("tcp://127.0.0.1:7 -c 9 -d 3s -n 100 -r 5k -t 2");
        let plan = &config.plan;
        let given = (
            plan.connections,
            plan.duration,
            plan.requests,
            config.threads,
        );
        assert_eq!(given, (9, Some(Duration::from_secs(3)), Some(100), 2));
        assert!(matches!(plan.law, Law::Open { rate } if rate.get() == 5_000.0));
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
            ("tcp://127.0.0.1:7 --response prefix:u64", "u8, u16 or u32"),
            ("tcp://127.0.0.1:7 --response prefix", "knows no 'prefix'"),
            ("tcp://127.0.0.1:7 --lines", "--message-file"),
            ("tcp://127.0.0.1:7 --template", "--message"),
            (
                "tcp://127.0.0.1:7 --template --message {seq}",
                "of differing lengths",
            ),
            (
                "udp://127.0.0.1:7 --template --message {seq} --verify",
                "--response same",
            ),
            (
                "udp://127.0.0.1:7 --template --message {peer}",
                "only {conn}, {seq} and {time}",
            ),
            (
                "udp://127.0.0.1:7 --template --message {user}",
                "no field {user}",
            ),
            ("udp://127.0.0.1:7 --template --message {", "never closed"),
            (
                "udp://127.0.0.1:7 --template --message a{seq} --match 0:2",
                "only 1 bytes",
            ),
            ("udp://127.0.0.1:7 --first-message x", "no connection"),
            ("tcp://127.0.0.1:7 --first-message=", "is empty"),
            ("tcp://127.0.0.1:7 --lifetime 0", "at least"),
            ("tcp://127.0.0.1:7 --lifetime 0s", "a lifetime is"),
            ("tcp://127.0.0.1:7 --lifetime off", "is kept"),
            ("tcp://127.0.0.1:7 --lifetime long", "a lifetime is"),
            ("tcp://127.0.0.1:7 --lifetime 9 --churn", "cannot be used"),
            ("udp://127.0.0.1:7 --lifetime 9", "no connection"),
            ("tcp://127.0.0.1:7 --response datagram", "a stream has none"),
            ("tcp://127.0.0.1:7 --match 0:2", "--match is for datagrams"),
            ("udp://127.0.0.1:7 --match 2", "OFFSET:LEN"),
            ("udp://127.0.0.1:7 --match 0:9", "1 to 8 bytes"),
            ("udp://127.0.0.1:7 --match 63:2", "only 64 bytes"),
            (
                "udp://127.0.0.1:7 --match 0:2 --response none",
                "waits for no answer",
            ),
            (
                "udp://127.0.0.1:7 --match 40:8:24 --verify",
                "elsewhere in the answer",
            ),
            (
                "udp://127.0.0.1:7 --match 0:1 --depth 257",
                "at most 256 datagrams",
            ),
            (
                "udp://127.0.0.1:7 --message abc --require late=0",
                "add --match",
            ),
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
            ("tcp://127.0.0.1:7 --json - --html -", "one of them"),
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
