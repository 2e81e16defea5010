//! What the peer says, on its way to standard output.
//!
//! Owns the choice of form. Into a pipe or a file goes what came, byte for byte, or its text in
//! UTF-8 where another encoding was asked for. To a terminal goes text alone, with control
//! characters escaped: what a peer sends must not move a cursor or change a title.
//!
//! Tests: below, `tests/connect.rs`, `tests/terminal.rs`.

use mynah::{Escaped, Hex};

use super::bell::Bell;
use crate::cli::charset::{Charset, Decoded, Decoder};
use crate::cli::outlet::{Outlet, Pushed};

/// Room that standard output must have for the service to go on reading: one full read, each byte
/// of it escaped to four.
const ROOM: usize = 4 * mynah::limits::READ_BUFFER;

/// The way of one peer's bytes to standard output.
#[derive(Debug)]
pub(super) struct Screen {
    outlet: Outlet,
    form: Form,
}

/// How bytes are shown.
#[derive(Debug)]
enum Form {
    /// As they came.
    Raw,
    /// As text in UTF-8; what is no text becomes U+FFFD.
    Text(Decoder),
    /// As text that is safe to show.
    Terminal { decoder: Decoder, has_return: bool },
}

impl Screen {
    /// Shows what comes in `charset`, on a terminal or not.
    pub(super) fn new(outlet: Outlet, charset: Charset, is_terminal: bool) -> Screen {
        let form = match (is_terminal, charset.is_utf8()) {
            (true, _) => Form::Terminal {
                decoder: charset.decoder(),
                has_return: false,
            },
            (false, true) => Form::Raw,
            (false, false) => Form::Text(charset.decoder()),
        };
        Screen { outlet, form }
    }

    /// Whether a full read may be shown now. Where not, `bell` is rung when it may.
    pub(super) fn has_room(&self, bell: &Bell) -> bool {
        let bell = bell.clone();
        self.outlet.has_room(ROOM, move || bell.ring())
    }

    /// Whether nobody reads any more.
    pub(super) fn is_broken(&self) -> bool {
        self.outlet.has_ended()
    }

    /// Shows a piece of a stream.
    pub(super) fn show(&mut self, bytes: &[u8]) {
        let shown = self.form.of(bytes, false);
        self.push(&shown);
    }

    /// Shows what is left of a stream that has ended.
    pub(super) fn end(&mut self) {
        let shown = self.form.of(b"", true);
        self.push(&shown);
    }

    /// Shows a datagram, on a line of its own: with a line end, unless it brings one.
    pub(super) fn show_line(&mut self, bytes: &[u8]) {
        let mut shown = self.form.of(bytes, true);
        if !shown.ends_with(b"\n") {
            shown.push(b'\n');
        }
        self.push(&shown);
    }

    fn push(&self, shown: &[u8]) {
        let pushed = self.outlet.push(shown);
        debug_assert!(pushed != Pushed::Dropped, "there was room");
    }
}

impl Form {
    fn of(&mut self, bytes: &[u8], is_last: bool) -> Vec<u8> {
        match self {
            Form::Raw => bytes.to_vec(),
            Form::Text(decoder) => {
                let mut shown = String::new();
                decoder.decode(bytes, is_last, |piece| match piece {
                    Decoded::Text(text) => shown.push_str(text),
                    Decoded::Invalid(_) => shown.push(char::REPLACEMENT_CHARACTER),
                });
                shown.into_bytes()
            }
            Form::Terminal {
                decoder,
                has_return,
            } => {
                let mut shown = String::new();
                decoder.decode(bytes, is_last, |piece| match piece {
                    Decoded::Text(text) => text
                        .chars()
                        .for_each(|character| add_safely(&mut shown, character, has_return)),
                    Decoded::Invalid(bytes) => shown.push_str(&Hex(bytes).to_string()),
                });
                if is_last && std::mem::take(has_return) {
                    shown.push_str("\\r");
                }
                shown.into_bytes()
            }
        }
    }
}

/// Adds a character to what goes to a terminal. A line feed and a tab do what they are for; a
/// carriage return does so as a part of a line end, and alone would let a line write over itself.
fn add_safely(shown: &mut String, character: char, has_return: &mut bool) {
    if std::mem::take(has_return) && character != '\n' {
        shown.push_str("\\r");
    }
    match character {
        '\r' => *has_return = true,
        '\n' | '\t' | '\\' => shown.push(character),
        _ => shown.push_str(&Escaped(character.encode_utf8(&mut [0; 4]).as_bytes()).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: &mut Form, pieces: &[&[u8]]) -> String {
        let mut all: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| form.of(piece, false))
            .collect();
        all.extend(form.of(b"", true));
        String::from_utf8_lossy(&all).into_owned()
    }

    fn terminal(label: &str) -> Form {
        Form::Terminal {
            decoder: Charset::parse(label).unwrap().decoder(),
            has_return: false,
        }
    }

    #[test]
    fn a_pipe_gets_the_bytes_and_another_encoding_becomes_text() {
        assert_eq!(Form::Raw.of(b"a\x1b\xff", false), b"a\x1b\xff");
        let gbk = || Form::Text(Charset::parse("gbk").unwrap().decoder());
        for cut in 0..4 {
            let (before, after) = b"\xca\xd5\x1b\xff".split_at(cut);
            assert_eq!(shown(&mut gbk(), &[before, after]), "收\x1b\u{fffd}");
        }
    }

    #[test]
    fn a_terminal_gets_text_that_cannot_harm_it() {
        assert_eq!(
            shown(
                &mut terminal("utf-8"),
                &["收\ta\\\n\x1b[2J\u{9b}".as_bytes()]
            ),
            "收\ta\\\n\\x1b[2J\\xc2\\x9b"
        );
        assert_eq!(
            shown(&mut terminal("utf-8"), &[b"\xe6\x94", b"\xb6\xff"]),
            "收\\xff"
        );
        assert_eq!(shown(&mut terminal("gbk"), &[b"\xca", b"\xd5"]), "收");
    }

    #[test]
    fn a_carriage_return_is_shown_unless_it_belongs_to_a_line_end() {
        assert_eq!(
            shown(&mut terminal("utf-8"), &[b"a\r", b"\nb\rc\r"]),
            "a\nb\\rc\\r"
        );
    }
}
