//! Text encodings of the wire.
//!
//! Owns the labels that name them (those of the WHATWG), and a decoder that reads a stream in
//! pieces: where a read happens to end can never break a character, and bytes that are no text come
//! out as the bytes that they are. Only encodings that can be written as well as read are taken,
//! because an option that works in one direction alone would be found out too late.
//!
//! Tests: below; `tests/text.rs` over sockets.

use std::fmt;

use encoding_rs::{DecoderResult, Encoding};

/// A text encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charset(&'static Encoding);

impl Charset {
    /// The encoding that `label` names.
    ///
    /// # Errors
    ///
    /// One sentence, where there is none or where it cannot be written.
    pub(crate) fn parse(label: &str) -> Result<Charset, String> {
        const KNOWN: &str =
            "such as utf-8, gbk, gb18030, big5, shift_jis, euc-jp, euc-kr, windows-1252 or koi8-r";
        let Some(encoding) = Encoding::for_label(label.as_bytes()) else {
            return Err(format!(
                "no encoding has this name; use a label of the WHATWG standard, {KNOWN}"
            ));
        };
        // The standard lets UTF-16 and the encodings that it replaced for safety be read at the
        // most, and writes UTF-8 in their place.
        if encoding.output_encoding() != encoding {
            return Err(format!(
                "this encoding cannot be written by the rules of the WHATWG; use another, {KNOWN}"
            ));
        }
        Ok(Charset(encoding))
    }

    /// Whether it is UTF-8.
    pub(crate) fn is_utf8(self) -> bool {
        self.0 == encoding_rs::UTF_8
    }

    /// Writes text in this encoding.
    ///
    /// # Errors
    ///
    /// The first character that cannot be encoded.
    pub(crate) fn encode(self, text: &str) -> Result<Vec<u8>, char> {
        let (mut encoder, mut bytes, mut at) =
            (self.0.new_encoder(), Vec::with_capacity(text.len()), 0);
        loop {
            let mut room = [0; 1024];
            let (result, read, written) =
                encoder.encode_from_utf8_without_replacement(&text[at..], &mut room, true);
            at += read;
            bytes.extend_from_slice(&room[..written]);
            match result {
                encoding_rs::EncoderResult::InputEmpty => return Ok(bytes),
                encoding_rs::EncoderResult::OutputFull => {}
                // Of the control characters that would switch ISO-2022-JP the encoder says U+FFFD:
                // the one that was read last is meant.
                encoding_rs::EncoderResult::Unmappable(character) => {
                    return Err(text[..at].chars().next_back().unwrap_or(character));
                }
            }
        }
    }

    /// A reader of this encoding, at the beginning of a text.
    pub(crate) fn decoder(self) -> Decoder {
        Decoder {
            charset: self,
            state: self.0.new_decoder_without_bom_handling(),
            recent: [0; RECENT],
        }
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// What a decoder has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// Text, never empty.
    Text(&'a str),
    /// Bytes that are no text in this encoding.
    Invalid(&'a [u8]),
}

/// How far back invalid bytes may lie from the last one that was read: what
/// [`DecoderResult::Malformed`] promises.
const RECENT: usize = 6;

/// Reads a text that comes in pieces.
pub(crate) struct Decoder {
    charset: Charset,
    state: encoding_rs::Decoder,
    /// The bytes read last, because those that turn out to be invalid may have come with an earlier
    /// call.
    recent: [u8; RECENT],
}

impl Decoder {
    /// Reads `bytes` on, and hands out what they come to. What is left of a character at the end
    /// waits for the next call, unless this `is_last`; then the decoder is at the beginning of a
    /// text again.
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        mut take: impl FnMut(Decoded<'_>),
    ) {
        let mut room = [0; 1024];
        let room = std::str::from_utf8_mut(&mut room).expect("zeros are text");
        let mut rest = bytes;
        // encoding_rs 0.8 forgets the lead byte that it has where a call brings nothing and is not
        // the last.
        if rest.is_empty() && !is_last {
            return;
        }
        loop {
            let (result, read, written) = self
                .state
                .decode_to_str_without_replacement(rest, room, is_last);
            self.remember(&rest[..read]);
            rest = &rest[read..];
            if written > 0 {
                take(Decoded::Text(&room[..written]));
            }
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(length, after) => {
                    let end = RECENT - usize::from(after);
                    take(Decoded::Invalid(
                        &self.recent[end - usize::from(length)..end],
                    ));
                    if rest.is_empty() && !is_last {
                        break;
                    }
                }
            }
        }
        if is_last {
            *self = self.charset.decoder();
        }
    }

    fn remember(&mut self, read: &[u8]) {
        let new = &read[read.len().saturating_sub(RECENT)..];
        self.recent.rotate_left(new.len());
        self.recent[RECENT - new.len()..].copy_from_slice(new);
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("charset", &self.charset)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn charset(label: &str) -> Charset {
        Charset::parse(label).unwrap()
    }

    /// What comes out of `pieces`, invalid bytes as `<hh>`.
    fn read(label: &str, pieces: &[&[u8]]) -> String {
        let (mut decoder, mut shown) = (charset(label).decoder(), String::new());
        for (index, piece) in pieces.iter().enumerate() {
            decoder.decode(piece, index + 1 == pieces.len(), |piece| match piece {
                Decoded::Text(text) => {
                    assert!(!text.is_empty());
                    shown.push_str(text);
                }
                Decoded::Invalid(bytes) => bytes
                    .iter()
                    .for_each(|byte| shown.push_str(&format!("<{byte:02x}>"))),
            });
        }
        shown
    }

    /// Labels, bytes, and what they come to.
    const TEXTS: &[(&str, &[u8], &str)] = &[
        ("utf-8", "größer 服务器 🐦".as_bytes(), "größer 服务器 🐦"),
        (
            "utf-8",
            b"a\xff\xe6\x9cb\xf0\x9f\x90",
            "a<ff><e6><9c>b<f0><9f><90>",
        ),
        ("utf-8", b"\xef\xbb\xbfa", "\u{feff}a"),
        ("utf-8", b"\xed\xa0\x80", "<ed><a0><80>"),
        ("gbk", b"\xca\xd5\xb5\xbd\xc0\xb2", "收到啦"),
        ("gbk", b"\xca\xd5\xff\xca", "收<ff><ca>"),
        ("gbk", b"\xca\n\xca\x7f!", "<ca>\n<ca>\x7f!"),
        (
            "gb18030",
            b"\x90\x30\x81\x30 \x81\x35\xf4\x37\xca\xd5",
            "\u{10000} \u{e7c7}收",
        ),
        (
            "gb18030",
            b"\x81\x30a \x81\x30\x81a \x81\x30\x81",
            "<81>0a <81>0乤 <81><30><81>",
        ),
        ("gb18030", b"\xe3\x32\x9a\x36", "<e3><32><9a><36>"),
        ("shift_jis", b"\x83\x7d\x83\x43\x83\x69\xb6", "マイナｶ"),
        ("shift_jis", b"\x83\x20\xfd\x83", "<83> <fd><83>"),
        (
            "big5",
            b"\xaa\x41\xb0\xc8\xbe\xb9\x88\x62",
            "服務器\u{ca}\u{304}",
        ),
        ("big5", b"\xaa\x20\xff\xaa", "<aa> <ff><aa>"),
        (
            "iso-2022-jp",
            b"a\x1b$B%^%$%J\x1b(Bb\x1b(J\\\x1b(I6",
            "aマイナb¥ｶ",
        ),
        (
            "iso-2022-jp",
            b"a\x1b$B%\x1b(Bb\xff\x1b!c\x1b$",
            "a<25>b<ff><1b>!c<1b>$",
        ),
        ("iso-2022-jp", b"\x1b$B\x1b(Ba\x1b(B", "<1b><24><42>a"),
    ];

    #[test]
    fn a_text_reads_the_same_whole_and_split_at_every_byte() {
        for (label, bytes, expected) in TEXTS {
            assert_eq!(read(label, &[bytes]), *expected, "{label}");
            let each: Vec<&[u8]> = bytes
                .chunks(1)
                .flat_map(|byte| [byte, b""])
                .chain([&b""[..]])
                .collect();
            assert_eq!(
                read(label, &each),
                *expected,
                "{label}, byte by byte, with nothing between"
            );
            for cut in 0..=bytes.len() {
                let (before, after) = bytes.split_at(cut);
                assert_eq!(
                    read(label, &[before, after]),
                    *expected,
                    "{label}, split at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_text_longer_than_the_room_for_it_is_read_whole() {
        let text = "服务器🐦é".repeat(1000);
        assert_eq!(read("utf-8", &[text.as_bytes()]), text);
        assert_eq!(
            read("gb18030", &[&charset("gb18030").encode(&text).unwrap()]),
            text
        );
    }

    #[test]
    fn after_its_end_a_decoder_begins_anew() {
        let mut decoder = charset("iso-2022-jp").decoder();
        for _ in 0..2 {
            let mut shown = String::new();
            decoder.decode(b"B\x1b$B%^", true, |piece| match piece {
                Decoded::Text(text) => shown.push_str(text),
                Decoded::Invalid(bytes) => panic!("{bytes:?}"),
            });
            assert_eq!(shown, "Bマ");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for (label, text, bytes) in [
            ("utf-8", "服é", &b"\xe6\x9c\x8d\xc3\xa9"[..]),
            (
                "GBK",
                "收到啦我反馈",
                b"\xca\xd5\xb5\xbd\xc0\xb2\xce\xd2\xb7\xb4\xc0\xa1",
            ),
            ("gb18030", "🐦", b"\x94\x39\xcd\x32"),
            ("Shift_JIS", "マイナ", b"\x83\x7d\x83\x43\x83\x69"),
            ("big5", "服務器", b"\xaa\x41\xb0\xc8\xbe\xb9"),
            ("iso-2022-jp", "マa", b"\x1b$B%^\x1b(Ba"),
            ("latin1", "é", b"\xe9"),
        ] {
            assert_eq!(charset(label).encode(text).as_deref(), Ok(bytes), "{label}");
            assert_eq!(read(label, &[bytes]), text, "{label}");
        }
        // Back in ASCII at the end, so that texts can stand one behind the other.
        assert_eq!(
            charset("iso-2022-jp").encode("マ").unwrap(),
            b"\x1b$B%^\x1b(B"
        );
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        assert_eq!(charset("gbk").encode("收🐦é"), Err('🐦'));
        assert_eq!(charset("latin1").encode("a服"), Err('服'));
        assert_eq!(charset("iso-2022-jp").encode("ab\x1bc"), Err('\x1b'));
    }

    #[test]
    fn labels_that_are_not_taken_are_explained() {
        assert_eq!(charset(" UTF8 ").to_string(), "UTF-8");
        assert!(charset("utf8").is_utf8() && !charset("gbk").is_utf8());
        for label in [
            "utf-16",
            "utf-16be",
            "utf-16le",
            "hz-gb-2312",
            "iso-2022-kr",
            "replacement",
        ] {
            let why = Charset::parse(label).unwrap_err();
            assert!(
                why.contains("cannot be written") && why.contains("gbk"),
                "{label}: {why}"
            );
        }
        for label in ["", "utf-9", "gb 2312", "服"] {
            let why = Charset::parse(label).unwrap_err();
            assert!(
                why.contains("no encoding has this name") && why.contains("shift_jis"),
                "{label}: {why}"
            );
        }
    }

    fn labels() -> impl Strategy<Value = &'static str> {
        prop::sample::select(
            &[
                "utf-8",
                "gbk",
                "gb18030",
                "shift_jis",
                "big5",
                "euc-jp",
                "euc-kr",
                "iso-2022-jp",
                "windows-1252",
            ][..],
        )
    }

    /// Bytes that are often near something: leads, trails and escapes of the encodings above.
    fn near_text() -> impl Strategy<Value = Vec<u8>> {
        const LIKELY: &[u8] =
            b"\x1b$B(JI!~0\x30\x39\x81\x84\x8e\x8f\x90\xa1\xca\xd5\xe6\x9c\x8d\xf0\
            \xfe\xff\x80@Aa\n";
        let likely = prop::sample::select(LIKELY);
        prop::collection::vec(prop_oneof![3 => likely, 1 => any::<u8>()], 0..60)
    }

    proptest! {
        #[test]
        fn where_a_read_ends_makes_no_difference(
            label in labels(),
            bytes in near_text(),
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let (mut pieces, mut rest, mut from) = (Vec::new(), &bytes[..], 0);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= bytes.len()).collect();
            cuts.sort_unstable();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut - from);
                pieces.push(piece);
                (rest, from) = (after, cut);
            }
            pieces.push(rest);
            prop_assert_eq!(read(label, &pieces), read(label, &[&bytes]));
        }

        /// Of UTF-8 the standard library knows which bytes are no text.
        #[test]
        fn invalid_bytes_are_those_that_came(bytes in near_text()) {
            let expected: String = bytes.utf8_chunks().map(|chunk| {
                let invalid = chunk.invalid().iter();
                let invalid: String = invalid.map(|byte| format!("<{byte:02x}>")).collect();
                format!("{}{invalid}", chunk.valid())
            }).collect();
            prop_assert_eq!(read("utf-8", &[&bytes]), expected);
        }

        #[test]
        fn what_can_be_written_reads_back(label in labels(), text in "[a-z收到服务器マナé가 ]{0,30}") {
            if let Ok(bytes) = charset(label).encode(&text) {
                prop_assert_eq!(read(label, &[&bytes]), text);
            }
        }
    }
}
