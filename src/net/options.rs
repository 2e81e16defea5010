//! How sockets are made, as far as a program may choose.
//!
//! Owns the options that callers set, and their defaults. It never makes a socket.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use socket2::{InterfaceIndexOrAddress, TcpKeepalive};

/// How TCP streams are made, accepted and connected ones alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// When to ask a silent peer whether it is still there; `None`: never.
    pub keepalive: Option<Keepalive>,
}

impl Default for StreamOptions {
    fn default() -> StreamOptions {
        StreamOptions {
            keepalive: Some(Keepalive::default()),
        }
    }
}

/// When the kernel asks a silent peer whether it is still there, and when it gives the peer up.
///
/// A peer whose machine lost its power or its network sends no FIN. Without keepalive its
/// connection stays open for ever if nothing is to be sent. The kernel answers for a living peer,
/// so a quiet one is never closed for being quiet.
///
/// The default finds a vanished peer after two minutes: 60 s + 4 × 15 s. The system's own default
/// takes two hours and eleven minutes. Shorter times cost a packet each way more often on every
/// idle connection, and four unanswered probes over a minute outlast a reboot of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long a connection is silent before the first probe; whole seconds, 1 to 32,767.
    pub idle: Duration,
    /// How long after an unanswered probe the next one is sent; whole seconds, 1 to 32,767.
    pub interval: Duration,
    /// How many unanswered probes end the connection; 1 to 127.
    pub probes: u32,
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(15),
            probes: 4,
        }
    }
}

impl Keepalive {
    /// The same in the words of the kernel, which refuses what is out of range.
    pub(super) fn options(self) -> TcpKeepalive {
        let whole = |time: Duration| Duration::from_secs(time.as_secs().clamp(1, 32_767));
        let options = TcpKeepalive::new().with_time(whole(self.idle));
        // OpenBSD has one interval and one count for the whole system.
        #[cfg(not(target_os = "openbsd"))]
        let options = options
            .with_interval(whole(self.interval))
            .with_retries(self.probes.clamp(1, 127));
        options
    }
}

/// How UDP sockets are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramOptions {
    /// How many bytes the receive buffer is asked to hold; `None` keeps the system's default. With
    /// `CAP_NET_ADMIN` the kernel goes past the system's limit, otherwise up to it.
    pub receive_buffer: Option<usize>,
    /// Whether to warn if the system gives less: a user who chose the size wants to know.
    pub warns_of_buffer: bool,
    /// The interface on which groups are joined, and sent to; `None`: the system's choice.
    pub interface: Option<Interface>,
    /// A client's: whether it may send to broadcast addresses.
    pub broadcast: bool,
    /// A client's: how many hops its datagrams may go; `None`: the system's default, which for a
    /// group is 1.
    pub hops: Option<u8>,
}

/// Linux's default of 208 KiB holds 277 small datagrams, because the kernel counts 768 bytes or
/// more for each. A burst of 600 lost 2 to 3 % in it.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

impl Default for DatagramOptions {
    fn default() -> DatagramOptions {
        DatagramOptions {
            receive_buffer: Some(RECEIVE_BUFFER),
            warns_of_buffer: false,
            interface: None,
            broadcast: false,
            hops: None,
        }
    }
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// By its number, which serves both families.
    Number(u32),
    /// By an IPv4 address that it has.
    Address(Ipv4Addr),
}

impl Interface {
    pub(super) fn v4(self) -> InterfaceIndexOrAddress {
        match self {
            Interface::Number(number) => InterfaceIndexOrAddress::Index(number),
            Interface::Address(ip) => InterfaceIndexOrAddress::Address(ip),
        }
    }

    /// The number; only that names an interface to IPv6.
    pub(super) fn v6(self) -> io::Result<u32> {
        match self {
            Interface::Number(number) => Ok(number),
            Interface::Address(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an IPv6 group needs its interface by name",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vanished_peer_is_found_in_a_few_minutes() {
        let Keepalive {
            idle,
            interval,
            probes,
        } = Keepalive::default();
        let longest = idle + interval * probes;
        assert!(longest <= Duration::from_secs(5 * 60), "{longest:?}");
    }
}
