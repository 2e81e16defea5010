//! What is said of a run while it goes on.
//!
//! On a terminal it is a line that changes, which is gone at the end. Elsewhere it is nothing, or a
//! line each second on standard error where that was asked for.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mynah::load::{Distribution, Doing, Mark, Progress};

use super::crew::Sight;
use super::units::{count, many, mark, rate};

/// How often the line on a terminal moves. Each time costs the generator about as much as a few
/// messages.
const EVERY: Duration = Duration::from_millis(500);

/// How often a line is written elsewhere.
const LINE: Duration = Duration::from_secs(1);

/// How a run goes.
pub(super) struct Live {
    mode: Mode,
    /// What run this is, where it is one of several.
    name: String,
    progress: Option<Progress>,
    /// What is known of the last second.
    last: Option<Last>,
    /// Since the window began.
    errors: u64,
    lost: u64,
    response: Distribution,
}

enum Mode {
    Silent,
    Line(ProgressBar),
    Lines,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    rate: f64,
    p50: Mark,
    p99: Mark,
}

impl Live {
    /// Where `is_asked_for`, lines are written even if nobody sits at a terminal.
    pub(super) fn new(is_asked_for: bool) -> Live {
        let mode = if is_asked_for {
            Mode::Lines
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message("connecting");
            Mode::Line(bar)
        } else {
            Mode::Silent
        };
        Live {
            mode,
            name: String::new(),
            progress: None,
            last: None,
            errors: 0,
            lost: 0,
            response: Distribution::default(),
        }
    }

    /// How often to be told how far the run has come.
    pub(super) fn every(&self) -> Option<Duration> {
        match self.mode {
            Mode::Silent => None,
            Mode::Line(_) => Some(EVERY),
            Mode::Lines => Some(LINE),
        }
    }

    /// Another run begins, such as `trial 4 of about 9`.
    pub(super) fn begin(&mut self, name: &str) {
        self.name = name.to_owned();
        (self.progress, self.last) = (None, None);
        (self.errors, self.lost) = (0, 0);
        self.response = Distribution::default();
    }

    /// Shows what there is to see.
    pub(super) fn show(&mut self, sight: &Sight<'_>) {
        match sight {
            Sight::Progress(progress) => self.progress = Some(*progress),
            Sight::Second(second, tally) => {
                self.errors += second.errors;
                self.lost += tally.lost();
                self.last = Some(Last {
                    rate: second.rate,
                    p50: second.p50,
                    p99: second.p99,
                });
                // A sum costs a look at every class; nobody pays who does not see it.
                if !matches!(self.mode, Mode::Silent) {
                    self.response.add(&tally.response);
                }
            }
        }
        match &self.mode {
            Mode::Silent => {}
            Mode::Line(bar) => bar.set_message(self.words()),
            Mode::Lines if matches!(sight, Sight::Progress(_)) => print(&self.words()),
            Mode::Lines => {}
        }
    }

    /// The line.
    fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.name.is_empty() {
            parts.push(self.name.clone());
        }
        if let Some(progress) = &self.progress {
            parts.push(stage(progress));
        }
        if let Some(last) = self.last {
            parts.push(format!("{}/s", rate(last.rate)));
        }
        // On a narrow terminal the end of the line is cut off: what matters most comes first.
        if let Some(progress) = self
            .progress
            .filter(|progress| progress.stage > Doing::Waiting)
        {
            parts.push(many(self.errors, "error"));
            if self.lost > 0 {
                parts.push(format!("{} lost", count(self.lost)));
            }
            if progress.overdue > 0 {
                parts.push(format!("{} overdue", count(progress.overdue)));
            }
            parts.push(format!("{} unanswered", count(progress.unanswered)));
        }
        if let Some(Last { p50, p99, .. }) = self.last {
            let all = |percentile| mark(self.response.percentile(percentile));
            parts.push(format!("p50 {}  p99 {}", mark(p50), mark(p99)));
            parts.push(format!("run p50 {}  p99 {}", all(50.0), all(99.0)));
        }
        parts.join("  ")
    }

    /// Leaves a line above it.
    pub(super) fn note(&self, line: &str) {
        match &self.mode {
            Mode::Silent => {}
            Mode::Line(bar) => bar.println(line),
            Mode::Lines => print(line),
        }
    }

    /// Takes it away.
    pub(super) fn clear(&self) {
        if let Mode::Line(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }
}

/// Where the run is.
fn stage(progress: &Progress) -> String {
    let Progress {
        stage,
        open,
        connections,
        done,
        ..
    } = progress;
    let opened = format!("{} of {} open", count(*open), count(*connections));
    match stage {
        Doing::Opening => format!("connecting: {opened}"),
        Doing::Waiting => format!("waiting for the start: {opened}"),
        Doing::WarmingUp => "warming up".to_owned(),
        Doing::Measuring => {
            let missing = if open < connections {
                format!("  {opened}")
            } else {
                String::new()
            };
            format!("{:3.0} %{missing}", 100.0 * done)
        }
        Doing::Ending => "waiting for answers".to_owned(),
    }
}

/// A line on standard error. If nobody reads it, the run goes on.
fn print(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
