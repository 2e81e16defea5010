//! The program: words become a configuration, the configuration becomes a reactor, its ending becomes an exit status.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(answer) => return answer.give(),
    };
    let log = cli::log::init(invocation.level);
    let ended = match invocation.command {
        cli::Command::Serve(config) => cli::serve::run(&config, &log),
        cli::Command::Connect(config) => cli::connect::run(&config),
        cli::Command::Load(config) => cli::load::run(*config),
        cli::Command::Report(config) => cli::report::run(&config),
        cli::Command::Man => cli::pages::man(),
        cli::Command::Completions(shell) => cli::pages::completions(shell),
    };
    // The last lines of the log come before the one that says why there are no more.
    log.close();
    match ended {
        Ok(status) => status.into(),
        Err(failure) => failure.report(),
    }
}
