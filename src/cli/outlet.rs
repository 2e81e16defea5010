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
//! Tests: below; `tests/stuck_output.rs` with the real binary.

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
        queue.lines += 1;
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
        let lines = written.iter().filter(|byte| **byte == b'\n').count() as u64;
        let mut queue = self.lock();
        queue.failing = None;
        queue.lines_taken = queue.lines_taken.saturating_sub(lines);
    }

    /// A panic of the other thread leaves a queue that is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use rustix::io::Errno;

    use super::*;
    use crate::cli::sink::Descriptor;

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (far, near) = UnixStream::pair().unwrap();
        let outlet = Outlet::lines("test", Descriptor(near)).unwrap();
        for line in 0..1000 {
            assert_eq!(outlet.push(format!("{line}\n").as_bytes()), Pushed::Taken);
        }
        assert_eq!(outlet.close(), Unwritten::default());
        let expected: String = (0..1000).map(|line| format!("{line}\n")).collect();
        let mut got = vec![0; expected.len()];
        io::Read::read_exact(&mut { far }, &mut got).unwrap();
        assert_eq!(got, expected.as_bytes());
    }

    /// What the writer asked of a scripted sink.
    #[derive(Debug, PartialEq)]
    enum Call {
        Write(String),
        WaitWritable,
        Pause(Duration),
    }

    /// Answers each call as its script says, when the test says so.
    struct Script {
        calls: mpsc::Sender<Call>,
        /// How much the next write takes, or its error.
        answers: mpsc::Receiver<Result<usize, Errno>>,
    }

    impl Sink for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let _ = self.calls.send(Call::Write(text));
            match self.answers.recv() {
                Ok(answer) => Ok(answer.map(|most| most.min(bytes.len()))?),
                // The test is over.
                Err(_) => Err(Errno::PIPE.into()),
            }
        }

        fn wait_writable(&mut self) {
            let _ = self.calls.send(Call::WaitWritable);
        }

        fn pause(&mut self, time: Duration) {
            if time != GATHER {
                let _ = self.calls.send(Call::Pause(time));
            }
        }
    }

    struct Stage {
        calls: mpsc::Receiver<Call>,
        answers: mpsc::Sender<Result<usize, Errno>>,
    }

    impl Stage {
        fn new() -> (Stage, Script) {
            let ((calls, heard), (answers, given)) = (mpsc::channel(), mpsc::channel());
            let stage = Stage {
                calls: heard,
                answers,
            };
            (
                stage,
                Script {
                    calls,
                    answers: given,
                },
            )
        }

        /// The next call is a write of `text`, and is answered with this.
        #[track_caller]
        fn expect(&self, text: &str, answer: Result<usize, Errno>) {
            self.expect_call(&Call::Write(text.to_owned()));
            self.answers.send(answer).unwrap();
        }

        #[track_caller]
        fn expect_call(&self, call: &Call) {
            assert_eq!(self.calls.recv().as_ref(), Ok(call));
        }
    }

    #[test]
    fn an_error_in_the_middle_of_a_line_costs_no_part_of_it() {
        let (stage, script) = Stage::new();
        let outlet = Outlet::lines("test", script).unwrap();
        outlet.push(b"first\n");
        stage.expect("first\n", Ok(2));
        stage.expect("rst\n", Err(Errno::INTR));
        stage.expect("rst\n", Err(Errno::AGAIN));
        stage.expect_call(&Call::WaitWritable);
        stage.expect("rst\n", Err(Errno::NOSPC));
        stage.expect_call(&Call::Pause(RETRY));
        stage.expect("rst\n", Err(Errno::IO));
        stage.expect_call(&Call::Pause(2 * RETRY));
        stage.expect("rst\n", Ok(0));
        stage.expect_call(&Call::Pause(4 * RETRY));
        assert_eq!(
            outlet.reason(),
            io::Error::from(io::ErrorKind::WriteZero).to_string()
        );
        outlet.push(b"second\n");
        stage.expect("rst\n", Ok(3));
        stage.expect("\n", Ok(1));
        stage.expect("second\n", Ok(7));
        assert_eq!(outlet.close(), Unwritten::default());
        assert_eq!(outlet.reason(), "it is not read fast enough");
    }

    #[test]
    fn the_wait_for_an_error_to_pass_is_bounded() {
        let (stage, script) = Stage::new();
        let outlet = Outlet::lines("test", script).unwrap();
        outlet.push(b"line\n");
        for expected in [1, 2, 4, 8, 10, 10].map(|tenths| tenths * RETRY) {
            stage.expect("line\n", Err(Errno::NOSPC));
            stage.expect_call(&Call::Pause(expected));
        }
        stage.expect("line\n", Ok(5));
    }

    #[test]
    fn what_was_dropped_is_said_in_its_place_and_counted() {
        let (stage, script) = Stage::new();
        let outlet = Outlet::lines("test", script).unwrap();
        outlet.push(b"taken\n");
        stage.expect_call(&Call::Write("taken\n".to_owned()));
        let long = "x".repeat(QUEUE_BYTES - 10);
        assert_eq!(outlet.push(long.as_bytes()), Pushed::Taken);
        assert_eq!(outlet.push(b"longer than ten\n"), Pushed::Dropped);
        assert_eq!(outlet.push(b"longer than ten\n"), Pushed::Dropped);
        assert_eq!(outlet.push(b"short\n"), Pushed::Taken);
        assert_eq!(outlet.push(b"short\n"), Pushed::Dropped);
        assert!(outlet.lock().waiting.len() <= QUEUE_BYTES + 64);
        let unwritten = outlet.close();
        assert_eq!((unwritten.dropped, unwritten.waiting), (3, 3));
        stage.answers.send(Ok(6)).unwrap();
        let expected =
            format!("{long}[2 lines were dropped here]\nshort\n[1 line was dropped here]\n");
        for chunk in expected.as_bytes().chunks(CHUNK) {
            stage.expect(std::str::from_utf8(chunk).unwrap(), Ok(CHUNK));
        }
        assert_eq!(
            outlet.close(),
            Unwritten {
                dropped: 3,
                waiting: 0
            }
        );
    }

    #[test]
    fn a_line_longer_than_the_queue_is_taken_if_it_is_alone() {
        let (stage, script) = Stage::new();
        let outlet = Outlet::lines("test", script).unwrap();
        outlet.push(b"taken by the writer");
        stage.expect_call(&Call::Write("taken by the writer".to_owned()));
        let line = vec![b'x'; 2 * QUEUE_BYTES];
        assert_eq!(outlet.push(&line), Pushed::Taken);
        assert_eq!(outlet.push(&line), Pushed::Dropped);
        assert_eq!(outlet.push(b"x"), Pushed::Dropped);
        assert_eq!(outlet.lock().waiting.len(), line.len());
    }

    /// A wake-up is a system call.
    #[test]
    fn a_writer_that_is_at_work_is_not_woken() {
        let (stage, script) = Stage::new();
        let outlet = Outlet::lines("test", script).unwrap();
        while !outlet.lock().is_asleep {
            thread::yield_now();
        }
        outlet.push(b"first\n");
        stage.expect_call(&Call::Write("first\n".to_owned()));
        assert!(!outlet.lock().is_asleep);
        outlet.push(b"second\n");
        stage.answers.send(Ok(6)).unwrap();
        stage.expect("second\n", Ok(7));
        while !outlet.lock().is_asleep {
            thread::yield_now();
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_final_and_misses_nothing() {
        let (far, near) = UnixStream::pair().unwrap();
        let outlet = Outlet::lines("test", Descriptor(near)).unwrap();
        let line = [b'x'; 4096];
        let first = (0..100_000).find(|_| outlet.push(&line) == Pushed::Dropped);
        assert!(first.is_some(), "a million lines cannot all fit");
        drop(far);
        assert_eq!(outlet.close(), Unwritten::default());
        assert!(outlet.has_ended());
        assert_eq!(outlet.failure(), None);
        assert_eq!(outlet.push(&line), Pushed::Unwanted);
    }

    /// A line may be missing. A piece of a file may not.
    #[test]
    fn bytes_that_need_each_other_end_with_an_error_that_lasts() {
        let (stage, script) = Stage::new();
        let outlet = Outlet::bytes("test", script).unwrap();
        outlet.push(b"bytes");
        stage.expect("bytes", Err(Errno::AGAIN));
        stage.expect_call(&Call::WaitWritable);
        stage.expect("bytes", Err(Errno::NOSPC));
        outlet.finish();
        assert_eq!(
            outlet.failure(),
            Some(io::Error::from(Errno::NOSPC).to_string())
        );
    }
}
