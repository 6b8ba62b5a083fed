//! `cargo xtask drill`: SwarmGuard under conditions, on a real Swarm, measured.
//!
//! On a Swarm of three nodes of the drill's own:
//! - [`migrate`]: many migrations under load: does a request fail, does anybody else move
//! - [`mttr`]: how long recovery takes, beside Swarm's own reaction in the same run
//! - [`concurrent`]: three services in trouble at once
//! - [`takeover`]: the collector killed at each step of a migration
//! - [`leaders`]: of three managers the leader is lost in the middle of a migration
//! - [`calm`]: a Swarm that is noisy and healthy: nothing is to be done
//!
//! On that, or on a Swarm of the user's:
//! - [`anywhere`]: both scenarios and Swarm's own reaction, one by one or as a [`suite`]; [`told`] says what came of them
//! - [`tools`]: the app deployed and removed, a load, and whether a service answers

mod anywhere;
mod calm;
mod concurrent;
mod leaders;
mod migrate;
mod mttr;
mod suite;
mod takeover;
mod told;
mod tools;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Subcommand;
use swarmguard_end_to_end::app;
use swarmguard_end_to_end::stage::Stage;
use swarmguard_lab::machine::Arch;
use swarmguard_lab::{Lab, Name, Options};

use crate::build::KernelPrograms;
use crate::report::Outcome;
use crate::run::{become_root, interrupted, runtime, step};
use crate::{build, setup};

const NODES: u32 = 3;

/// Each drill does within minutes what in life takes days: short cooldowns, no limits, containers that get sick as soon
/// as they run.
const POLICY: [&str; 5] = [
    "--scenario1-cooldown-period=1",
    "--scenario2-scale-up-cooldown=1",
    "--max-moves-per-hour=10000",
    "--max-actions-per-hour=10000",
    "--startup-period=0",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Drill {
    #[command(flatten)]
    Lab(OnLab),
    #[command(flatten)]
    Anywhere(anywhere::Anywhere),
    #[command(flatten)]
    Tool(tools::Tool),
}

#[derive(Debug, Subcommand)]
pub(crate) enum OnLab {
    /// Migrations one after the other under load: no request fails, and nobody else moves
    Migrate {
        /// Migrations
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        repeat: u32,
        /// Requests a second through the load balancer
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
        rps: u32,
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// From breach to recovery: migrations, scale-ups, and Swarm's own reactions
    Mttr {
        /// Migrations, and scale-ups
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        repeat: u32,
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Three services, two scenarios, at once
    Concurrent {
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// The collector killed at each step of a migration; the next one finishes or takes it back
    Takeover {
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Three managers, the leader's machine lost in the middle of a migration; another collector finishes it
    Leaders {
        /// How often
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rounds: u32,
        /// One kind of loss alone; all in turn where none is named
        #[arg(long)]
        loss: Option<leaders::Loss>,
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Spikes, deploys, restarts and steady load that are no reason to act
    Calm {
        /// How long
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
        minutes: u32,
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

pub(crate) fn run(what: Drill) -> Result<()> {
    match what {
        Drill::Lab(what) => what.run(),
        Drill::Anywhere(what) => what.run(),
        Drill::Tool(what) => what.run(),
    }
}

impl OnLab {
    fn run(self) -> Result<()> {
        let begun = Instant::now();
        let options = match &self {
            Self::Leaders { .. } => {
                Options { managers: leaders::MANAGERS, ..Options::new(Name::Drill, leaders::NODES) }
            }
            Self::Migrate { .. }
            | Self::Mttr { .. }
            | Self::Concurrent { .. }
            | Self::Takeover { .. }
            | Self::Calm { .. } => lab_of_three(),
        };
        let outcome = on_lab(begun, options, &POLICY, async |stage| match &self {
            Self::Migrate { repeat, rps, .. } => migrate::drill(begun, stage, *repeat, *rps).await,
            Self::Mttr { repeat, .. } => mttr::drill(begun, stage, *repeat).await,
            Self::Concurrent { .. } => concurrent::drill(begun, stage).await,
            Self::Takeover { .. } => takeover::drill(begun, stage).await,
            Self::Leaders { rounds, loss, .. } => leaders::drill(begun, stage, *rounds, *loss).await,
            Self::Calm { minutes, .. } => {
                calm::drill(begun, stage, Duration::from_secs(u64::from(*minutes) * 60)).await
            }
        })?;
        let (Self::Migrate { json, .. }
        | Self::Mttr { json, .. }
        | Self::Concurrent { json }
        | Self::Takeover { json }
        | Self::Leaders { json, .. }
        | Self::Calm { json, .. }) = self;
        outcome.tell(json)
    }
}

/// One manager, two workers.
fn lab_of_three() -> Options {
    Options::new(Name::Drill, NODES)
}

/// Sets the stage on a Swarm of the drill's own, has it drilled, and cleans up whatever becomes of it.
fn on_lab(
    begun: Instant,
    options: Options,
    policy: &[&str],
    drill: impl AsyncFnOnce(&mut Stage) -> Result<Outcome>,
) -> Result<Outcome> {
    become_root()?;
    setup::for_lab()?;
    step(begun, "building the static release binaries");
    let binaries = build::binaries(Arch::HOST, KernelPrograms::IfPossible)?;
    runtime()?.block_on(async {
        let drilled = async {
            step(begun, &format!("bringing up a Swarm of {} nodes", options.nodes));
            Lab::clean(Name::Drill).await?;
            let lab = Lab::up(options, &|_| ()).await?;
            app::install(&lab, &binaries).await?;
            let mut stage = Stage::set(lab, binaries, policy).await?;
            let outcome = drill(&mut stage).await;
            outcome.with_context(|| stage.logs())
        };
        let outcome = tokio::select! {
            outcome = drilled => outcome,
            stopped = interrupted() => stopped.map(|()| Outcome::default()),
        };
        step(begun, "cleaning up");
        Lab::clean(Name::Drill).await.context("cleaning up; what is left: cargo xtask lab down --name drill")?;
        outcome
    })
}

/// A row of a table.
fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}
