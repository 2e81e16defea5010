//! The queue of the listeners, and what they accept.
//!
//! Owns the order in which listeners may accept while connections or descriptors run out. It must
//! never accept: the listener does.
//!
//! A listener that cannot accept is *parked*. A slot or a descriptor that becomes free gives no
//! event, so whatever ends a connection wakes the parked listeners. While any is parked, listeners
//! take turns and accept one connection at a time. One that has accepted goes to the end of the
//! queue, so no endpoint starves beside a busier one.

use log::{debug, warn};

use super::Reactor;
use super::source::Source;
use crate::net::Net;
use crate::stream::connection::Connection;
use crate::stream::listener::{Accepted, Listener};
use crate::stream::role::Role;
use crate::values::limits::ACCEPT_BUDGET;
use crate::values::ready::Ready;
use crate::values::token::Token;

impl<N: Net> Reactor<N> {
    /// Lets the listener accept, after the parked ones that are before it in the queue.
    pub(super) fn accept_in_line(&mut self, token: Token) {
        // A panic may have left these behind.
        self.adopt();
        let is_crowd = self.listeners.iter().any(|&other| self.is_parked(other));
        if !is_crowd {
            return self.accept(token, ACCEPT_BUDGET);
        }
        let ahead = self.listeners.iter().take_while(|other| **other != token);
        let parked: Vec<Token> = ahead
            .copied()
            .filter(|other| self.is_parked(*other))
            .collect();
        for listener in parked.into_iter().chain([token]) {
            self.accept(listener, 1);
        }
    }

    fn accept(&mut self, token: Token, most: usize) {
        let room = self.room();
        let Some(entry) = self.sources.get_mut(token) else {
            return;
        };
        let Source::Listener(listener) = &mut entry.source else {
            return;
        };
        let turn = &mut self.turn;
        let outcome = listener.accept(&mut entry.ready, turn, room, most, &mut self.batch);
        let deadline = listener.deadline();
        let accepted = self.batch.len();
        if accepted > 0 {
            self.listeners.retain(|other| *other != token);
            self.listeners.push(token);
        }
        self.accepting = token;
        self.settle(token, outcome, deadline);
        self.batch.reverse();
        self.adopt();
    }

    /// How many connections may still be accepted. In a drain, connections that only linger do not
    /// count: they have got everything, and clients in the backlog are waiting.
    pub(super) fn room(&self) -> usize {
        let live = self.turn.stats.live() as usize;
        let lingering = if self.turn.draining {
            self.turn.lingering
        } else {
            0
        };
        self.turn
            .limits
            .max_connections
            .saturating_sub(live - lingering)
    }

    /// Makes sources of what was accepted, the first one last in the batch.
    fn adopt(&mut self) {
        while let Some(Accepted {
            mut stream,
            peer,
            service,
        }) = self.batch.pop()
        {
            let token = self.sources.next_token();
            if let Err(error) = self.turn.net.register(&mut stream, token) {
                self.turn.stats.unregistered += 1;
                warn!("{peer}: cannot watch the connection: {error}; reset");
                self.turn.net.abort(stream);
                self.starve(&error);
                continue;
            }
            debug!("{token} {peer}: accepted");
            let connection = Connection::new(stream, peer, service, Role::Server, self.turn.now);
            // A fresh socket takes bytes, and what has arrived gives an event once it is
            // registered.
            self.sources
                .insert(Ready::WRITABLE, Source::Connection(connection));
            self.turn.stats.accepted += 1;
            self.open(token);
        }
    }

    pub(super) fn open(&mut self, token: Token) {
        self.running = token;
        let Some(entry) = self.sources.get_mut(token) else {
            return;
        };
        let Source::Connection(connection) = &mut entry.source else {
            return;
        };
        let outcome = connection.open(&mut entry.ready, &mut self.turn);
        let deadline = connection.deadline(&self.turn);
        self.settle(token, outcome, deadline);
    }

    /// The selector takes no more sources (epoll_ctl: ENOSPC, ENOMEM): the listener waits as it
    /// does for a descriptor.
    #[cold]
    fn starve(&mut self, error: &std::io::Error) {
        let Some(entry) = self.sources.get_mut(self.accepting) else {
            return;
        };
        let Source::Listener(listener) = &mut entry.source else {
            return;
        };
        let outcome = listener.starve(&mut entry.ready, &mut self.turn, error);
        let deadline = listener.deadline();
        self.settle(self.accepting, outcome, deadline);
    }

    /// Lets the parked listeners try again, because something that they may wait for was freed.
    pub(super) fn wake_parked_listeners(&mut self) {
        self.wake_listeners(|_| true);
    }

    /// A connection that begins to linger during a drain makes room, and no event announces that.
    #[cold]
    pub(super) fn wake_limited_listeners(&mut self) {
        self.wake_listeners(Listener::is_limited);
    }

    fn wake_listeners(&mut self, is_meant: fn(&Listener<N>) -> bool) {
        for index in 0..self.listeners.len() {
            let token = self.listeners[index];
            let Some(entry) = self.sources.get_mut(token) else {
                continue;
            };
            let Source::Listener(listener) = &mut entry.source else {
                continue;
            };
            if is_meant(listener) && listener.wake() {
                self.sources.mark(token, Ready::READABLE);
            }
        }
    }

    fn is_parked(&self, token: Token) -> bool {
        let entry = self.sources.get(token);
        entry.is_some_and(|entry| match &entry.source {
            Source::Listener(listener) => listener.is_parked(),
            _ => false,
        })
    }
}
