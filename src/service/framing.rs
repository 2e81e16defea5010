//! How a stream is divided into messages.
//!
//! Owns the rules of division, and how far the input has been searched. Pure: a slice in, slices of
//! it out. It must never look at a byte twice for the same message, however small the pieces of
//! input are, and never copy one. `framing/delimiter.rs` searches for a text, `framing/around.rs`
//! puts the frame around an answer.
//!
//! ```text
//!   chunk         whatever one read gave
//!   line          body LF  |  body CR LF  |  body at the end of the stream
//!   until:TEXT    body TEXT
//!   fixed:N       N bytes
//!   prefix:u16    length, big-endian, then as many bytes
//! ```
//!
//! A message is too long from the same byte on, however the input was cut: the first byte after
//! which no end could make it short enough.
//!
//! Tests: below, `tests/messages.rs`.

mod around;
mod delimiter;

pub(super) use self::around::Around;
pub use self::delimiter::Delimiter;

/// How a stream is divided into messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// What one read gave.
    Chunk,
    /// A line that ends in LF or CRLF. The last line of a stream needs no end.
    Line,
    /// Everything up to a text.
    Until(Delimiter),
    /// A fixed number of bytes; at least one.
    Fixed(usize),
    /// A length, big-endian, then that many bytes.
    Prefix(Width),
}

/// The size of a length prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
}

impl Width {
    /// In bytes.
    pub fn bytes(self) -> usize {
        match self {
            Width::U8 => 1,
            Width::U16 => 2,
            Width::U32 => 4,
        }
    }

    /// The longest body that the prefix can announce.
    pub fn most(self) -> usize {
        match self {
            Width::U8 => u8::MAX.into(),
            Width::U16 => u16::MAX.into(),
            Width::U32 => u32::MAX as usize,
        }
    }

    /// The prefix of a body; the last [`bytes`](Width::bytes) of these four.
    fn prefix(self, length: usize) -> [u8; 4] {
        (length as u32).to_be_bytes()
    }
}

/// A message as it stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message itself.
    pub body: &'a [u8],
    /// What ended it: the line end or the delimiter that came.
    pub end: &'a [u8],
}

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A message, and how many bytes it took with its frame.
    Message(Frame<'a>, usize),
    /// The beginning of a message. Pass it again once more input has been appended.
    Incomplete,
    /// A message that is longer than the limit.
    TooLong,
}

/// How far the message that is arriving has been searched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    /// Bytes that have been searched and hold no end.
    searched: usize,
    /// How much of the delimiter those bytes end with.
    matched: usize,
    /// Bytes looked at since the beginning, for the test that the work is linear.
    #[cfg(test)]
    steps: usize,
}

impl Search {
    /// The next message in `bytes`. If the last call returned [`Next::Incomplete`], `bytes` must
    /// begin with the same bytes.
    pub fn next<'a>(&mut self, framing: &Framing, most: usize, bytes: &'a [u8]) -> Next<'a> {
        let next = match framing {
            Framing::Chunk if bytes.is_empty() => Next::Incomplete,
            Framing::Chunk => Next::Message(
                Frame {
                    body: bytes,
                    end: b"",
                },
                bytes.len(),
            ),
            Framing::Line => self.next_line(most, bytes),
            Framing::Until(delimiter) => self.next_until(delimiter, most, bytes),
            Framing::Fixed(size) => whole(bytes, 0, *size),
            Framing::Prefix(width) => next_prefixed(*width, most, bytes),
        };
        match next {
            Next::Message(..) => (self.searched, self.matched) = (0, 0),
            Next::Incomplete => self.searched = bytes.len(),
            Next::TooLong => {}
        }
        next
    }

    /// The message that the end of the stream completes: only a line does not need an end.
    pub fn rest<'a>(&mut self, framing: &Framing, bytes: &'a [u8]) -> Option<Frame<'a>> {
        *self = Search::default();
        (*framing == Framing::Line && !bytes.is_empty()).then_some(Frame {
            body: bytes,
            end: b"",
        })
    }

    fn next_line<'a>(&mut self, most: usize, bytes: &'a [u8]) -> Next<'a> {
        let found = bytes[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| self.searched + at);
        self.count(found.map_or(bytes.len(), |at| at + 1) - self.searched);
        let line = &bytes[..found.unwrap_or(bytes.len())];
        // A CR at the end may belong to a CRLF whose LF has not arrived.
        let body = line.strip_suffix(b"\r").unwrap_or(line);
        match found {
            _ if body.len() > most => Next::TooLong,
            Some(at) => Next::Message(
                Frame {
                    body,
                    end: &bytes[body.len()..=at],
                },
                at + 1,
            ),
            None => Next::Incomplete,
        }
    }

    fn next_until<'a>(&mut self, delimiter: &Delimiter, most: usize, bytes: &'a [u8]) -> Next<'a> {
        let searched = self.searched;
        let mut matched = self.matched;
        let found = delimiter.scan(&mut matched, &bytes[searched..], |steps| self.count(steps));
        self.matched = matched;
        if let Some(end) = found.map(|end| searched + end) {
            let (body, end) = bytes[..end].split_at(end - delimiter.text().len());
            return if body.len() > most {
                Next::TooLong
            } else {
                Next::Message(Frame { body, end }, body.len() + end.len())
            };
        }
        if bytes.len() - self.matched > most {
            Next::TooLong
        } else {
            Next::Incomplete
        }
    }

    #[inline]
    fn count(&mut self, _steps: usize) {
        #[cfg(test)]
        {
            self.steps += _steps;
        }
    }
}

fn next_prefixed(width: Width, most: usize, bytes: &[u8]) -> Next<'_> {
    let Some(prefix) = bytes.get(..width.bytes()) else {
        return Next::Incomplete;
    };
    let length = prefix
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > most {
        Next::TooLong
    } else {
        whole(bytes, width.bytes(), length)
    }
}

/// The message of `length` bytes at `from`, if it is complete.
fn whole(bytes: &[u8], from: usize, length: usize) -> Next<'_> {
    match bytes.get(from..from + length) {
        Some(body) => Next::Message(Frame { body, end: b"" }, from + length),
        None => Next::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(text: &[u8]) -> Framing {
        Framing::Until(Delimiter::new(text).unwrap())
    }

    /// Bodies and ends of all messages, fed in pieces; and whether it ended with one that was too
    /// long.
    type Split = (Vec<(Vec<u8>, Vec<u8>)>, bool);

    fn split(framing: &Framing, most: usize, pieces: &[&[u8]]) -> Split {
        let (mut search, mut kept, mut got) = (Search::default(), Vec::new(), Vec::new());
        for piece in pieces {
            kept.extend_from_slice(piece);
            loop {
                match search.next(framing, most, &kept) {
                    Next::Message(frame, size) => {
                        got.push((frame.body.to_vec(), frame.end.to_vec()));
                        kept.drain(..size);
                    }
                    Next::Incomplete => break,
                    Next::TooLong => return (got, true),
                }
            }
        }
        got.extend(
            search
                .rest(framing, &kept)
                .map(|frame| (frame.body.to_vec(), frame.end.to_vec())),
        );
        (got, false)
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        expected
            .iter()
            .map(|(body, end)| (body.as_bytes().to_vec(), end.as_bytes().to_vec()))
            .collect()
    }

    /// Whole, and split at every byte, and every byte alone.
    #[track_caller]
    fn assert_splits(
        framing: &Framing,
        most: usize,
        input: &[u8],
        expected: &[(&str, &str)],
        too_long: bool,
    ) {
        let expected = (pairs(expected), too_long);
        for cut in 0..=input.len() {
            let (before, after) = input.split_at(cut);
            assert_eq!(
                split(framing, most, &[before, after]),
                expected,
                "{framing:?} cut at {cut}"
            );
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(
            split(framing, most, &bytes),
            expected,
            "{framing:?} byte by byte"
        );
    }

    #[test]
    fn lines_end_in_lf_or_crlf_and_the_last_in_nothing() {
        assert_splits(
            &Framing::Line,
            5,
            b"a\nbc\r\n\n\rd\ne",
            &[
                ("a", "\n"),
                ("bc", "\r\n"),
                ("", "\n"),
                ("\rd", "\n"),
                ("e", ""),
            ],
            false,
        );
        assert_splits(&Framing::Line, 5, b"abcde\r\n", &[("abcde", "\r\n")], false);
        assert_splits(&Framing::Line, 5, b"a\nabcdef\nb\n", &[("a", "\n")], true);
        assert_splits(&Framing::Line, 5, b"", &[], false);
    }

    #[test]
    fn a_delimiter_is_found_wherever_it_is_cut() {
        assert_splits(
            &until(b"\r\n\r\n"),
            9,
            b"a\r\n\r\nb\r\r\n\r\n\r\n",
            &[("a", "\r\n\r\n"), ("b\r", "\r\n\r\n")],
            false,
        );
        assert_splits(
            &until(b"aab"),
            4,
            b"aaabaabaab",
            &[("a", "aab"), ("", "aab"), ("", "aab")],
            false,
        );
        assert_splits(&until(b";"), 3, b"abc;abcd;", &[("abc", ";")], true);
        assert!(Delimiter::new(b"").is_none());
    }

    #[test]
    fn lengths_are_obeyed() {
        assert_splits(
            &Framing::Fixed(3),
            3,
            b"abcdefg",
            &[("abc", ""), ("def", "")],
            false,
        );
        assert_splits(
            &Framing::Prefix(Width::U8),
            9,
            b"\x01a\x00\x02bc\x05d",
            &[("a", ""), ("", ""), ("bc", "")],
            false,
        );
        assert_splits(
            &Framing::Prefix(Width::U16),
            9,
            b"\x00\x01a\x00\x02bc",
            &[("a", ""), ("bc", "")],
            false,
        );
        assert_splits(
            &Framing::Prefix(Width::U32),
            9,
            b"\x00\x00\x00\x01a\x00\x00\x00\x0a",
            &[("a", "")],
            true,
        );
        assert_splits(
            &Framing::Prefix(Width::U32),
            9,
            b"\xff\xff\xff\xff",
            &[],
            true,
        );
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_is_linear_work() {
        for (framing, byte) in [
            (Framing::Line, b'x'),
            (until(b"aaaaaaab"), b'a'),
            (until(b"xy"), b'x'),
        ] {
            let (mut search, bytes) = (Search::default(), vec![byte; 65_536]);
            for size in 1..=bytes.len() {
                assert_eq!(
                    search.next(&framing, 65_536, &bytes[..size]),
                    Next::Incomplete
                );
            }
            assert!(
                search.steps <= 2 * bytes.len(),
                "{framing:?}: {} steps",
                search.steps
            );
        }
    }
}
