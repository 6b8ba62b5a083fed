//! Cgroups that are no containers of Docker's, but are to be measured as if they were: the services below
//! `system.slice`, another engine's containers, or what a benchmark has made.
//!
//! Every cgroup directly below one parent counts. They are looked for every [`SCAN_INTERVAL`]; the kernel tells of none
//! by itself.

use std::collections::BTreeMap;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use swarmguard_wire::{ContainerId, Name};
use tokio::sync::mpsc;

use super::{Change, Container, Found};
use crate::cgroup::hierarchy::Hierarchies;

/// The time between two looks.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// Tells every change below `parent` from now on, until the receiver is gone.
pub async fn watch(mounts: Vec<PathBuf>, parent: PathBuf, changes: mpsc::Sender<Change>) {
    let mut known = BTreeMap::new();
    let mut ticker = tokio::time::interval(SCAN_INTERVAL);
    loop {
        ticker.tick().await;
        for change in update(&mut known, scan(&mounts, &parent)) {
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }
}

/// Where hierarchies are mounted, for [`scan`] and [`watch`].
pub fn mounts(hierarchies: &Hierarchies) -> Vec<PathBuf> {
    hierarchies.mounts().map(Path::to_owned).collect()
}

/// All cgroups directly below `parent`, in whichever hierarchy they are.
pub fn scan(mounts: &[PathBuf], parent: &Path) -> BTreeMap<ContainerId, Container> {
    let below = parent.strip_prefix("/").unwrap_or(parent);
    let entries = mounts.iter().filter_map(|mount| std::fs::read_dir(mount.join(below)).ok()).flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut by_id = BTreeMap::new();
    for entry in folders {
        let path = Path::new("/").join(below).join(entry.file_name());
        let known: &mut Container = by_id.entry(id(&path)).or_insert_with(|| container(&path));
        // Whichever hierarchy has it anew, it is to be opened anew.
        if let Found::Cgroup(_, inodes) = &mut known.found {
            *inodes = inodes.wrapping_add(entry.ino());
        }
    }
    by_id
}

fn container(path: &Path) -> Container {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Container {
        id: id(path),
        name: Name::new(&name),
        service: None,
        task: None,
        has_healthcheck: false,
        found: Found::Cgroup(path.to_owned(), 0),
        host_network: true,
    }
}

/// An identifier that is the same at every start: the hash of the path, four times with another beginning.
fn id(path: &Path) -> ContainerId {
    let path = path.as_os_str().as_encoded_bytes();
    let mut bytes = [0; 32];
    for (part, beginning) in bytes.chunks_exact_mut(8).zip(0_u8..) {
        let text: Vec<u8> = std::iter::once(beginning).chain(path.iter().copied()).collect();
        part.copy_from_slice(&swarmguard_influx::fnv1a(&text).to_be_bytes());
    }
    ContainerId::new(bytes)
}

fn update(known: &mut BTreeMap<ContainerId, Container>, now: BTreeMap<ContainerId, Container>) -> Vec<Change> {
    let gone = known.keys().filter(|id| !now.contains_key(id)).map(|id| Change::Ended(*id));
    let new = now.iter().filter(|(id, new)| known.get(*id) != Some(new)).map(|(_, new)| Change::Started(new.clone()));
    let changes = gone.chain(new).collect();
    *known = now;
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_below_the_parent_come_and_go() {
        let mount = std::env::temp_dir().join(format!("swarmguard-plain-{}", std::process::id()));
        let make = |name: &str| std::fs::create_dir_all(mount.join("shop.slice").join(name)).unwrap();
        make("web");
        make("database");
        std::fs::write(mount.join("shop.slice/cgroup.procs"), "").unwrap();
        let mut known = BTreeMap::new();
        let look = |known: &mut _| update(known, scan(std::slice::from_ref(&mount), Path::new("shop.slice")));
        assert_eq!(look(&mut known).len(), 2);
        assert_eq!(look(&mut known), []);
        // A restarted service has the same path.
        std::fs::rename(mount.join("shop.slice/database"), mount.join("old")).unwrap();
        make("database");
        assert!(matches!(look(&mut known)[..], [Change::Started(_)]));
        std::fs::remove_dir(mount.join("shop.slice/web")).unwrap();
        let ended = look(&mut known);
        std::fs::remove_dir_all(&mount).unwrap();
        assert_eq!(ended, [Change::Ended(id(Path::new("/shop.slice/web")))]);
    }

    #[test]
    fn a_parent_that_is_not_there_has_none() {
        assert!(scan(&["/nonexistent".into()], Path::new("x")).is_empty());
    }
}
