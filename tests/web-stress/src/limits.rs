//! What this container may use: cores from its CFS quota, bytes from its memory limit.
//!
//! The parsers are pure and know both cgroup versions; [`Limits::read`] looks at the files, version
//! 1 first, since a hybrid host has both trees and its controllers are in the first. No limit found
//! means the machine's own size, never zero.

use std::fs;
use std::num::NonZero;

const V1_QUOTA: &str = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us";
const V1_PERIOD: &str = "/sys/fs/cgroup/cpu/cpu.cfs_period_us";
const V1_MEMORY: &str = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
const V2_CPU: &str = "/sys/fs/cgroup/cpu.max";
const V2_MEMORY: &str = "/sys/fs/cgroup/memory.max";

/// The ceiling of each resource, from the container's limits or else the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    /// Cores, such as 0.3; above zero.
    pub(crate) cores: f64,
    /// Bytes of memory; above zero.
    pub(crate) memory_bytes: u64,
}

impl Limits {
    /// Reads the limits once; they are taken as fixed for the life of the process.
    pub(crate) fn read() -> Self {
        let machine_cores = std::thread::available_parallelism().map_or(1, NonZero::get) as f64;
        let quota = read(V1_QUOTA)
            .zip(read(V1_PERIOD))
            .and_then(|(quota, period)| cores_v1(&quota, &period))
            .or_else(|| read(V2_CPU).and_then(|text| cores_v2(&text)));

        let info = rustix::system::sysinfo();
        let machine_bytes = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
        let limit = read(V1_MEMORY).or_else(|| read(V2_MEMORY)).and_then(|text| memory_bytes(&text));

        Self {
            cores: quota.map_or(machine_cores, |cores| cores.min(machine_cores)),
            // Version 1 says "no limit" with a number near 2^63, which the machine undercuts.
            memory_bytes: limit.map_or(machine_bytes, |bytes| bytes.min(machine_bytes)),
        }
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Cores from the two files of cgroup v1; `None` if the quota is -1 (no limit) or unreadable.
fn cores_v1(quota: &str, period: &str) -> Option<f64> {
    ratio(quota, period)
}

/// Cores from `cpu.max` of cgroup v2, `QUOTA PERIOD`; `None` for `max`.
fn cores_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

fn ratio(quota_us: &str, period_us: &str) -> Option<f64> {
    // An unsigned parse refuses both -1 and "max", the two ways to say "no limit".
    let quota_us: u32 = quota_us.trim().parse().ok()?;
    let period_us: u32 = period_us.trim().parse().ok()?;
    (quota_us > 0 && period_us > 0).then(|| f64::from(quota_us) / f64::from(period_us))
}

/// Bytes from either version's memory limit; `None` for `max`.
fn memory_bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_of_30_ms_in_100_is_three_tenths_of_a_core() {
        assert_eq!(cores_v1("30000\n", "100000\n"), Some(0.3));
        assert_eq!(cores_v2("30000 100000\n"), Some(0.3));
        assert_eq!(cores_v2("150000 100000\n"), Some(1.5));
    }

    #[test]
    fn no_quota_is_no_limit_and_not_zero() {
        assert_eq!(cores_v1("-1\n", "100000\n"), None);
        assert_eq!(cores_v2("max 100000\n"), None);
        assert_eq!(cores_v1("0", "100000"), None);
        assert_eq!(cores_v1("30000", "0"), None);
        assert_eq!(cores_v2(""), None);
    }

    #[test]
    fn a_memory_limit_is_bytes_and_max_is_none() {
        assert_eq!(memory_bytes("67108864\n"), Some(64 << 20));
        assert_eq!(memory_bytes("max\n"), None);
        assert_eq!(memory_bytes("0\n"), None);
    }

    #[test]
    fn here_and_now_both_limits_are_above_zero() {
        let limits = Limits::read();
        assert!(limits.cores > 0.0 && limits.memory_bytes > 0, "{limits:?}");
    }
}
