//! `cargo xtask build`: the programs as they are released, static, so that they run on any Linux of the architecture.

use std::path::PathBuf;

use anyhow::{Context, Result};
use swarmguard_end_to_end::binaries::Binaries;

use crate::ebpf;
use crate::run::{cargo, output, run as run_command, say, target_folder};

/// One static file at a fixed address: a position-independent one is 150 KB larger for its relocations. Nothing unwinds,
/// since a panic aborts.
const RUSTFLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no";

/// Builds and says where the binaries are.
pub(crate) fn run() -> Result<()> {
    let Binaries { agent, collector, web_stress } = binaries()?;
    for path in [agent, collector, web_stress] {
        let bytes = std::fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?.len();
        say(&format!("{:>9.2} MiB  {}", bytes as f64 / f64::from(1 << 20), path.display()));
    }
    Ok(())
}

/// Builds the binaries for this machine.
pub(crate) fn binaries() -> Result<Binaries> {
    ebpf::build()?;
    let target = host_target()?;
    let mut build = cargo(&["build", "--release", "--target", &target]);
    build.args(["--package", "swarmguard-agent", "--package", "swarmguard-collector", "--package", "web-stress"]);
    // Only with --target named: else build scripts and macros would be linked statically too, and break.
    build.env("RUSTFLAGS", RUSTFLAGS);
    run_command(build)?;
    Ok(Binaries::in_folder(&folder(&target)))
}

/// Where they are.
pub(crate) fn folder(target: &str) -> PathBuf {
    target_folder().join(target).join("release")
}

/// The machine's own target, as rustc names it.
pub(crate) fn host_target() -> Result<String> {
    let mut rustc = std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg("-vV");
    let text = output(rustc)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say its host")
}
