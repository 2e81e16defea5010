//! Standard input that cannot stop the loop.
//!
//! Standard input may be a terminal, a pipe, a file or nothing; epoll refuses files, and to make a
//! terminal non-blocking would change it for the shell that it is shared with. So a thread reads,
//! and waits while the loop has not taken what it read.
//!
//! ```text
//!   standard input ──▶ reader thread ──▶ queue (QUEUE_BYTES) ── take ──▶ loop
//!                                           └─ was empty: the bell is rung
//! ```
//!
//! Tests: below; `tests/connect.rs` with the real binary.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::bell::Bell;

/// Bytes that wait for the loop, at most, beside those of the read that exceeded this.
const QUEUE_BYTES: usize = 256 * 1024;

/// The most that one read takes.
const READ_BYTES: usize = 64 * 1024;

/// The near end of an inlet.
#[derive(Clone, Debug)]
pub(super) struct Inlet(Arc<InletCore>);

#[derive(Debug)]
struct InletCore {
    queue: Mutex<Input>,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Input {
    waiting: Vec<u8>,
    /// How the input ended, if it has.
    end: Option<Result<(), String>>,
}

/// What was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Some bytes.
    Bytes(Vec<u8>),
    /// Nothing now; the bell rings when there is.
    Nothing,
    /// There will be no more, and why where it was an error.
    End(Result<(), String>),
}

impl Inlet {
    /// Reads `source` from now on, in a thread of its own.
    pub(super) fn new(source: impl Read + Send + 'static, bell: Bell) -> io::Result<Inlet> {
        let inlet = Inlet(Arc::new(InletCore {
            queue: Mutex::default(),
            taken: Condvar::new(),
        }));
        let reader = inlet.clone();
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || reader.read_all(source, &bell))?;
        Ok(inlet)
    }

    /// Takes all that waits.
    pub(super) fn take(&self) -> Taken {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            return queue.end.clone().map_or(Taken::Nothing, Taken::End);
        }
        self.0.taken.notify_all();
        Taken::Bytes(std::mem::take(&mut queue.waiting))
    }

    fn read_all(&self, mut source: impl Read, bell: &Bell) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = source.read(&mut buffer);
            let mut queue = self
                .0
                .taken
                .wait_while(self.lock(), |queue| queue.waiting.len() >= QUEUE_BYTES)
                .unwrap_or_else(PoisonError::into_inner);
            let was_empty = queue.waiting.is_empty();
            match read {
                Ok(0) => queue.end = Some(Ok(())),
                Ok(count) => queue.waiting.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => queue.end = Some(Err(error.to_string())),
            }
            let is_over = queue.end.is_some();
            drop(queue);
            if was_empty || is_over {
                bell.ring();
            }
            if is_over {
                return;
            }
        }
    }

    /// A panic of the other thread leaves a queue that is still whole.
    fn lock(&self) -> MutexGuard<'_, Input> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source without end that counts what was read of it.
    struct Endless(Arc<Mutex<usize>>);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            *self.0.lock().unwrap() += buffer.len();
            Ok(buffer.len())
        }
    }

    fn take_all(inlet: &Inlet) -> (Vec<u8>, Result<(), String>) {
        let mut all = Vec::new();
        loop {
            match inlet.take() {
                Taken::Bytes(bytes) => all.extend(bytes),
                Taken::Nothing => thread::yield_now(),
                Taken::End(end) => return (all, end),
            }
        }
    }

    #[test]
    fn everything_arrives_and_then_the_end() {
        let text: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
        let inlet = Inlet::new(io::Cursor::new(text.clone()), Bell::silent()).unwrap();
        assert!(take_all(&inlet) == (text, Ok(())));
        assert_eq!(inlet.take(), Taken::End(Ok(())), "an end stays the end");
    }

    #[test]
    fn an_error_comes_behind_what_was_read() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("gone"));
                }
                buffer[0] = b'a';
                Ok(1)
            }
        }
        let inlet = Inlet::new(Broken(false), Bell::silent()).unwrap();
        assert_eq!(take_all(&inlet), (b"a".to_vec(), Err("gone".to_owned())));
    }

    #[test]
    fn nothing_is_read_ahead_of_a_loop_that_does_not_take() {
        let count = Arc::new(Mutex::new(0));
        let inlet = Inlet::new(Endless(count.clone()), Bell::silent()).unwrap();
        // The reader stops with a full queue and one more read in its hands, and goes on when the
        // loop takes.
        let mut taken = 0;
        for _ in 0..3 {
            while inlet.lock().waiting.len() < QUEUE_BYTES {
                thread::yield_now();
            }
            let Taken::Bytes(bytes) = inlet.take() else {
                panic!("the queue was full")
            };
            assert!(bytes.len() < QUEUE_BYTES + READ_BYTES);
            taken += bytes.len();
            assert!(
                *count.lock().unwrap() <= taken + QUEUE_BYTES + 2 * READ_BYTES,
                "read ahead"
            );
        }
    }
}
