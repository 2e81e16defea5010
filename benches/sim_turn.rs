//! What does one turn of the loop cost by itself, without a kernel below it?
//!
//! The real reactor over the simulated network: some connections, each with 64 bytes to echo, one
//! turn, and the echo read back. The simulator's own work is part of the figure, so compare runs of
//! this bench with each other, not with the echo over real sockets.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mynah::net::sim::{Conditions, SimNet};
use mynah::{Address, Limits, Reactor, service};

fn turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("sim_turn");
    for connections in [1, 50] {
        let mut reactor = Reactor::new(SimNet::new(1, Conditions::default()), Limits::default())
            .expect("the simulator has descriptors");
        let address = Address::Tcp("127.0.0.1:7".parse().expect("an address"));
        reactor
            .listen(
                &address,
                64,
                service::factory("echo", &service::Host::new("here", 1)).expect("a service"),
            )
            .expect("the simulator listens");
        let clients: Vec<usize> = (0..connections)
            .filter_map(|_| reactor.net_mut().peer_connect(0))
            .collect();
        group.throughput(Throughput::Elements(connections));
        group.bench_function(format!("{connections}_connections"), |b| {
            b.iter(|| {
                for client in &clients {
                    reactor.net_mut().peer_send(*client, &[7; 64]);
                }
                // Some events are held back and come with a later turn. Each turn counts as one.
                black_box(reactor.turn());
                for client in &clients {
                    black_box(reactor.net_mut().peer_read(*client, 4096));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, turn);
criterion_main!(benches);
