//! One process of the lab: who it is beyond doubt, and signals to it.
//!
//! A pid alone names whoever has it now; a pid with its start time names one process for ever. Signals go through a
//! pidfd that is checked against the start time after it was opened, so they can never reach a successor.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// How long a process gets to end by itself after SIGTERM.
const TERMINATE_WAIT: Duration = Duration::from_secs(5);
/// How long the kernel gets to clear away a process after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// Children of this very process, kept so that the ended ones can be reaped and do not linger as zombies.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// One process, whatever becomes of its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Clock ticks between the machine's start and the process's.
    start_ticks: u64,
}

impl Identity {
    /// Who has this pid now; `None` when no one has, or only a zombie.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let start_ticks = parse_start_ticks(&stat)?;
        Some(Self { pid, start_ticks })
    }

    pub(crate) fn is_running(self) -> bool {
        reap();
        Self::of(self.pid) == Some(self)
    }

    /// Sends the signal to this process and no other. False when it has ended already.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        Self::of(self.pid) == Some(self) && pidfd_send_signal(&fd, signal).is_ok()
    }
}

/// Field 22 of proc_pid_stat(5), counted from behind the name, which may hold blanks and brackets.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// What is written down of each process started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) log_path: PathBuf,
}

/// Takes over a child to be reaped when it has ended.
pub(crate) fn adopt(child: Child) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
}

fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
}

/// Waits until none of them runs, at most `limit`; gives back those that still do.
pub(crate) async fn wait_ended(processes: &[Identity], limit: Duration) -> Vec<Identity> {
    let deadline = Instant::now() + limit;
    loop {
        let running: Vec<_> = processes.iter().copied().filter(|process| process.is_running()).collect();
        if running.is_empty() || Instant::now() >= deadline {
            return running;
        }
        sleep(POLL).await;
    }
}

/// A program running in the lab.
///
/// Dropping it changes nothing: what runs in a lab runs until it is ended by name or the lab goes down.
#[derive(Debug, Clone)]
pub struct Process {
    record: Record,
}

impl Process {
    pub(crate) fn new(record: Record) -> Self {
        Self { record }
    }

    /// Its id, in the machine's own pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.record.identity.pid
    }

    /// The name it was given when it was spawned.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Where its standard output and standard error go.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.record.log_path
    }

    /// A zombie does not count as running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.record.identity.is_running()
    }

    /// SIGTERM, 5 seconds to end, then SIGKILL. Fine on a process that has ended or was stopped.
    ///
    /// # Errors
    /// When even SIGKILL does not end it.
    pub async fn terminate(&self) -> Result<()> {
        self.record.identity.signal(Signal::TERM);
        // A stopped process takes SIGTERM only when it goes on.
        self.record.identity.signal(Signal::CONT);
        if wait_ended(&[self.record.identity], TERMINATE_WAIT).await.is_empty() {
            return Ok(());
        }
        self.kill().await
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// When the process is still there after 5 seconds.
    pub async fn kill(&self) -> Result<()> {
        self.record.identity.signal(Signal::KILL);
        if !wait_ended(&[self.record.identity], KILL_WAIT).await.is_empty() {
            bail!("{} (pid {}) is still there {KILL_WAIT:?} after SIGKILL", self.name(), self.pid());
        }
        Ok(())
    }

    /// SIGSTOP: it stays, holds its connections and does nothing, like a machine that hangs.
    pub fn stop(&self) {
        self.record.identity.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on after [`Self::stop`].
    pub fn cont(&self) {
        self.record.identity.signal(Signal::CONT);
    }

    /// For a process that shall not outlive a scope.
    #[must_use]
    pub fn kill_on_drop(self) -> KillOnDrop {
        KillOnDrop(self)
    }
}

/// Sends SIGKILL to its process when it is dropped.
#[derive(Debug)]
pub struct KillOnDrop(Process);

impl std::ops::Deref for KillOnDrop {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.record.identity.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let tail = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 9 9";
        assert_eq!(parse_start_ticks(&format!("42 (a) b (c)) S {tail}")), Some(777));
        assert_eq!(parse_start_ticks(&format!("42 (a) Z {tail}")), None);
        assert_eq!(parse_start_ticks("42 (a"), None);
    }

    #[test]
    fn a_successor_with_the_same_pid_is_never_signalled() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_running());
        let predecessor = Identity { start_ticks: me.start_ticks + 1, ..me };
        assert!(!predecessor.is_running());
        assert!(!predecessor.signal(Signal::KILL));
    }
}
