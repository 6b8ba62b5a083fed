//! `cargo xtask setup`: what the lab and the tests need from Debian, and nothing else.
//!
//! Only packages whose program or file is missing are installed. Their services are not started now: the lab
//! runs its own, in namespaces of its own. Debian enables them for the next boot, which is said.

mod kernels;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use swarmguard_lab::machine::Arch;

use crate::build::{has_library_source, has_musl_target, musl_triple};
use crate::ebpf;
use crate::run::{become_root, cargo, is_root, output, say, which};

/// Programs that the lab needs, and Debian's packages that have them.
const LAB: [(&str, &str); 7] = [
    ("dockerd", "docker.io"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("influxd", "influxdb"),
    ("victoria-metrics", "victoria-metrics"),
    ("haproxy", "haproxy"),
];

/// A package, and by what it is seen that it is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Need {
    sign: Sign,
    package: String,
}

/// What a package brings.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sign {
    /// A program, in any of the usual folders.
    Program(String),
    /// A file or a folder, for packages without a program.
    File(PathBuf),
}

impl Need {
    fn program(program: &str, package: &str) -> Self {
        Self { sign: Sign::Program(program.to_owned()), package: package.to_owned() }
    }

    fn is_installed(&self) -> bool {
        match &self.sign {
            Sign::Program(program) => which(program).is_some(),
            Sign::File(path) => path.exists(),
        }
    }
}

/// Debian asks this file whether a package may start its service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing for all that can be done here, or only says so.
pub(crate) fn run(check: bool) -> Result<()> {
    toolchain(check)?;
    kernels::architectures(check)?;
    packages(lab().chain(kernels::needs()), check)?;
    if ebpf::linker().is_err() {
        if check {
            ebpf::linker()?;
        }
        ebpf::install_linker()?;
    }
    kernels::machines(check)?;
    say("setup: all that is needed is installed");
    Ok(())
}

/// Installs what is missing for the lab alone: whoever wants to see it needs no emulators and compilers.
pub(crate) fn for_lab() -> Result<()> {
    packages(lab(), false)
}

/// Installs what is missing for the benchmarks: the lab, whom the agent is measured beside, and what transfers.
pub(crate) fn for_bench() -> Result<()> {
    let needs = [("netdata", "netdata-core"), ("ss", "iproute2"), ("iperf3", "iperf3")];
    packages(lab().chain(needs.map(|(program, package)| Need::program(program, package))), false)
}

/// Installs what is missing for the fuzzer.
pub(crate) fn for_fuzz() -> Result<()> {
    packages(std::iter::once(Need::program("g++", "g++")), false)
}

fn lab() -> impl Iterator<Item = Need> {
    LAB.into_iter().map(|(program, package)| Need::program(program, package))
}

fn packages(needs: impl Iterator<Item = Need>, check: bool) -> Result<()> {
    if std::fs::read_to_string(POLICY).is_ok_and(|text| text == POLICY_TEXT) && is_root() && !check {
        // An interrupted run left it behind.
        std::fs::remove_file(POLICY).with_context(|| format!("removing {POLICY}"))?;
    }
    let missing: Vec<Need> = needs.filter(|need| !need.is_installed()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|need| need.package.as_str()).collect();
    if check {
        bail!("missing packages: {}; run: cargo xtask setup", names.join(" "));
    }
    if !Path::new("/usr/bin/apt-get").is_file() {
        bail!("this system has no apt-get: install what Debian calls {} by hand", names.join(" "));
    }
    become_root()?;
    say(&format!("setup: installing {}", names.join(" ")));
    apt(&["update", "--quiet"])?;
    let _policy = NoServices::declare()?;
    let mut install = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    install.extend(&names);
    apt(&install)?;
    say("setup: Debian starts these packages' services at the next boot; to prevent that: systemctl disable SERVICE");
    match missing.iter().find(|need| !need.is_installed()) {
        Some(Need { sign, package }) => bail!("package {package} is installed, but {sign:?} is not there"),
        None => Ok(()),
    }
}

/// What rustup adds to the compiler: before this process becomes root, so that it is the user's.
///
/// # Errors
/// When rustfmt or clippy is missing and cannot be added. The rest has a substitute, so its lack is only said.
pub(crate) fn toolchain(check: bool) -> Result<()> {
    // They come with rustup's default profile, but not with every other.
    for (command, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if output(cargo(&[command, "--version"])).is_ok() {
            continue;
        }
        if check {
            bail!("missing: cargo {command}; run: rustup component add {component}");
        }
        rustup(["component", "add", component]).with_context(|| format!("cargo {command} is missing"))?;
    }
    let targets = Arch::ALL.into_iter().filter(|arch| !has_musl_target(*arch)).map(musl_triple);
    let mut smaller: Vec<[String; 3]> = targets.map(|triple| ["target".into(), "add".into(), triple]).collect();
    if !has_library_source() {
        smaller.push(["component", "add", "rust-src"].map(str::to_owned));
    }
    for args in smaller {
        if check {
            say(&format!("setup: binaries would be smaller with: rustup {}", args.join(" ")));
        } else if let Err(error) = rustup(args.each_ref().map(String::as_str)) {
            say(&format!("setup: binaries will be larger than they could be: {error:#}"));
        }
    }
    Ok(())
}

fn rustup(args: [&str; 3]) -> Result<()> {
    say(&format!("setup: rustup {}", args.join(" ")));
    let mut rustup = Command::new("rustup");
    rustup.args(args);
    crate::run::run(rustup)
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    crate::run::run(command).context("installing packages")
}

/// 101: "action forbidden by policy".
const POLICY_TEXT: &str = "#!/bin/sh\n# made by cargo xtask setup, for as long as it installs packages\nexit 101\n";

/// While it lives, packages are installed without starting their services. A policy that is there already stays.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn declare() -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        // One of ours that an interrupted run left behind is ours again.
        match std::fs::read_to_string(POLICY) {
            Ok(text) => return Ok(Self { ours: text == POLICY_TEXT }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {POLICY}")),
        }
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o755).open(POLICY);
        let mut file = file.with_context(|| format!("writing {POLICY}"))?;
        std::io::Write::write_all(&mut file, POLICY_TEXT.as_bytes()).with_context(|| format!("writing {POLICY}"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // Left behind it would keep every package's service from starting: say so if it cannot be removed.
            if let Err(error) = std::fs::remove_file(POLICY) {
                say(&format!("setup: remove {POLICY} by hand: {error}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_seen_by_its_program_or_its_file() {
        let file = |path: &str| Need { sign: Sign::File(path.into()), package: "x".to_owned() };
        assert!(Need::program("sh", "dash").is_installed());
        assert!(!Need::program("no-such-program", "x").is_installed());
        assert!(file("/usr").is_installed());
        assert!(!file("/usr/no-such-file").is_installed());
    }
}
