//! Quote of the day (RFC 865): one short saying.
//!
//! Owns the sayings, which are old proverbs, and whose turn it is. Must never say anything that the RFC would not have: printing ASCII, lines that end
//! with CRLF, less than 512 characters; and never look at what the peer says.
//!
//! Tests: below, `tests/services.rs`.

use std::cell::Cell;
use std::rc::Rc;

use super::{Action, Context, Service};

const SAYINGS: [&str; 14] = [
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
    "Who asks is a fool for five minutes; who does not ask remains one.\r\n    (Chinese proverb)\r\n",
    "A good listener needs few words.\r\n    (Spanish proverb)\r\n",
    "Two ears, one mouth: hear twice as much as you say.\r\n    (after Zeno of Citium)\r\n",
    "Haste has no blessing.\r\n    (Swahili proverb)\r\n",
];

/// Says something worth remembering, and ends.
#[derive(Clone, Debug, Default)]
pub struct Qotd {
    /// How many sayings were said so far, by all that share it.
    turn: Rc<Cell<usize>>,
}

impl Qotd {
    /// Takes its sayings in turn with all others that count with `turn`.
    pub fn new(turn: Rc<Cell<usize>>) -> Qotd {
        Qotd { turn }
    }
}

impl Service for Qotd {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        cx.reply(SAYINGS[turn % SAYINGS.len()].as_bytes());
        Action::FINISH
    }

    /// A datagram: a stream has had its answer.
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
    fn every_saying_is_as_the_rfc_wants_it() {
        for saying in SAYINGS {
            let lines = saying.strip_suffix("\r\n").expect(saying).split("\r\n");
            assert!(saying.len() < 512, "{saying}");
            for line in lines {
                assert!(
                    !line.is_empty() && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                    "{saying}"
                );
            }
        }
        assert_eq!(
            SAYINGS.iter().collect::<BTreeSet<_>>().len(),
            SAYINGS.len(),
            "no saying twice"
        );
    }

    /// Whoever comes, stream or datagram, gets the next one.
    #[test]
    fn sayings_are_taken_in_turn() {
        let turn = Rc::default();
        for round in 0..2 * SAYINGS.len() {
            let mut service = Qotd::new(Rc::clone(&turn));
            let said = if round % 2 == 0 {
                open_at(&mut service, Duration::ZERO)
            } else {
                feed(&mut service, b"")
            };
            assert_eq!(
                said,
                (SAYINGS[round % SAYINGS.len()].into(), Action::FINISH)
            );
        }
    }

    #[test]
    fn the_count_may_wrap() {
        let turn = Rc::new(Cell::new(usize::MAX));
        assert_eq!(
            feed(&mut Qotd::new(Rc::clone(&turn)), b"").0,
            SAYINGS[usize::MAX % SAYINGS.len()].as_bytes()
        );
        assert_eq!(turn.get(), 0);
    }
}
