//! Where to listen: what the user wrote, and the addresses that it stands for.
//!
//! Owns the grammar `tcp://HOST:PORT`, `udp://HOST:PORT`, `unix:PATH`, `unixgram:PATH`. To resolve
//! a name may block for seconds, so it happens before the loop starts, never on it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::values::escape::Escaped;
use crate::values::peer::Peer;

/// An endpoint as the user wrote it. Its host may be a name that stands for several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `tcp://HOST:PORT`
    Tcp(HostPort),
    /// `udp://HOST:PORT`
    Udp(HostPort),
    /// `unix:PATH`, a stream socket; `unix:@NAME` is an abstract name (Linux).
    Unix(PathBuf),
    /// `unixgram:PATH`, a datagram socket; `unixgram:@NAME` is an abstract name (Linux).
    Unixgram(PathBuf),
}

/// A host, by name or address, and a port. Port 0 asks for any free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// One address that a socket can be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A stream socket over IP.
    Tcp(SocketAddr),
    /// A datagram socket over IP.
    Udp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// A Unix datagram socket.
    Unixgram(PathBuf),
}

impl Endpoint {
    /// The addresses that this endpoint stands for, in the resolver's order, each once. Blocks
    /// while the resolver looks up a name.
    ///
    /// # Errors
    ///
    /// The resolver's, if it does not know the name.
    pub fn resolve(&self) -> io::Result<Vec<Address>> {
        Ok(match self {
            Endpoint::Tcp(host) => host.resolve()?.into_iter().map(Address::Tcp).collect(),
            Endpoint::Udp(host) => host.resolve()?.into_iter().map(Address::Udp).collect(),
            Endpoint::Unix(path) => vec![Address::Unix(path.clone())],
            Endpoint::Unixgram(path) => vec![Address::Unixgram(path.clone())],
        })
    }
}

impl HostPort {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

impl Address {
    /// Whether this is a stream socket's address rather than a datagram socket's.
    pub fn is_stream(&self) -> bool {
        matches!(self, Address::Tcp(_) | Address::Unix(_))
    }

    /// The same address in the form of a peer's.
    pub(crate) fn as_peer(&self) -> Peer {
        match self {
            Address::Tcp(address) | Address::Udp(address) => Peer::from(*address),
            Address::Unix(path) | Address::Unixgram(path) => match path.as_os_str().as_bytes() {
                [b'@', name @ ..] => Peer::Unix([&[0], name].concat().into()),
                path => Peer::Unix(path.into()),
            },
        }
    }

    /// The Unix path, if it names a file.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Address::Unix(path) | Address::Unixgram(path)
                if !path.as_os_str().as_bytes().starts_with(b"@") =>
            {
                Some(path)
            }
            _ => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        if let Some(rest) = text.strip_prefix("tcp://") {
            return rest.parse().map(Endpoint::Tcp);
        }
        if let Some(rest) = text.strip_prefix("udp://") {
            return rest.parse().map(Endpoint::Udp);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Endpoint::Unix);
        }
        if let Some(path) = text.strip_prefix("unixgram:") {
            return unix_path(path).map(Endpoint::Unixgram);
        }
        Err(unknown(text))
    }
}

/// What to write instead of a text that begins with no scheme of ours.
fn unknown(text: &str) -> EndpointError {
    const GRAMMAR: &str =
        "an endpoint is tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH";
    let guess = |bare: &str| {
        let is_port = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit());
        let text = match bare.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None if is_port => format!("127.0.0.1:{bare}"),
            None => bare.to_owned(),
        };
        text.parse::<HostPort>().ok()
    };
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => (String::new(), text),
    };
    let meant = match scheme.as_str() {
        "tcp" | "udp" => guess(rest.trim_start_matches('/')).map(|host| (scheme.as_str(), host)),
        _ => guess(text).map(|host| ("tcp", host)),
    };
    if let Some((scheme, host)) = meant {
        return EndpointError::new(format!("{GRAMMAR}; did you mean {scheme}://{host}?"));
    }
    if rest.starts_with("//") && !matches!(scheme.as_str(), "tcp" | "udp") {
        let scheme = Escaped(scheme.as_bytes());
        return EndpointError::new(format!("{scheme}:// is not supported; {GRAMMAR}"));
    }
    if text.contains('/') && !text.contains(':') {
        let path = Escaped(text.as_bytes());
        return EndpointError::new(format!("{GRAMMAR}; did you mean unix:{path}?"));
    }
    EndpointError::new(GRAMMAR)
}

impl FromStr for HostPort {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<HostPort, EndpointError> {
        if text.contains(',') {
            return Err(EndpointError::new(
                "a host has no comma; write several endpoints with spaces between them",
            ));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| EndpointError::new("the port is missing; 0 asks for any free one"))?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(v6) if v6.contains(':') => v6,
            Some(_) => return Err(EndpointError::new("brackets are for IPv6 addresses")),
            None if host.contains(':') => {
                return Err(EndpointError::new(
                    "an IPv6 address goes in brackets, as in tcp://[::1]:7777",
                ));
            }
            None => host,
        };
        if host.is_empty() {
            return Err(EndpointError::new(
                "the host is missing; 0.0.0.0 and [::] stand for all addresses",
            ));
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(EndpointError::new("the port is not a number"));
        }
        let port = port
            .parse()
            .map_err(|_| EndpointError::new("the port is not a number from 0 to 65535"))?;
        Ok(HostPort {
            host: host.to_owned(),
            port,
        })
    }
}

/// Leading `sun_path` bytes that a path may take; one is left for the end.
const UNIX_PATH_MAX: usize = 107;

fn unix_path(path: &str) -> Result<PathBuf, EndpointError> {
    match path.len() {
        0 => Err(EndpointError::new("the path is missing")),
        length if length > UNIX_PATH_MAX => Err(EndpointError::new(
            "the path is longer than the 107 bytes that a Unix socket can have; use a shorter or a \
             relative one",
        )),
        _ if path.contains('\0') => Err(EndpointError::new("a path cannot contain a zero byte")),
        _ if path.starts_with('@') && !cfg!(target_os = "linux") => {
            Err(EndpointError::new("only Linux has abstract names"))
        }
        _ => Ok(PathBuf::from(path)),
    }
}

/// What is wrong with an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError(Cow<'static, str>);

impl EndpointError {
    fn new(what: impl Into<Cow<'static, str>>) -> EndpointError {
        EndpointError(what.into())
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EndpointError {}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(
            f,
            "{open}{}{close}:{}",
            Escaped(self.host.as_bytes()),
            self.port
        )
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(host) => write!(f, "tcp://{host}"),
            Endpoint::Udp(host) => write!(f, "udp://{host}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", shown(path.as_os_str())),
            Endpoint::Unixgram(path) => write!(f, "unixgram:{}", shown(path.as_os_str())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "tcp://{address}"),
            Address::Udp(address) => write!(f, "udp://{address}"),
            Address::Unix(path) => write!(f, "unix:{}", shown(path.as_os_str())),
            Address::Unixgram(path) => write!(f, "unixgram:{}", shown(path.as_os_str())),
        }
    }
}

fn shown(path: &OsStr) -> Escaped<'_> {
    Escaped(path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        text.parse()
    }

    #[test]
    fn endpoints_print_as_they_were_written() {
        for text in [
            "tcp://127.0.0.1:7777",
            "udp://localhost:0",
            "tcp://[::1]:65535",
            "unix:/tmp/a b",
            "unixgram:rel",
            "unix:@name",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("127.0.0.1:7777", "did you mean tcp://127.0.0.1:7777?"),
            ("[::1]:7777", "did you mean tcp://[::1]:7777?"),
            ("localhost:80", "did you mean tcp://localhost:80?"),
            ("7777", "did you mean tcp://127.0.0.1:7777?"),
            (":8080", "did you mean tcp://127.0.0.1:8080?"),
            ("tcp:127.0.0.1:1", "did you mean tcp://127.0.0.1:1?"),
            ("udp:/h:1", "did you mean udp://h:1?"),
            ("UDP://h:1", "did you mean udp://h:1?"),
            ("tcp:7777", "did you mean tcp://127.0.0.1:7777?"),
            ("/tmp/echo", "did you mean unix:/tmp/echo?"),
            (
                "http://a:1",
                "http:// is not supported; an endpoint is tcp://",
            ),
            ("https://a/b", "https:// is not supported"),
            ("99999", "an endpoint is tcp://"),
            ("echo", "an endpoint is tcp://"),
            ("tcp://a:1,udp://a:1", "with spaces between them"),
            ("", "an endpoint is tcp://"),
            ("tcp://", "port is missing"),
            ("tcp://host", "port is missing"),
            ("tcp://:80", "host is missing"),
            ("tcp://::1:80", "goes in brackets"),
            ("tcp://[::1]", "goes in brackets"),
            ("tcp://[localhost]:80", "brackets are for IPv6"),
            ("udp://host:", "not a number"),
            ("udp://host:+8", "not a number"),
            ("udp://host:http", "not a number"),
            ("udp://host:65536", "0 to 65535"),
            ("unix:", "path is missing"),
            ("unixgram:\0", "zero byte"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(parse(&long).unwrap_err().to_string().contains("107 bytes"));
    }

    #[test]
    fn literal_addresses_resolve_to_themselves() {
        let addresses = parse("tcp://[::1]:5").unwrap().resolve().unwrap();
        assert_eq!(addresses, [Address::Tcp("[::1]:5".parse().unwrap())]);
        assert!(addresses[0].is_stream());
        assert!(!parse("unixgram:a").unwrap().resolve().unwrap()[0].is_stream());
    }

    #[test]
    fn an_abstract_name_is_no_file() {
        let file = |text: &str| {
            parse(text)
                .unwrap()
                .resolve()
                .unwrap()
                .remove(0)
                .file()
                .map(Path::to_owned)
        };
        assert_eq!(file("unix:/tmp/a"), Some(PathBuf::from("/tmp/a")));
        assert_eq!(file("unix:@a"), None);
        assert_eq!(file("tcp://127.0.0.1:1"), None);
    }
}
