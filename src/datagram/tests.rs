//! What a socket does around a service that panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::net::sim::{Conditions, SimNet};
use crate::values::peer::Peer;
use crate::values::token::Token;

/// An echo that panics when it is told to.
#[derive(Default)]
struct Fragile {
    has_panicked: bool,
}

impl Service for Fragile {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        assert!(
            !self.has_panicked,
            "a service is not called again after it panicked"
        );
        self.has_panicked = input == b"panic";
        cx.reply(input);
        assert!(!self.has_panicked, "as it was told");
        Action::Continue
    }
}

/// A socket, what it borrows, and its readiness.
struct Bench {
    datagram: Datagram<SimNet>,
    ready: Ready,
    turn: Turn<SimNet>,
    common: Common,
}

impl Bench {
    fn new(
        seed: u64,
        make: impl FnOnce(&SimNet, <SimNet as Net>::Datagram, Address) -> Datagram<SimNet>,
    ) -> Bench {
        let limits = Limits::default();
        let mut net = SimNet::new(seed, Conditions::default());
        let address = Address::Unixgram("/sim".into());
        let (socket, bound) = net.bind(&address, Token::from(mio::Token(1))).unwrap();
        Bench {
            datagram: make(&net, socket, bound),
            ready: Ready::WRITABLE,
            common: Common::new(&limits),
            turn: Turn::new(net, limits),
        }
    }

    fn deliver(&mut self, bytes: &[u8]) {
        let peer = Peer::Unix((*b"/peer").into());
        self.turn.net.deliver(0, Path::plain(peer), bytes.into());
        self.ready |= Ready::READABLE;
    }

    /// Runs the socket as the reactor does, and has it recover from panics. Returns how it
    /// ends.
    fn run(&mut self) -> Outcome {
        loop {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                self.datagram
                    .run(&mut self.ready, &mut self.turn, &mut self.common)
            }));
            let outcome =
                outcome.unwrap_or_else(|_| self.datagram.recover(&mut self.turn, &mut self.common));
            if outcome != Outcome::More {
                return outcome;
            }
        }
    }
}

#[test]
fn a_server_goes_on_with_a_new_service_after_a_panic() {
    for seed in 0..50 {
        let mut bench = Bench::new(seed, |net, socket, bound| {
            Datagram::server(net, socket, bound, Box::new(|_| Box::<Fragile>::default()))
        });
        for bytes in [&b"before"[..], b"before", b"panic", b"behind", b"behind"] {
            bench.deliver(bytes);
        }
        assert_eq!(bench.run(), Outcome::Waiting);
        let stats = &bench.turn.stats;
        let lost = stats.unanswered[Refusal::Panicked];
        assert_eq!(stats.datagrams_in, 5, "seed {seed}: {stats}");
        assert_eq!(stats.datagrams_out + lost, 5, "seed {seed}: {stats}");
        assert!(lost > 0, "seed {seed}: {stats}");
        bench.deliver(b"again");
        assert_eq!(bench.run(), Outcome::Waiting);
        let sent = bench.turn.net.datagrams_sent(0);
        assert!(sent.iter().all(|(_, bytes)| bytes != b"panic"), "{sent:?}");
        assert_eq!(
            sent.last().map(|(_, bytes)| &bytes[..]),
            Some(&b"again"[..])
        );
    }
}

#[test]
fn a_client_ends_after_a_panic() {
    let mut bench = Bench::new(0, |net, socket, bound| {
        Datagram::client(net, socket, bound, Box::<Fragile>::default())
    });
    bench.deliver(b"panic");
    assert_eq!(bench.run(), Outcome::Done(CloseReason::Panicked));
    assert_eq!(bench.turn.stats.unanswered[Refusal::Panicked], 1);
}
