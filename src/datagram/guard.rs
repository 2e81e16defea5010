//! Who is not answered, and why.
//!
//! A datagram says where it comes from, and anybody can write anything there. A server that believes it is a weapon: it can be made to shout at a third
//! party, at another server that shouts back, or at itself. Owns the rules that keep ours from that; `judge` is a pure function, and each
//! refusal has a counter of its own. Must never refuse who merely is unusual: an honest client sends from a port of its own choice.
//!
//! What the rules cannot stop: a loop with a server that answers from a port that is in no table *and* sends each answer with a fresh hop limit; and a sender that
//! names a victim as its source costs the victim as many bytes as it costs the sender, unless `--udp-rate` caps that.
//!
//! Tests: below; `tests/guards.rs` forges packets of every kind.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use crate::values::path::Path;
use crate::values::peer::Peer;
use crate::values::refusal::Refusal;
use crate::values::time::Time;

/// Ports of UDP services that answer what they are sent, so that each of them and we could shout at each other for ever, and that no client
/// sends from. In order, for the search.
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
    (
        123,
        "ntp: answers errors with errors (CVE-2009-3563, CVE-2024-2169)",
    ),
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

/// Whether what came on this path may be answered at all, on a machine where we are bound to `own`.
pub(crate) fn judge(path: &Path, own: &[SocketAddr]) -> Result<(), Refusal> {
    let Some(source) = path.peer.socket_addr() else {
        return if path.peer == Peer::unnamed() {
            Err(Refusal::Unnamed)
        } else {
            Ok(())
        };
    };
    match source.ip() {
        _ if source.port() == 0 => Err(Refusal::PortZero),
        _ if SERVICE_PORTS
            .binary_search_by_key(&source.port(), |(port, _)| *port)
            .is_ok() =>
        {
            Err(Refusal::ServicePort)
        }
        // All of 0.0.0.0/8 is "this host" (RFC 1122, 3.2.1.3), and all of 240.0.0.0/4 is nobody's but the last, which is everybody's.
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Err(Refusal::Unspecified),
        IpAddr::V4(ip) if ip.octets()[0] >= 240 => Err(Refusal::Broadcast),
        IpAddr::V6(ip) if ip.is_unspecified() => Err(Refusal::Unspecified),
        ip if ip.is_multicast() => Err(Refusal::Multicast),
        ip if own
            .iter()
            .any(|own| own.port() == source.port() && is_ours(own.ip(), ip, path.local)) =>
        {
            Err(Refusal::Ourselves)
        }
        // One hop less than it came with: a loop between two of us ends within 255 bounces, and a client that sends with 64, as systems do, is answered
        // as far as 31 hops away.
        _ if path.hops.is_some_and(|hops| hops <= 1) => Err(Refusal::Loop),
        _ => Ok(()),
    }
}

/// Whether `ip` is the address that we are bound to; where that stands for all, whether it is the one that was asked, or one that is always ours.
fn is_ours(own: IpAddr, ip: IpAddr, asked: Option<IpAddr>) -> bool {
    own == ip
        || own.is_unspecified()
            && own.is_ipv4() == ip.is_ipv4()
            && (ip.is_loopback() || Some(ip) == asked)
}

/// How many answers each source has had in this second.
///
/// A table of a fixed size, however many sources are forged: those that fall on one slot share its answers, so that nobody ever gets more than the cap, and
/// nobody can tell beforehand with whom he shares.
#[derive(Debug)]
pub(crate) struct Rate {
    most: u32,
    /// The second that the counts are of.
    second: u64,
    answers: Box<[u32]>,
    hasher: RandomState,
}

/// Slots of that table: 64 KiB.
const SLOTS: usize = 16 * 1024;

impl Rate {
    /// At most so many answers a second to each source: an IPv4 address, or the /64 network of an IPv6 address, which one host owns whole.
    pub(crate) fn new(most: u32) -> Rate {
        Rate {
            most,
            second: 0,
            answers: vec![0; SLOTS].into(),
            hasher: RandomState::new(),
        }
    }

    /// Whether one more answer to `peer` is within the cap, and counts it if so.
    pub(crate) fn allows(&mut self, peer: &Peer, now: Time) -> bool {
        let second = (now - Time::ZERO).as_secs();
        if std::mem::replace(&mut self.second, second) != second {
            self.answers.fill(0);
        }
        let slot = match peer {
            Peer::V4(ip, _) => self.hasher.hash_one(ip.octets()),
            Peer::V6(ip, ..) => self.hasher.hash_one(&ip.octets()[..8]),
            Peer::Unix(_) => return true,
        };
        let answers = &mut self.answers[slot as usize % SLOTS];
        let is_within = *answers < self.most;
        *answers += u32::from(is_within);
        is_within
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn every_forged_source_has_its_refusal() {
        let own: Vec<SocketAddr> = ["192.0.2.1:7777", "0.0.0.0:8888", "[::]:9999"]
            .map(|own| own.parse().unwrap())
            .into();
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
                judge(&path(source, local, hops), &own),
                due,
                "{source} to {local:?} with {hops:?}"
            );
        }
        assert_eq!(
            judge(&Path::plain(Peer::unnamed()), &own),
            Err(Refusal::Unnamed)
        );
        assert_eq!(
            judge(&Path::plain(Peer::Unix((*b"/tmp/a").into())), &own),
            Ok(())
        );
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
            assert_eq!(
                judge(&path(&format!("192.0.2.9:{port}"), None, None), &[]),
                due,
                "port {port}"
            );
        }
    }

    #[test]
    fn no_source_gets_more_than_its_share_of_a_second_however_many_there_are() {
        let (mut rate, now) = (Rate::new(3), Time::ZERO + Duration::from_secs(100));
        let peer = |ip: u32| Peer::V4(ip.into(), 40_000);
        for forged in 0..100_000 {
            rate.allows(&peer(forged), now);
        }
        let answers = (0..10).filter(|_| rate.allows(&peer(1 << 30), now)).count();
        assert!(answers <= 3, "{answers}");
        let now = now + Duration::from_secs(1);
        assert_eq!(
            (0..10).filter(|_| rate.allows(&peer(1 << 30), now)).count(),
            3
        );
        let v6 = |host: u128| Peer::V6((0x2001_0db8_u128 << 96 | host).into(), 1, 0);
        assert_eq!(
            (0..10)
                .filter(|host| rate.allows(&v6(*host), now + Duration::from_secs(1)))
                .count(),
            3,
            "one network, one source"
        );
        assert!((0..10).all(|_| rate.allows(&Peer::unnamed(), now)));
    }
}
