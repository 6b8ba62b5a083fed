//! `cargo xtask simulate`: SwarmGuard in made-up worlds with faults, as many as asked for, and what must never happen in them.

mod series;

use std::process::ExitCode;

use clap::Parser;
use swarmguard_sim::script::Kind;

/// Run SwarmGuard in made-up worlds with faults; exit code 1 when a promise is broken in one
#[derive(Debug, Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Args {
    /// How many worlds, each from the next seed
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Show what happens in the first one
    #[arg(long)]
    trace: bool,
    /// Worlds in which things go wrong in the midst of actions
    #[arg(long, group = "kind")]
    aimed: bool,
    /// Days of a noisy but healthy Swarm, in which nothing is to be done
    #[arg(long, group = "kind")]
    calm: bool,
    /// Hours of it, with a tick each second
    #[arg(long, group = "kind")]
    calm_hour: bool,
}

impl Args {
    fn kind(&self) -> Kind {
        let kinds = [(self.aimed, Kind::Aimed), (self.calm, Kind::CalmDay), (self.calm_hour, Kind::CalmHour)];
        kinds.into_iter().find_map(|(is_asked_for, kind)| is_asked_for.then_some(kind)).unwrap_or(Kind::Faults)
    }
}

fn main() -> ExitCode {
    if series::run(&Args::parse()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
