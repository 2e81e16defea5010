//! What the program says of a panic.
//!
//! Owns the form of that line: one, escaped, through the log. The default hook would write raw text
//! past the outlet, and the message of a panic may hold what a peer sent.
//!
//! Tests: below. The loop contains the panic of a service; see `tests/simulation/`.

use std::any::Any;
use std::panic;
use std::thread;

use log::error;
use mynah::Escaped;

/// From now on a panic is one line of the log.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let current = thread::current();
        error!("{}", line(current.name(), place.as_deref(), info.payload()));
    }));
}

fn line(thread: Option<&str>, place: Option<&str>, payload: &dyn Any) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!(
        "panic in thread {} at {}: {}; please report it",
        Escaped(thread.unwrap_or("without a name").as_bytes()),
        Escaped(place.unwrap_or("an unknown place").as_bytes()),
        Escaped(message.as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_escaped_line() {
        let formatted = format!("index {} of\n\x1b[2J", 7);
        for (payload, expected) in [
            (
                Box::new("a\r\n[2026 ERROR] b") as Box<dyn Any>,
                "panic in thread main at src/a.rs:1:2: a\\r\\n[2026 ERROR] b; please report it",
            ),
            (
                Box::new(formatted),
                "panic in thread main at src/a.rs:1:2: index 7 of\\n\\x1b[2J; please report it",
            ),
            (
                Box::new(7),
                "panic in thread main at src/a.rs:1:2: no message; please report it",
            ),
        ] {
            let got = line(Some("main"), Some("src/a.rs:1:2"), &*payload);
            assert_eq!(got, expected);
        }
        assert_eq!(
            line(None, None, &"x"),
            "panic in thread without a name at an unknown place: x; please report it"
        );
    }
}
