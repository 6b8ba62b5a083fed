//! A throw-away machine with a kernel of its own, in which a script runs as root: what containers on this machine cannot
//! show is how a program behaves on another kernel, another processor or with another kernel command line.
//!
//! It is emulated, so it needs no hardware virtualisation and can be of either architecture; it has Debian's cloud
//! kernel, busybox, pure cgroup v2 and no network or disk. Calls block, as there is nothing to do meanwhile.
//!
//! Invariant: a machine leaves nothing behind. Its files are in memory, and qemu ends with the call that started it,
//! also when that panics or its process is killed.

mod arch;
mod console;
mod emulator;
mod initrd;
mod modules;
mod packages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub use arch::Arch;
pub use console::Output;

use console::Console;
use emulator::Emulator;
use initrd::Initrd;
use packages::Packages;

/// What the first process does: mounts, modules, then the script between two marks.
const INIT: &str = include_str!("machine/init.sh");

/// Who there is: root, and somebody who may do nothing.
const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct Machine {
    arch: Arch,
    files: Vec<(PathBuf, String)>,
    modules: Vec<String>,
    command_line: Vec<String>,
}

impl Machine {
    /// A machine with nothing but busybox.
    pub fn new(arch: Arch) -> Self {
        Self { arch, files: Vec::new(), modules: Vec::new(), command_line: Vec::new() }
    }

    /// Puts a file in, to be run from `/bin` by its own name. There are no libraries: a program must be static.
    #[must_use]
    pub fn program(self, source: &Path) -> Self {
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.file(source, &format!("bin/{name}"))
    }

    /// Puts a file in, at a path below the root.
    #[must_use]
    pub fn file(mut self, source: &Path, target: &str) -> Self {
        self.files.push((source.to_owned(), target.to_owned()));
        self
    }

    /// Loads a kernel module, and before it those that it depends on.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Adds a word to the kernel's command line.
    #[must_use]
    pub fn kernel_word(mut self, word: &str) -> Self {
        self.command_line.push(word.to_owned());
        self
    }

    /// Boots, runs the script with busybox's shell, and gives what was printed and the script's exit status. The time
    /// includes booting, which takes a few seconds.
    ///
    /// # Errors
    /// When the machine cannot be made or started, or the script has not ended in time; not for the exit status.
    pub fn run(&self, script: &str, timeout: Duration) -> Result<Output> {
        let packages = Packages::of(self.arch)?;
        let initrd = self.initrd(&packages, script)?;
        let emulator = Emulator::start(self.arch, &packages.kernel(), &initrd, &self.command_line)?;
        Console::new(timeout)
            .read(emulator)
            .with_context(|| format!("the emulated {} machine did not run its script to the end", self.arch.debian()))
    }

    fn initrd(&self, packages: &Packages, script: &str) -> Result<std::fs::File> {
        let mut initrd = Initrd::new()?;
        for folder in ["bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp"] {
            initrd.folder(folder)?;
        }
        initrd.copy(&packages.busybox(), "bin/busybox")?;
        initrd.file("init", INIT.as_bytes())?;
        initrd.file("script", script.as_bytes())?;
        initrd.file("etc/passwd", PASSWD.as_bytes())?;
        initrd.file("etc/group", GROUP.as_bytes())?;
        let modules = modules::in_order(&packages.modules(), &self.modules)?;
        for (place, module) in modules.iter().enumerate() {
            // The shell sorts by name.
            initrd.copy(module, &format!("modules/{place:03}.ko"))?;
        }
        for (source, target) in &self.files {
            initrd.copy(source, target)?;
        }
        initrd.finish()
    }
}

/// Fetches what machines of this architecture need, unless it is there: needs root, a network and apt's lists.
///
/// # Errors
/// When it cannot be fetched.
pub fn prepare(arch: Arch) -> Result<()> {
    Packages::of(arch).map(drop)
}

/// Whether [`prepare`] has been done.
pub fn is_prepared(arch: Arch) -> bool {
    Packages::are_there(arch)
}
