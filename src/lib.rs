//! An echo and response server for TCP, UDP and Unix sockets, with its client and its load
//! generator. Everything runs on one single-threaded [mio] poll loop.
//!
//! This page shows how the library is built: its promises, its modules, what to read first, and the
//! words it uses. The README describes the program: its options, with recipes.
//!
//! # The promises
//!
//! 1. **Every byte before your FIN comes back before ours,** urgent data included.
//! 2. **A reply is delivered, not reset.** A close after a reply flushes, shuts down and lingers
//!    over unread input, within bounds.
//! 3. **No peer can stop the server.** No packet, no order of packets, no errno (ENOMEM included)
//!    ends the process or another peer's connection.
//! 4. **Memory is bounded,** for each peer and in total. A connection that is idle between messages
//!    owns no buffer; one that is idle inside a message loses it after a deadline.
//! 5. **Nobody starves.** A turn of the loop is bounded in work, whatever the mix of sources;
//!    listeners take turns at a limit.
//! 6. **Out of descriptors is a pause, not a spin and not a hang.**
//! 7. **UDP answers from the address that was asked,** one whole datagram for one, 0 to 65,507
//!    bytes.
//! 8. **A datagram server cannot be turned against others or itself:** UDP and Unix.
//! 9. **A drain loses nothing** that was received before it began, ends on time, and its exit
//!    status says what was cut.
//! 10. **What a peer sends cannot forge a log line or a terminal escape,** and output that is lost
//!     is counted and reported.
//!
//! Each promise has tests. The README lists them.
//!
//! # The house
//!
//! One idea for each folder. An arrow points at what a folder uses. A folder may also use the rows
//! further down, but not `net::os` and `net::sim`: the rest of the library is written against
//! the trait `Net`, and only the program chooses `net::os`. `tests/layering.rs` holds the exact
//! table, reads every import, and fails if one is not in it.
//!
//! ```text
//!   main ──▶ cli ──▶ load             the program; the load generator
//!             │       │
//!             ▼       ▼
//!           reactor                   the loop: wait → mark → run → commands → lifecycle
//!             │       │
//!             ▼       ▼
//!          stream   datagram          state machines, generic over the trait Net
//!             └───┬───┘
//!             ┌───┴───┐
//!             ▼       ▼
//!          service   net              what is replied; sockets, selector and clock
//!             └───┬───┘
//!                 ▼
//!              values                 small types, no I/O
//! ```
//!
//! | folder | what it holds |
//! |---|---|
//! | [`values`] | small types: token, readiness, time, addresses, limits, counters, close reasons |
//! | [`net`] | the trait [`Net`](net::Net); [`net::os`], on mio; [`net::sim`], the simulator |
//! | [`service`] | the trait [`Service`](service::Service), and one file for each service |
//! | [`stream`] | TCP and Unix streams: listeners, connections, pending output |
//! | [`datagram`] | UDP and Unix datagrams: receiving, who may get a reply, sending |
//! | [`reactor`] | the loop: table of sources, run queue, timer, lifecycle |
//! | `load` | the load generator: clients on the same reactor (feature `load`) |
//! | `cli` | the program: command line, configuration, log, output (feature `cli`) |
//!
//! # A turn of the loop
//!
//! The loop first *marks* every event on the source it is for. Then it *runs* each marked source
//! once, within a budget. Nothing is created or destroyed during marking, so an event cannot reach
//! a source that later takes the same slot. [`reactor`] describes all phases of a turn.
//!
//! # What to read
//!
//! To understand the loop, read these files, in this order. You need no others.
//!
//! | file in `src/` | what to look for |
//! |---|---|
//! | `values/token.rs` | why the name of a source holds a generation as well as a slot |
//! | `values/ready.rs` | what sets a readiness bit, and the only thing that clears it |
//! | `net/mod.rs` | the trait `Net`, and what an edge-triggered selector does *not* promise |
//! | `service/mod.rs` | the callbacks of a service, and what it must obey |
//! | `service/echo.rs` | the smallest service: all the hard parts are elsewhere |
//! | `net/turn.rs` | what the loop lends to a source, and the three outcomes of a run |
//! | `values/limits.rs` | every bound, with the measurement that chose it |
//! | `stream/outbox.rs` | why a server does not read from a client that has pending output |
//! | `stream/transport.rs` | how a reply goes straight to the socket, and when it is copied |
//! | `stream/halves.rs` | the states of both halves, and the one table of legal steps |
//! | `stream/deadlines.rs` | every deadline of a connection, and what an expired one means |
//! | `stream/role.rs` | what a client does differently from a server |
//! | `stream/connection.rs` | the order of writing and reading, and why a close must linger |
//! | `stream/connection/shutdown.rs` | how each half ends, and when our end of stream may go |
//! | `stream/connection/status.rs` | what the loop asks of a connection between two runs |
//! | `stream/connection/ending.rs` | how a connection that is overdue, or cut, is judged |
//! | `stream/listener.rs` | how accepting pauses at a limit, and what ends the pause |
//! | `reactor/sources.rs` | how an event finds its source, or turns out to be stale |
//! | `reactor/run_queue.rs` | why a source that used up its budget must be remembered here |
//! | `reactor/timer.rs` | one alarm for each source, pushed back without touching the heap |
//! | `reactor/sleep.rs` | how long the loop may sleep |
//! | `reactor/opening.rs` | how sources come |
//! | `reactor/source.rs` | the kinds of sources, and what the loop asks each of them |
//! | `reactor/accepting.rs` | who accepts next when slots or descriptors run out |
//! | `reactor/ending.rs` | the one way out for every source, and what a drain waits for |
//! | `reactor/panics.rs` | what a panic of a service costs |
//! | `reactor/commands.rs` | what handles and signals may ask for |
//! | `reactor/lifecycle.rs` | running, draining, stopped: a pure state machine |
//! | `reactor/mod.rs` | the turn: all of the above, in order |
//!
//! # The words
//!
//! * **source**: anything the loop waits for: a connection, a listener, a datagram socket, the
//!   signals, the waker.
//! * **token**: the name of a source: its slot and generation in one word. It names nothing after
//!   the source is gone, although slots are reused.
//! * **turn**: one pass of the loop: one wait, one reading of the clock, at most one run of each
//!   source.
//! * **readiness**: what a source may be able to do next. A bit stays set until a system call
//!   disproves it.
//! * **interest**: the readiness that the selector announces. A stream asks for readable and
//!   writable once, for its whole life.
//! * **lost edge**: readiness that was announced once, was not used up and is stored nowhere. The
//!   source then hangs for ever. [`Reactor::audit`] looks for lost edges.
//! * **budget**: the work that a source, or a whole turn, may do before the others get their share.
//! * **pending output**: bytes that the peer has not received because its socket did not accept
//!   them.
//! * **outbox**: the buffer for pending output. While it is not empty, a connection in the server
//!   role reads nothing.
//! * **server role, client role**: a source in the server role answers; one in the client role
//!   started the connection and sends first.
//! * **message**: what one reply answers. A datagram is a message. On a stream, the **framing**
//!   finds messages: whatever one read returned, a line, text up to a delimiter, a fixed length, or
//!   a length prefix. A **frame** is a message with its delimiter or prefix.
//! * **half-close**: one direction of a connection has ended and the other continues.
//! * **linger**: after its FIN, the server reads and drops what the peer still sends, within
//!   bounds. Closing a socket with unread input sends a reset, and a reset destroys replies that
//!   the peer has not read.
//! * **hold**: to leave input in the kernel because there is no room for the replies. The kernel
//!   then makes the peer wait (backpressure).
//! * **backlog**: connections that the kernel has completed and the server has not accepted.
//! * **parked**: a listener that does not accept, although connections may be waiting, because
//!   descriptors have run out or the connection limit is reached.
//! * **drain**: an orderly end. Listeners close, input that has arrived is answered, and
//!   connections end, all before a deadline. Reading until `WouldBlock` is not called a drain here.
//! * **closed loop, open loop**: two ways to generate load. In a closed loop, a client sends its
//!   next message after a reply. In an open loop, messages are due at a fixed rate, whatever the
//!   target does.
//! * **response time**: the time from the moment a message was due to the last byte of its reply.
//!   **Service time** starts when it was sent.
//! * **window**: the measured part of a run. A message counts if it was due inside the window.
//!
//! # A service of your own
//!
//! A service sees bytes, the time and its peer, and it replies. This one tells each client how many
//! bytes it sent:
//!
//! ```no_run
//! use mynah::net::os::OsNet;
//! use mynah::service::{Action, Context, Service};
//! use mynah::{Address, Ending, Limits, Reactor};
//!
//! #[derive(Default)]
//! struct Count(u64);
//!
//! impl Service for Count {
//!     fn on_data(&mut self, _cx: &mut Context<'_>, input: &[u8]) -> Action {
//!         self.0 += input.len() as u64;
//!         Action::Continue
//!     }
//!
//!     fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
//!         cx.reply(format!("{} bytes\n", self.0).as_bytes());
//!         Action::FINISH
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut reactor = Reactor::new(OsNet::new()?, Limits::default())?;
//!     let address = Address::Tcp("127.0.0.1:0".parse()?);
//!     let bound = reactor.listen(&address, 1024, Box::new(|_| Box::<Count>::default()))?;
//!     println!("listening on {bound}");
//!
//!     // A handle controls the reactor from another thread.
//!     let handle = reactor.handle();
//!     std::thread::spawn(move || {
//!         std::thread::sleep(std::time::Duration::from_secs(60));
//!         handle.terminate();
//!     });
//!     assert_eq!(reactor.run(), Ending::Clean);
//!     Ok(())
//! }
//! ```
//!
//! The same service also runs on the simulator ([`SimNet`](net::sim::SimNet)). Its sockets are in
//! memory, its clock is virtual, and any system call can be made to fail. `examples/wc.rs` tests a
//! service that way.
//!
//! # Features
//!
//! * `cli`, on by default: the program, and [`Reactor::catch_signals`] in the library. It includes
//!   `load`.
//! * `load`: the load generator, with hdrhistogram.
//!
//! With `default-features = false` the library needs only mio, slab, log, socket2 and libc.
//!
//! [mio]: https://docs.rs/mio

pub mod datagram;
#[cfg(feature = "load")]
pub mod load;
pub mod net;
pub mod reactor;
pub mod service;
pub mod stream;
pub mod values;

pub use reactor::handle::Handle;
pub use reactor::lifecycle::Lifecycle;
pub use reactor::{Ending, Reactor};
pub use values::counted::Counted;
pub use values::dice::Dice;
pub use values::endpoint::{Address, Endpoint, EndpointError, HostPort};
pub use values::error::{CloseReason, StartError};
pub use values::escape::{Escaped, Hex};
pub use values::limits::{self, Limits};
pub use values::peer::Peer;
pub use values::ready::Ready;
pub use values::refusal::Refusal;
pub use values::signal::Signal;
pub use values::stats::{Closed, Stats};
pub use values::time::Time;
pub use values::token::{Generation, Token};

/// An idle connection takes 128 bytes: this, its row in the table of sources (16), and its entry in
/// the heap of alarms (16). In a debug build mio's sockets are longer.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<stream::connection::Connection<net::os::OsNet>>() <= 96);

/// Compiles the examples of the README, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
