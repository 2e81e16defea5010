//! The table of everything that the loop waits for: listeners, connections, datagram sockets,
//! signals and the waker alike.
//!
//! Owns each source with its generation, its readiness and its alarm. It never does I/O and never
//! runs a source. An event reaches its source here: [`Sources::mark`] compares the generation, sets
//! the bits and queues the source once.
//!
//! Tests: below, `tests/simulation/`.

use slab::Slab;

use crate::reactor::run_queue::RunQueue;
use crate::reactor::timer::Timer;
use crate::values::ready::Ready;
use crate::values::time::Time;
use crate::values::token::{Generation, MAX_SOURCES, Token};

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Entry<S> {
    /// Tells this source from earlier ones in the same slot.
    generation: Generation,
    /// What it may do next. Set by events and alarms, cleared by the source itself.
    pub(crate) ready: Ready,
    /// Whether it stands in the run queue.
    queued: bool,
    /// When its alarm fires; an entry of the heap with another time is superseded.
    alarm_at: Time,
    pub(crate) source: S,
}

impl<S> Entry<S> {
    pub(crate) fn is_queued(&self) -> bool {
        self.queued
    }

    /// Whether its alarm fires at `at` or earlier: then there is nothing to ask of
    /// [`Sources::arm`].
    #[inline]
    pub(crate) fn is_armed_for(&self, at: Time) -> bool {
        self.alarm_at <= at
    }
}

/// The table, with the queue and the heap that refer to it.
#[derive(Debug)]
pub(crate) struct Sources<S> {
    entries: Slab<Entry<S>>,
    generation: Generation,
    queue: RunQueue,
    timer: Timer,
}

/// What happened to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// It reached its source.
    Live,
    /// Its source is gone.
    Stale,
}

impl<S> Sources<S> {
    /// A table with room set aside for `capacity` sources: address space, not memory, because pages
    /// are touched as rows are used. A table that grows instead leaves its outgrown copies behind
    /// in the heap, and copies itself while connections wait.
    pub(crate) fn with_capacity(capacity: usize) -> Sources<S> {
        Sources {
            entries: Slab::with_capacity(capacity),
            generation: Generation::FIRST,
            queue: RunQueue::default(),
            timer: Timer::with_capacity(capacity),
        }
    }

    /// The name that the next inserted source will have. A source is registered under it before it
    /// is inserted.
    pub(crate) fn next_token(&self) -> Token {
        Token::new(self.entries.vacant_key(), self.generation)
    }

    /// Adds a source that is `ready` for nothing but the bits given.
    pub(crate) fn insert(&mut self, ready: Ready, source: S) -> Token {
        debug_assert!(
            self.entries.len() < MAX_SOURCES,
            "the limit on connections is below the number of slots"
        );
        let token = self.next_token();
        let slot = self.entries.insert(Entry {
            generation: token.generation(),
            ready,
            queued: false,
            alarm_at: Time::NEVER,
            source,
        });
        debug_assert_eq!(slot, token.slot());
        self.generation = self.generation.next();
        token
    }

    /// The row that a token names, if its source is still there.
    pub(crate) fn get(&self, token: Token) -> Option<&Entry<S>> {
        let entry = self.entries.get(token.slot());
        entry.filter(|entry| entry.generation == token.generation())
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Entry<S>> {
        find(&mut self.entries, token)
    }

    /// Replaces a source by another one under the same token. `filler` is in the row meanwhile.
    pub(crate) fn replace(&mut self, token: Token, filler: S, change: impl FnOnce(S) -> S) {
        if let Some(entry) = self.get_mut(token) {
            let source = std::mem::replace(&mut entry.source, filler);
            entry.source = change(source);
        }
    }

    /// Takes a source out. Events, queue entries and alarms that still name it find nothing from
    /// now on.
    pub(crate) fn remove(&mut self, token: Token) -> Option<S> {
        self.get_mut(token)?;
        Some(self.entries.remove(token.slot()).source)
    }

    /// Adds readiness to a source and queues it, once. No I/O, nothing created or destroyed.
    #[inline]
    pub(crate) fn mark(&mut self, token: Token, ready: Ready) -> Marked {
        let Some(entry) = find(&mut self.entries, token) else {
            return Marked::Stale;
        };
        entry.ready |= ready;
        if !entry.queued {
            entry.queued = true;
            self.queue.push(token);
        }
        Marked::Live
    }

    /// Closes the list of the sources that run in this turn.
    #[inline]
    pub(crate) fn begin_turn(&mut self) {
        self.queue.begin_turn();
    }

    /// Whether sources of this turn have not run yet.
    #[inline]
    pub(crate) fn has_rest(&self) -> bool {
        self.queue.has_rest()
    }

    /// Takes the next source of this turn off the queue. It may have left since it was queued: see
    /// [`Sources::enter`].
    #[inline]
    pub(crate) fn dequeue(&mut self) -> Option<Token> {
        self.queue.pop()
    }

    /// The row of a source that was taken off the queue, if it is still there; from now on it can
    /// be queued again.
    #[inline]
    pub(crate) fn enter(&mut self, token: Token) -> Option<&mut Entry<S>> {
        let entry = self.get_mut(token)?;
        entry.queued = false;
        Some(entry)
    }

    /// Asks for an alarm at `at` or earlier. An alarm that is set for an earlier time is left: when
    /// it fires, the source asks again.
    #[cold]
    pub(crate) fn arm(&mut self, token: Token, at: Time) {
        let Some(entry) = self.get_mut(token).filter(|entry| !entry.is_armed_for(at)) else {
            return;
        };
        entry.alarm_at = at;
        let entries = &self.entries;
        self.timer.set(token, at, entries.len(), |token, at| {
            entries
                .get(token.slot())
                .is_some_and(|entry| entry.generation == token.generation() && entry.alarm_at == at)
        });
    }

    /// Marks sources whose alarms are due, at most `most` of them, in the order of their deadlines.
    /// Those that are left stay in the heap, where [`Sources::next_alarm`] keeps the loop from
    /// sleeping. Returns whether there are any.
    pub(crate) fn mark_due(&mut self, now: Time, most: usize) -> bool {
        for _ in 0..most {
            let Some((token, at)) = self.timer.pop_due(now) else {
                return false;
            };
            let entry = self.get_mut(token).filter(|entry| entry.alarm_at == at);
            if let Some(entry) = entry {
                entry.alarm_at = Time::NEVER;
                self.mark(token, Ready::ALARM);
            }
        }
        self.timer.next() <= now
    }

    /// The time of the next alarm.
    #[inline]
    pub(crate) fn next_alarm(&self) -> Time {
        self.timer.next()
    }

    /// Whether any source is runnable: the loop must not sleep then.
    #[inline]
    pub(crate) fn is_runnable(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Every source with its token and whether it is queued.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Token, &Entry<S>)> {
        self.entries
            .iter()
            .map(|(slot, entry)| (Token::new(slot, entry.generation), entry))
    }

    /// The tokens of all sources, for loops that change the table as they go.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.iter().map(|(token, _)| token).collect()
    }
}

/// A free function, so that the queue can be used while the row is borrowed.
#[inline]
fn find<S>(entries: &mut Slab<Entry<S>>, token: Token) -> Option<&mut Entry<S>> {
    entries
        .get_mut(token.slot())
        .filter(|entry| entry.generation == token.generation())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(nanos: u64) -> Time {
        Time::ZERO + Duration::from_nanos(nanos)
    }

    #[test]
    fn a_stale_event_does_not_reach_the_next_owner_of_a_slot() {
        let mut sources = Sources::with_capacity(0);
        let first = sources.insert(Ready::NONE, "first");
        sources.remove(first);
        let second = sources.insert(Ready::NONE, "second");
        assert_eq!(
            first.slot(),
            second.slot(),
            "the slab reuses the slot at once"
        );
        assert_eq!(sources.mark(first, Ready::READABLE), Marked::Stale);
        assert_eq!(sources.mark(second, Ready::READABLE), Marked::Live);
        assert_eq!(sources.get_mut(second).unwrap().ready, Ready::READABLE);
        assert!(sources.get_mut(first).is_none() && sources.remove(first).is_none());
    }

    #[test]
    fn a_source_is_queued_once_however_often_it_is_marked() {
        let mut sources = Sources::with_capacity(0);
        let token = sources.insert(Ready::NONE, ());
        sources.mark(token, Ready::READABLE);
        sources.mark(token, Ready::WRITABLE);
        sources.begin_turn();
        assert_eq!((sources.dequeue(), sources.dequeue()), (Some(token), None));
        assert_eq!(
            sources.enter(token).unwrap().ready,
            Ready::READABLE | Ready::WRITABLE
        );
        sources.mark(token, Ready::NONE);
        assert!(
            sources.is_runnable(),
            "off the queue it can be queued again"
        );
    }

    #[test]
    fn a_source_that_left_while_queued_is_passed_over() {
        let mut sources = Sources::with_capacity(0);
        let token = sources.insert(Ready::NONE, ());
        sources.mark(token, Ready::READABLE);
        sources.remove(token);
        sources.begin_turn();
        assert_eq!(sources.dequeue(), Some(token));
        assert!(sources.enter(token).is_none());
        assert!(!sources.is_runnable());
    }

    #[test]
    fn an_alarm_fires_once_and_at_its_earliest_time() {
        let mut sources = Sources::with_capacity(0);
        let token = sources.insert(Ready::NONE, ());
        sources.arm(token, at(100));
        sources.arm(token, at(50));
        sources.arm(token, at(70));
        assert_eq!(sources.next_alarm(), at(50));
        sources.mark_due(at(49), usize::MAX);
        assert!(!sources.is_runnable());
        sources.mark_due(at(200), usize::MAX);
        sources.begin_turn();
        assert_eq!(sources.dequeue(), Some(token));
        assert!(sources.enter(token).unwrap().ready.take(Ready::ALARM));
        assert!(!sources.is_runnable(), "the superseded alarm is skipped");
        assert_eq!(sources.next_alarm(), Time::NEVER);
    }

    #[test]
    fn the_alarm_of_a_source_that_is_gone_does_not_wake_its_successor() {
        let mut sources = Sources::with_capacity(0);
        let token = sources.insert(Ready::NONE, ());
        sources.arm(token, at(10));
        sources.remove(token);
        sources.insert(Ready::NONE, ());
        sources.mark_due(at(10), usize::MAX);
        assert!(!sources.is_runnable());
    }

    #[test]
    fn connections_that_come_and_go_under_long_timeouts_do_not_fill_the_heap() {
        let mut sources = Sources::with_capacity(0);
        for _ in 0..10_000 {
            let token = sources.insert(Ready::NONE, ());
            sources.arm(token, at(1_000_000));
            sources.remove(token);
        }
        assert!(
            sources.timer.len() <= 65,
            "{} entries for no source",
            sources.timer.len()
        );
    }

    #[test]
    fn alarms_past_the_budget_of_a_turn_are_due_in_the_next() {
        let mut sources = Sources::with_capacity(0);
        let tokens: Vec<Token> = (0..10).map(|_| sources.insert(Ready::NONE, ())).collect();
        for (index, token) in tokens.iter().enumerate() {
            sources.arm(*token, at(100 + index as u64));
        }
        let mut ran = Vec::new();
        while sources.next_alarm() <= at(1000) {
            sources.mark_due(at(1000), 4);
            sources.begin_turn();
            let before = ran.len();
            ran.extend(std::iter::from_fn(|| sources.dequeue()));
            assert!(ran.len() - before <= 4);
        }
        assert_eq!(ran, tokens, "all, in the order of their deadlines");
    }
}
