//! How many answers a peer gets in a second.
//!
//! Owns the counts of the current second. Its memory must never grow with the number of peers.
//!
//! Tests: below.

use std::hash::{BuildHasher, RandomState};

use log::warn;

use crate::values::limits::Limits;
use crate::values::peer::Peer;
use crate::values::time::Time;

/// How many answers each source has had in this second.
///
/// The table has a fixed size, however many sources are forged. Sources that fall on one slot share
/// its answers, so no source ever gets more than its cap, and nobody can know beforehand which
/// sources share.
#[derive(Debug)]
pub(crate) struct Rate {
    /// The most for a UDP source: an IPv4 address, or the /64 network of an IPv6 address, because
    /// one host owns all of that.
    udp: Option<u32>,
    /// The most for a Unix peer.
    unix: Option<u32>,
    /// The second that is being counted.
    second: u64,
    answers: Box<[u32]>,
    /// Whether the log says that a Unix peer met its cap.
    has_warned: bool,
    hasher: RandomState,
}

/// Slots of that table: 64 KiB.
const SLOTS: usize = 16 * 1024;

impl Rate {
    pub(crate) fn new(limits: &Limits) -> Rate {
        Rate {
            udp: limits.udp_rate,
            unix: limits.unixgram_rate,
            second: 0,
            answers: vec![0; SLOTS].into(),
            has_warned: false,
            hasher: RandomState::new(),
        }
    }

    /// Whether one more answer to `peer` is within its cap. If so, counts it.
    #[inline]
    pub(crate) fn allows(&mut self, peer: &Peer, now: Time) -> bool {
        let most = match peer {
            Peer::V4(..) | Peer::V6(..) => self.udp,
            Peer::Unix(_) => self.unix,
        };
        most.is_none_or(|most| self.takes_one_of(most, peer, now))
    }

    #[inline(never)]
    fn takes_one_of(&mut self, most: u32, peer: &Peer, now: Time) -> bool {
        let second = (now - Time::ZERO).as_secs();
        if std::mem::replace(&mut self.second, second) != second {
            self.answers.fill(0);
        }
        let slot = match peer {
            Peer::V4(ip, _) => self.hasher.hash_one(ip.octets()),
            Peer::V6(ip, ..) => self.hasher.hash_one(&ip.octets()[..8]),
            Peer::Unix(name) => self.hasher.hash_one(name),
        };
        let answers = &mut self.answers[slot as usize % SLOTS];
        let is_within = *answers < most;
        *answers += u32::from(is_within);
        if !is_within && matches!(peer, Peer::Unix(_)) && !self.has_warned {
            self.has_warned = true;
            warn!(
                "{peer}: has had {most} answers in this second, and gets no more; if it is not \
                 another server, raise --unixgram-rate"
            );
        }
        is_within
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rate(udp_rate: Option<u32>, unixgram_rate: Option<u32>) -> Rate {
        Rate::new(&Limits {
            udp_rate,
            unixgram_rate,
            ..Limits::default()
        })
    }

    #[test]
    fn no_source_gets_more_than_its_share_of_a_second_however_many_there_are() {
        let mut rate = rate(Some(3), Some(2));
        let now = Time::ZERO + Duration::from_secs(100);
        let peer = |ip: u32| Peer::V4(ip.into(), 40_000);
        for forged in 0..100_000 {
            rate.allows(&peer(forged), now);
        }
        let mut count = |peer: &Peer, now| (0..10).filter(|_| rate.allows(peer, now)).count();
        assert!(count(&peer(1 << 30), now) <= 3);
        let now = now + Duration::from_secs(1);
        assert_eq!(count(&peer(1 << 30), now), 3);
        let now = now + Duration::from_secs(1);
        assert_eq!(count(&Peer::Unix((*b"/tmp/a").into()), now), 2);
        let v6 = |host: u128| Peer::V6((0x2001_0db8_u128 << 96 | host).into(), 1, 0);
        let now = now + Duration::from_secs(1);
        let answers = (0..10).filter(|host| rate.allows(&v6(*host), now));
        assert_eq!(answers.count(), 3, "one network, one source");
    }

    #[test]
    fn no_cap_is_no_cap() {
        let mut rate = rate(None, None);
        for peer in [Peer::V4([192, 0, 2, 1].into(), 1), Peer::unnamed()] {
            assert!((0..10).all(|_| rate.allows(&peer, Time::ZERO)));
        }
    }
}
