//! The line on a terminal that says how a run goes.
//!
//! Must never be seen in a file or a pipe.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mynah::load::{Plan, Tally};

use super::record::Second;
use super::units;

/// The line; nothing where there is no terminal.
pub(super) struct Live {
    bar: ProgressBar,
    duration: Option<Duration>,
    /// Since the first second, all seconds together.
    errors: u64,
    /// Which run of several this is.
    title: String,
}

impl Live {
    pub(super) fn new(plan: &Plan, is_terminal: bool) -> Live {
        let target = if is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(
            ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(if plan.warmup.is_zero() {
            "connecting".to_owned()
        } else {
            format!("connecting, then {:?} of warm-up", plan.warmup)
        });
        Live {
            bar,
            duration: plan.duration,
            errors: 0,
            title: String::new(),
        }
    }

    /// Names the run that begins, of several.
    pub(super) fn title(&mut self, title: String, duration: Option<Duration>) {
        self.bar.set_message(title.clone());
        (self.title, self.duration) = (title + "   ", duration);
    }

    /// Shows a second.
    pub(super) fn show(&mut self, second: &Second, tally: &Tally) {
        self.errors = if second.at.is_zero() {
            second.errors
        } else {
            self.errors + second.errors
        };
        let left = self
            .duration
            .map(|duration| duration.saturating_sub(second.at + second.length));
        let lost = if tally.given_up > 0 {
            format!("   {} lost", units::count(tally.lost()))
        } else {
            String::new()
        };
        self.bar.set_message(format!(
            "{}{}/s   p50 {}   p99 {}   {} errors{lost}{}",
            self.title,
            units::rate(second.rate),
            units::mark(second.p50),
            units::mark(second.p99),
            units::count(self.errors),
            left.map_or(String::new(), |left| format!(
                "   {} s left",
                left.as_secs()
            ))
        ));
    }

    /// Leaves a line above it.
    pub(super) fn note(&self, line: &str) {
        self.bar.println(line);
    }

    /// Takes it away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
