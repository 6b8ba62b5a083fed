//! The programs under test: static release binaries, as a user installs them, one folder for each architecture.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use swarmguard_lab::machine::Arch;

/// The environment variable by which `cargo xtask test` says where an architecture's binaries are.
pub fn folder_variable(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "SWARMGUARD_BINARIES_X86_64",
        Arch::Arm64 => "SWARMGUARD_BINARIES_AARCH64",
    }
}

/// A program for an architecture.
///
/// # Errors
/// When it is not said where the programs are, or it is not there: these tests need their preparations.
pub fn program(arch: Arch, name: &str) -> Result<PathBuf> {
    let variable = folder_variable(arch);
    let folder = std::env::var_os(variable);
    let folder = folder.with_context(|| format!("{variable} is not set: run these tests with cargo xtask test"))?;
    let path = PathBuf::from(folder).join(name);
    ensure!(path.is_file(), "{} is not there: cargo xtask build --arch {arch}", path.display());
    Ok(path)
}
