//! The words of `mynah report`.

use std::path::PathBuf;

use clap::Args;

use super::usage;
use crate::cli::report;
use crate::cli::status::Failure;

/// Merge the logs of runs, or compare two of them.
///
/// The files are logs of HdrHistogram, such as `mynah load --hdr` writes. Without --compare they
/// are the logs of generators that worked together: their times are merged, which is exact, and
/// their rates are added.
#[derive(Args, Debug)]
pub(super) struct Report {
    /// Logs of HdrHistogram
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Compare the second file with the first
    #[arg(long)]
    compare: bool,
    /// Write the merged log to this file
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    hdr: Option<PathBuf>,
    /// Write the numbers as JSON to this file, or to standard output instead of the table
    /// with -
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    json: Option<PathBuf>,
}

impl TryFrom<Report> for report::Config {
    type Error = Failure;

    fn try_from(words: Report) -> Result<report::Config, Failure> {
        if words.compare && words.files.len() != 2 {
            return Err(usage(
                "--compare takes two files, the one to compare with first",
            ));
        }
        Ok(report::Config {
            files: words.files,
            compare: words.compare,
            hdr: words.hdr,
            json: words.json,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::args::tests::complaint;

    #[test]
    fn two_runs_are_compared_and_no_other_number() {
        for words in [
            &["report", "--compare", "a"][..],
            &["report", "--compare", "a", "b", "c"],
        ] {
            assert!(complaint(words.iter().copied()).contains("--compare takes two files"));
        }
        assert!(complaint(["report"]).contains("<FILE>"));
    }
}
