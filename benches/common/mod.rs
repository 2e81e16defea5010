//! The servers that the benches over real sockets compare, and the clients that load them.
//!
//! Every server has a thread of its own and listens on ephemeral loopback ports, with the same
//! socket options. It runs only during its own benchmark. The clients are blocking sockets in the
//! thread of the bench: the least work for a client, and the same for every server.
//!
//! On Linux, server and clients are pinned to the first two CPUs that the process may use
//! (`taskset -c 2,3` chooses others). Without pinning, the scheduler puts both on one CPU for a
//! ping-pong and on two for many connections. That choice matters more than all differences between
//! servers. With only one CPU (`taskset -c 0`) they share it, and a round takes the CPU time of
//! both.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every bench uses its own part of this"
)]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;
use mynah::net::os::OsNet;
use mynah::{Address, Limits, Reactor, service};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a client waits for a reply. After that the server is broken and the bench fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The length of the backlog, as in the program's default.
const BACKLOG: u32 = 4096;

/// Ports that each server listens on. A bench with short connections uses them in turn.
///
/// The side that closes first has about 28,000 ports. It cannot use a port for the same server
/// address again for a time: one second on Linux loopback, minutes elsewhere.
const PORTS: usize = 8;

/// The message size of most benches, in bytes.
pub const SMALL: usize = 64;

/// A way to serve echo.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// mynah.
    Mynah,
    /// mynah, with busy polling for a millisecond before it sleeps.
    MynahBusy,
    /// std: one blocking thread with 16 KiB of buffer for each connection.
    Threads,
    /// tokio on one thread, with 16 KiB of buffer for each connection.
    Tokio,
}

/// The servers of every comparison.
pub const SERVERS: [Kind; 3] = [Kind::Mynah, Kind::Threads, Kind::Tokio];

/// The buffer of each connection of the other servers, in bytes.
const OTHER_BUFFER: usize = 16 * 1024;

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Mynah => "mynah",
            Kind::MynahBusy => "mynah-busy-poll",
            Kind::Threads => "std-threads",
            Kind::Tokio => "tokio",
        }
    }

    fn serve(self, announce: &Sender<Announced>) -> io::Result<()> {
        match self {
            Kind::Mynah => serve_mynah(None, announce),
            Kind::MynahBusy => serve_mynah(Some(Duration::from_millis(1)), announce),
            Kind::Threads => serve_threads(announce),
            Kind::Tokio => serve_tokio(announce),
        }
    }
}

/// Benches `round` with each of `servers`.
///
/// The first call of a benchmark starts its server and makes its load with `connect`. So a filter
/// on the command line starts only the servers it selects, and no idle server runs during a
/// measurement.
pub fn compare<L>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    servers: &[Kind],
    connect: impl Fn(&[SocketAddr]) -> L,
    round: impl Fn(&mut L),
) {
    cpu::pin(Side::Clients);
    for &kind in servers {
        // The load is dropped before the server: the server's threads end with their clients.
        let mut running: Option<(L, Server)> = None;
        group.bench_function(kind.name(), |bencher| {
            let (load, _) = running.get_or_insert_with(|| {
                let server = Server::start(kind);
                (connect(&server.addresses), server)
            });
            bencher.iter(|| round(load));
        });
    }
}

/// The two sides that have a CPU each.
#[derive(Clone, Copy, Debug)]
enum Side {
    Server,
    Clients,
}

#[cfg(target_os = "linux")]
mod cpu {
    use std::sync::OnceLock;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::Side;

    /// Pins the calling thread, and the threads that it starts, to the CPU of its side.
    pub(super) fn pin(side: Side) {
        // Read once, before the first pinning: a thread inherits the CPU of its parent.
        static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
        let allowed = ALLOWED.get_or_init(|| {
            let set = sched_getaffinity(None).expect("the CPUs of this process");
            (0..CpuSet::MAX_CPU)
                .filter(|&cpu| set.is_set(cpu))
                .collect()
        });
        if let [first, second, ..] = allowed[..] {
            let mut own = CpuSet::new();
            own.set(match side {
                Side::Server => first,
                Side::Clients => second,
            });
            sched_setaffinity(None, &own).expect("a CPU of this process");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod cpu {
    pub(super) fn pin(_side: super::Side) {}
}

/// What a server announces when it is ready: its addresses, and a function that stops it.
type Announced = (Vec<SocketAddr>, Box<dyn FnOnce() + Send>);

/// A server on its own thread. Dropping it stops the server and joins the thread.
struct Server {
    addresses: Vec<SocketAddr>,
    stop: Option<Box<dyn FnOnce() + Send>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(kind: Kind) -> Server {
        let (announce, announced) = mpsc::channel();
        let body = move || {
            cpu::pin(Side::Server);
            kind.serve(&announce).expect("the server runs");
        };
        let thread = thread::Builder::new()
            .name(kind.name().to_owned())
            .spawn(body)
            .expect("a thread for the server");
        let (addresses, stop) = announced.recv().expect("the server starts");
        Server {
            addresses,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            thread::panicking() || !matches!(ended, Some(Err(_))),
            "the server panicked"
        );
    }
}

fn serve_mynah(busy_poll: Option<Duration>, announce: &Sender<Announced>) -> io::Result<()> {
    let limits = Limits {
        max_connections: 4096,
        busy_poll,
        ..Limits::default()
    };
    let mut reactor = Reactor::new(OsNet::new()?, limits)?;
    let mut addresses = Vec::new();
    for _ in 0..PORTS {
        let echo =
            service::factory("echo", &service::Host::new("here", 1)).expect("echo is a service");
        match reactor
            .listen(&Address::Tcp(loopback()), BACKLOG, echo)
            .map_err(io::Error::other)?
        {
            Address::Tcp(address) => addresses.push(address),
            other => unreachable!("{other} for a TCP endpoint"),
        }
    }
    let handle = reactor.handle();
    let _ = announce.send((addresses, Box::new(move || handle.stop())));
    reactor.run();
    Ok(())
}

fn serve_threads(announce: &Sender<Announced>) -> io::Result<()> {
    let (listeners, stopped) = listen(announce)?;
    // The scope also joins the threads of the connections, which end with their clients.
    thread::scope(|scope| {
        for listener in listeners {
            let stopped = &stopped;
            scope.spawn(move || {
                loop {
                    let (stream, _) = listener.accept().expect("a connection");
                    if stopped.load(Ordering::Acquire) {
                        return;
                    }
                    scope.spawn(move || echo_blocking(stream));
                }
            });
        }
    });
    Ok(())
}

/// Echoes until the end of stream or an error.
fn echo_blocking(mut stream: TcpStream) {
    let mut buffer = [0; OTHER_BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn serve_tokio(announce: &Sender<Announced>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (listeners, stopped) = listen(announce)?;
        let mut accepting = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.push(tokio::spawn(accept_async(listener, stopped.clone())));
        }
        for task in accepting {
            task.await?;
        }
        Ok(())
    })
}

async fn accept_async(listener: tokio::net::TcpListener, stopped: Arc<AtomicBool>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        if stopped.load(Ordering::Acquire) {
            return;
        }
        tokio::spawn(echo_async(stream));
    }
}

async fn echo_async(mut stream: tokio::net::TcpStream) {
    let mut buffer = vec![0; OTHER_BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Makes and announces the listening sockets of the other servers, with the same options as
/// mynah's. On Linux, accepted sockets inherit TCP_NODELAY.
///
/// To stop the server, the announced function sets the flag and connects to each socket once, which
/// ends the wait in accept.
fn listen(announce: &Sender<Announced>) -> io::Result<(Vec<TcpListener>, Arc<AtomicBool>)> {
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..PORTS {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&loopback().into())?;
        socket.listen(BACKLOG as i32)?;
        let listener = TcpListener::from(socket);
        addresses.push(listener.local_addr()?);
        listeners.push(listener);
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let (flag, waiting) = (stopped.clone(), addresses.clone());
    let stop = move || {
        flag.store(true, Ordering::Release);
        for address in waiting {
            // This fails if the server has already ended.
            let _ = TcpStream::connect(address);
        }
    };
    let _ = announce.send((addresses, Box::new(stop)));
    Ok((listeners, stopped))
}

/// Any free port on loopback.
fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Connections that send one message of the same size in each round.
pub struct Clients {
    streams: Vec<TcpStream>,
    message: Vec<u8>,
    reply: Vec<u8>,
}

impl Clients {
    /// Connects, then runs one round and compares its replies with the message.
    ///
    /// After that the server has accepted every connection, and the measured rounds need not
    /// compare.
    pub fn connect(addresses: &[SocketAddr], connections: usize, size: usize) -> Clients {
        // Both ends are in this process. The rest is for the selector, the listeners and the
        // standard streams.
        need_descriptors(2 * connections + 64);
        let streams = (0..connections)
            .map(|_| connect(addresses[0]))
            .collect::<Vec<_>>();
        for stream in &streams {
            stream.set_nodelay(true).expect("TCP_NODELAY");
            stream
                .set_write_timeout(Some(PATIENCE))
                .expect("a write timeout");
        }
        let message: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        let mut clients = Clients {
            streams,
            message,
            reply: vec![0; size],
        };
        clients.send();
        for stream in &mut clients.streams {
            clients.reply.fill(0);
            stream.read_exact(&mut clients.reply).expect("a reply");
            assert!(
                clients.reply == clients.message,
                "the echo differs from the message"
            );
        }
        clients
    }

    /// Sends one message on every connection, then reads one reply from every connection.
    pub fn round(&mut self) {
        self.send();
        for stream in &mut self.streams {
            stream.read_exact(&mut self.reply).expect("a reply");
        }
    }

    fn send(&mut self) {
        for stream in &mut self.streams {
            stream
                .write_all(&self.message)
                .expect("the server accepts the message");
        }
    }
}

/// Connects, with a timeout for every read.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a read timeout");
    stream
}

/// Sends a FIN on every connection, then waits for the FIN of the server.
pub fn hang_up(streams: Vec<TcpStream>) {
    for stream in &streams {
        stream
            .shutdown(Shutdown::Write)
            .expect("a connection to shut down");
    }
    for mut stream in streams {
        let left = stream.read(&mut [0]).expect("the server's end of stream");
        assert_eq!(left, 0, "the server sent more than the replies");
    }
}

/// Raises the soft limit of descriptors as far as the hard limit allows. The soft limit is low only
/// for programs that use select(2).
fn need_descriptors(needed: usize) {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0);
    assert!(
        limit >= needed as u64,
        "this bench needs {needed} descriptors, but the limit is {limit}: \
         raise the hard limit (ulimit -Hn)"
    );
}
