//! What the user can do about an address that cannot be had.
//!
//! Owns the words. Each hint follows from the error alone; it asks the system for nothing.

use std::io;
use std::net::SocketAddr;

use crate::values::endpoint::Address;
use crate::values::error::StartError;

/// An address that could not be had: what was tried, why, and what to do.
pub(super) fn start_error(verb: &str, address: &Address, error: io::Error) -> StartError {
    let hint = hint(address, &error);
    StartError::new(format!("{verb} {address}"), error).with_hint(hint)
}

/// Fails if `address` is of the other kind: a datagram address for a stream socket, or the reverse.
pub(super) fn check_kind(verb: &str, address: &Address, is_stream: bool) -> Result<(), StartError> {
    if address.is_stream() == is_stream {
        return Ok(());
    }
    let (why, hint) = match is_stream {
        true => (
            "that is a datagram address",
            "give a stream address (tcp: or unix:)",
        ),
        false => (
            "that is a stream address",
            "give a datagram address (udp: or unixgram:)",
        ),
    };
    let error = io::Error::new(io::ErrorKind::InvalidInput, why);
    Err(StartError::new(format!("{verb} {address}"), error).with_hint(Some(hint)))
}

/// A peer that could not be reached.
pub(super) fn reach_error(address: &Address, error: io::Error) -> StartError {
    let is_unix = matches!(address, Address::Unix(_) | Address::Unixgram(_));
    let hint = match (error.kind(), is_unix) {
        (io::ErrorKind::ConnectionRefused, true) if address.file().is_none() => {
            Some("nobody listens on that abstract name")
        }
        (io::ErrorKind::ConnectionRefused, true) => Some("nobody listens on that socket file"),
        (io::ErrorKind::NotFound, true) => Some("there is no such socket file"),
        (io::ErrorKind::PermissionDenied, true) => Some("you may not write to that socket file"),
        (io::ErrorKind::WouldBlock, true) => Some("its backlog is full"),
        (io::ErrorKind::AddrNotAvailable, false) if is_ipv6(address) => Some(
            "this machine has no IPv6 address that leads there: IPv6 is off, or no local port is \
             left",
        ),
        (io::ErrorKind::AddrNotAvailable, false) => Some(
            "no local port is left for this target: net.ipv4.ip_local_port_range says how many \
             there are for each local address",
        ),
        (io::ErrorKind::PermissionDenied, false) => {
            Some("a broadcast address is sent to with --broadcast")
        }
        _ if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            Some("it is a socket of the other kind: try unix: or unixgram:")
        }
        _ => None,
    };
    StartError::new(format!("connect to {address}"), error).with_hint(hint)
}

/// What the user can do about an address that cannot be had.
fn hint(address: &Address, error: &io::Error) -> Option<&'static str> {
    let port = match address {
        Address::Tcp(ip) | Address::Udp(ip) => Some(ip.port()),
        Address::Unix(_) | Address::Unixgram(_) => None,
    };
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        return Some("no descriptor is left: raise the limit (ulimit -n)");
    }
    Some(match (error.kind(), port) {
        (io::ErrorKind::AddrInUse, Some(_)) => {
            "another program has it: choose another port, or 0 for any free one"
        }
        (io::ErrorKind::AddrInUse, None) => "another server answers there: choose another path",
        (io::ErrorKind::AlreadyExists, None) => "choose another path, or remove it yourself",
        (io::ErrorKind::PermissionDenied, Some(1..1024)) => {
            "ports below 1024 need a privilege: run as root, grant CAP_NET_BIND_SERVICE, or choose \
             a higher port"
        }
        (io::ErrorKind::PermissionDenied, None) => "you may not create files in that directory",
        (io::ErrorKind::AddrNotAvailable, Some(_)) if is_ipv6(address) => {
            "no interface of this machine has that address, or IPv6 is off; [::] stands for all"
        }
        (io::ErrorKind::AddrNotAvailable, Some(_)) => {
            "no interface of this machine has that address; 0.0.0.0 and [::] stand for all"
        }
        (io::ErrorKind::NotFound, None) => "the directory does not exist",
        (io::ErrorKind::InvalidInput, Some(_)) if is_mapped(address) => {
            "that is an IPv4 address: write it as 127.0.0.1, without ::ffff:"
        }
        (io::ErrorKind::InvalidInput, Some(_)) => {
            "an address of one link needs its interface: a group with --interface, any other as in \
             [fe80::1%2]"
        }
        _ => return None,
    })
}

/// A group that could not be joined, or sent to.
pub(super) fn interface_error(tried: String, error: io::Error, is_named: bool) -> StartError {
    let hint = if is_named {
        "no interface of this machine is what --interface says: give the name of one, or an IPv4 \
         address that it has"
    } else {
        "name the interface that has it with --interface"
    };
    StartError::new(tried, error).with_hint(Some(hint))
}

fn is_ipv6(address: &Address) -> bool {
    matches!(address, Address::Tcp(ip) | Address::Udp(ip) if ip.is_ipv6())
}

/// Whether an IPv6 address only stands for an IPv4 one. An IPv6 socket of ours takes none of them.
fn is_mapped(address: &Address) -> bool {
    match address {
        Address::Tcp(SocketAddr::V6(ip)) | Address::Udp(SocketAddr::V6(ip)) => {
            ip.ip().to_ipv4_mapped().is_some()
        }
        _ => false,
    }
}
