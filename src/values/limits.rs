//! Every bound of the server in one place, with the measurement that chose it.
//!
//! Owns numbers only. It must never enforce one: the code that uses a number does.
//!
//! Budgets come in two kinds. A source has one for each run, so that the others get their turn. The
//! turn has one for all of them together ([`TURN_BUDGET`]), so that the loop asks the kernel for
//! news at least once in about a millisecond, whatever the mix of sources.

use std::time::Duration;

/// The shared read buffer, in bytes, and so the most that one read takes. One for the whole
/// reactor.
///
/// An echo of a full read must fit into an outbox, so a longer buffer would cost every peer that
/// does not read as much more; 128 KiB for both was no faster (0.99 times a C loop with 64 KiB,
/// side by side). It must hold the longest UDP datagram (65,507 bytes over IPv4, 65,527 over IPv6)
/// with a byte to spare.
pub const READ_BUFFER: usize = 64 * 1024;

const _: () = assert!(READ_BUFFER > 65_527, "the longest datagram must fit");

/// Bytes that one connection may read in one run before it goes to the back of the queue: two full
/// reads.
///
/// With a budget of one full read, a peer whose message fills it goes to the back of the queue
/// although it has no more input, and that costs a wait that does not sleep. Four connections of 64
/// KiB messages beside a C loop, median of 25 rounds: CPU time a message 1.017 with one read, 1.001
/// with two, 0.999 with four. 100 quiet clients beside four floods wait 0.15, 0.29 and 0.77 ms at
/// the median, 0.53, 0.65 and 1.5 ms at the 99th percentile.
pub const READ_BUDGET: usize = 2 * READ_BUFFER;

/// Connections that one listener may accept in one run.
///
/// A connection costs about 29 µs of processor from its accept to its close (measured with connect,
/// echo, close, 32 at once), so a burst of new clients delays the others by less than a
/// millisecond.
pub const ACCEPT_BUDGET: usize = 32;

/// Work that one turn may do, in units of about a microsecond. A source that was not reached stays
/// at the head of the queue.
///
/// With 1,000 connections that are all ready at once, a turn runs 200 of them, so a poll that does
/// not sleep comes on top for each 200 messages: 0.3 µs in about 1,300.
pub const TURN_BUDGET: i32 = 1000;

/// Work units of one run of a source, beside its bytes: about what a wake-up, a read and a write
/// cost.
pub const RUN_COST: i32 = 5;

/// Bytes that count as one work unit: an echo of 64 KiB costs about 30 µs.
pub const BYTES_PER_UNIT: usize = 2048;

/// Work units of one accepted connection, from its accept to its close: see [`ACCEPT_BUDGET`].
pub const ACCEPT_COST: i32 = 29;

/// Work units of a call after which a service has more to do. It has used up its share by then,
/// such as the answers to [`MESSAGE_BUDGET`] messages.
pub const MORE_COST: i32 = 100;

/// Messages that one call of a service answers before others get their turn. One read of 64 KiB can
/// hold 65,536 empty lines: 40 such peers delayed a quiet one by 99 ms at the median.
pub const MESSAGE_BUDGET: usize = 1024;

/// The same if each message is shown to a tap as well: to print one takes up to 10 µs.
pub const TAPPED_BUDGET: usize = 64;

/// Work units of one datagram: receiving it, its service and its reply.
pub const DATAGRAM_COST: i32 = 3;

/// Deadlines that one turn takes off the heap. Those that are left keep the loop from sleeping.
///
/// A connection that expires costs about 9 µs, most of it in `shutdown`: 9,000 that expired
/// together held one turn for 142 ms. In turns of 32 they take 0.3 ms each; the longest take 1.7 to
/// 2.5 ms, because the kernel's own timers of so many sockets interrupt them for 1.4 ms at a time.
pub const DEADLINE_BUDGET: usize = 32;

/// Datagrams that one socket may answer in one run. The run finishes the message of the kernel that
/// it began, which may be 128 datagrams.
///
/// A small datagram costs 2.4 µs with an echo and about 12 µs with `--print --reply`. Beside a
/// flood of messages of 128 × 1 B with `--print --reply` a quiet TCP client waited 0.3 ms at the
/// median and 2 to 3.5 ms at the 99th percentile on a busy machine, where it had waited 11 and 16
/// ms with a budget of 64 messages. To cut messages at the budget cost 15 % of the rate of 64-byte
/// datagrams, 60 in a message.
pub const DATAGRAM_BUDGET: usize = 128;

/// Bytes of datagrams that one socket may answer in one run. A datagram of 64 KiB costs about 15
/// µs, so that is a quarter of a millisecond.
pub const DATAGRAM_BYTES: usize = 1024 * 1024;

/// Bytes of replies that may wait for one blocked datagram socket: four of the longest datagrams,
/// or 256 small ones.
pub const DATAGRAM_QUEUE: usize = 256 * 1024;

/// Bytes of these replies that may be for one Unix peer. Its full queue must not take what the
/// replies to others need.
pub const DATAGRAM_QUEUE_OF_ONE: usize = DATAGRAM_QUEUE / 4 * 3;

/// How soon the server retries a blocked reply to a Unix datagram peer: the peer's full queue gives
/// no event when it empties.
pub const DATAGRAM_RETRY: Duration = Duration::from_millis(10);

/// The longest interval of these retries while nothing moves. 300 peers that never read cost 12 %
/// of a processor at 10 ms each.
pub const DATAGRAM_RETRY_MOST: Duration = Duration::from_millis(80);

/// How soon a listener that found no descriptors or memory, or a datagram socket that gives nothing
/// but errors, tries again by itself. The listener notices at once when this process frees a
/// descriptor. The retry is for descriptors that other processes free.
pub const STARVED_RETRY: Duration = Duration::from_millis(100);

/// Unread input that the server discards after our FIN. Otherwise closing would send a reset, and
/// that would destroy what was sent (RFC 1122, 4.2.2.13). Past this bound the peer is not reading.
pub const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// How long the server discards input after our FIN.
pub const LINGER_TIME: Duration = Duration::from_secs(5);

/// How long a connection must have been quiet for a drain to finish it.
pub const DRAIN_QUIET: Duration = Duration::from_secs(1);

/// What a user of the reactor chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once. At this number accepting pauses and clients wait in the backlog.
    pub max_connections: usize,
    /// How long an outgoing connection may take. `None`: until the operating system gives up.
    pub connect_timeout: Option<Duration>,
    /// A connection on which no byte has moved in either direction for this long is closed.
    pub idle_timeout: Option<Duration>,
    /// A connection whose pending output makes no progress for this long is reset. Progress is a
    /// byte that the socket takes from us, or that the peer takes from the socket. The server asks
    /// for the second in each half of this time. Over TCP it shows only when the peer's kernel
    /// opens its window, by a large part of its receive buffer at once. A peer that reads less than
    /// that in half of this time looks stalled.
    pub write_timeout: Option<Duration>,
    /// How long a drain may take before the rest is cut. `None` waits for the last peer.
    pub drain_timeout: Option<Duration>,
    /// Memory that the pending output of all connections together may take, in bytes. Past it, the
    /// connections whose output has been stalled the longest are reset.
    pub max_pending_output: usize,
    /// Whether a reply may be longer than the UDP datagram it answers. If so, a sender that forges
    /// its address turns few bytes into many for its victim.
    pub allow_amplification: bool,
    /// Replies to the UDP datagrams of one source in one second, at most. `None`: no cap.
    pub udp_rate: Option<u32>,
    /// Replies to the datagrams of one Unix peer in one second, at most. It ends what two servers
    /// that were made to answer each other do. `None`: no cap.
    ///
    /// Each refusal takes one datagram out of such a loop, so a cap below the speed of the loop
    /// ends it within a second. Loops turned 11,000 to 43,000 times a second on a machine of two
    /// processors, the slowest under full load. UDP needs no cap for that, because each bounce
    /// costs one hop.
    pub unixgram_rate: Option<u32>,
    /// For how long after the last event the loop polls on without sleeping. `None`: it sleeps at
    /// once.
    pub busy_poll: Option<Duration>,
    /// Whether the loop sleeps to the microsecond. Without it a sleep ends up to a millisecond
    /// late, which is nothing to a timeout, and too much for a load generator that keeps a pace. It
    /// costs a system call for each deadline. It works on Linux alone: elsewhere it changes
    /// nothing.
    pub precise_sleep: bool,
    /// For how long before a deadline the loop polls without sleeping. A sleep ends some tens of
    /// microseconds late, or without [`precise_sleep`](Limits::precise_sleep) up to a millisecond:
    /// the loop then sleeps whole milliseconds, and polls for what is left of one. Zero: it sleeps
    /// up to its deadlines.
    pub spin: Duration,
}

/// As the program's options without arguments, except for the number of connections and the pending
/// output, which the program takes from the limits of its process.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 1024,
            connect_timeout: Some(Duration::from_secs(10)),
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(30)),
            drain_timeout: Some(Duration::from_secs(5)),
            max_pending_output: 256 * 1024 * 1024,
            allow_amplification: false,
            udp_rate: None,
            unixgram_rate: Some(2_000),
            busy_poll: None,
            precise_sleep: false,
            spin: Duration::ZERO,
        }
    }
}
