//! The words of `mynah report`.

use std::path::PathBuf;

use clap::Args;

use super::usage;
use crate::cli::load::outputs::Reports;
use crate::cli::report::{self, Relation};
use crate::cli::status::Failure;

/// Merge the logs of runs, or compare them.
///
/// The files are logs of HdrHistogram, such as `mynah load --hdr` writes. Without --compare they
/// are the logs of generators that worked together: their times are merged, which is exact, and
/// their rates are added. Runs that did not overlap in time are refused, unless --sequential says
/// that they followed each other.
#[derive(Args, Debug)]
pub(super) struct Report {
    /// Logs of HdrHistogram
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Compare the runs with the first of them
    #[arg(long)]
    compare: bool,
    /// Merge runs that followed each other: their rate is that of their whole time
    #[arg(long, conflicts_with = "compare")]
    sequential: bool,
    /// Write the merged log to this file
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    hdr: Option<PathBuf>,
    /// Write the numbers as JSON to this file, or to standard output instead of the table
    /// with -
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    json: Option<PathBuf>,
    /// Write a page with plots of all runs to this file, or to standard output with -
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl TryFrom<Report> for report::Config {
    type Error = Failure;

    fn try_from(words: Report) -> Result<report::Config, Failure> {
        if words.compare && words.files.len() < 2 {
            return Err(usage(
                "--compare takes two files or more, the one to compare with first",
            ));
        }
        let reports = Reports {
            json: words.json,
            html: words.html,
            hdr: words.hdr,
        };
        reports.check().map_err(usage)?;
        Ok(report::Config {
            files: words.files,
            relation: match (words.compare, words.sequential) {
                (true, _) => Relation::Compared,
                (_, true) => Relation::Sequential,
                (_, false) => Relation::Together,
            },
            reports,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::args::tests::complaint;

    #[test]
    fn what_makes_no_sense_is_said() {
        let complains = |words: &[&str]| complaint(words.iter().copied());
        assert!(complains(&["report", "--compare", "a"]).contains("takes two files or more"));
        assert!(complains(&["report", "a", "--json", "-", "--html", "-"]).contains("one of them"));
        assert!(
            complains(&["report", "a", "b", "--compare", "--sequential"])
                .contains("cannot be used with")
        );
        assert!(complaint(["report"]).contains("<FILE>"));
    }
}
