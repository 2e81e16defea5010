//! Where reports go: files, which are opened before the run, or standard output.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::sink;
use crate::cli::status::{Failure, Status};

/// Where reports go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    pub(crate) json: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    pub(crate) hdr: Option<PathBuf>,
}

/// The files of the reports, open.
#[derive(Debug, Default)]
pub(crate) struct Files {
    json: Option<File>,
    html: Option<File>,
    pub(crate) hdr: Option<File>,
}

impl Files {
    pub(crate) fn create(reports: &Reports) -> Result<Files, Failure> {
        let json = reports
            .json
            .as_deref()
            .filter(|path| !is_standard_output(Some(path)));
        let html = reports.html.as_deref();
        let html = html.filter(|path| !is_standard_output(Some(path)));
        Ok(Files {
            json: create("--json", json)?,
            html: create("--html", html)?,
            hdr: create("--hdr", reports.hdr.as_deref())?,
        })
    }
}

/// The file of a report, open, where one was asked for with `option`.
fn create(option: &str, path: Option<&Path>) -> Result<Option<File>, Failure> {
    let open = |path: &Path| {
        let failed = |error| {
            Failure::new(
                Status::Failed,
                format_args!("{option}: cannot write {}: {error}", path.display()),
            )
        };
        File::create(path).map_err(failed)
    };
    path.map(open).transpose()
}

impl Reports {
    /// Writes JSON and the page to their files, where there are such, and prints the table; or
    /// prints one of them in its place, where that was asked for.
    pub(crate) fn tell(
        &self,
        files: &mut Files,
        json: &str,
        page: impl Fn() -> String,
        table: &str,
    ) -> Result<(), Failure> {
        if let Some(file) = &mut files.json {
            write_whole(file, json.as_bytes()).map_err(|error| unwritten("--json", &error))?;
        }
        if let Some(file) = &mut files.html {
            write_whole(file, page().as_bytes()).map_err(|error| unwritten("--html", &error))?;
        }
        if is_standard_output(self.json.as_deref()) {
            print(json)
        } else if is_standard_output(self.html.as_deref()) {
            print(&page())
        } else {
            print(table)
        }
    }

    /// Why they cannot all be written.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if is_standard_output(self.json.as_deref()) && is_standard_output(self.html.as_deref()) {
            return Err(
                "--json - and --html - would both go to standard output; give one of them \
                 a file",
            );
        }
        Ok(())
    }
}

/// Whether a path stands for standard output.
fn is_standard_output(path: Option<&Path>) -> bool {
    path.is_some_and(|path| path.as_os_str() == "-")
}

pub(crate) fn unwritten(option: &str, error: &io::Error) -> Failure {
    Failure::new(
        Status::Failed,
        format_args!("{option}: cannot write: {error}"),
    )
}

/// The words that this process was started with, as a shell would take them, in printable
/// characters.
pub(super) fn command_line() -> Vec<String> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_=.,:/+@%".contains(char);
    std::env::args_os()
        .map(|word| {
            let word = match word.to_str() {
                Some(word) if !word.chars().any(char::is_control) => word.to_owned(),
                _ => mynah::Escaped(word.as_encoded_bytes()).to_string(),
            };
            if !word.is_empty() && word.chars().all(is_plain) {
                word
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        })
        .collect()
}

fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes).and_then(|()| file.flush())
}

/// Prints a report.
fn print(text: &str) -> Result<(), Failure> {
    match sink::write_all(io::stdout(), text.as_bytes()) {
        // A reader that has seen enough (`mynah load … | head -1`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Status::Failed,
            format_args!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}
