//! The way of a service to the peer of a datagram.
//!
//! Owns the last word on whether an answer goes: the verdict on its peer, its length, the rate of
//! its source. Must never send: the replies to a burst are sent together.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use log::warn;

use super::queue::charge;
use super::rate::Rate;
use super::replies::Replies;
use crate::net::Net;
use crate::service::Transport;
use crate::values::endpoint::Address;
use crate::values::limits::DATAGRAM_QUEUE;
use crate::values::notice::Notice;
use crate::values::peer::Peer;
use crate::values::refusal::Refusal;
use crate::values::stats::Stats;
use crate::values::time::Time;

/// A service's way to the replies of one burst.
pub(super) struct DatagramTransport<'a, N: Net> {
    pub(super) net: &'a mut N,
    pub(super) stats: &'a mut Stats,
    pub(super) replies: &'a mut Replies,
    /// The buffer that holds the burst.
    pub(super) burst: &'a [u8],
    /// The part that is being answered, and its peer.
    pub(super) part: usize,
    pub(super) peer: &'a Peer,
    /// The address of the socket, and the address that was asked, if the system told it. `None` if
    /// the service speaks unasked.
    pub(super) local: Option<(&'a Address, Option<IpAddr>)>,
    /// What already waits in the queue.
    pub(super) queued: usize,
    pub(super) now: Time,
    /// How long the datagram lay in the socket, where that was told.
    pub(super) unread: Option<Duration>,
    pub(super) rights: Rights<'a>,
}

/// What a service may say in one call.
pub(super) enum Rights<'a> {
    /// In the server role: one answer to one datagram, by the rules of the guard.
    One {
        /// Why the peer gets none.
        refusal: Option<Refusal>,
        may_amplify: bool,
        /// How long the answer may be: see [`Rights::renew`].
        longest: Option<usize>,
        rate: &'a mut Rate,
        /// Answers that were not sent because they were too long.
        longer: &'a mut Notice,
    },
    /// In the client role: as much as it likes, and it may set its alarm.
    Any { alarm: &'a mut Time },
}

impl Rights<'_> {
    /// The service is about to get a datagram of `size` bytes, and may answer it.
    pub(super) fn renew(&mut self, size: usize) {
        if let Rights::One {
            may_amplify,
            longest,
            ..
        } = self
        {
            *longest = Some(if *may_amplify { usize::MAX } else { size });
        }
    }

    /// Whether a datagram of `size` bytes may go to `peer`. `None`: it is a second answer.
    #[inline]
    fn judge(&mut self, size: usize, peer: &Peer, now: Time) -> Option<Result<(), Refusal>> {
        let Rights::One {
            refusal,
            longest,
            rate,
            ..
        } = self
        else {
            return Some(Ok(()));
        };
        debug_assert!(longest.is_some(), "a service answered one datagram twice");
        let longest = longest.take()?;
        Some(match *refusal {
            Some(refusal) => Err(refusal),
            None if size > longest => Err(Refusal::Longer),
            None if !rate.allows(peer, now) => Err(Refusal::Rate),
            None => Ok(()),
        })
    }
}

/// The longest payload of UDP over IPv4, in bytes.
const LONGEST: usize = 65_507;

impl<N: Net> DatagramTransport<'_, N> {
    #[inline]
    fn say(&mut self, pieces: &[IoSlice<'_>]) {
        let size = pieces.iter().map(|piece| piece.len()).sum();
        match self.rights.judge(size, self.peer, self.now) {
            Some(Ok(())) => {
                let is_kept = self.replies.push(self.part, pieces, self.burst);
                self.stats.datagrams_overflowed += u64::from(!is_kept);
            }
            Some(Err(refusal)) => self.refuse(refusal),
            None => {}
        }
    }

    #[cold]
    fn refuse(&mut self, refusal: Refusal) {
        self.stats.unanswered.count(refusal);
        if let (Refusal::Longer, Rights::One { longer, .. }) = (refusal, &mut self.rights) {
            if let (Some(unsaid), Some((address, _))) = (longer.happened(self.now), self.local) {
                warn!(
                    "{address}: {}: an answer was longer than its datagram, and was not sent; \
                     --allow-amplification sends it{unsaid}",
                    self.peer
                );
            }
        }
    }
}

impl<N: Net> Transport for DatagramTransport<'_, N> {
    fn send(&mut self, bytes: &[u8]) {
        self.say(&[IoSlice::new(bytes)]);
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) {
        self.say(pieces);
    }

    /// The longest payload of UDP over IPv4. A client is held back by what waits already; an answer
    /// is not, because the queue may be full of replies to a peer that does not read them.
    fn room(&self) -> usize {
        if let Rights::One { .. } = self.rights {
            return LONGEST;
        }
        let (bytes, count) = self.replies.size();
        DATAGRAM_QUEUE
            .saturating_sub(self.queued + bytes + count * charge(0))
            .min(LONGEST)
    }

    fn hold_input(&mut self, _is_held: bool) {}

    fn local(&self) -> Option<Peer> {
        let (address, asked) = self.local?;
        Some(match (address, asked) {
            (Address::Udp(bound), Some(asked)) => SocketAddr::new(asked, bound.port()).into(),
            _ => address.as_peer(),
        })
    }

    fn waited_unread(&self) -> Option<Duration> {
        self.unread
    }

    fn clock(&mut self) -> Time {
        self.net.now()
    }

    fn wall_clock(&mut self) -> Duration {
        self.net.wall_clock()
    }

    fn set_alarm(&mut self, at: Time) {
        if let Rights::Any { alarm } = &mut self.rights {
            **alarm = at;
        }
    }
}
