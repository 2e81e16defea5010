//! The simulated datagram sockets: what stands in them and what has left them, in messages as
//! unfriendly as a kernel's.
//!
//! Owns the datagrams. It must never cut one, change its order for a peer, or lose one.

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::selector::Call;
use super::{Selector, SimNet};
use crate::net::{BURST, Burst, Event, Part, SLOT, Transmit};
use crate::values::endpoint::Address;
use crate::values::path::Path;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::token::Token;

/// The most datagrams that arrive as one message of the kernel, as Linux has it (UDP_GRO).
pub const COALESCED: usize = 128;

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) token: Token,
    /// What a datagram of ours says where it comes from; `None` for a socket of a client.
    name: Option<Peer>,
    pub(super) is_unix: bool,
    pub(super) is_open: bool,
    pub(super) inbound: VecDeque<(Path, Vec<u8>)>,
    pub(super) sent: Vec<(Peer, Vec<u8>)>,
    /// Messages of the kernel that they left in.
    pub(super) messages: usize,
    /// Peers that take nothing.
    pub(super) stuck: Vec<Peer>,
    pub(super) is_full: bool,
    read_armed: bool,
}

impl Socket {
    /// A socket that is bound to `address`.
    pub(super) fn new(address: &Address, token: Token) -> Socket {
        let name = match address {
            Address::Udp(address) | Address::Tcp(address) => Peer::from(*address),
            Address::Unixgram(path) | Address::Unix(path) => {
                Peer::Unix(path.as_os_str().as_bytes().into())
            }
        };
        Socket {
            name: Some(name),
            ..Socket::unbound(address, token)
        }
    }

    /// A socket without a name, of the same kind as `remote`.
    pub(super) fn unbound(remote: &Address, token: Token) -> Socket {
        Socket {
            token,
            name: None,
            is_unix: matches!(remote, Address::Unixgram(_)),
            is_open: true,
            inbound: VecDeque::new(),
            sent: Vec::new(),
            messages: 0,
            stuck: Vec::new(),
            is_full: false,
            read_armed: true,
        }
    }

    /// Takes the next message: one datagram, or several of one sender and size. Returns the size of
    /// each of them as well; the last may be shorter.
    fn next_message(&mut self, most: usize) -> Option<(Path, Vec<u8>, usize)> {
        let (path, mut bytes) = self.inbound.pop_front()?;
        let segment = bytes.len();
        for _ in 1..most {
            let next = self.inbound.front().filter(|(other, next)| {
                *other == path
                    && (1..=segment).contains(&next.len())
                    && bytes.len() % segment == 0
                    && bytes.len() + next.len() < SLOT
            });
            if next.is_none() {
                break;
            }
            bytes.extend(
                self.inbound
                    .pop_front()
                    .into_iter()
                    .flat_map(|(_, next)| next),
            );
        }
        Some((path, bytes, segment))
    }
}

impl SimNet {
    /// A datagram arrives at a socket, and nothing happens where that is closed.
    pub(super) fn arrive(&mut self, number: usize, path: Path, bytes: Vec<u8>) {
        let socket = &mut self.sockets[number];
        if socket.is_open {
            socket.inbound.push_back((path, bytes));
            if std::mem::replace(&mut socket.read_armed, false) {
                self.pending.push(Event::new(socket.token, Ready::READABLE));
            }
        }
    }

    /// The socket of ours that a name leads to.
    fn owner(&self, peer: &Peer) -> Option<usize> {
        let alias = self.aliases.iter().find(|(name, _)| name == peer);
        alias.map(|(_, number)| *number).or_else(|| {
            let mut sockets = self.sockets.iter();
            sockets.position(|socket| socket.is_open && socket.name.as_ref() == Some(peer))
        })
    }

    pub(super) fn receive_burst(&mut self, number: usize, burst: &mut Burst) -> io::Result<()> {
        self.fault(&[libc::ECONNREFUSED, libc::ENOMEM, libc::EHOSTUNREACH, 9999])?;
        let socket = &mut self.sockets[number];
        if socket.inbound.is_empty() {
            socket.read_armed = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let slots = 1 + self.dice.below(BURST);
        burst.begin()?;
        for slot in 0..slots {
            // As a kernel that coalesces, more or less as it likes. Unix sockets never do.
            let most = [1, 1, 8, COALESCED][self.dice.below(4)];
            let most = if socket.is_unix { 1 } else { most };
            let Some((path, bytes, segment)) = socket.next_message(most) else {
                break;
            };
            let (at, size) = (slot * SLOT, bytes.len().min(SLOT));
            burst.buffer_mut()[at..at + size].copy_from_slice(&bytes[..size]);
            burst.parts.push(Part {
                path,
                at,
                size,
                segment: segment.max(1),
                is_cut: bytes.len() > SLOT,
                unread: None,
            });
        }
        burst.is_short = burst.parts.len() < slots && socket.inbound.is_empty();
        socket.read_armed |= burst.is_short && self.conditions.selector == Selector::Edge;
        self.note(Call::Receive, burst.parts.len());
        Ok(())
    }

    pub(super) fn send_messages(
        &mut self,
        number: usize,
        messages: &[Transmit<'_>],
    ) -> io::Result<usize> {
        self.fault(&[
            libc::EIO,
            libc::EINVAL,
            libc::EPERM,
            libc::ENOBUFS,
            libc::EMSGSIZE,
            libc::ENETUNREACH,
            9999,
        ])?;
        let fills_up = self.dice.once_in(10);
        let socket = &mut self.sockets[number];
        socket.is_full |= fills_up && !socket.is_unix;
        let most = 1 + self.dice.below(messages.len());
        let mut sent = 0;
        for message in &messages[..most] {
            if let Err(error) = self.send_message(number, message) {
                if sent == 0 {
                    return Err(error);
                }
                break;
            }
            sent += 1;
        }
        self.sockets[number].messages += sent;
        self.note(Call::Send, sent);
        Ok(sent)
    }

    /// Sends one message, unless it is too long to be cut or there is no room for it.
    fn send_message(&mut self, number: usize, message: &Transmit<'_>) -> io::Result<()> {
        let peer = &message.path.peer;
        let longest = self.conditions.segment;
        let segment = message.segment.map(usize::from);
        if segment.is_some_and(|segment| segment > longest) {
            let code = if longest == 0 {
                libc::EIO
            } else {
                libc::EINVAL
            };
            return Err(io::Error::from_raw_os_error(code));
        }
        if self.sockets[number].is_full || self.sockets[number].stuck.contains(peer) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let pieces = message.pieces.iter().map(|piece| &**piece);
        let bytes = pieces.collect::<Vec<_>>().concat();
        let datagrams: Vec<Vec<u8>> = match segment {
            Some(segment) => bytes.chunks(segment).map(<[u8]>::to_vec).collect(),
            None => vec![bytes],
        };
        match self.owner(peer) {
            Some(own) => self.loop_back(number, own, datagrams),
            None => {
                let sent = datagrams.into_iter().map(|one| (peer.clone(), one));
                self.sockets[number].sent.extend(sent);
            }
        }
        Ok(())
    }

    /// What we send to ourselves comes back, from the name that we are bound to.
    fn loop_back(&mut self, from: usize, to: usize, datagrams: Vec<Vec<u8>>) {
        let name = self.sockets[from].name.clone();
        let path = Path::plain(name.unwrap_or_else(Peer::unnamed));
        self.looped += datagrams.len();
        for bytes in datagrams {
            self.arrive(to, path.clone(), bytes);
        }
    }
}
