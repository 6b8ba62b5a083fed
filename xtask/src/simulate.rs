//! `cargo xtask simulate`: builds the simulation, which wants optimized code, and runs it.

use anyhow::Result;

use crate::run::{cargo, run as run_command};

/// What the simulation and its tests are built with.
pub(crate) const SIMULATION: [&str; 4] = ["--profile", "simulation", "--package", "swarmguard-sim"];

pub(crate) fn run(args: &[String]) -> Result<()> {
    let mut simulation = cargo(&[&["run"], &SIMULATION[..], &["--"]].concat());
    simulation.args(args);
    run_command(simulation)
}
