//! The log: `log` and `env_logger`, to standard error, through an outlet so that a stuck terminal cannot stop the loop.

use std::env;
use std::io::{self, IsTerminal, Write};

use env_logger::{Builder, DEFAULT_FILTER_ENV, Target, WriteStyle};
use log::LevelFilter;

use super::outlet::Outlet;

/// The running log; close it last.
#[derive(Debug)]
pub(crate) struct Log(Option<Outlet>);

/// Starts the log at `level` for this program alone; `RUST_LOG` goes above all.
pub(crate) fn init(level: LevelFilter) -> Log {
    let mut builder = Builder::new();
    // Not beside each other: a filter for this program would outrank `RUST_LOG=off`, which names no module.
    match env::var_os(DEFAULT_FILTER_ENV).filter(|filter| !filter.is_empty()) {
        Some(_) => builder.parse_default_env(),
        None => builder.filter_module("mynah", level),
    };
    // Without a thread for the outlet the log still works, as any other program's does.
    let outlet = Outlet::new("log", io::stderr()).ok();
    if let Some(outlet) = outlet.clone() {
        let is_coloured =
            io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none() && env::var_os("TERM").is_none_or(|term| term != "dumb");
        builder.write_style(if is_coloured { WriteStyle::Always } else { WriteStyle::Never });
        builder.target(Target::Pipe(Box::new(Lines(outlet))));
    }
    builder.init();
    Log(outlet)
}

impl Log {
    /// Waits, for a bounded time, until what was logged has been written.
    pub(crate) fn close(self) {
        if let Some(outlet) = self.0 {
            outlet.close();
        }
    }
}

/// env_logger writes each record with one call.
struct Lines(Outlet);

impl Write for Lines {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let note = |dropped| format!("[{dropped} log lines before this one were dropped: standard error was not read]\n");
        self.0.push_noting(record, note);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
