//! What the benches over real sockets share: the servers that are compared, and the clients that load them.
//!
//! Every server runs on a thread of its own, behind a listening socket with the same options on an ephemeral loopback port, and stands only
//! while its benchmark runs. The clients are blocking sockets in the bench's thread: the least work that a client can have, and the same for all.
//!
//! On Linux the server has one processor and the clients another, the first two that the process may use (`taskset -c 2,3` chooses others). Left
//! alone, the scheduler puts both on one processor for a ping-pong and on two for a crowd, and its choice outweighs every difference between servers.
//! With one processor to use (`taskset -c 0`) they share it, and a round then takes what client and server burn together.

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

/// How long a client waits for an answer before the bench gives up on a broken server.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pending connections, as the program's default.
const BACKLOG: u32 = 4096;

/// How many ports each server listens on, so that a bench that opens and closes fast can go from one to the next: the side that closes
/// first has some 28,000 ports, and cannot use one towards the same server again for a second (Linux, on the loopback) to minutes.
const PORTS: usize = 8;

/// The message of most benches, in bytes.
pub const SMALL: usize = 64;

/// A way to serve echo.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Our reactor.
    Mynah,
    /// Our reactor, which goes on polling for a millisecond before it sleeps.
    MynahBusy,
    /// What std offers: one thread a connection, blocking, 16 KiB of buffer each.
    Threads,
    /// What most people would take: tokio on one thread, 16 KiB of buffer a connection.
    Tokio,
}

/// The servers of every comparison.
pub const SERVERS: [Kind; 3] = [Kind::Mynah, Kind::Threads, Kind::Tokio];

/// The buffer that each connection of the peers owns.
const PEER_BUFFER: usize = 16 * 1024;

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

/// Benches `round` against each of `servers`. A server starts, and `connect` makes its load, with the first call of its own benchmark, so that a
/// filter on the command line starts nothing else, and no server idles beside another that is measured.
pub fn compare<L>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    servers: &[Kind],
    connect: impl Fn(&[SocketAddr]) -> L,
    round: impl Fn(&mut L),
) {
    processors::take(Side::Clients);
    for &kind in servers {
        // The load comes first, to be dropped first: the thread of a connection ends with its client.
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

/// Who runs on a processor of its own.
#[derive(Clone, Copy, Debug)]
enum Side {
    Server,
    Clients,
}

#[cfg(target_os = "linux")]
mod processors {
    use std::sync::OnceLock;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::Side;

    /// Binds the calling thread, and the threads that it starts, to the processor of its side.
    pub(super) fn take(side: Side) {
        // Asked once, before anything is bound: threads inherit what their parent was bound to.
        static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
        let allowed = ALLOWED.get_or_init(|| {
            let set = sched_getaffinity(None).expect("the processors that may be used");
            (0..CpuSet::MAX_CPU)
                .filter(|&processor| set.is_set(processor))
                .collect()
        });
        if let [first, second, ..] = allowed[..] {
            let mut own = CpuSet::new();
            own.set(match side {
                Side::Server => first,
                Side::Clients => second,
            });
            sched_setaffinity(None, &own).expect("a processor that may be used");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod processors {
    pub(super) fn take(_side: super::Side) {}
}

/// What a server says once it can be used: its addresses, and how to stop it.
type Announced = (Vec<SocketAddr>, Box<dyn FnOnce() + Send>);

/// A server on a thread of its own. Stopped and joined when dropped.
struct Server {
    addresses: Vec<SocketAddr>,
    stop: Option<Box<dyn FnOnce() + Send>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(kind: Kind) -> Server {
        let (announce, announced) = mpsc::channel();
        let body = move || {
            processors::take(Side::Server);
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
    // The scope joins the threads of the connections too; they end with their clients.
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

/// Echoes until the end of stream or an error, either of which ends the conversation.
fn echo_blocking(mut stream: TcpStream) {
    let mut buffer = [0; PEER_BUFFER];
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
    let mut buffer = vec![0; PEER_BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Listening sockets for the peers, with the options that ours have: TCP_NODELAY is handed down to what is accepted, on Linux. Announces them;
/// whoever stops the server sets the flag and then connects to each once, to end the wait in accept.
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
            // A server that does not listen any more has ended already.
            let _ = TcpStream::connect(address);
        }
    };
    let _ = announce.send((addresses, Box::new(stop)));
    Ok((listeners, stopped))
}

/// Any free port of the loopback.
fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Connections, each with one message of the same size, that take turns with the server in rounds.
pub struct Clients {
    streams: Vec<TcpStream>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl Clients {
    /// Connects, and plays one round whose answers are compared with what was sent: afterwards every connection is known to be
    /// accepted and served, and the measured rounds need not compare.
    pub fn connect(addresses: &[SocketAddr], connections: usize, size: usize) -> Clients {
        // Both ends lie in this process; the rest is for the selector, the listeners and the standard streams.
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
            answer: vec![0; size],
        };
        clients.send();
        for stream in &mut clients.streams {
            clients.answer.fill(0);
            stream.read_exact(&mut clients.answer).expect("an answer");
            assert!(
                clients.answer == clients.message,
                "the echo differs from what was sent"
            );
        }
        clients
    }

    /// One message on every connection, then one answer from every connection.
    pub fn round(&mut self) {
        self.send();
        for stream in &mut self.streams {
            stream.read_exact(&mut self.answer).expect("an answer");
        }
    }

    fn send(&mut self) {
        for stream in &mut self.streams {
            stream
                .write_all(&self.message)
                .expect("the server takes the message");
        }
    }
}

/// Connects, with a deadline on every read.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a read timeout");
    stream
}

/// Says on every connection that no more will be sent, and waits until the server has said the same: it is done with them then.
pub fn hang_up(streams: Vec<TcpStream>) {
    for stream in &streams {
        stream
            .shutdown(Shutdown::Write)
            .expect("a connection to shut down");
    }
    for mut stream in streams {
        let left = stream.read(&mut [0]).expect("the server's end of stream");
        assert_eq!(left, 0, "the server sent more than it was asked for");
    }
}

/// Raises the soft limit, which is low for the sake of programs that use select(2), where the hard one allows it.
fn need_descriptors(needed: usize) {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0);
    assert!(
        limit >= needed as u64,
        "this bench needs {needed} descriptors and may have {limit}: raise the hard limit (ulimit -Hn)"
    );
}
