//! Showing what arrives: a service around a service.
//!
//! Owns the form of a printed line, `SENDER: TEXT`. Must never write anything itself: lines go to [`Lines`], which takes or drops them
//! at once, because standard output may be a pipe that nobody reads and the loop must not find out by waiting.

use super::{Action, Context, Service};
use crate::error::CloseReason;
use crate::escape::Escaped;

/// Where lines go. Must not block.
pub trait Lines {
    /// Takes one line, without its end, or drops it.
    fn line(&mut self, line: String);
}

/// Prints each message with its sender, then hands it on.
#[derive(Debug)]
pub struct Print<L> {
    lines: L,
    inner: Box<dyn Service>,
}

impl<L: Lines> Print<L> {
    /// Prints what `inner` is told, to `lines`.
    pub fn new(lines: L, inner: Box<dyn Service>) -> Print<L> {
        Print { lines, inner }
    }
}

impl<L: Lines> Service for Print<L> {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        self.inner.on_open(cx)
    }

    fn on_data(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Action {
        self.lines.line(format!("{}: {}", cx.peer, Escaped(input)));
        self.inner.on_data(cx, input)
    }

    fn on_eof(&mut self, cx: &mut Context<'_>) -> Action {
        self.inner.on_eof(cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Action {
        self.inner.on_writable(cx)
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Action {
        self.inner.on_alarm(cx)
    }

    fn on_error(&mut self, error: &std::io::Error) {
        self.inner.on_error(error);
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.inner.on_close(reason);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::service::Echo;
    use crate::service::tests::feed;

    impl Lines for mpsc::Sender<String> {
        fn line(&mut self, line: String) {
            self.send(line).unwrap();
        }
    }

    #[test]
    fn a_message_is_printed_escaped_and_served_as_it_came() {
        let (sender, lines) = mpsc::channel();
        let mut service = Print::new(sender, Box::new(Echo));
        assert_eq!(feed(&mut service, b"hi\n\x1b"), (b"hi\n\x1b".to_vec(), Action::Continue));
        assert_eq!(lines.recv().unwrap(), "unnamed: hi\\n\\x1b");
    }
}
