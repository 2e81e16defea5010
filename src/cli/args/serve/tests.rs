//! From words to a configuration, as a table.

use super::*;
use crate::cli::args::tests::{complaint, parse_words};
use crate::cli::args::{Invocation, Job, parse};
use crate::cli::charset::Charset;
use crate::cli::serve::Speech;
use mynah::net::StreamOptions;
use mynah::service::{self, Framing, Template, TemplateError};
use mynah::stream::outbox;
use std::time::Duration;

const TCP: &str = "tcp://127.0.0.1:0";

fn config(words: &str) -> Config {
    match parse_words(words) {
        Ok(Invocation {
            command: Job::Serve(config),
            ..
        }) => *config,
        other => panic!("{words}: {other:?}"),
    }
}

/// `mynah serve WORDS… tcp://127.0.0.1:0`, with words that may contain blanks.
pub(in crate::cli::args) fn speech(words: &[&str]) -> Speech {
    match parse(
        ["mynah", "serve"]
            .iter()
            .chain(words)
            .chain(&[TCP])
            .map(std::ffi::OsString::from),
    ) {
        Ok(Invocation {
            command: Job::Serve(config),
            ..
        }) => config.speech,
        other => panic!("{words:?}: {other:?}"),
    }
}

pub(in crate::cli::args) fn template(text: &str) -> Template {
    Template::parse(text, |_, text| {
        Ok::<_, TemplateError>(text.as_bytes().to_vec())
    })
    .unwrap()
}

#[test]
fn nothing_configured_is_the_main_job() {
    let config = config("serve");
    let endpoints: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["tcp://127.0.0.1:7777", "udp://127.0.0.1:7777"]);
    assert_eq!(
        (config.service.as_str(), config.print, config.is_counted),
        ("echo", None, false)
    );
    assert!(config.speech.is_plain(), "no service around the service");
    assert_eq!(config.speech.max_message, 65_536);
    assert_eq!((config.backlog, config.max_connections), (4096, None));
    assert_eq!(
        (config.limits.idle_timeout, config.limits.busy_poll),
        (None, None)
    );
    assert_eq!(config.limits.write_timeout, Some(Duration::from_secs(30)));
    assert_eq!(config.limits.drain_timeout, Some(Duration::from_secs(5)));
    assert_eq!(config.max_pending_output, None);
    assert_eq!(config.streams, StreamOptions::default());
    let message_timeout = config.speech.message_timeout;
    assert_eq!(message_timeout, Some(Duration::from_secs(30)));
}

#[test]
fn every_limit_reaches_the_configuration() {
    let config = config(
        "serve unix:/tmp/a udp://[::1]:0 --service discard --print --backlog 7 \
         --max-connections 9 --idle-timeout 500ms --write-timeout off --drain-timeout 0s \
         --busy-poll 50us --max-pending-output 3MiB --frame line --message-timeout 2s \
         tcp://127.0.0.1:0 --keepalive off",
    );
    assert_eq!(config.endpoints.len(), 3);
    assert_eq!(
        (config.service.as_str(), config.print),
        ("discard", Some(Charset::parse("utf-8").unwrap()))
    );
    assert_eq!((config.backlog, config.max_connections), (7, Some(9)));
    assert_eq!(config.limits.idle_timeout, Some(Duration::from_millis(500)));
    assert_eq!(config.limits.write_timeout, None);
    assert_eq!(config.limits.drain_timeout, Some(Duration::ZERO));
    assert_eq!(config.limits.busy_poll, Some(Duration::from_micros(50)));
    assert_eq!(config.max_pending_output, Some(3 << 20));
    assert_eq!(config.streams.keepalive, None);
    let message_timeout = config.speech.message_timeout;
    assert_eq!(message_timeout, Some(Duration::from_secs(2)));
}

#[test]
fn the_caps_on_datagrams_can_be_lowered_and_switched_off() {
    let cap = |words: &str| config(words).limits.unixgram_rate;
    assert_eq!(cap("serve"), Some(2_000));
    assert_eq!(cap("serve unixgram:/tmp/a --unixgram-rate 7"), Some(7));
    assert_eq!(cap("serve unixgram:/tmp/a --unixgram-rate off"), None);
    let cap = |words: &str| config(words).limits.udp_rate;
    assert_eq!(cap("serve --udp-rate 7"), Some(7));
    assert_eq!(cap("serve --udp-rate off"), None);
}

#[test]
fn receive_is_discard_and_print() {
    let receive = config(
        "receive unix:/tmp/a udp://[::1]:0 --encoding gbk --frame line --max-message 1KiB \
         --backlog 7 --idle-timeout 1s",
    );
    assert_eq!(
        (
            receive.endpoints.len(),
            receive.service.as_str(),
            receive.is_counted
        ),
        (2, "discard", true)
    );
    assert_eq!(receive.print, Some(Charset::parse("gbk").unwrap()));
    assert_eq!(
        (receive.speech.framing, receive.speech.max_message),
        (Framing::Line, 1024)
    );
    assert_eq!(
        (receive.backlog, receive.limits.idle_timeout),
        (7, Some(Duration::from_secs(1)))
    );
}

#[test]
fn a_close_has_something_to_close_after() {
    for (words, reply) in [
        (&["--close"][..], Some(Template::message())),
        (&["--close", "--reply", "bye"], Some(template("bye"))),
        (&["--close", "--greeting", "hi"], None),
        (
            &["--close", "--greeting", "hi", "--reply", "bye"],
            Some(template("bye")),
        ),
        (
            &["--close", "--greeting", "hi", "--service", "discard"],
            None,
        ),
    ] {
        let speech = speech(words);
        assert_eq!((speech.close, speech.reply), (true, reply), "{words:?}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_a_way_out() {
    let long = "x".repeat(outbox::LIMIT + 1);
    for (words, named) in [
        (
            &["--greeting", "hi"][..],
            &[
                "--greeting is for stream",
                "udp://127.0.0.1:7777",
                "name stream endpoints",
            ][..],
        ),
        (
            &["--close"],
            &["--close is for stream", "udp://127.0.0.1:7777"],
        ),
        (
            &["--close", TCP, "unixgram:/tmp/a"],
            &["--close is for stream", "unixgram:/tmp/a"],
        ),
        (
            &["--reply", "a", "--service", "discard"],
            &["--reply and --service discard", "leave one of them out"],
        ),
        (
            &["--close", "--service", "discard", TCP],
            &["never gives one", "add --greeting"],
        ),
        (&["--greeting", "", TCP], &["--greeting: the text is empty"]),
        (
            &["--greeting", r"a\q", TCP],
            &[r"--greeting: at character 2, \q is no escape; there are \n \r \t \0 \\ \xHH"],
        ),
        (
            &["--greeting", "收🐦", "--encoding", "gbk", TCP],
            &[
                "--greeting: '🐦' cannot be written in GBK",
                "another --encoding",
            ],
        ),
        (
            &["--greeting", &long, TCP],
            &["--greeting: 65537 bytes", "65536"],
        ),
        (&["--reply", &long], &["--reply: 65537 bytes", "65536"]),
        (
            &["--reply", "收{"],
            &["--reply: at character 2, a brace is never closed"],
        ),
        (
            &["--reply", "收}x"],
            &["--reply: at character 2, a brace closes"],
        ),
        (
            &["--reply", "a {now}"],
            &["--reply: at character 3, there is no field {now}"],
        ),
        (
            &["--reply", r"收{}{\q"],
            &[r"--reply: at character 5, \q is no escape"],
        ),
        (
            &["--reply", r"\{}"],
            &[r"--reply: at character 1, \{ is no escape"],
        ),
        (
            &["--reply", "{}é服", "--encoding", "latin1"],
            &["--reply: '服' cannot be written in windows-1252"],
        ),
        (
            &["--reply", &long[..256], "--frame", "prefix:u8"],
            &[
                "256 bytes",
                "prefix:u8 announces at most 255",
                "wider prefix",
            ],
        ),
        (
            &["--frame", "lines"],
            &["--frame knows no 'lines'", "until:TEXT"],
        ),
        (&["--frame", "line:"], &["--frame knows no 'line:'"]),
        (
            &["--frame", "prefix:u64"],
            &["--frame knows no 'prefix:u64'"],
        ),
        (&["--frame", "\x1b"], &[r"--frame knows no '\x1b'"]),
        (
            &["--frame", "until:"],
            &["--frame until: the text that ends a message is missing"],
        ),
        (
            &["--frame", r"until:\"],
            &["--frame until: at character 1, the backslash at the end"],
        ),
        (
            &["--frame", "until:服", "--encoding", "latin1"],
            &["--frame until: '服' cannot be written"],
        ),
        (&["--frame", "fixed:0"], &["--frame fixed: zero"]),
        (
            &["--frame", "fixed:"],
            &["--frame fixed: the number is missing"],
        ),
        (
            &["--frame", "fixed:65537"],
            &[
                "fixed:65537 is longer",
                "65536",
                "raise --max-message to 65537",
            ],
        ),
        (&["--max-message", "0"], &["'--max-message <SIZE>'", "zero"]),
        (
            &["--max-message", "1TB"],
            &["'--max-message <SIZE>'", "KiB"],
        ),
        (
            &["--encoding", "utf-16"],
            &["'--encoding <LABEL>'", "cannot be written"],
        ),
        (
            &["--encoding", "gb"],
            &["'--encoding <LABEL>'", "no encoding has this name", "gbk"],
        ),
        (&["--backlog", "0"], &["give 1 or more"]),
        (&["--max-connections", "0"], &["give 1 or more"]),
        (&["--max-connections", "x"], &["'x'"]),
        (&["--idle-timeout", "30"], &["whole number with its unit"]),
        (&["--idle-timeout", "0s"], &["off means never"]),
        (
            &["--write-timeout", "1.5s"],
            &["whole number with its unit"],
        ),
        (&["--drain-timeout", "99999999999h"], &["584 years"]),
        (&["--message-timeout", "0s"], &["off means never"]),
        (
            &["--message-timeout", "30"],
            &["whole number with its unit"],
        ),
        (&["--keepalive", "500ms"], &["whole seconds"]),
        (&["--keepalive", "10h"], &["32,767"]),
        (&["--keepalive", "0s"], &["off means never"]),
        (&["--max-pending-output", "0"], &["zero"]),
        (&["--max-pending-output", "1TB"], &["KiB"]),
        (&["--udp-rate", "0"], &["off means no cap"]),
        (
            &["--max-message", "1KiB", TCP],
            &["without --frame there are none", "leave it out"],
        ),
        (
            &["--message-timeout", "1s", "--frame", "chunk", TCP],
            &["--message-timeout is for framed messages", "--frame line"],
        ),
        (
            &["--frame", "line", "udp://127.0.0.1:0"],
            &["--frame is for streams", "leave it out"],
        ),
        (
            &["--keepalive", "5s", "udp://127.0.0.1:0"],
            &["--keepalive is for TCP"],
        ),
        (
            &["--keepalive", "5s", "unix:/tmp/a"],
            &["--keepalive is for TCP"],
        ),
        (
            &["--max-connections", "5", "udp://127.0.0.1:0"],
            &["--max-connections is for streams"],
        ),
        (
            &["--write-timeout", "5s", "unixgram:/tmp/a"],
            &["--write-timeout is for streams"],
        ),
        (
            &["--greeting", "hi"],
            &["a command without an endpoint serves udp://127.0.0.1:7777 too"],
        ),
        (
            &["--reply", r#"{"a": 1}\n"#],
            &[r#"no field {"a": 1}"#, r#"as in '{{"a": 1}}\n'"#],
        ),
        (
            &["--unixgram-rate", "0", "unixgram:/tmp/a"],
            &["zero would answer nobody", "off"],
        ),
        (
            &["--unixgram-rate", "5k", "unixgram:/tmp/a"],
            &["whole number", "off"],
        ),
        (
            &["--unixgram-rate", "5", TCP],
            &["--unixgram-rate is for Unix datagrams", "leave it out"],
        ),
    ] {
        let line = complaint(["serve"].iter().chain(words).copied());
        assert!(
            named.iter().all(|name| line.contains(name)),
            "{words:?}: {line} does not say {named:?}"
        );
    }
    for words in [
        "receive tcp://h:1 --reply a",
        "receive tcp://h:1 --service echo",
        "receive tcp://h:1 --write-timeout 1s",
        "receive tcp://h:1 --max-pending-output 1MiB",
        "receive unixgram:a --unixgram-rate 1",
        "receive tcp://h:1 --close",
    ] {
        assert!(
            complaint(words.split(' ')).contains("unexpected argument"),
            "{words}"
        );
    }
}

/// A service that speaks by itself also ends by itself.
#[test]
fn only_services_that_wait_for_us_are_closed() {
    for service in service::NAMES
        .into_iter()
        .filter(|name| !["echo", "discard"].contains(name))
    {
        let line = complaint(["serve", "--close", "--service", service, TCP]);
        assert!(line.contains("decides by itself when to close"), "{line}");
    }
}
