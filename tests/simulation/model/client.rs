//! A peer of a connection, as the model knows it.

use mynah::CloseReason;
use mynah::Stats;

use super::services::{ANSWER, ANSWER_TEXT, MAGIC};

/// What a client is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Its own bytes.
    Echo,
    /// [`ANSWER`] bytes and an end of stream, as soon as it has sent anything.
    Answer,
    /// Its own bytes, up to the byte that makes the service panic.
    Fragile,
}

/// A peer of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) expected: Expected,
    /// Everything that it has sent.
    pub(crate) sent: Vec<u8>,
    /// How many bytes have come back.
    pub(crate) got: usize,
    pub(crate) has_finished: bool,
    pub(crate) has_reset: bool,
    /// Whether it has sent the byte that makes its service panic.
    pub(crate) is_doomed: bool,
    pub(crate) is_stalled: bool,
    /// Whether it ever was. A client that does not read for longer than the server lingers has no
    /// promise of a reply.
    pub(crate) was_stalled: bool,
    /// How much it had sent when the drain began. The server owes the reply to that, whatever
    /// happens then.
    pub(crate) sent_before_drain: Option<usize>,
}

impl Client {
    pub(crate) fn new(number: usize, expected: Expected) -> Client {
        Client {
            number,
            expected,
            sent: Vec::new(),
            got: 0,
            has_finished: false,
            has_reset: false,
            is_doomed: false,
            is_stalled: false,
            was_stalled: false,
            sent_before_drain: None,
        }
    }

    /// The next bytes to send. They differ with the client and the place.
    pub(crate) fn next(&self, size: usize) -> Vec<u8> {
        let start = self.sent.len();
        (start..start + size)
            .map(|at| ((at.wrapping_mul(31) >> 3) as u8 ^ self.number as u8).min(MAGIC - 1))
            .collect()
    }

    /// Whether it can still send.
    pub(crate) fn is_talking(&self) -> bool {
        !self.has_finished && !self.has_reset && !self.is_doomed
    }

    /// Checks bytes that came from the server: they continue what it is promised.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let text = match self.expected {
            Expected::Echo | Expected::Fragile => &self.sent,
            Expected::Answer if self.sent.is_empty() => &self.sent,
            Expected::Answer => &*ANSWER_TEXT,
        };
        let due = text.get(self.got..self.got + bytes.len());
        assert!(
            due == Some(bytes),
            "client {}: at byte {} came something else than is due",
            self.number,
            self.got
        );
        self.got += bytes.len();
    }

    /// How many bytes the server owes for the first `sent` bytes.
    pub(crate) fn due_for(&self, sent: usize) -> usize {
        match self.expected {
            Expected::Echo | Expected::Fragile => sent,
            Expected::Answer => ANSWER * usize::from(sent > 0),
        }
    }

    /// Whether the client itself is the reason that it did not get everything.
    pub(crate) fn is_to_blame(&self) -> bool {
        let lingered_out = self.expected == Expected::Answer && self.was_stalled;
        self.has_reset || self.is_doomed || lingered_out
    }
}

/// Connections that a limit, a timeout or a shortage of memory ended: so many clients may have lost
/// bytes, and no more.
pub(crate) fn excuses(stats: &Stats) -> u64 {
    let reasons = [
        CloseReason::IdleTimeout,
        CloseReason::WriteTimeout,
        CloseReason::OutputLimit,
        CloseReason::NoMemory,
    ];
    reasons.into_iter().map(|reason| stats.closed[reason]).sum()
}
