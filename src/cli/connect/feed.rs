//! What the user says, on its way to the peer: lines, the word that ends them, and their encoding.
//!
//! Owns the piece of a line or of a character that is not complete yet. Pure: bytes in, bytes out.
//! Must never change a byte where nothing was asked for: without `--until` and with UTF-8 a stream
//! gets exactly the bytes of standard input.
//!
//! Tests: below, `tests/connect.rs`.

use crate::cli::charset::Charset;

/// The longest line that can be a datagram, in bytes of the wire: the longest payload of UDP over
/// IPv4.
const DATAGRAM_MAX: usize = 65_507;

/// The longest line that is kept for a datagram, in bytes of the input: an encoding may make it
/// shorter, to a half at most.
const LINE_MAX: usize = 4 * DATAGRAM_MAX;

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Feeding {
    /// More input is welcome.
    GoesOn,
    /// The word was read: whatever follows is not for the peer.
    Stopped,
}

/// Input for a stream.
#[derive(Debug)]
pub(super) struct StreamFeed {
    until: Option<Vec<u8>>,
    text: LineText,
    /// The beginning of a line that may still be the word.
    held: Vec<u8>,
    /// Whether the line that is being read can no longer be the word.
    is_inside: bool,
}

impl StreamFeed {
    pub(super) fn new(until: Option<&str>, charset: Charset) -> StreamFeed {
        StreamFeed {
            until: until.map(|word| word.as_bytes().to_vec()),
            text: LineText::new(charset),
            held: Vec::new(),
            is_inside: false,
        }
    }

    /// Takes input, and adds to `out` what is to be sent.
    ///
    /// # Errors
    ///
    /// One sentence about what cannot be encoded.
    pub(super) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<Feeding, String> {
        let Some(until) = &self.until else {
            self.text.push(input, out)?;
            return Ok(Feeding::GoesOn);
        };
        while !input.is_empty() {
            let end = input
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(input.len(), |at| at + 1);
            let (piece, rest) = input.split_at(end);
            input = rest;
            let is_ended = piece.ends_with(b"\n");
            if self.is_inside {
                self.text.push(piece, out)?;
            } else {
                self.held.extend_from_slice(piece);
                if is_ended && is_word(&self.held, until) {
                    return Ok(Feeding::Stopped);
                }
                if is_ended || !may_become(&self.held, until) {
                    self.text.push(&std::mem::take(&mut self.held), out)?;
                    self.is_inside = true;
                }
            }
            self.is_inside &= !is_ended;
        }
        Ok(Feeding::GoesOn)
    }

    /// The input has ended: adds to `out` what was held back.
    ///
    /// # Errors
    ///
    /// One sentence about what cannot be encoded.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let held = std::mem::take(&mut self.held);
        let is_word = self
            .until
            .as_ref()
            .is_some_and(|until| !held.is_empty() && is_word(&held, until));
        if !is_word {
            self.text.push(&held, out)?;
        }
        self.text.end()
    }
}

/// Input for datagrams, one a line.
#[derive(Debug)]
pub(super) struct LineFeed {
    until: Option<Vec<u8>>,
    text: LineText,
    held: Vec<u8>,
}

impl LineFeed {
    pub(super) fn new(until: Option<&str>, charset: Charset) -> LineFeed {
        LineFeed {
            until: until.map(|word| word.as_bytes().to_vec()),
            text: LineText::new(charset),
            held: Vec::new(),
        }
    }

    /// Takes input, and gives each line that is complete to `take`, without its end.
    ///
    /// # Errors
    ///
    /// One sentence about a line that cannot be encoded or is too long.
    pub(super) fn push(
        &mut self,
        mut input: &[u8],
        mut take: impl FnMut(Vec<u8>),
    ) -> Result<Feeding, String> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            self.held.extend_from_slice(&input[..end]);
            input = &input[end + 1..];
            if self
                .until
                .as_ref()
                .is_some_and(|until| is_word(&self.held, until))
            {
                return Ok(Feeding::Stopped);
            }
            take(self.line()?);
        }
        self.held.extend_from_slice(input);
        if self.held.len() > LINE_MAX {
            return Err(self.too_long(self.held.len()));
        }
        Ok(Feeding::GoesOn)
    }

    /// The input has ended: a last line without an end is one too.
    ///
    /// # Errors
    ///
    /// As those of [`LineFeed::push`].
    pub(super) fn end(&mut self, take: impl FnOnce(Vec<u8>)) -> Result<(), String> {
        if self.held.is_empty()
            || self
                .until
                .as_ref()
                .is_some_and(|until| is_word(&self.held, until))
        {
            return Ok(());
        }
        take(self.line()?);
        Ok(())
    }

    /// The line that is held, as it goes over the wire.
    fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let line = std::mem::take(&mut self.held);
        self.text.push(&line, &mut out)?;
        self.text.end()?;
        if out.len() > DATAGRAM_MAX {
            return Err(self.too_long(out.len()));
        }
        self.text.line += 1;
        Ok(out)
    }

    fn too_long(&self, size: usize) -> String {
        format!(
            "line {} has {size} bytes, and a datagram can have {DATAGRAM_MAX}; send it over a \
             stream",
            self.text.line
        )
    }
}

/// Whether a line, with its end or without, is the word.
fn is_word(line: &[u8], word: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line == word || line.strip_suffix(b"\r").is_some_and(|line| line == word)
}

/// Whether the beginning of a line may still become the word.
fn may_become(line: &[u8], word: &[u8]) -> bool {
    word.starts_with(line) || line.strip_suffix(b"\r").is_some_and(|line| line == word)
}

/// Characters of UTF-8 in, bytes of the wire out.
#[derive(Debug)]
struct LineText {
    charset: Charset,
    /// The beginning of a character that is not complete.
    partial: Vec<u8>,
    /// The line of the input, for complaints.
    line: u64,
}

impl LineText {
    fn new(charset: Charset) -> LineText {
        LineText {
            charset,
            partial: Vec::new(),
            line: 1,
        }
    }

    fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        if self.charset.is_utf8() {
            out.extend_from_slice(input);
            return Ok(());
        }
        let joined = [&std::mem::take(&mut self.partial)[..], input].concat();
        let (valid, rest) = match std::str::from_utf8(&joined) {
            Ok(text) => (text, &[][..]),
            Err(error) if error.error_len().is_none() => {
                let (valid, rest) = joined.split_at(error.valid_up_to());
                (std::str::from_utf8(valid).unwrap_or_default(), rest)
            }
            Err(error) => {
                let (valid, _) = joined.split_at(error.valid_up_to());
                self.encode(std::str::from_utf8(valid).unwrap_or_default(), out)?;
                let line = self.line;
                return Err(format!(
                    "line {line} is not UTF-8, so it cannot be written in {}",
                    self.charset
                ));
            }
        };
        self.partial = rest.to_vec();
        self.encode(valid, out)
    }

    /// What stands before a character that cannot be written is written.
    fn encode(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
        let (fitting, complaint) = match self.charset.encode(text) {
            Ok(encoded) => {
                out.extend_from_slice(&encoded);
                (text, None)
            }
            Err(character) => (
                text.split(character).next().unwrap_or_default(),
                Some(character),
            ),
        };
        self.line += fitting.matches('\n').count() as u64;
        let Some(character) = complaint else {
            return Ok(());
        };
        out.extend(self.charset.encode(fitting).unwrap_or_default());
        Err(format!(
            "line {}: {character:?} cannot be written in {}",
            self.line, self.charset
        ))
    }

    fn end(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.partial).is_empty() {
            return Ok(());
        }
        Err(format!(
            "line {} ends within a character, so it cannot be written in {}",
            self.line, self.charset
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn charset(label: &str) -> Charset {
        Charset::parse(label).unwrap()
    }

    fn stream(
        until: Option<&str>,
        label: &str,
        pieces: &[&[u8]],
    ) -> Result<(Vec<u8>, bool), String> {
        let (mut feed, mut out) = (StreamFeed::new(until, charset(label)), Vec::new());
        for piece in pieces {
            if feed.push(piece, &mut out)? == Feeding::Stopped {
                return Ok((out, true));
            }
        }
        feed.end(&mut out)?;
        Ok((out, false))
    }

    fn lines(
        until: Option<&str>,
        label: &str,
        pieces: &[&[u8]],
    ) -> Result<(Vec<Vec<u8>>, bool), String> {
        let (mut feed, mut got) = (LineFeed::new(until, charset(label)), Vec::new());
        for piece in pieces {
            if feed.push(piece, |line| got.push(line))? == Feeding::Stopped {
                return Ok((got, true));
            }
        }
        feed.end(|line| got.push(line))?;
        Ok((got, false))
    }

    #[test]
    fn a_stream_gets_the_bytes_of_the_input() {
        assert_eq!(
            stream(None, "utf-8", &[b"a\xff\0", b"\r\n"]),
            Ok((b"a\xff\0\r\n".to_vec(), false))
        );
    }

    #[test]
    fn the_word_ends_a_stream_wherever_it_is_cut() {
        let input = b"one\nexi\nexit2\n exit\nexit\nafter\n";
        for cut in 0..input.len() {
            let (before, after) = input.split_at(cut);
            assert_eq!(
                stream(Some("exit"), "utf-8", &[before, after]),
                Ok((b"one\nexi\nexit2\n exit\n".to_vec(), true)),
                "cut at {cut}"
            );
        }
        assert_eq!(
            stream(Some("exit"), "utf-8", &[b"a\nexit\r\nb"]),
            Ok((b"a\n".to_vec(), true))
        );
        assert_eq!(
            stream(Some("exit"), "utf-8", &[b"a\nexit"]),
            Ok((b"a\n".to_vec(), false)),
            "without an end, at the end"
        );
        assert_eq!(
            stream(Some("exit"), "utf-8", &[b"a\nexi"]),
            Ok((b"a\nexi".to_vec(), false))
        );
    }

    #[test]
    fn what_cannot_be_the_word_is_not_held_back() {
        let (mut feed, mut out) = (StreamFeed::new(Some("exit"), charset("utf-8")), Vec::new());
        assert_eq!(feed.push(b"ex", &mut out), Ok(Feeding::GoesOn));
        assert_eq!(out, b"");
        assert_eq!(feed.push(b"a", &mut out), Ok(Feeding::GoesOn));
        assert_eq!(out, b"exa");
    }

    #[test]
    fn text_is_encoded_wherever_it_is_cut() {
        let input = "收到啦\n我反馈".as_bytes();
        let expected = b"\xca\xd5\xb5\xbd\xc0\xb2\n\xce\xd2\xb7\xb4\xc0\xa1".to_vec();
        for cut in 0..input.len() {
            let (before, after) = input.split_at(cut);
            assert_eq!(
                stream(None, "gbk", &[before, after]),
                Ok((expected.clone(), false)),
                "cut at {cut}"
            );
        }
        let (mut feed, mut out) = (StreamFeed::new(None, charset("iso-8859-2")), Vec::new());
        assert!(feed.push("a\n收\n".as_bytes(), &mut out).is_err());
        assert_eq!(out, b"a\n", "what stands before it is written");
        assert!(
            stream(None, "gbk", &[b"\n\n\xff"])
                .unwrap_err()
                .contains("line 3 is not UTF-8")
        );
        assert!(
            stream(None, "gbk", &[b"\xe6\x94"])
                .unwrap_err()
                .contains("ends within a character")
        );
        assert!(
            stream(None, "iso-8859-2", &["a\n收".as_bytes()])
                .unwrap_err()
                .contains("line 2: '收' cannot be written")
        );
    }

    #[test]
    fn each_line_is_a_datagram() {
        assert_eq!(
            lines(None, "utf-8", &[b"a\n\nb", b"c\r\nd"]),
            Ok((
                vec![b"a".to_vec(), vec![], b"bc\r".to_vec(), b"d".to_vec()],
                false
            ))
        );
        assert_eq!(
            lines(Some("exit"), "utf-8", &[b"a\nex", b"it\nb\n"]),
            Ok((vec![b"a".to_vec()], true))
        );
        assert_eq!(
            lines(None, "gbk", &["收\n".as_bytes()]),
            Ok((vec![b"\xca\xd5".to_vec()], false))
        );
        assert!(
            lines(None, "utf-8", &[&[b'x'; 65_508], b"\n"])
                .unwrap_err()
                .contains("line 1 has 65508 bytes")
        );
        assert!(
            lines(None, "utf-8", &[b"a\n", &[b'x'; 300_000]])
                .unwrap_err()
                .contains("line 2 has")
        );
        assert_eq!(
            lines(None, "utf-8", &[&[b'x'; 65_507]]).unwrap().0[0].len(),
            65_507
        );
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            text in "[exit\r\n收]{0,30}",
            cuts in prop::collection::vec(0usize..60, 0..6),
            label in prop::sample::select(vec!["utf-8", "gbk"]),
        ) {
            let bytes = text.as_bytes();
            let cuts = cuts.into_iter().map(|cut| cut.min(bytes.len()));
            let mut at: Vec<usize> = cuts.chain([0, bytes.len()]).collect();
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let until = Some("exit");
            prop_assert_eq!(stream(until, label, &pieces), stream(until, label, &[bytes]));
            prop_assert_eq!(lines(until, label, &pieces), lines(until, label, &[bytes]));
        }
    }
}
