//! What one message is, on a stream that knows no messages.
//!
//! Owns the rules by which bytes fall into messages, and how far they have been searched. Pure: a
//! slice in, slices of it out. It must never look at a byte twice for the same message, however
//! small the pieces it comes in, and never copy one.
//!
//! ```text
//!   chunk         whatever one read gave
//!   line          body LF  |  body CR LF  |  body at the end of the stream
//!   until:TEXT    body TEXT
//!   fixed:N       N bytes
//!   prefix:u16    length, big-endian, then as many bytes
//! ```
//!
//! A message is known to be too long at the same byte, however the input was cut: as soon as no end
//! that may follow could make it shorter.
//!
//! Tests: below, `tests/messages.rs`.

/// How bytes fall into messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// What one read gave.
    Chunk,
    /// A line, with LF or CRLF behind it; a last line may go without.
    Line,
    /// Everything up to a text.
    Until(Delimiter),
    /// A fixed number of bytes; at least one.
    Fixed(usize),
    /// A length, big-endian, and then as many bytes.
    Prefix(Width),
}

/// A text that ends messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiter {
    text: Box<[u8]>,
    /// For each beginning of the text, how much of its end is a beginning of the text too (Knuth,
    /// Morris and Pratt): where the search goes on after a mismatch, so that no byte is looked at
    /// again.
    borders: Box<[usize]>,
}

impl Delimiter {
    /// `None` if the text is empty: it would end messages without end.
    pub fn new(text: &[u8]) -> Option<Delimiter> {
        if text.is_empty() {
            return None;
        }
        let mut borders = vec![0; text.len()];
        let mut matched = 0;
        for at in 1..text.len() {
            while matched > 0 && text[at] != text[matched] {
                matched = borders[matched - 1];
            }
            matched += usize::from(text[at] == text[matched]);
            borders[at] = matched;
        }
        Some(Delimiter {
            text: text.into(),
            borders: borders.into(),
        })
    }

    /// The text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Looks for the text in the next `bytes` of a stream. `matched`, 0 at first, keeps how much of
    /// it stood at their end. Returns where the text ends.
    pub fn find(&self, matched: &mut usize, bytes: &[u8]) -> Option<usize> {
        let found = self.scan(matched, bytes, |_| {});
        if found.is_some() {
            *matched = 0;
        }
        found
    }

    /// The search itself; `count` is told of the steps that it takes.
    fn scan(
        &self,
        matched: &mut usize,
        bytes: &[u8],
        mut count: impl FnMut(usize),
    ) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if *matched == 0 && bytes[at] != self.text[0] {
                // Nothing begins here: on to the next byte where something could.
                let skipped = bytes[at..]
                    .iter()
                    .position(|byte| *byte == self.text[0])
                    .unwrap_or(bytes.len() - at);
                count(skipped);
                at += skipped;
                continue;
            }
            count(1);
            if bytes[at] == self.text[*matched] {
                *matched += 1;
                at += 1;
            } else {
                *matched = self.borders[*matched - 1];
                continue;
            }
            if *matched == self.text.len() {
                return Some(at);
            }
        }
        None
    }
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

    /// The longest body that it can announce.
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

/// What stands at the beginning of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A message, and how many bytes it took with its frame.
    Message(Frame<'a>, usize),
    /// The beginning of a message; show it again with more behind it.
    Incomplete,
    /// A message that is longer than the limit.
    TooLong,
}

/// How far the message that is arriving has been searched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    /// Bytes that hold no end.
    searched: usize,
    /// How much of the delimiter stands at the end of those.
    matched: usize,
    /// Bytes looked at since the beginning, for the test that the work is linear.
    #[cfg(test)]
    steps: usize,
}

impl Search {
    /// The next message in `bytes`, which begin with what was incomplete before.
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

    /// What is left at the end of the stream. A line may go without its end; any other message is
    /// not whole.
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
        // The CR of a CRLF whose LF is still to come is no part of the line.
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
            let (body, end) = bytes[..end].split_at(end - delimiter.text.len());
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

/// The message of `length` bytes at `from`, if it is all there.
fn whole(bytes: &[u8], from: usize, length: usize) -> Next<'_> {
    match bytes.get(from..from + length) {
        Some(body) => Next::Message(Frame { body, end: b"" }, from + length),
        None => Next::Incomplete,
    }
}

/// What goes around an answer, so that it keeps the frame of its question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    head: [u8; 4],
    head_size: usize,
    /// What goes behind it.
    pub(super) tail: &'a [u8],
}

impl<'a> Around<'a> {
    /// What goes around an answer of `size` bytes to a message that ended in `end`. `says_end`: the
    /// answer's own words contain the delimiter, so it ends itself. `None` if no prefix can say its
    /// length.
    pub(super) fn of(
        framing: &'a Framing,
        size: usize,
        end: &'a [u8],
        says_end: bool,
    ) -> Option<Around<'a>> {
        let (width, tail) = match framing {
            Framing::Chunk | Framing::Fixed(_) => (None, &b""[..]),
            Framing::Line => (None, end),
            Framing::Until(delimiter) => (None, if says_end { b"" } else { delimiter.text() }),
            Framing::Prefix(width) if size > width.most() => return None,
            Framing::Prefix(width) => (Some(*width), &b""[..]),
        };
        Some(Around {
            head: width.map_or([0; 4], |width| width.prefix(size)),
            head_size: width.map_or(0, Width::bytes),
            tail,
        })
    }

    /// What goes before it.
    pub(super) fn head(&self) -> &[u8] {
        &self.head[4 - self.head_size..]
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

    #[test]
    fn an_answer_keeps_the_frame_of_its_question() {
        let around = |framing: &Framing, size, end: &[u8], says_end| {
            Around::of(framing, size, end, says_end)
                .map(|around| (around.head().to_vec(), around.tail.to_vec()))
        };
        assert_eq!(
            around(&Framing::Line, 9, b"\r\n", false),
            Some((vec![], b"\r\n".to_vec()))
        );
        assert_eq!(
            around(&until(b";"), 9, b";", false),
            Some((vec![], b";".to_vec()))
        );
        assert_eq!(around(&until(b";"), 9, b";", true), Some((vec![], vec![])));
        assert_eq!(
            around(&Framing::Prefix(Width::U16), 258, b"", false),
            Some((vec![1, 2], vec![]))
        );
        assert_eq!(around(&Framing::Prefix(Width::U8), 256, b"", false), None);
    }
}
