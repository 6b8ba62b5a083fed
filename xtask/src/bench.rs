//! `cargo xtask bench`: what the agent costs, beside what else is there, measured in the same run on the same containers;
//! and how long the collector plans.
//!
//! - [`measure`]: CPU time and memory of processes, from `/proc`
//! - [`agent`]: the agent, Netdata, `docker stats` and the floor beside 50 containers
//! - [`scale`]: the agent with 1, 10, 100 and 500 cgroups
//! - [`packets`]: what the kernel programs add to a transfer
//! - [`plan`]: planning for a large Swarm
//! - [`hooks`]: what is attached to the kernel's hook for packets
//! - [`cgroups`]: cgroups that stand in for containers

mod agent;
mod cgroups;
mod hooks;
mod measure;
mod packets;
mod peers;
mod plan;
mod scale;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use swarmguard_lab::machine::Arch;
use swarmguard_lab::{Lab, Name};

use crate::build::KernelPrograms;
use crate::report::Outcome;
use crate::run::{become_root, interrupted, runtime};
use crate::{build, setup};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    #[command(flatten)]
    Agent(OfAgent),
    /// How long planning takes in a large Swarm
    Plan {
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

/// What needs root, the binaries and peers.
#[derive(Debug, Subcommand)]
pub(crate) enum OfAgent {
    /// The agent's cost with containers, beside Netdata, docker stats and a bare loop
    Agent {
        /// Containers, 1 to 200
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        containers: u32,
        /// Seconds of each measurement
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=3600))]
        seconds: u32,
        /// Measurements of each
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
        runs: u32,
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// The agent's cost per container with 1, 10, 50, 100 and 500 cgroups
    Scale {
        /// Seconds of each measurement
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=3600))]
        seconds: u32,
        /// Measurements of each
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
        runs: u32,
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// What counting traffic in the kernel costs a transfer: throughput and CPU time, with and without
    Packets {
        /// Stretches of a fifth of a second, of each kind with each of: nothing, empty programs, the agent's
        #[arg(long, default_value_t = 102, value_parser = clap::value_parser!(u32).range(6..=3000))]
        stretches: u32,
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

pub(crate) fn run(what: Bench) -> Result<()> {
    match what {
        Bench::Agent(what) => run_agent(what),
        Bench::Plan { json } => plan::run()?.tell(json),
    }
}

fn run_agent(what: OfAgent) -> Result<()> {
    become_root()?;
    setup::for_bench()?;
    let binaries = build::binaries(Arch::HOST, KernelPrograms::Needed)?;
    let floor = build::floor()?;
    let (outcome, json) = runtime()?.block_on(async {
        let (work, json): (std::pin::Pin<Box<dyn Future<Output = Result<Outcome>>>>, _) = match what {
            OfAgent::Agent { containers, seconds, runs, json } => {
                (Box::pin(agent::run(agent::Options { containers, seconds, runs }, &binaries, &floor)), json)
            }
            OfAgent::Scale { seconds, runs, json } => (Box::pin(scale::run(seconds, runs, &binaries)), json),
            OfAgent::Packets { stretches, json } => (Box::pin(packets::run(stretches, &binaries)), json),
        };
        let done = tokio::select! {
            done = work => done,
            stopped = interrupted() => stopped.map(|()| Outcome::default()),
        };
        Lab::clean(Name::Bench).await?;
        cgroups::remove_all();
        done.map(|done| (done, json))
    })?;
    outcome.tell(json)
}
