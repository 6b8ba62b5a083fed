//! `traffic`: see the library for what it does.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use traffic::Cli;

fn main() -> ExitCode {
    match traffic::run(Cli::parse(), &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "traffic: {error:#}");
            ExitCode::FAILURE
        }
    }
}
