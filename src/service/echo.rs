//! Echo (RFC 862): sends every input back.
//!
//! This file is the whole service. Keeping bytes in order, losing none and passing on a half-close
//! is the work of [`stream`](crate::stream).

use super::{Action, Context, Service};

/// Replies to every input with the same bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service for Echo {
    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        cx.reply(input);
        Action::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::feed;

    #[test]
    fn the_reply_equals_the_input() {
        for input in [&b""[..], b"a", b"\0\xff\r\n", &[7; 70_000]] {
            assert_eq!(feed(&mut Echo, input), (input.to_vec(), Action::Continue));
        }
    }
}
