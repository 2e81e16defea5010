//! Which options are for which kinds of endpoints.
//!
//! Owns the sentence about an option that no endpoint of its command would use. Without it such an
//! option would do nothing, and nobody would notice.

use mynah::Endpoint;

use super::usage;
use crate::cli::status::Failure;

/// What an option is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Unixgram,
    /// TCP and Unix streams.
    Stream,
    /// UDP and Unix datagrams.
    Datagram,
}

impl Kind {
    pub(super) fn has(self, endpoint: &Endpoint) -> bool {
        match endpoint {
            Endpoint::Tcp(_) => matches!(self, Kind::Tcp | Kind::Stream),
            Endpoint::Udp(_) => matches!(self, Kind::Udp | Kind::Datagram),
            Endpoint::Unix(_) => self == Kind::Stream,
            Endpoint::Unixgram(_) => matches!(self, Kind::Unixgram | Kind::Datagram),
        }
    }

    /// Refuses the first option that was given, if no endpoint is of this kind.
    pub(super) fn check(
        self,
        endpoints: &[Endpoint],
        options: &[(bool, &str)],
    ) -> Result<(), Failure> {
        let given = options.iter().find(|(is_given, _)| *is_given);
        match given {
            Some((_, option)) if !endpoints.iter().any(|endpoint| self.has(endpoint)) => {
                let (words, example) = self.words();
                Err(usage(format_args!(
                    "{option} is for {words}, and there is no such endpoint; name one, such as \
                     {example}, or leave it out"
                )))
            }
            _ => Ok(()),
        }
    }

    /// What it is called, and an example.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Tcp => ("TCP", "tcp://127.0.0.1:7777"),
            Kind::Udp => ("UDP", "udp://127.0.0.1:7777"),
            Kind::Unixgram => ("Unix datagrams", "unixgram:/tmp/echo"),
            Kind::Stream => ("streams", "tcp://127.0.0.1:7777"),
            Kind::Datagram => ("datagrams", "udp://127.0.0.1:7777"),
        }
    }
}
