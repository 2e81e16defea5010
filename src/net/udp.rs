//! UDP on Linux: many datagrams a call, with what the kernel knows of each.
//!
//! Owns all unsafe code of the crate: `recvmmsg`, `sendmmsg`, their control messages, and the options that no library sets. Must never decide
//! anything; one function is one system call.
//!
//! Why by hand. quinn-udp sends one message a call, tells no hop limit, and has no counter of what the kernel dropped. nix's `recvmmsg` does not set the
//! length of the control buffer again, so after one message without control data it hears of none any more (0.31), and its `sendmmsg` has
//! one set of control messages for all. rustix has neither call. socket2 knows single messages without control data.
//!
//! Tests: `tests/datagrams.rs`, `tests/kernel_facts.rs`.

#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use libc::{c_int, c_void, cmsghdr, iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6};

use super::burst::{BURST, Burst, Part, SLOT, Transmit};
use crate::values::path::Path;
use crate::values::peer::Peer;

/// Room for the control messages of one datagram, aligned as they must be: address (40 bytes), hop limit (24), segment size (24), drops (24).
type Control = [u64; 16];

/// Room for either kind of address.
type Name = sockaddr_in6;

/// Asks for all that is wanted of a server's socket. What an older kernel does not know it does not tell; only the address that was asked must
/// be known, where there are several (`is_wildcard`).
pub(super) fn prepare(socket: BorrowedFd<'_>, is_ipv6: bool, is_wildcard: bool) -> io::Result<()> {
    let (level, address, hops, discover) = if is_ipv6 {
        (
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            libc::IPV6_RECVHOPLIMIT,
            (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT),
        )
    } else {
        (
            libc::IPPROTO_IP,
            libc::IP_PKTINFO,
            libc::IP_RECVTTL,
            (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT),
        )
    };
    if is_wildcard {
        set(socket, level, address, 1)?;
    }
    let _ = set(socket, level, hops, 1);
    // A reply as long as its request always leaves, in fragments if need be, and no forged "too big" makes us believe in a smaller path.
    let _ = set(socket, level, discover.0, discover.1);
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    let _ = set(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    Ok(())
}

/// Asks for a receive buffer of `size` bytes: past the system's limit where we may (CAP_NET_ADMIN), up to it otherwise.
pub(super) fn set_receive_buffer(socket: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let size = c_int::try_from(size).unwrap_or(c_int::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, size))
}

/// Whether the kernel cuts what is sent into segments by itself (since 4.18).
pub(super) fn offloads(socket: BorrowedFd<'_>) -> bool {
    set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Sends to IPv4 groups from the interface of this number.
pub(super) fn set_multicast_if(socket: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    let any = libc::in_addr { s_addr: 0 };
    let request = libc::ip_mreqn {
        imr_multiaddr: any,
        imr_address: any,
        imr_ifindex: c_int::try_from(number).unwrap_or(0),
    };
    set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, request)
}

/// Leaves the choice of the port to the time of connecting. Binding to port 0 takes a port from everybody, and there are about 28,000 of them; a port
/// that is chosen for a peer is taken for that peer alone (ip(7), IP_BIND_ADDRESS_NO_PORT).
pub(super) fn set_bind_no_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

fn set<T: Copy>(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: T) -> io::Result<()> {
    let size = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to a value that lives through the call, and its size is given.
    match unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Receives all there is, up to a burst.
pub(super) fn receive(socket: RawFd, burst: &mut Burst) -> io::Result<()> {
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BURST];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BURST];
    burst.begin();
    // SAFETY: all of these are plain C structures, for which zero is a value.
    let (mut slots, mut headers) = unsafe { mem::zeroed::<([iovec; BURST], [mmsghdr; BURST])>() };
    for (index, slot) in burst.buffer_mut().chunks_exact_mut(SLOT).enumerate() {
        slots[index] = iovec {
            iov_base: slot.as_mut_ptr().cast(),
            iov_len: SLOT,
        };
        let header = &mut headers[index].msg_hdr;
        header.msg_name = names[index].as_mut_ptr().cast();
        header.msg_namelen = mem::size_of::<Name>() as libc::socklen_t;
        header.msg_iov = &raw mut slots[index];
        header.msg_iovlen = 1;
        header.msg_control = controls[index].as_mut_ptr().cast();
        header.msg_controllen = mem::size_of::<Control>() as _;
    }
    // SAFETY: every header names a slot, an address and a control buffer of its own, with their sizes, and all of them outlive the call.
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
        };
        // SAFETY: the kernel has written control messages of `msg_controllen` bytes there.
        unsafe { read_control(header, &mut part, &mut burst.dropped) };
        burst.parts.push(part);
    }
    Ok(())
}

/// The address in a header.
///
/// # Safety
///
/// `msg_name` points to `msg_namelen` bytes that hold a socket address, in memory aligned for [`Name`].
unsafe fn peer(header: &msghdr) -> Peer {
    // SAFETY: as above; the family is read before anything that depends on it.
    unsafe {
        match (
            header.msg_namelen as usize,
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
            _ => Peer::unnamed(),
        }
    }
}

/// What the kernel says of a message, into `part`.
///
/// # Safety
///
/// `msg_control` points to `msg_controllen` bytes that hold control messages.
unsafe fn read_control(header: &msghdr, part: &mut Part, dropped: &mut Option<u32>) {
    // SAFETY: the macros of cmsg(3) stay within the control buffer; each value is read as the type that its kind has, without asking for alignment.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = next.as_ref() {
            let data = libc::CMSG_DATA(control).cast::<c_void>();
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    // Where the datagram went to a group or to all, an address of ours that can answer.
                    part.path.local =
                        Some(Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr)).into());
                    note_destination(
                        &mut part.path,
                        Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr)).into(),
                    );
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    part.path.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    note_destination(
                        &mut part.path,
                        Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
                    );
                }
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
                    if part.path.hops != Some(FRESH) =>
                {
                    part.path.hops = u8::try_from(data.cast::<c_int>().read_unaligned()).ok();
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    part.segment = usize::try_from(data.cast::<c_int>().read_unaligned())
                        .unwrap_or(0)
                        .max(1);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    *dropped = Some(data.cast::<u32>().read_unaligned())
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(header, control);
        }
    }
}

/// What is sent to a group comes with one hop by default, which says nothing of how far its sender is: the answer starts afresh. A loop goes on
/// from address to address, and is counted from there.
fn note_destination(path: &mut Path, destination: IpAddr) {
    if destination.is_multicast() {
        path.hops = Some(FRESH);
        path.local = path.local.filter(|local| !local.is_multicast());
    }
}

/// One more than what systems send with, as if it had just come from one hop away.
const FRESH: u8 = 65;

/// Sends as many of the messages as the socket takes, to those that they name or, where the socket is connected, to its peer; an error is that of the first.
pub(super) fn send(
    socket: RawFd,
    transmits: &[Transmit<'_>],
    is_connected: bool,
) -> io::Result<usize> {
    let transmits = &transmits[..transmits.len().min(BURST)];
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BURST];
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
        write_control(header, controls[index].write([0; 16]), transmit);
    }
    // SAFETY: as many headers as there are messages were written; each names pieces, a control buffer and, unless the socket
    // is connected, an address, with their sizes, and all of them outlive the call.
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
fn write_name(peer: &Peer, name: &mut MaybeUninit<Name>) -> Option<libc::socklen_t> {
    // SAFETY: plain C structures, for which zero is a value; sockaddr_in is the shorter and the less aligned one.
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

/// Writes from where, how far and in which segments a message goes.
fn write_control(header: &mut msghdr, control: &mut Control, transmit: &Transmit<'_>) {
    let Path {
        peer, local, hops, ..
    } = transmit.path;
    let mut writer = ControlWriter { control, used: 0 };
    match *local {
        Some(IpAddr::V4(ip)) => {
            let s_addr = ip.to_bits().to_be();
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            writer.put(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            writer.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    match (*hops, peer) {
        (Some(hops), Peer::V4(..)) => writer.put(libc::IPPROTO_IP, libc::IP_TTL, c_int::from(hops)),
        (Some(hops), Peer::V6(..)) => {
            writer.put(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, c_int::from(hops))
        }
        _ => {}
    }
    if let Some(segment) = transmit.segment {
        writer.put(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    let used = writer.used;
    header.msg_controllen = used as _;
    header.msg_control = if used == 0 {
        ptr::null_mut()
    } else {
        control.as_mut_ptr().cast()
    };
}

struct ControlWriter<'a> {
    control: &'a mut Control,
    used: usize,
}

impl ControlWriter<'_> {
    fn put<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        let size = mem::size_of::<T>() as u32;
        // SAFETY: arithmetic alone.
        let (length, space) = unsafe { (libc::CMSG_LEN(size), libc::CMSG_SPACE(size) as usize) };
        assert!(
            self.used + space <= mem::size_of::<Control>(),
            "the control buffer has room for all that is ever put"
        );
        // SAFETY: within the buffer, as was just looked at; `used` is a sum of CMSG_SPACEs, so the header is aligned; the value needs not be.
        unsafe {
            let header = self
                .control
                .as_mut_ptr()
                .byte_add(self.used)
                .cast::<cmsghdr>();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = length as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        self.used += space;
    }
}
