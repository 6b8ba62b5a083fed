//! Files of cgroup v1: one directory for each controller.

use std::path::Path;

use super::{KeptFile, Limit, Usage, parse};

/// `cpuacct` and, if it is mounted, `cpu`.
#[derive(Debug)]
pub(super) struct Cpu {
    usage: KeptFile,
    throttling: Option<Throttling>,
}

#[derive(Debug)]
struct Throttling {
    stat: KeptFile,
    quota: KeptFile,
    period: KeptFile,
}

impl Cpu {
    pub(super) fn open(cpuacct: &Path, cpu: Option<&Path>) -> Self {
        let throttling = cpu.map(|directory| Throttling {
            stat: KeptFile::open(&directory.join("cpu.stat")),
            quota: KeptFile::open(&directory.join("cpu.cfs_quota_us")),
            period: KeptFile::open(&directory.join("cpu.cfs_period_us")),
        });
        Self { usage: KeptFile::open(&cpuacct.join("cpuacct.usage")), throttling }
    }

    pub(super) fn read(&self, usage: &mut Usage, buffer: &mut [u8]) {
        usage.cpu_ns = self.usage.read(buffer).and_then(parse::number);
        if let Some(stat) = self.throttling.as_ref().and_then(|throttling| throttling.stat.read(buffer)) {
            usage.periods = parse::field(stat, "nr_periods");
            usage.throttled_periods = parse::field(stat, "nr_throttled");
        }
    }

    pub(super) fn limit(&self, buffer: &mut [u8]) -> Option<Limit<f64>> {
        let throttling = self.throttling.as_ref()?;
        let (quota_buffer, period_buffer) = buffer.split_at_mut(buffer.len() / 2);
        parse::v1_cpu_limit(throttling.quota.read(quota_buffer)?, throttling.period.read(period_buffer)?)
    }
}

/// The `memory` controller.
#[derive(Debug)]
pub(super) struct Memory {
    usage: KeptFile,
    stat: KeptFile,
    limit: KeptFile,
    oom: KeptFile,
}

impl Memory {
    pub(super) fn open(directory: &Path) -> Self {
        Self {
            usage: KeptFile::open(&directory.join("memory.usage_in_bytes")),
            stat: KeptFile::open(&directory.join("memory.stat")),
            limit: KeptFile::open(&directory.join("memory.limit_in_bytes")),
            oom: KeptFile::open(&directory.join("memory.oom_control")),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.usage.is_present()
    }

    pub(super) fn read(&self, usage: &mut Usage, buffer: &mut [u8]) {
        let all = self.usage.read(buffer).and_then(parse::number);
        let droppable = self.stat.read(buffer).and_then(|stat| parse::field(stat, "total_inactive_file"));
        usage.memory_bytes = all.zip(droppable).map(|(all, droppable)| all.saturating_sub(droppable));
        usage.oom_kills = self.oom.read(buffer).and_then(|oom| parse::field(oom, "oom_kill"));
    }

    pub(super) fn limit(&self, buffer: &mut [u8]) -> Option<Limit<u64>> {
        parse::v1_memory_limit(self.limit.read(buffer)?)
    }
}
