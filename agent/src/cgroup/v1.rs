//! Files of cgroup v1: one directory for each controller.

use std::path::Path;

use super::{KeptFile, Limit, Reader, Throttling, parse, read_once};

/// `cpuacct` and, if it is mounted, `cpu`.
#[derive(Debug)]
pub(super) struct Cpu {
    usage: KeptFile,
    controller: Option<Controller>,
}

#[derive(Debug)]
struct Controller {
    directory: Box<Path>,
    stat: KeptFile,
}

impl Cpu {
    pub(super) fn open(cpuacct: &Path, cpu: Option<&Path>) -> Self {
        let controller = cpu.map(|directory| Controller {
            directory: directory.into(),
            stat: KeptFile::open(&directory.join("cpu.stat")),
        });
        Self { usage: KeptFile::open(&cpuacct.join("cpuacct.usage")), controller }
    }

    pub(super) fn usage_ns(&self, reader: &mut Reader) -> Option<u64> {
        reader.read(&self.usage, parse::number)
    }

    pub(super) fn throttling(&self, reader: &mut Reader) -> Option<Throttling> {
        reader.read(&self.controller.as_ref()?.stat, Throttling::parse)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.usage.is_gone()
    }

    pub(super) fn limit(&self) -> Option<Limit<f64>> {
        let directory = &self.controller.as_ref()?.directory;
        parse::v1_cpu_limit(&read_once(directory, "cpu.cfs_quota_us")?, &read_once(directory, "cpu.cfs_period_us")?)
    }
}

/// The `memory` controller.
#[derive(Debug)]
pub(super) struct Memory {
    directory: Box<Path>,
    usage: KeptFile,
    stat: KeptFile,
    oom: KeptFile,
}

impl Memory {
    pub(super) fn open(directory: &Path) -> Self {
        Self {
            usage: KeptFile::open(&directory.join("memory.usage_in_bytes")),
            stat: KeptFile::open(&directory.join("memory.stat")),
            oom: KeptFile::open(&directory.join("memory.oom_control")),
            directory: directory.into(),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.usage.is_present()
    }

    pub(super) fn all_bytes(&self, reader: &mut Reader) -> Option<u64> {
        reader.read(&self.usage, parse::number)
    }

    pub(super) fn droppable_bytes(&self, reader: &mut Reader) -> Option<u64> {
        reader.read(&self.stat, |stat| parse::field(stat, "total_inactive_file"))
    }

    pub(super) fn oom_kills(&self, reader: &mut Reader) -> Option<u64> {
        reader.read(&self.oom, |oom| parse::field(oom, "oom_kill"))
    }

    pub(super) fn limit(&self) -> Option<Limit<u64>> {
        parse::v1_memory_limit(&read_once(&self.directory, "memory.limit_in_bytes")?)
    }
}
