//! A service of one's own: counts lines, words and bytes, as wc(1) does, and tells them when the peer has ended its side.
//!
//! ```console
//! $ cargo run --example wc --no-default-features [-- ENDPOINT]
//! listening on tcp://127.0.0.1:7070
//! $ nc -N 127.0.0.1 7070 < README.md
//! ```
//!
//! ENDPOINT is `tcp://HOST:PORT` or `unix:PATH`. Test: `cargo test --example wc`.

use mynah::net::os::OsNet;
use mynah::service::{Action, Context, Service};
use mynah::{Endpoint, Limits, Reactor};

/// One for each connection. What came as one read says nothing about words, so a word may go on in the next: the service remembers that, and no text.
#[derive(Default)]
struct Count {
    lines: u64,
    words: u64,
    bytes: u64,
    is_in_word: bool,
}

impl Service for Count {
    fn on_data(&mut self, _cx: &mut Context<'_>, input: &[u8]) -> Action {
        for byte in input {
            let was_in_word = self.is_in_word;
            self.is_in_word = !byte.is_ascii_whitespace();
            self.words += u64::from(self.is_in_word && !was_in_word);
            self.lines += u64::from(*byte == b'\n');
        }
        self.bytes += input.len() as u64;
        Action::Continue
    }

    fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
        cx.reply(format!("{} {} {}\n", self.lines, self.words, self.bytes).as_bytes());
        Action::FINISH
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint: Endpoint = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("tcp://127.0.0.1:7070")
        .parse()?;
    let mut reactor = Reactor::new(OsNet::new()?, Limits::default())?;
    for address in endpoint
        .resolve()?
        .iter()
        .filter(|address| address.is_stream())
    {
        println!(
            "listening on {}",
            reactor.listen(address, 1024, Box::new(|_| Box::<Count>::default()))?
        );
    }
    reactor.run();
    Ok(())
}

#[cfg(test)]
mod tests {
    use mynah::Address;
    use mynah::net::sim::{Conditions, PeerEnd, SimNet};

    use super::*;

    /// Over sockets in memory, which cut what they carry where chance has it, and which take a few bytes at a time.
    #[test]
    fn words_are_counted_however_they_arrive() {
        let (text, counts) = (
            b"What the thrush said.\r\n  What the thrush   said, said it twice\n no end",
            "2 13 70\n",
        );
        for buffer in 8..100 {
            let net = SimNet::new(
                1,
                Conditions {
                    buffer,
                    ..Conditions::default()
                },
            );
            let mut reactor = Reactor::new(net, Limits::default()).unwrap();
            reactor
                .listen(
                    &Address::Tcp("127.0.0.1:7070".parse().unwrap()),
                    1,
                    Box::new(|_| Box::<Count>::default()),
                )
                .unwrap();
            let peer = reactor.net_mut().peer_connect(0).unwrap();
            let mut sent = 0;
            while sent < text.len() {
                sent += reactor.net_mut().peer_send(peer, &text[sent..]);
                reactor.turn();
            }
            reactor.net_mut().peer_finish(peer);
            let mut got = Vec::new();
            while reactor.net_mut().peer_end(peer) == PeerEnd::Open {
                reactor.turn();
                got.extend(reactor.net_mut().peer_read(peer, 100));
            }
            assert_eq!(
                String::from_utf8(got).unwrap(),
                counts,
                "{buffer} bytes at a time"
            );
        }
    }
}
