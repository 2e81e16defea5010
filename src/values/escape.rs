//! Bytes from outside, made safe to print.
//!
//! Owns the one rule for printing a peer's bytes or its name. The output must never move the
//! cursor, start a line, or look like text that mynah wrote. Every log line and every `--print`
//! line that shows a peer's bytes is escaped here.
//!
//! * Control characters (C0, DEL, C1) become `\n`, `\r`, `\t`, or `\xHH` for each UTF-8 byte.
//! * The backslash becomes `\\`, so the output can be read back without ambiguity.
//! * Characters that reorder or break lines in some terminals, or that nobody sees, become `\u{…}`:
//!   U+2028, U+2029, the bidirectional controls, spaces without width, the soft hyphen, tags and
//!   the byte order mark. A name that displays backwards is also a forgery.
//! * Bytes that are not UTF-8 become `\xHH`.
//!
//! Tests: below, `tests/hostile_text.rs`.

use std::fmt::{self, Write};

/// Displays bytes as text, with the escapes listed in this module.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                escape(f, character)?;
            }
            hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn escape(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '\\' => f.write_str("\\\\"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        _ if character.is_control() => hex(f, character.encode_utf8(&mut [0; 4]).as_bytes()),
        '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => {
            write!(f, "\\u{{{:x}}}", u32::from(character))
        }
        _ => f.write_char(character),
    }
}

/// Displays every byte as `\xHH`.
///
/// For bytes that are not valid text in the sender's encoding, although they may be valid UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, self.0)
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        Escaped(bytes).to_string()
    }

    #[test]
    fn plain_text_is_unchanged() {
        assert_eq!(
            escaped("hello, 服务器 – ok".as_bytes()),
            "hello, 服务器 – ok"
        );
    }

    #[test]
    fn control_characters_and_backslashes_are_escaped() {
        assert_eq!(escaped(b"a\r\n\tb\\"), "a\\r\\n\\tb\\\\");
        assert_eq!(escaped(b"\x1b[31m\x00\x7f"), "\\x1b[31m\\x00\\x7f");
        assert_eq!(escaped("\u{9b}".as_bytes()), "\\xc2\\x9b");
        assert_eq!(
            escaped("a\u{202e}b\u{2028}".as_bytes()),
            "a\\u{202e}b\\u{2028}"
        );
    }

    #[test]
    fn invalid_utf8_is_escaped() {
        assert_eq!(escaped(b"\xff\xfeok\xe6\x9c"), "\\xff\\xfeok\\xe6\\x9c");
    }

    #[test]
    fn hex_escapes_every_byte() {
        assert_eq!(
            Hex(b"\x810 \xe6\x9c\x8d\\\n").to_string(),
            "\\x81\\x30\\x20\\xe6\\x9c\\x8d\\x5c\\x0a"
        );
    }

    proptest! {
        #[test]
        fn no_control_character_is_printed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!escaped(&bytes).chars().any(char::is_control));
        }
    }
}
