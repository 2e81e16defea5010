//! Who is at the other end.
//!
//! Owns the compact form of an address: 24 bytes. A [`std::net::SocketAddr`] takes 32 and cannot
//! hold a Unix address. Every connection stores its peer, because the kernel forgets it after a
//! reset, and the log line is still to be written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::values::escape::Escaped;

/// The address of a peer, as the socket tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An IPv4 address and port.
    V4(Ipv4Addr, u16),
    /// An IPv6 address, port and scope. The flow label is dropped, because it does not name a peer.
    V6(Ipv6Addr, u16, u32),
    /// A Unix socket: the path that it is bound to, or empty if it is bound to none. An abstract
    /// name (Linux) begins with a zero byte. The peer chose the path, so it is escaped wherever it
    /// is shown.
    Unix(Box<[u8]>),
}

const _: () = assert!(
    size_of::<Peer>() == 24,
    "an idle connection pays for every byte of this"
);

impl Peer {
    /// A Unix peer without a name, as most clients of stream sockets are.
    pub fn unnamed() -> Peer {
        Peer::Unix(Box::default())
    }

    /// The IP address and port; `None` for a Unix peer.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match *self {
            Peer::V4(ip, port) => Some(SocketAddr::new(IpAddr::V4(ip), port)),
            Peer::V6(ip, port, scope) => {
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
            }
            Peer::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    #[inline]
    fn from(address: SocketAddr) -> Peer {
        match address {
            SocketAddr::V4(v4) => Peer::V4(*v4.ip(), v4.port()),
            SocketAddr::V6(v6) => Peer::V6(*v6.ip(), v6.port(), v6.scope_id()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Unix(path) => match &path[..] {
                [] => f.write_str("unnamed"),
                [0, name @ ..] => write!(f, "@{}", Escaped(name)),
                [b'/', ..] => write!(f, "{}", Escaped(path)),
                // Or a name of the peer's choice could pass for an address, or for no name.
                path => write!(f, "./{}", Escaped(path)),
            },
            _ => match self.socket_addr() {
                Some(address) => address.fmt(f),
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_compact_form() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            let peer = Peer::from(address);
            assert_eq!(peer.socket_addr(), Some(address));
            assert_eq!(peer.to_string(), text);
        }
    }

    #[test]
    fn a_unix_name_cannot_forge_a_line() {
        assert_eq!(Peer::unnamed().to_string(), "unnamed");
        assert_eq!(
            Peer::Unix((*b"/tmp/a\nERROR b").into()).to_string(),
            "/tmp/a\\nERROR b"
        );
        assert_eq!(
            Peer::Unix((*b"\0name\x1b").into()).to_string(),
            "@name\\x1b"
        );
    }
}
