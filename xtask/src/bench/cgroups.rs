//! Cgroups of the benchmarks' own, which the agent takes for containers (`--cgroup-parent`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// Their parent, below each hierarchy's root.
pub(super) const PARENT: &str = "swarmguard-bench";
const HIERARCHIES: [&str; 5] = ["", "unified", "cpu", "cpuacct", "memory"];

/// Makes a cgroup, and gives its folder in each hierarchy; it is entered through their `cgroup.procs`.
pub(super) fn make(name: &str) -> Result<Vec<PathBuf>> {
    let folders: Vec<PathBuf> = hierarchies().into_iter().map(|root| root.join(PARENT).join(name)).collect();
    for folder in &folders {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    Ok(folders)
}

/// Puts a process into a cgroup that was made.
pub(super) fn enter(folders: &[PathBuf], pid: u32) -> Result<()> {
    for folder in folders {
        std::fs::write(folder.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("entering {}", folder.display()))?;
    }
    Ok(())
}

/// Removes all, and what an earlier run may have left.
pub(super) fn remove_all() {
    for parent in hierarchies().into_iter().map(|hierarchy| hierarchy.join(PARENT)) {
        for child in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            // Its process may take a moment to be gone.
            for _ in 0..50 {
                if !child.path().is_dir() || std::fs::remove_dir(child.path()).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = std::fs::remove_dir(&parent);
    }
}

/// Where cgroup v2 is mounted, alone or beside v1.
pub(super) fn v2_root() -> Option<PathBuf> {
    hierarchies().into_iter().find(|root| root.join("cgroup.controllers").is_file())
}

fn hierarchies() -> Vec<PathBuf> {
    let all = HIERARCHIES.iter().map(|name| Path::new("/sys/fs/cgroup").join(name));
    all.filter(|folder| folder.join("cgroup.procs").is_file()).collect()
}
