//! The connections of one generator.
//!
//! Owns how many there are in which state, and which slots have none. Written by the callers, read
//! by the generator. Must never know a message.

use std::cell::{Cell, RefCell};

use crate::values::error::CloseReason;
use crate::values::time::Time;

/// Why a slot has no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) enum Vacancy {
    /// It has done what it was for.
    Done,
    /// It ended before its time, but had answered.
    Used,
    /// It failed.
    Failed,
    /// The target has no room for it now, and nothing tells when it has.
    Blocked,
}

/// The connections of one generator.
#[derive(Debug)]
pub(in crate::load) struct Roster {
    /// Connections whose first attempt has not come to an end.
    untried: Cell<u64>,
    /// Those that are being made, and those that are open.
    connecting: Cell<usize>,
    open: Cell<usize>,
    /// Since when connections fail, one after the other.
    failing_since: Cell<Time>,
    /// Whether any connection was ever made.
    has_opened: Cell<bool>,
    /// Whether anything ever came back.
    has_heard: Cell<bool>,
    /// Whether the network said that nobody listens where a datagram went.
    is_refused: Cell<bool>,
    /// Why the last connection ended that was still needed.
    closed: Cell<Option<CloseReason>>,
    /// Slots whose connection is over.
    vacant: RefCell<Vec<(usize, Vacancy)>>,
}

impl Roster {
    /// With so many connections that must be tried before the run begins.
    pub(super) fn new(untried: u64) -> Roster {
        Roster {
            untried: Cell::new(untried),
            connecting: Cell::new(0),
            open: Cell::new(0),
            failing_since: Cell::new(Time::NEVER),
            has_opened: Cell::new(false),
            has_heard: Cell::new(false),
            is_refused: Cell::new(false),
            closed: Cell::new(None),
            vacant: RefCell::default(),
        }
    }

    pub(in crate::load) fn untried(&self) -> u64 {
        self.untried.get()
    }

    pub(in crate::load) fn connecting(&self) -> usize {
        self.connecting.get()
    }

    pub(in crate::load) fn open(&self) -> usize {
        self.open.get()
    }

    pub(in crate::load) fn failing_since(&self) -> Time {
        self.failing_since.get()
    }

    pub(in crate::load) fn has_opened(&self) -> bool {
        self.has_opened.get()
    }

    /// Why the last connection ended that was still needed.
    pub(in crate::load) fn closed(&self) -> Option<CloseReason> {
        self.closed.get()
    }

    /// Whether nobody listens where datagrams are sent to: their connections are never made, and so
    /// cannot fail.
    pub(in crate::load) fn is_hopeless(&self) -> bool {
        self.is_refused.get() && !self.has_heard.get()
    }

    /// The outcome of the first attempt at a connection is known.
    pub(in crate::load) fn tried(&self, is_first: bool) {
        self.untried.set(self.untried.get() - u64::from(is_first));
    }

    /// A connection was begun.
    pub(in crate::load) fn begun(&self) {
        self.connecting.set(self.connecting.get() + 1);
    }

    /// It was made.
    pub(in crate::load) fn made(&self) {
        self.connecting.set(self.connecting.get() - 1);
        self.open.set(self.open.get() + 1);
        self.has_opened.set(true);
    }

    /// It is over. `was_open` says whether it was ever made.
    pub(in crate::load) fn gone(&self, was_open: bool) {
        let count = if was_open {
            &self.open
        } else {
            &self.connecting
        };
        count.set(count.get() - 1);
    }

    /// It is over, for `reason`, and was still needed.
    pub(in crate::load) fn missed(&self, reason: CloseReason) {
        self.closed.set(Some(reason));
    }

    /// A slot has no connection any more.
    pub(in crate::load) fn vacate(&self, slot: usize, vacancy: Vacancy) {
        self.vacant.borrow_mut().push((slot, vacancy));
    }

    /// The slots without a connection; to be given back empty with [`Roster::keep`].
    pub(in crate::load) fn vacant(&self) -> Vec<(usize, Vacancy)> {
        self.vacant.take()
    }

    /// Keeps the memory of an empty list.
    pub(in crate::load) fn keep(&self, empty: Vec<(usize, Vacancy)>) {
        *self.vacant.borrow_mut() = empty;
    }

    /// Something came back.
    #[inline]
    pub(in crate::load) fn heard(&self) {
        self.has_heard.set(true);
    }

    /// The target works.
    #[inline]
    pub(in crate::load) fn works(&self) {
        self.failing_since.set(Time::NEVER);
    }

    /// A connection failed.
    pub(in crate::load) fn fails(&self, now: Time) {
        if self.failing_since.get() == Time::NEVER {
            self.failing_since.set(now);
        }
    }

    /// The network said that nobody listens.
    pub(in crate::load) fn refused(&self) {
        self.is_refused.set(true);
    }
}
