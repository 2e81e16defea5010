//! `mynah serve`: from the configuration to a running reactor.

use std::io::{self, Write};
use std::time::Duration;

use log::{info, warn};
use mynah::net::DatagramOptions;
use mynah::net::os::OsNet;
use mynah::service::{self, Conversation, Factory, Framing, Host, Messages, Template};
use mynah::{Address, Ending, Endpoint, Limits, Reactor};

use super::charset::Charset;
use super::descriptors::{SPARE_DESCRIPTORS, raise_descriptor_limit};
use super::log::Log;
use super::print::Printer;
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
    pub(crate) limits: Bounds,
}

/// What a message is, and what is said to whom beside or instead of the service.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    pub(crate) framing: Framing,
    pub(crate) max_message: usize,
    /// In the encoding of the wire, as all of this; empty for none.
    pub(crate) greeting: Box<[u8]>,
    pub(crate) reply: Option<Template>,
    pub(crate) close: bool,
}

/// How much, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) backlog: u32,
    /// `None`: what the descriptor limit allows.
    pub(crate) max_connections: Option<u32>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) drain_timeout: Option<Duration>,
    pub(crate) allow_amplification: bool,
    pub(crate) udp_rate: Option<u32>,
    pub(crate) busy_poll: Option<Duration>,
}

/// Serves until a signal ends it.
pub(crate) fn run(config: &Config, log: &Log) -> Result<Status, Failure> {
    let addresses = resolve(&config.endpoints)?;
    let limits = limits(&config.limits, addresses.len());
    check_backlog(config.limits.backlog);
    let printer = config
        .print
        .map(Printer::new)
        .transpose()
        .map_err(|error| failed("start the printer", &error))?;
    let net = OsNet::new().map(|net| net.with_datagram_options(config.datagrams.clone()));
    let mut reactor = net
        .and_then(|net| Reactor::new(net, limits))
        .map_err(|error| failed("start the loop", &error))?;
    reactor
        .catch_signals()
        .map_err(|error| failed("catch signals", &error))?;
    let mut lines = String::new();
    let host = host();
    for address in addresses {
        let make = factory(config, &host, printer.as_ref());
        let bound = if address.is_stream() {
            reactor.listen(&address, config.limits.backlog, make)
        } else {
            reactor.bind(&address, make)
        };
        let bound = bound.map_err(|error| Failure::new(Status::Failed, error))?;
        lines.push_str(&format!("listening on {bound}\n"));
    }
    announce(&lines);
    log.loop_begins();
    let ending = reactor.run();
    if let Some(printer) = printer {
        let count = printer.close();
        if config.is_counted {
            tell(log, &format!("received {count}\n"));
        }
    }
    Ok(match ending {
        Ending::Clean => Status::Done,
        Ending::Cut(_) => Status::Failed,
    })
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

fn limits(bounds: &Bounds, endpoints: usize) -> Limits {
    let descriptors = raise_descriptor_limit();
    let most = descriptors
        .saturating_sub(SPARE_DESCRIPTORS + endpoints)
        .max(1);
    let max_connections = bounds.max_connections.map_or(most, |asked| asked as usize);
    info!("descriptor limit {descriptors}, at most {max_connections} connections");
    if max_connections > most {
        warn!(
            "{max_connections} connections do not fit into {descriptors} descriptors: accepting will pause at about {most}; raise the hard limit (ulimit -Hn)"
        );
    }
    Limits {
        max_connections,
        idle_timeout: bounds.idle_timeout,
        write_timeout: bounds.write_timeout,
        drain_timeout: bounds.drain_timeout,
        connect_timeout: None,
        allow_amplification: bounds.allow_amplification,
        udp_rate: bounds.udp_rate,
        busy_poll: bounds.busy_poll,
        ..Limits::default()
    }
}

/// The kernel cuts a longer backlog to its own limit without a word.
fn check_backlog(backlog: u32) {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(most) = most.filter(|most| *most < backlog) {
        warn!("the kernel allows a backlog of {most}, not {backlog}; raise net.core.somaxconn");
    }
}

/// This machine and this process, one for all endpoints, so that no two connections have the same number.
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
    Messages::factory(config.speech.rules(host), make, tap)
}

impl Speech {
    /// Whether the service by itself does all that is asked for.
    pub(crate) fn is_plain(&self) -> bool {
        self.framing == Framing::Chunk
            && self.greeting.is_empty()
            && self.reply.is_none()
            && !self.close
    }

    fn rules(&self, host: &Host) -> Conversation {
        let Speech {
            framing,
            max_message,
            greeting,
            reply,
            close,
        } = self.clone();
        Conversation {
            framing,
            max_message,
            message_timeout: Some(std::time::Duration::from_secs(30)),
            greeting,
            reply,
            close,
            host: host.clone(),
        }
    }
}

/// Written and flushed at once, all together, when every endpoint can be used: whoever reads these lines may connect.
fn announce(lines: &str) {
    let mut output = io::stdout().lock();
    // Whoever closed standard output does not want to know.
    let _ = output
        .write_all(lines.as_bytes())
        .and_then(|()| output.flush());
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Status::Failed, format_args!("cannot {what}: {error}"))
}

/// The last word, on standard error behind the log, whatever the level of that is.
fn tell(log: &Log, line: &str) {
    log.clone().close();
    // If standard error is closed there is nobody left to tell.
    let _ = io::stderr().write_all(line.as_bytes());
}
