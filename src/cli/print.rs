//! Showing what arrives, on standard output.
//!
//! Owns the form of a printed line, `SENDER: TEXT`, and the count of what came. TEXT is read in the
//! encoding of the wire; control characters are escaped, and bytes that are no text are printed as
//! `\xHH`. It must never write anything itself: lines go to an [`Outlet`], which takes or drops
//! them at once, because standard output may be a pipe that nobody reads.
//!
//! Tests: below, `tests/text.rs`, `tests/hostile_text.rs`, `tests/stuck_output.rs`.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::rc::Rc;
use std::time::Instant;

use log::warn;
use mynah::service::Tap;
use mynah::{Counted, Escaped, Hex, Peer};

use super::charset::{Charset, Decoded, Decoder};
use super::log::Rarely;
use super::outlet::{Outlet, Pushed};

/// Standard output, for all that is printed.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    outlet: Outlet,
    charset: Charset,
    count: Rc<Cell<Count>>,
    drops: Rc<Cell<Rarely>>,
    /// Whether the log says that nothing more is printed.
    has_ended: Rc<Cell<bool>>,
}

/// What came. Displays as `12 messages, 340 bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    messages: u64,
    bytes: u64,
}

impl Printer {
    /// Prints what is in `charset`.
    pub(crate) fn new(charset: Charset, outlet: Outlet) -> Printer {
        Printer {
            outlet,
            charset,
            count: Rc::default(),
            drops: Rc::default(),
            has_ended: Rc::default(),
        }
    }

    /// Where it writes.
    pub(crate) fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// What prints the messages of one connection, or of one datagram socket.
    pub(crate) fn tap(&self) -> Box<dyn Tap> {
        Box::new(Print {
            printer: self.clone(),
            decoder: self.charset.decoder(),
        })
    }

    /// Waits, for a bounded time, until all is printed. Returns what came, and what is missing of
    /// it in the output, in words.
    pub(crate) fn close(self) -> (Count, Option<String>) {
        let unwritten = self.outlet.close();
        let parts = [
            (unwritten.dropped, "dropped"),
            (unwritten.waiting, "still waiting to be written"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(lines, _)| *lines > 0)
            .map(|(lines, what)| format!("{} {what}", Counted(lines, "printed line")))
            .collect();
        let missing = (!parts.is_empty()).then(|| {
            format!(
                "{}: standard output: {}",
                parts.join(", "),
                self.outlet.reason()
            )
        });
        (self.count.get(), missing)
    }

    fn line(&self, peer: &Peer, text: &str) {
        let pushed = self.outlet.push(format!("{peer}: {text}\n").as_bytes());
        match pushed {
            Pushed::Taken => {}
            Pushed::Dropped => self.warn_of_drops(),
            Pushed::Unwanted => self.warn_of_end(),
        }
    }

    /// Says once that nothing more is printed.
    #[cold]
    fn warn_of_end(&self) {
        if !self.has_ended.replace(true) {
            warn!("standard output was closed by its reader; nothing more is printed");
        }
    }

    #[cold]
    fn warn_of_drops(&self) {
        let mut drops = self.drops.get();
        if let Some(count) = drops.count(Instant::now()) {
            warn!(
                "{} dropped: standard output: {}",
                Counted(count, "printed line"),
                self.outlet.reason()
            );
        }
        self.drops.set(drops);
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {}",
            Counted(self.messages, "message"),
            Counted(self.bytes, "byte")
        )
    }
}

/// Prints one conversation.
#[derive(Debug)]
struct Print {
    printer: Printer,
    decoder: Decoder,
}

impl Tap for Print {
    fn message(&mut self, peer: &Peer, message: &[u8], is_whole: bool) {
        let count = self.printer.count.get();
        self.printer.count.set(Count {
            messages: count.messages + 1,
            bytes: count.bytes + message.len() as u64,
        });
        let text = read(&mut self.decoder, message, is_whole);
        // The beginning of a character is shown with its end.
        if is_whole || !text.is_empty() {
            self.printer.line(peer, &text);
        }
    }

    fn end(&mut self, peer: &Peer) {
        let text = read(&mut self.decoder, b"", true);
        if !text.is_empty() {
            self.printer.line(peer, &text);
        }
    }
}

/// What `bytes` come to, safe to show.
fn read(decoder: &mut Decoder, bytes: &[u8], is_last: bool) -> String {
    let mut shown = String::new();
    decoder.decode(bytes, is_last, |piece| {
        // Writing to a string cannot fail.
        let _ = match piece {
            Decoded::Text(text) => write!(shown, "{}", Escaped(text.as_bytes())),
            Decoded::Invalid(bytes) => write!(shown, "{}", Hex(bytes)),
        };
    });
    shown
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::cli::sink::Descriptor;

    /// What `print` prints, and the count.
    fn printed(label: &str, print: impl FnOnce(&mut dyn Tap, &Peer)) -> (String, String) {
        let (mut far, near) = UnixStream::pair().unwrap();
        let outlet = Outlet::lines("test", Descriptor(near.try_clone().unwrap())).unwrap();
        let printer = Printer {
            outlet,
            charset: Charset::parse(label).unwrap(),
            count: Rc::default(),
            drops: Rc::default(),
            has_ended: Rc::default(),
        };
        print(&mut *printer.tap(), &Peer::unnamed());
        let (count, missing) = printer.close();
        assert_eq!(missing, None);
        near.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        (text, count.to_string())
    }

    #[test]
    fn a_message_is_one_line_with_its_sender() {
        let (text, count) = printed("utf-8", |tap, peer| {
            tap.message(peer, b"hi\n\x1b\\", true);
            tap.message(peer, b"", true);
            tap.message(peer, "服\u{202e}\u{9b}\u{feff}".as_bytes(), true);
        });
        assert_eq!(
            text,
            "unnamed: hi\\n\\x1b\\\\\nunnamed: \nunnamed: 服\\u{202e}\\xc2\\x9b\\u{feff}\n"
        );
        assert_eq!(count, "3 messages, 16 bytes");
    }

    #[test]
    fn a_character_may_go_on_in_the_next_chunk_but_not_in_the_next_message() {
        let chunks = |tap: &mut dyn Tap, peer: &Peer| {
            b"a\xca\xd5\xb5"
                .chunks(1)
                .for_each(|chunk| tap.message(peer, chunk, false))
        };
        assert_eq!(
            printed("gbk", chunks),
            (
                "unnamed: a\nunnamed: 收\n".to_owned(),
                "4 messages, 4 bytes".to_owned()
            )
        );
        let (text, _) = printed("gbk", |tap, peer| {
            chunks(tap, peer);
            tap.end(peer);
        });
        assert_eq!(text, "unnamed: a\nunnamed: 收\nunnamed: \\xb5\n");
        let (text, _) = printed("gbk", |tap, peer| {
            tap.message(peer, b"\xca", true);
            tap.message(peer, b"\xd5", true);
            tap.end(peer);
        });
        assert_eq!(text, "unnamed: \\xca\nunnamed: \\xd5\n");
    }

    /// Some bytes are no text in one encoding and harmless, or harmful, in another.
    #[test]
    fn what_is_no_text_is_shown_as_its_bytes() {
        let (text, _) = printed("gb18030", |tap, peer| {
            tap.message(peer, b"\x81\x30\x81", true)
        });
        assert_eq!(text, "unnamed: \\x81\\x30\\x81\n");
        let (text, _) = printed("iso-2022-jp", |tap, peer| {
            tap.message(peer, b"\x1b$B%^\x1b(B\x1b[2J", true)
        });
        assert_eq!(text, "unnamed: マ\\x1b[2J\n");
        let (text, count) = printed("windows-1252", |tap, peer| tap.message(peer, b"\x9b", true));
        assert_eq!(
            (text.as_str(), count.as_str()),
            ("unnamed: ›\n", "1 message, 1 byte")
        );
    }
}
