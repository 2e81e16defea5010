//! What does a connection cost that does not stay, beside a blocking thread a connection and beside tokio?
//!
//! Accepting, registering, finding a slot, making a service, retiring it all again: an echo of long connections hides that.
//!
//! * `churn_one_at_a_time`: connect, one message of 64 B, its echo, close, and only then the next: the latency of a short conversation.
//! * `churn_batch`: the same, 32 connections abreast, as a busy server sees them.
//! * `churn_accept_alone`: 32 connections abreast that say nothing.
//!
//! Every conversation ends with both ends of stream, so the client never runs ahead of the server into a full backlog. Each round goes to the next
//! of the server's ports, lest the client run out of ports of its own: see `common`. Client and server have a processor each, as in `echo`.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{SERVERS, SMALL, compare, connect, hang_up};
use criterion::{Criterion, Throughput};

/// Connections abreast: as many as one turn of ours accepts.
const BATCH: usize = 32;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    echo(&mut criterion, "churn_one_at_a_time", 1);
    echo(&mut criterion, "churn_batch", BATCH);
    accept_alone(&mut criterion);
    criterion.final_summary();
}

fn echo(criterion: &mut Criterion, name: &str, connections: usize) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(connections as u64));
    compare(&mut group, &SERVERS, Callers::new, |callers| {
        let mut streams = callers.call(connections);
        for stream in &mut streams {
            stream
                .write_all(&[b'x'; SMALL])
                .expect("the server takes the message");
        }
        for stream in &mut streams {
            stream.read_exact(&mut [0; SMALL]).expect("an answer");
        }
        hang_up(streams);
    });
}

fn accept_alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("churn_accept_alone");
    group.throughput(Throughput::Elements(BATCH as u64));
    compare(&mut group, &SERVERS, Callers::new, |callers| {
        hang_up(callers.call(BATCH))
    });
}

/// Clients that come to one port of the server after another.
struct Callers {
    ports: Vec<SocketAddr>,
    rounds: usize,
}

impl Callers {
    fn new(ports: &[SocketAddr]) -> Callers {
        Callers {
            ports: ports.to_vec(),
            rounds: 0,
        }
    }

    /// Makes so many connections to the next port.
    fn call(&mut self, connections: usize) -> Vec<TcpStream> {
        let port = self.ports[self.rounds % self.ports.len()];
        self.rounds += 1;
        (0..connections).map(|_| connect(port)).collect()
    }
}
