//! The kernel programs: which compiler can build them here, and building them.
//!
//! Two ways are known. rustup's nightly with `rust-src` builds `core` for the kernel itself; Debian's `rustc-web` has it
//! built (`libstd-rust-web-dev-bpf`), and may use unstable features as it is told to. Both link with `bpf-linker`, which
//! must be built with an LLVM that is at least the compiler's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{output, root, run, say, target_folder};

/// The target: the kernel's, with the byte order of all processors that the agent runs on.
const TARGET: &str = "bpfel-unknown-none";
/// Tells the agent's build script where the objects are.
pub(crate) const FOLDER_VARIABLE: &str = "SWARMGUARD_EBPF_FOLDER";
const DEBIANS_RUSTC: &str = "/usr/bin/rustc";
const LINKER: &str = "bpf-linker";

/// What Debian's way needs, by a file of each.
pub(crate) const DEBIANS_PACKAGES: [(&str, &str); 4] = [
    ("/usr/share/doc/rustc-web", "rustc-web"),
    ("/usr/share/doc/libstd-rust-web-dev-bpf", "libstd-rust-web-dev-bpf"),
    ("/usr/lib/llvm-22/bin/llvm-config", "llvm-22-dev"),
    ("/usr/share/doc/libpolly-22-dev", "libpolly-22-dev"),
];
/// The LLVM that Debian's rustc-web is built with, and where Debian has it.
const DEBIANS_LLVM: (&str, &str) = ("llvm-22", "/usr/lib/llvm-22");
const LINKER_VERSION: &str = "0.13.0";

/// A compiler that can build kernel programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// rustup's nightly, which builds `core` from its source.
    Nightly,
    /// Debian's, which has `core` for the kernel.
    Debians,
}

/// The compiler to build with.
///
/// # Errors
/// Says how to get one.
pub(crate) fn compiler() -> Result<Compiler> {
    match (nightly_has_source(), debians_has_core()) {
        (true, _) => Ok(Compiler::Nightly),
        (false, true) => Ok(Compiler::Debians),
        (false, false) => bail!(
            "no compiler for kernel programs: run cargo xtask setup (on Debian, installs {}), or \
             rustup toolchain install nightly --component rust-src && cargo install {LINKER}",
            DEBIANS_PACKAGES.map(|(_, package)| package).join(" ")
        ),
    }
}

/// Where `bpf-linker` is.
///
/// # Errors
/// Says how to get it.
pub(crate) fn linker() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(cargos_programs());
    let found = folders.map(|folder| folder.join(LINKER)).find(|file| file.is_file());
    found.with_context(|| format!("{LINKER} is missing: run cargo xtask setup, or cargo install {LINKER}"))
}

fn cargos_programs() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    Some(home?.join("bin"))
}

fn nightly_has_source() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["+nightly", "--print", "sysroot"]);
    output(rustc).is_ok_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn debians_has_core() -> bool {
    let mut rustc = Command::new(DEBIANS_RUSTC);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    output(rustc).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Builds `bpf-linker` with Debian's LLVM, into cargo's own folder of programs.
///
/// # Errors
/// When it cannot be downloaded or built.
pub(crate) fn install_linker() -> Result<()> {
    say(&format!("setup: building {LINKER} {LINKER_VERSION}, about a minute"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "--quiet", LINKER, "--version", LINKER_VERSION, "--no-default-features"]);
    cargo.args(["--features", DEBIANS_LLVM.0]).env("LLVM_PREFIX", DEBIANS_LLVM.1);
    run(cargo)
}

/// Where the objects are when they are built.
pub(crate) fn folder() -> PathBuf {
    target_folder().join("ebpf").join(TARGET).join("release")
}

/// Builds the kernel programs.
///
/// # Errors
/// When there is no compiler or linker, with how to get them; when the programs do not build.
pub(crate) fn build() -> Result<()> {
    let (compiler, linker) = (compiler()?, linker()?);
    let mut cargo = match compiler {
        Compiler::Nightly => {
            // Through rustup's own program: the `cargo` that runs this task belongs to one toolchain.
            let mut cargo = Command::new("cargo");
            cargo.args(["+nightly", "build", "-Z", "build-std=core"]);
            cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
            cargo
        }
        Compiler::Debians => {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.arg("build").env("RUSTC", DEBIANS_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            cargo
        }
    };
    cargo.args(["--quiet", "--release", "--locked", "--target", TARGET]).current_dir(root().join("agent-ebpf"));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", format!("-Clinker={}", linker.display())).env_remove("RUSTFLAGS");
    cargo.env("CARGO_TARGET_DIR", target_folder().join("ebpf"));
    run(cargo).context("building the kernel programs")
}
