//! `cargo xtask`: everything a developer or a curious user does with the project, one file for each command.

mod bench;
mod build;
mod demo;
mod drill;
mod ebpf;
mod fuzz;
mod lab;
mod mutants;
mod report;
mod run;
mod setup;
mod simulate;
mod test;
mod tidy;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use swarmguard_lab::machine::Arch;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the lab and the tests need; says what
    Setup {
        /// Only say what is missing; exit code 1 if anything is
        #[arg(long)]
        check: bool,
    },
    /// Build the static release binaries
    Build {
        /// For which architectures: x86_64, aarch64 or both, separated by a comma
        #[arg(long, value_delimiter = ',', default_values_t = [Arch::HOST])]
        arch: Vec<Arch>,
    },
    /// Show both scenarios on a three-node Swarm of its own, and clean up
    Demo {
        /// Leave everything running, and say where the pages are
        #[arg(long)]
        keep: bool,
    },
    /// Measure what the agent costs; exit code 1 when a promise of SPECIFICATION.md is missed
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Try SwarmGuard under conditions, and measure; exit code 1 when a promise of SPECIFICATION.md is missed
    Drill {
        #[command(subcommand)]
        what: Box<drill::Drill>,
    },
    /// Look for kernel files that the agent makes nonsense of; exit code 1 when one is found
    Fuzz {
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Change the planner in every small way and see whether a test notices; exit code 1 when too few are noticed
    Mutants {
        /// Changes tried at a time
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
        jobs: u32,
    },
    /// Run SwarmGuard in made-up worlds with faults; exit code 1 when a promise is broken in one
    // It has its own.
    #[command(disable_help_flag = true)]
    Simulate {
        /// What the simulation is told; --help lists it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The Swarm on one machine, alone
    Lab {
        #[command(subcommand)]
        action: lab::Action,
    },
    /// Format, lints, unit, integration and lab tests
    Test,
    /// The parts of `test` that need no lab: format, lints, and what no tool checks
    Tidy,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup { check } => setup::run(check),
        Command::Build { arch } => build::run(&arch),
        Command::Bench { what } => bench::run(what),
        Command::Drill { what } => drill::run(*what),
        Command::Demo { keep } => demo::run(keep),
        Command::Fuzz { seconds } => fuzz::run(seconds),
        Command::Mutants { jobs } => mutants::run(jobs),
        Command::Simulate { args } => simulate::run(&args),
        Command::Lab { action } => lab::run(action),
        Command::Test => test::run(),
        Command::Tidy => tidy::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
