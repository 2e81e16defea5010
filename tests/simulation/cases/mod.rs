//! Single cases: each shows one behaviour over a simulated network.

mod alarms;
mod bounds;
mod datagrams;
mod streams;

use mynah::net::sim::{Conditions, SimNet};
use mynah::service::{Factory, Host, factory};
use mynah::{Address, Limits, Reactor};

/// A reactor with nothing bound yet.
fn reactor(seed: u64, conditions: Conditions, limits: Limits) -> Reactor<SimNet> {
    Reactor::new(SimNet::new(seed, conditions), limits).unwrap()
}

fn echo() -> Factory {
    factory("echo", &Host::new("here", 1)).unwrap()
}

fn tcp() -> Address {
    Address::Tcp(([127, 0, 0, 1], 7).into())
}

fn udp() -> Address {
    Address::Udp(([127, 0, 0, 1], 7).into())
}

/// Turns until `condition` holds.
#[track_caller]
fn turn_until(
    reactor: &mut Reactor<SimNet>,
    what: &str,
    mut condition: impl FnMut(&mut Reactor<SimNet>) -> bool,
) {
    for _ in 0..10_000 {
        reactor.turn();
        reactor.audit().unwrap();
        if condition(reactor) {
            return;
        }
    }
    panic!("{what} did not come: {}", reactor.stats());
}

/// Turns so often that everything that was announced has been dealt with.
fn rest(reactor: &mut Reactor<SimNet>) {
    (0..100).for_each(|_| _ = reactor.turn());
}
