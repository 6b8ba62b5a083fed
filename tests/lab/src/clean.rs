//! Taking a lab down, whole or in pieces.
//!
//! Works from the lab's name alone and looks at what is really there, so it does not matter how far bringing the lab
//! up had come or what has been killed since. Doing it twice does nothing the second time.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::lab::Progress;
use crate::name::Name;
use crate::process::{Identity, wait_ended};
use crate::{cgroup, mountinfo, network, owned, state};

/// How long daemons get to end by themselves. Nothing of theirs is kept, so patience is worth little.
const TERMINATE_WAIT: Duration = Duration::from_secs(3);
/// How long killing may go on: new processes can appear while their parents are still alive.
const KILL_WAIT: Duration = Duration::from_secs(10);
const KILL_POLL: Duration = Duration::from_millis(20);

/// Is anything left of a lab of this name?
pub(crate) fn has_remains(name: Name) -> Result<bool> {
    Ok(name.state_dir().exists()
        || !owned::namespaces(name).is_empty()
        || Path::new("/sys/class/net").join(name.root_link()).exists()
        || !cgroup::folders(name)?.is_empty())
}

/// Removes everything. The lock must be held.
pub(crate) async fn remove_all(name: Name, progress: Progress<'_>) -> Result<()> {
    if !has_remains(name)? {
        return Ok(());
    }
    progress(&format!("ending the processes of the lab {name}"));
    terminate_processes(name).await?;
    kill_processes(name).await?;
    progress("removing its mounts, network, cgroups and files");
    unmount_all(&name.state_dir())?;
    network::remove(name)?;
    cgroup::remove(name).await?;
    remove_state(&name.state_dir())
}

/// Asks the programs started here and the containers to end. Docker's own helpers end with their dockerd.
async fn terminate_processes(name: Name) -> Result<()> {
    cgroup::thaw(name)?;
    let started: Vec<_> = state::records(name).into_iter().map(|record| record.identity).collect();
    for process in started.iter().copied().chain(owned::in_cgroups(name, |_| true)?) {
        process.signal(Signal::TERM);
        process.signal(Signal::CONT);
    }
    // Whoever is left is killed next.
    let _stubborn = wait_ended(&started, TERMINATE_WAIT).await;
    Ok(())
}

async fn kill_processes(name: Name) -> Result<()> {
    kill_all(name, || owned::processes(name)).await
}

/// Kills what runs in one node's containers.
pub(crate) async fn kill_containers(name: Name, index: u32) -> Result<()> {
    let is_nodes = |cgroup: &str| name.cgroup_parent(index).strip_prefix('/') == Some(cgroup);
    kill_all(name, || owned::in_cgroups(name, is_nodes)).await
}

/// Kills whatever `find` finds, until it finds nothing.
async fn kill_all(name: Name, find: impl Fn() -> Result<Vec<Identity>>) -> Result<()> {
    let deadline = Instant::now() + KILL_WAIT;
    loop {
        cgroup::thaw(name)?;
        let running = find()?;
        if running.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let pids: Vec<_> = running.iter().map(|process| process.pid.to_string()).collect();
            bail!("processes {} of the lab {name} are still there {KILL_WAIT:?} after SIGKILL", pids.join(", "));
        }
        for process in &running {
            process.signal(Signal::KILL);
        }
        sleep(KILL_POLL).await;
    }
}

/// Mounts made by the dockerds are in namespaces of their own and went with them; this is for anyone else's.
fn unmount_all(dir: &Path) -> Result<()> {
    for point in mountinfo::below(&mountinfo::read()?, dir) {
        unmount(&point, UnmountFlags::DETACH).with_context(|| format!("unmount {}", point.display()))?;
    }
    Ok(())
}

fn remove_state(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("delete {}", dir.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
