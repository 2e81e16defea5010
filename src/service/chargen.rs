//! Character generator (RFC 864): a stream without end.
//!
//! Owns the pattern, which is the same for every client. It owns no buffer. It must never send more
//! than one piece ahead of the client. Its output must never keep the server from reading the
//! client's end of stream.
//!
//! ```text
//!      !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg
//!     !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh
//!     "#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghi
//! ```
//!
//! The 95 printing characters of ASCII form a ring. Each line starts one character later than the
//! line before it, so the pattern repeats after 95 lines. These 95 lines are one piece. The service
//! sends whole pieces only. The next piece always continues the pattern, so the service needs no
//! position.
//!
//! The reply to a datagram is the first 0 to 512 characters of the pattern. Its length is random.
//!
//! Tests: below, `tests/services.rs`.

use std::mem;

use super::{Action, Context, Service, Shape};
use crate::values::dice::Dice;

/// The printing characters of ASCII, from the space to the tilde.
const CHARACTERS: usize = 95;

/// Characters of a line, without its CRLF.
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

/// The longest reply to a datagram (RFC 864).
const DATAGRAM: usize = 512;

/// Sends characters for as long as the client reads them.
#[derive(Clone, Debug)]
pub struct Chargen(State);

/// What the service remembers between calls.
#[derive(Clone, Debug)]
enum State {
    /// `was_cut`: the socket did not accept all of the last piece.
    Stream { was_cut: bool },
    /// `dice` decide the lengths. The time of the first datagram is their seed.
    Datagram { dice: Option<Dice> },
}

impl Chargen {
    /// Makes the service for one connection or one datagram socket.
    pub fn new(shape: Shape) -> Chargen {
        Chargen(match shape {
            Shape::Stream => State::Stream { was_cut: false },
            Shape::Datagram => State::Datagram { dice: None },
        })
    }
}

impl Service for Chargen {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        self.on_writable(cx)
    }

    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        if let State::Datagram { dice } = &mut self.0 {
            let dice = dice.get_or_insert_with(|| Dice::new(cx.wall_clock().as_nanos() as u64));
            cx.reply(&PATTERN[..dice.below(DATAGRAM + 1)]);
        }
        Action::Continue
    }

    /// Skips one turn after a piece that the socket cut short. The server reads nothing while there
    /// is pending output, and a slow client might leave some pending for ever. In the skipped turn
    /// there is none, so the server reads what the client sent.
    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        if let State::Stream { was_cut } = &mut self.0 {
            let room = cx.room();
            if !mem::take(was_cut) && room >= PIECE {
                cx.reply(&PATTERN);
                *was_cut = cx.room() < room;
            }
        }
        Action::More
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::service::tests::Kept;
    use crate::values::peer::Peer;
    use crate::values::time::Time;

    fn with<T>(transport: &mut Kept, event: impl FnOnce(&mut Context<'_>) -> T) -> T {
        event(&mut Context::new(Time::ZERO, &Peer::unnamed(), transport))
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
    fn a_stream_repeats_the_pattern_and_ignores_input() {
        let (mut service, mut transport) = (Chargen::new(Shape::Stream), Kept::default());
        assert_eq!(with(&mut transport, |cx| service.on_open(cx)), Action::More);
        for _ in 0..3 {
            assert_eq!(
                with(&mut transport, |cx| service.on_data(cx, b"stop!")),
                Action::Continue
            );
            assert_eq!(
                with(&mut transport, |cx| service.on_writable(cx)),
                Action::More
            );
        }
        assert!(transport.sent == PATTERN.repeat(4), "not the pattern");
        assert_eq!(
            with(&mut transport, |cx| service.on_eof(cx)),
            Action::FINISH
        );
    }

    /// A part of a piece would break the pattern. More than there is room for would end the
    /// connection.
    #[test]
    fn nothing_is_sent_without_room_for_a_whole_piece() {
        let (mut service, mut transport) = (
            Chargen::new(Shape::Stream),
            Kept {
                room: PIECE - 1,
                ..Kept::default()
            },
        );
        assert_eq!(with(&mut transport, |cx| service.on_open(cx)), Action::More);
        assert_eq!(transport.calls, 0);
        transport.room = PIECE;
        assert_eq!(
            with(&mut transport, |cx| service.on_writable(cx)),
            Action::More
        );
        assert!(transport.sent == PATTERN, "not the pattern");
    }

    #[test]
    fn a_datagram_gets_the_start_of_the_pattern_at_a_random_length() {
        let (mut service, mut lengths) = (Chargen::new(Shape::Datagram), BTreeSet::new());
        for _ in 0..20_000 {
            let mut transport = Kept {
                wall_clock: Duration::from_nanos(1_795_244_532_345_678_901),
                ..Kept::default()
            };
            assert_eq!(
                with(&mut transport, |cx| service.on_data(cx, b"?")),
                Action::Continue
            );
            assert_eq!(transport.calls, 1, "one reply for one datagram");
            assert!(PATTERN.starts_with(&transport.sent), "not the pattern");
            lengths.insert(transport.sent.len());
        }
        assert!(
            lengths.into_iter().eq(0..=512),
            "not exactly the lengths from 0 to 512"
        );
    }

    /// A seed of zero must not make every reply empty.
    #[test]
    fn lengths_vary_even_if_the_clock_reads_zero() {
        let (mut service, mut transport) = (Chargen::new(Shape::Datagram), Kept::default());
        (0..100).for_each(|_| {
            assert_eq!(
                with(&mut transport, |cx| service.on_data(cx, b"")),
                Action::Continue
            )
        });
        assert!(
            transport.sent.len() > 512,
            "{} bytes in 100 datagrams",
            transport.sent.len()
        );
    }
}
