//! `swarmguard-agent`: see the library for what it does.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use swarmguard_agent::config::Settings;
use swarmguard_agent::{doctor, show};
use swarmguard_daemon::config::{ConfigError, read_yaml};
use swarmguard_daemon::{log, presence, stop};

/// Watches the containers of this node for SwarmGuard.
#[derive(Debug, Parser)]
#[command(name = "swarmguard-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// YAML file with the same keys as the flags
    #[arg(long, env = "SWARMGUARD_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print one sample of everything and exit; needs no collector
    Sample {
        #[arg(long, value_enum, default_value_t)]
        format: show::Format,
    },
    /// Say what this kernel and this process's rights offer, and what is missing for more
    Doctor {
        /// For machines
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "swarmguard-agent: {}", presence::chain(&*error));
            if error.is::<ConfigError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let file = cli.config.as_deref().map(read_yaml::<Settings>).transpose()?.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.command {
        Some(Command::Sample { format }) => {
            let config = cli.settings.or(file).resolve()?;
            log::to_stderr(config.log);
            let text = runtime.block_on(show::sample(&config, format));
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
        Some(Command::Doctor { json }) => {
            let config = cli.settings.or(file).resolve()?;
            let text = runtime.block_on(doctor::examine(&config, json));
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
        None => {
            let config = cli.settings.or(file).resolve()?;
            log::to_stderr(config.log);
            runtime.block_on(async { swarmguard_agent::run(config, stop::signal_to_stop()?).await })
        }
    }
}
