//! The manual page and the completions, both made from the definition of the command line, so that
//! neither can fall behind it.

use std::io::{self, Write};

use clap_complete::Shell;
use clap_mangen::Man;

use super::status::{Failure, Status};
use super::{args, sink};

/// Writes one manual page for the program and all its commands.
pub(crate) fn man() -> Result<Status, Failure> {
    print(&page().map_err(failed)?)
}

/// Writes what `shell` reads to complete our words.
pub(crate) fn completions(shell: Shell) -> Result<Status, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::definition(), "mynah", &mut script);
    print(&script)
}

/// A page of the program, with a section for each command instead of a page for each.
fn page() -> io::Result<Vec<u8>> {
    let mut definition = args::definition().disable_help_subcommand(true);
    definition.build();
    let program = Man::new(definition.clone()).manual("User Commands");
    let mut page = Vec::new();
    program.render_title(&mut page)?;
    program.render_name_section(&mut page)?;
    program.render_synopsis_section(&mut page)?;
    program.render_description_section(&mut page)?;
    program.render_options_section(&mut page)?;
    for command in definition.get_subcommands() {
        let name = command
            .get_bin_name()
            .unwrap_or_else(|| command.get_name())
            .to_uppercase();
        writeln!(page, ".SH {name:?}")?;
        page.extend(section(command)?);
    }
    program.render_version_section(&mut page)?;
    Ok(without_repeated_preamble(&String::from_utf8_lossy(&page)).into_bytes())
}

/// Each section comes with the same two lines before it that define an apostrophe; once is enough.
fn without_repeated_preamble(page: &str) -> String {
    let preamble: Vec<&str> = page
        .lines()
        .take_while(|line| !line.starts_with(".TH"))
        .collect();
    let is_new =
        |(number, line): &(usize, &str)| *number < preamble.len() || !preamble.contains(line);
    page.lines()
        .enumerate()
        .filter(is_new)
        .map(|(_, line)| format!("{line}\n"))
        .collect()
}

/// What would be a page of `command`, one level down.
fn section(command: &clap::Command) -> io::Result<Vec<u8>> {
    let (man, mut page) = (Man::new(command.clone()), Vec::new());
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let lines = String::from_utf8_lossy(&page)
        .lines()
        .map(|line| line.replacen(".SH ", ".SS ", 1) + "\n")
        .collect::<String>();
    Ok(lines.into_bytes())
}

fn print(text: &[u8]) -> Result<Status, Failure> {
    match sink::write_all(io::stdout(), text) {
        // A reader that has seen enough (`mynah man | head -1`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(Status::Done),
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::new(
        Status::Failed,
        format_args!("cannot write to standard output: {error}"),
    )
}
