//! An outlet over a scripted sink.

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
    let expected = format!("{long}[2 lines were dropped here]\nshort\n[1 line was dropped here]\n");
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
