//! The words of `mynah serve` and `mynah receive`, and what they come to.
//!
//! Owns the rules about which options go together. A combination that could only fail later, or do nothing, is refused here with a sentence that
//! says what to write instead.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mynah::service::{self, Framing, Template, Width};
use mynah::{Endpoint, Escaped, outbox};

use crate::cli::charset::Charset;
use crate::cli::serve::{Config, Speech};
use crate::cli::status::{Failure, Status};
use crate::cli::text::{self, Text};
use crate::cli::values::{Timeout, duration, size, timeout};

/// Run the service until SIGTERM or SIGINT.
///
/// Prints one line for each endpoint once it can be used. The first SIGTERM or SIGINT drains: what stands in the backlog is accepted, quiet connections are
/// finished, the others are served until their peer ends them or the drain timeout cuts them. The second one ends at once.
///
/// TEXT, TEMPLATE and the TEXT of --frame take the escapes \n \r \t \0 \\ \xHH; \xHH is a byte that is sent as it is, whatever the encoding. SIZE is a
/// whole number of bytes, or with its unit: B, KB, KiB, MB, MiB. D is a whole number with its unit, us, ms, s, m or h, or off.
///
/// Exit status: 0 nothing was cut, 1 something was cut or another failure, 2 wrong usage, 7 a name does not resolve.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Where to listen: tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH; port 0 asks for any free port
    #[arg(value_name = "ENDPOINT", default_values = ["tcp://127.0.0.1:7777", "udp://127.0.0.1:7777"])]
    endpoints: Vec<Endpoint>,
    /// What to answer
    #[arg(long, value_name = "NAME", default_value = "echo", value_parser = PossibleValuesParser::new(service::NAMES).map(|name| name))]
    service: String,
    /// Send this to each client of a stream when it connects
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    greeting: Option<String>,
    /// Answer each message with this; {} is the message, {peer} {local} {conn} {seq} {time} are what they say, {{ and }} are braces
    #[arg(long, value_name = "TEMPLATE", allow_hyphen_values = true)]
    reply: Option<String>,
    /// Close a stream connection after its first reply, or after the greeting where there is no --reply
    #[arg(long)]
    close: bool,
    /// Print each message received on standard output, with its sender, control characters escaped
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    wire: Wire,
    #[command(flatten)]
    limits: Limits,
    /// Reset a peer that takes nothing of what it is owed for this long
    #[arg(long, value_name = "D", default_value = "30s", value_parser = timeout)]
    write_timeout: Timeout,
}

/// Print what arrives, one line a message, until SIGTERM or SIGINT.
///
/// The same as `mynah serve --service discard --print`: each line is the sender, a colon and the text, control characters escaped, and what is no text as
/// \xHH. Ends as serve does, and then says on standard error how much was received.
///
/// Exit status: 0 nothing was cut, 1 something was cut or another failure, 2 wrong usage, 7 a name does not resolve.
#[derive(Args, Debug)]
pub(super) struct Receive {
    /// Where to listen: tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH; port 0 asks for any free port
    #[arg(value_name = "ENDPOINT", required = true)]
    endpoints: Vec<Endpoint>,
    #[command(flatten)]
    wire: Wire,
    #[command(flatten)]
    limits: Limits,
}

/// How bytes become messages, and messages text.
#[derive(Args, Debug)]
struct Wire {
    /// What one message of a stream is: chunk (as read), line, until:TEXT, fixed:N (bytes), prefix:u8, prefix:u16 or prefix:u32 (big-endian length)
    #[arg(long, value_name = "F", default_value = "chunk", allow_hyphen_values = true)]
    frame: String,
    /// Longest framed message; a longer one closes its connection
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size)]
    max_message: usize,
    /// Text encoding of the wire, by its WHATWG label: the texts of the other options are written in it, and what is printed is read in it
    #[arg(long, value_name = "LABEL", default_value = "utf-8", value_parser = Charset::parse)]
    encoding: Charset,
}

/// How much, and for how long.
#[derive(Args, Debug)]
struct Limits {
    /// Pending connections that the kernel keeps for each endpoint
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    backlog: u32,
    /// Connections open at once; at this number accepting pauses and the rest wait in the backlog [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Finish a connection on which nothing has moved for this long
    #[arg(long, value_name = "D", default_value = "off", value_parser = timeout)]
    idle_timeout: Timeout,
    /// How long a drain may take before the rest is cut; off waits for the last peer
    #[arg(long, value_name = "D", default_value = "5s", value_parser = duration)]
    drain_timeout: Timeout,
    /// Keep polling without sleeping for this long after the last event: lower latency for a busy core
    #[arg(long, value_name = "D", default_value = "off", value_parser = duration)]
    busy_poll: Timeout,
}

impl TryFrom<Serve> for Config {
    type Error = Failure;

    fn try_from(words: Serve) -> Result<Config, Failure> {
        words.check_streams()?;
        words.check_service()?;
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
        let print = words.print.then_some(words.wire.encoding);
        Ok(Config {
            service: words.service,
            speech,
            print,
            write_timeout: words.write_timeout.0,
            ..words.limits.config(words.endpoints)
        })
    }
}

impl TryFrom<Receive> for Config {
    type Error = Failure;

    fn try_from(words: Receive) -> Result<Config, Failure> {
        Ok(Config {
            service: "discard".to_owned(),
            speech: words.wire.speech()?,
            print: Some(words.wire.encoding),
            is_counted: true,
            ..words.limits.config(words.endpoints)
        })
    }
}

impl Serve {
    /// A greeting and a close need a connection.
    fn check_streams(&self) -> Result<(), Failure> {
        let option = match (&self.greeting, self.close) {
            (Some(_), _) => "--greeting",
            (None, true) => "--close",
            (None, false) => return Ok(()),
        };
        match self.endpoints.iter().find(|endpoint| matches!(endpoint, Endpoint::Udp(_) | Endpoint::Unixgram(_))) {
            None => Ok(()),
            Some(endpoint) => Err(usage(format_args!(
                "{option} is for stream connections, and {endpoint} has none; name stream endpoints alone, such as tcp://127.0.0.1:7777"
            ))),
        }
    }

    /// Who answers, and who closes, is said once.
    fn check_service(&self) -> Result<(), Failure> {
        let service = self.service.as_str();
        match service {
            "echo" => Ok(()),
            _ if self.reply.is_some() => Err(usage(format_args!(
                "--reply and --service {service} are two answers to one message; leave one of them out"
            ))),
            "discard" if self.close && self.greeting.is_none() => Err(usage(
                "--close closes after a first reply, and --service discard never gives one; add --greeting, or leave --close out",
            )),
            "discard" => Ok(()),
            _ if self.close => Err(usage(format_args!("--service {service} decides by itself when to close; leave --close out"))),
            _ => Ok(()),
        }
    }
}

impl Wire {
    /// What is said where nothing else is asked for: nothing.
    fn speech(&self) -> Result<Speech, Failure> {
        Ok(Speech { framing: self.framing()?, max_message: self.max_message, greeting: Box::default(), reply: None, close: false })
    }

    fn framing(&self) -> Result<Framing, Failure> {
        let (kind, value) = self.frame.split_once(':').map_or((self.frame.as_str(), None), |(kind, value)| (kind, Some(value)));
        match (kind, value) {
            ("chunk", None) => Ok(Framing::Chunk),
            ("line", None) => Ok(Framing::Line),
            ("prefix", Some("u8")) => Ok(Framing::Prefix(Width::U8)),
            ("prefix", Some("u16")) => Ok(Framing::Prefix(Width::U16)),
            ("prefix", Some("u32")) => Ok(Framing::Prefix(Width::U32)),
            ("until", Some("")) => Err(usage("--frame until: the text that ends a message is missing, as in until:END")),
            ("until", Some(text)) => Ok(Framing::Until(self.text("--frame until", text)?.into())),
            ("fixed", Some(number)) => match size(number).map_err(|why| usage(format_args!("--frame fixed: {why}")))? {
                size if size > self.max_message => Err(usage(format_args!(
                    "--frame fixed:{size} is longer than --max-message allows, {} bytes; raise --max-message to {size}",
                    self.max_message
                ))),
                size => Ok(Framing::Fixed(size)),
            },
            _ => Err(usage(format_args!(
                "--frame knows no '{}'; there are chunk, line, until:TEXT, fixed:N, prefix:u8, prefix:u16 and prefix:u32",
                Escaped(self.frame.as_bytes())
            ))),
        }
    }

    fn greeting(&self, text: &str) -> Result<Box<[u8]>, Failure> {
        let bytes = self.text("--greeting", text)?;
        match bytes.len() {
            0 => Err(usage("--greeting: the text is empty; leave the option out")),
            1..=outbox::LIMIT => Ok(bytes.into()),
            length => Err(too_long("--greeting", length)),
        }
    }

    fn reply(&self, text: &str, framing: &Framing) -> Result<Template, Failure> {
        const OPTION: &str = "--reply";
        // All escapes at once, so that the place of a wrong one is counted from the beginning. Its backslash keeps a brace from being part of one.
        Text::parse(text).map_err(|why| usage(format_args!("{OPTION}: {why}")))?;
        let mut fixed = 0;
        let template = Template::parse(text, |literal| {
            let bytes = self.text(OPTION, literal)?;
            fixed += bytes.len();
            Ok(bytes)
        });
        let most = match framing {
            Framing::Prefix(width) => width.max(),
            _ => usize::MAX,
        };
        match template {
            Err(error) => Err(error.either(|error| {
                usage(format_args!("{OPTION}: at character {}, {error}", text::position(text, error.at)))
            })),
            Ok(_) if fixed > most => Err(usage(format_args!(
                "{OPTION}: its text alone is {fixed} bytes, and --frame {} can tell of {most} at the most; take a wider prefix",
                self.frame
            ))),
            Ok(_) if fixed > outbox::LIMIT => Err(too_long(OPTION, fixed)),
            Ok(template) => Ok(template),
        }
    }

    /// The bytes of a text that was given with `option`.
    fn text(&self, option: &str, text: &str) -> Result<Vec<u8>, Failure> {
        let text = Text::parse(text).map_err(|why| usage(format_args!("{option}: {why}")))?;
        text.encode(self.encoding).map_err(|character| {
            let shown = Escaped(character.encode_utf8(&mut [0; 4]).as_bytes()).to_string();
            usage(format_args!("{option}: '{shown}' cannot be written in {}; choose another --encoding, or give its bytes as \\xHH", self.encoding))
        })
    }
}

impl Limits {
    /// A configuration of these limits, in which nothing else is asked for.
    fn config(self, endpoints: Vec<Endpoint>) -> Config {
        Config {
            endpoints,
            backlog: self.backlog,
            max_connections: self.max_connections,
            idle_timeout: self.idle_timeout.0,
            drain_timeout: self.drain_timeout.0,
            busy_poll: self.busy_poll.0,
            ..Config::default()
        }
    }
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::new(Status::Usage, format_args!("{why}; see --help"))
}

fn too_long(option: &str, length: usize) -> Failure {
    usage(format_args!("{option}: {length} bytes are more than the {} that can be sent at once; shorten it", outbox::LIMIT))
}
