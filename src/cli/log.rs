//! The log: `log` and `env_logger`, to standard error, through an outlet so that a stuck terminal cannot stop the loop.
//!
//! The outlet's thread is started with the first line that the loop logs, and most runs log none. A process of one thread is cheaper: its system
//! calls need not share the table of descriptors, and the C library need not prepare each of them for a cancellation. That is 93 of 420
//! instructions a message in user space.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use env_logger::{Builder, DEFAULT_FILTER_ENV, Target, WriteStyle};
use log::LevelFilter;

use super::outlet::Outlet;

/// The running log; close it last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether the loop runs, which no reader of the log may stop.
    is_looping: AtomicBool,
    /// Where the lines of the loop go. `None` where there was no thread to be had: the log then still works, as any other program's does.
    outlet: OnceLock<Option<Outlet>>,
}

/// Starts the log at `level` for this program alone; `RUST_LOG` goes above all.
pub(crate) fn init(level: LevelFilter) -> Log {
    let mut builder = Builder::new();
    // Not beside each other: a filter for this program would outrank `RUST_LOG=off`, which names no module.
    match env::var_os(DEFAULT_FILTER_ENV).filter(|filter| !filter.is_empty()) {
        Some(_) => builder.parse_default_env(),
        None => builder.filter_module("mynah", level),
    };
    let log = Log::default();
    let is_coloured = io::stderr().is_terminal()
        && env::var_os("NO_COLOR").is_none()
        && env::var_os("TERM").is_none_or(|term| term != "dumb");
    builder.write_style(if is_coloured {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    });
    builder.target(Target::Pipe(Box::new(Lines(log.clone()))));
    builder.init();
    log
}

impl Log {
    /// The loop begins: from now on the log does not wait for whoever reads it.
    pub(crate) fn loop_begins(&self) {
        self.0.is_looping.store(true, Ordering::Relaxed);
    }

    /// Waits, for a bounded time, until what was logged has been written.
    pub(crate) fn close(self) {
        if let Some(Some(outlet)) = self.0.outlet.get() {
            outlet.close();
        }
    }

    fn outlet(&self) -> Option<&Outlet> {
        if !self.0.is_looping.load(Ordering::Relaxed) {
            return None;
        }
        self.0
            .outlet
            .get_or_init(|| Outlet::new("log", io::stderr()).ok())
            .as_ref()
    }
}

/// env_logger writes each record with one call.
struct Lines(Log);

impl Write for Lines {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match self.0.outlet() {
            Some(outlet) => {
                let note = |dropped| {
                    format!(
                        "[{dropped} log lines before this one were dropped: standard error was not read]\n"
                    )
                };
                outlet.push_noting(record, note);
            }
            None => io::stderr().write_all(record)?,
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
