//! The way of a service to who sent it a datagram.
//!
//! Owns the last word on whether an answer goes: the verdict on its peer, its length, the cap of its source. Must never send: what was said to a
//! burst is sent together.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::queue::charge;
use crate::datagram::guard::Rate;
use crate::datagram::replies::Replies;
use crate::net::Net;
use crate::service::Wire;
use crate::values::endpoint::Address;
use crate::values::limits::DATAGRAM_QUEUE;
use crate::values::peer::Peer;
use crate::values::refusal::Refusal;
use crate::values::stats::Stats;
use crate::values::time::Time;

/// A service's way to the replies of one burst.
pub(super) struct DatagramWire<'a, N: Net> {
    pub(super) net: &'a mut N,
    pub(super) stats: &'a mut Stats,
    pub(super) replies: &'a mut Replies,
    /// The buffer that was received into.
    pub(super) burst: &'a [u8],
    /// The part that is answered, and who sent it.
    pub(super) part: usize,
    pub(super) peer: &'a Peer,
    /// The address of the socket, and that which was asked, where it is known; none for who speaks unasked.
    pub(super) local: Option<(&'a Address, Option<IpAddr>)>,
    /// What waits already.
    pub(super) queued: usize,
    /// Whether an answer may go.
    pub(super) verdict: Result<(), Refusal>,
    /// How long it may be.
    pub(super) longest: Option<usize>,
    pub(super) rate: Option<&'a mut Rate>,
    pub(super) now: Time,
    /// A client's alone: nothing calls the service of a server unasked.
    pub(super) alarm: Option<&'a mut Time>,
    pub(super) may_send: Allowance,
}

/// How many datagrams a service may send in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// Its answer was sent.
    None,
    /// The one answer to what came.
    One,
    /// A client speaks as it likes.
    Any,
}

impl<N: Net> DatagramWire<'_, N> {
    fn judge(&mut self, pieces: &[IoSlice<'_>]) -> Result<(), Refusal> {
        self.verdict?;
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.longest.is_some_and(|longest| size > longest) {
            return Err(Refusal::Longer);
        }
        let is_within = self
            .rate
            .as_mut()
            .is_none_or(|rate| rate.allows(self.peer, self.now));
        if is_within {
            Ok(())
        } else {
            Err(Refusal::Rate)
        }
    }
}

impl<N: Net> Wire for DatagramWire<'_, N> {
    fn send(&mut self, bytes: &[u8]) {
        self.send_vectored(&[IoSlice::new(bytes)]);
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) {
        debug_assert!(
            self.may_send != Allowance::None,
            "a service answered one datagram twice"
        );
        match self.may_send {
            Allowance::None => return,
            Allowance::One => self.may_send = Allowance::None,
            Allowance::Any => {}
        }
        match self.judge(pieces) {
            Ok(()) => self.replies.push(self.part, pieces, self.burst),
            Err(refusal) => self.stats.unanswered.count(refusal),
        }
    }

    /// The longest payload of UDP over IPv4, or what can still be kept for certain.
    fn room(&self) -> usize {
        let (bytes, count) = self.replies.size();
        DATAGRAM_QUEUE
            .saturating_sub(self.queued + bytes + count * charge(0))
            .min(65_507)
    }

    fn hold_input(&mut self, _is_held: bool) {}

    fn local(&self) -> Option<Peer> {
        let (address, asked) = self.local?;
        Some(match (address, asked) {
            (Address::Udp(bound), Some(asked)) => SocketAddr::new(asked, bound.port()).into(),
            _ => address.as_peer(),
        })
    }

    fn clock(&mut self) -> Time {
        self.net.now()
    }

    fn wall_clock(&mut self) -> Duration {
        self.net.wall_clock()
    }

    fn set_alarm(&mut self, at: Time) {
        if let Some(alarm) = &mut self.alarm {
            **alarm = at;
        }
    }
}
