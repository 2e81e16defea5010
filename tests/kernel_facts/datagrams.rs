//! Facts about datagrams.

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use nix::cmsg_space;
use nix::sys::socket::sockopt::Ipv4PacketInfo;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, UnixAddr, recvmsg, setsockopt};
use socket2::{SockAddr, SockRef};

use crate::common::{PATIENCE, Scratch, loopback};

/// A server that answers a forged packet meets this error. The socket stays usable.
#[test]
fn a_datagram_to_port_0_is_invalid_and_harms_nobody() {
    let ours = UdpSocket::bind(loopback()).unwrap();
    let nobody: SocketAddr = "127.0.0.1:0".parse().unwrap();
    assert_eq!(
        ours.send_to(b"x", nobody).unwrap_err().raw_os_error(),
        Some(libc::EINVAL)
    );
    let peer = UdpSocket::bind(loopback()).unwrap();
    ours.send_to(b"x", peer.local_addr().unwrap()).unwrap();
}

#[test]
fn the_longest_datagram_has_65_507_bytes_over_ipv4() {
    let ours = UdpSocket::bind(loopback()).unwrap();
    let peer = UdpSocket::bind(loopback()).unwrap();
    let bytes = vec![7; 65_508];
    assert_eq!(
        ours.send_to(&bytes[..65_507], peer.local_addr().unwrap())
            .unwrap(),
        65_507
    );
    let refused = ours
        .send_to(&bytes, peer.local_addr().unwrap())
        .unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
    assert_eq!(peer.recv(&mut [0; 65_536]).unwrap(), 65_507);
}

#[test]
fn the_longest_datagram_has_65_527_bytes_over_ipv6() {
    let Ok(ours) = UdpSocket::bind("[::1]:0") else {
        eprintln!("skipped: there is no IPv6 here");
        return;
    };
    let peer = UdpSocket::bind("[::1]:0").unwrap();
    let bytes = vec![7; 65_528];
    assert_eq!(
        ours.send_to(&bytes[..65_527], peer.local_addr().unwrap())
            .unwrap(),
        65_527
    );
    assert_eq!(
        ours.send_to(&bytes, peer.local_addr().unwrap())
            .unwrap_err()
            .raw_os_error(),
        Some(libc::EMSGSIZE)
    );
    assert_eq!(peer.recv(&mut [0; 65_536]).unwrap(), 65_527);
}

/// A socket that is not connected hears of no refusal of an earlier reply.
#[test]
fn a_reply_to_a_closed_port_leaves_no_error_on_an_unconnected_socket() {
    let ours = UdpSocket::bind(loopback()).unwrap();
    ours.set_nonblocking(true).unwrap();
    let gone = UdpSocket::bind(loopback()).unwrap().local_addr().unwrap();
    for _ in 0..3 {
        ours.send_to(b"x", gone).unwrap();
        assert_eq!(
            ours.recv(&mut [0; 16]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
}

/// Several pieces, one datagram.
#[test]
fn pieces_that_are_sent_together_arrive_as_one_datagram() {
    let ours = UdpSocket::bind(loopback()).unwrap();
    let peer = UdpSocket::bind(loopback()).unwrap();
    let pieces = [
        IoSlice::new(b"one "),
        IoSlice::new(b""),
        IoSlice::new(b"datagram"),
    ];
    let to = SockAddr::from(peer.local_addr().unwrap());
    assert_eq!(
        SockRef::from(&ours).send_to_vectored(&pieces, &to).unwrap(),
        12
    );
    let mut got = [MaybeUninit::uninit(); 64];
    assert_eq!(SockRef::from(&peer).recv(&mut got).unwrap(), 12);
}

/// The address in the header, and an address of ours that can answer.
fn asked_at(ours: &UdpSocket) -> (Ipv4Addr, Ipv4Addr) {
    let (mut bytes, mut room) = ([0; 64], cmsg_space!(libc::in_pktinfo));
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<SockaddrIn>(
        ours.as_raw_fd(),
        &mut pieces,
        Some(&mut room),
        MsgFlags::empty(),
    )
    .unwrap();
    let info = message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    let info = info.expect("what was asked for");
    let address = |ip: libc::in_addr| Ipv4Addr::from_bits(u32::from_be(ip.s_addr));
    (address(info.ipi_addr), address(info.ipi_spec_dst))
}

/// How a datagram to everybody is told from one to us.
#[test]
fn the_address_that_can_answer_differs_from_a_destination_that_is_a_broadcast() {
    let ours = UdpSocket::bind("0.0.0.0:0").unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    setsockopt(&ours, Ipv4PacketInfo, &true).unwrap();
    let port = ours.local_addr().unwrap().port();
    let peer = UdpSocket::bind(loopback()).unwrap();
    peer.set_broadcast(true).unwrap();
    for (to, answering) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("127.255.255.255", "127.0.0.1"),
    ] {
        peer.send_to(b"x", (to, port)).unwrap();
        let due = (to.parse().unwrap(), answering.parse().unwrap());
        assert_eq!(asked_at(&ours), due);
    }
}

/// So a socket that is bound to one address need not ask where its datagrams went.
#[test]
fn a_socket_that_is_bound_to_one_address_hears_no_broadcast() {
    let ours = UdpSocket::bind(loopback()).unwrap();
    let address = ours.local_addr().unwrap();
    let peer = UdpSocket::bind(loopback()).unwrap();
    peer.set_broadcast(true).unwrap();
    peer.send_to(b"to all", ("127.255.255.255", address.port()))
        .unwrap();
    peer.send_to(b"to us", address).unwrap();
    let mut got = [0; 64];
    let size = crate::common::again(|| ours.recv(&mut got)).unwrap();
    assert_eq!(&got[..size], b"to us");
}

/// A datagram that fills its room exactly is whole, and only this flag tells.
#[test]
fn a_datagram_says_whether_it_was_cut() {
    let scratch = Scratch::new();
    let path = scratch.path("ours");
    let ours = UnixDatagram::bind(&path).unwrap();
    let peer = UnixDatagram::unbound().unwrap();
    for (size, is_cut) in [(8, false), (9, true)] {
        peer.send_to(&[7; 16][..size], &path).unwrap();
        let mut room = [0; 8];
        let mut pieces = [IoSliceMut::new(&mut room)];
        let flags = MsgFlags::empty();
        let message = recvmsg::<UnixAddr>(ours.as_raw_fd(), &mut pieces, None, flags).unwrap();
        assert_eq!(message.bytes, 8);
        assert_eq!(message.flags.contains(MsgFlags::MSG_TRUNC), is_cut);
    }
}
