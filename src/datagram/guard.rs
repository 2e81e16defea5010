//! Which datagrams get no answer, and why.
//!
//! A datagram says where it comes from, and anybody can write anything there. A server that
//! believes it is a weapon: with a forged source it attacks a third party, a server that answers in
//! turn, or itself. This module owns the rules against that. `judge` is a pure function
//! over source and destination, for UDP and Unix sockets alike, and each refusal has a counter of
//! its own. It must never refuse a peer that is merely unusual: an honest client sends from a port
//! of its own choice.
//!
//! | attack | what ends it |
//! |---|---|
//! | a source that no client can have | refused by its address or port |
//! | a source that answers us in turn | refused by its port; UDP: each bounce costs one hop |
//! | our own address as the source | refused |
//! | a datagram to a group or to all hosts | refused, unless the socket is bound to that address |
//! | a Unix name that leads elsewhere, by a link | the answer is not sent (`net/unix_peers.rs`) |
//! | a Unix peer that answers us in turn | at most [so many] answers a second |
//!
//! What the rules cannot stop:
//!
//! * A loop with a UDP server whose port is in no table *and* that sends each answer with a fresh
//!   hop limit.
//! * A sender that names a victim as its source. It costs the victim as many bytes as it costs the
//!   sender, unless `--udp-rate` caps that.
//! * A loop of two Unix servers that name each other, if it turns slower than the cap. Unix
//!   datagrams have no hop limit, and such a server looks like a client that sends its next
//!   datagram when it has the answer. Each refusal takes one datagram out of the loop, so a faster
//!   one ends.
//!
//! What the rules cost: a client on this machine that sends with a hop limit of 1 gets no answer.
//! An answer with one hop left would reach it. But two servers that answered so would answer each
//! other for ever, and nothing in a datagram tells such a client from the end of such a loop.
//!
//! [so many]: crate::Limits::unixgram_rate
//!
//! Tests: below; `tests/guards.rs` forges datagrams of every kind.

use std::net::{IpAddr, SocketAddr};

use crate::values::endpoint::Address;
use crate::values::path::Path;
use crate::values::peer::Peer;
use crate::values::refusal::Refusal;

/// Ports of UDP services that answer whatever they receive, and that no client sends from. Such a
/// service and we could answer each other for ever. In order, for the search.
const SERVICE_PORTS: [(u16, &str); 34] = [
    (7, "echo: answers everything"),
    (9, "discard: stands beside echo"),
    (11, "systat: answers everything"),
    (13, "daytime: answers everything"),
    (17, "qotd: answers everything"),
    (19, "chargen: answers everything, at length"),
    (37, "time: answers everything"),
    (53, "dns: answers errors with errors (CVE-2024-2169)"),
    (67, "dhcp server"),
    (69, "tftp: answers errors with errors (CVE-2024-2169)"),
    (111, "portmap"),
    (123, "ntp: answers errors with errors (CVE-2009-3563)"),
    (137, "netbios name service"),
    (138, "netbios datagram service"),
    (161, "snmp"),
    (177, "xdmcp"),
    (389, "cldap"),
    (427, "slp"),
    (517, "talk: answers errors with errors (CVE-2024-2169)"),
    (518, "ntalk: answers errors with errors (CVE-2024-2169)"),
    (520, "rip"),
    (623, "ipmi"),
    (1434, "ms-sql browser"),
    (1900, "ssdp"),
    (3283, "apple remote desktop"),
    (3478, "stun: answers errors with errors"),
    (3702, "ws-discovery"),
    (5060, "sip: answers errors with errors"),
    (5093, "sentinel license manager"),
    (5353, "mdns"),
    (5355, "llmnr"),
    (5683, "coap"),
    (10001, "ubiquiti discovery"),
    (11211, "memcached: answers errors with errors"),
];

/// The addresses and names that our own server sockets are bound to.
#[derive(Debug, Default)]
pub(crate) struct Own {
    udp: Vec<SocketAddr>,
    unix: Vec<Box<[u8]>>,
}

impl Own {
    /// Adds the address of a bound socket.
    pub(crate) fn add(&mut self, bound: &Address) {
        match (bound, bound.as_peer()) {
            (Address::Udp(address), _) => self.udp.push(*address),
            (Address::Unixgram(_), Peer::Unix(name)) => self.unix.push(name),
            _ => {}
        }
    }

    /// Whether a Unix socket of ours is bound to `name`. The kernel tells a source by the name that
    /// it was bound to, so no path is resolved.
    fn has_name(&self, name: &[u8]) -> bool {
        self.unix.iter().any(|own| **own == *name)
    }

    /// Whether `source` is a UDP socket of ours. `asked`: the address that the datagram was sent
    /// to.
    /// Only a socket that is bound to all addresses needs `is_local`.
    fn has_address(
        &self,
        source: SocketAddr,
        asked: Option<IpAddr>,
        is_local: impl Fn(SocketAddr) -> bool,
    ) -> bool {
        let mut own = self.udp.iter().filter(|own| own.port() == source.port());
        own.any(|own| {
            own.ip() == source.ip()
                || own.ip().is_unspecified()
                    && own.is_ipv4() == source.is_ipv4()
                    && (source.ip().is_loopback() || Some(source.ip()) == asked || is_local(source))
        })
    }
}

/// Whether a datagram that came on `path`, to a socket that is bound to `bound`, may be answered.
/// `is_local` says whether this machine has an address. It is asked only about a source that has
/// the port of a socket of ours, which is rare, because asking takes a few system calls.
pub(crate) fn judge(
    path: &Path,
    bound: &Address,
    own: &Own,
    is_local: impl Fn(SocketAddr) -> bool,
) -> Result<(), Refusal> {
    match &path.peer {
        Peer::Unix(name) if name.is_empty() => return Err(Refusal::Unnamed),
        Peer::Unix(name) if own.has_name(name) => return Err(Refusal::Ourselves),
        _ => {}
    }
    let Some(source) = path.peer.socket_addr() else {
        return Ok(());
    };
    match source.ip() {
        _ if source.port() == 0 => Err(Refusal::PortZero),
        _ if is_service(source.port()) => Err(Refusal::ServicePort),
        // All of 0.0.0.0/8 is "this host" (RFC 1122, 3.2.1.3). All of 240.0.0.0/4 is reserved, and
        // its last address is the broadcast address.
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Err(Refusal::Unspecified),
        IpAddr::V4(ip) if ip.octets()[0] >= 240 => Err(Refusal::Broadcast),
        IpAddr::V6(ip) if ip.is_unspecified() => Err(Refusal::Unspecified),
        ip if ip.is_multicast() => Err(Refusal::Multicast),
        _ if own.has_address(source, path.local, is_local) => Err(Refusal::Ourselves),
        _ if path.to_group && takes_all(bound) => Err(Refusal::ToGroup),
        // The answer has one hop less. So a loop between two of our servers ends within 255
        // bounces, and a client that sends with 64 hops, as systems do, gets its answer 31 hops
        // away.
        _ if path.hops.is_some_and(|hops| hops <= 1) => Err(Refusal::Loop),
        _ => Ok(()),
    }
}

fn is_service(port: u16) -> bool {
    SERVICE_PORTS
        .binary_search_by_key(&port, |(port, _)| *port)
        .is_ok()
}

/// Whether a socket receives what is sent to any address. One that is bound to a group or to a
/// broadcast address receives nothing else, and its user asked for that.
fn takes_all(bound: &Address) -> bool {
    matches!(bound, Address::Udp(bound) if bound.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(source: &str, local: Option<&str>, hops: Option<u8>) -> Path {
        let source: SocketAddr = source.parse().unwrap();
        Path {
            peer: source.into(),
            local: local.map(|local| local.parse().unwrap()),
            hops,
            ..Path::plain(Peer::unnamed())
        }
    }

    fn udp(bound: &str) -> Address {
        Address::Udp(bound.parse().unwrap())
    }

    /// The machine has one more address.
    fn is_local(address: SocketAddr) -> bool {
        address.ip() == IpAddr::from([192, 0, 2, 200])
    }

    fn own(bound: &[Address]) -> Own {
        let mut own = Own::default();
        bound.iter().for_each(|bound| own.add(bound));
        own
    }

    #[test]
    fn every_forged_source_has_its_refusal() {
        let own = own(&["192.0.2.1:7777", "0.0.0.0:8888", "[::]:9999"].map(udp));
        let bound = udp("192.0.2.1:7777");
        for (source, local, hops, due) in [
            ("192.0.2.9:40000", None, Some(64), Ok(())),
            ("192.0.2.9:40000", None, None, Ok(())),
            ("192.0.2.9:40000", None, Some(2), Ok(())),
            ("192.0.2.9:40000", None, Some(1), Err(Refusal::Loop)),
            ("192.0.2.9:40000", None, Some(0), Err(Refusal::Loop)),
            ("192.0.2.9:0", None, None, Err(Refusal::PortZero)),
            ("[2001:db8::1]:0", None, None, Err(Refusal::PortZero)),
            ("0.0.0.0:40000", None, None, Err(Refusal::Unspecified)),
            ("0.1.2.3:40000", None, None, Err(Refusal::Unspecified)),
            ("[::]:40000", None, None, Err(Refusal::Unspecified)),
            ("255.255.255.255:40000", None, None, Err(Refusal::Broadcast)),
            ("240.0.0.1:40000", None, None, Err(Refusal::Broadcast)),
            ("224.0.0.1:40000", None, None, Err(Refusal::Multicast)),
            ("239.255.255.255:40000", None, None, Err(Refusal::Multicast)),
            ("[ff02::1]:40000", None, None, Err(Refusal::Multicast)),
            ("192.0.2.1:7777", None, None, Err(Refusal::Ourselves)),
            ("192.0.2.2:7777", None, None, Ok(())),
            ("127.0.0.1:8888", None, None, Err(Refusal::Ourselves)),
            ("127.0.0.1:8889", None, None, Ok(())),
            (
                "192.0.2.7:8888",
                Some("192.0.2.7"),
                None,
                Err(Refusal::Ourselves),
            ),
            ("192.0.2.7:8888", Some("192.0.2.8"), None, Ok(())),
            ("192.0.2.200:8888", None, None, Err(Refusal::Ourselves)),
            ("192.0.2.200:8889", None, None, Ok(())),
            // No socket of ours has that address: ours is bound to another one.
            ("192.0.2.200:7777", None, None, Ok(())),
            ("[::1]:9999", None, None, Err(Refusal::Ourselves)),
            ("[::1]:8888", None, None, Ok(())),
            (
                "[2001:db8::1]:9999",
                Some("2001:db8::1"),
                None,
                Err(Refusal::Ourselves),
            ),
        ] {
            assert_eq!(
                judge(&path(source, local, hops), &bound, &own, is_local),
                due,
                "{source} to {local:?} with {hops:?}"
            );
        }
    }

    #[test]
    fn a_unix_peer_is_refused_if_it_has_no_name_or_one_of_ours() {
        let unix = |name: &str| Address::Unixgram(name.into());
        let own = own(&[unix("/tmp/echo"), unix("@echo"), unix("echo")]);
        for (name, due) in [
            ("", Err(Refusal::Unnamed)),
            ("/tmp/echo", Err(Refusal::Ourselves)),
            ("\0echo", Err(Refusal::Ourselves)),
            ("echo", Err(Refusal::Ourselves)),
            ("/tmp/echo2", Ok(())),
            ("/tmp/ech", Ok(())),
            ("@echo", Ok(())),
            ("\0", Ok(())),
            // It may resolve to us. If so, the answer comes back to us with the name "echo".
            ("./echo", Ok(())),
        ] {
            let path = Path::plain(Peer::Unix(name.as_bytes().into()));
            assert_eq!(
                judge(&path, &unix("/tmp/echo"), &own, is_local),
                due,
                "{name:?}"
            );
        }
    }

    #[test]
    fn what_is_sent_to_all_is_answered_only_by_a_socket_that_is_bound_to_that_address() {
        for (bound, to_group, due) in [
            ("0.0.0.0:7", true, Err(Refusal::ToGroup)),
            ("[::]:7", true, Err(Refusal::ToGroup)),
            ("0.0.0.0:7", false, Ok(())),
            ("239.1.2.3:7", true, Ok(())),
            ("[ff02::7]:7", true, Ok(())),
            ("10.9.0.255:7", true, Ok(())),
        ] {
            let path = Path {
                to_group,
                ..path("192.0.2.9:40000", None, Some(64))
            };
            assert_eq!(
                judge(&path, &udp(bound), &Own::default(), is_local),
                due,
                "{bound}"
            );
        }
    }

    #[test]
    fn every_service_port_is_refused_and_its_neighbours_are_not() {
        assert!(
            SERVICE_PORTS.is_sorted_by(|a, b| a.0 < b.0),
            "the search needs an order"
        );
        for port in 1..=u16::MAX {
            let due = if SERVICE_PORTS.iter().any(|(other, _)| *other == port) {
                Err(Refusal::ServicePort)
            } else {
                Ok(())
            };
            let path = path(&format!("192.0.2.9:{port}"), None, None);
            let verdict = judge(&path, &udp("192.0.2.1:7777"), &Own::default(), is_local);
            assert_eq!(verdict, due, "port {port}");
        }
    }
}
