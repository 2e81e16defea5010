//! The program: words become a configuration, the configuration becomes a reactor, and its ending
//! becomes an exit status.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(answer) => return answer.give(),
    };
    let log = cli::log::init(invocation.level);
    let closing = log.closing();
    cli::panics::log_panics();
    let ended = match invocation.command {
        cli::Job::Serve(config) => cli::serve::run(&config, &log),
        cli::Job::Connect(config) => cli::connect::run(&config),
        cli::Job::Load(config) => cli::load::run(*config),
        cli::Job::Report(config) => cli::report::run(&config),
        cli::Job::Man => cli::pages::man(),
        cli::Job::Completions(shell) => cli::pages::completions(shell),
    };
    // The log ends before the line that says why the program does.
    drop(closing);
    match ended {
        Ok(status) => status.into(),
        Err(failure) => failure.report(),
    }
}
