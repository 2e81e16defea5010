//! Character generator (RFC 864): a stream without end, for whoever wants to see one arrive.
//!
//! Owns the pattern, which is the same for everybody, and no buffer. Must never run ahead of its peer by more than one piece, whatever the peer does,
//! and never let what it says keep it from hearing that the peer has ended.
//!
//! ```text
//!      !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg
//!     !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh
//!     "#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghi
//! ```
//!
//! The 95 printing characters of ASCII stand in a ring, and each line begins with the next of them, so the pattern begins again after 95 lines. One
//! piece is all of these, and what a connection takes it takes whole: the next piece always begins where the last one ended, and there is no
//! position to keep.
//!
//! A datagram is answered with the beginning of the pattern, 0 to 512 characters of it, as many as chance has it.
//!
//! Tests: below, `tests/services.rs`.

use std::mem;

use super::{Action, Context, Service};

/// The printing characters of ASCII, from the space to the tilde.
const CHARACTERS: usize = 95;

/// Characters of a line, without its end.
const LINE: usize = 72;

/// One piece: each line once, with CRLF.
const PIECE: usize = CHARACTERS * (LINE + 2);

static PATTERN: [u8; PIECE] = pattern();

const fn pattern() -> [u8; PIECE] {
    let mut pattern = [0; PIECE];
    let mut at = 0;
    while at < PIECE {
        let (line, column) = (at / (LINE + 2), at % (LINE + 2));
        pattern[at] = if column < LINE {
            b' ' + ((line + column) % CHARACTERS) as u8
        } else {
            b"\r\n"[column - LINE]
        };
        at += 1;
    }
    pattern
}

/// The most that a datagram carries (RFC 864).
const DATAGRAM: u64 = 512;

/// Generates characters for as long as somebody takes them.
#[derive(Clone, Debug, Default)]
pub struct Chargen(Shape);

/// What the service talks through. A stream is opened, and that is how it is known.
#[derive(Clone, Debug)]
enum Shape {
    /// `chance` is 0 before the first datagram.
    Datagrams { chance: u64 },
    /// `was_refused`: the socket did not take all of the last piece.
    Stream { was_refused: bool },
}

impl Default for Shape {
    fn default() -> Shape {
        Shape::Datagrams { chance: 0 }
    }
}

impl Service for Chargen {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        self.0 = Shape::Stream { was_refused: false };
        self.on_writable(cx)
    }

    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        if let Shape::Datagrams { chance } = &mut self.0 {
            *chance = roll(*chance, cx);
            cx.reply(&PATTERN[..(*chance % (DATAGRAM + 1)) as usize]);
        }
        Action::Continue
    }

    /// After a piece that was refused in part, one turn is left to what the peer says: nothing is read while anything is owed, and a slow peer might be
    /// owed something for ever.
    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        if let Shape::Stream { was_refused } = &mut self.0 {
            let room = cx.room();
            if !mem::take(was_refused) && room >= PIECE {
                cx.reply(&PATTERN);
                *was_refused = cx.room() < room;
            }
        }
        Action::More
    }
}

/// The next number of a xorshift generator, which the time of day starts. It hides nothing and need not: it only makes lengths vary.
fn roll(chance: u64, cx: &mut Context<'_>) -> u64 {
    let mut next = if chance == 0 {
        cx.wall_clock().as_nanos() as u64 | 1
    } else {
        chance
    };
    next ^= next << 13;
    next ^= next >> 7;
    next ^ (next << 17)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::service::tests::Kept;
    use crate::values::peer::Peer;
    use crate::values::time::Time;

    fn with<T>(wire: &mut Kept, event: impl FnOnce(&mut Context<'_>) -> T) -> T {
        event(&mut Context::new(Time::ZERO, &Peer::unnamed(), wire))
    }

    #[test]
    fn the_pattern_is_that_of_the_rfc() {
        let text = std::str::from_utf8(&PATTERN).unwrap();
        let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        assert_eq!(lines.len(), 95);
        assert_eq!(
            lines[0],
            " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg"
        );
        assert_eq!(
            lines[1],
            "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh"
        );
        assert_eq!(
            lines[94],
            "~ !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdef"
        );
        for (line, next) in lines.iter().zip(lines.iter().cycle().skip(1)) {
            assert_eq!((line.len(), &line[1..]), (72, &next[..71]));
        }
    }

    #[test]
    fn a_stream_gets_the_pattern_over_and_over_and_input_is_nothing() {
        let (mut service, mut wire) = (Chargen::default(), Kept::default());
        assert_eq!(with(&mut wire, |cx| service.on_open(cx)), Action::More);
        for _ in 0..3 {
            assert_eq!(
                with(&mut wire, |cx| service.on_data(cx, b"stop!")),
                Action::Continue
            );
            assert_eq!(with(&mut wire, |cx| service.on_writable(cx)), Action::More);
        }
        assert!(wire.sent == PATTERN.repeat(4), "not the pattern");
        assert_eq!(with(&mut wire, |cx| service.on_eof(cx)), Action::FINISH);
    }

    /// Half a piece would tear the pattern, and more than there is room for would end the connection.
    #[test]
    fn without_room_for_a_piece_nothing_is_said() {
        let (mut service, mut wire) = (
            Chargen::default(),
            Kept {
                room: PIECE - 1,
                ..Kept::default()
            },
        );
        assert_eq!(with(&mut wire, |cx| service.on_open(cx)), Action::More);
        assert_eq!(wire.calls, 0);
        wire.room = PIECE;
        assert_eq!(with(&mut wire, |cx| service.on_writable(cx)), Action::More);
        assert!(wire.sent == PATTERN, "not the pattern");
    }

    #[test]
    fn a_datagram_gets_some_of_the_pattern_as_chance_has_it() {
        let (mut service, mut lengths) = (Chargen::default(), BTreeSet::new());
        for _ in 0..20_000 {
            let mut wire = Kept {
                wall_clock: Duration::from_nanos(1_795_244_532_345_678_901),
                ..Kept::default()
            };
            assert_eq!(
                with(&mut wire, |cx| service.on_data(cx, b"?")),
                Action::Continue
            );
            assert_eq!(wire.calls, 1, "one datagram for one");
            assert!(PATTERN.starts_with(&wire.sent), "not the pattern");
            lengths.insert(wire.sent.len());
        }
        assert!(
            lengths.into_iter().eq(0..=512),
            "all lengths from 0 to 512, and no other"
        );
    }

    /// A clock that stands at its beginning is no reason to say nothing for ever.
    #[test]
    fn chance_needs_no_clock() {
        let (mut service, mut wire) = (Chargen::default(), Kept::default());
        (0..100).for_each(|_| {
            assert_eq!(
                with(&mut wire, |cx| service.on_data(cx, b"")),
                Action::Continue
            )
        });
        assert!(
            wire.sent.len() > 512,
            "{} bytes in a hundred datagrams",
            wire.sent.len()
        );
    }
}
