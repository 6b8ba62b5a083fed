//! What this kernel offers, and what is to be attached to it.
//!
//! [`Facts::gather`] asks once and changes nothing; [`decide`] is pure. Versions are those in which the mainline kernel
//! got a feature; whoever has it from elsewhere is told which one is missing.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cgroup::hierarchy::Hierarchies;
use crate::host::Host;

/// What turns on the memory controller, which Raspberry Pis have off by default.
pub const MEMORY_HELP: &str = "add cgroup_enable=memory cgroup_memory=1 to the kernel's command line (on a Raspberry Pi in \
                           /boot/firmware/cmdline.txt), and take out cgroup_disable=memory, then restart";

/// A kernel's version: major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

/// Links: what is attached goes with the agent and excludes nobody. (Arrays that can be mapped are there since 5.5.)
const LINKS_SINCE: Version = Version(5, 7);
/// Before, one right was all of these.
const CAP_BPF_SINCE: Version = Version(5, 8);
/// Ring buffers: kills are told at once.
const RING_BUFFERS_SINCE: Version = Version(5, 8);

impl Version {
    /// From `uname -r`: `6.1.0-42-cloud-arm64`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|char: char| !char.is_ascii_digit()).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A right that a process can have; see capabilities(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Administers the network, and attaches programs to it.
    NetAdmin,
    /// Older kernels know no finer right for all of this.
    SysAdmin,
    /// Watches the whole system.
    Perfmon,
    /// Loads programs into the kernel.
    Bpf,
}

impl Capability {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    /// Its bit in `CapEff` of `/proc/<pid>/status` (linux/capability.h).
    fn bit(self) -> u32 {
        match self {
            Self::NetAdmin => 12,
            Self::SysAdmin => 21,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }
}

/// The rights of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u64);

impl Capabilities {
    /// From the text of `/proc/self/status`.
    pub fn parse(status: &str) -> Option<Self> {
        let digits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(digits.trim(), 16).ok().map(Self)
    }

    /// Whether this process has it; `CAP_SYS_ADMIN` stands for the two that were split off it (Linux 5.8).
    pub fn has(self, capability: Capability) -> bool {
        let one = |capability: Capability| self.0 & (1 << capability.bit()) != 0;
        match capability {
            Capability::Perfmon | Capability::Bpf => one(capability) || one(Capability::SysAdmin),
            Capability::NetAdmin | Capability::SysAdmin => one(capability),
        }
    }
}

/// Whether the kernel lets this process make a map at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BpfCall {
    /// It does.
    Allowed,
    /// It does not, with its reason.
    Refused(String),
}

/// What this kernel and this process's rights offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whether this build has kernel programs at all.
    pub programs_built: bool,
    /// The kernel's version; absent if it does not say one.
    pub version: Option<Version>,
    /// Where cgroup v2 is mounted; absent where only v1 is.
    pub cgroup_v2: Option<PathBuf>,
    /// Whether any v1 controllers are mounted.
    pub cgroup_v1: bool,
    /// Whether memory is counted by cgroup.
    pub memory_controller: bool,
    /// Whether cgroups tell their pressure (PSI).
    pub pressure: bool,
    /// The rights of this process.
    pub capabilities: Capabilities,
    /// Whether the bpf system call works.
    pub bpf: BpfCall,
    /// Whether the tracepoint of kills for lack of memory can be found.
    pub oom_tracepoint: bool,
}

/// Where tracepoints are, as the kernel's documentation has it; the second is the place of older ones.
const TRACEPOINTS: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];

impl Facts {
    /// Asks the kernel. Loads and attaches nothing.
    pub fn gather(host: &Host, hierarchies: &Hierarchies) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let release = sysinfo::System::kernel_version().ok().unwrap_or_default();
        let mounted = hierarchies.v2_mount().map(Path::to_owned);
        Self {
            programs_built: super::programs::are_built(),
            version: Version::parse(&release),
            cgroup_v1: hierarchies.has_v1(),
            memory_controller: counts_memory(hierarchies),
            pressure: host.proc("pressure").is_dir(),
            cgroup_v2: mounted,
            capabilities: Capabilities::parse(&status).unwrap_or_default(),
            bpf: super::programs::try_call(),
            oom_tracepoint: TRACEPOINTS.iter().any(|place| Path::new(place).join("oom/mark_victim/id").exists()),
        }
    }
}

/// Whether the kernel counts memory by cgroup, in whichever hierarchy.
pub fn counts_memory(hierarchies: &Hierarchies) -> bool {
    let read = |mount: &Path| std::fs::read_to_string(mount.join("cgroup.controllers")).ok();
    let has_v2 = |text: String| text.split_ascii_whitespace().any(|controller| controller == "memory");
    hierarchies.has_v1_controller("memory") || hierarchies.v2_mount().and_then(read).is_some_and(has_v2)
}

/// Why something is not attached, with what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Built by a plain `cargo build`.
    #[error("this agent was built without kernel programs: build it with cargo xtask build")]
    NotBuilt,
    /// Nothing to attach to.
    #[error(
        "cgroup v2 is not mounted: mount it (mount -t cgroup2 none /sys/fs/cgroup/unified), or boot with systemd.unified_cgroup_hierarchy=1"
    )]
    NoCgroupV2,
    /// The kernel is too old.
    #[error("Linux {found} is too old: this needs {needed}")]
    TooOld {
        /// This kernel.
        found: Version,
        /// The first one that can.
        needed: Version,
    },
    /// A right is missing.
    #[error(
        "{} is missing: grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (before Linux 5.8 CAP_SYS_ADMIN and CAP_NET_ADMIN) with AmbientCapabilities= of the systemd unit, cap_add of the container, or setcap cap_bpf,cap_net_admin,cap_perfmon+ep swarmguard-agent",
        .0.name()
    )]
    Capability(Capability),
    /// The kernel refuses although the rights are there.
    #[error(
        "the kernel refuses the bpf system call ({0}): look for a seccomp profile, lockdown=, or CONFIG_BPF_SYSCALL"
    )]
    Refused(String),
    /// The kernel does not take the program itself.
    #[error(
        "the kernel does not take the program: before Linux 5.11 it needs LimitMEMLOCK=infinity (ulimit -l unlimited); else please report this: {0}"
    )]
    Program(String),
    /// Nothing to attach to.
    #[error(
        "the tracepoint oom:mark_victim cannot be found: mount -t tracefs tracefs /sys/kernel/tracing, and let this process read it"
    )]
    NoTracepoint,
}

/// What is to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Counting traffic at the root of the hierarchy that is mounted here.
    pub network: Result<PathBuf, Reason>,
    /// Telling of kills for lack of memory.
    pub oom: Result<(), Reason>,
}

/// Decides from the facts alone.
pub fn decide(facts: &Facts) -> Plan {
    Plan { network: network(facts), oom: oom(facts) }
}

fn network(facts: &Facts) -> Result<PathBuf, Reason> {
    any_program(facts)?;
    let root = facts.cgroup_v2.clone().ok_or(Reason::NoCgroupV2)?;
    since(facts, LINKS_SINCE)?;
    right(facts, Capability::NetAdmin)?;
    call(facts)?;
    Ok(root)
}

fn oom(facts: &Facts) -> Result<(), Reason> {
    any_program(facts)?;
    since(facts, RING_BUFFERS_SINCE)?;
    right(facts, Capability::Perfmon)?;
    call(facts)?;
    if facts.oom_tracepoint { Ok(()) } else { Err(Reason::NoTracepoint) }
}

fn any_program(facts: &Facts) -> Result<(), Reason> {
    if !facts.programs_built {
        return Err(Reason::NotBuilt);
    }
    right(facts, Capability::Bpf)
}

fn right(facts: &Facts, capability: Capability) -> Result<(), Reason> {
    if facts.capabilities.has(capability) {
        return Ok(());
    }
    let is_known = capability == Capability::NetAdmin || facts.version.is_none_or(|version| version >= CAP_BPF_SINCE);
    Err(Reason::Capability(if is_known { capability } else { Capability::SysAdmin }))
}

/// A kernel that does not say its version is given the chance.
fn since(facts: &Facts, needed: Version) -> Result<(), Reason> {
    match facts.version {
        Some(found) if found < needed => Err(Reason::TooOld { found, needed }),
        Some(_) | None => Ok(()),
    }
}

fn call(facts: &Facts) -> Result<(), Reason> {
    match &facts.bpf {
        BpfCall::Allowed => Ok(()),
        BpfCall::Refused(reason) => Err(Reason::Refused(reason.clone())),
    }
}

#[cfg(test)]
mod tests;
