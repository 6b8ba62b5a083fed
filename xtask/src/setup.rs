//! `cargo xtask setup`: what the lab and the tests need from Debian, and nothing else.
//!
//! Only packages whose program is missing are installed. Their services are not started now: the lab runs its own, in
//! namespaces of its own. Debian enables them for the next boot, which is said.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ebpf;
use crate::run::{become_root, cargo, is_root, output, say};

/// Programs, and Debian's packages that have them.
const NEEDED: [(&str, &str); 7] = [
    ("dockerd", "docker.io"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("influxd", "influxdb"),
    ("victoria-metrics", "victoria-metrics"),
    ("haproxy", "haproxy"),
];

const SYSTEM_FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// Debian asks this file whether a package may start its service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, or only says so.
pub(crate) fn run(check: bool) -> Result<()> {
    components(check)?;
    if std::fs::read_to_string(POLICY).is_ok_and(|text| text == POLICY_TEXT) && is_root() && !check {
        // An interrupted run left it behind.
        std::fs::remove_file(POLICY).with_context(|| format!("removing {POLICY}"))?;
    }
    let mut missing: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !installed(program)).map(|(_, package)| *package).collect();
    if ebpf::compiler().is_err() {
        missing.extend(ebpf::DEBIANS_PACKAGES);
    }
    if missing.is_empty() && ebpf::linker().is_ok() {
        say("setup: all that is needed is installed");
        return Ok(());
    }
    if check && !missing.is_empty() {
        bail!("missing packages: {}; run: cargo xtask setup", missing.join(" "));
    }
    if check {
        ebpf::linker()?;
    }
    if !missing.is_empty() {
        packages(&missing)?;
    }
    if ebpf::linker().is_err() {
        ebpf::install_linker()?;
    }
    Ok(())
}

fn packages(missing: &[&str]) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").is_file() {
        bail!("this system has no apt-get: install what Debian calls {} by hand", missing.join(" "));
    }
    become_root()?;
    say(&format!("setup: installing {}", missing.join(" ")));
    apt(&["update", "--quiet"])?;
    let _policy = NoServices::declare()?;
    let mut install = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    install.extend(missing);
    apt(&install)?;
    say("setup: Debian starts these packages' services at the next boot; to prevent that: systemctl disable SERVICE");
    match NEEDED.iter().find(|(program, _)| !installed(program)) {
        Some((program, package)) => bail!("package {package} is installed, but there is no program {program}"),
        None => Ok(()),
    }
}

/// rustfmt and clippy come with rustup's default profile, but not with every other.
fn components(check: bool) -> Result<()> {
    for (command, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if output(cargo(&[command, "--version"])).is_ok() {
            continue;
        }
        if check {
            bail!("missing: cargo {command}; run: rustup component add {component}");
        }
        say(&format!("setup: adding rustup's component {component}"));
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", component]);
        crate::run::run(rustup).with_context(|| format!("cargo {command} is missing: install {component}"))?;
    }
    Ok(())
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from)).any(|folder| folder.join(program).is_file())
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
