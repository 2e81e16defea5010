//! Why a datagram is not answered.
//!
//! Owns the names of the reasons, each with a counter in [`Stats`](crate::Stats). The rules are in
//! [`guard`](crate::datagram::guard).

use std::fmt;

/// Why a datagram was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// From port 0, which no socket has.
    PortZero,
    /// From the port of a service that may answer us in turn (CERT CA-1996-01, CVE-2024-2169).
    ServicePort,
    /// From an address that stands for no host.
    Unspecified,
    /// From the broadcast address, or a reserved one.
    Broadcast,
    /// From a multicast address.
    Multicast,
    /// From an address or a name that we are bound to ourselves.
    Ourselves,
    /// Its hop limit is used up: it has bounced between servers.
    Loop,
    /// The answer would be longer than its request (TA14-017A), and `--allow-amplification` was not
    /// given.
    Longer,
    /// The source has had all its answers of this second.
    Rate,
    /// From a Unix socket without a name: nothing can be sent to it.
    Unnamed,
    /// Sent to a broadcast or multicast address that the endpoint is not bound to.
    ToGroup,
    /// Lost with a service that panicked before its answer left.
    Panicked,
}

impl Refusal {
    /// Every refusal, in the order of the counters.
    pub const ALL: [Refusal; 12] = [
        Refusal::PortZero,
        Refusal::ServicePort,
        Refusal::Unspecified,
        Refusal::Broadcast,
        Refusal::Multicast,
        Refusal::Ourselves,
        Refusal::Loop,
        Refusal::Longer,
        Refusal::Rate,
        Refusal::Unnamed,
        Refusal::ToGroup,
        Refusal::Panicked,
    ];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::PortZero => "from port 0",
            Refusal::ServicePort => "from the port of another service",
            Refusal::Unspecified => "from no address",
            Refusal::Broadcast => "from a broadcast address",
            Refusal::Multicast => "from a multicast address",
            Refusal::Ourselves => "from our own address",
            Refusal::Loop => "hop limit used up",
            Refusal::Longer => "longer than its request",
            Refusal::Rate => "rate",
            Refusal::Unnamed => "to nobody",
            Refusal::ToGroup => "sent to a broadcast or multicast address",
            Refusal::Panicked => "lost in a panic",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_place_and_words() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            assert_eq!(
                Refusal::ALL
                    .iter()
                    .filter(|other| other.to_string() == refusal.to_string())
                    .count(),
                1
            );
        }
    }
}
