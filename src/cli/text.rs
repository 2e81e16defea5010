//! Texts of the command line, with their escapes.
//!
//! Owns the escapes `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH`. A text is a list of characters, which
//! are written in the encoding of the wire, and of raw bytes, which go out as they are whatever the
//! encoding: what `\xHH` stands for can never become a character by accident, nor a brace of a
//! template.
//!
//! Tests: below; `tests/text.rs` over sockets.

use mynah::Escaped;

use super::charset::Charset;

/// A text with its escapes resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(Vec<TextPart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum TextPart {
    /// To be written in the encoding of the wire.
    Characters(String),
    /// To be sent as it is.
    Byte(u8),
}

impl Text {
    /// Resolves the escapes of `text`.
    ///
    /// # Errors
    ///
    /// One sentence that says where the first wrong one stands.
    pub(crate) fn parse(text: &str) -> Result<Text, String> {
        let (mut parsed, mut rest) = (Text::default(), text);
        while let Some(at) = rest.find('\\') {
            parsed.add_characters(&rest[..at]);
            let (part, length) = escape(&rest[at..]).map_err(|why| {
                format!(
                    "at character {}, {why}",
                    position(text, text.len() - rest.len() + at)
                )
            })?;
            match part {
                TextPart::Characters(characters) => parsed.add_characters(&characters),
                byte @ TextPart::Byte(_) => parsed.0.push(byte),
            }
            rest = &rest[at + length..];
        }
        parsed.add_characters(rest);
        Ok(parsed)
    }

    /// The bytes of the wire.
    ///
    /// # Errors
    ///
    /// The first character that `charset` does not have.
    pub(crate) fn encode(&self, charset: Charset) -> Result<Vec<u8>, char> {
        let mut bytes = Vec::new();
        for part in &self.0 {
            match part {
                TextPart::Characters(characters) => bytes.extend(charset.encode(characters)?),
                TextPart::Byte(byte) => bytes.push(*byte),
            }
        }
        Ok(bytes)
    }

    fn add_characters(&mut self, characters: &str) {
        match self.0.last_mut() {
            _ if characters.is_empty() => {}
            Some(TextPart::Characters(before)) => before.push_str(characters),
            _ => self.0.push(TextPart::Characters(characters.to_owned())),
        }
    }
}

/// Which character, counted from 1, begins at the byte `at` of `text`.
pub(crate) fn position(text: &str, at: usize) -> usize {
    text.char_indices()
        .take_while(|(start, _)| *start < at)
        .count()
        + 1
}

/// What the escape at the beginning of `text` stands for, and how many bytes of `text` it takes.
fn escape(text: &str) -> Result<(TextPart, usize), String> {
    let letter = text.chars().nth(1).ok_or(
        r"the backslash at the end escapes nothing; write \\ for one that stands for itself",
    )?;
    let plain = match letter {
        'n' => "\n",
        'r' => "\r",
        't' => "\t",
        '0' => "\0",
        '\\' => "\\",
        'x' => {
            let byte = text
                .get(2..4)
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            return byte
                .map(|byte| (TextPart::Byte(byte), 4))
                .ok_or_else(|| r"\x wants two hexadecimal digits, as in \x1b".to_owned());
        }
        other => {
            let other = Escaped(other.encode_utf8(&mut [0; 4]).as_bytes()).to_string();
            return Err(format!(
                r"\{other} is no escape; there are \n \r \t \0 \\ \xHH"
            ));
        }
    };
    Ok((TextPart::Characters(plain.to_owned()), 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(label: &str, text: &str) -> Result<Vec<u8>, char> {
        Text::parse(text)
            .unwrap()
            .encode(Charset::parse(label).unwrap())
    }

    #[test]
    fn escapes_stand_for_characters_and_bytes() {
        for (text, expected) in [
            ("", &b""[..]),
            ("plain 收", "plain 收".as_bytes()),
            (r"a\r\n\t\0\\n", b"a\r\n\t\0\\n"),
            (r"\x00\xff\xE6z", b"\x00\xff\xe6z"),
            (r"\\x41\x41", b"\\x41A"),
            (r"é\n", "é\n".as_bytes()),
        ] {
            assert_eq!(bytes("utf-8", text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn characters_are_encoded_and_bytes_are_not() {
        assert_eq!(
            bytes("gbk", r"收\xca\xd5\xe6\n").unwrap(),
            b"\xca\xd5\xca\xd5\xe6\n"
        );
        assert_eq!(
            bytes("iso-2022-jp", r"マ\x7eマ").unwrap(),
            b"\x1b$B%^\x1b(B~\x1b$B%^\x1b(B"
        );
        assert_eq!(bytes("gbk", r"ok\xf0🐦"), Err('🐦'));
    }

    #[test]
    fn a_wrong_escape_is_named_with_its_place() {
        for (text, why) in [
            (
                r"\q",
                r"at character 1, \q is no escape; there are \n \r \t \0 \\ \xHH",
            ),
            (r"收é\n\e", r"at character 5, \e is no escape"),
            (r"a\x1", r"at character 2, \x wants two hexadecimal digits"),
            (r"a\x", r"at character 2, \x wants two"),
            (r"\x+1", r"at character 1, \x wants two"),
            (r"\x1é", r"at character 1, \x wants two"),
            (r"\N", r"\N is no escape"),
            ("\\\u{1b}[2J", r"\\x1b is no escape"),
            (r"\\\", "at character 3, the backslash at the end"),
        ] {
            let got = Text::parse(text).unwrap_err();
            assert!(got.starts_with(why) || got.contains(why), "{text}: {got}");
        }
    }

    proptest! {
        #[test]
        fn doubled_backslashes_are_all_that_a_plain_text_needs(text in any::<String>()) {
            prop_assert_eq!(bytes("utf-8", &text.replace('\\', r"\\")).unwrap(), text.as_bytes());
        }

        #[test]
        fn no_text_breaks_the_parser(text in r"[\\nx0-9a-f收]{0,12}") {
            let _ = Text::parse(&text);
        }
    }
}
