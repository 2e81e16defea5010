//! Datagram sockets of the operating system: UDP and Unix below one shape.
//!
//! Owns the calls that make, receive and send. It must never retry, buffer or decide anything.

use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use mio::net::{UdpSocket, UnixDatagram};
use socket2::{SockAddr, SockRef};

use super::selectors::BOTH;
use super::{OsNet, streams};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use crate::net::SLOT;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use crate::net::kinds::unix_peer;
use crate::net::kinds::{Datagram, OwnedPath};
use crate::net::unix_peers::UnixPeers;
use crate::net::{Burst, Transmit, socket};
use crate::values::endpoint::Address;
use crate::values::error::StartError;
use crate::values::path::Path;
use crate::values::peer::Peer;
use crate::values::token::Token;

fn watch<const STAMPED: bool>(
    net: &OsNet<STAMPED>,
    datagram: &mut Datagram,
    token: Token,
) -> io::Result<()> {
    match datagram {
        Datagram::Udp(socket, _) => net.watch(socket, token, BOTH),
        Datagram::Unix(_, socket, _) => net.watch(socket, token, BOTH),
    }
}

pub(super) fn bind<const STAMPED: bool>(
    net: &OsNet<STAMPED>,
    address: &Address,
    token: Token,
) -> Result<(Datagram, Address), StartError> {
    let bound = socket::bind(address, &net.datagrams)?;
    let mut datagram = match address {
        Address::Udp(_) => Datagram::Udp(UdpSocket::from_std(bound.socket.into()), false),
        _ => {
            let peers = UnixPeers::new()
                .map_err(|error| StartError::new(format!("answer at {address}"), error))?;
            socket::widen(&bound.socket);
            Datagram::Unix(
                bound.path.map(OwnedPath),
                UnixDatagram::from_std(bound.socket.into()),
                Some(Box::new(peers)),
            )
        }
    };
    watch(net, &mut datagram, token)
        .map_err(|error| StartError::new(format!("watch {address}"), error))?;
    Ok((datagram, bound.address))
}

pub(super) fn associate<const STAMPED: bool>(
    net: &OsNet<STAMPED>,
    remote: &Address,
    local: Option<&Address>,
    token: Token,
) -> Result<Datagram, StartError> {
    let bound = socket::associate(remote, local, &net.datagrams)?;
    if STAMPED {
        streams::stamp(&bound.socket);
    }
    let mut datagram = match remote {
        Address::Udp(_) => {
            let is_connected = bound.socket.peer_addr().is_ok();
            Datagram::Udp(UdpSocket::from_std(bound.socket.into()), is_connected)
        }
        _ => Datagram::Unix(
            bound.path.map(OwnedPath),
            UnixDatagram::from_std(bound.socket.into()),
            None,
        ),
    };
    watch(net, &mut datagram, token)
        .map_err(|error| StartError::new(format!("watch {remote}"), error))?;
    Ok(datagram)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn receive(socket: &mut Datagram, burst: &mut Burst) -> io::Result<()> {
    match socket {
        Datagram::Udp(socket, _) => {
            socket.try_io(|| crate::net::sys::receive(socket.as_raw_fd(), burst))
        }
        Datagram::Unix(_, socket, _) => {
            socket.try_io(|| crate::net::sys::receive_unix(socket.as_raw_fd(), burst))
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn receive(socket: &mut Datagram, burst: &mut Burst) -> io::Result<()> {
    burst.begin()?;
    let buffer = &mut burst.buffer_mut()[..SLOT];
    let (size, peer) = match socket {
        Datagram::Udp(socket, _) => socket
            .recv_from(buffer)
            .map(|(size, address)| (size, address.into()))?,
        Datagram::Unix(_, socket, _) => socket
            .recv_from(buffer)
            .map(|(size, address)| (size, unix_peer(&address)))?,
    };
    burst.take_one(size, Path::plain(peer));
    Ok(())
}

pub(super) fn send(socket: &mut Datagram, messages: &[Transmit<'_>]) -> io::Result<usize> {
    let Some(Transmit {
        path: Path { peer, .. },
        pieces,
        ..
    }) = messages.first()
    else {
        return Ok(0);
    };
    match (socket, peer) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        (Datagram::Udp(socket, is_connected), _) => {
            return socket
                .try_io(|| crate::net::sys::send(socket.as_raw_fd(), messages, *is_connected));
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        (Datagram::Udp(socket, _), Peer::V4(..) | Peer::V6(..)) => {
            let address = peer.socket_addr().ok_or(io::ErrorKind::AddrNotAvailable)?;
            socket.try_io(|| SockRef::from(&*socket).send_to_vectored(pieces, &address.into()))
        }
        (Datagram::Unix(_, socket, peers), Peer::Unix(name)) if !name.is_empty() => {
            let send = |address: &SockAddr| {
                socket.try_io(|| SockRef::from(&*socket).send_to_vectored(pieces, address))
            };
            match peers {
                Some(peers) if name[0] != 0 => peers.reach(name, send),
                _ => send(&SockAddr::unix(std::ffi::OsStr::from_bytes(name))?),
            }
        }
        _ => Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the peer has no address to answer to",
        )),
    }
    .map(|_| 1)
}

pub(super) fn offloads(socket: &Datagram) -> bool {
    match socket {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Datagram::Udp(socket, _) => crate::net::sys::offloads(socket.as_fd()),
        _ => false,
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn unread(socket: &Datagram) -> Option<(usize, usize)> {
    let Datagram::Unix(_, socket, _) = socket else {
        return None;
    };
    let most = SockRef::from(socket).send_buffer_size().ok()?;
    Some((crate::net::sys::unsent(socket.as_fd()).ok()?, most))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn unread(_socket: &Datagram) -> Option<(usize, usize)> {
    None
}
