//! Who am I: one line that tells a peer how it got here, for load balancers, proxies and address translation.
//!
//! Owns the form of the line, which scripts read:
//!
//! ```text
//! peer=192.0.2.7:51334 local=198.51.100.1:7777 connection=12 time=2026-11-21T07:02:12.345Z host=web-3 process=4711
//! ```
//!
//! Fields stand in this order, each is `NAME=VALUE`, with one space between them and a newline at the end. No value is empty or holds white space: what a path
//! or a machine's name may hold of it, and of control characters, is spelt out as in a log (`\x20` for a space, `\\` for a backslash), so that nobody
//! forges a field. Fields that are added later come behind these.
//!
//! * `peer`, `local`: an IP address with its port, a Unix path, `@NAME` for an abstract one, `unnamed` for a Unix socket without a name. `local` is `unknown`
//!   where the socket does not tell. On a datagram socket that is bound to a wildcard address it is that.
//! * `connection`: 1 for the first connection of the process, 2 for the next; 0 on a datagram socket.
//! * `time`: the time of day of the answer, in UTC.
//!
//! Must never look at what the peer says.
//!
//! Tests: below, `tests/services.rs`.

use std::fmt::{self, Display, Write};

use super::calendar::rfc3339;
use super::{Action, Context, Host, Service};
use crate::values::escape::Escaped;

/// Tells the peer who it is and whom it reached, and ends.
#[derive(Clone, Debug)]
pub struct Whoami {
    host: Host,
}

impl Whoami {
    /// Runs on `host`.
    pub fn new(host: Host) -> Whoami {
        Whoami { host }
    }

    fn answer(&self, cx: &mut Context<'_>, connection: u64) -> Action {
        let time = rfc3339(cx.wall_clock());
        let (peer, local) = (
            Word(cx.peer),
            cx.local()
                .map_or_else(|| "unknown".to_owned(), |local| Word(local).to_string()),
        );
        let (host, process) = (Word(Escaped(self.host.name.as_bytes())), self.host.process);
        let line = format!(
            "peer={peer} local={local} connection={connection} time={time} host={host} process={process}\n"
        );
        cx.reply(line.as_bytes());
        Action::FINISH
    }
}

impl Service for Whoami {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Action {
        self.answer(cx, self.host.next_connection())
    }

    /// A datagram: a stream has had its answer.
    fn on_data(&mut self, cx: &mut Context<'_>, _input: &[u8]) -> Action {
        self.answer(cx, 0)
    }
}

/// Shows text that is escaped already, as one word: white space is spelt out as well.
struct Word<T>(T);

impl<T: Display> Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Joined(f), "{}", self.0)
    }
}

struct Joined<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Joined<'_, '_> {
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

    /// What is said to `peer` in the call that `event` makes.
    fn said(
        peer: &Peer,
        local: Option<Peer>,
        event: impl FnOnce(&mut Context<'_>) -> Action,
    ) -> String {
        let mut wire = Kept {
            local,
            wall_clock: Duration::from_millis(1_795_244_532_345),
            ..Kept::default()
        };
        assert_eq!(
            event(&mut Context::new(Time::ZERO, peer, &mut wire)),
            Action::FINISH
        );
        assert_eq!(wire.calls, 1);
        String::from_utf8(wire.sent).unwrap()
    }

    fn ip(address: &str) -> Peer {
        Peer::from(address.parse::<std::net::SocketAddr>().unwrap())
    }

    fn unix(path: &[u8]) -> Peer {
        Peer::Unix(path.into())
    }

    #[test]
    fn the_line_is_as_documented() {
        let mut service = Whoami::new(Host::new("web-3", 4711));
        let (peer, local) = (ip("192.0.2.7:51334"), ip("198.51.100.1:7777"));
        assert_eq!(
            said(&peer, Some(local), |cx| service.on_open(cx)),
            "peer=192.0.2.7:51334 local=198.51.100.1:7777 connection=1 time=2026-11-21T07:02:12.345Z host=web-3 process=4711\n"
        );
        let (peer, local) = (ip("[2001:db8::7]:9"), ip("[::]:7777"));
        assert_eq!(
            said(&peer, Some(local), |cx| service.on_data(cx, b"?")),
            "peer=[2001:db8::7]:9 local=[::]:7777 connection=0 time=2026-11-21T07:02:12.345Z host=web-3 process=4711\n"
        );
    }

    #[test]
    fn connections_are_numbered_and_datagrams_are_not() {
        let host = Host::new("h", 1);
        for number in 1..4 {
            let mut service = Whoami::new(host.clone());
            assert!(
                said(&Peer::unnamed(), None, |cx| service.on_open(cx))
                    .contains(&format!(" connection={number} "))
            );
            assert!(
                said(&Peer::unnamed(), None, |cx| service.on_data(cx, b""))
                    .contains(" connection=0 ")
            );
        }
    }

    #[test]
    fn no_name_can_forge_a_field() {
        let mut service = Whoami::new(Host::new("a b\u{a0}\nhost=c", 1));
        let peer = unix("/tmp/x local=y\u{3000}\\".as_bytes());
        assert_eq!(
            said(&peer, Some(unix(b"\0our own")), |cx| service
                .on_data(cx, b"")),
            "peer=/tmp/x\\x20local=y\\xe3\\x80\\x80\\\\ local=@our\\x20own connection=0 time=2026-11-21T07:02:12.345Z \
             host=a\\x20b\\xc2\\xa0\\nhost=c process=1\n"
        );
    }

    #[test]
    fn what_has_no_name_is_a_word_too() {
        let mut service = Whoami::new(Host::new("h", 1));
        assert!(
            said(&Peer::unnamed(), None, |cx| service.on_open(cx))
                .starts_with("peer=unnamed local=unknown connection=1 ")
        );
    }
}
