//! `cargo xtask build`: the programs as they are released, static, so that they run on any Linux of the architecture.

mod target;

use std::path::PathBuf;

use anyhow::{Context, Result};
use swarmguard_end_to_end::binaries::Binaries;
use swarmguard_lab::machine::Arch;

use crate::ebpf;
use crate::run::{cargo, run as run_command, say, target_folder};

pub(crate) use target::{
    Target, c_library_package, gcc_package, has_library_source, has_musl_target, musl_triple, rust_library_folder,
    rust_library_package,
};

/// Builds for each architecture and says where the binaries are.
pub(crate) fn run(archs: &[Arch]) -> Result<()> {
    for arch in archs {
        let Binaries { agent, collector, traffic, web_stress } = binaries(*arch, KernelPrograms::Needed)?;
        for path in [agent, collector, traffic, web_stress] {
            let bytes = std::fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?.len();
            say(&format!("{:>9.2} MiB  {}", bytes as f64 / f64::from(1 << 20), path.display()));
        }
    }
    Ok(())
}

/// Whether the agent may be built without the programs that it loads into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelPrograms {
    /// No.
    Needed,
    /// Yes, where there is no compiler for them, and it is said.
    IfPossible,
}

/// Builds the binaries for an architecture.
pub(crate) fn binaries(arch: Arch, programs: KernelPrograms) -> Result<Binaries> {
    Ok(Binaries::in_folder(&folder(arch, programs)?))
}

/// Builds the binaries for an architecture, and says where they are.
pub(crate) fn folder(arch: Arch, programs: KernelPrograms) -> Result<PathBuf> {
    match (ebpf::compiler().and(ebpf::linker()), programs) {
        (Ok(_), _) | (Err(_), KernelPrograms::Needed) => ebpf::build()?,
        (Err(error), KernelPrograms::IfPossible) => {
            say(&format!("the agent is built without kernel programs: {error}"))
        }
    }
    let target = Target::find(arch)?;
    let mut build = cargo(&["build", "--release"]);
    build.args(["--package", "swarmguard-agent", "--package", "swarmguard-collector"]);
    build.args(["--package", "traffic", "--package", "web-stress"]);
    target.prepare(&mut build);
    run_command(build)?;
    Ok(release_folder(target))
}

/// Builds the program that does nothing but read, for [`crate::bench`].
pub(crate) fn floor() -> Result<PathBuf> {
    let target = Target::find(Arch::HOST)?;
    let mut build = cargo(&["build", "--release", "--quiet", "--package", "floor"]);
    target.prepare(&mut build);
    run_command(build)?;
    Ok(release_folder(target).join("floor"))
}

fn release_folder(target: Target) -> PathBuf {
    target_folder().join(target.triple()).join("release")
}
