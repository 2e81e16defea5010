//! What a server checks before it starts, and what it warns of.
//!
//! Owns the limits that depend on this machine, and the sentences about a configuration that starts
//! and then does less than its user expects.

use log::{info, warn};
use mynah::service::Template;
use mynah::{Address, Counted, Endpoint};

use super::descriptors::{SPARE_DESCRIPTORS, raise_descriptor_limit};
use super::memory;
use super::status::{Failure, Status};

/// Services whose answer to a short datagram is longer than the datagram.
const TALKATIVE: [&str; 5] = ["chargen", "daytime", "time", "qotd", "whoami"];

/// The number of connections, and a warning if the descriptors do not suffice.
pub(super) fn max_connections(asked: Option<u32>, endpoints: usize) -> usize {
    let descriptors = raise_descriptor_limit();
    let used = SPARE_DESCRIPTORS + endpoints;
    let most = descriptors.saturating_sub(used).max(1);
    let max_connections = asked.map_or(most, |asked| asked as usize);
    info!(
        "descriptor limit {descriptors}, at most {}",
        Counted(max_connections as u64, "connection")
    );
    if descriptors <= used {
        warn!(
            "{descriptors} descriptors are too few: the server itself may need {used}, so it may \
             not start, or accept nobody; raise the limit (ulimit -n)"
        );
    } else if max_connections > most {
        warn!(
            "{max_connections} connections do not fit into {descriptors} descriptors: accepting \
             may pause from {most} on; raise the hard limit (ulimit -Hn)"
        );
    }
    max_connections
}

/// The bound on pending output, and a warning if there is less memory.
pub(super) fn max_pending_output(asked: Option<usize>) -> usize {
    let available = memory::available();
    let most = asked.unwrap_or_else(|| memory::share_for_output(available));
    info!("at most {most} bytes of pending output");
    if let Some(available) = available.filter(|available| *available < most as u64) {
        warn!(
            "{most} bytes of pending output do not fit into the {available} bytes of memory that \
             are available; lower --max-pending-output"
        );
    }
    most
}

/// The kernel cuts a longer backlog to its own limit without a word.
pub(super) fn check_backlog(backlog: u32) {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(most) = most.filter(|most| *most < backlog) {
        warn!("the kernel allows a backlog of {most}, not {backlog}; raise net.core.somaxconn");
    }
}

/// Warns of a UDP endpoint whose answers the guard against amplification would keep back.
pub(super) fn check_amplification(endpoints: &[Endpoint], service: &str, reply: Option<&Template>) {
    let is_udp = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Udp(_));
    let Some(endpoint) = endpoints.iter().find(is_udp) else {
        return;
    };
    if reply.is_some_and(|reply| reply.is_longer_than_message()) {
        warn!(
            "{endpoint}: every --reply is longer than the datagram that it answers, so none is \
             sent; --allow-amplification sends them, to forged senders too"
        );
    } else if reply.is_some_and(|reply| reply.may_be_longer_than_message())
        || TALKATIVE.contains(&service)
    {
        warn!(
            "{endpoint}: an answer that is longer than its datagram is not sent; \
             --allow-amplification sends it, to forged senders too"
        );
    }
}

/// Refuses endpoints that would stand in each other's way. The error of the second bind would
/// blame another program.
pub(super) fn check_twice(endpoints: &[Endpoint], names: &[Vec<Address>]) -> Result<(), Failure> {
    let named = || endpoints.iter().zip(names);
    for (index, (later, addresses)) in named().enumerate() {
        for (earlier, others) in named().take(index) {
            let meets = |address: &&Address| others.iter().any(|other| overlap(address, other));
            let Some(address) = addresses.iter().find(meets) else {
                continue;
            };
            let what = if earlier == later {
                format!("{later} is listed twice")
            } else {
                format!("{earlier} and {later} both take {address}")
            };
            return Err(Failure::new(
                Status::Usage,
                format_args!("{what}; leave one of them out; see --help"),
            ));
        }
    }
    Ok(())
}

/// Whether two sockets cannot be bound to these side by side.
fn overlap(left: &Address, right: &Address) -> bool {
    match (left, right) {
        (Address::Tcp(left), Address::Tcp(right)) | (Address::Udp(left), Address::Udp(right)) => {
            let is_any = left.ip().is_unspecified() || right.ip().is_unspecified();
            let is_shared = left.is_ipv4() == right.is_ipv4() && is_any;
            left.port() == right.port() && left.port() != 0 && (left == right || is_shared)
        }
        (
            Address::Unix(left) | Address::Unixgram(left),
            Address::Unix(right) | Address::Unixgram(right),
        ) if !left.as_os_str().as_encoded_bytes().starts_with(b"@") => left == right,
        // Abstract names of streams and of datagrams are apart.
        (Address::Unix(left), Address::Unix(right))
        | (Address::Unixgram(left), Address::Unixgram(right)) => left == right,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about these endpoints; names are not looked up.
    fn said(words: &str) -> Option<String> {
        let endpoints: Vec<Endpoint> = words
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        let names: Vec<Vec<Address>> = endpoints
            .iter()
            .map(|endpoint| endpoint.resolve().unwrap())
            .collect();
        let failure = check_twice(&endpoints, &names).err()?;
        assert_eq!(failure.status, Status::Usage);
        Some(failure.message)
    }

    #[test]
    fn endpoints_that_stand_in_each_others_way_are_named() {
        for (words, named) in [
            (
                "tcp://127.0.0.1:7 udp://127.0.0.1:7 tcp://127.0.0.1:7",
                "tcp://127.0.0.1:7 is listed twice",
            ),
            ("unix:/tmp/a unix:/tmp/a", "unix:/tmp/a is listed twice"),
            (
                "unix:/tmp/a unixgram:/tmp/a",
                "unix:/tmp/a and unixgram:/tmp/a both take",
            ),
            ("unixgram:@a unixgram:@a", "unixgram:@a is listed twice"),
            (
                "udp://0.0.0.0:7 udp://127.0.0.1:7",
                "udp://0.0.0.0:7 and udp://127.0.0.1:7 both take udp://127.0.0.1:7",
            ),
            ("tcp://[::1]:7 tcp://[::]:7", "both take"),
        ] {
            let line = said(words).expect(words);
            assert!(line.contains(named), "{words}: {line}");
        }
        for words in [
            "tcp://127.0.0.1:0 tcp://127.0.0.1:0",
            "tcp://127.0.0.1:7 udp://127.0.0.1:7",
            "tcp://127.0.0.1:7 tcp://127.0.0.2:7",
            "tcp://0.0.0.0:7 tcp://[::]:7",
            "unix:@a unixgram:@a",
        ] {
            assert_eq!(said(words), None, "{words}");
        }
    }
}
