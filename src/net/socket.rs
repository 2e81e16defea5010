//! Making sockets: options that must be set before bind, and Unix paths.
//!
//! Owns every socket option of the program. Must never remove a file that is not a socket, nor a socket that somebody answers on.
//!
//! * `SO_REUSEADDR` on TCP, so that a restart does not wait for connections in TIME_WAIT; never on UDP, where it would let two servers
//!   share a port by accident.
//! * `IPV6_V6ONLY` set by us, before bind: `tcp://[::]:P` and `tcp://0.0.0.0:P` can stand side by side, whatever the system's default is.
//! * `TCP_NODELAY` on the listener: Linux hands it down, which costs nothing for each connection; forgetting it costs 44 ms a
//!   64 KiB message. Elsewhere `os.rs` sets it on what was accepted.
//! * A client's socket is connected, of datagrams too: then it hears its peer alone and is told when nobody is there. Unless it speaks to a group or
//!   to all: those who answer answer as themselves.
//! * Non-blocking and close-on-exec on everything.
//!
//! Tests: `tests/unix_paths.rs`, `tests/addresses.rs`.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use log::{info, warn};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

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
pub(super) fn listen(address: &Address, backlog: u32) -> Result<Bound, StartError> {
    debug_assert!(address.is_stream(), "{address} is no stream endpoint");
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    bind_any(address, Type::STREAM)
        .and_then(|bound| bound.socket.listen(backlog).map(|()| bound))
        .map_err(|error| start_error("listen on", address, error))
}

/// How UDP sockets are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramOptions {
    /// What the receive buffer is asked to hold, in bytes; `None` leaves it as the system has it. Past the system's limit where we may
    /// (`CAP_NET_ADMIN`), up to it otherwise.
    pub receive_buffer: Option<usize>,
    /// Whether to say so where the system gives less: whoever chose the size wants to know.
    pub warns_of_buffer: bool,
    /// The interface on which groups are joined, and spoken to; `None`: the system's choice.
    pub interface: Option<Interface>,
    /// A client's: whether it may send to broadcast addresses.
    pub broadcast: bool,
    /// A client's: how many hops what it sends may go; `None`: the system's default, which for a group is 1.
    pub hops: Option<u8>,
}

/// A burst of 600 small datagrams loses 2 to 3 % in Linux's default of 208 KiB, which holds 277 of them: the kernel counts 768 bytes and more for each.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

impl Default for DatagramOptions {
    fn default() -> DatagramOptions {
        DatagramOptions {
            receive_buffer: Some(RECEIVE_BUFFER),
            warns_of_buffer: false,
            interface: None,
            broadcast: false,
            hops: None,
        }
    }
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// By its number, which serves both families.
    Number(u32),
    /// By an IPv4 address that it has.
    Address(Ipv4Addr),
}

impl Interface {
    fn v4(self) -> InterfaceIndexOrAddress {
        match self {
            Interface::Number(number) => InterfaceIndexOrAddress::Index(number),
            Interface::Address(ip) => InterfaceIndexOrAddress::Address(ip),
        }
    }

    /// The number; only that names an interface to IPv6.
    fn v6(self) -> io::Result<u32> {
        match self {
            Interface::Number(number) => Ok(number),
            Interface::Address(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an IPv6 group needs its interface by name",
            )),
        }
    }
}

/// Binds a datagram socket; joins the group where the address is one.
pub(super) fn bind(address: &Address, options: &DatagramOptions) -> Result<Bound, StartError> {
    debug_assert!(!address.is_stream(), "{address} is no datagram endpoint");
    let scoped = scoped(address, options.interface)
        .map_err(|error| StartError::new(format!("join the group of {address}"), error))?;
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
            StartError::new(format!("join the group {}", ip.ip()), error).with_hint(Some(JOIN_HINT))
        })?;
    }
    Ok(bound)
}

/// An IPv6 group of one link is an address on the interface that was asked for, if it does not name one itself.
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

const JOIN_HINT: &str = "name the interface that has it with --interface";

#[cfg(any(target_os = "linux", target_os = "android"))]
fn prepare(socket: &Socket, ip: SocketAddr) -> io::Result<()> {
    super::udp::prepare(
        socket.as_fd(),
        ip.is_ipv6(),
        ip.ip().is_unspecified() || ip.ip().is_multicast(),
    )
}

/// Here nothing tells which address was asked.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn prepare(_socket: &Socket, ip: SocketAddr) -> io::Result<()> {
    if ip.ip().is_unspecified() {
        warn!(
            "udp://{ip}: on this system answers leave from the address that routing chooses, not from the one that was asked: bind each address by itself"
        );
    }
    Ok(())
}

/// Asks for a receive buffer that holds a burst. Less is no reason not to serve.
fn enlarge(socket: &Socket, address: &Address, options: &DatagramOptions) {
    let Some(size) = options.receive_buffer else {
        return;
    };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let asked = super::udp::set_receive_buffer(socket.as_fd(), size);
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
            "{address}: asked for a receive buffer of {size} bytes, the system gives {got}; raise net.core.rmem_max, or run with CAP_NET_ADMIN"
        );
    }
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
    super::udp::set_multicast_if(socket.as_fd(), number)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_multicast_if(_socket: &Socket, _number: u32) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "this system takes the interface of an IPv4 group by its address",
    ))
}

/// Begins to connect a stream socket to `remote`.
pub(super) fn connect(remote: &Address, local: Option<&Address>) -> Result<Socket, StartError> {
    reach(remote, local, Type::STREAM).map(|bound| bound.socket)
}

/// A datagram socket that is connected to `remote`, which for datagrams means: it sends there, hears nobody else, and is told of refusals.
pub(super) fn associate(
    remote: &Address,
    local: Option<&Address>,
    options: &DatagramOptions,
) -> Result<Bound, StartError> {
    let Address::Udp(ip) = remote else {
        return reach(remote, local, Type::DGRAM);
    };
    let bound = reach_from(remote, local, Type::DGRAM)
        .map_err(|error| start_error("bind", local.unwrap_or(remote), error))?;
    enlarge(&bound.socket, remote, options);
    aim(&bound.socket, *ip, options)
        .map_err(|error| StartError::new(format!("prepare to send to {remote}"), error))?;
    if ip.ip().is_multicast() || options.broadcast {
        return Ok(bound);
    }
    attach(bound, remote, Type::DGRAM)
}

fn reach(remote: &Address, local: Option<&Address>, kind: Type) -> Result<Bound, StartError> {
    attach(
        reach_from(remote, local, kind)
            .map_err(|error| start_error("bind", local.unwrap_or(remote), error))?,
        remote,
        kind,
    )
}

fn attach(bound: Bound, remote: &Address, kind: Type) -> Result<Bound, StartError> {
    let socket = &bound.socket;
    // Elsewhere a connected datagram socket refuses to be told where to send.
    if kind == Type::DGRAM && !cfg!(target_os = "linux") {
        return Ok(bound);
    }
    match socket_name(remote).and_then(|name| socket.connect(&name)) {
        Ok(()) => Ok(bound),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(bound),
        Err(error) => Err(reach_error(remote, error)),
    }
}

/// A socket that can reach `remote`, bound to `local` where one is given, with the options of a client.
fn reach_from(remote: &Address, local: Option<&Address>, kind: Type) -> io::Result<Bound> {
    let (domain, path) = match (remote, local) {
        (_, Some(Address::Unix(path) | Address::Unixgram(path))) => {
            return bind_unix(local.unwrap_or(remote), path, kind);
        }
        (Address::Tcp(ip) | Address::Udp(ip), _) => (Domain::for_address(*ip), None),
        (Address::Unix(_) | Address::Unixgram(_), _) => (Domain::UNIX, None),
    };
    let socket = nonblocking(domain, kind)?;
    if matches!(remote, Address::Tcp(_)) {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(local) = local {
        // A port that was asked for by number: of TCP, because the last connection from it may be in TIME_WAIT; of UDP, because several sockets,
        // each with a peer of its own, may send from it, and the kernel tells them apart by the peer.
        socket.set_reuse_address(true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if matches!(local, Address::Tcp(ip) if ip.port() == 0) {
            super::udp::set_bind_no_port(socket.as_fd())?;
        }
        socket.bind(&socket_name(local)?)?;
    } else if matches!(remote, Address::Unixgram(_)) && cfg!(target_os = "linux") {
        // Who has no name cannot be answered: the kernel gives one.
        socket.bind(&SockAddr::unix("")?)?;
    }
    Ok(Bound {
        socket,
        address: local.unwrap_or(remote).clone(),
        path,
    })
}

/// A socket that does not block. Where it can be asked for with the socket, that saves two system calls a connection.
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
        Address::Unix(path) | Address::Unixgram(path) => unix_name(path),
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
        socket.set_tcp_nodelay(true)?;
    }
    socket.bind(&ip.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(ip);
    Ok(Bound {
        socket,
        address: name(bound),
        path: None,
    })
}

fn bind_unix(address: &Address, path: &Path, kind: Type) -> io::Result<Bound> {
    let name = unix_name(path)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    match (socket.bind(&name), address.file()) {
        (Err(error), Some(file)) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(file, &name, kind)?;
            socket.bind(&name)?;
        }
        (result, _) => result?,
    }
    let path = address.file().map(SocketPath::of).transpose()?;
    Ok(Bound {
        socket,
        address: address.clone(),
        path,
    })
}

/// The socket address of a path; a leading `@` stands for the zero byte of an abstract name.
fn unix_name(path: &Path) -> io::Result<SockAddr> {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => SockAddr::unix(OsStr::from_bytes(&[&[0], name].concat())),
        _ => SockAddr::unix(path),
    }
}

/// Removes a socket file that nobody answers on any more: what a server that was killed leaves behind. Two servers that start at the same instant
/// on the same stale path can still both get past this; there is no call that closes that gap.
fn remove_stale(path: &Path, name: &SockAddr, kind: Type) -> io::Result<()> {
    // Not following links: what a link points to is not ours to judge.
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something that is not a socket is there",
        ));
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    // A live server with a full backlog would hold a blocking probe for ever.
    probe.set_nonblocking(true)?;
    match probe.connect(name) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            info!(
                "{}: nobody answers on this socket file; replaced",
                crate::values::escape::Escaped(path.as_os_str().as_bytes())
            );
            std::fs::remove_file(path)
        }
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// A socket file that we made; removed with this value, unless somebody has put another in its place.
#[derive(Debug)]
pub(super) struct SocketPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketPath {
    fn of(path: &Path) -> io::Result<SocketPath> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(SocketPath {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    fn is_ours(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if self.is_ours() {
            if let Err(error) = std::fs::remove_file(&self.path) {
                warn!(
                    "{}: cannot remove: {error}",
                    crate::values::escape::Escaped(self.path.as_os_str().as_bytes())
                );
            }
        }
    }
}

fn start_error(verb: &str, address: &Address, error: io::Error) -> StartError {
    let hint = hint(address, &error);
    StartError::new(format!("{verb} {address}"), error).with_hint(hint)
}

fn reach_error(address: &Address, error: io::Error) -> StartError {
    let is_unix = matches!(address, Address::Unix(_) | Address::Unixgram(_));
    let hint = match (error.kind(), is_unix) {
        (io::ErrorKind::ConnectionRefused, true) => Some("nobody listens on that socket file"),
        (io::ErrorKind::NotFound, true) => Some("there is no such socket file"),
        (io::ErrorKind::PermissionDenied, true) => Some("you may not write to that socket file"),
        (io::ErrorKind::WouldBlock, true) => Some("its backlog is full"),
        (io::ErrorKind::AddrNotAvailable, false) => Some(
            "no local port is left for this target: net.ipv4.ip_local_port_range says how many there are for each local address",
        ),
        (io::ErrorKind::PermissionDenied, false) => {
            Some("a broadcast address is sent to with --broadcast")
        }
        _ if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            Some("it is a socket of the other kind: try unix: or unixgram:")
        }
        _ => None,
    };
    StartError::new(format!("connect to {address}"), error).with_hint(hint)
}

/// What the user can do about an address that cannot be had.
fn hint(address: &Address, error: &io::Error) -> Option<&'static str> {
    let port = match address {
        Address::Tcp(ip) | Address::Udp(ip) => Some(ip.port()),
        Address::Unix(_) | Address::Unixgram(_) => None,
    };
    Some(match (error.kind(), port) {
        (io::ErrorKind::AddrInUse, Some(_)) => {
            "another program has it: choose another port, or 0 for any free one"
        }
        (io::ErrorKind::AddrInUse, None) => "another server answers there: choose another path",
        (io::ErrorKind::AlreadyExists, None) => "choose another path, or remove it yourself",
        (io::ErrorKind::PermissionDenied, Some(1..1024)) => {
            "ports below 1024 need a privilege: run as root, grant CAP_NET_BIND_SERVICE, or choose a higher port"
        }
        (io::ErrorKind::PermissionDenied, None) => "you may not create files in that directory",
        (io::ErrorKind::AddrNotAvailable, Some(_)) => {
            "no interface of this machine has that address; 0.0.0.0 and [::] stand for all"
        }
        (io::ErrorKind::NotFound, None) => "the directory does not exist",
        (io::ErrorKind::InvalidInput, Some(_)) => {
            "an address of one link needs its interface: a group with --interface, any other as in [fe80::1%2]"
        }
        _ => return None,
    })
}
