//! The kinds of socket that the operating system has, below one shape each.
//!
//! Owns the choice between TCP and Unix as data, and the files that Unix sockets leave. It makes no
//! system call.

use std::os::unix::ffi::OsStrExt;

use mio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

use super::unix_path::SocketPath;
use super::unix_peers::UnixPeers;
use crate::values::peer::Peer;

/// A listening TCP or Unix socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix, with the file to remove. The file goes first: a socket that is closed while its file
    /// stands looks dead. A server that replaces the file in that instant may get the same inode
    /// number, and we would take its file for ours.
    Unix(Option<OwnedPath>, UnixListener),
}

/// A connected TCP or Unix socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

/// A UDP or Unix datagram socket.
#[derive(Debug)]
pub enum Datagram {
    /// UDP, and whether it is connected: then it sends without naming its peer. The kernel looks up
    /// a route for each name, and keeps that of a connected peer.
    Udp(UdpSocket, bool),
    /// Unix, with the file to remove, first as with a listener. A server has its peers; a client
    /// sends to the name that its user gave, wherever that leads.
    Unix(Option<OwnedPath>, UnixDatagram, Option<Box<UnixPeers>>),
}

/// A socket file that is removed when this is dropped.
#[derive(Debug)]
pub struct OwnedPath(#[expect(dead_code, reason = "held for its drop")] pub(super) SocketPath);

/// The peer of a Unix address.
pub(super) fn unix_peer(address: &std::os::unix::net::SocketAddr) -> Peer {
    if let Some(path) = address.as_pathname() {
        return Peer::Unix(path.as_os_str().as_bytes().into());
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        if let Some(name) = address.as_abstract_name() {
            return Peer::Unix([&[0], name].concat().into());
        }
    }
    Peer::unnamed()
}
