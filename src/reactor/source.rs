//! What the loop waits for.
//!
//! Owns the list of the kinds of sources, and what the loop asks of all kinds. It must never run a
//! source: the loop does.

use crate::datagram::Datagram;
use crate::net::Net;
use crate::stream::connecting::Connecting;
use crate::stream::connection::Connection;
use crate::stream::listener::Listener;
use crate::values::ready::Ready;
use crate::values::time::Time;

/// One source. A connection is the common case and lies in the table itself; the others are few.
#[derive(Debug)]
pub(crate) enum Source<N: Net> {
    Connection(Connection<N>),
    Connecting(Connecting<N>),
    Listener(Box<Listener<N>>),
    Datagram(Box<Datagram<N>>),
    Signals(Box<N::Signals>),
    Waker,
}

impl<N: Net> Source<N> {
    /// Whether the source could act on one of the bits that are set. Such a source must be in the
    /// run queue, or it is lost.
    pub(crate) fn is_runnable(&self, ready: Ready) -> bool {
        match self {
            Source::Connection(connection) => connection.is_runnable(ready),
            Source::Connecting(_) => ready.intersects(Ready::WRITABLE | Ready::ALARM),
            Source::Listener(_) | Source::Datagram(_) => {
                ready.intersects(Ready::READABLE | Ready::ALARM)
            }
            Source::Signals(_) | Source::Waker => false,
        }
    }

    /// Makes the alarm of the source's service due. Returns whether there is such a service.
    pub(crate) fn alarm_at(&mut self, at: Time) -> bool {
        match self {
            Source::Connection(connection) => connection.alarm_at(at),
            Source::Datagram(datagram) => datagram.alarm_at(at),
            Source::Connecting(_) | Source::Listener(_) | Source::Signals(_) | Source::Waker => {
                return false;
            }
        }
        true
    }
}
