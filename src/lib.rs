//! An echo and response server for TCP, UDP and Unix sockets, its client and its load generator, on one single-threaded [mio] poll loop, made to be relied on and to be read.
//!
//! This page is the front door of the library: the house, the promises, who may import whom, and the words. What the program does, with its
//! options and recipes, is in the README.
//!
//! # The house
//!
//! One idea a layer. Arrows point down only.
//!
//! ```text
//!               bytes in, bytes out: no sockets, no clock
//!   service/    echo  discard  chargen  whoami  messages …    trait Service
//!      ▲        on_open · on_data · on_eof · on_writable · on_alarm · on_close
//!      │
//!   connection.rs   datagram.rs   listener.rs              one state machine
//!      ▲            each, generic over Net, lent the Resources of a turn
//!      │        Event { token, ready }
//!   reactor.rs  wait → mark → run within budget            sources.rs
//!      ▲          → commands → lifecycle                   run_queue.rs
//!      │        trait Net: wait, now, accept, read, …      timer.rs
//!   net/os.rs            net/sim.rs                        token.rs ready.rs
//!   mio, real sockets    sockets in memory, a clock
//!                        that obeys, any error
//! ```
//!
//! A turn of the loop first *marks* every event on the source it was meant for, and only then *runs* the sources that are marked: each once,
//! each within a budget. Nothing is created or destroyed while marking, so no event can meet the next owner of a slot.
//! [`Reactor`] says more.
//!
//! # The promises
//!
//! 1. **Every byte before your FIN comes back before ours.** Half-close is exact at any size and any speed, both directions.
//! 2. **A reply is delivered, not reset.** A server-side close after a reply flushes, shuts down, and lingers over unread input, within bounds.
//! 3. **No peer can stop the server.** No packet, no order of packets, no errno of any system call ends the process or another peer's connection.
//! 4. **Memory is bounded.** A peer that never reads costs a fixed number of bytes. An idle connection owns no buffer.
//! 5. **Nobody starves.** A flooding peer gets its budget a turn; the others are served every turn.
//! 6. **Out of descriptors is a pause, not a spin and not a hang.** No CPU is burnt; the next free descriptor serves the next client at once,
//!    without a new SYN.
//! 7. **UDP answers from the address that was asked,** one whole datagram for one, 0 to 65,507 bytes.
//! 8. **UDP cannot be turned against others.** No reply to port 0, to well-known UDP services, to broadcast or multicast sources, or to
//!    ourselves; by default no reply larger than its request.
//! 9. **A drain loses nothing** that was received before it began, and ends on time.
//! 10. **What a peer sends cannot forge a log line or a terminal escape.**
//!
//! The README lists the test behind each of them.
//!
//! # The modules
//!
//! | file | what it is for |
//! |---|---|
//! | `token.rs` `ready.rs` | identity: slot and generation in one word ([`Token`]); what a source may do next, six bits that print as `rw-h--` ([`Ready`]) |
//! | `timer.rs` `run_queue.rs` `sources.rs` | deadlines ([`timer`]); the queue of what can run; the table where an event meets its source |
//! | `outbox.rs` | bytes that a peer is owed, bounded ([`outbox`]) |
//! | `peer.rs` `endpoint.rs` `escape.rs` | who is at the other end; where to listen; text from outside, safe to show |
//! | `error.rs` `stats.rs` `limits.rs` | why a connection ended and why a start failed; plain counters, the oracle of the tests; every bound in one place |
//! | `connection.rs` `datagram.rs` `listener.rs` | the three state machines; `connection/wire.rs` is the way of a service to its peer |
//! | `lifecycle.rs` `handle.rs` `signals.rs` | running, draining, stopped; what another thread may hold; signals as one more source |
//! | `resources.rs` `reactor.rs` | what a source is lent while it runs; the only poll loop |
//! | `service/` | what is said: the trait, and one file a service; messages, their framing and templates ([`service`]) |
//! | `net/` | the seam: `mod.rs` the trait and the event, `os.rs` mio, `socket.rs` options and binding, `sim.rs` the simulator ([`net`]) |
//! | `load/` | the load generator: clients on the same reactor, a pacer of pure functions, what a run came to ([`load`], with the feature `load`) |
//! | `cli/` `main.rs` | the program, which uses this library as anybody else would: words, texts and their encodings, printing, `connect/`; with the feature `cli` alone |
//!
//! To understand it all, read `token`, `ready`, `sources`, `run_queue`, `outbox`, `connection`, `reactor`, `service/echo`, in this order.
//!
//! # Who may import whom
//!
//! From the ground up; each floor knows those below it, and not all of them. The table in `tests/layering.rs` is the law, module by module, and
//! fails on a breach.
//!
//! ```text
//!   main       cli alone
//!   cli        the library's front page, net::os, service, load
//!   load       the reactor and what a service knows: never net::os or net::sim
//!   reactor    all below, but never net::os or net::sim
//!   connection, listener, datagram      never one another, never the reactor, its table, its handle or its lifecycle
//!   service    error escape peer timer: never a socket, never the loop
//!   net::os    net::sim                 the only ones that know sockets, mio (with token) and clocks
//!   net        endpoint error peer ready signals timer token
//!   sources    ready run_queue timer token: nothing of what a source is
//!   values     token ready escape limits signals error stats timer peer endpoint outbox lifecycle run_queue
//! ```
//!
//! # The words
//!
//! * **token**: the name of a source, slot and generation in one word. It names one source for as long as that lives, and nothing afterwards.
//! * **readiness**: what a source may do next, as far as is known. A hint that stays true until an answer of the socket says otherwise.
//! * **interest**: which readiness the selector is asked to announce. A stream asks for readable and writable, once and for life.
//! * **drain**: the way out. What was received before it is answered, listeners close, connections end one by one, all by a deadline.
//!   (Not: to read a socket until `WouldBlock`. That is called just so.)
//! * **budget**: the bytes, accepts or datagrams that a source may take in one turn before it goes behind all others.
//! * **backlog**: connections that the kernel has completed and nobody has accepted.
//! * **half-close**: one direction of a connection has ended and the other goes on.
//! * **message**: what one answer answers. A datagram is one; on a stream it is a choice, the **framing**: as read, a line, up to a text, a fixed
//!   length, a length prefix. A **frame** is a message with what marks it.
//! * **hold**: to leave what a peer sends in the kernel, because there is no room for what would come of it. The peer is pushed back.
//! * **linger**: after our end of stream, to read and throw away what the peer still sends, within bounds, because closing over unread input
//!   is a reset, and a reset destroys what the peer has not read.
//! * **closed loop**, **open loop**: the two laws of a load. In the first a message follows an answer, in the second messages are due at a rate, whatever
//!   the target does.
//! * **response time**: from when a message was meant to be sent to the last byte of its answer. **Service time**: from when it was sent.
//! * **window**: the part of a run that is measured. A message belongs to it by when it was meant to be sent.
//! * **turn**: once round the loop: one wait, one reading of the clock, one run of each source that was queued.
//! * **outbox**: the bytes that a peer is owed and its socket has refused. While there are any, a server's connection reads nothing.
//! * **parked**: of a listener: it does not accept although connections may be waiting, for want of descriptors or at the limit. Who retires a
//!   connection wakes it.
//! * **lost edge**: readiness that was announced once, was not used up, and is remembered nowhere: the source hangs for ever.
//!   [`Reactor::audit`] looks for one.
//!
//! # A service of your own
//!
//! A service sees bytes, the time and its peer, and answers. This one tells each peer how much it sent:
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
//!     // A handle may go to another thread, and ends or asks the reactor from there.
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
//! The same service runs over the simulator (`net::sim`, `SimNet`), where sockets lie in memory, the clock obeys, and any call can be made to fail:
//! `tests/simulation.rs` shows how.
//!
//! # Features
//!
//! `cli`, on by default, brings the program, and in the library [`Reactor::catch_signals`]. `load`, part of it, brings the load generator and
//! hdrhistogram. Without them (`default-features = false`) the library stands on mio, slab, log, socket2 and libc.
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

/// The README's example is compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
