//! The lab's cgroups: one folder per node in every hierarchy the machine has mounted (v1, v2, or both side by side).
//!
//! Docker makes them, through `--cgroup-parent`; this module lists what runs in them and removes them.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result};

use crate::mountinfo;
use crate::name::Name;

/// A cgroup stays busy for a moment after its last process has ended.
const REMOVE_TRIES_MAX: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// The lab's folders, in all hierarchies.
pub(crate) fn folders(name: Name) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for mount in mountinfo::read()? {
        if mount.fs_type == "cgroup" || mount.fs_type == "cgroup2" {
            found.extend(subfolders(&mount.point).into_iter().filter(|path| is_owned(name, path)));
        }
    }
    Ok(found)
}

fn is_owned(name: Name, path: &Path) -> bool {
    file_name(path).is_some_and(|file| name.owns_cgroup(file))
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|file| file.to_str())
}

/// Ids of all processes in those of the lab's cgroups whose names are wanted.
pub(crate) fn pids(name: Name, wanted: impl Fn(&str) -> bool) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for folder in folders(name)? {
        if !file_name(&folder).is_some_and(&wanted) {
            continue;
        }
        for cgroup in with_descendants(folder) {
            let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Lets frozen containers run again: under cgroup v1 a frozen process does not even take SIGKILL.
pub(crate) fn thaw(name: Name) -> Result<()> {
    for folder in folders(name)? {
        for cgroup in with_descendants(folder) {
            let state = cgroup.join("freezer.state");
            if state.exists() {
                // A cgroup that has just gone needs no thawing.
                let _gone = fs::write(state, "THAWED");
            }
        }
    }
    Ok(())
}

/// Removes the lab's cgroups. They must hold no processes any more.
pub(crate) async fn remove(name: Name) -> Result<()> {
    for folder in folders(name)? {
        for cgroup in with_descendants(folder).into_iter().rev() {
            remove_one(&cgroup).await?;
        }
    }
    Ok(())
}

async fn remove_one(cgroup: &Path) -> Result<()> {
    for _ in 0..REMOVE_TRIES_MAX {
        match fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_busy) => tokio::time::sleep(REMOVE_PAUSE).await,
        }
    }
    fs::remove_dir(cgroup).with_context(|| {
        format!("remove the cgroup {}; look into its cgroup.procs for what still runs there", cgroup.display())
    })
}

/// The folder and all below it, parents before children.
fn with_descendants(folder: PathBuf) -> Vec<PathBuf> {
    let mut all = vec![folder];
    let mut next = 0;
    while next < all.len() {
        let children = subfolders(&all[next]);
        all.extend(children);
        next += 1;
    }
    all
}

/// Empty for a folder that has gone: containers come and go while we look.
fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
