//! The report with plots: one page that needs nothing but a browser.
//!
//! Owns what stands on the page, and in which order. Must never fetch anything, and never show what
//! came from outside other than as text.
//!
//! ```text
//!   runs     several runs     facts   the tables of a run      plots   its plots
//!   frame    a plot           style   looks, and the script    html    text and tables
//! ```

mod facts;
mod frame;
mod html;
mod plots;
mod runs;
mod style;

use mynah::load::{Distribution, Plan};

pub(crate) use self::runs::{Interval, Run, render as render_runs};
use super::Setting;
use super::record::Record;
use super::table;

/// The page of a run.
pub(super) fn render(setting: &Setting, plan: &Plan, record: &Record) -> String {
    let mut body = html::paragraph("sub", &table::headline(setting, plan, record));
    for warning in [record.bottleneck(), record.shortfall()].iter().flatten() {
        body.push_str(&html::paragraph("note", warning));
    }
    body.push_str(&facts::cards(record));
    let response = &record.tally.response;
    if response.answered().count() > 0 {
        let unanswered = unanswered(response);
        let says = "Each answer where its message was meant to be sent: the stronger the colour, \
                    the more of them.";
        let lost = match response.waited().count() {
            0 => "",
            _ => " Red, above: messages without an answer.",
        };
        let says = html::paragraph("says", &format!("{says}{lost}"));
        let heat = [says, plots::heat(record)].concat();
        html::section(&mut body, "Response time over the run", &heat);
        html::section(
            &mut body,
            "Rate, errors and the generator",
            &plots::course(record),
        );
        let times: Vec<(String, &Distribution)> = record
            .message_times()
            .into_iter()
            .map(|(name, times)| (name.to_owned(), times))
            .collect();
        let percentiles = [unanswered.clone(), plots::percentiles(&times)].concat();
        html::section(&mut body, "Time by percentile", &percentiles);
        let histogram = [unanswered, plots::histogram(response)].concat();
        html::section(&mut body, "Histogram of response times", &histogram);
        html::section(&mut body, "Times", &facts::times(&record.times()));
    } else {
        html::section(
            &mut body,
            "Rate, errors and the generator",
            &plots::course(record),
        );
    }
    html::section(&mut body, "Stages", &facts::stages(plan, record));
    html::section(&mut body, "Errors", &facts::errors(record));
    html::section(&mut body, "Run", &facts::run(setting, plan, record));
    let label = setting.label.as_ref();
    let label = label.map_or(String::new(), |label| format!("{label}: "));
    style::page(&format!("{label}load on {}", record.address), &body)
}

/// What a plot of times leaves out.
fn unanswered(times: &Distribution) -> String {
    match times.waited().count() {
        0 => String::new(),
        number => {
            let share = 100.0 * number as f64 / times.count() as f64;
            let who = table::were(number);
            html::paragraph(
                "says",
                &format!("{who} not answered ({share:.2} %), and have no time."),
            )
        }
    }
}
