//! In the steady state a message costs no allocation: on TCP, and on UDP one by one and many at
//! once.
//!
//! The allocator of this program counts what the thread of the reactor allocates. The peers play on
//! the same thread, with calls of the standard library that allocate nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use common::{PATIENCE, loopback, udp_client};
use mynah::net::os::OsNet;
use mynah::{Address, Limits, Reactor, service};

/// The allocator of the system, which counts.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends allocates after its cell is gone. Nobody asks for that count.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the allocator of the system as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn echo() -> service::Factory {
    Box::new(|_| Box::new(service::Echo))
}

fn reactor() -> Reactor<OsNet> {
    Reactor::new(OsNet::new().unwrap(), Limits::default()).unwrap()
}

/// Plays `round` until the buffers have grown, then asserts that more of it allocates nothing.
#[track_caller]
fn assert_allocates_nothing(mut round: impl FnMut()) {
    (0..100).for_each(|_| round());
    let before = ALLOCATIONS.get();
    (0..1000).for_each(|_| round());
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations in 1,000 rounds");
}

/// Rounds of `window` datagrams each, which are all in the socket when the reactor looks.
#[track_caller]
fn assert_udp_allocates_nothing(window: usize) {
    let mut reactor = reactor();
    let bound = match reactor.bind(&Address::Udp(loopback()), echo()).unwrap() {
        Address::Udp(bound) => bound,
        other => panic!("{other} is not UDP"),
    };
    let clients: [UdpSocket; 4] = std::array::from_fn(|_| udp_client(bound));
    for client in &clients {
        client.set_nonblocking(true).unwrap();
    }
    assert_allocates_nothing(|| {
        for number in 0..window {
            // Another length each time, so that not all of them share a message.
            let client = &clients[number % clients.len()];
            client.send(&[7; 100][..64 + number]).unwrap();
        }
        let mut back = 0;
        while back < window {
            let out = reactor.stats().datagrams_out;
            reactor.turn_by(reactor.now() + PATIENCE);
            assert!(reactor.stats().datagrams_out > out, "nothing comes back");
            for client in &clients {
                while client.recv(&mut [0; 128]).is_ok() {
                    back += 1;
                }
            }
        }
    });
}

#[test]
fn one_datagram_at_a_time_allocates_nothing() {
    assert_udp_allocates_nothing(1);
}

#[test]
fn sixteen_datagrams_at_a_time_allocate_nothing() {
    assert_udp_allocates_nothing(16);
}

#[test]
fn a_stream_allocates_nothing() {
    let mut reactor = reactor();
    let address = Address::Tcp(loopback());
    let bound = match reactor.listen(&address, 16, echo()).unwrap() {
        Address::Tcp(bound) => bound,
        other => panic!("{other} is not TCP"),
    };
    let mut client = TcpStream::connect(bound).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_allocates_nothing(|| {
        let out = reactor.stats().bytes_out;
        client.write_all(b"ping").unwrap();
        while reactor.stats().bytes_out < out + 4 {
            let turns = reactor.stats().turns;
            reactor.turn_by(reactor.now() + PATIENCE);
            assert!(reactor.stats().turns < turns + 100);
        }
        client.read_exact(&mut [0; 4]).unwrap();
    });
}
