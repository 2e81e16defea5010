//! Reply templates: `got {} from {peer}`.
//!
//! Owns the grammar and the text of each field. A template is parsed once, at the start, so that a
//! mistake in it is reported before a client connects. It must never copy the message into a reply:
//! a reply is a list of pieces, borrowed from the template and from the input.
//!
//! Tests: below, `tests/messages.rs`.

use std::fmt::{self, Write};
use std::time::Duration;

use super::calendar;
use crate::values::peer::Peer;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) pieces: Vec<Piece>,
    has_fields: bool,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<[u8]>),
    Message,
    Field(Field),
}

/// A placeholder other than the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Peer,
    Local,
    Conn,
    Seq,
    Time,
}

/// The values of the fields for one message.
pub(super) struct Values<'a> {
    pub(super) peer: &'a Peer,
    pub(super) local: &'a str,
    pub(super) connection: u64,
    pub(super) sequence: u64,
    pub(super) wall_clock: Duration,
}

/// Why a text is not a valid template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The position of the mistake in the text, in bytes.
    pub at: usize,
    what: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for TemplateError {}

impl TemplateError {
    fn new(at: usize, what: impl Into<String>) -> TemplateError {
        TemplateError {
            at,
            what: what.into(),
        }
    }
}

impl Template {
    /// The message alone: an echo.
    pub fn message() -> Template {
        Template::new(vec![Piece::Message])
    }

    /// Parses `text`. `write` encodes each literal part; it gets the position of that part too.
    ///
    /// # Errors
    ///
    /// A brace has no partner, a field does not exist, or `write` failed.
    pub fn parse<E: From<TemplateError>>(
        text: &str,
        mut write: impl FnMut(usize, &str) -> Result<Vec<u8>, E>,
    ) -> Result<Template, E> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let brace = rest.find(['{', '}']).unwrap_or(rest.len());
            if brace > 0 {
                pieces.push(Piece::Text(write(at, &rest[..brace])?.into()));
                at += brace;
                continue;
            }
            if rest.starts_with("{{") || rest.starts_with("}}") {
                pieces.push(Piece::Text(write(at, &rest[..1])?.into()));
                at += 2;
                continue;
            }
            let Some(inside) = rest.strip_prefix('{') else {
                return Err(TemplateError::new(
                    at,
                    "a brace closes nothing; write }} for a literal brace",
                )
                .into());
            };
            let Some(end) = inside.find('}') else {
                return Err(TemplateError::new(
                    at,
                    "a brace is never closed; write {{ for a literal brace",
                )
                .into());
            };
            pieces.push(
                field(&inside[..end])
                    .ok_or_else(|| TemplateError::new(at, unknown(&inside[..end])))?,
            );
            at += end + 2;
        }
        Ok(Template::new(joined(pieces)))
    }

    fn new(pieces: Vec<Piece>) -> Template {
        let has_fields = pieces.iter().any(|piece| matches!(piece, Piece::Field(_)));
        Template { pieces, has_fields }
    }

    /// Returns whether the template has fields besides the message.
    pub(super) fn has_fields(&self) -> bool {
        self.has_fields
    }

    /// The length of the literal text, which is the shortest possible reply.
    pub fn least(&self) -> usize {
        self.texts().map(<[u8]>::len).sum()
    }

    /// Returns whether every reply is longer than the message that it answers.
    pub fn is_longer_than_message(&self) -> bool {
        self.pieces.len() > 1 && self.pieces.contains(&Piece::Message)
    }

    /// Returns whether a reply may be longer than the message that it answers.
    pub fn may_be_longer_than_message(&self) -> bool {
        !matches!(self.pieces[..], [] | [Piece::Message])
    }

    /// Returns `text` with all braces doubled that belong to no field: a template for those who
    /// mean the braces, as in JSON. `None` if the text has doubled braces already.
    pub fn doubled(text: &str) -> Option<String> {
        if text.contains("{{") {
            return None;
        }
        let mut doubled = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            doubled.push_str(&rest[..brace]);
            rest = &rest[brace..];
            let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let taken = match inside {
                Some((name, _)) if field(name).is_some() => name.len() + 2,
                _ => {
                    doubled.push_str(&rest[..1]);
                    1
                }
            };
            doubled.push_str(&rest[..taken]);
            rest = &rest[taken..];
        }
        Some(doubled + rest)
    }

    /// Returns whether the literal text contains `bytes`.
    pub fn says(&self, bytes: &[u8]) -> bool {
        self.texts().any(|text| {
            text.windows(bytes.len().max(1))
                .any(|window| window == bytes)
        })
    }

    /// Returns whether a reply needs the local address, which costs a system call.
    pub(super) fn wants_local(&self) -> bool {
        self.pieces.contains(&Piece::Field(Field::Local))
    }

    /// Returns whether a reply needs the time of day.
    pub(super) fn wants_time(&self) -> bool {
        self.pieces.contains(&Piece::Field(Field::Time))
    }

    /// Appends the text of every field to `texts`, and its end in `texts` to `ends`.
    pub(super) fn write_fields(
        &self,
        values: &Values<'_>,
        texts: &mut String,
        ends: &mut Vec<usize>,
    ) {
        for piece in &self.pieces {
            let Piece::Field(field) = piece else { continue };
            // Writing to a string cannot fail.
            let _ = match field {
                Field::Peer => write!(texts, "{}", values.peer),
                Field::Local => texts.write_str(values.local),
                Field::Conn => write!(texts, "{}", values.connection),
                Field::Seq => write!(texts, "{}", values.sequence),
                Field::Time => write!(texts, "{}", calendar::rfc3339(values.wall_clock)),
            };
            ends.push(texts.len());
        }
    }

    /// Returns the pieces of the reply to `message`. `texts` and `ends` come from
    /// [`Template::write_fields`].
    #[inline]
    pub(super) fn pieces<'a>(
        &'a self,
        message: &'a [u8],
        texts: &'a str,
        ends: &'a [usize],
    ) -> impl Iterator<Item = &'a [u8]> {
        let (mut field, mut from) = (0, 0);
        self.pieces.iter().map(move |piece| match piece {
            Piece::Text(text) => text,
            Piece::Message => message,
            Piece::Field(_) => {
                let to = ends[field];
                field += 1;
                &texts.as_bytes()[std::mem::replace(&mut from, to)..to]
            }
        })
    }

    /// The number of pieces.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Message | Piece::Field(_) => None,
        })
    }
}

fn field(name: &str) -> Option<Piece> {
    Some(match name {
        "" => Piece::Message,
        "peer" => Piece::Field(Field::Peer),
        "local" => Piece::Field(Field::Local),
        "conn" => Piece::Field(Field::Conn),
        "seq" => Piece::Field(Field::Seq),
        "time" => Piece::Field(Field::Time),
        _ => return None,
    })
}

fn unknown(name: &str) -> String {
    format!(
        "there is no field {{{name}}}; use {{}} for the message, or {{peer}}, {{local}}, {{conn}}, \
         {{seq}}, {{time}}; write {{{{ for a literal brace"
    )
}

/// Merges neighbouring texts: fewer pieces mean fewer slices in every reply.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => {
                *before = [&**before, &*text].concat().into()
            }
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, TemplateError> {
        Template::parse(text, |_, text| Ok(text.as_bytes().to_vec()))
    }

    fn rendered(text: &str, message: &[u8]) -> String {
        let peer = Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], 5)));
        let values = Values {
            peer: &peer,
            local: "here",
            connection: 7,
            sequence: 9,
            wall_clock: Duration::from_millis(1_500),
        };
        let (template, mut texts, mut ends) = (parse(text).unwrap(), String::new(), Vec::new());
        template.write_fields(&values, &mut texts, &mut ends);
        let bytes: Vec<u8> = template
            .pieces(message, &texts, &ends)
            .flatten()
            .copied()
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_field_is_filled_in() {
        assert_eq!(
            rendered("{conn}.{seq} {peer}>{local} {{{}}} {}", b"hi"),
            "7.9 127.0.0.1:5>here {hi} hi"
        );
        assert_eq!(rendered("at {time}", b""), "at 1970-01-01T00:00:01.500Z");
        assert_eq!(rendered("收到您的消息:{}", b"x"), "收到您的消息:x");
        assert_eq!(rendered("", b"x"), "");
    }

    #[test]
    fn mistakes_are_reported_with_their_position() {
        for (text, at, words) in [
            ("ab{", 2, "never closed"),
            ("a{peer", 1, "never closed"),
            ("a}b", 1, "closes nothing"),
            ("{{}", 2, "closes nothing"),
            ("é{user}", 2, "no field {user}"),
            ("{ }", 0, "no field { }"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.at, at, "{text}");
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn braces_that_are_meant_are_doubled() {
        for (text, doubled) in [
            (r#"{"a": 1}"#, r#"{{"a": 1}}"#),
            (r#"{"a": {"b": {}}}"#, r#"{{"a": {{"b": {}}}}}"#),
            ("a } {peer} {", "a }} {peer} {{"),
        ] {
            let got = Template::doubled(text).unwrap();
            assert_eq!(got, doubled, "{text}");
            assert!(parse(&got).is_ok(), "{text}");
        }
        assert_eq!(Template::doubled("{{}"), None);
    }

    #[test]
    fn what_is_longer_than_its_message_is_known_beforehand() {
        for (text, is_longer, may_be) in [
            ("{}", false, false),
            ("", false, false),
            ("pong", false, true),
            ("{conn}", false, true),
            ("pong: {}", true, true),
            ("{}{seq}", true, true),
        ] {
            let template = parse(text).unwrap();
            let known = (
                template.is_longer_than_message(),
                template.may_be_longer_than_message(),
            );
            assert_eq!(known, (is_longer, may_be), "{text}");
        }
    }

    #[test]
    fn neighbouring_texts_are_merged() {
        let template = parse("a{{b}}{}c").unwrap();
        assert_eq!(template.len(), 3);
        assert_eq!(template.least(), 5);
        assert!(
            template.says(b"{b")
                && !template.says(b"bc")
                && !template.wants_local()
                && !template.wants_time()
        );
        assert!(
            parse("{local}{time}")
                .is_ok_and(|template| template.wants_local() && template.wants_time())
        );
    }
}
