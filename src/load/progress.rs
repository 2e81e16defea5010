//! How far a run has come, for somebody who watches it.
//!
//! Owns no number of a report: what is told here may be a moment old.

/// How far a generator has come, or several of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What it does.
    pub stage: Doing,
    /// Connections that are open.
    pub open: u64,
    /// How many there are to be.
    pub connections: u64,
    /// Messages that wait for their answers.
    pub unanswered: u64,
    /// About how many messages of an open loop are due and not sent.
    pub overdue: u64,
    /// How much of the window is done, from 0 to 1: of its time, or of its messages.
    pub done: f64,
}

/// What a generator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// It opens its connections.
    Opening,
    /// All are open, or were tried; it waits for the start.
    Waiting,
    /// It works, and nothing is measured yet.
    WarmingUp,
    /// It is measured.
    Measuring,
    /// The window is over; it waits for what is on its way.
    Ending,
}

impl Progress {
    /// Adds another generator, which is as far as the one that is least so.
    pub fn add(&mut self, other: Progress) {
        self.stage = self.stage.min(other.stage);
        let (own, others) = (self.connections as f64, other.connections as f64);
        self.done = (self.done * own + other.done * others) / (own + others).max(1.0);
        self.open += other.open;
        self.connections += other.connections;
        self.unanswered += other.unanswered;
        self.overdue += other.overdue;
    }
}
