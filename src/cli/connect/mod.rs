//! `mynah connect`: from the configuration to a conversation, and how it ended.
//!
//! Owns the order of things: resolve, try each address in turn, talk, say how it ended. The
//! conversation itself runs on the same reactor as the server's: a stream does not know which side
//! opened it.
//!
//! ```text
//!   bell       wakes a service on the loop from a thread beside it
//!   inlet      standard input, read by a thread
//!   feed       lines, the word that ends them, the encoding
//!   screen     what goes to standard output, and in which form
//!   talk       the service of a stream
//!   post       the service of a datagram peer
//! ```
//!
//! Tests: `tests/connect.rs`, `tests/terminal.rs`, `tests/exit_status.rs`.

mod bell;
mod feed;
mod inlet;
mod post;
mod screen;
mod talk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mynah::net::DatagramOptions;
use mynah::net::os::OsNet;
use mynah::{Address, CloseReason, Counted, Endpoint, Limits, Peer, Reactor, StartError};

use self::bell::Bell;
use self::feed::{LineFeed, StreamFeed};
use self::inlet::Inlet;
use self::post::{Lines, Post};
use self::screen::Screen;
use self::talk::Talk;
use super::charset::Charset;
use super::outlet::Outlet;
use super::reach::{Unreached, hint, reason_of, status_of, unconnected, words_of};
use super::serve::resolve;
use super::sink::{self, Descriptor};
use super::status::{Failure, Status};

/// Which peers to talk to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// One stream, or any number of datagram endpoints.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) bind: Option<Local>,
    /// A line that is exactly this ends the input.
    pub(crate) until: Option<String>,
    pub(crate) charset: Charset,
    /// For each address that is tried; `None`: the operating system's.
    pub(crate) timeout: Option<Duration>,
    /// How long a datagram client waits for answers after its input has ended.
    pub(crate) wait: Option<Duration>,
    pub(crate) datagrams: DatagramOptions,
}

/// Where to speak from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// An address of this machine; port 0 for any.
    Ip(SocketAddr),
    /// A Unix path, or an abstract name with `@`.
    Path(PathBuf),
}

/// What the services report to the client.
#[derive(Debug, Default)]
struct Progress {
    is_open: bool,
    local: Option<Peer>,
    closed: Option<CloseReason>,
    sent: u64,
    received: u64,
    /// Datagrams that came.
    answers: u64,
    /// Answers that standard output had no room for.
    dropped: u64,
    /// What was wrong with the input.
    complaint: Option<String>,
    /// Nobody reads standard output any more.
    is_unread: bool,
    /// Datagram peers whose answers were waited for.
    waited: usize,
    /// Datagram peers that are not there, and why.
    refusals: BTreeMap<usize, io::Error>,
}

impl Local {
    /// Reads an address as the option gives it.
    pub(crate) fn parse(text: &str) -> Result<Local, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = text.parse() {
            return Ok(Local::Ip(address));
        }
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Local::Ip((ip, 0).into()));
        }
        if text.contains('/') || text.starts_with('@') {
            return Ok(Local::Path(text.into()));
        }
        Err(
            "an address to speak from is IP, IP:PORT, [IPv6]:PORT, or a PATH with a slash or @NAME \
             for Unix datagrams; names are not looked up"
                .into(),
        )
    }

    /// The same, as an address of the kind of `remote`; `None` where it is of another kind.
    fn beside(&self, remote: &Address) -> Option<Address> {
        match (self, remote) {
            (Local::Ip(local), Address::Tcp(remote)) if local.is_ipv4() == remote.is_ipv4() => {
                Some(Address::Tcp(*local))
            }
            (Local::Ip(local), Address::Udp(remote)) if local.is_ipv4() == remote.is_ipv4() => {
                Some(Address::Udp(*local))
            }
            (Local::Path(path), Address::Unixgram(_)) => Some(Address::Unixgram(path.clone())),
            _ => None,
        }
    }
}

/// Talks until the conversation is over.
pub(crate) fn run(config: &Config) -> Result<Status, Failure> {
    let limits = Limits {
        connect_timeout: config.timeout,
        write_timeout: None,
        ..Limits::default()
    };
    let mut client = Client::new(config, limits)?;
    match &config.endpoints[..] {
        [endpoint @ (Endpoint::Tcp(_) | Endpoint::Unix(_))] => client.talk(endpoint),
        endpoints => client.post(endpoints),
    }
}

struct Client<'a> {
    config: &'a Config,
    reactor: Reactor<OsNet>,
    bell: Bell,
    outlet: Outlet,
    /// A user at a terminal wants to be told.
    is_interactive: bool,
}

impl Client<'_> {
    fn new(config: &Config, limits: Limits) -> Result<Client<'_>, Failure> {
        let failed = |what: &str, error: io::Error| {
            Failure::new(Status::Failed, format_args!("cannot {what}: {error}"))
        };
        let net = OsNet::new().map(|net| net.with_datagram_options(config.datagrams.clone()));
        let reactor = net
            .and_then(|net| Reactor::new(net, limits))
            .map_err(|error| failed("start the loop", error))?;
        let outlet = Outlet::bytes("output", Descriptor(io::stdout()))
            .map_err(|error| failed("start the output", error))?;
        let bell = Bell::new(reactor.handle());
        let is_interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
        Ok(Client {
            config,
            reactor,
            bell,
            outlet,
            is_interactive,
        })
    }

    /// Tries the addresses of a stream endpoint in turn, and talks to the first that answers.
    fn talk(&mut self, endpoint: &Endpoint) -> Result<Status, Failure> {
        let ways = self.ways(endpoint)?;
        let mut refused = Vec::new();
        for (address, local) in &ways {
            let progress = Rc::new(RefCell::new(Progress::default()));
            match self.connect(address, local.as_ref(), &progress) {
                Ok(()) if progress.borrow().is_open => {
                    return self.conclude(address, &progress.borrow());
                }
                Ok(()) => {
                    let reason = progress.borrow().closed.unwrap_or(CloseReason::Failed);
                    refused.push(Unreached::closed(address, reason, self.config.timeout));
                }
                Err(error) => refused.push(Unreached::unbegun(address, &error)),
            }
        }
        Err(unconnected(endpoint, &refused))
    }

    /// Runs one attempt to its end.
    fn connect(
        &mut self,
        address: &Address,
        local: Option<&Address>,
        progress: &Rc<RefCell<Progress>>,
    ) -> Result<(), StartError> {
        let began = Instant::now();
        let token = loop {
            let feed = StreamFeed::new(self.config.until.as_deref(), self.config.charset);
            let talk = Talk::new(feed, self.screen(), self.bell.clone(), progress.clone());
            match self.reactor.connect(address, local, Box::new(talk)) {
                // The backlog of a Unix socket is full, and nothing tells when it is not. There is
                // no loop yet that could be kept waiting.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && self
                            .config
                            .timeout
                            .is_none_or(|most| began.elapsed() < most) =>
                {
                    std::thread::sleep(BACKLOG_RETRY);
                }
                result => break result?,
            }
        };
        self.bell.wakes(vec![token]);
        let mut was_open = false;
        while progress.borrow().closed.is_none() {
            self.reactor.turn();
            if progress.borrow().is_open && !std::mem::replace(&mut was_open, true) {
                let local = progress
                    .borrow()
                    .local
                    .as_ref()
                    .map_or(String::new(), |local| format!(" from {local}"));
                self.tell(format_args!("connected to {address}{local}"));
            }
        }
        // What came was for somebody who may read slowly, and stands before whatever is said of the
        // end.
        self.outlet.finish();
        Ok(())
    }

    /// How a conversation ended that had begun.
    fn conclude(&self, address: &Address, progress: &Progress) -> Result<Status, Failure> {
        let (sent, received) = (Counted(progress.sent, "byte"), progress.received);
        self.check_output()?;
        if progress.is_unread {
            return Ok(Status::Done);
        }
        if let Some(complaint) = &progress.complaint {
            return Err(Failure::new(Status::Failed, complaint));
        }
        match progress.closed {
            Some(CloseReason::PeerClosed | CloseReason::Finished) | None => {
                self.tell(format_args!(
                    "{address} closed the connection: {sent} sent, {received} received"
                ));
                Ok(Status::Done)
            }
            Some(reason) => {
                let words = words_of(reason, self.config.timeout);
                Err(Failure::new(
                    status_of(reason),
                    format_args!(
                        "{address}: {words}; {sent} had been sent and {received} received"
                    ),
                ))
            }
        }
    }

    /// A reader that has seen enough (`| head -1`) is no failure; a full disk is one.
    fn check_output(&self) -> Result<(), Failure> {
        match self.outlet.failure() {
            None => Ok(()),
            Some(error) => Err(Failure::new(
                Status::Failed,
                format_args!("cannot write to standard output: {error}"),
            )),
        }
    }

    /// Sends each line to every peer, and shows what comes back.
    fn post(&mut self, endpoints: &[Endpoint]) -> Result<Status, Failure> {
        let mut peers = Vec::new();
        for endpoint in endpoints {
            // No datagram says whether its peer is there, so there is nothing to try in turn: the
            // resolver's first choice it is.
            peers.extend(self.ways(endpoint)?.into_iter().next());
        }
        let progress = Rc::new(RefCell::new(Progress::default()));
        let inlet = Inlet::new(io::stdin(), self.bell.clone()).map_err(|error| {
            Failure::new(
                Status::Failed,
                format_args!("cannot read standard input: {error}"),
            )
        })?;
        let feed = LineFeed::new(self.config.until.as_deref(), self.config.charset);
        let lines = Rc::new(RefCell::new(Lines::new(
            inlet,
            feed,
            peers.len(),
            progress.clone(),
        )));
        let mut tokens = Vec::new();
        for (index, (address, local)) in peers.iter().enumerate() {
            let post = Post::new(
                index,
                lines.clone(),
                self.screen(),
                self.bell.clone(),
                self.config.wait,
                progress.clone(),
            );
            let token = self
                .reactor
                .connect(address, local.as_ref(), Box::new(post));
            tokens.push(
                token.map_err(|error| Failure::new(status_of(reason_of(error.kind())), error))?,
            );
        }
        self.bell.wakes(tokens);
        self.bell.ring();
        let names: Vec<String> = peers
            .iter()
            .map(|(address, _)| address.to_string())
            .collect();
        self.tell(format_args!(
            "each line is a datagram to {}",
            names.join(", ")
        ));
        while !is_over(&progress.borrow(), peers.len()) {
            self.reactor.turn();
        }
        self.outlet.finish();
        self.conclude_post(&peers, &mut progress.borrow_mut())
    }

    fn conclude_post(
        &self,
        peers: &[(Address, Option<Address>)],
        progress: &mut Progress,
    ) -> Result<Status, Failure> {
        self.check_output()?;
        if progress.is_unread {
            return Ok(Status::Done);
        }
        if let Some(complaint) = &progress.complaint {
            return Err(Failure::new(Status::Failed, complaint));
        }
        if let Some((index, error)) = progress.refusals.pop_first() {
            let reason = reason_of(error.kind());
            let why = StartError::new(format!("send to {}", peers[index].0), error);
            let others = match progress.refusals.len() {
                0 => String::new(),
                count => format!("; nor to {}", Counted(count as u64, "other peer")),
            };
            return Err(Failure::new(
                status_of(reason),
                format_args!("{why}{}{others}", hint(reason)),
            ));
        }
        if progress.dropped > 0 {
            return Err(Failure::new(
                Status::Failed,
                format_args!(
                    "dropped {}: standard output was not read fast enough",
                    Counted(progress.dropped, "datagram")
                ),
            ));
        }
        match self.config.wait {
            Some(wait) if progress.sent > 0 && progress.answers == 0 && !wait.is_zero() => {
                say(format_args!("no answer within {wait:?}"));
            }
            _ => self.tell(format_args!(
                "{} sent, {} received",
                Counted(progress.sent, "byte"),
                progress.received
            )),
        }
        Ok(Status::Done)
    }

    fn screen(&self) -> Screen {
        Screen::new(
            self.outlet.clone(),
            self.config.charset,
            io::stdout().is_terminal(),
        )
    }

    /// The addresses of an endpoint, each with the one to speak from where one was asked for, which
    /// must be of the same kind.
    fn ways(&self, endpoint: &Endpoint) -> Result<Vec<(Address, Option<Address>)>, Failure> {
        let addresses = resolve(std::slice::from_ref(endpoint))?;
        let Some(local) = &self.config.bind else {
            return Ok(addresses
                .into_iter()
                .map(|address| (address, None))
                .collect());
        };
        let ways: Vec<_> = addresses
            .into_iter()
            .filter_map(|address| local.beside(&address).map(|local| (address, Some(local))))
            .collect();
        if ways.is_empty() {
            let why = "--bind gives an address that cannot speak to it; both must be IPv4, or \
                IPv6, or Unix datagram sockets";
            return Err(Failure::new(
                Status::Usage,
                format_args!("{endpoint}: {why}"),
            ));
        }
        Ok(ways)
    }

    /// A line for a user at a terminal.
    fn tell(&self, words: std::fmt::Arguments<'_>) {
        if self.is_interactive {
            say(words);
        }
    }
}

/// A line on standard error, in one piece, or what is typed meanwhile stands in the middle of it.
fn say(words: std::fmt::Arguments<'_>) {
    // If standard error is closed there is nobody left to tell.
    let _ = sink::write_all(io::stderr(), format!("mynah: {words}\n").as_bytes());
}

/// How soon a Unix socket whose backlog is full is tried again.
const BACKLOG_RETRY: Duration = Duration::from_millis(10);

/// Whether nothing is left to be waited for: every peer has had its time, or nobody is there, or
/// nobody reads.
fn is_over(progress: &Progress, peers: usize) -> bool {
    progress.is_unread || progress.waited == peers || progress.refusals.len() == peers
}
