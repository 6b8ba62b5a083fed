//! Which compiler, linker and flags make static programs for an architecture.
//!
//! For this machine's own it is what builds everything else. For another one it is the same compiler, if rustup has
//! added the target to it, and else Debian's, whose library for the other architecture is a package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use swarmguard_lab::machine::Arch;

use crate::run::{host_target, output, rustc, which};

/// Debian's compiler: as good as rustup's, and of a version of its own.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// One static file at a fixed address: a position-independent one is 150 KB larger, for its relocations.
const RUSTFLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// What there is on this machine for an architecture that is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    own_compiler_knows_it: bool,
    debians_compiler_knows_it: bool,
    linker: bool,
}

/// How to build for a target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As rustc names it.
    pub(crate) triple: String,
    /// Another compiler than cargo would take by itself.
    rustc: Option<&'static str>,
    /// Another linker than rustc would take by itself.
    linker: Option<String>,
}

impl Target {
    /// # Errors
    /// Says what is missing, and how to get it.
    pub(crate) fn find(arch: Arch) -> Result<Self> {
        if arch == Arch::HOST {
            return Ok(Self { triple: host_target()?, rustc: None, linker: None });
        }
        let facts = Facts {
            own_compiler_knows_it: own_compiler_knows(arch),
            debians_compiler_knows_it: knows(DEBIAN_RUSTC.into(), arch),
            linker: which(&linker(arch)).is_some(),
        };
        Self::decide(arch, facts)
    }

    fn decide(arch: Arch, facts: Facts) -> Result<Self> {
        let (triple, linker) = (triple(arch), linker(arch));
        let rustc = match facts {
            Facts { own_compiler_knows_it: true, .. } => None,
            Facts { debians_compiler_knows_it: true, .. } => Some(DEBIAN_RUSTC),
            Facts { own_compiler_knows_it: false, debians_compiler_knows_it: false, .. } => bail!(
                "no Rust library for {triple}; either: rustup target add {triple}, or on Debian: cargo xtask setup \
                 (packages rustc-web and {})",
                rust_library_package(arch)
            ),
        };
        if !facts.linker {
            bail!("no linker {linker} for {triple}; on Debian: cargo xtask setup (package {})", gcc_package(arch));
        }
        Ok(Self { triple, rustc, linker: Some(linker) })
    }

    /// Tells cargo.
    pub(crate) fn prepare(&self, cargo: &mut Command) {
        cargo.args(["--target", &self.triple]);
        // Only with --target named: else build scripts and macros would be linked statically too, and break.
        cargo.env("RUSTFLAGS", RUSTFLAGS);
        if let Some(rustc) = self.rustc {
            cargo.env("RUSTC", rustc);
        }
        if let Some(linker) = &self.linker {
            let target = self.triple.to_uppercase().replace('-', "_");
            cargo.env(format!("CARGO_TARGET_{target}_LINKER"), linker);
        }
    }
}

/// The target for an architecture, as rustc names it.
fn triple(arch: Arch) -> String {
    format!("{arch}-unknown-linux-gnu")
}

/// Whether rustup has added the target to the compiler that builds everything else.
pub(crate) fn own_compiler_knows(arch: Arch) -> bool {
    knows(rustc(), arch)
}

/// The compiler names the folder whether it is there or not.
fn knows(rustc: PathBuf, arch: Arch) -> bool {
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", &triple(arch)]);
    output(command).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

fn linker(arch: Arch) -> String {
    format!("{arch}-linux-gnu-gcc")
}

/// Debian's package with the linker.
pub(crate) fn gcc_package(arch: Arch) -> String {
    // A package's name has no underscore.
    format!("gcc-{}-linux-gnu", arch.name().replace('_', "-"))
}

/// A file of Debian's package with the C library to link with, and the package.
pub(crate) fn c_library_package(arch: Arch) -> (PathBuf, String) {
    (format!("/usr/{arch}-linux-gnu/lib/libc.a").into(), format!("libc6-dev-{}-cross", arch.debian()))
}

/// Debian's package with Rust's library.
pub(crate) fn rust_library_package(arch: Arch) -> String {
    format!("libstd-rust-web-dev:{}", arch.debian())
}

/// Where that package puts it.
pub(crate) fn rust_library_folder(arch: Arch) -> PathBuf {
    format!("/usr/lib/rustlib/{}/lib", triple(arch)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(own: bool, debians: bool, linker: bool) -> Result<Target> {
        let facts = Facts { own_compiler_knows_it: own, debians_compiler_knows_it: debians, linker };
        Target::decide(Arch::Arm64, facts)
    }

    #[test]
    fn rustups_target_comes_before_debians_compiler() {
        for (own, debians, expected) in [(true, true, None), (true, false, None), (false, true, Some(DEBIAN_RUSTC))] {
            let target = decide(own, debians, true).unwrap();
            assert_eq!(target.rustc, expected);
            assert_eq!(target.triple, "aarch64-unknown-linux-gnu");
            assert_eq!(target.linker.as_deref(), Some("aarch64-linux-gnu-gcc"));
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_ways_to_get_it() {
        let error = decide(false, false, true).unwrap_err().to_string();
        assert!(error.contains("rustup target add aarch64-unknown-linux-gnu"), "{error}");
        assert!(error.contains("libstd-rust-web-dev:arm64"), "{error}");
        let error = decide(true, true, false).unwrap_err().to_string();
        assert!(error.contains("aarch64-linux-gnu-gcc") && error.contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn the_linker_is_named_as_cargo_reads_it() {
        let mut cargo = Command::new("cargo");
        decide(false, true, true).unwrap().prepare(&mut cargo);
        let named = |key: &str| cargo.get_envs().any(|(name, value)| name == key && value.is_some());
        assert!(named("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER") && named("RUSTC") && named("RUSTFLAGS"));
    }
}
