//! How the answers to datagrams are told apart.
//!
//! Owns where the number of a datagram stands, and how it is written there. Pure.
//!
//! Tests: below; `tests/load_features.rs` and `tests/load_truth.rs` over sockets.

use std::fmt;
use std::io::IoSlice;
use std::str::FromStr;

/// Bytes at the beginning of a datagram that identify it: a mark of its socket, its number, and a
/// checksum over both, so that a damaged one is not taken for another.
pub const HEADER: usize = 16;

/// How the answers to datagrams are told apart. On a stream they come in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// They are not: an answer is taken for that to the oldest datagram which has none.
    Order,
    /// Each datagram begins with its number, in [`HEADER`] bytes.
    Header,
    /// A field of the message holds the number, and the target repeats it in its answer.
    Field(Field),
}

/// A field that holds the lowest bits of a number, the highest byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    offset: usize,
    length: usize,
    answer_offset: usize,
}

/// The longest field: as long as a number.
const LONGEST: usize = 8;

/// The last byte of a field, at most: datagrams are not longer.
const FARTHEST: usize = 65_507;

impl Field {
    /// A field of `length` bytes from `offset` on, and in the answer from `answer_offset` on.
    /// `None` unless `length` is 1 to 8 and both end within the longest datagram.
    pub fn new(offset: usize, length: usize, answer_offset: usize) -> Option<Field> {
        let farthest = FARTHEST.checked_sub(length)?;
        let fits = (1..=LONGEST).contains(&length) && offset.max(answer_offset) <= farthest;
        fits.then_some(Field {
            offset,
            length,
            answer_offset,
        })
    }

    /// Where a message has it; one that is shorter than the end of this has none.
    pub fn range(self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.length
    }

    /// Whether it stands at the same place in the answer.
    pub fn is_echoed(self) -> bool {
        self.offset == self.answer_offset
    }

    /// The bits of a number that it holds.
    pub fn mask(self) -> u64 {
        u64::MAX >> (8 * (LONGEST - self.length))
    }

    /// How far apart numbers are that look the same; `None` if no two do.
    pub fn period(self) -> Option<u64> {
        self.mask().checked_add(1)
    }

    /// The bytes of a number, of which the field holds the last.
    fn bytes(self, number: &[u8; LONGEST]) -> &[u8] {
        &number[LONGEST - self.length..]
    }

    /// The message with the number in it, in pieces; `number` in bytes, the highest first.
    pub(super) fn fill<'a>(self, message: &'a [u8], number: &'a [u8; LONGEST]) -> [IoSlice<'a>; 3] {
        let field = self.range();
        [
            IoSlice::new(&message[..field.start]),
            IoSlice::new(self.bytes(number)),
            IoSlice::new(&message[field.end..]),
        ]
    }

    /// What an answer has in its place. `None`: it is too short.
    pub(super) fn read(self, answer: &[u8]) -> Option<u64> {
        let field = answer.get(self.answer_offset..)?.get(..self.length)?;
        let push = |number, byte: &u8| number << 8 | u64::from(*byte);
        Some(field.iter().fold(0, push))
    }

    /// Whether an answer is `right`, apart from the field.
    pub(super) fn is_same_around(self, answer: &[u8], right: &[u8]) -> bool {
        let (start, end) = (self.answer_offset, self.answer_offset + self.length);
        let around = |bytes| {
            let (head, tail): (&[u8], &[u8]) = <[u8]>::split_at_checked(bytes, start)?;
            Some((head, tail.get(end - start..)?))
        };
        answer.len() == right.len()
            && around(answer).is_some_and(|found| around(right) == Some(found))
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Field, String> {
        const WHAT: &str = "a field is OFFSET:LEN, such as 0:2 for the id of DNS, or \
            OFFSET:LEN:ANSWER_OFFSET if the answer has it elsewhere, such as 40:8:24 for NTP";
        let numbers: Result<Vec<usize>, _> = text.split(':').map(str::parse).collect();
        let (offset, length, answer_offset) = match numbers.as_deref() {
            Ok([offset, length]) => (*offset, *length, *offset),
            Ok([offset, length, answer_offset]) => (*offset, *length, *answer_offset),
            _ => return Err(WHAT.to_owned()),
        };
        if !(1..=LONGEST).contains(&length) {
            return Err(format!("a field is 1 to {LONGEST} bytes long; {WHAT}"));
        }
        Field::new(offset, length, answer_offset)
            .ok_or_else(|| format!("a datagram ends at byte {FARTHEST}, before that field does"))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.offset, self.length)?;
        if self.is_echoed() {
            Ok(())
        } else {
            write!(f, ":{}", self.answer_offset)
        }
    }
}

impl Matching {
    /// Datagrams of one socket that may be on their way at once and be told apart.
    pub fn most_in_flight(self) -> usize {
        let Matching::Field(field) = self else {
            return usize::MAX;
        };
        let period = field.period().and_then(|period| period.try_into().ok());
        period.unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(field: &str, message: &[u8], number: u64) -> Vec<u8> {
        let field: Field = field.parse().unwrap();
        field
            .fill(message, &number.to_be_bytes())
            .iter()
            .flat_map(|piece| piece.to_vec())
            .collect()
    }

    #[test]
    fn the_number_stands_in_its_field_and_nowhere_else() {
        assert_eq!(filled("0:2", b"abcd", 0x1_0203), b"\x02\x03cd");
        assert_eq!(filled("1:1", b"abcd", 7), b"a\x07cd");
        assert_eq!(filled("2:2", b"abcd", 7), b"ab\x00\x07");
        assert_eq!(filled("0:8", b"abcdefgh", u64::MAX), [0xFF; 8]);
        let field: Field = "4:2:1".parse().unwrap();
        assert_eq!(field.read(b"a\x01\x02"), Some(0x102));
        assert_eq!(field.read(b"a\x01"), None);
        assert!(field.is_same_around(b"aXXb", b"a..b"));
        assert!(!field.is_same_around(b"aXXc", b"a..b") && !field.is_same_around(b"aX", b"a."));
    }

    #[test]
    fn a_field_tells_so_many_datagrams_apart() {
        let most = |text: &str| Matching::Field(text.parse().unwrap()).most_in_flight();
        assert_eq!(
            (most("9:1"), most("0:2"), most("0:8")),
            (256, 65_536, usize::MAX)
        );
        assert_eq!(Matching::Header.most_in_flight(), usize::MAX);
    }

    #[test]
    fn a_field_is_written_as_it_is_read() {
        for text in ["0:2", "40:8:24", "65499:8"] {
            assert_eq!(text.parse::<Field>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("", "OFFSET:LEN"),
            ("2", "OFFSET:LEN"),
            ("0:2:3:4", "OFFSET:LEN"),
            ("0:-2", "OFFSET:LEN"),
            ("0:0", "1 to 8 bytes"),
            ("0:9", "1 to 8 bytes"),
            ("65500:8", "before that field"),
            ("0:8:99999999", "before that field"),
        ] {
            let error = text.parse::<Field>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
