//! The log: `log` and `env_logger`, to standard error, through an outlet so that a stuck terminal
//! cannot stop the loop.
//!
//! Owns standard error while the loop runs. The outlet's thread starts with the first line that the
//! loop logs, and most runs log none. A process of one thread is cheaper: its system calls do not
//! share the table of descriptors, and the C library does not prepare each of them for a
//! cancellation. That is 93 of 420 instructions a message in user space.
//!
//! Tests: below; `tests/stuck_output.rs`, `tests/command_line.rs`.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use env_logger::{Builder, DEFAULT_FILTER_ENV, Target, WriteStyle};
use log::{LevelFilter, warn};
use mynah::{Escaped, Signal};

use super::outlet::Outlet;
use super::sink::{self, Descriptor};

/// The running log; close it last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<LogState>);

#[derive(Debug, Default)]
struct LogState {
    /// Whether the loop runs, which no reader of the log may stop.
    is_looping: AtomicBool,
    /// Where the lines of the loop go. `None` if no thread could be started: the log then still
    /// works, as any other program's does.
    outlet: OnceLock<Option<Outlet>>,
}

/// Closes the log when dropped, and so also when a panic ends the program.
#[derive(Debug)]
pub(crate) struct Closing(Log);

/// Starts the log at `level` for this program alone; `RUST_LOG` overrides it.
pub(crate) fn init(level: LevelFilter) -> Log {
    let mut builder = Builder::new();
    let given = env::var_os(DEFAULT_FILTER_ENV).filter(|filter| !filter.is_empty());
    let filter = given.as_ref().and_then(|given| given.to_str());
    let concern = filter.map_or(Concern::Nonsense, Concern::of);
    // Either one or the other: a filter for this program would outrank `RUST_LOG=off`, which names
    // no module.
    match filter {
        Some(filter) if concern == Concern::Ours => builder.parse_filters(filter),
        _ => builder
            .filter_module("mynah", level)
            .filter_module(Signal::LOG_TARGET, level.max(LevelFilter::Info)),
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
    builder.target(Target::Pipe(Box::new(Records(log.clone()))));
    builder.init();
    if let (Some(given), Concern::Nonsense) = (given, concern) {
        warn!(
            "RUST_LOG={} is ignored: it is no filter for the log of mynah; write error, warn, \
             info, debug, trace or off, or levels of modules, such as mynah::reactor=debug",
            Escaped(given.as_encoded_bytes())
        );
    }
    log
}

/// Whom a filter in `RUST_LOG` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    Ours,
    /// Modules of other programs: the variable may be set for all that run here.
    Others,
    /// A word that is neither a level nor a module of ours. env_logger would take a misspelt level
    /// for a module, and silence everything.
    Nonsense,
}

impl Concern {
    fn of(filter: &str) -> Concern {
        let is_level = |text: &str| text.trim().parse::<LevelFilter>().is_ok();
        let is_module = |text: &str| {
            let root = text.trim().split("::").next();
            root.is_some_and(|root| ["mynah", "mio"].contains(&root))
        };
        // Behind a slash stands a pattern that lines must match.
        let directives = filter.split('/').next().unwrap_or_default();
        let directives = directives.split(',').filter(|text| !text.trim().is_empty());
        let mut concern = Concern::Others;
        for directive in directives {
            match directive.split_once('=') {
                Some((module, level)) if is_level(level) => {
                    if is_module(module) {
                        concern = Concern::Ours;
                    }
                }
                None if is_level(directive) || is_module(directive) => concern = Concern::Ours,
                _ => return Concern::Nonsense,
            }
        }
        concern
    }
}

impl Log {
    /// The loop begins: from now on the log never waits for its reader.
    pub(crate) fn loop_begins(&self) {
        self.0.is_looping.store(true, Ordering::Relaxed);
    }

    /// Closes the log when what this returns is dropped.
    pub(crate) fn closing(&self) -> Closing {
        Closing(self.clone())
    }

    /// Writes a line to standard error behind what was logged, whatever the level of the log.
    pub(crate) fn say(&self, line: &str) {
        // If standard error is closed there is nobody left to tell.
        let _ = self.write(line.as_bytes());
    }

    fn write(&self, record: &[u8]) -> io::Result<()> {
        match self.outlet() {
            Some(outlet) => {
                outlet.push(record);
                Ok(())
            }
            None => sink::write_all(io::stderr(), record),
        }
    }

    fn outlet(&self) -> Option<&Outlet> {
        if !self.0.is_looping.load(Ordering::Relaxed) {
            return None;
        }
        self.0
            .outlet
            .get_or_init(|| Outlet::lines("log", Descriptor(io::stderr())).ok())
            .as_ref()
    }
}

impl Drop for Closing {
    /// Waits, for a bounded time, until what was logged has been written.
    fn drop(&mut self) {
        if let Some(Some(outlet)) = self.0.0.outlet.get() {
            outlet.close();
        }
    }
}

/// env_logger writes each record with one call.
struct Records(Log);

impl Write for Records {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.write(record)?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How rarely a warning that repeats is logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// Turns a warning that repeats into one line an interval, with a count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rarely {
    count: u64,
    said: Option<Instant>,
}

impl Rarely {
    /// Counts one more. Returns how many there were since the last line, if it is time for one: at
    /// once for the first, and then once an interval.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.said.is_some_and(|said| now < said + INTERVAL) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_for_us_for_others_or_nonsense() {
        for (concern, filters) in [
            (
                Concern::Ours,
                &[
                    "off",
                    "WARN",
                    "debug,mio=off",
                    "mynah",
                    "mynah::reactor=trace,info",
                    " info , mynah = debug ",
                    "info/closed",
                    "hyper=debug,warn",
                ][..],
            ),
            (Concern::Others, &["hyper=debug", "a=info,b::c=off"]),
            (
                Concern::Nonsense,
                &[
                    "nonsense",
                    "inof",
                    "mynah=loud",
                    "a=b=c",
                    "mynah=",
                    "info,1",
                ],
            ),
        ] {
            for filter in filters {
                assert_eq!(Concern::of(filter), concern, "{filter}");
            }
        }
    }

    #[test]
    fn a_warning_that_repeats_is_one_line_an_interval() {
        let (mut rarely, now) = (Rarely::default(), Instant::now());
        assert_eq!(rarely.count(now), Some(1));
        for _ in 0..1000 {
            assert_eq!(rarely.count(now + INTERVAL / 2), None);
        }
        assert_eq!(rarely.count(now + INTERVAL), Some(1001));
        assert_eq!(rarely.count(now + INTERVAL), None);
        assert_eq!(rarely.count(now + 3 * INTERVAL), Some(2));
    }
}
