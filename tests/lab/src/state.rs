//! What a lab keeps on disk: its options, records of the processes it started, and the lock.
//!
//! ```text
//! /var/lib/swarmguard-lab/NAME.lock      held while a lab is brought up or down
//! /var/lib/swarmguard-lab/NAME/lab.json  options, and whether bringing it up was finished
//!                             processes/ one file per process started: pid and start time
//!                             logs/      their output
//!                             node1/     docker.sock and Docker's data
//!                             resolv.conf, mnt/  what processes on nodes see of name servers; a place to mount on
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::lab::Options;
use crate::name::Name;
use crate::process::Record;

/// Contents of `lab.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) options: Options,
    /// False until everything is up: a lab that was cut short must not be taken for a whole one.
    pub(crate) complete: bool,
}

/// Makes the folders, for root's eyes only: the sockets in them are as good as root.
pub(crate) fn create_folders(options: &Options) -> Result<()> {
    let dir = options.name.state_dir();
    let nodes = (1..=options.nodes).map(|index| format!("node{index}"));
    for sub in ["processes", "logs", "mnt"].map(str::to_owned).into_iter().chain(nodes) {
        let path = dir.join(sub);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&path).with_context(|| format!("make {}", path.display()))?;
    }
    let resolv_conf = dir.join("resolv.conf");
    fs::write(&resolv_conf, "nameserver 127.0.0.1\n").with_context(|| format!("write {}", resolv_conf.display()))
}

pub(crate) fn save(saved: &Saved) -> Result<()> {
    let path = saved.options.name.state_dir().join("lab.json");
    // Written aside and renamed, so that a reader never sees half a file.
    let aside = path.with_extension("new");
    fs::write(&aside, serde_json::to_vec_pretty(saved)?).with_context(|| format!("write {}", aside.display()))?;
    fs::rename(&aside, &path).with_context(|| format!("write {}", path.display()))
}

/// `None` when there is no lab of that name, or what there is cannot be understood.
pub(crate) fn load(name: Name) -> Option<Saved> {
    let text = fs::read(name.state_dir().join("lab.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

pub(crate) fn record(name: Name, record: &Record) -> Result<()> {
    let path = name.state_dir().join("processes").join(record.identity.pid.to_string());
    fs::write(&path, serde_json::to_vec(record)?).with_context(|| format!("write {}", path.display()))
}

/// All processes ever started in this lab, running or not.
pub(crate) fn records(name: Name) -> Vec<Record> {
    let Ok(entries) = fs::read_dir(name.state_dir().join("processes")) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path()).ok())
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect()
}

/// Held while a lab of one name is brought up or down, so that no two do it at once.
#[derive(Debug)]
pub(crate) struct Lock {
    name: Name,
    _file: File,
}

impl Lock {
    pub(crate) fn take(name: Name) -> Result<Self> {
        let path = name.lock_path();
        fs::create_dir_all(Name::state_root()).with_context(|| format!("make the folder of {}", path.display()))?;
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .with_context(|| format!("open {}", path.display()))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    bail!("the lab {name} is being brought up or down by someone else; try again when that is done")
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
            // Whoever held it before may have deleted the file between our opening and locking it.
            if is_still_there(&path, &file) {
                return Ok(Self { name, _file: file });
            }
        }
    }

    /// Gives the lock back and leaves nothing of it on disk.
    pub(crate) fn release_and_delete(self) {
        // Both may fail harmlessly: another lab's files are still there, or someone was quicker.
        let _ = fs::remove_file(self.name.lock_path());
        let _ = fs::remove_dir(Name::state_root());
    }
}

fn is_still_there(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => there.ino() == ours.ino() && there.dev() == ours.dev(),
        (Ok(_) | Err(_), _) => false,
    }
}
