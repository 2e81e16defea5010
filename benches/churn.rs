//! What does a short connection cost, compared with one blocking thread for each connection and
//! with tokio?
//!
//! The server accepts and registers the connection, finds a slot, makes a service, and releases all
//! of it again. A bench of long connections hides this cost.
//!
//! * `churn_one_at_a_time`: connect, send 64 B, read the echo, close, then the next. The latency of
//!   a short connection.
//! * `churn_batch`: the same with 32 connections at once, as on a busy server.
//! * `churn_accept_alone`: 32 connections at once that send nothing.
//!
//! Every connection ends with a FIN from both sides, so the client never fills the backlog. Each
//! round uses the next port of the server, so the client does not run out of its own ports (see
//! `common`). Client and server have a CPU each, as in `echo`.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{SERVERS, SMALL, compare, connect, hang_up};
use criterion::{Criterion, Throughput};

/// Connections at once: as many as mynah accepts in one turn.
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
    compare(&mut group, &SERVERS, Connector::new, |connector| {
        let mut streams = connector.connect(connections);
        for stream in &mut streams {
            stream
                .write_all(&[b'x'; SMALL])
                .expect("the server accepts the message");
        }
        for stream in &mut streams {
            stream.read_exact(&mut [0; SMALL]).expect("a reply");
        }
        hang_up(streams);
    });
}

fn accept_alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("churn_accept_alone");
    group.throughput(Throughput::Elements(BATCH as u64));
    compare(&mut group, &SERVERS, Connector::new, |connector| {
        hang_up(connector.connect(BATCH))
    });
}

/// Makes the connections of each round to the next port of the server.
struct Connector {
    ports: Vec<SocketAddr>,
    rounds: usize,
}

impl Connector {
    fn new(ports: &[SocketAddr]) -> Connector {
        Connector {
            ports: ports.to_vec(),
            rounds: 0,
        }
    }

    /// Makes this many connections to the next port.
    fn connect(&mut self, connections: usize) -> Vec<TcpStream> {
        let port = self.ports[self.rounds % self.ports.len()];
        self.rounds += 1;
        (0..connections).map(|_| connect(port)).collect()
    }
}
