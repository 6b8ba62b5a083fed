//! Which processes are the lab's: those in its network namespaces, in its cgroups, or written down by pid and start
//! time. Never by program name: the machine's own dockerd or influxd is none of ours.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cgroup;
use crate::name::Name;
use crate::process::Identity;
use crate::state;

const NETNS_DIR: &str = "/run/netns";

/// Every running process of the lab, but for the one that asks.
pub(crate) fn processes(name: Name) -> Result<Vec<Identity>> {
    let recorded: Vec<_> =
        state::records(name).into_iter().map(|record| record.identity).filter(|one| one.is_running()).collect();
    let mut found = recorded;
    found.extend(in_namespaces(name)?);
    found.extend(in_cgroups(name, |_| true)?);
    let mut seen = BTreeSet::from([std::process::id()]);
    found.retain(|process| seen.insert(process.pid));
    Ok(found)
}

/// Processes in those of the lab's cgroups whose names are wanted: containers.
pub(crate) fn in_cgroups(name: Name, wanted: impl Fn(&str) -> bool) -> Result<Vec<Identity>> {
    Ok(cgroup::pids(name, wanted)?.into_iter().filter_map(Identity::of).collect())
}

/// Names of the lab's network namespaces, as `ip netns` lists them.
pub(crate) fn namespaces(name: Name) -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|netns| name.owns_netns(netns))
        .collect()
}

pub(crate) fn netns_path(netns: &str) -> PathBuf {
    PathBuf::from(NETNS_DIR).join(netns)
}

fn in_namespaces(name: Name) -> Result<Vec<Identity>> {
    let ours: BTreeSet<_> = namespaces(name).iter().filter_map(|netns| file_id(netns_path(netns))).collect();
    let mut found = Vec::new();
    if ours.is_empty() {
        return Ok(found);
    }
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else { continue };
        // Who it is first, where it is second: were the pid reused in between, the signal would find nobody.
        let identity = Identity::of(pid);
        let inside = file_id(entry.path().join("ns/net")).is_some_and(|id| ours.contains(&id));
        found.extend(identity.filter(|_| inside));
    }
    Ok(found)
}

/// Two paths to the same namespace have the same device and inode.
fn file_id(path: PathBuf) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
