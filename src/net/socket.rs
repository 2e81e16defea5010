//! Making sockets: the options that must be set before bind.
//!
//! Owns every socket option of the program. Must never do I/O on a socket that it made.
//!
//! * `SO_REUSEADDR` on TCP, so that a restart does not wait for connections in TIME_WAIT. Never on
//!   UDP, where it would let two servers share a port by accident.
//! * `IPV6_V6ONLY` before bind: `tcp://[::]:P` and `tcp://0.0.0.0:P` can stand side by side,
//!   whatever the system's default is.
//! * `TCP_NODELAY`, `SO_OOBINLINE` and keepalive on the TCP listener: Linux hands them down to the
//!   sockets that it accepts, which costs no system call. [`adopt_tcp`] and [`adopt_unix`] set what
//!   a listener does not hand down. Without `TCP_NODELAY` a 64 KiB message takes 44 ms longer.
//! * `SO_OOBINLINE` puts urgent data in its place among the other bytes. Without it a read skips
//!   the urgent byte, and an echo would lose it.
//! * A client's datagram socket is connected too: then it hears its peer alone, and learns when no
//!   peer is there. A socket that sends to a group or a broadcast address is not, because members
//!   answer from their own addresses.
//! * Non-blocking and close-on-exec on everything.
//!
//! Tests: `tests/addresses.rs`, `tests/urgent.rs`, `tests/kernel_facts.rs`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsFd;

use log::warn;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockRef, Socket, Type};

use super::hints::{check_kind, interface_error, reach_error, start_error};
use super::options::{DatagramOptions, Interface, StreamOptions};
use super::unix_path::{self, Lock, SocketPath};
use crate::values::endpoint::Address;
use crate::values::error::StartError;

/// A bound socket, its address with the port that was chosen, and what must be cleaned up after it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: Socket,
    pub(super) address: Address,
    pub(super) path: Option<SocketPath>,
}

/// Binds a stream socket and listens on it.
pub(super) fn listen(
    address: &Address,
    backlog: u32,
    options: &StreamOptions,
) -> Result<Bound, StartError> {
    check_kind("listen on", address, true)?;
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let _lock = Lock::of(address);
    bind_any(address, Type::STREAM)
        .and_then(|bound| {
            if matches!(address, Address::Tcp(_)) {
                prepare_tcp(&bound.socket, options)?;
            }
            bound.socket.listen(backlog)?;
            Ok(bound)
        })
        .map_err(|error| start_error("listen on", address, error))
}

/// What every TCP stream has, whether we accept it or connect it.
fn prepare_tcp(socket: &Socket, options: &StreamOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    match options.keepalive {
        Some(keepalive) => socket.set_tcp_keepalive(&keepalive.options()),
        None => Ok(()),
    }
}

/// Sets the options that an accepted TCP stream does not inherit. If the peer has already gone this
/// fails, and the next read reports it.
pub(super) fn adopt_tcp(socket: SockRef<'_>, options: &StreamOptions) {
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        let _ = prepare_tcp(&socket, options);
    }
}

/// Sets the options that a Unix stream does not inherit. Not every system has urgent data on Unix
/// streams; then there is none to lose.
pub(super) fn adopt_unix(socket: SockRef<'_>) {
    let _ = socket.set_out_of_band_inline(true);
}

/// Binds a datagram socket; joins the group where the address is one.
pub(super) fn bind(address: &Address, options: &DatagramOptions) -> Result<Bound, StartError> {
    check_kind("bind", address, false)?;
    let scoped = scoped(address, options.interface)
        .map_err(|error| StartError::new(format!("join the group of {address}"), error))?;
    let _lock = Lock::of(&scoped);
    let bound =
        bind_any(&scoped, Type::DGRAM).map_err(|error| start_error("bind", address, error))?;
    let Address::Udp(ip) = &bound.address else {
        return Ok(bound);
    };
    enlarge(&bound.socket, address, options);
    prepare(&bound.socket, *ip).map_err(|error| {
        StartError::new(format!("learn which address {address} was asked at"), error)
    })?;
    if ip.ip().is_multicast() {
        join(&bound.socket, ip.ip(), options.interface).map_err(|error| {
            let tried = format!("join the group {}", ip.ip());
            interface_error(tried, error, options.interface.is_some())
        })?;
    }
    Ok(bound)
}

/// The address with its interface. An IPv6 group of one link takes the interface of the options if
/// it does not name one itself.
fn scoped(address: &Address, interface: Option<Interface>) -> io::Result<Address> {
    match (address, interface) {
        (Address::Udp(SocketAddr::V6(ip)), Some(interface))
            if ip.ip().is_multicast() && ip.scope_id() == 0 =>
        {
            Ok(Address::Udp(
                SocketAddrV6::new(*ip.ip(), ip.port(), ip.flowinfo(), interface.v6()?).into(),
            ))
        }
        _ => Ok(address.clone()),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn prepare(socket: &Socket, ip: SocketAddr) -> io::Result<()> {
    super::sys::prepare(
        socket.as_fd(),
        ip.is_ipv6(),
        ip.ip().is_unspecified() || ip.ip().is_multicast(),
    )
}

/// This system does not report the destination address of a datagram.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn prepare(_socket: &Socket, ip: SocketAddr) -> io::Result<()> {
    if ip.ip().is_unspecified() {
        warn!(
            "udp://{ip}: on this system answers leave from the address that routing chooses, not \
             from the one that was asked: bind each address by itself"
        );
    }
    Ok(())
}

/// Asks for a receive buffer that holds a burst. The server starts even if it gets less.
fn enlarge(socket: &Socket, address: &Address, options: &DatagramOptions) {
    let Some(size) = options.receive_buffer else {
        return;
    };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let asked = super::sys::set_receive_buffer(socket.as_fd(), size);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let asked = socket.set_recv_buffer_size(size);
    if let Err(error) = asked {
        warn!("{address}: cannot set the receive buffer: {error}");
    }
    // Linux doubles what is asked for, for its own account.
    let got =
        socket.recv_buffer_size().unwrap_or(0) / if cfg!(target_os = "linux") { 2 } else { 1 };
    if got < size && options.warns_of_buffer {
        warn!(
            "{address}: asked for a receive buffer of {size} bytes, the system gives {got}; raise \
             net.core.rmem_max, or run with CAP_NET_ADMIN"
        );
    }
}

/// Makes the send buffer of a Unix datagram server as large as the system allows: the kernel
/// charges it for what peers have not read.
pub(super) fn widen(socket: &Socket) {
    // Without it the server works, and fewer peers that do not read hold up the others.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = super::sys::set_send_buffer(socket.as_fd(), UNIX_SEND_BUFFER);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = socket.set_send_buffer_size(UNIX_SEND_BUFFER);
}

/// Twice this is more than one peer can leave unread: eleven datagrams of 64 KiB.
const UNIX_SEND_BUFFER: usize = 1024 * 1024;

/// Whether this machine has the address: a socket can be bound to it, at any port. Three system
/// calls, and right at once when an address comes or goes. Where `net.ipv4.ip_nonlocal_bind` is
/// set, every address seems to be ours.
pub(super) fn is_local(address: SocketAddr) -> bool {
    let mut any_port = address;
    any_port.set_port(0);
    Socket::new(Domain::for_address(address), Type::DGRAM, None)
        .and_then(|probe| probe.bind(&any_port.into()))
        .is_ok()
}

fn join(socket: &Socket, group: IpAddr, interface: Option<Interface>) -> io::Result<()> {
    match group {
        IpAddr::V4(group) => socket.join_multicast_v4_n(
            &group,
            &interface.map_or(
                InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
                Interface::v4,
            ),
        ),
        IpAddr::V6(group) => {
            socket.join_multicast_v6(&group, interface.map_or(Ok(0), Interface::v6)?)
        }
    }
}

/// What a client asks for beside its peer.
fn aim(socket: &Socket, remote: SocketAddr, options: &DatagramOptions) -> io::Result<()> {
    if options.broadcast {
        socket.set_broadcast(true)?;
    }
    match (remote.ip(), options.interface) {
        (IpAddr::V4(_), Some(Interface::Address(ip))) => socket.set_multicast_if_v4(&ip)?,
        (IpAddr::V4(_), Some(Interface::Number(number))) => set_multicast_if(socket, number)?,
        (IpAddr::V6(_), Some(interface)) => socket.set_multicast_if_v6(interface.v6()?)?,
        (_, None) => {}
    }
    match (remote.ip(), options.hops.map(u32::from)) {
        (IpAddr::V4(ip), Some(hops)) if ip.is_multicast() => socket.set_multicast_ttl_v4(hops),
        (IpAddr::V4(_), Some(hops)) => socket.set_ttl_v4(hops),
        (IpAddr::V6(ip), Some(hops)) if ip.is_multicast() => socket.set_multicast_hops_v6(hops),
        (IpAddr::V6(_), Some(hops)) => socket.set_unicast_hops_v6(hops),
        (_, None) => Ok(()),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_multicast_if(socket: &Socket, number: u32) -> io::Result<()> {
    super::sys::set_multicast_if(socket.as_fd(), number)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_multicast_if(_socket: &Socket, _number: u32) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "this system takes the interface of an IPv4 group by its address",
    ))
}

/// Begins to connect a stream socket to `remote`.
pub(super) fn connect(
    remote: &Address,
    local: Option<&Address>,
    options: &StreamOptions,
) -> Result<Socket, StartError> {
    check_kind("connect to", remote, true)?;
    let bound = bind_local(remote, local, Type::STREAM)?;
    match remote {
        Address::Tcp(_) => prepare_tcp(&bound.socket, options)
            .map_err(|error| StartError::new(format!("prepare to connect to {remote}"), error))?,
        _ => adopt_unix(SockRef::from(&bound.socket)),
    }
    attach(bound, remote, Type::STREAM).map(|bound| bound.socket)
}

/// A datagram socket that is connected to `remote`: it sends there, hears no other peer, and learns
/// of refusals.
pub(super) fn associate(
    remote: &Address,
    local: Option<&Address>,
    options: &DatagramOptions,
) -> Result<Bound, StartError> {
    check_kind("associate with", remote, false)?;
    let bound = bind_local(remote, local, Type::DGRAM)?;
    let Address::Udp(ip) = remote else {
        return attach(bound, remote, Type::DGRAM);
    };
    enlarge(&bound.socket, remote, options);
    aim(&bound.socket, *ip, options).map_err(|error| {
        let tried = format!("prepare to send to {remote}");
        match options.interface {
            Some(_) => interface_error(tried, error, true),
            None => StartError::new(tried, error),
        }
    })?;
    if ip.ip().is_multicast() || options.broadcast {
        return Ok(bound);
    }
    attach(bound, remote, Type::DGRAM)
}

/// Connects a socket that is bound already.
fn attach(bound: Bound, remote: &Address, kind: Type) -> Result<Bound, StartError> {
    let socket = &bound.socket;
    // On other systems a connected datagram socket refuses a destination address.
    if kind == Type::DGRAM && !cfg!(target_os = "linux") {
        return Ok(bound);
    }
    match socket_name(remote).and_then(|name| socket.connect(&name)) {
        Ok(()) => Ok(bound),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(bound),
        Err(error) => Err(reach_error(remote, error)),
    }
}

/// A socket that can reach `remote`, bound to `local` if there is one.
fn bind_local(remote: &Address, local: Option<&Address>, kind: Type) -> Result<Bound, StartError> {
    let _lock = local.map(Lock::of);
    try_bind_local(remote, local, kind)
        .map_err(|error| start_error("bind", local.unwrap_or(remote), error))
}

fn try_bind_local(remote: &Address, local: Option<&Address>, kind: Type) -> io::Result<Bound> {
    let (domain, path) = match (remote, local) {
        (_, Some(Address::Unix(path) | Address::Unixgram(path))) => {
            return bind_unix(local.unwrap_or(remote), path, kind);
        }
        (Address::Tcp(ip) | Address::Udp(ip), _) => (Domain::for_address(*ip), None),
        (Address::Unix(_) | Address::Unixgram(_), _) => (Domain::UNIX, None),
    };
    let socket = nonblocking(domain, kind)?;
    if let Some(local) = local {
        // The user may ask for a port by number. On TCP the last connection from it may be in
        // TIME_WAIT. On UDP several sockets may send from it, each to a peer of its own, and the
        // kernel tells them apart by the peer.
        socket.set_reuse_address(true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if matches!(local, Address::Tcp(ip) if ip.port() == 0) {
            super::sys::set_bind_no_port(socket.as_fd())?;
        }
        socket.bind(&socket_name(local)?)?;
    } else if matches!(remote, Address::Unixgram(_)) && cfg!(target_os = "linux") {
        // A peer cannot answer a socket without a name, so the kernel assigns one.
        socket.bind(&SockAddr::unix("")?)?;
    }
    Ok(Bound {
        socket,
        address: local.unwrap_or(remote).clone(),
        path,
    })
}

/// A socket that does not block. If the system takes this with the call that makes the socket, that
/// saves two system calls a connection.
fn nonblocking(domain: Domain, kind: Type) -> io::Result<Socket> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    return Socket::new(domain, kind.nonblocking(), None);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    {
        let socket = Socket::new(domain, kind, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

fn socket_name(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Tcp(ip) | Address::Udp(ip) => Ok((*ip).into()),
        Address::Unix(path) | Address::Unixgram(path) => unix_path::name(path),
    }
}

fn bind_any(address: &Address, kind: Type) -> io::Result<Bound> {
    match address {
        Address::Tcp(ip) => bind_ip(*ip, kind, Protocol::TCP, Address::Tcp),
        Address::Udp(ip) => bind_ip(*ip, kind, Protocol::UDP, Address::Udp),
        Address::Unix(path) | Address::Unixgram(path) => bind_unix(address, path, kind),
    }
}

fn bind_ip(
    ip: SocketAddr,
    kind: Type,
    protocol: Protocol,
    name: fn(SocketAddr) -> Address,
) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(ip), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if protocol == Protocol::TCP {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&ip.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(ip);
    Ok(Bound {
        socket,
        address: name(bound),
        path: None,
    })
}

fn bind_unix(address: &Address, path: &std::path::Path, kind: Type) -> io::Result<Bound> {
    let (socket, file) = unix_path::bind(address, path, kind)?;
    Ok(Bound {
        socket,
        address: address.clone(),
        path: file,
    })
}
