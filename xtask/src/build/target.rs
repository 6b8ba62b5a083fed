//! Which compiler, library and flags make static programs for an architecture.
//!
//! Best is rustup's compiler with its musl target, which brings C library and linker for every architecture: a static
//! glibc is 0.9 MB larger, and resolves host names only where its shared twin is installed. With `rust-src` the
//! standard library is built along, for size and without what unwinds stacks, which is another 0.6 MB. Where rustup has
//! no musl target, glibc does: with this machine's compiler for its own architecture, with Debian's for another.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use swarmguard_lab::machine::Arch;

use crate::run::{output, rustc, which};

/// Debian's compiler: as good as rustup's, and of a version of its own.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// One static file at a fixed address: a position-independent one is 150 KB larger, for its relocations.
const STATIC: &str = "-C target-feature=+crt-static -C relocation-model=static";
/// The linker that rustup brings.
const RUSTUPS_LINKER: &str = "rust-lld";

/// What there is on this machine for an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    is_own: bool,
    musl_target: bool,
    library_source: bool,
    debians_library: bool,
    linker: bool,
}

/// How to build for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    arch: Arch,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// musl, and the standard library built along.
    MuslFromSource,
    /// musl, and the standard library as rustup has it.
    Musl,
    /// glibc, with the compiler and linker that build everything else.
    Glibc,
    /// glibc, with Debian's compiler and linker for the architecture.
    DebiansGlibc,
}

impl Target {
    /// # Errors
    /// Says what is missing, and how to get it.
    pub(crate) fn find(arch: Arch) -> Result<Self> {
        let facts = Facts {
            is_own: arch == Arch::HOST,
            musl_target: has_musl_target(arch),
            library_source: has_library_source(),
            debians_library: has_library(DEBIAN_RUSTC.into(), &glibc_triple(arch)),
            linker: which(&debians_linker(arch)).is_some(),
        };
        Ok(Self { arch, way: decide(arch, facts)? })
    }

    /// As rustc names it.
    pub(crate) fn triple(self) -> String {
        match self.way {
            Way::MuslFromSource | Way::Musl => musl_triple(self.arch),
            Way::Glibc | Way::DebiansGlibc => glibc_triple(self.arch),
        }
    }

    /// Tells cargo.
    pub(crate) fn prepare(self, cargo: &mut Command) {
        let triple = self.triple();
        cargo.args(["--target", &triple]);
        // Only with --target named: else build scripts and macros would be linked statically too, and break.
        let mut flags = STATIC.to_owned();
        match self.way {
            Way::MuslFromSource => {
                // Panics abort: nothing walks the stack, so nothing need say how.
                flags.push_str(" -C force-unwind-tables=no");
                cargo.args(["-Z", "build-std=std,panic_abort", "-Z", "build-std-features="]);
                // For `-Z` alone: no crate uses an unstable feature.
                cargo.env("RUSTC_BOOTSTRAP", "1");
            }
            Way::DebiansGlibc => {
                cargo.env("RUSTC", DEBIAN_RUSTC);
            }
            Way::Musl | Way::Glibc => {}
        }
        cargo.env("RUSTFLAGS", flags);
        if let Some(linker) = self.linker() {
            cargo.env(format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace('-', "_")), linker);
        }
    }

    fn linker(self) -> Option<String> {
        match self.way {
            Way::MuslFromSource | Way::Musl => Some(RUSTUPS_LINKER.to_owned()),
            Way::Glibc => None,
            Way::DebiansGlibc => Some(debians_linker(self.arch)),
        }
    }
}

fn decide(arch: Arch, facts: Facts) -> Result<Way> {
    match facts {
        Facts { musl_target: true, library_source: true, .. } => Ok(Way::MuslFromSource),
        Facts { musl_target: true, library_source: false, .. } => Ok(Way::Musl),
        Facts { is_own: true, .. } => Ok(Way::Glibc),
        Facts { debians_library: true, linker: true, .. } => Ok(Way::DebiansGlibc),
        Facts { debians_library: false, .. } => bail!(
            "no Rust library for {arch}; either: rustup target add {}, or on Debian: cargo xtask setup \
             (packages rustc-web and {})",
            musl_triple(arch),
            rust_library_package(arch)
        ),
        Facts { linker: false, .. } => bail!(
            "no linker {} for {arch}; either: rustup target add {}, or on Debian: cargo xtask setup (package {})",
            debians_linker(arch),
            musl_triple(arch),
            gcc_package(arch)
        ),
    }
}

/// The best target for an architecture.
pub(crate) fn musl_triple(arch: Arch) -> String {
    format!("{arch}-unknown-linux-musl")
}

fn glibc_triple(arch: Arch) -> String {
    format!("{arch}-unknown-linux-gnu")
}

/// Whether rustup has added the target to the compiler that builds everything else.
pub(crate) fn has_musl_target(arch: Arch) -> bool {
    has_library(rustc(), &musl_triple(arch))
}

/// The compiler names the folder whether it is there or not.
fn has_library(rustc: PathBuf, triple: &str) -> bool {
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", triple]);
    output(command).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Whether rustup has added the standard library's source to that compiler.
pub(crate) fn has_library_source() -> bool {
    let mut command = Command::new(rustc());
    command.args(["--print", "sysroot"]);
    output(command).is_ok_and(|folder| Path::new(folder.trim()).join("lib/rustlib/src/rust/library/std").is_dir())
}

fn debians_linker(arch: Arch) -> String {
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
    format!("/usr/lib/rustlib/{}/lib", glibc_triple(arch)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Facts =
        Facts { is_own: false, musl_target: true, library_source: true, debians_library: true, linker: true };

    fn way(facts: Facts) -> Result<Way> {
        decide(Arch::Arm64, facts)
    }

    #[test]
    fn the_smallest_way_that_there_is_is_taken() {
        let no_source = Facts { library_source: false, ..ALL };
        let no_musl = Facts { musl_target: false, ..ALL };
        for (facts, expected) in [
            (ALL, Way::MuslFromSource),
            (no_source, Way::Musl),
            (no_musl, Way::DebiansGlibc),
            (Facts { is_own: true, ..no_musl }, Way::Glibc),
            (Facts { is_own: true, debians_library: false, linker: false, ..no_musl }, Way::Glibc),
            (Facts { debians_library: false, linker: false, ..ALL }, Way::MuslFromSource),
        ] {
            assert_eq!(way(facts).unwrap(), expected, "{facts:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_ways_to_get_it() {
        let no_musl = Facts { musl_target: false, ..ALL };
        let error = way(Facts { debians_library: false, ..no_musl }).unwrap_err().to_string();
        assert!(error.contains("rustup target add aarch64-unknown-linux-musl"), "{error}");
        assert!(error.contains("libstd-rust-web-dev:arm64"), "{error}");
        let error = way(Facts { linker: false, ..no_musl }).unwrap_err().to_string();
        assert!(error.contains("aarch64-linux-gnu-gcc") && error.contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn the_linker_is_named_as_cargo_reads_it() {
        for (way, variable, linker) in [
            (Way::DebiansGlibc, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
            (Way::Musl, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld"),
        ] {
            let mut cargo = Command::new("cargo");
            Target { arch: Arch::Arm64, way }.prepare(&mut cargo);
            let value = |key: &str| cargo.get_envs().find(|(name, _)| *name == key).and_then(|(_, value)| value);
            assert_eq!(value(variable), Some(linker.as_ref()));
            assert!(value("RUSTFLAGS").is_some());
        }
    }
}
