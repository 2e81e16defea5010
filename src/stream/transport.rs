//! A service's way to the socket of a stream, and what the results of its calls mean.
//!
//! Owns two rules: whether bytes go straight to the socket or wait in the outbox, and which result
//! of a call clears readiness. It must never change a half: the connection does.

use std::io::{self, IoSlice};
use std::time::Duration;

use super::role::Role;
use crate::net::Net;
use crate::service::Transport;
use crate::stream::outbox::{Outbox, PushError};
use crate::values::error::CloseReason;
use crate::values::peer::Peer;
use crate::values::ready::Ready;
use crate::values::stats::Stats;
use crate::values::time::Time;

/// The part of a connection that its service reaches through its
/// [`Context`](crate::service::Context), while the connection lends it out.
pub(super) struct Line<N: Net> {
    pub(super) stream: N::Stream,
    /// What the socket refused.
    pub(super) outbox: Outbox,
    /// When a byte last moved in either direction, or our end of stream was sent, or the service
    /// asked for more time.
    pub(super) moved: Time,
    /// When the service's alarm is due.
    pub(super) alarm: Time,
    pub(super) role: Role,
    /// Whether the service has no room for input.
    pub(super) is_held: bool,
    /// Whether the service itself holds output. See
    /// [`Service::pending`](crate::service::Service::pending).
    pub(super) holds: bool,
    /// Bytes of memory that the service keeps, as
    /// [`Turn::pending`](crate::net::turn::Turn::pending) counts them.
    pub(super) kept: u32,
    /// Whether a deadline may have come nearer since the loop last asked. Traffic only pushes
    /// deadlines back, and an alarm that fires too early costs one check. So after nearly every
    /// message the loop need not ask.
    pub(super) is_retimed: bool,
}

impl<N: Net> Line<N> {
    /// Updates readiness after a write of `size` bytes. Returns how many bytes were sent.
    #[inline]
    pub(super) fn settle_write(
        &self,
        result: io::Result<usize>,
        size: usize,
        ready: &mut Ready,
        edge_after_partial: bool,
    ) -> Flow<usize> {
        match result {
            Ok(0) => Err(CloseReason::Failed),
            Ok(count) => {
                if count < size && edge_after_partial {
                    ready.remove(Ready::WRITABLE);
                }
                Ok(count)
            }
            Err(error) => self.settle_write_error(&error, ready),
        }
    }

    #[cold]
    fn settle_write_error(&self, error: &io::Error, ready: &mut Ready) -> Flow<usize> {
        match error.kind() {
            io::ErrorKind::WouldBlock => ready.remove(Ready::WRITABLE),
            io::ErrorKind::Interrupted => {}
            _ => return Err(self.role.meaning(error)),
        }
        Ok(0)
    }
}

/// A value, or the reason that the connection is over.
pub(super) type Flow<T> = Result<T, CloseReason>;

/// Updates readiness after a failed read. Either there are no bytes now, or the connection is over.
#[cold]
pub(super) fn settle_read(error: &io::Error, ready: &mut Ready) -> Flow<usize> {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            ready.remove(Ready::READABLE | Ready::READ_CLOSED | Ready::ERROR | Ready::PRIORITY)
        }
        io::ErrorKind::Interrupted => {}
        _ => return Err(CloseReason::of_error(error)),
    }
    Ok(0)
}

/// Repeats a call while a signal interrupts it: EINTR says nothing about the socket.
#[cold]
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A service's way to the socket: direct while no output is pending, through the outbox otherwise.
pub(super) struct StreamTransport<'a, N: Net> {
    pub(super) net: &'a mut N,
    pub(super) stats: &'a mut Stats,
    pub(super) now: Time,
    pub(super) line: &'a mut Line<N>,
    pub(super) ready: &'a mut Ready,
    /// Whether our side has ended. What the service sends now is discarded.
    pub(super) is_mute: bool,
    /// Why nothing can be sent any more. What the service sends after that is discarded.
    pub(super) failed: Option<CloseReason>,
}

impl<N: Net> StreamTransport<'_, N> {
    #[inline]
    fn may_write(&self) -> bool {
        self.line.outbox.is_empty() && self.ready.contains(Ready::WRITABLE) && self.failed.is_none()
    }

    /// Handles the result of a write of `size` bytes; returns how many were sent. A refused write
    /// is no progress.
    #[inline]
    fn settle(&mut self, result: io::Result<usize>, size: usize) -> usize {
        match self.line.settle_write(
            result,
            size,
            self.ready,
            self.net.short_write_fills(&self.line.stream),
        ) {
            Ok(0) => 0,
            Ok(count) => {
                self.line.moved = self.now;
                self.stats.bytes_out += count as u64;
                count
            }
            Err(reason) => {
                self.failed = Some(reason);
                0
            }
        }
    }

    /// Keeps what the socket refused.
    #[cold]
    fn keep(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.line.is_retimed = true;
        let net = &mut *self.net;
        let pushed = self
            .line
            .outbox
            .push(bytes, self.now, |buffer, additional| {
                net.reserve(buffer, additional)
            });
        match pushed {
            Ok(()) => {}
            Err(PushError::NoMemory) => self.failed = Some(CloseReason::NoMemory),
            Err(PushError::Full) => {
                debug_assert!(
                    false,
                    "a service said {} bytes and there was room for {}",
                    bytes.len(),
                    self.line.outbox.room()
                );
                self.failed = Some(CloseReason::OutboxFull);
            }
        }
    }
}

impl<N: Net> Transport for StreamTransport<'_, N> {
    #[inline]
    fn send(&mut self, bytes: &[u8]) {
        if self.is_mute {
            return;
        }
        let mut sent = 0;
        if self.may_write() && !bytes.is_empty() {
            let result = self.net.write(&mut self.line.stream, bytes);
            sent = self.settle(result, bytes.len());
        }
        if sent < bytes.len() {
            self.keep(&bytes[sent..]);
        }
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) {
        if self.is_mute {
            return;
        }
        let size = pieces.iter().map(|piece| piece.len()).sum();
        let mut sent = 0;
        if self.may_write() && size > 0 {
            let result = self.net.write_vectored(&mut self.line.stream, pieces);
            sent = self.settle(result, size);
        }
        for piece in pieces {
            let skipped = sent.min(piece.len());
            sent -= skipped;
            self.keep(&piece[skipped..]);
        }
    }

    /// No room if our side has ended: the output would be discarded.
    fn room(&self) -> usize {
        if self.is_mute {
            0
        } else {
            self.line.outbox.room()
        }
    }

    fn hold_input(&mut self, is_held: bool) {
        self.line.is_held = is_held;
    }

    fn local(&self) -> Option<Peer> {
        self.net.local(&self.line.stream).ok()
    }

    fn waited_unread(&self) -> Option<Duration> {
        self.net.waited_unread()
    }

    fn clock(&mut self) -> Time {
        self.net.now()
    }

    fn wall_clock(&mut self) -> Duration {
        self.net.wall_clock()
    }

    fn set_alarm(&mut self, at: Time) {
        self.line.alarm = at;
        self.line.is_retimed = true;
    }
}
