//! What a server says.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mynah::Endpoint;
use mynah::service::{self, Template};

use crate::cli::args::kinds::Kind;
use crate::cli::args::usage;
use crate::cli::args::wire::WireOptions;
use crate::cli::serve::Speech;
use crate::cli::status::Failure;

/// What is said, and when a connection ends.
#[derive(Args, Debug)]
pub(super) struct ReplyOptions {
    /// Answer with this service
    #[arg(
        long,
        value_name = "NAME",
        default_value = "echo",
        value_parser = PossibleValuesParser::new(service::NAMES).map(|name| name)
    )]
    pub(super) service: String,
    /// Send this to each client of a stream when it connects
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    greeting: Option<String>,
    /// Answer each message with this; {} is the message, {peer} the client's address, {local} the
    /// address it reached, {conn} the connection's number, {seq} the message's number, {time} the
    /// time; {{ and }} are braces
    #[arg(long, value_name = "TEMPLATE", allow_hyphen_values = true)]
    reply: Option<String>,
    /// Close a stream connection after its first reply, or after the greeting without --reply; with
    /// neither, after an echo of one message
    #[arg(long)]
    close: bool,
}

impl ReplyOptions {
    /// `is_usual` says that the endpoints are those of a command without any.
    pub(super) fn check(&self, endpoints: &[Endpoint], is_usual: bool) -> Result<(), Failure> {
        self.check_streams(endpoints, is_usual)?;
        self.check_service()
    }

    pub(super) fn speech(&self, wire: &WireOptions) -> Result<Speech, Failure> {
        let mut speech = wire.speech()?;
        if let Some(greeting) = &self.greeting {
            speech.greeting = wire.greeting(greeting)?;
        }
        if let Some(reply) = &self.reply {
            speech.reply = Some(wire.reply(reply, &speech.framing)?);
        } else if self.close && self.greeting.is_none() {
            speech.reply = Some(Template::message());
        }
        speech.close = self.close;
        Ok(speech)
    }

    /// `--greeting` and `--close` need a connection.
    fn check_streams(&self, endpoints: &[Endpoint], is_usual: bool) -> Result<(), Failure> {
        let option = match (&self.greeting, self.close) {
            (Some(_), _) => "--greeting",
            (None, true) => "--close",
            (None, false) => return Ok(()),
        };
        let is_datagram = |endpoint: &&Endpoint| Kind::Datagram.has(endpoint);
        let Some(endpoint) = endpoints.iter().find(is_datagram) else {
            return Ok(());
        };
        let why = if is_usual {
            format!("a command without an endpoint serves {endpoint} too")
        } else {
            format!("{endpoint} has none")
        };
        Err(usage(format_args!(
            "{option} is for stream connections, and {why}; name stream endpoints alone, such as \
             tcp://127.0.0.1:7777"
        )))
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
