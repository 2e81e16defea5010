//! Socket options that socket2 does not set, on Linux.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_int;

/// Asks the kernel for everything that a UDP server wants to know of a datagram. A kernel that is
/// too old for an option does not tell, and the server goes on without. Only a socket that is bound
/// to several addresses (`is_wildcard`) must learn which one was asked.
pub(crate) fn prepare(socket: BorrowedFd<'_>, is_ipv6: bool, is_wildcard: bool) -> io::Result<()> {
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
    // The kernel sends a reply as long as its request in fragments if it must, and a forged
    // "too big" does not make it believe in a smaller path.
    let _ = set(socket, level, discover.0, discover.1);
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    let _ = set(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    Ok(())
}

/// Asks for a receive buffer of `size` bytes. With `CAP_NET_ADMIN` the kernel goes past the
/// system's limit, otherwise up to it.
pub(crate) fn set_receive_buffer(socket: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let size = c_int::try_from(size).unwrap_or(c_int::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, size))
}

/// Asks for a send buffer of `size` bytes, in the same way.
pub(crate) fn set_send_buffer(socket: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let size = c_int::try_from(size).unwrap_or(c_int::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, size))
}

/// Whether the kernel can cut one message into datagrams (since 4.18).
pub(crate) fn offloads(socket: BorrowedFd<'_>) -> bool {
    set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Sends to IPv4 groups from the interface of this number.
pub(crate) fn set_multicast_if(socket: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    let any = libc::in_addr { s_addr: 0 };
    let request = libc::ip_mreqn {
        imr_multiaddr: any,
        imr_address: any,
        imr_ifindex: c_int::try_from(number).unwrap_or(0),
    };
    set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, request)
}

/// Lets connect choose the port. Bind to port 0 takes a port away from every other socket, and
/// there are about 28,000 of them; a port that connect chooses is taken for that peer alone
/// (ip(7), `IP_BIND_ADDRESS_NO_PORT`).
pub(crate) fn set_bind_no_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// How much a stream socket holds that its peer has not taken (`SIOCOUTQ`). TCP counts bytes that
/// were not acknowledged; a Unix stream counts memory, which is more than the bytes.
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> io::Result<usize> {
    ask(socket, libc::TIOCOUTQ)
}

/// How much of that TCP has not even put on its way (`SIOCOUTQNSD` of linux/sockios.h, which libc
/// does not have): the peer's window is closed.
pub(crate) fn stuck(socket: BorrowedFd<'_>) -> io::Result<usize> {
    ask(socket, 0x894b)
}

fn ask(socket: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<usize> {
    let mut held: c_int = 0;
    // SAFETY: these requests write one int to the pointer, which is to one.
    match unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut held) } {
        0 => Ok(usize::try_from(held).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) fn set<T: Copy>(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: T,
) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Writes without being read until the kernel takes no more, and looks at what it still holds
    /// while the peer reads on.
    fn assert_reading_shows(mut ours: impl Write + AsFd, mut peer: impl Read) {
        let mut written = 0;
        while let Ok(count) = ours.write(&[0; 64 * 1024]) {
            written += count;
        }
        let full = unsent(ours.as_fd()).unwrap();
        assert!(full > 0);
        let mut room = vec![0; written / 2];
        peer.read_exact(&mut room).unwrap();
        let left = unsent(ours.as_fd()).unwrap();
        assert!(left < full, "{left} after {full}");
    }

    #[test]
    fn what_a_unix_peer_reads_is_seen() {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        assert_reading_shows(ours, peer);
    }

    #[test]
    fn what_a_tcp_peer_reads_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        assert_reading_shows(ours, peer);
    }
}
