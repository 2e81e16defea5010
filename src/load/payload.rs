//! The bytes to send: one message after the other, as an endless stream.
//!
//! Owns the bytes. Any part of the stream is contiguous in memory, wherever it begins. So one call
//! sends any number of messages, and one comparison checks what came. It must never hold more than
//! the message and [`STRETCH`].
//!
//! Tests: below.

use crate::values::dice::Dice;

/// The longest contiguous part: what an outbox can take.
pub(super) const STRETCH: usize = crate::stream::outbox::LIMIT;

/// The period of the pattern: a prime, so that no message of a usual size looks like the next one,
/// and a lost or doubled one shows.
const PERIOD: usize = 65_521;

/// A message, repeated for ever.
#[derive(Debug)]
pub struct Payload {
    /// A period, and then as much of its beginning as a stretch.
    table: Box<[u8]>,
    period: usize,
    size: usize,
}

impl Payload {
    /// Messages of `size` bytes, all different as far as 65,521 bytes allow.
    ///
    /// # Panics
    ///
    /// Where `size` is zero: messages without bytes cannot be told from none.
    pub fn pattern(size: usize) -> Payload {
        assert!(size > 0, "messages without bytes");
        // A fixed seed, so that every machine sends the same. Letters and digits, so that you can
        // read a capture.
        const LETTERS: &[u8; 64] =
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        let mut dice = Dice::new(0);
        let letter = |_| LETTERS[dice.below(LETTERS.len())];
        let period: Vec<u8> = (0..PERIOD).map(letter).collect();
        Payload {
            table: extended(&period),
            period: PERIOD,
            size,
        }
    }

    /// The same text each time.
    ///
    /// # Panics
    ///
    /// Where it is empty.
    pub fn text(text: &[u8]) -> Payload {
        assert!(!text.is_empty(), "messages without bytes");
        Payload {
            table: extended(text),
            period: text.len(),
            size: text.len(),
        }
    }

    /// Bytes of one message.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The stream from `position` on: `most` bytes, and no more than an outbox holds
    /// ([`outbox::LIMIT`](crate::stream::outbox::LIMIT)).
    #[inline]
    pub fn stretch(&self, position: u64, most: usize) -> &[u8] {
        let begin = (position % self.period as u64) as usize;
        &self.table[begin..begin + most.min(STRETCH)]
    }
}

fn extended(period: &[u8]) -> Box<[u8]> {
    period
        .iter()
        .chain(period.iter().cycle().take(STRETCH))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_same_however_it_is_cut() {
        for payload in [
            Payload::pattern(64),
            Payload::text(b"PING\r\n"),
            Payload::text(b"x"),
            Payload::text(&[7; 100_000]),
        ] {
            for position in [0, 1, 5, 65_520, 65_521, 65_522, 1 << 40] {
                let stretch = payload.stretch(position, STRETCH + 1);
                assert_eq!(stretch.len(), STRETCH);
                let is_right =
                    |at: usize| payload.stretch(position + at as u64, 1)[0] == stretch[at];
                assert!((0..STRETCH).step_by(997).all(is_right), "at {position}");
            }
        }
    }

    #[test]
    fn messages_of_the_pattern_differ() {
        let payload = Payload::pattern(64);
        let message = |n: u64| payload.stretch(n * 64, 64).to_vec();
        let first = message(0);
        assert!((1..65_521).all(|n| message(n) != first));
        assert_eq!(message(65_521), first);
        assert!(first.iter().all(u8::is_ascii_graphic));
    }
}
