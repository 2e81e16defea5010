//! The simulated listeners and connections: what each call of the server finds and does.
//!
//! Owns the bytes in flight in both directions. It must never deliver a byte twice, never lose one
//! without a reset, and never announce what the contract leaves unannounced.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::selector::Call;
use super::{SimNet, SimStream};
use crate::values::endpoint::Address;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::time::Time;
use crate::values::token::Token;

/// The connections that a listener has not accepted yet.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) token: Token,
    pub(super) waiting: VecDeque<usize>,
    /// How many may wait: one more than was asked for, as on Linux.
    pub(super) room: usize,
    pub(super) is_unix: bool,
    pub(super) is_armed: bool,
    pub(super) is_open: bool,
    /// Connections that the server has taken out.
    pub(super) accepted: usize,
}

impl Backlog {
    pub(super) fn new(address: &Address, backlog: u32, token: Token) -> Backlog {
        Backlog {
            token,
            waiting: VecDeque::new(),
            room: backlog as usize + 1,
            is_unix: matches!(address, Address::Unix(_)),
            is_armed: true,
            is_open: true,
            accepted: 0,
        }
    }
}

/// How the server's end of a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Closed,
    Reset,
}

/// Both ends of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) token: Option<Token>,
    pub(super) is_unix: bool,
    /// From the peer, not yet read by the server.
    pub(super) inbound: VecDeque<u8>,
    /// From the server, not yet read by the peer.
    pub(super) outbound: VecDeque<u8>,
    /// Bytes that the server has read.
    taken: usize,
    /// Where a read stops although there is more: offsets in the stream.
    marks: VecDeque<usize>,
    pub(super) peer_finished: bool,
    pub(super) peer_reset: bool,
    pub(super) server_finished: bool,
    pub(super) end: End,
    pub(super) is_accepted: bool,
    /// Whether the server began it and it is not made yet.
    is_connecting: bool,
    /// Whether it never will be.
    pub(super) is_unanswered: bool,
    /// Whether an error was injected: then promises about its bytes do not hold.
    pub(super) is_faulted: bool,
    pub(super) read_armed: bool,
    pub(super) write_armed: bool,
    /// When the server last read or wrote a byte, or accepted.
    pub(super) moved: Time,
}

impl Connection {
    pub(super) fn new(now: Time, is_unix: bool) -> Connection {
        Connection {
            token: None,
            is_unix,
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            taken: 0,
            marks: VecDeque::new(),
            peer_finished: false,
            peer_reset: false,
            server_finished: false,
            end: End::Open,
            is_accepted: false,
            is_connecting: false,
            is_unanswered: false,
            is_faulted: false,
            read_armed: true,
            write_armed: false,
            moved: now,
        }
    }

    /// The server resets the connection, or the kernel does for it.
    pub(super) fn reset_by_server(&mut self) {
        self.end = End::Reset;
        self.outbound.clear();
        self.inbound.clear();
    }

    /// Puts a mark at the last byte that has arrived.
    pub(super) fn mark(&mut self) {
        self.marks.push_back(self.taken + self.inbound.len() - 1);
    }

    /// Whether the server still has an urgent byte to read. Unix streams do not tell.
    pub(super) fn has_urgent_data(&self) -> bool {
        !self.is_unix && !self.marks.is_empty()
    }

    /// The address that the server's end has.
    pub(super) fn local(&self) -> Peer {
        if self.is_unix {
            Peer::Unix(Box::from(&b"/sim"[..]))
        } else {
            Peer::V4([127, 0, 0, 1].into(), 7777)
        }
    }

    /// How many bytes one read can take: those in front of the next mark.
    fn readable(&self) -> usize {
        let ahead = self.marks.iter().find(|mark| **mark > self.taken);
        ahead.map_or(self.inbound.len(), |mark| mark - self.taken)
    }

    /// Moves the next bytes into the buffer, and fills it.
    fn take(&mut self, buffer: &mut [u8]) {
        let bytes = self.inbound.drain(..buffer.len());
        buffer
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
        self.taken += buffer.len();
        while self.marks.front().is_some_and(|mark| *mark < self.taken) {
            self.marks.pop_front();
        }
    }
}

impl SimNet {
    pub(super) fn accept_from(&mut self, listener: usize) -> io::Result<(SimStream, Peer)> {
        self.fault(&[
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::ENETDOWN,
            libc::EPERM,
            libc::EINVAL,
            9999,
        ])?;
        if self.held >= self.conditions.descriptors {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let backlog = &mut self.listeners[listener];
        let Some(number) = backlog.waiting.pop_front() else {
            backlog.is_armed = true;
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let connection = &mut self.connections[number];
        if connection.peer_reset {
            connection.end = End::Reset;
            return Err(io::Error::from_raw_os_error(libc::ECONNABORTED));
        }
        connection.is_accepted = true;
        connection.moved = self.clock;
        backlog.accepted += 1;
        self.held += 1;
        self.note(Call::Accept, number);
        let peer = if self.connections[number].is_unix {
            Peer::unnamed()
        } else {
            Peer::V4([127, 0, 0, 1].into(), 1024 + number as u16)
        };
        Ok((SimStream(number), peer))
    }

    pub(super) fn close_backlog(&mut self, listener: usize) {
        let backlog = &mut self.listeners[listener];
        assert!(backlog.is_open, "a listener was closed twice");
        backlog.is_open = false;
        for number in std::mem::take(&mut backlog.waiting) {
            self.connections[number].reset_by_server();
        }
    }

    /// Begins a connection. Connections are numbered in the order of their beginning, whichever
    /// side began. It is made when the selector has said so; or faults refuse it, or nothing
    /// answers.
    pub(super) fn begin_connection(
        &mut self,
        remote: &Address,
        token: Token,
    ) -> io::Result<SimStream> {
        let number = self.connections.len();
        let is_unanswered = self.dice.once_in(self.conditions.unanswered);
        self.connections.push(Connection {
            is_accepted: true,
            is_connecting: true,
            is_unanswered,
            ..Connection::new(self.clock, matches!(remote, Address::Unix(_)))
        });
        self.register_stream(number, token)?;
        self.held += 1;
        self.note(Call::Connect, number);
        Ok(SimStream(number))
    }

    pub(super) fn is_made(&mut self, number: usize) -> io::Result<bool> {
        self.failure(&[
            libc::ECONNREFUSED,
            libc::ETIMEDOUT,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
        ])
        .inspect_err(|_| self.connections[number].is_faulted = true)?;
        if self.connections[number].is_unanswered {
            return Ok(false);
        }
        if self.dice.once_in(3) {
            self.announce(number, Ready::WRITABLE);
            return Ok(false);
        }
        self.connections[number].is_connecting = false;
        Ok(true)
    }

    pub(super) fn register_stream(&mut self, number: usize, token: Token) -> io::Result<()> {
        self.failure(&[libc::ENOMEM, libc::ENOSPC])
            .inspect_err(|_| self.connections[number].is_faulted = true)?;
        self.name_stream(number, token);
        let connection = &mut self.connections[number];
        connection.read_armed =
            connection.inbound.is_empty() && !connection.peer_finished && !connection.peer_reset;
        let is_readable = !connection.read_armed;
        self.announce(number, Ready::WRITABLE | Ready::READABLE.when(is_readable));
        Ok(())
    }

    pub(super) fn read_stream(&mut self, number: usize, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream_fault(number)?;
        let (is_shortened, rearms) = (self.dice.once_in(3), self.rearms_when_short(number));
        let connection = &mut self.connections[number];
        if connection.peer_reset {
            return Err(io::Error::from_raw_os_error(libc::ECONNRESET));
        }
        if connection.inbound.is_empty() {
            if connection.peer_finished {
                return Ok(0);
            }
            self.arm_reader(number);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = buffer.len().min(connection.readable());
        // Where a short read re-arms, only a mark may end one early.
        let count = if is_shortened && !rearms {
            1 + self.dice.below(most)
        } else {
            most
        };
        connection.take(&mut buffer[..count]);
        connection.moved = self.clock;
        // What a mark left behind was announced already: only an empty socket makes news.
        connection.read_armed |= rearms && count < buffer.len() && connection.inbound.is_empty();
        self.note(Call::Read, count);
        Ok(count)
    }

    pub(super) fn write_stream(
        &mut self,
        number: usize,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.stream_fault(number)?;
        let shortened = self.dice.once_in(3).then(|| 1 + self.dice.below(64));
        let rearms = self.rearms_when_short(number);
        let connection = &mut self.connections[number];
        assert!(
            !connection.is_connecting,
            "a write before there is a connection"
        );
        assert!(
            !connection.server_finished,
            "a write behind our own end of stream"
        );
        if connection.peer_reset {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        let bytes = pieces
            .iter()
            .map(|piece| &**piece)
            .collect::<Vec<_>>()
            .concat();
        let room = self
            .conditions
            .buffer
            .saturating_sub(connection.outbound.len());
        if room == 0 {
            connection.write_armed = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = bytes.len().min(room);
        let count = most.min(shortened.unwrap_or(most));
        connection.outbound.extend(&bytes[..count]);
        connection.moved = self.clock;
        if rearms && count < most {
            // It stands for a socket that was full for a moment: its room is announced again.
            self.announce(number, Ready::WRITABLE);
        } else if rearms && count < bytes.len() {
            connection.write_armed = true;
        }
        self.note(Call::Write, count);
        Ok(count)
    }

    pub(super) fn finish_stream(&mut self, number: usize) -> io::Result<()> {
        self.stream_fault(number)?;
        let connection = &mut self.connections[number];
        assert!(!connection.server_finished, "a second end of stream");
        if connection.peer_reset {
            return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
        }
        connection.server_finished = true;
        self.note(Call::Finish, number);
        Ok(())
    }

    pub(super) fn take_stream_error(&mut self, number: usize) -> io::Result<Option<io::Error>> {
        self.stream_fault(number)?;
        let is_reset = self.connections[number].peer_reset;
        Ok(is_reset.then(|| io::Error::from_raw_os_error(libc::ECONNRESET)))
    }

    pub(super) fn close_stream(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        assert!(connection.end == End::Open, "a connection was closed twice");
        connection.end = End::Closed;
        if !connection.inbound.is_empty() {
            connection.reset_by_server();
        }
        self.held -= 1;
        self.note(Call::Close, number);
    }

    pub(super) fn abort_stream(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        assert!(connection.end == End::Open, "a connection was closed twice");
        connection.reset_by_server();
        self.held -= 1;
        self.note(Call::Abort, number);
    }

    /// A call on a connection that may fail. After anything but an interruption, promises about its
    /// bytes do not hold.
    fn stream_fault(&mut self, number: usize) -> io::Result<()> {
        let errors = [
            libc::ECONNRESET,
            libc::EPIPE,
            libc::ENOMEM,
            libc::ENOBUFS,
            libc::ETIMEDOUT,
            libc::EIO,
            9999,
        ];
        self.fault(&errors).inspect_err(|error| {
            self.connections[number].is_faulted |= error.kind() != io::ErrorKind::Interrupted
        })
    }
}
