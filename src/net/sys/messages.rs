//! Many datagrams a call, with what Linux knows of each.
//!
//! Owns `recvmmsg` and `sendmmsg`.
//!
//! Why by hand. quinn-udp sends one message a call, tells no hop limit, and has no counter of what
//! the kernel dropped. nix's `recvmmsg` does not set the length of the control buffer again, so
//! after one message without control data it hears of none any more (0.31), and its `sendmmsg` has
//! one set of control messages for all. rustix has neither call. socket2 knows single messages
//! without control data.
//!
//! Tests: `tests/datagrams.rs`, `tests/unix_datagrams.rs`, `tests/kernel_facts.rs`.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;
use std::{ptr, slice};

use libc::{iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6};

use super::control::{self, Control};
use crate::net::burst::{BURST, Burst, Part, SLOT, Transmit};
use crate::values::path::Path;
use crate::values::peer::Peer;

/// Room for an address that is received, of any kind.
type AnyName = libc::sockaddr_storage;

/// Room for an address that is sent to, of either kind of IP.
type IpName = sockaddr_in6;

/// Bytes before the address in every socket address: the family.
const FAMILY: usize = mem::size_of::<libc::sa_family_t>();

/// Receives UDP datagrams: all there are, up to a burst.
pub(crate) fn receive(socket: RawFd, burst: &mut Burst) -> io::Result<()> {
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BURST];
    receive_with(socket, burst, Some(&mut controls))
}

/// Receives Unix datagrams: all there are, up to a burst. There is no room for control messages,
/// so the kernel closes the descriptors that a peer sends along; otherwise each would be ours.
pub(crate) fn receive_unix(socket: RawFd, burst: &mut Burst) -> io::Result<()> {
    receive_with(socket, burst, None)
}

fn receive_with(
    socket: RawFd,
    burst: &mut Burst,
    mut controls: Option<&mut [MaybeUninit<Control>; BURST]>,
) -> io::Result<()> {
    let mut names = [const { MaybeUninit::<AnyName>::uninit() }; BURST];
    burst.begin()?;
    // SAFETY: all of these are plain C structures, for which zero is a value.
    let (mut slots, mut headers) = unsafe { mem::zeroed::<([iovec; BURST], [mmsghdr; BURST])>() };
    for (index, slot) in burst.buffer_mut().chunks_exact_mut(SLOT).enumerate() {
        slots[index] = iovec {
            iov_base: slot.as_mut_ptr().cast(),
            iov_len: SLOT,
        };
        let header = &mut headers[index].msg_hdr;
        header.msg_name = names[index].as_mut_ptr().cast();
        header.msg_namelen = mem::size_of::<AnyName>() as libc::socklen_t;
        header.msg_iov = &raw mut slots[index];
        header.msg_iovlen = 1;
        if let Some(controls) = &mut controls {
            header.msg_control = controls[index].as_mut_ptr().cast();
            header.msg_controllen = mem::size_of::<Control>() as _;
        }
    }
    // SAFETY: every header names a slot, an address and, if there are any, a control buffer of its
    // own, with their sizes, and all of them outlive the call.
    let count = unsafe {
        libc::recvmmsg(
            socket,
            headers.as_mut_ptr(),
            BURST as _,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let Ok(count) = usize::try_from(count) else {
        return Err(io::Error::last_os_error());
    };
    burst.is_short = count < BURST;
    for (index, message) in headers[..count].iter().enumerate() {
        let header = &message.msg_hdr;
        let size = message.msg_len as usize;
        // SAFETY: the kernel has written an address of `msg_namelen` bytes there.
        let peer = unsafe { peer(header) };
        let mut part = Part {
            path: Path::plain(peer),
            at: index * SLOT,
            size,
            segment: size.max(1),
            is_cut: header.msg_flags & libc::MSG_TRUNC != 0,
            unread: None,
        };
        // SAFETY: the kernel has written control messages of `msg_controllen` bytes there.
        unsafe { control::read(header, &mut part, &mut burst.dropped) };
        burst.parts.push(part);
    }
    Ok(())
}

/// The address in a header.
///
/// # Safety
///
/// `msg_name` points to `msg_namelen` bytes that hold a socket address, in memory of an
/// [`AnyName`].
unsafe fn peer(header: &msghdr) -> Peer {
    // A Unix socket without a name sends no address at all.
    let size = (header.msg_namelen as usize).min(mem::size_of::<AnyName>());
    if size < FAMILY {
        return Peer::unnamed();
    }
    // SAFETY: as above; the size is known before the family is read, and the family before
    // anything that depends on it.
    unsafe {
        match (
            size,
            (*header.msg_name.cast::<libc::sockaddr>()).sa_family.into(),
        ) {
            (16.., libc::AF_INET) => {
                let name = &*header.msg_name.cast::<sockaddr_in>();
                Peer::V4(
                    Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr)),
                    u16::from_be(name.sin_port),
                )
            }
            (28.., libc::AF_INET6) => {
                let name = &*header.msg_name.cast::<sockaddr_in6>();
                Peer::V6(
                    Ipv6Addr::from(name.sin6_addr.s6_addr),
                    u16::from_be(name.sin6_port),
                    name.sin6_scope_id,
                )
            }
            (_, libc::AF_UNIX) => {
                let path = header.msg_name.cast::<u8>().byte_add(FAMILY);
                unix_peer(slice::from_raw_parts(path, size - FAMILY))
            }
            _ => Peer::unnamed(),
        }
    }
}

/// The peer of this `sun_path`: a path ends at a zero byte, and a name that begins with one is
/// abstract and every byte of it counts.
fn unix_peer(name: &[u8]) -> Peer {
    match name {
        [0, _, ..] => Peer::Unix(name.into()),
        _ => Peer::Unix(
            name.split(|byte| *byte == 0)
                .next()
                .unwrap_or_default()
                .into(),
        ),
    }
}

/// Sends as many of the messages as the socket takes: to the peers that they name or, if the socket
/// is connected, to its own. An error is that of the first.
pub(crate) fn send(
    socket: RawFd,
    transmits: &[Transmit<'_>],
    is_connected: bool,
) -> io::Result<usize> {
    let transmits = &transmits[..transmits.len().min(BURST)];
    let mut names = [const { MaybeUninit::<IpName>::uninit() }; BURST];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BURST];
    let mut headers = [const { MaybeUninit::<mmsghdr>::uninit() }; BURST];
    for (index, transmit) in transmits.iter().enumerate() {
        // SAFETY: a plain C structure, for which zero is a value.
        let header = &mut headers[index].write(unsafe { mem::zeroed() }).msg_hdr;
        if !is_connected {
            let Some(size) = write_name(&transmit.path.peer, &mut names[index]) else {
                return if index == 0 {
                    Err(io::ErrorKind::AddrNotAvailable.into())
                } else {
                    send(socket, &transmits[..index], false)
                };
            };
            header.msg_name = names[index].as_mut_ptr().cast();
            header.msg_namelen = size;
        }
        // An IoSlice is an iovec (std says so), which sending only reads.
        header.msg_iov = transmit.pieces.as_ptr().cast::<iovec>().cast_mut();
        header.msg_iovlen = transmit.pieces.len() as _;
        // The padding of control messages must be zero.
        control::write(header, controls[index].write([0; 20]), transmit);
    }
    // SAFETY: as many headers as there are messages were written; each names pieces, a control
    // buffer and, unless the socket is connected, an address, with their sizes, and all of them
    // outlive the call.
    let count = unsafe {
        libc::sendmmsg(
            socket,
            headers.as_mut_ptr().cast(),
            transmits.len() as _,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Writes an address, and returns its size; `None` for a Unix peer.
fn write_name(peer: &Peer, name: &mut MaybeUninit<IpName>) -> Option<libc::socklen_t> {
    // SAFETY: plain C structures, for which zero is a value; sockaddr_in is the shorter and the
    // less aligned one.
    unsafe {
        match *peer {
            Peer::V4(ip, port) => {
                let mut v4 = mem::zeroed::<sockaddr_in>();
                v4.sin_family = libc::AF_INET as _;
                v4.sin_port = port.to_be();
                v4.sin_addr.s_addr = ip.to_bits().to_be();
                name.as_mut_ptr().cast::<sockaddr_in>().write(v4);
                Some(mem::size_of::<sockaddr_in>() as _)
            }
            Peer::V6(ip, port, scope) => {
                let mut v6 = mem::zeroed::<sockaddr_in6>();
                v6.sin6_family = libc::AF_INET6 as _;
                v6.sin6_port = port.to_be();
                v6.sin6_addr.s6_addr = ip.octets();
                v6.sin6_scope_id = scope;
                name.write(v6);
                Some(mem::size_of::<sockaddr_in6>() as _)
            }
            Peer::Unix(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_name_is_read_as_the_kernel_writes_it() {
        let name = |bytes: &[u8]| unix_peer(bytes);
        assert_eq!(name(b""), Peer::unnamed());
        assert_eq!(name(b"\0"), Peer::unnamed());
        assert_eq!(name(b"/tmp/a\0"), Peer::Unix((*b"/tmp/a").into()));
        assert_eq!(name(b"/tmp/a"), Peer::Unix((*b"/tmp/a").into()));
        assert_eq!(name(b"\0a\0b\0"), Peer::Unix((*b"\0a\0b\0").into()));
    }
}
