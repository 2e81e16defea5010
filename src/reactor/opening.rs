//! How sources are added: endpoints, connections, signals.
//!
//! Owns the public ways to add a source. It must never run one.

use std::io;

use log::debug;

use super::Reactor;
use super::source::Source;
use crate::datagram::Datagram;
use crate::net::Net;
use crate::net::turn::Outcome;
use crate::service::{Factory, Service};
use crate::stream::connecting::{Connecting, Made};
use crate::stream::listener::Listener;
use crate::values::endpoint::Address;
use crate::values::error::StartError;
use crate::values::ready::Ready;
use crate::values::time::Time;
use crate::values::token::Token;

impl<N: Net> Reactor<N> {
    /// Serves streams at `address`, each with a service from `make`. At most `backlog` connections
    /// wait to be accepted. Returns the address in use: port 0 is replaced by the one that was
    /// chosen.
    ///
    /// # Errors
    ///
    /// What was tried, why it failed and what to do. A datagram address is an error.
    pub fn listen(
        &mut self,
        address: &Address,
        backlog: u32,
        make: Factory,
    ) -> Result<Address, StartError> {
        let token = self.sources.next_token();
        let (socket, bound) = self.turn.net.listen(address, backlog, token)?;
        let listener = Listener::new(socket, bound.clone(), make);
        let source = Source::Listener(Box::new(listener));
        self.listeners
            .push(self.sources.insert(Ready::NONE, source));
        self.backlog = self.backlog.max(backlog);
        Ok(bound)
    }

    /// Serves datagrams at `address` with one service from `make`. Returns the address in use.
    ///
    /// # Errors
    ///
    /// What was tried, why it failed and what to do. A stream address is an error.
    pub fn bind(&mut self, address: &Address, make: Factory) -> Result<Address, StartError> {
        self.common
            .prepare()
            .map_err(|error| StartError::new(format!("serve {address}"), error))?;
        let (socket, bound) = self.turn.net.bind(address, self.sources.next_token())?;
        let datagram = Datagram::server(&self.turn.net, socket, bound.clone(), make);
        self.common.own.add(&bound);
        self.insert_datagram(datagram);
        Ok(bound)
    }

    /// Connects to `remote`, from `local` where one is given, and drives `service` there.
    ///
    /// A stream is driven like an accepted one: [`Service::on_open`] when it is connected,
    /// [`Service::on_close`] with the reason if it never is. A datagram socket talks to `remote`
    /// alone, and its service sends when it is called: see [`Handle::wake`](crate::Handle::wake).
    ///
    /// # Errors
    ///
    /// What was tried, and why it failed at once. The service has not been called then.
    pub fn connect(
        &mut self,
        remote: &Address,
        local: Option<&Address>,
        service: Box<dyn Service>,
    ) -> Result<Token, StartError> {
        let token = self.sources.next_token();
        if !remote.is_stream() {
            let socket = self.turn.net.associate(remote, local, token)?;
            let datagram = Datagram::client(&self.turn.net, socket, remote.clone(), service);
            return Ok(self.insert_datagram(datagram));
        }
        let stream = self.turn.net.connect(remote, local, token)?;
        let connecting = Connecting::new(stream, remote.as_peer(), service, self.turn.now);
        let deadline = connecting.deadline(&self.turn);
        self.sources
            .insert(Ready::NONE, Source::Connecting(connecting));
        self.sources.arm(token, deadline);
        self.turn.stats.connects += 1;
        debug!("{token} {remote}: connecting");
        Ok(token)
    }

    /// Catches signals from now on. SIGTERM and SIGINT begin a drain, and the second of them stops
    /// at once; SIGUSR1 logs the statistics; SIGHUP does not end the process.
    ///
    /// # Errors
    ///
    /// The operating system's; `Unsupported` where the crate was built without the feature `cli`.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        let signals = self.turn.net.catch_signals(self.sources.next_token())?;
        self.sources
            .insert(Ready::NONE, Source::Signals(Box::new(signals)));
        Ok(())
    }

    /// Acts on the state of a connection that we began. One that is connected keeps its token.
    pub(super) fn follow(&mut self, token: Token, made: Made, deadline: Time) {
        let outcome = match made {
            Made::Yes => return self.establish(token),
            Made::NotYet => Outcome::Waiting,
            Made::Again => Outcome::More,
            Made::Failed(reason) => Outcome::Done(reason),
        };
        self.settle(token, outcome, deadline);
    }

    fn establish(&mut self, token: Token) {
        let now = self.turn.now;
        self.sources
            .replace(token, Source::Waker, |source| match source {
                Source::Connecting(connecting) => {
                    Source::Connection(connecting.into_connection(now))
                }
                source => source,
            });
        self.open(token);
    }

    fn insert_datagram(&mut self, datagram: Datagram<N>) -> Token {
        let source = Source::Datagram(Box::new(datagram));
        let token = self.sources.insert(Ready::WRITABLE, source);
        self.datagrams.push(token);
        token
    }
}
