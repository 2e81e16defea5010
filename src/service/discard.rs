//! Discard (RFC 863): what comes is thrown away.

use super::{Action, Context, Service};

/// Answers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Service for Discard {
    fn on_data(&mut self, _cx: &mut Context<'_>, _input: &[u8]) -> Action {
        Action::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::feed;

    #[test]
    fn nothing_comes_back() {
        assert_eq!(
            feed(&mut Discard, b"anything"),
            (Vec::new(), Action::Continue)
        );
    }
}
