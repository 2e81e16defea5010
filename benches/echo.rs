//! How fast is an echo, compared with one blocking thread for each connection and with tokio?
//!
//! A round sends one message on every connection, then reads one reply from every connection. One
//! client thread drives the rounds. Client and server have a CPU each (see `common`). A round
//! measures the whole exchange as a client sees it, kernel included, so it takes as long as the
//! slower side. A round of one connection is the latency of a ping-pong. Most of that time, the two
//! CPUs wake each other.
//!
//! * `echo_ping_pong`: 1 connection, 64 B. Also with busy polling, which uses a whole CPU and saves
//!   the wake-up of the server.
//! * `echo_connections_50`, `echo_connections_1000`: 64 B on each connection. The rate of small
//!   messages.
//! * `echo_pipelined`: 50 connections, 16 messages of 64 B in one write, as from a client that does
//!   not wait for each reply.
//! * `echo_bulk`: 4 connections, 64 KiB each. Bytes count once, although they travel both ways.
//!
//! The servers are measured one after another. On a shared machine, the speed of the machine can
//! change more than the servers differ. Run the bench twice and trust only what both runs agree on.

mod common;

use std::time::Duration;

use common::{Clients, Kind, SERVERS, SMALL, compare};
use criterion::{Criterion, SamplingMode, Throughput};

/// Messages in one write of the pipelining client.
const DEPTH: usize = 16;

/// The message of the bulk echo, in bytes.
const BULK: usize = 64 * 1024;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    ping_pong(&mut criterion);
    small(&mut criterion, "echo_connections_50", 50);
    small(&mut criterion, "echo_connections_1000", 1000);
    pipelined(&mut criterion);
    bulk(&mut criterion);
    criterion.final_summary();
}

fn ping_pong(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo_ping_pong");
    group.throughput(Throughput::Elements(1));
    let servers = [&SERVERS[..], &[Kind::MynahBusy]].concat();
    compare(
        &mut group,
        &servers,
        |addresses| Clients::connect(addresses, 1, SMALL),
        Clients::round,
    );
}

fn small(criterion: &mut Criterion, name: &str, connections: usize) {
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(Throughput::Elements(connections as u64))
        .sampling_mode(SamplingMode::Flat);
    compare(
        &mut group,
        &SERVERS,
        |addresses| Clients::connect(addresses, connections, SMALL),
        Clients::round,
    );
}

fn pipelined(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo_pipelined");
    group.throughput(Throughput::Elements(50 * DEPTH as u64));
    compare(
        &mut group,
        &SERVERS,
        |addresses| Clients::connect(addresses, 50, DEPTH * SMALL),
        Clients::round,
    );
}

fn bulk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo_bulk");
    group.throughput(Throughput::Bytes(4 * BULK as u64));
    compare(
        &mut group,
        &SERVERS,
        |addresses| Clients::connect(addresses, 4, BULK),
        Clients::round,
    );
}
