//! One container's CPU and memory, from cgroup files kept open and read again with `pread`.
//!
//! A controller is read from wherever this host has it: cgroup v1, v2, or, on hybrid hosts, one of each. A file that
//! is not there, or does not hold what it should, gives an absent value: never zero, and never "no limit".
//!
//! Each file costs a system call, so each has a method of its own, and the sampler asks no more often than it must.

pub mod hierarchy;
pub mod parse;

mod v1;
mod v2;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

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

/// What is read at every tick; a member is absent where the kernel does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuUsage {
    /// CPU time since the container started, in nanoseconds.
    pub ns: Option<u64>,
    /// Throttling, where it costs nothing more to read (cgroup v2).
    pub throttling: Option<Throttling>,
}

/// CPU periods of a container under a quota, since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttling {
    /// Those in which it wanted to run.
    pub periods: u64,
    /// Those of them in which the quota ran out.
    pub throttled: u64,
}

impl Throttling {
    /// From `cpu.stat`, whose lines are the same in v1 and v2.
    fn parse(stat: &[u8]) -> Option<Self> {
        Some(Self { periods: parse::field(stat, "nr_periods")?, throttled: parse::field(stat, "nr_throttled")? })
    }
}

/// Share of the last ten seconds in which at least one of the container's tasks waited for something, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// For a processor.
    pub cpu_percent: Option<f32>,
    /// For memory.
    pub memory_percent: Option<f32>,
    /// For a disk.
    pub io_percent: Option<f32>,
}

/// Reads kept files with one buffer, so that nothing is allocated, and counts what should have been there and was not.
#[derive(Debug)]
pub struct Reader {
    buffer: Box<[u8]>,
    failed: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; FILE_BYTES_MAX].into_boxed_slice(), failed: 0 }
    }
}

impl Reader {
    /// Reads a file and understands it. A file that is not there is absent; one that is there, and cannot be read or
    /// does not hold what it should, is absent and counted.
    pub fn read<T>(&mut self, file: &KeptFile, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        self.read_by(file, |file, buffer| file.read(buffer).and_then(parse))
    }

    /// The same for a file that is not read whole: `read` does it.
    pub fn read_by<T>(&mut self, file: &KeptFile, read: impl FnOnce(&KeptFile, &mut [u8]) -> Option<T>) -> Option<T> {
        if !file.is_present() {
            return None;
        }
        let value = read(file, &mut self.buffer);
        self.failed += u64::from(value.is_none());
        value
    }

    /// Counts a reading that was understood, and yet cannot be.
    pub fn refuse<T>(&mut self) -> Option<T> {
        self.failed += 1;
        None
    }

    /// Readings that failed since the start.
    pub fn failed(&self) -> u64 {
        self.failed
    }
}

/// A file that is read so seldom that it is not kept open.
fn read_once(directory: &Path, name: &str) -> Option<Vec<u8>> {
    std::fs::read(directory.join(name)).ok()
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

    /// Whether it cannot be read any more, as the files of a cgroup that is gone.
    fn is_gone(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.read_at(&mut [0], 0).is_err())
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
    pressure: Option<v2::PressureFiles>,
    id: Option<u64>,
    place: Option<Box<Path>>,
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
        let place = path("cpuacct").or_else(|| unified.clone()).map(PathBuf::into_boxed_path);
        // The inode of a cgroup's directory is the cgroup's id, on 64-bit kernels.
        let id = unified.as_ref().and_then(|unified| std::fs::metadata(unified).ok()).map(|metadata| metadata.ino());
        let own = unified.filter(|_| membership.has_own_v2());
        Self { cpu, memory, pressure: own.map(|own| v2::PressureFiles::open(&own)), id, place }
    }

    /// Where its CPU time is told: which cgroup this is, whichever hierarchies there are.
    pub fn place(&self) -> Option<&Path> {
        self.place.as_deref()
    }

    /// The v2 cgroup's id, by which kernel programs know it.
    pub fn id(&self) -> Option<u64> {
        self.id
    }

    /// Whether it is gone: its file of CPU time cannot be read, which is more than that it makes no sense.
    pub fn is_gone(&self) -> bool {
        match &self.cpu {
            Cpu::V1(cpu) => cpu.is_gone(),
            Cpu::V2(cpu) => cpu.is_gone(),
            Cpu::Absent => false,
        }
    }

    /// CPU time, from one file.
    pub fn cpu(&self, reader: &mut Reader) -> CpuUsage {
        match &self.cpu {
            Cpu::V1(cpu) => CpuUsage { ns: cpu.usage_ns(reader), throttling: None },
            Cpu::V2(cpu) => cpu.usage(reader),
            Cpu::Absent => CpuUsage::default(),
        }
    }

    /// Memory in use with all page cache, in bytes: an upper bound of what cannot be given back.
    pub fn memory_bytes(&self, reader: &mut Reader) -> Option<u64> {
        match &self.memory {
            Memory::V1(memory) => memory.all_bytes(reader),
            Memory::V2(memory) => memory.all_bytes(reader),
            Memory::Absent => None,
        }
    }

    /// Page cache that can be dropped (`inactive_file`), in bytes, which `docker stats` does not count as used.
    pub fn droppable_bytes(&self, reader: &mut Reader) -> Option<u64> {
        match &self.memory {
            Memory::V1(memory) => memory.droppable_bytes(reader),
            Memory::V2(memory) => memory.droppable_bytes(reader),
            Memory::Absent => None,
        }
    }

    /// Throttling where [`Self::cpu`] does not tell it (cgroup v1).
    pub fn throttling(&self, reader: &mut Reader) -> Option<Throttling> {
        match &self.cpu {
            Cpu::V1(cpu) => cpu.throttling(reader),
            Cpu::V2(_) | Cpu::Absent => None,
        }
    }

    /// Processes killed for lack of memory since the container started.
    pub fn oom_kills(&self, reader: &mut Reader) -> Option<u64> {
        match &self.memory {
            Memory::V1(memory) => memory.oom_kills(reader),
            Memory::V2(memory) => memory.oom_kills(reader),
            Memory::Absent => None,
        }
    }

    /// Pressure, where the kernel counts it.
    pub fn pressure(&self, reader: &mut Reader) -> Pressure {
        self.pressure.as_ref().map(|files| files.read(reader)).unwrap_or_default()
    }

    /// Reads the limits, which change only when someone changes them.
    pub fn limits(&self) -> Limits {
        Limits {
            cpu_cores: match &self.cpu {
                Cpu::V1(cpu) => cpu.limit(),
                Cpu::V2(cpu) => cpu.limit(),
                Cpu::Absent => None,
            },
            memory_bytes: match &self.memory {
                Memory::V1(memory) => memory.limit(),
                Memory::V2(memory) => memory.limit(),
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
