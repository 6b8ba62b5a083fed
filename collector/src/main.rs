//! `swarmguard-collector`: see the library for what it does.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use swarmguard_collector::ask::{self, Ask};
use swarmguard_collector::config::Settings;
use swarmguard_collector::reload::Source;
use swarmguard_daemon::config::ConfigError;
use swarmguard_daemon::{log, presence, stop};

/// Decides and acts for SwarmGuard; runs on a manager of the Swarm.
#[derive(Debug, Parser)]
#[command(name = "swarmguard-collector", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// YAML file with these settings; followed when it changes, and at SIGHUP
    #[arg(long, env = "SWARMGUARD_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says whether a configuration file can be followed, and what is wrong with it
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    #[command(flatten)]
    Ask(Ask),
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "swarmguard-collector: {}", presence::chain(&*error));
            if error.is::<ConfigError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.command {
        Some(Command::CheckConfig { file }) => {
            let source = Source { settings: Settings::default(), path: Some(file) };
            source.resolve(&source.text()?)?;
            writeln!(std::io::stdout(), "the configuration can be followed")?;
            Ok(())
        }
        Some(Command::Ask(asked)) => {
            let answer = runtime.block_on(ask::ask(&asked))?;
            writeln!(std::io::stdout(), "{answer}")?;
            Ok(())
        }
        None => {
            let source = Source { settings: cli.settings, path: cli.config };
            log::to_stderr(source.resolve(&source.text()?)?.log);
            runtime.block_on(async { swarmguard_collector::run(source, stop::signal_to_stop()?).await })
        }
    }
}
