//! `cargo xtask build`: the programs as they are released, static, so that they run on any Linux of the architecture.

mod target;

use std::path::PathBuf;

use anyhow::{Context, Result};
use swarmguard_end_to_end::binaries::Binaries;
use swarmguard_lab::machine::Arch;

use crate::run::{cargo, run as run_command, say, target_folder};

pub(crate) use target::{
    Target, c_library_package, gcc_package, own_compiler_knows, rust_library_folder, rust_library_package,
};

/// Builds for each architecture and says where the binaries are.
pub(crate) fn run(archs: &[Arch]) -> Result<()> {
    for arch in archs {
        let Binaries { agent, collector, traffic, web_stress } = binaries(*arch)?;
        for path in [agent, collector, traffic, web_stress] {
            let bytes = std::fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?.len();
            say(&format!("{:>9.2} MiB  {}", bytes as f64 / f64::from(1 << 20), path.display()));
        }
    }
    Ok(())
}

/// Builds the binaries for an architecture.
pub(crate) fn binaries(arch: Arch) -> Result<Binaries> {
    Ok(Binaries::in_folder(&folder(arch)?))
}

/// Builds the binaries for an architecture, and says where they are.
pub(crate) fn folder(arch: Arch) -> Result<PathBuf> {
    let target = Target::find(arch)?;
    let mut build = cargo(&["build", "--release"]);
    build.args(["--package", "swarmguard-agent", "--package", "swarmguard-collector"]);
    build.args(["--package", "traffic", "--package", "web-stress"]);
    target.prepare(&mut build);
    run_command(build)?;
    Ok(target_folder().join(target.triple).join("release"))
}
