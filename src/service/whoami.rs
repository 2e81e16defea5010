//! Who am I: one line that tells a client how it reached the server. For debugging load balancers,
//! proxies and address translation.
//!
//! Owns the format of the line, which scripts parse. It must never depend on the client's input.
//!
//! ```text
//! peer=192.0.2.7:51334 local=198.51.100.1:7777 connection=12 \
//!     time=2026-11-21T07:02:12.345Z host=web-3 process=4711
//! ```
//!
//! This is one line, wrapped here. The fields come in this order, each as `NAME=VALUE`, with one
//! space between them and a newline at the end. New fields will follow these.
//!
//! No value is empty or contains white space. White space and control characters in a path or a
//! host name are escaped as in a log (`\x20` for a space, `\\` for a backslash), so no name can
//! forge a field.
//!
//! * `peer`: the client's address. `local`: the address it reached. Each is an IP address with its
//!   port, a Unix path, `@NAME` for an abstract Unix name, or `unnamed` for a Unix socket without a
//!   name. `local` is `unknown` if the socket does not tell.
//! * `connection`: 1 for the first connection of the process, 2 for the next. 0 for a datagram.
//! * `time`: the time of the reply, in UTC.
//! * `host`, `process`: the server's host name and process number.
//!
//! Tests: below, `tests/services.rs`.

use std::fmt::{self, Display, Write};

use super::calendar::rfc3339;
use super::{Action, Context, Host, Service, Shape};
use crate::values::escape::Escaped;

/// Tells the client its own address and the one it reached, then finishes.
#[derive(Clone, Debug)]
pub struct Whoami {
    host: Host,
    shape: Shape,
}

impl Whoami {
    /// Makes the service for one connection or one datagram socket on `host`.
    pub fn new(host: Host, shape: Shape) -> Whoami {
        Whoami { host, shape }
    }
}

impl Service for Whoami {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        let connection = match self.shape {
            Shape::Stream => self.host.next_connection(),
            Shape::Datagram => 0,
        };
        let time = rfc3339(cx.wall_clock());
        let peer = Word(cx.peer);
        let local = cx
            .local()
            .map_or_else(|| "unknown".to_owned(), |local| Word(local).to_string());
        let (host, process) = (Word(Escaped(self.host.name.as_bytes())), self.host.process);
        let line = format!(
            "peer={peer} local={local} connection={connection} time={time} \
             host={host} process={process}\n"
        );
        cx.reply(line.as_bytes());
        Action::FINISH
    }

    /// Called for datagrams only: on a stream, `on_open` has already finished.
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        self.on_open(cx)
    }
}

/// Displays text that is already escaped as one word: it escapes white space too.
struct Word<T>(T);

impl<T: Display> Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(NoSpace(f), "{}", self.0)
    }
}

struct NoSpace<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for NoSpace<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_whitespace() {
                character
                    .encode_utf8(&mut [0; 4])
                    .bytes()
                    .try_for_each(|byte| write!(self.0, "\\x{byte:02x}"))?;
            } else {
                self.0.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::tests::Kept;
    use crate::values::peer::Peer;
    use crate::values::time::Time;

    /// Returns the one reply to `peer` in the call that `event` makes.
    fn reply_to(
        peer: &Peer,
        local: Option<Peer>,
        event: impl FnOnce(&mut Context<'_>) -> Action,
    ) -> String {
        let mut transport = Kept {
            local,
            wall_clock: Duration::from_millis(1_795_244_532_345),
            ..Kept::default()
        };
        let mut cx = Context::new(Time::ZERO, peer, &mut transport);
        assert_eq!(event(&mut cx), Action::FINISH);
        assert_eq!(transport.calls, 1);
        String::from_utf8(transport.sent).unwrap()
    }

    fn ip(address: &str) -> Peer {
        Peer::from(address.parse::<std::net::SocketAddr>().unwrap())
    }

    fn unix(path: &[u8]) -> Peer {
        Peer::Unix(path.into())
    }

    #[test]
    fn the_line_is_as_documented() {
        let host = Host::new("web-3", 4711);
        let mut service = Whoami::new(host.clone(), Shape::Stream);
        let (peer, local) = (ip("192.0.2.7:51334"), ip("198.51.100.1:7777"));
        assert_eq!(
            reply_to(&peer, Some(local), |cx| service.on_open(cx)),
            "peer=192.0.2.7:51334 local=198.51.100.1:7777 connection=1 \
             time=2026-11-21T07:02:12.345Z host=web-3 process=4711\n"
        );
        let mut service = Whoami::new(host, Shape::Datagram);
        let (peer, local) = (ip("[2001:db8::7]:9"), ip("[::]:7777"));
        assert_eq!(
            reply_to(&peer, Some(local), |cx| service.on_data(cx, b"?")),
            "peer=[2001:db8::7]:9 local=[::]:7777 connection=0 \
             time=2026-11-21T07:02:12.345Z host=web-3 process=4711\n"
        );
    }

    #[test]
    fn connections_are_numbered_and_datagrams_are_not() {
        let (host, peer) = (Host::new("h", 1), Peer::unnamed());
        let mut datagrams = Whoami::new(host.clone(), Shape::Datagram);
        for number in 1..4 {
            let mut stream = Whoami::new(host.clone(), Shape::Stream);
            let line = reply_to(&peer, None, |cx| stream.on_open(cx));
            assert!(line.contains(&format!(" connection={number} ")), "{line}");
            let line = reply_to(&peer, None, |cx| datagrams.on_data(cx, b""));
            assert!(line.contains(" connection=0 "), "{line}");
        }
    }

    #[test]
    fn no_name_can_forge_a_field() {
        let host = Host::new("a b\u{a0}\nhost=c", 1);
        let mut service = Whoami::new(host, Shape::Datagram);
        let peer = unix("/tmp/x local=y\u{3000}\\".as_bytes());
        let local = Some(unix(b"\0our own"));
        assert_eq!(
            reply_to(&peer, local, |cx| service.on_data(cx, b"")),
            "peer=/tmp/x\\x20local=y\\xe3\\x80\\x80\\\\ local=@our\\x20own connection=0 \
             time=2026-11-21T07:02:12.345Z host=a\\x20b\\xc2\\xa0\\nhost=c process=1\n"
        );
    }

    #[test]
    fn an_address_without_a_name_is_still_one_word() {
        let mut service = Whoami::new(Host::new("h", 1), Shape::Stream);
        let line = reply_to(&Peer::unnamed(), None, |cx| service.on_open(cx));
        assert!(
            line.starts_with("peer=unnamed local=unknown connection=1 "),
            "{line}"
        );
    }
}
