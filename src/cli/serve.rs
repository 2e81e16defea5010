//! `mynah serve`: from the configuration to a running reactor.

use std::io;
use std::time::Duration;

use mynah::net::os::OsNet;
use mynah::net::{self, DatagramOptions, StreamOptions};
use mynah::service::{self, Conversation, Factory, Framing, Host, Messages, Template};
use mynah::{Address, Ending, Endpoint, Limits, Reactor};

use super::charset::Charset;
use super::checks;
use super::log::Log;
use super::outlet::Outlet;
use super::print::Printer;
use super::signals;
use super::sink::{self, Descriptor};
use super::status::{Failure, Status};

/// What to serve, where, and within which limits.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) service: String,
    pub(crate) speech: Speech,
    /// Whether to print what arrives, and in which encoding that is.
    pub(crate) print: Option<Charset>,
    /// Whether to say at the end how much was received.
    pub(crate) is_counted: bool,
    pub(crate) datagrams: DatagramOptions,
    pub(crate) streams: StreamOptions,
    /// Connections that the kernel keeps for each endpoint until they are accepted.
    pub(crate) backlog: u32,
    /// `None`: what the descriptor limit allows.
    pub(crate) max_connections: Option<u32>,
    /// `None`: a share of the memory that this process may use.
    pub(crate) max_pending_output: Option<usize>,
    /// All other limits. [`run`] puts in the two that depend on this machine.
    pub(crate) limits: Limits,
}

/// What a message is, and what is sent besides or instead of the service's answers.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    pub(crate) framing: Framing,
    pub(crate) max_message: usize,
    /// How long an unfinished message may wait for its rest.
    pub(crate) message_timeout: Option<Duration>,
    /// In the encoding of the wire, as all of this; empty for none.
    pub(crate) greeting: Box<[u8]>,
    pub(crate) reply: Option<Template>,
    pub(crate) close: bool,
}

/// Serves until a signal ends it.
pub(crate) fn run(config: &Config, log: &Log) -> Result<Status, Failure> {
    let endpoints = config.endpoints.iter().map(descriptors_of).sum();
    let max_connections = checks::max_connections(config.max_connections, endpoints);
    signals::survive_file_limit()
        .and_then(|()| signals::survive_operator())
        .map_err(|error| failed("catch signals", &error))?;
    let names: Vec<Vec<Address>> = config
        .endpoints
        .iter()
        .map(|endpoint| resolve(std::slice::from_ref(endpoint)))
        .collect::<Result<_, _>>()?;
    checks::check_twice(&config.endpoints, &names)?;
    let limits = Limits {
        max_connections,
        max_pending_output: checks::max_pending_output(config.max_pending_output),
        ..config.limits.clone()
    };
    checks::check_backlog(config.backlog);
    if !config.limits.allow_amplification {
        let reply = config.speech.reply.as_ref();
        checks::check_amplification(&config.endpoints, &config.service, reply);
    }
    let printer = config
        .print
        .map(|charset| output().map(|stdout| Printer::new(charset, stdout)))
        .transpose()?;
    let net = OsNet::new().map(|net| {
        net.with_stream_options(config.streams.clone())
            .with_datagram_options(config.datagrams.clone())
    });
    let mut reactor = net
        .and_then(|net| Reactor::new(net, limits))
        .map_err(|error| failed("start the loop", &error))?;
    reactor
        .catch_signals()
        .map_err(|error| failed("catch signals", &error))?;
    let mut lines = String::new();
    let host = host();
    for addresses in &names {
        let bound = net::bind_each(addresses, |address| {
            let make = factory(config, &host, printer.as_ref());
            if address.is_stream() {
                reactor.listen(address, config.backlog, make)
            } else {
                reactor.bind(address, make)
            }
        });
        for address in bound.map_err(|error| Failure::new(Status::Failed, error))? {
            lines.push_str(&format!("listening on {address}\n"));
        }
    }
    // When every endpoint can be used: a script that reads these lines may connect. If standard
    // output is closed, nobody wants to know. If nobody reads it, a thread waits for the reader and
    // the loop runs, because it alone acts on signals. Otherwise there is no thread: each system
    // call of a process that has two costs more.
    let rest = sink::write_now(io::stdout(), lines.as_bytes());
    let announcing = match (&printer, rest) {
        (_, []) => None,
        (Some(printer), _) => Some(printer.outlet()),
        (None, _) => Some(output()?),
    };
    if let Some(outlet) = &announcing {
        outlet.push(rest);
    }
    log.loop_begins();
    let ending = reactor.run();
    let has_missing = match (printer, announcing) {
        (Some(printer), _) => conclude(printer, config, log),
        (None, Some(outlet)) => {
            outlet.close();
            false
        }
        (None, None) => false,
    };
    Ok(match ending {
        Ending::Cut(_) => Status::Failed,
        Ending::Clean if has_missing && config.is_counted => Status::Failed,
        Ending::Clean => Status::Done,
    })
}

/// A thread that writes to standard output.
fn output() -> Result<Outlet, Failure> {
    Outlet::lines("output", Descriptor(io::stdout()))
        .map_err(|error| failed("start the output", &error))
}

/// The last words on what was printed, on standard error behind the log. Returns whether printed
/// lines are missing.
fn conclude(printer: Printer, config: &Config, log: &Log) -> bool {
    let (count, missing) = printer.close();
    if config.is_counted {
        log.say(&format!("received {count}\n"));
    }
    if let Some(missing) = &missing {
        log.say(&format!("mynah: {missing}\n"));
    }
    missing.is_some()
}

/// Before the loop, because looking up a name may take seconds.
pub(super) fn resolve(endpoints: &[Endpoint]) -> Result<Vec<Address>, Failure> {
    let mut addresses = Vec::new();
    for endpoint in endpoints {
        let found = endpoint.resolve().map_err(|error| {
            let why = error.to_string();
            let why = why
                .strip_prefix("failed to lookup address information: ")
                .unwrap_or(&why)
                .to_lowercase();
            Failure::new(
                Status::Unresolved,
                format_args!(
                    "cannot resolve {endpoint}: {why}; check the spelling, or give an address"
                ),
            )
        })?;
        addresses.extend(found);
    }
    Ok(addresses)
}

/// Descriptors that an endpoint takes, apart from its connections. A Unix datagram server has a
/// probe, and one for each peer that it knows.
fn descriptors_of(endpoint: &Endpoint) -> usize {
    match endpoint {
        Endpoint::Unixgram(_) => 2 + net::KNOWN_UNIX_PEERS,
        _ => 1,
    }
}

/// This machine and this process, one for all endpoints, so that no two connections have the same
/// number.
fn host() -> Host {
    Host::new(
        &rustix::system::uname().nodename().to_string_lossy(),
        std::process::id(),
    )
}

fn factory(config: &Config, host: &Host, printer: Option<&Printer>) -> Factory {
    let make = service::factory(&config.service, host)
        .expect("the command line takes the names of services only");
    if printer.is_none() && config.speech.is_plain() {
        return make;
    }
    let tap = printer
        .cloned()
        .map(|printer| -> service::TapFactory { Box::new(move || printer.tap()) });
    Messages::factory(config.speech.conversation(host), make, tap)
}

impl Speech {
    /// Whether the service by itself does all that is asked for.
    pub(crate) fn is_plain(&self) -> bool {
        self.framing == Framing::Chunk
            && self.greeting.is_empty()
            && self.reply.is_none()
            && !self.close
    }

    fn conversation(&self, host: &Host) -> Conversation {
        Conversation {
            framing: self.framing.clone(),
            max_message: self.max_message,
            message_timeout: self.message_timeout,
            greeting: self.greeting.clone(),
            reply: self.reply.clone(),
            close: self.close,
            host: host.clone(),
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Status::Failed, format_args!("cannot {what}: {error}"))
}
