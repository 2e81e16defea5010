//! The simulated datagram sockets: what stands in them, and what left them, in messages as unfriendly as a kernel's.

use std::collections::VecDeque;
use std::io;

use super::{Selector, SimNet};
use crate::net::{BURST, Burst, Part, SLOT, Transmit};
use crate::values::path::Path;
use crate::values::peer::Peer;
use crate::values::token::Token;

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) token: Token,
    pub(super) is_open: bool,
    pub(super) per_peer: bool,
    pub(super) inbound: VecDeque<(Peer, Vec<u8>)>,
    pub(super) sent: Vec<(Peer, Vec<u8>)>,
    pub(super) messages: usize,
    pub(super) stuck: Vec<Peer>,
    pub(super) is_full: bool,
    pub(super) read_armed: bool,
}

impl SimNet {
    pub(super) fn receive_burst(&mut self, number: usize, burst: &mut Burst) -> io::Result<()> {
        self.fault(&[
            libc::EINTR,
            libc::ECONNREFUSED,
            libc::ENOMEM,
            libc::EHOSTUNREACH,
            9999,
        ])?;
        let socket = &mut self.sockets[number];
        if socket.inbound.is_empty() {
            socket.read_armed = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // As a kernel that coalesces: what stands together of one sender and one size may come as one message.
        let slots = 1 + self.dice.below(BURST);
        burst.begin();
        for slot in 0..slots {
            let Some((peer, first)) = socket.inbound.pop_front() else {
                break;
            };
            let (at, segment) = (slot * SLOT, first.len());
            let mut bytes = first;
            while segment > 0
                && bytes.len() % segment == 0
                && bytes.len() < 8 * segment
                && self.dice.once_in(2)
            {
                match socket.inbound.front() {
                    Some((other, next))
                        if *other == peer
                            && (1..=segment).contains(&next.len())
                            && bytes.len() + next.len() <= SLOT =>
                    {
                        bytes.extend(next)
                    }
                    _ => break,
                }
                socket.inbound.pop_front();
            }
            let size = bytes.len().min(SLOT);
            burst.buffer_mut()[at..at + size].copy_from_slice(&bytes[..size]);
            burst.parts.push(Part {
                path: Path::plain(peer),
                at,
                size,
                segment: segment.max(1),
                is_cut: bytes.len() > SLOT,
            });
        }
        burst.is_short = burst.parts.len() < slots && socket.inbound.is_empty();
        if burst.is_short && self.rules.selector == Selector::Edge {
            socket.read_armed = true;
        }
        let count = burst.parts.len();
        self.note(8, count);
        Ok(())
    }

    pub(super) fn send_messages(
        &mut self,
        number: usize,
        messages: &[Transmit<'_>],
    ) -> io::Result<usize> {
        self.fault(&[
            libc::EIO,
            libc::EINVAL,
            libc::EPERM,
            libc::ENOBUFS,
            libc::EMSGSIZE,
            libc::ENETUNREACH,
            9999,
        ])?;
        let fills_up = self.dice.once_in(10);
        let socket = &mut self.sockets[number];
        socket.is_full |= fills_up && !socket.per_peer;
        let most = 1 + self.dice.below(messages.len());
        let mut sent = 0;
        for Transmit {
            path,
            pieces,
            segment,
        } in messages.iter().take(most)
        {
            if segment.is_some_and(|segment| usize::from(segment) > self.rules.segment) {
                let code = if self.rules.segment == 0 {
                    libc::EIO
                } else {
                    libc::EINVAL
                };
                if sent == 0 {
                    return Err(io::Error::from_raw_os_error(code));
                }
                break;
            }
            if socket.is_full || socket.stuck.contains(&path.peer) {
                break;
            }
            let bytes = pieces
                .iter()
                .map(|piece| &**piece)
                .collect::<Vec<_>>()
                .concat();
            match segment {
                Some(segment) => socket.sent.extend(
                    bytes
                        .chunks((*segment).into())
                        .map(|one| (path.peer.clone(), one.to_vec())),
                ),
                None => socket.sent.push((path.peer.clone(), bytes)),
            }
            sent += 1;
        }
        socket.messages += sent;
        self.note(9, sent);
        if sent == 0 {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(sent)
        }
    }
}
