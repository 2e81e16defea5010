//! The frame of an answer: what goes before and behind it.
//!
//! Owns the rule that an answer keeps the frame of its request. It must never give a frame that
//! announces a wrong length.

use super::{Framing, Width};

/// The frame of an answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::service) struct Around<'a> {
    head: [u8; 4],
    head_size: usize,
    /// What goes after the answer.
    pub(in crate::service) tail: &'a [u8],
}

impl<'a> Around<'a> {
    /// The frame of an answer of `size` bytes to a message that ended in `end`. `ends_itself`: the
    /// template contains the delimiter, so the answer needs no other. `None` if the prefix is too
    /// narrow for the length.
    pub(in crate::service) fn of(
        framing: &'a Framing,
        size: usize,
        end: &'a [u8],
        ends_itself: bool,
    ) -> Option<Around<'a>> {
        let (width, tail) = match framing {
            Framing::Chunk | Framing::Fixed(_) => (None, &b""[..]),
            Framing::Line => (None, end),
            Framing::Until(delimiter) => (None, if ends_itself { b"" } else { delimiter.text() }),
            Framing::Prefix(width) if size > width.most() => return None,
            Framing::Prefix(width) => (Some(*width), &b""[..]),
        };
        Some(Around {
            head: width.map_or([0; 4], |width| width.prefix(size)),
            head_size: width.map_or(0, Width::bytes),
            tail,
        })
    }

    /// What goes before the answer.
    pub(in crate::service) fn head(&self) -> &[u8] {
        &self.head[4 - self.head_size..]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Delimiter;
    use super::*;

    fn until(text: &[u8]) -> Framing {
        Framing::Until(Delimiter::new(text).unwrap())
    }

    #[test]
    fn an_answer_keeps_the_frame_of_its_request() {
        let around = |framing: &Framing, size, end: &[u8], ends_itself| {
            Around::of(framing, size, end, ends_itself)
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
