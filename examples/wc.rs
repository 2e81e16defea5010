//! A service of your own: it counts lines, words and bytes, like wc(1). It sends the counts when
//! the client ends its stream.
//!
//! ```console
//! $ cargo run --example wc --no-default-features [-- ENDPOINT]
//! listening on tcp://127.0.0.1:7070
//! $ nc -N 127.0.0.1 7070 < README.md
//! ```
//!
//! ENDPOINT is `tcp://HOST:PORT` or `unix:PATH`. Test: `cargo test --example wc`.

use std::mem;

use mynah::net::os::OsNet;
use mynah::service::{Action, Context, Service};
use mynah::{Address, Endpoint, Limits, Reactor};

/// The counts of one connection.
///
/// A read can end inside a word. So the service keeps `is_in_word` from one call to the next. It
/// keeps none of the text, so its memory does not grow with the input.
#[derive(Default)]
struct Count {
    lines: u64,
    words: u64,
    bytes: u64,
    is_in_word: bool,
}

impl Service for Count {
    fn on_data(&mut self, _cx: &mut Context<'_>, input: &[u8]) -> Action {
        self.bytes += input.len() as u64;
        for byte in input {
            if *byte == b'\n' {
                self.lines += 1;
            }
            let was_in_word = mem::replace(&mut self.is_in_word, !byte.is_ascii_whitespace());
            if self.is_in_word && !was_in_word {
                self.words += 1;
            }
        }
        Action::Continue
    }

    fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
        cx.reply(format!("{} {} {}\n", self.lines, self.words, self.bytes).as_bytes());
        Action::FINISH
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1);
    let endpoint: Endpoint = argument
        .as_deref()
        .unwrap_or("tcp://127.0.0.1:7070")
        .parse()?;
    // A host name can stand for several addresses.
    let addresses = endpoint.resolve()?;
    if !addresses.iter().all(Address::is_stream) {
        return Err("datagrams have no end of stream; use tcp://HOST:PORT or unix:PATH".into());
    }

    let mut reactor = Reactor::new(OsNet::new()?, Limits::default())?;
    for address in &addresses {
        let bound = reactor.listen(address, 1024, Box::new(|_| Box::<Count>::default()))?;
        println!("listening on {bound}");
    }
    reactor.run();
    Ok(())
}

#[cfg(test)]
mod tests {
    use mynah::net::sim::{Conditions, PeerEnd, SimNet};

    use super::*;

    const TEXT: &[u8] =
        b"What the thrush said.\r\n  What the thrush   said, said it twice\n no end";

    /// Sends `text` through simulated sockets and returns the reply.
    ///
    /// The sockets hold few bytes and split the text at random places, which `seed` decides. The
    /// reactor and the service are the real ones.
    fn reply_to(text: &[u8], seed: u64) -> String {
        let conditions = Conditions {
            buffer: 16,
            ..Conditions::default()
        };
        let mut reactor = Reactor::new(SimNet::new(seed, conditions), Limits::default()).unwrap();
        let address = Address::Tcp("127.0.0.1:7070".parse().unwrap());
        reactor
            .listen(&address, 1, Box::new(|_| Box::<Count>::default()))
            .unwrap();

        let client = reactor.net_mut().peer_connect(0).unwrap();
        let mut sent = 0;
        while sent < text.len() {
            sent += reactor.net_mut().peer_send(client, &text[sent..]);
            reactor.turn();
        }
        reactor.net_mut().peer_finish(client);

        let mut reply = Vec::new();
        while reactor.net_mut().peer_end(client) == PeerEnd::Open {
            reactor.turn();
            reply.extend(reactor.net_mut().peer_read(client, 100));
        }
        String::from_utf8(reply).unwrap()
    }

    #[test]
    fn counts_do_not_depend_on_where_the_text_is_split() {
        for seed in 0..100 {
            assert_eq!(reply_to(TEXT, seed), "2 13 70\n", "seed {seed}");
        }
    }
}
