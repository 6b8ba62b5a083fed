//! One process of qemu, for as long as the value lives.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

use super::arch::Arch;
use crate::command::program;

/// Two, so that what is counted for each processor has to be added up.
const PROCESSORS: &str = "2";
const MEMORY_MIB: &str = "512";

/// A machine that runs.
#[derive(Debug)]
pub(super) struct Emulator {
    child: Child,
    console: Option<ChildStdout>,
}

impl Emulator {
    /// Turns the machine on.
    pub(super) fn start(arch: Arch, kernel: &Path, initrd: &File, command_line: &[String]) -> Result<Self> {
        let (name, processor, console) = match arch {
            Arch::Amd64 => ("qemu-system-x86_64", &["-cpu", "max"][..], "ttyS0"),
            // A Raspberry Pi 4's.
            Arch::Arm64 => ("qemu-system-aarch64", &["-machine", "virt", "-cpu", "cortex-a72"][..], "ttyAMA0"),
        };
        // A kernel that panics is to end, not to wait for somebody who reads why.
        let append = format!("console={console} panic=-1 quiet {}", command_line.join(" "));
        // Emulated also where there is KVM: a test must not depend on whose machine it runs on.
        let mut command = Command::new(program("setpriv")?);
        command
            .args(["--pdeathsig", "KILL"])
            .arg(program(name)?)
            .args(processor)
            .args(["-accel", "tcg,thread=multi", "-smp", PROCESSORS, "-m", MEMORY_MIB])
            .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"])
            .arg("-kernel")
            .arg(kernel)
            // The other process's view of this one's open file: it has no name of its own that could stay behind.
            .args(["-initrd", &format!("/proc/{}/fd/{}", std::process::id(), initrd.as_raw_fd())])
            .args(["-append", &append])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let console = child.stdout.take();
        Ok(Self { child, console })
    }

    /// What the machine prints. It can be taken once.
    pub(super) fn console(&mut self) -> Result<ChildStdout> {
        self.console.take().context("the console is being read already")
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
