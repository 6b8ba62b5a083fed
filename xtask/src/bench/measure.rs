//! CPU time and memory of processes, from `/proc`.
//!
//! CPU time is `schedstat`'s, in nanoseconds: ticks of ten milliseconds are too coarse for what is measured here.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// CPU time of all threads of all these processes so far, in nanoseconds. Threads that have ended are not in it.
pub(super) fn cpu_ns(pids: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        sum += threads(*pid)?.iter().map(|thread| schedstat_ns(thread).unwrap_or(0)).sum::<u64>();
    }
    Ok(sum)
}

/// CPU time of the threads of a process whose name holds `name`.
pub(super) fn cpu_ns_of_threads(pid: u32, name: &str) -> Result<u64> {
    let is_named =
        |thread: &PathBuf| std::fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.contains(name));
    let named = threads(pid)?.into_iter().filter(is_named);
    Ok(named.map(|thread| schedstat_ns(&thread).unwrap_or(0)).sum())
}

fn threads(pid: u32) -> Result<Vec<PathBuf>> {
    let folder = format!("/proc/{pid}/task");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("process {pid} has ended"))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn schedstat_ns(thread: &std::path::Path) -> Option<u64> {
    std::fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) rss: u64,
    pub(super) anon: u64,
    pub(super) peak: u64,
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            rss: sum.rss + one.rss,
            anon: sum.anon + one.anon,
            peak: sum.peak + one.peak,
        })
    }
}

/// Of one process.
pub(super) fn memory(pid: u32) -> Result<Memory> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} has ended"))?;
    parse_memory(&text).context("its status has no memory")
}

fn parse_memory(status: &str) -> Option<Memory> {
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    Some(Memory { rss: kib("VmRSS:")?, anon: kib("RssAnon:")?, peak: kib("VmHWM:")? })
}

/// All processes whose command line holds `text`.
pub(super) fn with_command_line(text: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    pids.filter(holds).collect()
}

/// All processes whose name begins with `name`; the kernel's own threads are such too.
pub(super) fn named(name: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_named =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with(name));
    pids.filter(is_named).collect()
}

/// Open descriptors of a process whose target holds `what`.
pub(super) fn descriptors_of(pid: u32, what: &str) -> u64 {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains(what)).count() as u64
}

/// Bytes that TCP connections have sent, from the text of `ss -tinH`.
pub(super) fn bytes_sent(ss: &str) -> u64 {
    ss.split_ascii_whitespace().filter_map(|word| word.strip_prefix("bytes_sent:")?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "VmHWM:\t    4000 kB\nVmRSS:\t    3000 kB\nRssAnon:\t     700 kB\n";
        assert_eq!(parse_memory(status), Some(Memory { rss: 3000, anon: 700, peak: 4000 }));
        assert_eq!(parse_memory("VmRSS:\t1 kB\n"), None);
    }

    #[test]
    fn bytes_of_all_connections_are_added() {
        assert_eq!(bytes_sent("ESTAB 0 0 a b\n\t cubic bytes_sent:10 bytes_acked:10\nESTAB\n\t bytes_sent:5 x"), 15);
        assert_eq!(bytes_sent(""), 0);
    }

    #[test]
    fn this_process_has_threads_and_cpu_time() {
        assert!(cpu_ns(&[std::process::id()]).unwrap() > 0);
        assert!(cpu_ns(&[u32::MAX]).is_err());
    }
}
