//! Quote of the day (RFC 865): one short quote.
//!
//! Owns the quotes, which are old proverbs, and their order. A quote must always be what the RFC
//! allows: printing ASCII, lines that end with CRLF, fewer than 512 characters. The reply must
//! never depend on the input.
//!
//! Tests: below, `tests/services.rs`.

use std::cell::Cell;
use std::rc::Rc;

use super::{Action, Context, Service};

const QUOTES: [&str; 14] = [
    "A mynah says what it heard, and is believed for it.\r\n    (of the house)\r\n",
    "Empty vessels make the most sound.\r\n    (English proverb)\r\n",
    "Measure seven times, cut once.\r\n    (Russian proverb)\r\n",
    "Make haste slowly.\r\n    (Latin proverb)\r\n",
    "The dogs bark, and the caravan passes.\r\n    (Arabic proverb)\r\n",
    "A journey of a thousand miles begins with one step.\r\n    (Laozi)\r\n",
    "Fall seven times, rise eight.\r\n    (Japanese proverb)\r\n",
    "Little by little, the bird builds its nest.\r\n    (French proverb)\r\n",
    "As one calls into the wood, so it echoes back.\r\n    (German proverb)\r\n",
    "A smooth sea never made a skilled sailor.\r\n    (English proverb)\r\n",
    "Who asks is a fool for five minutes; who does not ask remains one.\r\n    \
     (Chinese proverb)\r\n",
    "A good listener needs few words.\r\n    (Spanish proverb)\r\n",
    "Two ears, one mouth: hear twice as much as you say.\r\n    (after Zeno of Citium)\r\n",
    "Haste has no blessing.\r\n    (Swahili proverb)\r\n",
];

/// Sends the next quote, then finishes.
#[derive(Clone, Debug, Default)]
pub struct Qotd {
    /// Quotes sent so far by all services that share this counter.
    count: Rc<Cell<usize>>,
}

impl Qotd {
    /// Services that share `count` take turns: each reply is the next quote of the list.
    pub fn new(count: Rc<Cell<usize>>) -> Qotd {
        Qotd { count }
    }
}

impl Service for Qotd {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        cx.reply(QUOTES[count % QUOTES.len()].as_bytes());
        Action::FINISH
    }

    /// Called for datagrams only: on a stream, `on_open` has already finished.
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        self.on_open(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::service::tests::{feed, open_at};

    #[test]
    fn every_quote_is_as_the_rfc_requires() {
        for quote in QUOTES {
            let lines = quote.strip_suffix("\r\n").expect(quote).split("\r\n");
            assert!(quote.len() < 512, "{quote}");
            for line in lines {
                assert!(
                    !line.is_empty() && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                    "{quote}"
                );
            }
        }
        assert_eq!(
            QUOTES.iter().collect::<BTreeSet<_>>().len(),
            QUOTES.len(),
            "a quote is listed twice"
        );
    }

    #[test]
    fn streams_and_datagrams_get_the_next_quote() {
        let count = Rc::default();
        for round in 0..2 * QUOTES.len() {
            let mut service = Qotd::new(Rc::clone(&count));
            let reply = if round % 2 == 0 {
                open_at(&mut service, Duration::ZERO)
            } else {
                feed(&mut service, b"")
            };
            assert_eq!(reply, (QUOTES[round % QUOTES.len()].into(), Action::FINISH));
        }
    }

    #[test]
    fn the_count_wraps() {
        let count = Rc::new(Cell::new(usize::MAX));
        assert_eq!(
            feed(&mut Qotd::new(Rc::clone(&count)), b"").0,
            QUOTES[usize::MAX % QUOTES.len()].as_bytes()
        );
        assert_eq!(count.get(), 0);
    }
}
