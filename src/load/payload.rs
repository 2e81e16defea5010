//! The bytes to send: one message after the other, as an endless stream.
//!
//! Owns the bytes. Any part of the stream is contiguous in memory, wherever it begins. So one call
//! sends any number of messages, and one comparison checks what came. It must never hold more than
//! the message and [`STRETCH`].
//!
//! Tests: below.

use crate::service::Template;
use crate::values::dice::Dice;

/// The longest contiguous part: what an outbox can take.
pub(super) const STRETCH: usize = crate::stream::outbox::LIMIT;

/// The period of the pattern: a prime, so that no message of a usual size looks like the next one,
/// and a lost or doubled one shows.
const PERIOD: usize = 65_521;

/// A message, or several, repeated for ever.
#[derive(Debug)]
pub struct Payload {
    /// A period, and then as much of its beginning as a stretch.
    table: Box<[u8]>,
    period: usize,
    /// Of the longest message.
    size: usize,
    /// Where each message of a period ends; empty if all are of one size.
    ends: Box<[u64]>,
    /// What each message is made of; then none of the above but the size is used.
    template: Option<Template>,
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
            ends: Box::default(),
            template: None,
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
            ends: Box::default(),
            template: None,
        }
    }

    /// One text after the other, and then the first again.
    ///
    /// # Panics
    ///
    /// Where there is none, or one is empty.
    pub fn texts<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Payload {
        let (mut period, mut ends, mut size) = (Vec::new(), Vec::new(), 0);
        for text in texts {
            assert!(!text.is_empty(), "messages without bytes");
            period.extend_from_slice(text);
            ends.push(period.len() as u64);
            size = size.max(text.len());
        }
        assert!(!ends.is_empty(), "no messages");
        Payload {
            table: extended(&period),
            period: period.len(),
            size,
            ends: ends.into(),
            template: None,
        }
    }

    /// Messages that each are made when they are sent.
    ///
    /// # Panics
    ///
    /// Where they could be empty.
    pub fn template(template: Template) -> Payload {
        let size = template.longest();
        assert!(size > 0, "messages without bytes");
        Payload {
            table: Box::default(),
            period: 1,
            size,
            ends: Box::default(),
            template: Some(template),
        }
    }

    /// What each message is made of, if each is made when it is sent.
    #[inline]
    pub fn as_template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// Bytes of the longest message.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of the shortest message.
    pub fn shortest(&self) -> usize {
        if let Some(template) = &self.template {
            return template.least();
        }
        let count = self.ends.len().max(1) as u64;
        (0..count)
            .map(|n| self.size_of(n))
            .min()
            .unwrap_or(self.size)
    }

    /// Whether there are several texts.
    pub fn has_texts(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Bytes of the message of a number.
    #[inline]
    pub fn size_of(&self, number: u64) -> usize {
        if self.ends.is_empty() {
            return self.size;
        }
        (self.start_of(number + 1) - self.start_of(number)) as usize
    }

    /// Where in the stream the message of a number begins.
    #[inline]
    pub fn start_of(&self, number: u64) -> u64 {
        if self.ends.is_empty() {
            return number.wrapping_mul(self.size as u64);
        }
        let count = self.ends.len() as u64;
        let before = (number % count).checked_sub(1);
        let inside = before.map_or(0, |before| self.ends[before as usize]);
        number / count * self.period as u64 + inside
    }

    /// How many messages end before `position`, or there.
    #[inline]
    pub fn complete(&self, position: u64) -> u64 {
        if self.ends.is_empty() {
            return position / self.size as u64;
        }
        let (laps, rest) = (position / self.period as u64, position % self.period as u64);
        laps * self.ends.len() as u64 + self.ends.partition_point(|end| *end <= rest) as u64
    }

    /// The message of a number, if it is no longer than an outbox holds.
    #[inline]
    pub fn message(&self, number: u64) -> &[u8] {
        self.stretch(self.start_of(number), self.size_of(number))
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
            Payload::texts([&b"a"[..], b"bcd", b"ef"]),
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
    fn texts_follow_each_other_and_begin_again() {
        let payload = Payload::texts([&b"a"[..], b"bcd", b"ef"]);
        let message = |number| std::str::from_utf8(payload.message(number)).unwrap();
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(message),
            ["a", "bcd", "ef", "a", "bcd", "ef"]
        );
        assert_eq!((payload.size(), payload.shortest()), (3, 1));
        let complete = |position| payload.complete(position);
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7, 11, 12].map(complete),
            [0, 1, 1, 1, 2, 2, 3, 4, 5, 6]
        );
        for number in 0..20 {
            assert_eq!(payload.complete(payload.start_of(number)), number);
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
