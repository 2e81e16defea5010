//! What answers are, on a stream, and whether they are right.
//!
//! Owns how far the answer that is arriving has come. Pure: a slice in, counts out. Must never look
//! at a byte twice, nor copy one.
//!
//! Tests: below.

use super::payload::Payload;
use super::tally::Tally;
use super::trouble::Trouble;
use crate::service::{Delimiter, Width};

/// What an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// As long as the message.
    Same,
    /// So many bytes; at least one.
    Fixed(usize),
    /// Everything up to a text, and the text.
    Until(Delimiter),
    /// Its length, and so many bytes.
    Prefix(Prefix),
    /// One datagram, whatever its length; never on a stream.
    Datagram,
    /// None is waited for; what comes is thrown away.
    None,
}

/// The length of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// How many bytes it takes.
    pub width: Width,
    /// Whether the first of them is the lowest.
    pub is_little_endian: bool,
}

/// What an answer must be made of.
#[derive(Clone, Debug, Default)]
pub enum Expected<'a> {
    /// Anything.
    #[default]
    Anything,
    /// What was sent, or any stream of messages as long as the answers.
    Stream(&'a Payload),
    /// This text, each time.
    Text(&'a [u8]),
}

/// What some bytes completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Answers that are complete.
    pub answers: u64,
    /// How many of those were not as expected.
    pub wrong: u64,
    /// Bytes that were not as expected.
    pub wrong_bytes: u64,
    /// Where in the stream the first of those stood.
    pub wrong_at: Option<u64>,
}

impl Heard {
    /// Adds what came behind it.
    fn add(&mut self, other: Heard) {
        self.answers += other.answers;
        self.wrong += other.wrong;
        self.wrong_bytes += other.wrong_bytes;
        self.wrong_at = self.wrong_at.or(other.wrong_at);
    }

    /// Counts what was not as expected, on the connection of this number.
    #[cold]
    pub(super) fn complain(&self, tally: &mut Tally, number: u64) {
        tally.wrong_bytes += self.wrong_bytes;
        let words = || match self.wrong_at {
            Some(at) => {
                format!("connection {number}: byte {at} of what came back is not what was expected")
            }
            None => format!("connection {number}: an answer is shorter than what was expected"),
        };
        tally.troubles.count(Trouble::Mismatch, self.wrong, words);
    }
}

/// The answers of one connection as they arrive.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Where in the stream of messages the answers began, and where they are.
    origin: u64,
    position: u64,
    /// Bytes of the answer that is arriving.
    arrived: usize,
    /// How much of the text that ends it stood at their end.
    matched: usize,
    /// Of an answer that begins with its length: that length, as far as it is known.
    length: u64,
    /// Whether that answer is wrong already.
    is_wrong: bool,
}

impl Reader {
    /// Of the answers to the messages from `position` of their stream on.
    pub fn starting_at(position: u64) -> Reader {
        Reader {
            origin: position,
            position,
            ..Reader::default()
        }
    }

    /// Takes the next bytes, which answer messages of `payload`.
    #[inline]
    pub fn take(
        &mut self,
        response: &Response,
        payload: &Payload,
        expected: &Expected<'_>,
        bytes: &[u8],
    ) -> Heard {
        let size = match response {
            Response::Same if payload.has_texts() => {
                return self.take_texts(payload, expected, bytes);
            }
            Response::Same => payload.size(),
            Response::Fixed(size) => *size,
            Response::Until(delimiter) => return self.take_delimited(delimiter, expected, bytes),
            Response::Prefix(prefix) => return self.take_prefixed(*prefix, expected, bytes),
            Response::Datagram | Response::None => return Heard::default(),
        };
        if let (Expected::Anything, false) = (expected, self.is_wrong) {
            return self.count(size, bytes.len());
        }
        self.take_checked(size, expected, bytes)
    }

    /// Answers that are as long as messages of different sizes.
    fn take_texts(&mut self, payload: &Payload, expected: &Expected<'_>, bytes: &[u8]) -> Heard {
        let (mut heard, mut rest) = (Heard::default(), bytes);
        while !rest.is_empty() {
            let number = payload.complete(self.position);
            let more = payload.start_of(number + 1) - self.position;
            let count = usize::try_from(more).map_or(rest.len(), |more| more.min(rest.len()));
            let piece;
            (piece, rest) = rest.split_at(count);
            heard.add(self.take_checked(payload.size_of(number), expected, piece));
        }
        heard
    }

    /// Counts answers of `size` bytes that are as expected.
    #[inline]
    fn count(&mut self, size: usize, came: usize) -> Heard {
        self.position += came as u64;
        let arrived = self.arrived + came;
        self.arrived = arrived % size;
        Heard {
            answers: (arrived / size) as u64,
            ..Heard::default()
        }
    }

    /// Answers of one size, compared with what they should be.
    fn take_checked(&mut self, size: usize, expected: &Expected<'_>, bytes: &[u8]) -> Heard {
        let mut heard = Heard::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, is_right) = match expected {
                Expected::Anything => (rest, true),
                // All that came with one comparison, where it is right, which it is nearly always.
                Expected::Stream(stream) => {
                    let right = stream.stretch(self.position, rest.len());
                    let piece = &rest[..right.len()];
                    (piece, piece == right)
                }
                Expected::Text(text) => {
                    let right = text.get(self.arrived..).unwrap_or_default();
                    let piece = &rest[..rest.len().min(size - self.arrived)];
                    (piece, right.starts_with(piece))
                }
            };
            if is_right && !self.is_wrong {
                heard.answers += self.count(size, piece.len()).answers;
            } else {
                piece
                    .iter()
                    .for_each(|byte| self.take_byte(size, expected, *byte, &mut heard));
            }
            rest = &rest[piece.len()..];
        }
        heard
    }

    /// One byte of an answer in which something is wrong.
    #[cold]
    fn take_byte(&mut self, size: usize, expected: &Expected<'_>, byte: u8, heard: &mut Heard) {
        let is_right = match expected {
            Expected::Anything => true,
            Expected::Stream(stream) => stream.stretch(self.position, 1) == [byte],
            Expected::Text(text) => text.get(self.arrived) == Some(&byte),
        };
        self.judge(is_right, heard);
        if self.count(size, 1).answers == 1 {
            self.complete(heard);
        }
    }

    /// Answers that a text ends.
    fn take_delimited(
        &mut self,
        delimiter: &Delimiter,
        expected: &Expected<'_>,
        bytes: &[u8],
    ) -> Heard {
        let mut heard = Heard::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = delimiter.find(&mut self.matched, rest);
            let piece = &rest[..end.unwrap_or(rest.len())];
            self.take_piece(expected, piece, &mut heard);
            if end.is_some() {
                self.end_of_text(expected, &mut heard);
            }
            rest = &rest[piece.len()..];
        }
        heard
    }

    /// Answers that begin with their length.
    fn take_prefixed(&mut self, prefix: Prefix, expected: &Expected<'_>, bytes: &[u8]) -> Heard {
        let mut heard = Heard::default();
        let width = prefix.width.bytes();
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = if self.arrived < width {
                let (byte, place) = (u64::from(rest[0]), self.arrived);
                self.length = if prefix.is_little_endian {
                    self.length | byte << (8 * place)
                } else {
                    self.length << 8 | byte
                };
                &rest[..1]
            } else {
                let more = self.length - (self.arrived - width) as u64;
                &rest[..usize::try_from(more).map_or(rest.len(), |more| more.min(rest.len()))]
            };
            self.take_piece(expected, piece, &mut heard);
            if self.arrived >= width && (self.arrived - width) as u64 == self.length {
                self.length = 0;
                self.end_of_text(expected, &mut heard);
            }
            rest = &rest[piece.len()..];
        }
        heard
    }

    /// A part of one answer.
    fn take_piece(&mut self, expected: &Expected<'_>, piece: &[u8], heard: &mut Heard) {
        let Expected::Text(text) = expected else {
            self.position += piece.len() as u64;
            self.arrived += piece.len();
            return;
        };
        for byte in piece {
            self.judge(text.get(self.arrived) == Some(byte), heard);
            (self.arrived, self.position) = (self.arrived + 1, self.position + 1);
        }
    }

    /// The answer that has arrived is complete.
    fn end_of_text(&mut self, expected: &Expected<'_>, heard: &mut Heard) {
        // One that is too short has no byte that is wrong, and is.
        self.is_wrong |= matches!(expected, Expected::Text(text) if text.len() != self.arrived);
        self.arrived = 0;
        self.complete(heard);
    }

    fn judge(&mut self, is_right: bool, heard: &mut Heard) {
        if !is_right {
            self.is_wrong = true;
            heard.wrong_bytes += 1;
            heard.wrong_at = heard.wrong_at.or(Some(self.position - self.origin));
        }
    }

    fn complete(&mut self, heard: &mut Heard) {
        heard.answers += 1;
        heard.wrong += u64::from(std::mem::take(&mut self.is_wrong));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All of `bytes`, cut at `cut` again and again.
    fn read(
        response: &Response,
        size: usize,
        expected: &Expected<'_>,
        bytes: &[u8],
        cut: usize,
    ) -> Heard {
        let (mut reader, mut all) = (Reader::default(), Heard::default());
        let payload = Payload::text(&vec![0; size]);
        for piece in bytes.chunks(cut) {
            all.add(reader.take(response, &payload, expected, piece));
        }
        all
    }

    fn until(text: &str) -> Response {
        Response::Until(Delimiter::new(text.as_bytes()).unwrap())
    }

    #[test]
    fn answers_are_counted_however_they_are_cut() {
        for cut in 1..40 {
            let count = |response: &Response, bytes: &[u8]| {
                read(response, 8, &Expected::Anything, bytes, cut).answers
            };
            assert_eq!(count(&Response::Same, &[0; 39]), 4);
            assert_eq!(count(&Response::Fixed(13), &[0; 39]), 3);
            assert_eq!(count(&until("\r\n"), b"+OK\r\n\r\n\r\r\n-ERR"), 3);
            assert_eq!(count(&until("aab"), b"aaaabxaab"), 2);
            assert_eq!(count(&Response::None, &[0; 39]), 0);
        }
    }

    #[test]
    fn answers_are_as_long_as_the_messages_that_they_answer() {
        let payload = Payload::texts([&b"a"[..], b"bcd", b"ef"]);
        // From the second message on.
        let start = payload.start_of(1);
        for (bytes, answers, wrong, at) in [
            ("bcdefabcdef", 5, 0, None),
            ("bcdefabXdeX", 5, 2, Some(7)),
            ("bcdefabcd", 4, 0, None),
            ("bcdef", 2, 0, None),
            ("bc", 0, 0, None),
        ] {
            for cut in 1..12 {
                let (mut reader, mut heard) = (Reader::starting_at(start), Heard::default());
                let expected = Expected::Stream(&payload);
                for piece in bytes.as_bytes().chunks(cut) {
                    heard.add(reader.take(&Response::Same, &payload, &expected, piece));
                }
                let got = (heard.answers, heard.wrong, heard.wrong_at);
                assert_eq!(got, (answers, wrong, at), "{bytes} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        let count = |width, is_little_endian, bytes: &[u8], cut| {
            let response = Response::Prefix(Prefix {
                width,
                is_little_endian,
            });
            read(&response, 8, &Expected::Anything, bytes, cut).answers
        };
        let long: Vec<u8> = [&[1, 4][..], &[0; 260], &[0, 0]].concat();
        for cut in 1..40 {
            assert_eq!(count(Width::U8, false, b"\x03abc\0\x01x\x02y", cut), 3);
            assert_eq!(count(Width::U16, false, b"\0\x03abc\0\0\0\x01", cut), 2);
            assert_eq!(count(Width::U16, true, b"\x03\0abc\0\0\x01\0", cut), 2);
            assert_eq!(count(Width::U16, false, &long, cut), 2);
            assert_eq!(count(Width::U32, false, b"\0\0\0\x03abc", cut), 1);
            assert_eq!(count(Width::U32, true, b"\x03\0\0\0abc", cut), 1);
            // Four gigabytes are only counted, and never came.
            assert_eq!(count(Width::U32, false, b"\xFF\xFF\xFF\xFFabc", cut), 0);
        }
    }

    #[test]
    fn a_length_is_part_of_the_text_that_is_compared() {
        let response = Response::Prefix(Prefix {
            width: Width::U8,
            is_little_endian: false,
        });
        for cut in 1..20 {
            for (bytes, answers, wrong) in [
                ("\x02ab\x02ab", 2, 0),
                ("\x02aX\x02ab", 2, 1),
                ("\x01a\x02ab", 2, 1),
                ("\x03abc\x02ab", 2, 1),
                ("\0\x02ab", 2, 1),
            ] {
                let expected = Expected::Text(b"\x02ab");
                let heard = read(&response, 9, &expected, bytes.as_bytes(), cut);
                let got = (heard.answers, heard.wrong);
                assert_eq!(got, (answers, wrong), "{bytes:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_text_is_compared_to_its_last_byte() {
        for cut in 1..20 {
            for (response, bytes, answers, wrong) in [
                (Response::Fixed(3), "abcabc", 2, 0),
                (Response::Fixed(3), "abcaXcabc", 3, 1),
                (until("c"), "abcabc", 2, 0),
                (until("c"), "abcac", 2, 1),
                (until("c"), "abbcabc", 2, 1),
                (until("c"), "cabc", 2, 1),
            ] {
                let heard = read(&response, 9, &Expected::Text(b"abc"), bytes.as_bytes(), cut);
                assert_eq!(
                    (heard.answers, heard.wrong),
                    (answers, wrong),
                    "{response:?} {bytes} cut at {cut}"
                );
            }
        }
    }

    proptest! {
        /// Of an echo with some bytes changed, exactly those bytes and the messages that they stand
        /// in are wrong.
        #[test]
        fn exactly_what_is_wrong_is_found(
            size in 1usize..50,
            cut in 1usize..200,
            wrong in prop::collection::btree_set(0usize..1000, 0..10),
        ) {
            let payload = Payload::pattern(size);
            let mut bytes = payload.stretch(0, 1000).to_vec();
            wrong.iter().for_each(|at| bytes[*at] ^= 0x20);
            let heard = read(&Response::Same, size, &Expected::Stream(&payload), &bytes, cut);
            let messages = wrong.iter().map(|at| at / size);
            let whole = messages.filter(|message| (message + 1) * size <= 1000);
            let messages: std::collections::BTreeSet<usize> = whole.collect();
            prop_assert_eq!(heard.answers, (1000 / size) as u64);
            prop_assert_eq!(heard.wrong, messages.len() as u64);
            prop_assert_eq!(heard.wrong_bytes, wrong.len() as u64);
            prop_assert_eq!(heard.wrong_at, wrong.first().map(|at| *at as u64));
        }
    }
}
