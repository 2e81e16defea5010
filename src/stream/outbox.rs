//! Bytes that a peer is owed and its socket has refused.
//!
//! Owns at most [`LIMIT`] bytes for each connection, and none at all while nothing is owed: the buffer is allocated with the
//! first refused byte and released with the last one. Must never grow past its limit, whoever asks.
//!
//! There is one mark where other servers have a high and a low one: **who is owed is not read from**. While anything stands here
//! the connection reads nothing, so an answer of the size of its request always finds the whole outbox free, a peer that never reads costs
//! one outbox at the most, and the kernel's own buffers, a hundred times as large, do the smoothing. A loop that read on under a
//! flood grew to 770 MB in 2.8 s; this rule kept 3.4 MB and echoed 25 times as much.
//!
//! Tests: below; `tests/never_reads.rs` for the memory; `benches/outbox.rs` for the cost.

use crate::values::time::Time;

/// The most that one peer can be owed, in bytes: one full read of the shared buffer, so that an echo always fits.
pub const LIMIT: usize = 64 * 1024;

/// The bytes owed to one peer. Eight bytes of memory while empty.
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<Owed>>);

#[derive(Debug)]
struct Owed {
    bytes: Vec<u8>,
    /// How much of `bytes` has been sent.
    head: usize,
    /// When the peer last took something, or the debt began.
    since: Time,
}

impl Owed {
    /// Makes room for `count` more bytes, which fit. What was sent goes before anything grows, so the buffer never exceeds the limit; it at least
    /// doubles up to there, or small pieces would be copied once for each that follows (1,024 of 64 bytes: 13 µs, and 6 by doubling).
    #[cold]
    fn make_room(&mut self, count: usize) {
        self.bytes.drain(..self.head);
        self.head = 0;
        let needed = self.bytes.len() + count;
        if needed > self.bytes.capacity() {
            let capacity = needed.max(2 * self.bytes.capacity()).min(LIMIT);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }
}

impl Outbox {
    /// Whether nothing is owed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes owed.
    pub fn len(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |owed| owed.bytes.len() - owed.head)
    }

    /// Bytes that may still be added.
    pub fn room(&self) -> usize {
        LIMIT - self.len()
    }

    /// When the peer last took something of what it is owed; [`Time::NEVER`] while nothing is owed.
    #[inline]
    pub fn stalled_since(&self) -> Time {
        self.0.as_ref().map_or(Time::NEVER, |owed| owed.since)
    }

    /// Adds bytes behind those that are owed already.
    ///
    /// # Errors
    ///
    /// Adds nothing and returns [`Full`] where they would not fit whole.
    pub fn push(&mut self, bytes: &[u8], now: Time) -> Result<(), Full> {
        if bytes.len() > self.room() {
            return Err(Full);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let owed = self.0.get_or_insert_with(|| {
            Box::new(Owed {
                bytes: Vec::new(),
                head: 0,
                since: now,
            })
        });
        if owed.bytes.len() + bytes.len() > owed.bytes.capacity() {
            owed.make_room(bytes.len());
        }
        owed.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// What is to be sent next; empty where nothing is owed.
    pub fn pending(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |owed| &owed.bytes[owed.head..])
    }

    /// Notes that the socket took the first `count` pending bytes, and releases the buffer with the last of them.
    pub fn sent(&mut self, count: usize, now: Time) {
        let Some(owed) = &mut self.0 else { return };
        debug_assert!(
            owed.head + count <= owed.bytes.len(),
            "more was sent than was owed"
        );
        owed.head += count;
        owed.since = now;
        if owed.head >= owed.bytes.len() {
            self.0 = None;
        }
    }
}

/// An outbox has no room for what was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time::ZERO;

    #[test]
    fn an_empty_outbox_owns_no_buffer() {
        assert_eq!(size_of::<Outbox>(), 8);
        let mut outbox = Outbox::default();
        assert!(outbox.is_empty() && outbox.0.is_none());
        outbox.push(b"", NOW).unwrap();
        assert!(outbox.is_empty(), "nothing is not a debt");
        outbox.push(b"abc", NOW).unwrap();
        outbox.sent(3, NOW);
        assert!(outbox.0.is_none());
    }

    #[test]
    fn what_does_not_fit_whole_is_refused_whole() {
        let mut outbox = Outbox::default();
        outbox.push(&[1; LIMIT - 1], NOW).unwrap();
        assert_eq!(outbox.push(&[2; 2], NOW), Err(Full));
        assert_eq!(outbox.len(), LIMIT - 1);
        outbox.push(&[2; 1], NOW).unwrap();
        assert_eq!(outbox.room(), 0);
    }

    #[test]
    fn the_stall_clock_starts_with_the_debt_and_restarts_with_progress() {
        let (later, latest) = (NOW + Duration::from_secs(1), NOW + Duration::from_secs(2));
        let mut outbox = Outbox::default();
        assert_eq!(outbox.stalled_since(), Time::NEVER);
        outbox.push(b"ab", NOW).unwrap();
        outbox.push(b"cd", later).unwrap();
        assert_eq!(outbox.stalled_since(), NOW, "more debt is no progress");
        outbox.sent(1, latest);
        assert_eq!(outbox.stalled_since(), latest);
    }

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_they_came(steps in prop::collection::vec((any::<bool>(), 0usize..40_000), 1..100)) {
            let (mut outbox, mut model, mut next) = (Outbox::default(), VecDeque::new(), 0u8);
            for (push, count) in steps {
                if push {
                    let bytes: Vec<u8> = (0..count).map(|_| { next = next.wrapping_add(1); next }).collect();
                    match outbox.push(&bytes, NOW) {
                        Ok(()) => model.extend(bytes),
                        Err(Full) => prop_assert!(model.len() + count > LIMIT),
                    }
                } else {
                    let count = count.min(model.len());
                    outbox.sent(count, NOW);
                    model.drain(..count);
                }
                prop_assert!(outbox.pending().iter().eq(model.iter()));
                prop_assert_eq!(outbox.len() + outbox.room(), LIMIT);
                prop_assert!(outbox.0.as_ref().is_none_or(|owed| owed.bytes.capacity() <= LIMIT), "the buffer outgrew the limit");
            }
        }
    }
}
