//! A run over time, in columns: how many messages were answered, and how long they took.
//!
//! Owns the picture of a run that fits on a page, whatever its length. A column begins as a tenth
//! of a second; when there are too many, two become one. Must never grow beyond [`COLUMNS`], and
//! never tell a time to better than a fifth: [`Distribution`](super::Distribution) does that.
//!
//! A message stands in the column in which it was meant to be sent, so a stall is a slope: the
//! first message behind it waited for all of it, the last for none.
//!
//! Tests: below.

use std::time::Duration;

/// Columns, at most.
const COLUMNS: usize = 600;

/// The length of a column at first.
const LENGTH: Duration = Duration::from_millis(100);

/// Rows of a column: four for each doubling of the time.
pub const ROWS: usize = 104;

/// The doubling at which the rows begin: 1,024 ns.
const FIRST: u32 = 10;

/// What happened in a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Answers that came in it, or messages that left in it where no answer is expected.
    pub completed: u64,
    /// Messages that were meant to be sent in it and not answered.
    pub unanswered: u64,
    /// The longest response time of those that were.
    pub longest: Duration,
    /// The most that the generator and its limits added to one of them.
    pub added: Duration,
    /// How many were answered, by their response time.
    pub rows: [u32; ROWS],
}

/// The columns of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    length: Duration,
    columns: Vec<Column>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline {
            length: LENGTH,
            columns: Vec::new(),
        }
    }
}

impl Default for Column {
    fn default() -> Column {
        Column {
            completed: 0,
            unanswered: 0,
            longest: Duration::ZERO,
            added: Duration::ZERO,
            rows: [0; ROWS],
        }
    }
}

impl Column {
    /// Messages that were answered.
    pub fn answered(&self) -> u64 {
        self.rows.iter().map(|count| u64::from(*count)).sum()
    }

    /// The time that `percentile` of 100 did not exceed, as the end of its row; `None` where it
    /// lies among the unanswered, or there are none.
    pub fn percentile(&self, percentile: f64) -> Option<Duration> {
        let all = self.answered() + self.unanswered;
        let rank = ((percentile / 100.0 * all as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let row = self.rows.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(row_start(row + 1).min(self.longest))
    }

    fn add(&mut self, other: &Column) {
        self.completed += other.completed;
        self.unanswered += other.unanswered;
        self.longest = self.longest.max(other.longest);
        self.added = self.added.max(other.added);
        for (sum, count) in self.rows.iter_mut().zip(other.rows) {
            *sum = sum.saturating_add(count);
        }
    }
}

/// The row of a response time.
#[inline]
fn row_of(time: Duration) -> usize {
    let nanos = (time.as_nanos() as u64).max(1 << FIRST);
    let doubling = nanos.ilog2();
    let quarter = (nanos >> (doubling - 2)) & 3;
    (((doubling - FIRST) * 4) as usize + quarter as usize).min(ROWS - 1)
}

/// The shortest time of a row; the first one holds shorter ones too, and the last one longer ones.
pub fn row_start(row: usize) -> Duration {
    let (doubling, quarter) = (FIRST + row as u32 / 4, row as u64 % 4);
    Duration::from_nanos((4 + quarter) << (doubling - 2))
}

impl Timeline {
    /// The length of a column.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// The columns, from the beginning of the window on.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The same with at most `most` columns.
    pub fn folded(&self, most: usize) -> Timeline {
        let mut folded = self.clone();
        while folded.columns.len() > most.max(1) {
            folded.fold();
        }
        folded
    }

    /// A message that was meant to be sent `since` the window began was answered.
    #[inline]
    pub(super) fn answered(&mut self, since: Duration, time: Duration, added: Duration) {
        let column = self.at(since);
        column.longest = column.longest.max(time);
        column.added = column.added.max(added);
        let count = &mut column.rows[row_of(time)];
        *count = count.saturating_add(1);
    }

    /// So many were not.
    pub(super) fn unanswered(&mut self, since: Duration, count: u64, added: Duration) {
        let column = self.at(since);
        column.unanswered += count;
        column.added = column.added.max(added);
    }

    /// An answer came `since` the window began, or a message left.
    #[inline]
    pub(super) fn completed(&mut self, since: Duration) {
        self.at(since).completed += 1;
    }

    /// Adds what another generator saw of the same window.
    pub fn add(&mut self, other: &Timeline) {
        while self.length < other.length {
            self.fold();
        }
        for (index, column) in other.columns.iter().enumerate() {
            self.at(other.length * index as u32).add(column);
        }
    }

    #[inline]
    fn at(&mut self, since: Duration) -> &mut Column {
        let mut index = (since.as_nanos() as u64 / self.length.as_nanos() as u64) as usize;
        if index >= self.columns.len() {
            index = self.grow(since);
        }
        &mut self.columns[index]
    }

    #[cold]
    fn grow(&mut self, since: Duration) -> usize {
        loop {
            let index = since.as_nanos() / self.length.as_nanos();
            if index < COLUMNS as u128 {
                let index = index as usize;
                self.columns
                    .resize_with(self.columns.len().max(index + 1), Column::default);
                return index;
            }
            self.fold();
        }
    }

    fn fold(&mut self) {
        self.length *= 2;
        for index in 0..self.columns.len().div_ceil(2) {
            let mut column = std::mem::take(&mut self.columns[2 * index]);
            if let Some(next) = self.columns.get(2 * index + 1) {
                column.add(next);
            }
            self.columns[index] = column;
        }
        self.columns.truncate(self.columns.len().div_ceil(2));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost_whatever_the_length_of_a_run(
            parts in prop::collection::vec(
                prop::collection::vec((0u64..1 << 50, 0u64..1 << 40), 1..40),
                1..4,
            ),
        ) {
            let mut sum = Timeline::default();
            for part in &parts {
                let mut timeline = Timeline::default();
                for (since, time) in part {
                    let (since, time) = (Duration::from_nanos(*since), Duration::from_nanos(*time));
                    timeline.answered(since, time, time);
                    timeline.unanswered(since, 2, Duration::ZERO);
                    timeline.completed(since);
                }
                sum.add(&timeline);
            }
            let all = parts.concat();
            let count = all.len() as u64;
            prop_assert!(sum.columns().len() <= COLUMNS);
            for timeline in [sum.folded(50), sum] {
                let total = |of: fn(&Column) -> u64| timeline.columns().iter().map(of).sum::<u64>();
                prop_assert_eq!(total(Column::answered), count);
                prop_assert_eq!(total(|column| column.unanswered), 2 * count);
                prop_assert_eq!(total(|column| column.completed), count);
                let longest = all.iter().map(|(_, time)| *time).max();
                let seen = timeline.columns().iter().map(|column| column.longest).max();
                prop_assert_eq!(seen, longest.map(Duration::from_nanos));
            }
        }

        #[test]
        fn a_time_stands_in_its_row(nanos in 1u64 << FIRST..1 << 35) {
            let time = Duration::from_nanos(nanos);
            let row = row_of(time);
            prop_assert!(row_start(row) <= time && time < row_start(row + 1));
        }
    }
}
