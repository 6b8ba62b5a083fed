//! The command line of `web-stress`: serve, or ask a served one for its health.
//!
//! Nothing is decided here: [`web_stress::Command::parse`] reads the arguments, [`web_stress::run`]
//! is the server's whole life, [`web_stress::probe`] is one health check. What stays in this file
//! is what only a process has: exit codes, standard output, signals.

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use web_stress::{Command, Config, USAGE};

/// The exit code for a command line that cannot be understood.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = Command::parse(std::env::args().skip(1), |name| std::env::var(name).ok());
    let outcome = match command {
        Ok(Command::Serve(config)) => serve(config),
        Ok(Command::Health(target)) => web_stress::probe(&target),
        Ok(Command::Help) => io::stdout().write_all(USAGE.as_bytes()),
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> io::Result<()> {
    let runtime = web_stress::runtime()?;
    let served = runtime.block_on(async {
        // As process 1 of a container, SIGTERM does nothing at all unless a handler is there.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let announce = |address| writeln!(io::stdout(), "listening on {address}");
        web_stress::run(config, announce, shutdown).await
    });
    // Dropping the runtime would wait for a burst of work whose client has been given up.
    runtime.shutdown_background();
    served
}

fn complain(message: &str) {
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "web-stress: {message}");
}
