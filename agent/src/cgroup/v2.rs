//! Files of cgroup v2: one directory for all controllers.

use std::path::Path;

use super::{KeptFile, Limit, Usage, parse};

const NS_PER_US: u64 = 1_000;

/// `cpu.stat` is there in every cgroup; its throttling lines and `cpu.max` only with the cpu controller.
#[derive(Debug)]
pub(super) struct Cpu {
    stat: KeptFile,
    max: KeptFile,
}

impl Cpu {
    pub(super) fn open(directory: &Path) -> Self {
        Self { stat: KeptFile::open(&directory.join("cpu.stat")), max: KeptFile::open(&directory.join("cpu.max")) }
    }

    pub(super) fn read(&self, usage: &mut Usage, buffer: &mut [u8]) {
        let Some(stat) = self.stat.read(buffer) else { return };
        usage.cpu_ns = parse::field(stat, "usage_usec").and_then(|us| us.checked_mul(NS_PER_US));
        usage.periods = parse::field(stat, "nr_periods");
        usage.throttled_periods = parse::field(stat, "nr_throttled");
    }

    pub(super) fn limit(&self, buffer: &mut [u8]) -> Option<Limit<f64>> {
        parse::v2_cpu_limit(self.max.read(buffer)?)
    }
}

/// The memory controller's files.
#[derive(Debug)]
pub(super) struct Memory {
    current: KeptFile,
    stat: KeptFile,
    max: KeptFile,
    events: KeptFile,
}

impl Memory {
    pub(super) fn open(directory: &Path) -> Self {
        Self {
            current: KeptFile::open(&directory.join("memory.current")),
            stat: KeptFile::open(&directory.join("memory.stat")),
            max: KeptFile::open(&directory.join("memory.max")),
            events: KeptFile::open(&directory.join("memory.events")),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.current.is_present()
    }

    pub(super) fn read(&self, usage: &mut Usage, buffer: &mut [u8]) {
        let all = self.current.read(buffer).and_then(parse::number);
        let droppable = self.stat.read(buffer).and_then(|stat| parse::field(stat, "inactive_file"));
        usage.memory_bytes = all.zip(droppable).map(|(all, droppable)| all.saturating_sub(droppable));
        usage.oom_kills = self.events.read(buffer).and_then(|events| parse::field(events, "oom_kill"));
    }

    pub(super) fn limit(&self, buffer: &mut [u8]) -> Option<Limit<u64>> {
        parse::v2_memory_limit(self.max.read(buffer)?)
    }
}
