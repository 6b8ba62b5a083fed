//! One container's CPU and memory, from cgroup files kept open and read again with `pread`.
//!
//! A controller is read from wherever this host has it: cgroup v1, v2, or, on hybrid hosts, one of each. A file that
//! is not there, or does not hold what it should, gives an absent value: never zero, and never "no limit".

pub mod hierarchy;
pub mod parse;

mod v1;
mod v2;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use hierarchy::{Hierarchies, Membership};

/// The largest file read, in bytes: `memory.stat` has under 2 KiB on the kernels known.
pub const FILE_BYTES_MAX: usize = 8_192;

/// What a container may use of something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit<T> {
    /// As much as the node has.
    Unlimited,
    /// So much.
    At(T),
}

/// What a container may use; a member is absent where the kernel does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// In cores.
    pub cpu_cores: Option<Limit<f64>>,
    /// In bytes.
    pub memory_bytes: Option<Limit<u64>>,
}

/// A container's counters and gauges at one moment; a member is absent where the kernel does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time since the container started, in nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Memory in use without the page cache that can be dropped (`inactive_file`), in bytes, as `docker stats` has it.
    pub memory_bytes: Option<u64>,
    /// CPU periods in which the container wanted to run, under a quota.
    pub periods: Option<u64>,
    /// Those of them in which the quota ran out.
    pub throttled_periods: Option<u64>,
    /// Processes killed for lack of memory.
    pub oom_kills: Option<u64>,
}

/// A file that stays open.
#[derive(Debug)]
pub struct KeptFile {
    file: Option<File>,
}

impl KeptFile {
    /// Opens it; a file that cannot be opened reads as absent from then on.
    pub fn open(path: &Path) -> Self {
        Self { file: File::open(path).ok() }
    }

    /// Whether there was such a file.
    pub fn is_present(&self) -> bool {
        self.file.is_some()
    }

    /// Reads it from its beginning in one system call; absent if it cannot be read (its cgroup is gone) or is longer
    /// than `buffer`.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let length = self.file.as_ref()?.read_at(buffer, 0).ok()?;
        (length < buffer.len()).then(|| &buffer[..length])
    }

    /// Reads whole lines from `offset` on, as many as come at once; empty at the end.
    pub fn read_lines<'a>(&self, offset: u64, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let length = self.file.as_ref()?.read_at(buffer, offset).ok()?;
        let end = buffer[..length].iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        Some(&buffer[..end])
    }

    /// Reads only its first line, without the line end; the rest may be longer than `buffer`.
    pub fn read_first_line<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let length = self.file.as_ref()?.read_at(buffer, 0).ok()?;
        let end = buffer[..length].iter().position(|byte| *byte == b'\n')?;
        Some(&buffer[..end])
    }
}

/// The kept files of one container.
#[derive(Debug)]
pub struct Cgroup {
    cpu: Cpu,
    memory: Memory,
}

#[derive(Debug)]
enum Cpu {
    V1(v1::Cpu),
    V2(v2::Cpu),
    Absent,
}

#[derive(Debug)]
enum Memory {
    V1(v1::Memory),
    V2(v2::Memory),
    Absent,
}

impl Cgroup {
    /// Opens the files of the cgroup that a process belongs to.
    pub fn open(hierarchies: &Hierarchies, membership: &Membership) -> Self {
        let path = |controller: &str| hierarchies.v1_path(controller, membership);
        let unified = hierarchies.v2_path(membership);
        let cpu = match (path("cpuacct"), &unified) {
            (Some(cpuacct), _) => Cpu::V1(v1::Cpu::open(&cpuacct, path("cpu").as_deref())),
            (None, Some(unified)) => Cpu::V2(v2::Cpu::open(unified)),
            (None, None) => Cpu::Absent,
        };
        let memory = match (path("memory"), &unified) {
            (Some(memory), _) => Memory::V1(v1::Memory::open(&memory)),
            (None, Some(unified)) => Memory::V2(v2::Memory::open(unified)),
            (None, None) => Memory::Absent,
        };
        Self { cpu, memory }
    }

    /// Reads all counters; `buffer` has [`FILE_BYTES_MAX`] bytes and is the caller's, so that nothing is allocated.
    pub fn usage(&self, buffer: &mut [u8]) -> Usage {
        let mut usage = Usage::default();
        match &self.cpu {
            Cpu::V1(cpu) => cpu.read(&mut usage, buffer),
            Cpu::V2(cpu) => cpu.read(&mut usage, buffer),
            Cpu::Absent => {}
        }
        match &self.memory {
            Memory::V1(memory) => memory.read(&mut usage, buffer),
            Memory::V2(memory) => memory.read(&mut usage, buffer),
            Memory::Absent => {}
        }
        usage
    }

    /// Reads the limits, which change only when someone changes them.
    pub fn limits(&self, buffer: &mut [u8]) -> Limits {
        Limits {
            cpu_cores: match &self.cpu {
                Cpu::V1(cpu) => cpu.limit(buffer),
                Cpu::V2(cpu) => cpu.limit(buffer),
                Cpu::Absent => None,
            },
            memory_bytes: match &self.memory {
                Memory::V1(memory) => memory.limit(buffer),
                Memory::V2(memory) => memory.limit(buffer),
                Memory::Absent => None,
            },
        }
    }

    /// Whether the kernel tells memory at all; Raspberry Pis have the controller off by default.
    pub fn tells_memory(&self) -> bool {
        match &self.memory {
            Memory::V1(memory) => memory.is_present(),
            Memory::V2(memory) => memory.is_present(),
            Memory::Absent => false,
        }
    }
}
