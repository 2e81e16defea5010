//! Echo (RFC 862): what comes goes back. The whole of it: order, completeness and half-close are the connection's work.

use super::{Action, Context, Service};

/// Answers every input with itself.
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
    fn what_comes_goes_back() {
        for input in [&b""[..], b"a", b"\0\xff\r\n", &[7; 70_000]] {
            assert_eq!(feed(&mut Echo, input), (input.to_vec(), Action::Continue));
        }
    }
}
