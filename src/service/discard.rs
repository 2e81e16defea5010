//! Discard (RFC 863): reads everything and answers nothing.
//!
//! Tests: below, `tests/services.rs`.

use super::{Action, Context, Service};

/// Never answers.
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
    fn input_gets_no_reply() {
        assert_eq!(
            feed(&mut Discard, b"anything"),
            (Vec::new(), Action::Continue)
        );
    }
}
