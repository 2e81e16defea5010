//! The words of `mynah load` that say what is sent, and what comes back.
//!
//! Owns the grammar of `--response`, and what cannot be asked of messages together.

use std::path::PathBuf;

use clap::Args;
use mynah::load::{Check, Field, HEADER, Matching, Payload, Prefix, Response};
use mynah::service::{Delimiter, Width};
use mynah::stream::outbox;

use super::template::template;
use super::{bytes_of, usage};
use crate::cli::charset::Charset;
use crate::cli::status::Failure;
use crate::cli::values::size;

/// Bytes of the longest datagram.
const LONGEST_DATAGRAM: usize = 65_507;

#[derive(Args, Debug)]
pub(super) struct Messages {
    /// Bytes of a message, of a pattern that does not repeat
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64",
        value_parser = size,
        help_heading = "Messages"
    )]
    size: usize,
    /// Send this text instead; it takes the escapes \n \r \t \0 \\ \xHH
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "size",
        help_heading = "Messages"
    )]
    message: Option<String>,
    /// Send what this file holds, as it is
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["size", "message"],
        help_heading = "Messages"
    )]
    message_file: Option<PathBuf>,
    /// Fill in the fields of --message: {conn} (the number of the connection), {seq} (that of the
    /// message on it, from 1) and {time}; {{ and }} are braces
    #[arg(
        long,
        requires = "message",
        conflicts_with_all = ["size", "message_file"],
        help_heading = "Messages"
    )]
    template: bool,
    /// Send the lines of --message-file, one a message, and then the first again: on streams with
    /// their line ends, in datagrams without them. Each connection begins with another one
    #[arg(long, requires = "message_file", help_heading = "Messages")]
    lines: bool,
    /// Send this text once on each connection before it is used, and wait for its answer, which is
    /// what --response says; neither is measured
    #[arg(long, value_name = "TEXT", help_heading = "Messages")]
    first_message: Option<String>,
    /// What an answer is: same (as long as the message), until:TEXT, fixed:N (bytes), prefix:u8,
    /// u16, u32, u16le or u32le (a length, and so many bytes), datagram (of any length), or none
    /// [default: same, or as long as --expect; with --match, or --template in datagrams, datagram]
    #[arg(long, value_name = "R", help_heading = "Messages")]
    response: Option<String>,
    /// For datagrams: write the number of each into this field of the message, LEN bytes from
    /// OFFSET on (highest byte first), and take the answer that has the same in that field, such as
    /// 0:2 for DNS. Without it, answers to a --message are matched by their order. OFFSET:LEN:AT if
    /// the answer has the field at AT, such as 40:8:24 for NTP
    #[arg(long = "match", value_name = "OFFSET:LEN", help_heading = "Messages")]
    field: Option<Field>,
    /// The text that every answer must be
    #[arg(long, value_name = "TEXT", help_heading = "Messages")]
    expect: Option<String>,
    /// Compare every byte with what was sent
    #[arg(long, conflicts_with = "expect", help_heading = "Messages")]
    verify: bool,
    /// Text encoding in which the texts of these options are written
    #[arg(
        long,
        value_name = "LABEL",
        default_value = "utf-8",
        value_parser = Charset::parse,
        help_heading = "Messages"
    )]
    encoding: Charset,
}

/// What the words amount to.
pub(super) struct Terms {
    pub(super) payload: Payload,
    pub(super) first: Option<Payload>,
    pub(super) response: Response,
    pub(super) check: Check,
    pub(super) matching: Matching,
}

impl Messages {
    /// What is sent to datagram sockets or streams, and what comes back.
    pub(super) fn terms(&self, is_datagram: bool) -> Result<Terms, Failure> {
        let text = self.text()?;
        let is_text = text.is_some();
        let payload = match text {
            Some(_) if self.template => self.filled()?,
            None => Payload::pattern(self.size),
            Some(text) if self.lines => lines(&text, is_datagram)?,
            Some(text) => Payload::text(&text),
        };
        let expected = self
            .expect
            .as_ref()
            .map(|text| bytes_of("--expect", text, self.encoding))
            .transpose()?;
        if expected.as_ref().is_some_and(Vec::is_empty) {
            return Err(usage(
                "--expect: the text is empty; --response none waits for no answer",
            ));
        }
        let response = self.response(is_datagram, expected.as_deref())?;
        let is_echo = !is_text && response == Response::Same && expected.is_none();
        let matching = match self.field {
            Some(field) => Matching::Field(field),
            None if is_datagram && is_echo => Matching::Header,
            None => Matching::Order,
        };
        self.check_answers(&payload, &response, expected.as_deref())?;
        if is_datagram {
            check_datagram(&payload, matching)?;
        } else {
            self.check_stream(&response)?;
        }
        let check = match expected {
            Some(text) => Check::Text(text.into()),
            None if self.verify => Check::Echo,
            None => Check::None,
        };
        Ok(Terms {
            payload,
            first: self.first(is_datagram)?,
            response,
            check,
            matching,
        })
    }

    fn first(&self, is_datagram: bool) -> Result<Option<Payload>, Failure> {
        let Some(text) = &self.first_message else {
            return Ok(None);
        };
        let text = bytes_of("--first-message", text, self.encoding)?;
        match text.len() {
            _ if is_datagram => Err(usage(
                "--first-message: datagrams have no connection to begin; leave it out",
            )),
            0 => Err(usage(
                "--first-message: the text is empty; leave the option out",
            )),
            1..=outbox::LIMIT => Ok(Some(Payload::text(&text))),
            length => Err(usage(format_args!(
                "--first-message: {length} bytes are more than the {} that can be sent at once; \
                 shorten it",
                outbox::LIMIT
            ))),
        }
    }

    /// The message as it is told in reports; `None`: the pattern.
    pub(super) fn told(&self) -> Option<String> {
        let file = self.message_file.as_ref();
        let what = if self.lines {
            "the lines of"
        } else {
            "the file"
        };
        let file = file.map(|file| format!("{what} {}", file.display()));
        self.message.clone().or(file)
    }

    /// The text of the user's that is sent, if there is one.
    fn text(&self) -> Result<Option<Vec<u8>>, Failure> {
        let text = match (&self.message, &self.message_file) {
            (Some(text), _) if self.template => text.as_bytes().to_vec(),
            (Some(text), _) => bytes_of("--message", text, self.encoding)?,
            (None, Some(file)) => std::fs::read(file).map_err(|error| {
                usage(format_args!(
                    "--message-file: cannot read {}: {error}",
                    file.display()
                ))
            })?,
            (None, None) => return Ok(None),
        };
        if text.is_empty() {
            return Err(usage(
                "the message is empty, and such a message cannot be told from none; give at least \
                 one byte",
            ));
        }
        Ok(Some(text))
    }

    /// Messages that are made of a template.
    fn filled(&self) -> Result<Payload, Failure> {
        const OPTION: &str = "--message";
        let template = template(
            OPTION,
            self.message.as_deref().unwrap_or_default(),
            self.encoding,
        )?;
        if !template.is_for_senders() {
            return Err(usage(
                "--message: only {conn}, {seq} and {time} are known before a message is sent",
            ));
        }
        if template.longest() > outbox::LIMIT {
            return Err(usage(format_args!(
                "--message: with its fields it may be longer than the {} bytes that can be sent \
                 at once; shorten it",
                outbox::LIMIT
            )));
        }
        Ok(Payload::template(template))
    }

    fn response(&self, is_datagram: bool, expected: Option<&[u8]>) -> Result<Response, Failure> {
        let Some(text) = &self.response else {
            return Ok(match (expected, self.field) {
                (Some(expected), _) => Response::Fixed(expected.len()),
                (None, Some(_)) if !self.verify => Response::Datagram,
                (None, None) if self.template && is_datagram => Response::Datagram,
                (None, _) => Response::Same,
            });
        };
        match text
            .split_once(':')
            .map_or((text.as_str(), None), |(kind, value)| (kind, Some(value)))
        {
            ("same", None) => Ok(Response::Same),
            ("none", None) => Ok(Response::None),
            ("datagram", None) => Ok(Response::Datagram),
            ("fixed", Some(number)) => size(number)
                .map(Response::Fixed)
                .map_err(|why| usage(format_args!("--response fixed: {why}"))),
            ("prefix", Some(width)) => prefix(width).map(Response::Prefix),
            ("until", Some(text)) => Delimiter::new(&bytes_of(
                "--response until",
                text,
                self.encoding,
            )?)
            .map(Response::Until)
            .ok_or_else(|| {
                usage(
                    "--response until: the text that ends an answer is missing, as in until:\\r\\n",
                )
            }),
            _ => Err(usage(format_args!(
                "--response knows no '{}'; there are same, until:TEXT, fixed:N, prefix:WIDTH, \
                 datagram and none",
                mynah::Escaped(text.as_bytes())
            ))),
        }
    }

    /// What cannot be asked of answers together.
    fn check_answers(
        &self,
        payload: &Payload,
        response: &Response,
        expected: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let fails = |why: &str| Err(usage(why));
        match (expected, response) {
            (Some(_), Response::None) => {
                fails("--expect: --response none waits for no answer; leave one of them out")
            }
            (Some(text), Response::Fixed(size)) if *size != text.len() => {
                fails("--expect and --response fixed: are not of one length")
            }
            (Some(text), Response::Same)
                if text.len() != payload.size() || text.len() != payload.shortest() =>
            {
                fails("--expect is not as long as the message; leave --response same out")
            }
            (_, Response::Same) if self.template => fails(
                "--template makes messages of differing lengths; say where an answer ends with \
                 --response until:TEXT, fixed:N or prefix:WIDTH",
            ),
            _ if self.verify && *response != Response::Same => fails(
                "--verify compares answers with what was sent, which asks for --response same; \
                 --expect compares with a text",
            ),
            _ if self.verify && self.field.is_some_and(|field| !field.is_echoed()) => fails(
                "--verify compares answers with what was sent, and --match has its field \
                 elsewhere in the answer; leave one of them out",
            ),
            (_, Response::None) if self.field.is_some() => {
                fails("--match: --response none waits for no answer; leave one of them out")
            }
            _ => Ok(()),
        }
    }

    /// What a stream does not have.
    fn check_stream(&self, response: &Response) -> Result<(), Failure> {
        if self.field.is_some() {
            return Err(usage(
                "--match is for datagrams; on a stream, answers come in the order of their \
                 messages; leave it out",
            ));
        }
        if *response == Response::Datagram {
            return Err(usage(
                "--response datagram: a stream has none; say where an answer ends, with \
                 until:TEXT, fixed:N or prefix:WIDTH",
            ));
        }
        Ok(())
    }
}

/// What a datagram does not hold.
fn check_datagram(payload: &Payload, matching: Matching) -> Result<(), Failure> {
    let size = payload.size();
    if size > LONGEST_DATAGRAM {
        return Err(usage(
            "a datagram holds at most 65507 bytes; send a shorter message",
        ));
    }
    match matching {
        Matching::Header if size < HEADER => Err(usage(
            "--size: datagrams are told apart by a number in their first 16 bytes; ask for 16 or \
             more, or send a --message as it is",
        )),
        Matching::Field(field) if payload.shortest() < field.range().end => {
            Err(usage(format_args!(
                "--match {field}: a message has only {} bytes; give a field inside it",
                payload.shortest()
            )))
        }
        _ => Ok(()),
    }
}

/// Each line of a text a message. On a stream, what is no whole line gets its end.
fn lines(text: &[u8], is_datagram: bool) -> Result<Payload, Failure> {
    let mut ended = text.to_vec();
    if !ended.ends_with(b"\n") {
        ended.push(b'\n');
    }
    let mut lines: Vec<&[u8]> = ended.split_inclusive(|byte| *byte == b'\n').collect();
    if is_datagram {
        for line in &mut lines {
            *line = line.strip_suffix(b"\n").unwrap_or(line);
            *line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        if let Some(empty) = lines.iter().position(|line| line.is_empty()) {
            return Err(usage(format_args!(
                "--lines: line {} is empty, and a datagram without bytes cannot be told from \
                 none; leave that line out",
                empty + 1
            )));
        }
    }
    Ok(Payload::texts(lines))
}

fn prefix(text: &str) -> Result<Prefix, Failure> {
    let (width, is_little_endian) = match text {
        "u8" => (Width::U8, false),
        "u16" => (Width::U16, false),
        "u32" => (Width::U32, false),
        "u16le" => (Width::U16, true),
        "u32le" => (Width::U32, true),
        _ => {
            return Err(usage(
                "--response prefix: the length of an answer is u8, u16 or u32 (highest byte \
                 first), or u16le or u32le (lowest byte first)",
            ));
        }
    };
    Ok(Prefix {
        width,
        is_little_endian,
    })
}
