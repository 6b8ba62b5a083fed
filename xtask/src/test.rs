//! `cargo xtask test`: everything there is to check, in the order in which it fails fastest.
//!
//! The end-to-end tests share one lab, which is brought up and taken down here, whatever happens. Those on other kernels
//! boot their own machines, with the binaries of both architectures.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use swarmguard_end_to_end::binaries::FOLDER_VARIABLE;
use swarmguard_kernels::binaries::folder_variable;
use swarmguard_lab::machine::Arch;
use swarmguard_lab::{Lab, Name};

use crate::build::KernelPrograms;
use crate::run::{become_root, cargo, interrupted, run as run_command, runtime, step};
use crate::simulate::SIMULATION;
use crate::{build, ebpf, setup, tidy};

pub(crate) fn run() -> Result<()> {
    let begun = Instant::now();
    step(begun, "checking what is needed");
    setup::toolchain(false)?;
    become_root()?;
    setup::run(false)?;
    step(begun, "building the kernel programs");
    ebpf::build()?;
    step(begun, "format and lints");
    tidy::run()?;
    step(begun, "unit and integration tests");
    run_command(without_preparations())?;
    step(begun, "made-up worlds with faults");
    let planted = ["--features", "planted-bugs", "--", "--nocapture", "--test-threads=1"];
    run_command(cargo(&[&["test", "--quiet"], &SIMULATION[..], &planted].concat()))?;
    step(begun, "building the static release binaries of both architectures");
    let mut on_other_kernels = cargo(&["test", "--quiet", "--package", "swarmguard-kernels", "--", "--nocapture"]);
    for arch in Arch::ALL {
        on_other_kernels.env(folder_variable(arch), build::folder(arch, KernelPrograms::Needed)?);
    }
    step(begun, "the agent on other kernels");
    run_command(on_other_kernels)?;
    step(begun, "building the end-to-end tests");
    run_command(cargo(&["test", "--quiet", "--package", "swarmguard-end-to-end", "--no-run"]))?;
    step(begun, "end-to-end tests on a Swarm of three nodes");
    let mut tests =
        cargo(&["test", "--quiet", "--package", "swarmguard-end-to-end", "--", "--nocapture", "--test-threads=1"]);
    tests.env(FOLDER_VARIABLE, build::folder(Arch::HOST, KernelPrograms::Needed)?);
    runtime()?.block_on(async {
        let passed = tokio::select! {
            passed = finished(tests) => passed,
            interrupted = interrupted() => interrupted,
        };
        Lab::clean(Name::Test).await.context("cleaning up; what is left: cargo xtask lab down --name test")?;
        passed
    })?;
    step(begun, "all passed");
    Ok(())
}

/// All tests but those that need what is built and brought up here, and the simulation, which wants optimized code.
fn without_preparations() -> Command {
    let mut tests = cargo(&["test", "--quiet", "--workspace"]);
    tests.args([
        "--exclude",
        "swarmguard-end-to-end",
        "--exclude",
        "swarmguard-kernels",
        "--exclude",
        "swarmguard-sim",
    ]);
    tests
}

/// Runs beside the wait for a signal, and ends with it.
async fn finished(command: Command) -> Result<()> {
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().context("starting the tests")?;
    let status = child.wait().await.context("waiting for the tests")?;
    anyhow::ensure!(status.success(), "the end-to-end tests failed: {status}");
    Ok(())
}
