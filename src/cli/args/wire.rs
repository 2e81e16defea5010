//! The options that say how bytes become messages, and messages text.
//!
//! Owns the grammar of `--frame`, `--greeting` and `--reply`. A mistake in one of them becomes a
//! sentence that names the option.

use std::time::Duration;

use clap::Args;
use mynah::service::{Delimiter, Framing, Template, Width};
use mynah::stream::outbox;
use mynah::{Endpoint, Escaped};

use super::kinds::Kind;
use super::template::template;
use super::{bytes_of, usage};
use crate::cli::charset::Charset;
use crate::cli::serve::Speech;
use crate::cli::status::Failure;
use crate::cli::values::{Timeout, size, timeout};

/// How bytes become messages, and messages text.
#[derive(Args, Debug)]
pub(super) struct WireOptions {
    /// Split a stream into messages: chunk (as read), line, until:TEXT, fixed:N (bytes), prefix:u8,
    /// prefix:u16 or prefix:u32 (big-endian length) [default: chunk]
    #[arg(long, value_name = "F", allow_hyphen_values = true)]
    frame: Option<String>,
    /// Close a connection that sends a framed message longer than SIZE [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_message: Option<usize>,
    /// Close a connection that stops inside a framed message and sends nothing more for D
    /// [default: 30s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    message_timeout: Option<Timeout>,
    /// Use this text encoding on the wire, by its WHATWG label: the texts of the other options are
    /// written in it, and printed messages are read in it
    #[arg(long, value_name = "LABEL", default_value = "utf-8", value_parser = Charset::parse)]
    pub(super) encoding: Charset,
}

/// The longest message, unless told otherwise.
const MAX_MESSAGE: usize = 64 * 1024;

/// How long an unfinished message may wait for its rest, unless told otherwise.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

impl WireOptions {
    /// Refuses what would do nothing: a datagram is a message already, and a message that is
    /// whatever one read returned is never too long or unfinished.
    pub(super) fn check(&self, endpoints: &[Endpoint]) -> Result<(), Failure> {
        let of_frames = [
            (self.max_message.is_some(), "--max-message"),
            (self.message_timeout.is_some(), "--message-timeout"),
        ];
        Kind::Stream.check(endpoints, &[(self.frame.is_some(), "--frame")])?;
        Kind::Stream.check(endpoints, &of_frames)?;
        let given = of_frames.iter().find(|(is_given, _)| *is_given);
        match (self.frame.as_deref(), given) {
            (None | Some("chunk"), Some((_, option))) => Err(usage(format_args!(
                "{option} is for framed messages, and without --frame there are none; add one, \
                 such as --frame line, or leave it out"
            ))),
            _ => Ok(()),
        }
    }

    fn max_message(&self) -> usize {
        self.max_message.unwrap_or(MAX_MESSAGE)
    }

    /// What is said if nothing else is asked for: nothing.
    pub(super) fn speech(&self) -> Result<Speech, Failure> {
        Ok(Speech {
            framing: self.framing()?,
            max_message: self.max_message(),
            message_timeout: self
                .message_timeout
                .map_or(Some(MESSAGE_TIMEOUT), |given| given.0),
            greeting: Box::default(),
            reply: None,
            close: false,
        })
    }

    fn frame(&self) -> &str {
        self.frame.as_deref().unwrap_or("chunk")
    }

    fn framing(&self) -> Result<Framing, Failure> {
        let frame = self.frame();
        let (kind, value) = frame
            .split_once(':')
            .map_or((frame, None), |(kind, value)| (kind, Some(value)));
        match (kind, value) {
            ("chunk", None) => Ok(Framing::Chunk),
            ("line", None) => Ok(Framing::Line),
            ("prefix", Some("u8")) => Ok(Framing::Prefix(Width::U8)),
            ("prefix", Some("u16")) => Ok(Framing::Prefix(Width::U16)),
            ("prefix", Some("u32")) => Ok(Framing::Prefix(Width::U32)),
            ("until", Some(text)) => Delimiter::new(&bytes_of(
                "--frame until",
                text,
                self.encoding,
            )?)
            .map(Framing::Until)
            .ok_or_else(|| {
                usage("--frame until: the text that ends a message is missing, as in until:END")
            }),
            ("fixed", Some(number)) => {
                match size(number).map_err(|why| usage(format_args!("--frame fixed: {why}")))? {
                    size if size > self.max_message() => Err(usage(format_args!(
                        "--frame fixed:{size} is longer than --max-message allows, {} bytes; \
                         raise --max-message to {size}",
                        self.max_message()
                    ))),
                    size => Ok(Framing::Fixed(size)),
                }
            }
            _ => Err(usage(format_args!(
                "--frame knows no '{}'; there are chunk, line, until:TEXT, fixed:N, prefix:u8, \
                 prefix:u16 and prefix:u32",
                Escaped(frame.as_bytes())
            ))),
        }
    }

    pub(super) fn greeting(&self, text: &str) -> Result<Box<[u8]>, Failure> {
        let bytes = bytes_of("--greeting", text, self.encoding)?;
        match bytes.len() {
            0 => Err(usage("--greeting: the text is empty; leave the option out")),
            1..=outbox::LIMIT => Ok(bytes.into()),
            length => Err(too_long("--greeting", length)),
        }
    }

    pub(super) fn reply(&self, text: &str, framing: &Framing) -> Result<Template, Failure> {
        const OPTION: &str = "--reply";
        let template = template(OPTION, text, self.encoding)?;
        let most = match framing {
            Framing::Prefix(width) => width.most(),
            _ => usize::MAX,
        };
        match template.least() {
            least if least > most => Err(usage(format_args!(
                "{OPTION}: its text alone is {least} bytes, and --frame {} announces at most \
                 {most}; take a wider prefix",
                self.frame()
            ))),
            least if least > outbox::LIMIT => Err(too_long(OPTION, least)),
            _ => Ok(template),
        }
    }
}

fn too_long(option: &str, length: usize) -> Failure {
    usage(format_args!(
        "{option}: {length} bytes are more than the {} that can be sent at once; shorten it",
        outbox::LIMIT
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::serve::tests::{speech, template};

    #[test]
    fn frames_have_names() {
        let until = |bytes: &[u8]| Framing::Until(Delimiter::new(bytes).unwrap());
        for (words, expected) in [
            (&["--frame", "chunk"][..], Framing::Chunk),
            (&["--frame", "line"], Framing::Line),
            (&["--frame", "fixed:65536"], Framing::Fixed(65_536)),
            (
                &["--frame", "fixed:2MiB", "--max-message", "2MiB"],
                Framing::Fixed(2 << 20),
            ),
            (&["--frame", "prefix:u8"], Framing::Prefix(Width::U8)),
            (&["--frame", "prefix:u16"], Framing::Prefix(Width::U16)),
            (&["--frame", "prefix:u32"], Framing::Prefix(Width::U32)),
            (&["--frame", "until:END"], until(b"END")),
            (&["--frame", "until::"], until(b":")),
            (
                &["--frame", r"until:\0\xff\\收"],
                until(b"\0\xff\\\xe6\x94\xb6"),
            ),
            (
                &["--frame", r"until:收\r\n", "--encoding", "gbk"],
                until(b"\xca\xd5\r\n"),
            ),
        ] {
            assert_eq!(speech(words).framing, expected, "{words:?}");
        }
    }

    #[test]
    fn texts_are_written_in_the_encoding_of_the_wire() {
        assert_eq!(
            &*speech(&["--greeting", r"Hello, 收\r\n\xff"]).greeting,
            b"Hello, \xe6\x94\xb6\r\n\xff"
        );
        assert_eq!(
            &*speech(&["--greeting", "收", "--encoding", "gbk"]).greeting,
            b"\xca\xd5"
        );
        assert_eq!(
            &*speech(&["--greeting", "--"]).greeting,
            b"--",
            "a text may begin as an option does"
        );
        assert_eq!(
            speech(&["--reply", "got {} from {peer} {{ok}}"]).reply,
            Some(template("got {} from {peer} {{ok}}"))
        );
        // What escapes stand for is never a brace of the template.
        assert_eq!(
            speech(&["--reply", r"\x7b\x7d{}\x7bpeer\x7d"]).reply,
            Some(template("{{}}{}{{peer}}"))
        );
        assert_eq!(
            speech(&["--reply", r"\\{}\\{{"]).reply,
            Some(template(r"\{}\{{"))
        );
    }
}
