//! Pending output: bytes that a socket has refused.
//!
//! Owns at most [`LIMIT`] bytes for each connection, and nothing while no output is pending: the
//! buffer is allocated with the first refused byte and released with the last one. It must never
//! grow past its limit, and never end the process because there is no memory.
//!
//! Other servers have a high-water and a low-water mark. This one has one rule: **the server does
//! not read from a peer that has pending output**. So an answer of the size of its request always
//! finds the whole outbox free, a peer that never reads costs one outbox at most, and the kernel's
//! own buffers, a hundred times as large, do the smoothing. A loop that read on under a flood grew
//! to 770 MB in 2.8 s; this rule kept 3.4 MB and echoed 25 times as much.
//!
//! Tests: below; `tests/never_reads.rs` for the memory; `benches/outbox.rs` for the cost.

use std::collections::TryReserveError;

use crate::values::time::Time;

/// The most that can be pending for one peer, in bytes: one full read of the shared buffer, so that
/// an echo always fits.
pub const LIMIT: usize = 64 * 1024;

/// The pending output of one peer. Eight bytes of memory while empty.
///
/// A box of an array of one, because such a box can be allocated with an error instead of an abort.
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<[Pending; 1]>>);

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    /// How much of `bytes` has been sent.
    head: usize,
    /// When the socket or the peer last took something, or the output became pending.
    since: Time,
    /// What the kernel held for the peer when it was last asked. `None` if it was not asked since
    /// the socket last took something.
    unsent: Option<usize>,
    /// How much of this memory is in the account of all connections.
    accounted: usize,
}

impl Pending {
    /// Makes room for `count` more bytes, which fit. Sent bytes go before anything grows, so the
    /// buffer never exceeds the limit. Up to there it at least doubles, or small pieces would be
    /// copied once for each that follows (1,024 of 64 bytes: 13 µs, and 6 by doubling).
    #[cold]
    fn make_room(
        &mut self,
        count: usize,
        reserve: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), TryReserveError>,
    ) -> Result<(), TryReserveError> {
        self.bytes.drain(..self.head);
        self.head = 0;
        let needed = self.bytes.len() + count;
        if needed <= self.bytes.capacity() {
            return Ok(());
        }
        let capacity = needed.max(2 * self.bytes.capacity()).min(LIMIT);
        let additional = capacity - self.bytes.len();
        reserve(&mut self.bytes, additional)
    }
}

impl Outbox {
    /// Whether no output is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    fn get(&self) -> Option<&Pending> {
        self.0.as_deref().map(|[pending]| pending)
    }

    /// Bytes that are pending.
    pub fn len(&self) -> usize {
        self.pending().len()
    }

    /// Bytes that may still be added.
    pub fn room(&self) -> usize {
        LIMIT - self.len()
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.get()
            .map_or(0, |pending| size_of::<Pending>() + pending.bytes.capacity())
    }

    /// When the pending output last made progress; [`Time::NEVER`] while there is none.
    #[inline]
    pub fn stalled_since(&self) -> Time {
        self.get().map_or(Time::NEVER, |pending| pending.since)
    }

    /// Whether [`Outbox::watch`] has a value to compare with.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.get().is_some_and(|pending| pending.unsent.is_some())
    }

    /// Notes how much the kernel still holds for the peer. Returns whether the peer has taken some
    /// of it since the last call, which is progress.
    pub fn watch(&mut self, unsent: usize, now: Time) -> bool {
        let Some([pending]) = self.0.as_deref_mut() else {
            return false;
        };
        let has_shrunk = pending.unsent.is_some_and(|before| unsent < before);
        pending.unsent = Some(unsent);
        if has_shrunk {
            pending.since = now;
        }
        has_shrunk
    }

    /// Adds bytes behind those that are pending already. `reserve` makes room in the buffer:
    /// [`Vec::try_reserve_exact`], or a substitute that can be made to fail.
    ///
    /// # Errors
    ///
    /// Adds nothing if not all of `bytes` fit, or if there is no memory for them.
    pub fn push(
        &mut self,
        bytes: &[u8],
        now: Time,
        reserve: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), TryReserveError>,
    ) -> Result<(), PushError> {
        if bytes.len() > self.room() {
            return Err(PushError::Full);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let Some([pending]) = self.0.as_deref_mut() else {
            let mut buffer = Vec::new();
            reserve(&mut buffer, bytes.len())?;
            buffer.extend_from_slice(bytes);
            self.0 = Some(boxed(Pending {
                bytes: buffer,
                head: 0,
                since: now,
                unsent: None,
                accounted: 0,
            })?);
            return Ok(());
        };
        if pending.bytes.len() + bytes.len() > pending.bytes.capacity() {
            pending.make_room(bytes.len(), reserve)?;
        }
        pending.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// What is to be sent next; empty if nothing is.
    pub fn pending(&self) -> &[u8] {
        self.get()
            .map_or(&[], |pending| &pending.bytes[pending.head..])
    }

    /// Notes that the socket took the first `count` pending bytes. The last byte releases the
    /// buffer and takes it off `account`.
    pub fn sent(&mut self, count: usize, now: Time, account: &mut usize) {
        let Some([pending]) = self.0.as_deref_mut() else {
            return;
        };
        debug_assert!(
            pending.head + count <= pending.bytes.len(),
            "more was sent than was pending"
        );
        pending.head += count;
        pending.since = now;
        pending.unsent = None;
        if pending.head >= pending.bytes.len() {
            self.release(account);
        }
    }

    /// Forgets all pending output.
    pub fn release(&mut self, account: &mut usize) {
        *account -= self.get().map_or(0, |pending| pending.accounted);
        self.0 = None;
    }

    /// Updates this outbox's share of an account of many outboxes.
    #[cold]
    pub fn settle(&mut self, account: &mut usize) {
        let memory = self.memory();
        if let Some([pending]) = self.0.as_deref_mut() {
            *account = *account - pending.accounted + memory;
            pending.accounted = memory;
        }
    }
}

/// [`Box::new`] aborts without memory; a vector can return an error instead.
fn boxed(pending: Pending) -> Result<Box<[Pending; 1]>, PushError> {
    let mut one = Vec::new();
    one.try_reserve_exact(1)?;
    one.push(pending);
    <Box<[Pending; 1]>>::try_from(one.into_boxed_slice()).map_err(|_| PushError::NoMemory)
}

/// Why nothing was added to an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The bytes do not fit under the limit.
    Full,
    /// The allocator has no memory for them.
    NoMemory,
}

impl From<TryReserveError> for PushError {
    fn from(_: TryReserveError) -> PushError {
        PushError::NoMemory
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time::ZERO;

    fn push(outbox: &mut Outbox, bytes: &[u8]) -> Result<(), PushError> {
        outbox.push(bytes, NOW, Vec::try_reserve_exact)
    }

    #[test]
    fn an_empty_outbox_owns_no_buffer() {
        assert_eq!(size_of::<Outbox>(), 8);
        let (mut outbox, mut account) = (Outbox::default(), 0);
        push(&mut outbox, b"").unwrap();
        assert_eq!(outbox.memory(), 0);
        push(&mut outbox, b"abc").unwrap();
        assert!(outbox.memory() >= 3);
        outbox.sent(3, NOW, &mut account);
        assert!(outbox.is_empty() && outbox.memory() == 0);
    }

    #[test]
    fn what_does_not_fit_whole_is_refused_whole() {
        let mut outbox = Outbox::default();
        push(&mut outbox, &[1; LIMIT - 1]).unwrap();
        assert_eq!(push(&mut outbox, &[2; 2]), Err(PushError::Full));
        assert_eq!(outbox.len(), LIMIT - 1);
        push(&mut outbox, &[2; 1]).unwrap();
        assert_eq!(outbox.room(), 0);
    }

    #[test]
    fn without_memory_nothing_is_added() {
        let no_memory = |_: &mut Vec<u8>, _| Vec::<u8>::new().try_reserve_exact(usize::MAX);
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(b"ab", NOW, no_memory), Err(PushError::NoMemory));
        assert!(outbox.is_empty());
        push(&mut outbox, b"ab").unwrap();
        assert_eq!(outbox.push(b"cd", NOW, no_memory), Err(PushError::NoMemory));
        assert_eq!(outbox.pending(), b"ab");
    }

    #[test]
    fn the_stall_begins_with_the_first_byte_and_anew_with_progress() {
        let (later, latest) = (NOW + Duration::from_secs(1), NOW + Duration::from_secs(2));
        let (mut outbox, mut account) = (Outbox::default(), 0);
        assert_eq!(outbox.stalled_since(), Time::NEVER);
        push(&mut outbox, b"ab").unwrap();
        outbox.push(b"cd", later, Vec::try_reserve_exact).unwrap();
        assert_eq!(outbox.stalled_since(), NOW, "more output is no progress");
        outbox.sent(1, latest, &mut account);
        assert_eq!(outbox.stalled_since(), latest);
    }

    #[test]
    fn what_the_peer_takes_from_the_kernel_is_progress() {
        let later = |seconds| NOW + Duration::from_secs(seconds);
        let (mut outbox, mut account) = (Outbox::default(), 0);
        push(&mut outbox, b"abc").unwrap();
        assert!(!outbox.watch(100, later(1)), "nothing to compare with yet");
        assert!(outbox.is_watched() && !outbox.watch(100, later(2)));
        assert_eq!(outbox.stalled_since(), NOW);
        assert!(outbox.watch(99, later(3)));
        assert_eq!(outbox.stalled_since(), later(3));
        outbox.sent(1, later(4), &mut account);
        assert!(!outbox.is_watched(), "the kernel holds more again");
    }

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_they_came(
            steps in prop::collection::vec((any::<bool>(), 0usize..40_000), 1..100),
        ) {
            let (mut outbox, mut model, mut next) = (Outbox::default(), VecDeque::new(), 0u8);
            let mut account = 0;
            for (is_push, count) in steps {
                if is_push {
                    let bytes: Vec<u8> = (0..count)
                        .map(|_| { next = next.wrapping_add(1); next })
                        .collect();
                    match push(&mut outbox, &bytes) {
                        Ok(()) => model.extend(bytes),
                        Err(error) => {
                            prop_assert_eq!(error, PushError::Full);
                            prop_assert!(model.len() + count > LIMIT);
                        }
                    }
                    outbox.settle(&mut account);
                } else {
                    let count = count.min(model.len());
                    outbox.sent(count, NOW, &mut account);
                    model.drain(..count);
                }
                prop_assert!(outbox.pending().iter().eq(model.iter()));
                prop_assert_eq!(outbox.len() + outbox.room(), LIMIT);
                prop_assert_eq!(outbox.memory(), account);
                prop_assert!(account <= LIMIT + size_of::<Pending>(), "it outgrew the limit");
            }
        }
    }
}
