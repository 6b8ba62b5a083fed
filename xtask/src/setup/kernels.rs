//! What the tests on other kernels need beyond the lab: emulators, their kernels, and a compiler for the architecture
//! that is not this machine's.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use swarmguard_lab::machine::{self, Arch};

use super::{Need, Sign, apt};
use crate::build::{c_library_package, gcc_package, has_musl_target, rust_library_folder, rust_library_package};
use crate::ebpf;
use crate::run::{become_root, output, run, say};

/// The package's own folder: its program has the same name as that of Debian's older compiler, which will not do.
const RUSTC_WEB: &str = "/usr/share/doc/rustc-web";

/// The packages.
pub(super) fn needs() -> Vec<Need> {
    let mut needs = vec![
        Need::program("qemu-system-x86_64", "qemu-system-x86"),
        Need::program("qemu-system-aarch64", "qemu-system-arm"),
        Need::program("setpriv", "util-linux"),
    ];
    if ebpf::compiler().is_err() {
        for (file, package) in ebpf::DEBIANS_PACKAGES {
            needs.push(Need { sign: Sign::File(file.into()), package: package.to_owned() });
        }
    }
    // Who has the target from rustup needs no second compiler and linker.
    for arch in foreign().filter(|arch| !has_musl_target(*arch)) {
        needs.push(Need::program(&format!("{arch}-linux-gnu-gcc"), &gcc_package(arch)));
        let (file, package) = c_library_package(arch);
        needs.push(Need { sign: Sign::File(file), package });
        needs.push(Need { sign: Sign::File(RUSTC_WEB.into()), package: "rustc-web".to_owned() });
        let package = rust_library_package(arch);
        needs.push(Need { sign: Sign::File(rust_library_folder(arch)), package });
    }
    needs
}

fn foreign() -> impl Iterator<Item = Arch> {
    Arch::ALL.into_iter().filter(|arch| *arch != Arch::HOST)
}

/// Lets apt know the packages of the other architecture; nothing is installed or replaced by that.
pub(super) fn architectures(check: bool) -> Result<()> {
    if !Path::new("/usr/bin/dpkg").is_file() {
        // The missing packages are named later.
        return Ok(());
    }
    let mut known = Command::new("dpkg");
    known.arg("--print-foreign-architectures");
    let known = output(known)?;
    for arch in foreign().map(Arch::debian).filter(|arch| !known.lines().any(|line| line == *arch)) {
        if check {
            bail!("missing: apt does not know the packages of {arch}; run: cargo xtask setup");
        }
        become_root()?;
        say(&format!("setup: adding {arch} to the architectures that apt knows packages of"));
        let mut add = Command::new("dpkg");
        add.args(["--add-architecture", arch]);
        run(add).with_context(|| format!("adding the architecture {arch}"))?;
        apt(&["update", "--quiet"])?;
    }
    Ok(())
}

/// Fetches the kernels that are emulated.
pub(super) fn machines(check: bool) -> Result<()> {
    for arch in Arch::ALL.into_iter().filter(|arch| !machine::is_prepared(*arch)) {
        if check {
            bail!("missing: a kernel for emulated {arch} machines; run: cargo xtask setup");
        }
        become_root()?;
        say(&format!("setup: fetching a kernel for emulated {arch} machines"));
        if machine::prepare(arch).is_err() {
            // What apt knows may be older than what there is to fetch.
            apt(&["update", "--quiet"])?;
            machine::prepare(arch)?;
        }
    }
    Ok(())
}
