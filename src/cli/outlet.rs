//! Output that cannot stop the loop.
//!
//! Standard output and standard error may be pipes that nobody reads, and a write to such a pipe waits for ever. So the loop leaves
//! its lines in a bounded queue, and a thread of its own does the waiting. What does not fit is dropped, counted, and said.
//!
//! ```text
//!   loop ── push ──▶ queue (QUEUE_BYTES) ──▶ writer thread ──▶ standard output
//!              └─ full: dropped, counted
//! ```
//!
//! Tests: below; `tests/stuck_output.rs` with the real binary.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that may wait for a slow reader.
const QUEUE_BYTES: usize = 1024 * 1024;

/// How long the end of the program waits for what is still queued.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// The near end of an outlet. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u8>,
    /// Lines dropped since the last one that was taken.
    dropped: u64,
    /// Whether the writer holds bytes that it has not finished writing.
    is_writing: bool,
    /// The reader is gone: nothing will ever be written again.
    is_broken: bool,
    /// Whom to tell when something has been written, or never will be.
    notice: Option<Notice>,
}

struct Notice(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notice")
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It will be written; before it, so many were dropped.
    Taken { dropped_before: u64 },
    /// It was dropped, as the first of its kind.
    FirstDropped,
    /// It was dropped, as others before it.
    Dropped,
}

impl Queue {
    fn is_busy(&mut self) -> bool {
        !self.is_broken && (self.is_writing || !self.waiting.is_empty())
    }
}

impl Outlet {
    /// An outlet into `sink`, with its writer thread.
    pub(crate) fn new(name: &str, sink: impl Write + Send + 'static) -> io::Result<Outlet> {
        let outlet = Outlet(Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
        }));
        let writer = outlet.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || writer.write_all_into(sink))?;
        Ok(outlet)
    }

    /// Leaves bytes for the writer, whole or not at all. Never waits for the reader. A line that is longer than the queue, as one of a long message
    /// may be, is taken where it is alone, or no reader would ever be fast enough for it.
    pub(crate) fn push(&self, bytes: &[u8]) -> Pushed {
        self.push_into(self.lock(), bytes)
    }

    /// The same, behind a note of how many were dropped before, where any were. Both or neither: a note that did not fit would take its number
    /// with it.
    pub(crate) fn push_noting(&self, bytes: &[u8], note: impl FnOnce(u64) -> String) -> Pushed {
        let queue = self.lock();
        match queue.dropped {
            0 => self.push_into(queue, bytes),
            dropped => self.push_into(queue, &[note(dropped).as_bytes(), bytes].concat()),
        }
    }

    fn push_into(&self, mut queue: MutexGuard<'_, Queue>, bytes: &[u8]) -> Pushed {
        let is_full = queue.waiting.len() + bytes.len() > QUEUE_BYTES && !queue.waiting.is_empty();
        if queue.is_broken || is_full {
            queue.dropped += 1;
            return if queue.dropped == 1 && !queue.is_broken {
                Pushed::FirstDropped
            } else {
                Pushed::Dropped
            };
        }
        queue.waiting.extend_from_slice(bytes);
        self.0.changed.notify_all();
        Pushed::Taken {
            dropped_before: std::mem::take(&mut queue.dropped),
        }
    }

    /// Whether `size` more bytes can be pushed now. Where not, `notice` is called, once, when there is more room, or will never be any.
    pub(crate) fn has_room(&self, size: usize, notice: impl FnOnce() + Send + 'static) -> bool {
        let mut queue = self.lock();
        if queue.is_broken {
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

    /// Waits until all is written, or the reader is gone, however long that takes.
    pub(crate) fn finish(&self) {
        drop(
            self.0
                .changed
                .wait_while(self.lock(), Queue::is_busy)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Whether the reader is gone.
    pub(crate) fn is_broken(&self) -> bool {
        self.lock().is_broken
    }

    /// Waits, for a bounded time, until all is written. Returns how many lines were dropped and not yet reported.
    pub(crate) fn close(&self) -> u64 {
        let (queue, _) = self
            .0
            .changed
            .wait_timeout_while(self.lock(), CLOSE_TIME, Queue::is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        queue.dropped
    }

    /// The writer thread: takes all that waits, writes it without holding the lock.
    fn write_all_into(&self, mut sink: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut queue = self
                .0
                .changed
                .wait_while(self.lock(), |queue| queue.waiting.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut queue.waiting, &mut taken);
            queue.is_writing = true;
            drop(queue);
            let written = sink.write_all(&taken).and_then(|()| sink.flush());
            taken.clear();
            let mut queue = self.lock();
            queue.is_writing = false;
            queue.is_broken = written.is_err();
            self.0.changed.notify_all();
            let (notice, is_broken) = (queue.notice.take(), queue.is_broken);
            drop(queue);
            if let Some(Notice(call)) = notice {
                call();
            }
            if is_broken {
                return;
            }
        }
    }

    /// A panic of the other thread leaves a queue that is still whole.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (far, near) = UnixStream::pair().unwrap();
        let outlet = Outlet::new("test", near).unwrap();
        for line in 0..1000 {
            assert_eq!(
                outlet.push(format!("{line}\n").as_bytes()),
                Pushed::Taken { dropped_before: 0 }
            );
        }
        assert_eq!(outlet.close(), 0);
        let expected: String = (0..1000).map(|line| format!("{line}\n")).collect();
        let mut got = vec![0; expected.len()];
        io::Read::read_exact(&mut { far }, &mut got).unwrap();
        assert_eq!(got, expected.as_bytes());
    }

    /// A sink that takes the first write and never returns from it.
    struct Stuck;

    impl Write for Stuck {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            loop {
                thread::park();
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_number_of_dropped_lines_is_kept_until_its_note_fits() {
        let outlet = Outlet::new("test", Stuck).unwrap();
        outlet.push(b"taken by the writer");
        while !outlet.lock().waiting.is_empty() {
            thread::yield_now();
        }
        let note = |dropped| format!("{dropped} before this one");
        assert_eq!(
            outlet.push_noting(&[b'x'; QUEUE_BYTES - 10], note),
            Pushed::Taken { dropped_before: 0 }
        );
        assert_eq!(
            outlet.push_noting(b"longer than ten", note),
            Pushed::FirstDropped
        );
        assert_eq!(
            outlet.push_noting(b"longer than ten", note),
            Pushed::Dropped
        );
        assert_eq!(
            outlet.push_noting(b"short", note),
            Pushed::Dropped,
            "it would fit, its note would not"
        );
        outlet.lock().waiting.clear();
        assert_eq!(
            outlet.push_noting(b"short", note),
            Pushed::Taken { dropped_before: 3 }
        );
        assert_eq!(outlet.lock().waiting, b"3 before this oneshort");
    }

    #[test]
    fn a_line_longer_than_the_queue_is_taken_where_it_is_alone() {
        let outlet = Outlet::new("test", Stuck).unwrap();
        outlet.push(b"taken by the writer");
        while !outlet.lock().waiting.is_empty() {
            thread::yield_now();
        }
        let line = vec![b'x'; 2 * QUEUE_BYTES];
        assert_eq!(outlet.push(&line), Pushed::Taken { dropped_before: 0 });
        assert_eq!(outlet.push(&line), Pushed::FirstDropped);
        assert_eq!(outlet.push(b"x"), Pushed::Dropped);
        assert_eq!(outlet.lock().waiting.len(), line.len());
    }

    #[test]
    fn a_reader_that_never_reads_costs_a_bounded_queue_and_is_told_the_count() {
        let (far, near) = UnixStream::pair().unwrap();
        let outlet = Outlet::new("test", near).unwrap();
        let line = [b'x'; 4096];
        let first = (0..100_000).find(|_| outlet.push(&line) == Pushed::FirstDropped);
        assert!(first.is_some(), "a million lines cannot all fit");
        assert_eq!(outlet.push(&line), Pushed::Dropped);
        assert!(outlet.lock().waiting.len() <= QUEUE_BYTES);
        drop(far);
        assert!(outlet.close() >= 2);
        assert!(outlet.is_broken());
        assert_eq!(outlet.push(&line), Pushed::Dropped);
    }
}
