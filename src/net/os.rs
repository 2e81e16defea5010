//! The operating system's sockets, through mio.
//!
//! Owns the poll and the choice between TCP and Unix below one shape. Must never retry, buffer or
//! decide anything: one call of [`Net`] is one system call here.

mod datagrams;
mod selectors;
mod streams;
mod timer;

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Waker};
use socket2::SockRef;

use self::selectors::{BOTH, BOTH_AND_PRIORITY, EDGE_AFTER_PARTIAL, HAS_PRIORITY};
use self::timer::Timer;
use super::kinds::unix_peer;
pub use super::kinds::{Datagram, Listener, OwnedPath, Stream};
pub use super::signals::Signals;
use super::{Burst, DatagramOptions, Event, Net, StreamOptions, Transmit, Wake, socket};
use crate::values::endpoint::Address;
use crate::values::error::StartError;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::signal::Signal;
use crate::values::time::Time;
use crate::values::token::Token;

/// The most events that one wait delivers; 12 KiB. The others come with the next wait, at most one
/// run of each of these sources later.
const EVENTS: usize = 1024;

/// The operating system.
#[derive(Debug)]
pub struct OsNet<const STAMPED: bool = false> {
    poll: Poll,
    events: Events,
    start: Instant,
    streams: StreamOptions,
    datagrams: DatagramOptions,
    timer: Option<Timer>,
    /// How long the bytes of the last read lay in the socket, where that was told.
    unread: Option<Duration>,
}

impl OsNet {
    /// A selector with nothing registered.
    ///
    /// # Errors
    ///
    /// The operating system has no descriptor for the selector.
    pub fn new() -> io::Result<OsNet> {
        Ok(OsNet {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            start: Instant::now(),
            streams: StreamOptions::default(),
            datagrams: DatagramOptions::default(),
            timer: None,
            unread: None,
        })
    }

    /// The same, and each read of TCP and UDP tells how long its bytes lay in the socket
    /// ([`Context::waited_unread`]), if the system knows (Linux). A type of its own, so that it
    /// costs nothing where nobody asks.
    ///
    /// [`Context::waited_unread`]: crate::service::Context::waited_unread
    pub fn stamped(self) -> OsNet<true> {
        OsNet {
            poll: self.poll,
            events: self.events,
            start: self.start,
            streams: self.streams,
            datagrams: self.datagrams,
            timer: self.timer,
            unread: None,
        }
    }
}

impl<const STAMPED: bool> OsNet<STAMPED> {
    /// Sets the start of the clock, so that several loops share one time.
    pub fn with_start(self, start: Instant) -> Self {
        OsNet { start, ..self }
    }

    /// Sets the options of TCP streams.
    pub fn with_stream_options(self, options: StreamOptions) -> Self {
        OsNet {
            streams: options,
            ..self
        }
    }

    /// Sets the options of UDP sockets.
    pub fn with_datagram_options(self, options: DatagramOptions) -> Self {
        OsNet {
            datagrams: options,
            ..self
        }
    }

    fn watch(
        &self,
        source: &mut dyn mio::event::Source,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.poll
            .registry()
            .register(source, token.into(), interest)
    }
}

/// Both kinds of stream read and write alike; only their types differ.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            Stream::Unix($inner) => $call,
        }
    };
}

/// The bits that few events have.
#[cold]
fn rare(event: &mio::event::Event) -> Ready {
    Ready::ERROR.when(event.is_error())
        | Ready::PRIORITY.when(event.is_priority())
        | Ready::READ_CLOSED.when(event.is_read_closed())
        | Ready::WRITE_CLOSED.when(event.is_write_closed())
}

impl<const STAMPED: bool> Net for OsNet<STAMPED> {
    type Listener = Listener;
    type Stream = Stream;
    type Datagram = Datagram;
    type Signals = Signals;

    fn now(&mut self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    fn wall_clock(&mut self) -> Duration {
        SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
    }

    #[inline]
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let result = self.poll.poll(&mut self.events, timeout);
        if result.is_err() {
            self.events.clear();
        }
        result
    }

    fn add_timer(&mut self, token: Token) -> io::Result<bool> {
        // The poll(2) selector arms a source again when a read of it blocks; nobody reads a timer.
        if !EDGE_AFTER_PARTIAL {
            return Ok(false);
        }
        self.timer = Timer::new(self.poll.registry(), token, self.start)?;
        Ok(self.timer.is_some())
    }

    #[inline]
    fn set_timer(&mut self, at: Time) {
        if let Some(timer) = &mut self.timer {
            timer.set(at);
        }
    }

    fn pause(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }

    #[inline]
    fn events(&self) -> impl Iterator<Item = Event> {
        self.events.iter().map(|event| {
            let ready = Ready::READABLE.when(event.is_readable())
                | Ready::WRITABLE.when(event.is_writable());
            let token = event.token().into();
            // If only the write side closed, the event also says writable, and the write will fail.
            // To check for it here would cost every event. Errors and urgent marks share one test.
            if event.is_error() | event.is_priority() || event.is_read_closed() {
                return Event::new(token, ready | rare(event));
            }
            Event { token, ready }
        })
    }

    #[inline]
    fn short_read_drains(&self, stream: &Stream) -> bool {
        EDGE_AFTER_PARTIAL && HAS_PRIORITY && matches!(stream, Stream::Tcp(_))
    }

    #[inline]
    fn short_write_fills(&self, _stream: &Stream) -> bool {
        EDGE_AFTER_PARTIAL
    }

    #[inline]
    fn short_burst_drains(&self, _socket: &Datagram) -> bool {
        EDGE_AFTER_PARTIAL
    }

    fn unsent(&self, stream: &Stream) -> Option<usize> {
        streams::unsent(stream)
    }

    fn is_stuck(&self, stream: &Stream) -> bool {
        streams::is_stuck(stream)
    }

    fn waker(&mut self, token: Token) -> io::Result<Arc<dyn Wake>> {
        Ok(Arc::new(Waker::new(self.poll.registry(), token.into())?))
    }

    fn catch_signals(&mut self, token: Token) -> io::Result<Signals> {
        let mut signals = Signals::catch(token)?;
        self.watch(signals.source(), token, Interest::READABLE)?;
        Ok(signals)
    }

    fn next_signal(&mut self, signals: &mut Signals) -> Option<Signal> {
        let next = signals.next();
        if next.is_none() {
            // signal-hook empties its pipe behind mio's back, so a selector that re-arms on
            // `WouldBlock` would not tell of the next signal: on mio's poll(2) a second SIGTERM was
            // lost (`tests/drain.rs`). Without this the first one still works.
            let token = signals.token();
            if let Err(error) =
                self.poll
                    .registry()
                    .reregister(signals.source(), token.into(), Interest::READABLE)
            {
                log::warn!("cannot watch for further signals: {error}");
            }
        }
        next
    }

    fn listen(
        &mut self,
        address: &Address,
        backlog: u32,
        token: Token,
    ) -> Result<(Listener, Address), StartError> {
        let bound = socket::listen(address, backlog, &self.streams)?;
        let mut listener = match address {
            Address::Tcp(_) => Listener::Tcp(TcpListener::from_std(bound.socket.into())),
            _ => Listener::Unix(
                bound.path.map(OwnedPath),
                UnixListener::from_std(bound.socket.into()),
            ),
        };
        let watched = match &mut listener {
            Listener::Tcp(socket) => self.watch(socket, token, Interest::READABLE),
            Listener::Unix(_, socket) => self.watch(socket, token, Interest::READABLE),
        };
        watched.map_err(|error| StartError::new(format!("watch {address}"), error))?;
        Ok((listener, bound.address))
    }

    fn accept(&mut self, listener: &mut Listener) -> io::Result<(Stream, Peer)> {
        match listener {
            Listener::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                socket::adopt_tcp(SockRef::from(&stream), &self.streams);
                Ok((Stream::Tcp(stream), address.into()))
            }
            Listener::Unix(_, socket) => {
                let (stream, address) = socket.accept()?;
                socket::adopt_unix(SockRef::from(&stream));
                Ok((Stream::Unix(stream), unix_peer(&address)))
            }
        }
    }

    fn close_listener(&mut self, listener: Listener) {
        drop(listener);
    }

    fn connect(
        &mut self,
        remote: &Address,
        local: Option<&Address>,
        token: Token,
    ) -> Result<Stream, StartError> {
        let socket = socket::connect(remote, local, &self.streams)?;
        if STAMPED {
            streams::stamp(&socket);
        }
        let mut stream = match remote {
            Address::Tcp(_) => Stream::Tcp(TcpStream::from_std(socket.into())),
            _ => Stream::Unix(UnixStream::from_std(socket.into())),
        };
        self.register(&mut stream, token)
            .map_err(|error| StartError::new(format!("watch {remote}"), error))?;
        Ok(stream)
    }

    fn is_connected(&mut self, stream: &mut Stream) -> io::Result<bool> {
        if let Some(error) = self.take_error(stream)? {
            return Err(error);
        }
        let named = match stream {
            Stream::Tcp(socket) => socket.peer_addr().map(|_| ()),
            Stream::Unix(socket) => socket.peer_addr().map(|_| ()),
        };
        match named {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn register(&mut self, stream: &mut Stream, token: Token) -> io::Result<()> {
        match stream {
            Stream::Tcp(socket) => self.watch(socket, token, BOTH_AND_PRIORITY),
            Stream::Unix(socket) => self.watch(socket, token, BOTH),
        }
    }

    #[inline]
    fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        if STAMPED {
            return streams::read_stamped(stream, buffer, &mut self.unread);
        }
        either!(stream, socket => socket.read(buffer))
    }

    #[inline]
    fn write(&mut self, stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
        either!(stream, socket => socket.write(bytes))
    }

    #[inline]
    fn write_vectored(&mut self, stream: &mut Stream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(stream, socket => socket.write_vectored(pieces))
    }

    fn finish(&mut self, stream: &mut Stream) -> io::Result<()> {
        either!(stream, socket => socket.shutdown(std::net::Shutdown::Write))
    }

    fn local(&self, stream: &Stream) -> io::Result<Peer> {
        match stream {
            Stream::Tcp(socket) => socket.local_addr().map(Peer::from),
            Stream::Unix(socket) => socket.local_addr().map(|address| unix_peer(&address)),
        }
    }

    fn take_error(&mut self, stream: &mut Stream) -> io::Result<Option<io::Error>> {
        either!(stream, socket => socket.take_error())
    }

    fn close(&mut self, stream: Stream) {
        drop(stream);
    }

    fn abort(&mut self, stream: Stream) {
        if let Stream::Tcp(socket) = &stream {
            // With a linger of zero, close sends RST. Unix sockets have no reset of their own:
            // their peer sees one if we leave bytes of it unread, an end of stream otherwise. A
            // peer that is gone already gives an error, and needs no reset.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        drop(stream);
    }

    fn bind(&mut self, address: &Address, token: Token) -> Result<(Datagram, Address), StartError> {
        datagrams::bind(self, address, token)
    }

    fn associate(
        &mut self,
        remote: &Address,
        local: Option<&Address>,
        token: Token,
    ) -> Result<Datagram, StartError> {
        datagrams::associate(self, remote, local, token)
    }

    #[inline]
    fn receive(&mut self, socket: &mut Datagram, burst: &mut Burst) -> io::Result<()> {
        datagrams::receive(socket, burst)
    }

    #[inline]
    fn send(&mut self, socket: &mut Datagram, messages: &[Transmit<'_>]) -> io::Result<usize> {
        datagrams::send(socket, messages)
    }

    fn offloads(&self, socket: &Datagram) -> bool {
        datagrams::offloads(socket)
    }

    fn blocks_per_peer(&self, socket: &Datagram) -> bool {
        matches!(socket, Datagram::Unix(..))
    }

    fn is_local(&self, address: SocketAddr) -> bool {
        socket::is_local(address)
    }

    fn waited_unread(&self) -> Option<Duration> {
        self.unread
    }

    fn unread(&self, socket: &Datagram) -> Option<(usize, usize)> {
        datagrams::unread(socket)
    }

    fn close_datagram(&mut self, socket: Datagram) {
        drop(socket);
    }
}

impl Wake for Waker {
    fn wake(&self) -> io::Result<()> {
        Waker::wake(self)
    }
}
