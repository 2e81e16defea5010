//! Output that cannot stop the loop.
//!
//! Standard output and standard error may be pipes that nobody reads, and a write to such a pipe
//! blocks for ever. So the loop leaves its lines in a bounded queue, and a thread of its own writes
//! them.
//!
//! ```text
//!   loop ── push ──▶ queue (QUEUE_BYTES) ──▶ writer thread ──▶ standard output
//!              └─ full: dropped, counted        └─ an error that may pass: retried
//! ```
//!
//! Owns what becomes of a line. It must never write a part of a line without its rest, and never
//! lose a line without counting it: a note stands in the output where lines are missing.
//!
//! Tests: `tests.rs` beside this file; `tests/stuck_output.rs` with the real binary.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::sink::{Retry, Sink};

/// Bytes that may wait for a slow reader.
const QUEUE_BYTES: usize = 1024 * 1024;

/// Bytes of one write: what has left is known in steps of this size.
const CHUNK: usize = 64 * 1024;

/// How long the end of the program waits for what is still queued.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// How soon a write is tried again after an error that may pass; twice as late after each
/// further one.
const RETRY: Duration = Duration::from_millis(100);

/// How late at most.
const RETRY_MOST: Duration = Duration::from_secs(1);

/// How long the writer lets lines gather before it looks for more. While it is awake, a push makes
/// no system call: a wake-up for each line cost the loop about 10 µs a datagram. With this pause
/// there are at most 1,000 wake-ups a second, and a line is printed at most so much later.
const GATHER: Duration = Duration::from_millis(1);

/// The near end of an outlet. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(Arc<Core>);

#[derive(Debug)]
struct Core {
    content: Content,
    queue: Mutex<State>,
    /// For the writer: there is something to write.
    filled: Condvar,
    /// For all other threads: something was written, or never will be.
    settled: Condvar,
}

/// What the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Lines. One that does not fit is dropped, and the next one may fit again.
    Lines,
    /// Bytes that need each other. The pusher asks for room first, and an error that is not a full
    /// pipe is final.
    Bytes,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines in `waiting`.
    lines: u64,
    /// Lines that the writer has taken and not finished.
    lines_taken: u64,
    /// Whether the writer holds bytes that it has not finished writing.
    is_writing: bool,
    /// Whether the writer must be woken. The push that wakes it clears this.
    is_asleep: bool,
    /// Lines dropped since the last note.
    unnoted: u64,
    /// Lines dropped in all.
    dropped: u64,
    /// Why the last write failed that is tried again.
    failing: Option<io::Error>,
    /// Why nothing will ever be written again.
    ended: Option<io::Error>,
    /// What to call when something has been written, or never will be.
    notice: Option<Notice>,
}

struct Notice(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notice")
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits for the writer.
    Taken,
    /// It did not fit.
    Dropped,
    /// The reader is gone, and nobody misses it.
    Unwanted,
}

/// What an outlet did not write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unwritten {
    /// Lines that did not fit.
    pub(crate) dropped: u64,
    /// Lines that still waited for the reader at the end.
    pub(crate) waiting: u64,
}

impl State {
    fn is_busy(&mut self) -> bool {
        self.ended.is_none() && (self.is_writing || !self.waiting.is_empty())
    }

    /// Says where lines are missing. No printed line and no log line looks like it: the one has a
    /// sender and a colon, the other a time.
    fn add_note(&mut self) {
        let note = match mem::take(&mut self.unnoted) {
            0 => return,
            1 => "[1 line was dropped here]\n".to_owned(),
            count => format!("[{count} lines were dropped here]\n"),
        };
        self.waiting.extend_from_slice(note.as_bytes());
    }
}

impl Outlet {
    /// An outlet of lines, with its writer thread.
    pub(super) fn lines(name: &str, sink: impl Sink + 'static) -> io::Result<Outlet> {
        Outlet::new(Content::Lines, name, sink)
    }

    /// An outlet of bytes that must not be lost: ask [`has_room`](Outlet::has_room) first.
    pub(super) fn bytes(name: &str, sink: impl Sink + 'static) -> io::Result<Outlet> {
        Outlet::new(Content::Bytes, name, sink)
    }

    fn new(content: Content, name: &str, sink: impl Sink + 'static) -> io::Result<Outlet> {
        let outlet = Outlet(Arc::new(Core {
            content,
            queue: Mutex::default(),
            filled: Condvar::new(),
            settled: Condvar::new(),
        }));
        let writer = outlet.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || writer.write_into(sink))?;
        Ok(outlet)
    }

    /// Leaves bytes for the writer, whole or not at all. It never waits for the reader. A line that
    /// is longer than the queue, as one of a long message may be, is taken if it is alone:
    /// otherwise no reader would ever be fast enough for it.
    pub(crate) fn push(&self, bytes: &[u8]) -> Pushed {
        let mut queue = self.lock();
        if queue.ended.is_some() {
            return Pushed::Unwanted;
        }
        if queue.waiting.len() + bytes.len() > QUEUE_BYTES && !queue.waiting.is_empty() {
            queue.unnoted += 1;
            queue.dropped += 1;
            return Pushed::Dropped;
        }
        queue.add_note();
        queue.waiting.extend_from_slice(bytes);
        queue.lines += lines_in(bytes).max(1);
        if mem::take(&mut queue.is_asleep) {
            drop(queue);
            self.0.filled.notify_one();
        }
        Pushed::Taken
    }

    /// Whether `size` more bytes can be pushed now. If not, `notice` is called, once, when there is
    /// more room, or will never be any.
    pub(crate) fn has_room(&self, size: usize, notice: impl FnOnce() + Send + 'static) -> bool {
        let mut queue = self.lock();
        if queue.ended.is_some() {
            drop(queue);
            notice();
            return false;
        }
        let has_room = queue.waiting.len() + size <= QUEUE_BYTES;
        if !has_room {
            queue.notice = Some(Notice(Box::new(notice)));
        }
        has_room
    }

    /// Waits until all is written, or never will be, however long that takes.
    pub(crate) fn finish(&self) {
        let queue = self.0.settled.wait_while(self.lock(), State::is_busy);
        drop(queue.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits, for a bounded time, until all is written. Returns what was not. Nothing counts after
    /// the reader has gone: it has seen enough.
    pub(crate) fn close(&self) -> Unwritten {
        let (queue, _) = self
            .0
            .settled
            .wait_timeout_while(self.lock(), CLOSE_TIME, State::is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        match queue.ended {
            Some(_) => Unwritten::default(),
            None => Unwritten {
                dropped: queue.dropped,
                waiting: queue.lines + queue.lines_taken,
            },
        }
    }

    /// Whether nothing will ever be written again.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Why nothing will ever be written again, unless it is that the reader has seen enough.
    pub(crate) fn failure(&self) -> Option<String> {
        let queue = self.lock();
        let error = queue.ended.as_ref()?;
        (Retry::after(error) != Retry::Never).then(|| error.to_string())
    }

    /// Why lines are dropped.
    pub(crate) fn reason(&self) -> String {
        match &self.lock().failing {
            Some(error) => error.to_string(),
            None => "it is not read fast enough".to_owned(),
        }
    }

    /// The writer thread.
    fn write_into(&self, mut sink: impl Sink) {
        let mut taken = Vec::new();
        loop {
            self.take(&mut taken);
            let written = self.write(&taken, &mut sink);
            taken.clear();
            let mut queue = self.lock();
            queue.is_writing = false;
            queue.lines_taken = 0;
            queue.ended = written.err();
            let (notice, has_ended) = (queue.notice.take(), queue.ended.is_some());
            drop(queue);
            self.0.settled.notify_all();
            if let Some(Notice(call)) = notice {
                call();
            }
            if has_ended {
                return;
            }
            if self.0.content == Content::Lines {
                sink.pause(GATHER);
            }
        }
    }

    /// Waits for something to write and takes all of it.
    fn take(&self, taken: &mut Vec<u8>) {
        let mut queue = self.lock();
        while queue.waiting.is_empty() {
            queue.is_asleep = true;
            let woken = self.0.filled.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
        queue.add_note();
        mem::swap(&mut queue.waiting, taken);
        queue.lines_taken = mem::take(&mut queue.lines);
        queue.is_writing = true;
    }

    /// Writes all of `taken`, as often as it takes. Nothing else is written before it is complete,
    /// so an error in the middle of a line costs time and never a part of the line.
    fn write(&self, mut taken: &[u8], sink: &mut impl Sink) -> io::Result<()> {
        let mut pause = RETRY;
        while !taken.is_empty() {
            let chunk = &taken[..taken.len().min(CHUNK)];
            let error = match sink.write(chunk) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    pause = RETRY;
                    taken = &taken[count..];
                    self.note_progress(&chunk[..count]);
                    continue;
                }
                Err(error) => error,
            };
            match (Retry::after(&error), self.0.content) {
                (Retry::AtOnce, _) => {}
                (Retry::WhenWritable, _) => sink.wait_writable(),
                (Retry::Later, Content::Lines) => {
                    self.lock().failing = Some(error);
                    sink.pause(pause);
                    pause = RETRY_MOST.min(2 * pause);
                }
                (Retry::Later, Content::Bytes) | (Retry::Never, _) => return Err(error),
            }
        }
        Ok(())
    }

    fn note_progress(&self, written: &[u8]) {
        let lines = lines_in(written);
        let mut queue = self.lock();
        queue.failing = None;
        queue.lines_taken = queue.lines_taken.saturating_sub(lines);
    }

    /// A panic of the other thread leaves a queue that is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
