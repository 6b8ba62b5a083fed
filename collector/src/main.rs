//! `swarmguard-collector`: see the library for what it does.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use swarmguard_collector::config::Settings;
use swarmguard_daemon::config::{ConfigError, read_yaml};
use swarmguard_daemon::{log, presence, stop};

/// Decides and acts for SwarmGuard; runs on a manager of the Swarm.
#[derive(Debug, Parser)]
#[command(name = "swarmguard-collector", version)]
struct Cli {
    /// YAML file with these settings
    #[arg(long, env = "SWARMGUARD_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
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
    let file = cli.config.as_deref().map(read_yaml::<Settings>).transpose()?.unwrap_or_default();
    let config = cli.settings.or(file).resolve()?;
    log::to_stderr(config.log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { swarmguard_collector::run(config, stop::signal_to_stop()?).await })
}
