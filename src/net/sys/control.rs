//! Control messages: what Linux tells of a datagram beside its bytes, and is told.
//!
//! Owns their layout. The words are those of ip(7), ipv6(7), udp(7) and cmsg(3).

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

use libc::{c_int, c_void, cmsghdr, msghdr};

use super::stamps::since;
use crate::net::burst::{Part, Transmit};
use crate::values::path::Path;
use crate::values::peer::Peer;

/// Room for the control messages of one datagram, aligned as they must be: address (40 bytes),
/// hop limit (24), segment size (24), drops (24), time of arrival (32).
pub(super) type Control = [u64; 20];

/// The hop limit of a datagram that came to a group, see [`note_group`]: one more than systems
/// send with, as if it had come from one hop away.
const FRESH: u8 = 65;

/// Reads what the kernel says of a message into `part` and `dropped`.
///
/// # Safety
///
/// `msg_control` points to `msg_controllen` bytes that hold control messages.
pub(super) unsafe fn read(header: &msghdr, part: &mut Part, dropped: &mut Option<u32>) {
    // SAFETY: the macros of cmsg(3) stay within the control buffer; each value is read as the type
    // that its kind has, without asking for alignment.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = next.as_ref() {
            let data = libc::CMSG_DATA(control).cast::<c_void>();
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    note_v4(
                        &mut part.path,
                        data.cast::<libc::in_pktinfo>().read_unaligned(),
                    );
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    note_v6(
                        &mut part.path,
                        data.cast::<libc::in6_pktinfo>().read_unaligned(),
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
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    part.unread = Some(since(data.cast::<libc::timespec>().read_unaligned()));
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

/// `ipi_addr` is the destination in the header. `ipi_spec_dst` is an address of ours that can
/// answer: the same one, unless the destination is a group or a broadcast address.
fn note_v4(path: &mut Path, info: libc::in_pktinfo) {
    let destination = Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr));
    let local = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr));
    path.local = Some(local.into());
    path.to_group = destination != local;
    if destination.is_multicast() {
        note_group(path);
    }
}

/// IPv6 tells the destination alone. The kernel chooses the source of an answer to a group itself,
/// and an address of one link names an interface only together with its number.
fn note_v6(path: &mut Path, info: libc::in6_pktinfo) {
    let destination = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    if destination.is_multicast() {
        path.local = None;
        path.to_group = true;
        note_group(path);
        return;
    }
    path.local = Some(destination.into());
    if destination.is_unicast_link_local() {
        path.interface = info.ipi6_ifindex as _;
    }
}

/// A datagram to a group comes with one hop by default, which does not say how far its sender is:
/// the answer starts afresh. A loop goes on from address to address, and is counted from there.
fn note_group(path: &mut Path) {
    path.hops = Some(FRESH);
}

/// Writes from where, how far and in which segments a message goes.
pub(super) fn write(header: &mut msghdr, control: &mut Control, transmit: &Transmit<'_>) {
    let Path {
        peer,
        local,
        hops,
        interface,
        ..
    } = transmit.path;
    let mut writer = Writer { control, used: 0 };
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
                ipi6_ifindex: *interface as _,
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

struct Writer<'a> {
    control: &'a mut Control,
    used: usize,
}

impl Writer<'_> {
    fn put<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        let size = mem::size_of::<T>() as u32;
        // SAFETY: arithmetic alone.
        let (length, space) = unsafe { (libc::CMSG_LEN(size), libc::CMSG_SPACE(size) as usize) };
        assert!(
            self.used + space <= mem::size_of::<Control>(),
            "the control buffer has room for all that is ever put"
        );
        // SAFETY: within the buffer, as was just checked; `used` is a sum of CMSG_SPACEs, so the
        // header is aligned; the value needs not be.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(destination: &str) -> Path {
        let mut path = Path::plain(Peer::unnamed());
        let ip: Ipv6Addr = destination.parse().unwrap();
        note_v6(
            &mut path,
            libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 3,
            },
        );
        path
    }

    #[test]
    fn only_an_address_of_one_link_keeps_its_interface() {
        assert_eq!(
            v6("2001:db8::1").interface,
            0,
            "or flows would not share a message"
        );
        assert_eq!(v6("::1").interface, 0);
        assert_eq!(v6("fe80::1").interface, 3);
        assert_eq!(v6("ff02::1").interface, 0);
    }

    #[test]
    fn a_destination_that_cannot_answer_is_a_group() {
        let v4 = |header: [u8; 4], ours: [u8; 4]| {
            let mut path = Path::plain(Peer::unnamed());
            let address = |ip: [u8; 4]| libc::in_addr {
                s_addr: u32::from_ne_bytes(ip),
            };
            note_v4(
                &mut path,
                libc::in_pktinfo {
                    ipi_ifindex: 1,
                    ipi_spec_dst: address(ours),
                    ipi_addr: address(header),
                },
            );
            assert_eq!(path.local, Some(IpAddr::from(ours)));
            path.to_group
        };
        assert!(!v4([127, 0, 0, 2], [127, 0, 0, 2]));
        assert!(v4([127, 255, 255, 255], [127, 0, 0, 1]));
        assert!(v4([224, 0, 0, 1], [192, 0, 2, 1]));
        assert!(v6("ff02::1").to_group && !v6("fe80::1").to_group);
        assert_eq!(v6("ff02::1").local, None, "the kernel chooses who answers");
    }
}
