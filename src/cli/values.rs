//! Numbers with units, and names of things of this machine.
//!
//! Owns the grammar of numbers, a whole one and its unit without a space, and the sentences that
//! say what is wrong with one.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::num::IntErrorKind;
use std::time::Duration;

use mynah::net::Interface;

/// A duration, or off. A type of its own, because clap takes a bare `Option` for an argument that
/// may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Option<Duration>);

/// A whole number and its unit, or `off`.
pub(crate) fn duration(text: &str) -> Result<Timeout, String> {
    if text == "off" {
        return Ok(Timeout(None));
    }
    if is_negative(text) {
        return Err("a duration cannot be negative; off means none".into());
    }
    let (number, unit) = split(text);
    let nanos: u64 =
        match unit {
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(
                "a duration is a whole number with its unit, such as 500ms, 30s, 5m or 1h, or off"
                    .into(),
            ),
        };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(nanos))
    {
        Some(nanos) => Ok(Timeout(Some(Duration::from_nanos(nanos)))),
        None if number.is_empty() => Err("the number is missing, as in 30s".into()),
        None => Err("that is longer than 584 years; off means for ever".into()),
    }
}

/// A duration after which a peer is given up: zero would give up all of them.
pub(crate) fn timeout(text: &str) -> Result<Timeout, String> {
    match duration(text)? {
        Timeout(Some(Duration::ZERO)) => {
            Err("zero would close every connection at once; off means never".into())
        }
        timeout => Ok(timeout),
    }
}

/// How long a TCP peer may be silent until the kernel probes it: what TCP_KEEPIDLE takes.
pub(crate) fn keepalive(text: &str) -> Result<Timeout, String> {
    const MOST: u64 = 32_767;
    match timeout(text)? {
        Timeout(Some(idle)) if idle.subsec_nanos() > 0 => {
            Err("the kernel counts this time in whole seconds; give 1s or more".into())
        }
        Timeout(Some(idle)) if idle.as_secs() > MOST => {
            Err("that is more than the 32,767 seconds that the kernel takes".into())
        }
        timeout => Ok(timeout),
    }
}

/// A number of answers in a second, or off. A type of its own, as [`Timeout`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateCap(pub(crate) Option<u32>);

/// A whole number of at least one, or `off`.
pub(crate) fn rate_cap(text: &str) -> Result<RateCap, String> {
    if text == "off" {
        return Ok(RateCap(None));
    }
    match text.parse::<u32>() {
        Ok(0) => Err("zero would answer nobody; off means no cap".into()),
        Ok(rate) => Ok(RateCap(Some(rate))),
        Err(_) if is_negative(text) => Err("a cap cannot be negative; off means no cap".into()),
        Err(_) => Err(
            "a cap is a whole number of answers in a second without a unit, such as 10000, or off"
                .into(),
        ),
    }
}

/// A whole number of at least one.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(0) => Err("zero would leave nothing to do; give 1 or more".into()),
        Ok(number) => Ok(number),
        Err(_) if text == "off" => {
            Err("this number cannot be switched off; leave the option out for its default".into())
        }
        Err(_) if is_negative(text) => Err("this number cannot be negative; give 1 or more".into()),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(too_many(u32::MAX)),
        Err(_) => Err("a whole number without a unit is asked for, such as 100".into()),
    }
}

/// How many connections the kernel keeps: what listen(2) takes.
pub(crate) fn backlog(text: &str) -> Result<u32, String> {
    const MOST: u32 = i32::MAX as u32;
    match count(text)? {
        number if number > MOST => Err(too_many(MOST)),
        number => Ok(number),
    }
}

fn too_many(most: u32) -> String {
    format!("that is more than {most}, the most that is possible")
}

fn is_negative(text: &str) -> bool {
    text.starts_with('-')
}

/// A whole number of bytes, or of its unit, and at least one.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    if is_negative(text) {
        return Err("a size cannot be negative".into());
    }
    let (number, unit) = split(text);
    let bytes: usize = match unit {
        "" | "B" => 1,
        "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => {
            return Err(
                "a size is a whole number of bytes, or with its unit B, KB, KiB, MB, MiB, GB or \
                 GiB, such as 64KiB"
                    .into(),
            );
        }
    };
    match number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(bytes))
    {
        Some(0) => Err("zero would leave no room for any message".into()),
        // No allocation can be longer, whatever the machine.
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(bytes),
        None if number.is_empty() => Err("the number is missing, as in 64KiB".into()),
        _ => Err("that is more than any memory holds".into()),
    }
}

/// An address of this machine to speak from.
pub(crate) fn source(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        "an address to speak from is an IPv4 or IPv6 address of this machine without a port, such \
         as 127.0.0.2; names are not looked up"
            .into()
    })
}

/// A network interface, by its name or by an IPv4 address that it has.
pub(crate) fn interface(text: &str) -> Result<Interface, String> {
    match text.parse::<Ipv4Addr>() {
        Ok(ip) => Ok(Interface::Address(ip)),
        Err(_) => number_of(text).map(Interface::Number).map_err(|_| {
            "there is no such network interface; give the name of one, or an IPv4 address that \
                 it has"
                .into()
        }),
    }
}

#[cfg(target_os = "linux")]
fn number_of(name: &str) -> io::Result<u32> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(netdevice::name_to_index(any, name)?)
}

#[cfg(not(target_os = "linux"))]
fn number_of(_name: &str) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The digits at the beginning, and the rest.
fn split(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|character: char| !character.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expected) in [
            ("off", Ok(None)),
            ("50us", Ok(Some(Duration::from_micros(50)))),
            ("500ms", Ok(Some(Duration::from_millis(500)))),
            ("0s", Ok(Some(Duration::ZERO))),
            ("5m", Ok(Some(Duration::from_secs(300)))),
            ("1h", Ok(Some(Duration::from_secs(3600)))),
            ("30", Err("whole number with its unit")),
            ("1.5s", Err("whole number with its unit")),
            ("-1s", Err("cannot be negative")),
            ("", Err("whole number with its unit")),
            ("s", Err("number is missing")),
            ("99999999999h", Err("584 years")),
        ] {
            match (duration(text), expected) {
                (Ok(Timeout(got)), Ok(expected)) => assert_eq!(got, expected, "{text}"),
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{text}: {got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        assert!(timeout("0ms").unwrap_err().contains("off means never"));
        assert_eq!(
            timeout("1us").unwrap(),
            Timeout(Some(Duration::from_micros(1)))
        );
    }

    #[test]
    fn sizes_are_bytes_or_have_units() {
        for (text, expected) in [
            ("1", Ok(1)),
            ("65536", Ok(65_536)),
            ("7B", Ok(7)),
            ("64KiB", Ok(65_536)),
            ("64KB", Ok(64_000)),
            ("2MiB", Ok(2_097_152)),
            ("2MB", Ok(2_000_000)),
            ("0", Err("zero")),
            ("0KiB", Err("zero")),
            ("", Err("number is missing")),
            ("KiB", Err("number is missing")),
            ("1kb", Err("whole number of bytes")),
            ("1 KiB", Err("whole number of bytes")),
            ("1.5MiB", Err("whole number of bytes")),
            ("-1", Err("cannot be negative")),
            ("1GiB", Ok(1_073_741_824)),
            ("1TiB", Err("whole number of bytes")),
            ("9223372036854775808", Err("more than any memory")),
            ("99999999999999999999", Err("more than any memory")),
            ("9223372036854775807MiB", Err("more than any memory")),
        ] {
            match (size(text), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text}"),
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{text}: {got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
