//! Files of cgroup v2: one directory for all controllers.

use std::path::Path;

use super::{CpuUsage, KeptFile, Limit, Pressure, Reader, Throttling, parse, read_once};

const NS_PER_US: u64 = 1_000;

/// `cpu.stat` is there in every cgroup; its throttling lines and `cpu.max` only with the cpu controller.
#[derive(Debug)]
pub(super) struct Cpu {
    directory: Box<Path>,
    stat: KeptFile,
}

impl Cpu {
    pub(super) fn open(directory: &Path) -> Self {
        Self { stat: KeptFile::open(&directory.join("cpu.stat")), directory: directory.into() }
    }

    /// CPU time, and throttling, which stands in the same file.
    pub(super) fn usage(&self, reader: &mut Reader) -> CpuUsage {
        let usage = reader.read(&self.stat, |stat| {
            let us = parse::field(stat, "usage_usec")?;
            Some(CpuUsage { ns: Some(us.checked_mul(NS_PER_US)?), throttling: Throttling::parse(stat) })
        });
        usage.unwrap_or_default()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.stat.is_gone()
    }

    pub(super) fn limit(&self) -> Option<Limit<f64>> {
        parse::v2_cpu_limit(&read_once(&self.directory, "cpu.max")?)
    }
}

/// The memory controller's files.
#[derive(Debug)]
pub(super) struct Memory {
    directory: Box<Path>,
    current: KeptFile,
    stat: KeptFile,
    events: KeptFile,
}

impl Memory {
    pub(super) fn open(directory: &Path) -> Self {
        Self {
            current: KeptFile::open(&directory.join("memory.current")),
            stat: KeptFile::open(&directory.join("memory.stat")),
            events: KeptFile::open(&directory.join("memory.events")),
            directory: directory.into(),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.current.is_present()
    }

    pub(super) fn all_bytes(&self, reader: &mut Reader) -> Option<u64> {
        reader.read(&self.current, parse::number)
    }

    pub(super) fn droppable_bytes(&self, reader: &mut Reader) -> Option<u64> {
        reader.read(&self.stat, |stat| parse::field(stat, "inactive_file"))
    }

    pub(super) fn oom_kills(&self, reader: &mut Reader) -> Option<u64> {
        reader.read(&self.events, |events| parse::field(events, "oom_kill"))
    }

    pub(super) fn limit(&self) -> Option<Limit<u64>> {
        parse::v2_memory_limit(&read_once(&self.directory, "memory.max")?)
    }
}

/// Pressure (PSI), which every v2 cgroup but the root has where the kernel counts it, whatever its controllers.
#[derive(Debug)]
pub(super) struct PressureFiles {
    cpu: KeptFile,
    memory: KeptFile,
    io: KeptFile,
}

impl PressureFiles {
    pub(super) fn open(directory: &Path) -> Self {
        let open = |name: &str| KeptFile::open(&directory.join(name));
        Self { cpu: open("cpu.pressure"), memory: open("memory.pressure"), io: open("io.pressure") }
    }

    pub(super) fn read(&self, reader: &mut Reader) -> Pressure {
        let mut some = |file| reader.read(file, parse::pressure_some_avg10);
        Pressure { cpu_percent: some(&self.cpu), memory_percent: some(&self.memory), io_percent: some(&self.io) }
    }
}
