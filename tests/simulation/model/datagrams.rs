//! The datagram sockets of the simulated server, and what their peers may expect.

use mynah::net::sim::SimNet;
use mynah::values::path::Path;
use mynah::{Address, Dice, Peer, Stats};

use super::services::MAGIC;

/// An echo over UDP, on all addresses.
pub(crate) const PLAIN: usize = 0;
/// An echo over Unix datagrams.
pub(crate) const UNIX: usize = 1;
/// An echo that may panic, over UDP, bound to a group.
pub(crate) const GROUP: usize = 2;

/// Peers of each socket. Each of their datagrams begins with a running number.
const PEERS: usize = 5;

/// What was delivered to each socket.
#[derive(Debug, Default)]
pub(crate) struct Datagrams([u32; 3]);

/// The address of a socket.
pub(crate) fn address(socket: usize) -> Address {
    match socket {
        PLAIN => Address::Udp("0.0.0.0:7".parse().unwrap()),
        UNIX => Address::Unixgram("/sim".into()),
        _ => Address::Udp("239.1.2.3:7".parse().unwrap()),
    }
}

/// Another name of the Unix socket, which only the file system knows to be the same.
pub(crate) fn alias() -> Peer {
    Peer::Unix(Box::from(&b"/alias"[..]))
}

/// A peer that the server answers.
pub(crate) fn peer(socket: usize, index: usize) -> Peer {
    match socket {
        UNIX => Peer::Unix(format!("/peer/{index}").into_bytes().into()),
        _ => Peer::V4([127, 0, 0, 1].into(), 5000 + index as u16),
    }
}

/// A peer that asks a whole group, and that a socket outside the group must not answer.
fn group_asker() -> Peer {
    Peer::V4([192, 0, 2, 1].into(), 6000)
}

/// A peer that the server must never answer.
fn forged(socket: usize) -> Peer {
    match socket {
        UNIX => Peer::unnamed(),
        _ => Peer::V4([192, 0, 2, 53].into(), 53),
    }
}

/// Datagrams that were received and neither answered nor given up.
pub(crate) fn unanswered(stats: &Stats) -> u64 {
    stats.datagrams_in
        - stats.datagrams_out
        - stats.datagrams_refused
        - stats.datagrams_overflowed
        - stats.datagrams_cut
        - stats.unanswered.total()
}

impl Datagrams {
    /// A peer sends some datagrams of one size. They may arrive as one message and leave as one.
    pub(crate) fn send(&mut self, net: &mut SimNet, dice: &mut Dice) {
        let socket = dice.below(3);
        let mut path = Path::plain(peer(socket, dice.below(PEERS)));
        match dice.below(16) {
            0 => path.peer = forged(socket),
            1 if socket != UNIX => {
                path.peer = group_asker();
                path.to_group = true;
            }
            2 if socket == UNIX => {
                path.peer = [alias(), Peer::Unix(Box::from(&b"/sim"[..]))][dice.below(2)].clone();
            }
            _ => {}
        }
        let size = [5, 100, 100, 5 + dice.below(60_000)][dice.below(4)];
        let is_flood = size <= 100 && dice.once_in(4);
        for _ in 0..1 + dice.below(if is_flood { 600 } else { 5 }) {
            self.0[socket] += 1;
            let mut bytes = self.0[socket].to_be_bytes().to_vec();
            bytes.resize(size, 0);
            net.deliver(socket, path.clone(), bytes);
        }
        if socket == GROUP && dice.once_in(4) {
            self.0[socket] += 1;
            net.deliver(socket, path, vec![0, 0, 0, 0, MAGIC]);
        }
    }

    /// A Unix peer stops reading, or begins again.
    pub(crate) fn stall(&mut self, net: &mut SimNet, dice: &mut Dice) {
        let peer = peer(UNIX, dice.below(PEERS));
        net.set_stuck(UNIX, &peer, dice.once_in(2));
    }

    /// Every peer reads.
    pub(crate) fn calm(&mut self, net: &mut SimNet) {
        (0..PEERS).for_each(|index| net.set_stuck(UNIX, &peer(UNIX, index), false));
    }

    /// Whether the server has received everything and answered it, or counted why not.
    pub(crate) fn are_settled(&self, net: &SimNet, stats: &Stats) -> bool {
        let delivered = u64::from(self.0.iter().sum::<u32>()) + net.looped() as u64;
        let is_taken = (0..self.0.len()).all(|socket| net.unread(socket) == 0);
        is_taken && stats.datagrams_in == delivered && unanswered(stats) == 0
    }

    /// Replies went to peers that may have them, and in order for each peer.
    pub(crate) fn check_replies(&self, net: &SimNet) {
        for socket in 0..self.0.len() {
            let mut last = [0; PEERS];
            for (to, bytes) in net.datagrams_sent(socket) {
                assert_ne!(
                    *to,
                    forged(socket),
                    "socket {socket} answered a forged peer"
                );
                if *to == group_asker() {
                    assert_eq!(socket, GROUP, "answered what was sent to another group");
                    continue;
                }
                let number = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                let index = (0..PEERS).find(|index| peer(socket, *index) == *to);
                let last = &mut last[index.expect("a reply to one of the peers")];
                assert!(
                    *last < number,
                    "socket {socket}: {to} got datagram {number} after {last}"
                );
                *last = number;
            }
        }
    }
}
