//! How datagrams come, and which of them are answered.

use clap::Args;
use mynah::net::{DatagramOptions, Interface};
use mynah::{Endpoint, Limits};

use crate::cli::args::kinds::Kind;
use crate::cli::status::Failure;
use crate::cli::values::{RateCap, interface, rate_cap, size};

/// How UDP sockets are made.
#[derive(Args, Debug)]
pub(super) struct UdpOptions {
    /// Ask for a receive buffer of SIZE on each UDP socket, so that a burst fits [default: 2MiB, or
    /// what the system allows]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    udp_buffer: Option<usize>,
    /// Join a multicast group on this interface: its name, or an IPv4 address that it has [default:
    /// the system's choice]
    #[arg(long, value_name = "IF", value_parser = interface)]
    interface: Option<Interface>,
}

/// Which datagrams are answered.
#[derive(Args, Debug)]
pub(super) struct AnswerOptions {
    /// Let an answer to a UDP datagram be longer than the datagram; a sender with a forged address
    /// can then turn few bytes into many for its victim
    #[arg(long)]
    allow_amplification: bool,
    /// Send one source at most N answers to UDP datagrams in a second, or off [default: off]
    #[arg(long, value_name = "N", value_parser = rate_cap)]
    udp_rate: Option<RateCap>,
    /// Send one Unix datagram peer at most N answers in a second, or off; a loop of two servers
    /// that answer each other ends at the cap, and a fast client needs more [default: 2000]
    #[arg(long, value_name = "N", value_parser = rate_cap)]
    unixgram_rate: Option<RateCap>,
}

impl UdpOptions {
    pub(super) fn options(&self, endpoints: &[Endpoint]) -> Result<DatagramOptions, Failure> {
        let usual = DatagramOptions::default();
        Kind::Udp.check(
            endpoints,
            &[
                (self.udp_buffer.is_some(), "--udp-buffer"),
                (self.interface.is_some(), "--interface"),
            ],
        )?;
        Ok(DatagramOptions {
            receive_buffer: self.udp_buffer.or(usual.receive_buffer),
            warns_of_buffer: self.udp_buffer.is_some(),
            interface: self.interface,
            ..usual
        })
    }
}

impl AnswerOptions {
    pub(super) fn check(&self, endpoints: &[Endpoint]) -> Result<(), Failure> {
        Kind::Unixgram.check(
            endpoints,
            &[(self.unixgram_rate.is_some(), "--unixgram-rate")],
        )?;
        Kind::Udp.check(
            endpoints,
            &[
                (self.allow_amplification, "--allow-amplification"),
                (self.udp_rate.is_some(), "--udp-rate"),
            ],
        )
    }

    pub(super) fn limits(&self, others: Limits) -> Limits {
        let cap = |given: Option<RateCap>, usual| given.map_or(usual, |cap| cap.0);
        Limits {
            allow_amplification: self.allow_amplification,
            udp_rate: cap(self.udp_rate, others.udp_rate),
            unixgram_rate: cap(self.unixgram_rate, others.unixgram_rate),
            ..others
        }
    }
}
