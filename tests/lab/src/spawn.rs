//! Starting a program inside the lab.
//!
//! The program becomes leader of its own session and is entered into the namespaces by `nsenter` and `unshare`, each of
//! which becomes the next without forking: the pid that was started is the pid of the program.
//! Not `ip netns exec`: that remounts `/sys` and hides the cgroups.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{SYSTEM_PATH, program};
use crate::name::Name;
use crate::owned::netns_path;
use crate::process::{Identity, Process, Record, adopt};
use crate::state;

/// Gives the process a node's host name; a `/sys` that shows the node's interfaces instead of the machine's while the
/// cgroups stay in view; the kernel's tracepoints, where it has any; and a name server that refuses at once, since the
/// machine's own cannot be reached from here and would be waited for. Arguments: host name, the lab's state folder, the program and its arguments.
const ENTER_NODE: &str = r#"set -eu
echo "$1" > /proc/sys/kernel/hostname
mount --rbind /sys/fs/cgroup "$2/mnt"
mount -t sysfs sysfs /sys
mount --move "$2/mnt" /sys/fs/cgroup
if [ -d /sys/kernel/tracing ]; then mount -t tracefs tracefs /sys/kernel/tracing; fi
if [ -f /etc/resolv.conf ]; then mount --bind "$2/resolv.conf" /etc/resolv.conf; fi
"#;

/// Gives dockerd a `/run` and an `/etc` of its own. Otherwise it would use the machine's containerd, firewalld, key and
/// daemon.json, and leave its own things there. The name server again: with the machine's, every start of a task would
/// wait ten seconds for a registry.
const ENTER_DOCKERD: &str = r#"mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lab/etc /run/lab/work
cp "$2/resolv.conf" /run/lab/etc/resolv.conf
mount -t overlay -o lowerdir=/etc,upperdir=/run/lab/etc,workdir=/run/lab/work overlay /etc
mkdir -p /etc/docker
mount -t tmpfs tmpfs /etc/docker
"#;

/// Where in the lab a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the network of node `i`, counted from 1, under that node's host name.
    Node(u32),
    /// In the hub's network, with the machine's own host name.
    Hub,
}

/// How much of its surroundings the process shares with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surroundings {
    /// Files as the machine has them.
    Plain,
    /// Private `/run` and `/etc`; only on nodes.
    Dockerd,
}

/// What to start.
pub(crate) struct Start<'a> {
    pub(crate) place: Place,
    pub(crate) surroundings: Surroundings,
    pub(crate) name: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
}

/// Starts the program and writes down that it was.
pub(crate) fn start(lab: Name, start: Start<'_>) -> Result<Process> {
    if start.name.is_empty() || !start.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        bail!("{:?} cannot be the name of a log file; use letters, digits and dashes", start.name);
    }
    if !start.program.is_file() {
        bail!("{} does not exist; build it first, or give the path of the program", start.program.display());
    }
    let log_path = lab.state_dir().join("logs").join(format!("{}.log", start.name));
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("open {}; is the lab {lab} up?", log_path.display()))?;
    let child = Command::new(program("setsid")?)
        .args(enter_args(lab, &start)?)
        .arg(start.program)
        .args(&start.args)
        // Proxies, DOCKER_HOST and the like of whoever runs the tests are not the lab's business.
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .env("HOME", "/root")
        .envs(start.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log file")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", start.name))?;
    let identity = Identity::of(child.id());
    adopt(child);
    let identity = identity.with_context(|| format!("{} ended at once; see {}", start.name, log_path.display()))?;
    let record = Record { identity, name: start.name.to_owned(), log_path };
    state::record(lab, &record)?;
    Ok(Process::new(record))
}

/// Arguments of `setsid` that lead into the place; the program is to follow.
fn enter_args(lab: Name, start: &Start<'_>) -> Result<Vec<OsString>> {
    let netns = match start.place {
        Place::Node(index) => lab.node_netns(index),
        Place::Hub => lab.hub_netns(),
    };
    let mut args: Vec<OsString> =
        vec![program("nsenter")?.into(), format!("--net={}", netns_path(&netns).display()).into()];
    if let Place::Node(index) = start.place {
        let extra = if start.surroundings == Surroundings::Dockerd { ENTER_DOCKERD } else { "" };
        let script = format!("{ENTER_NODE}{extra}shift 2\nexec \"$@\"\n");
        args.extend([program("unshare")?.into(), OsString::from("--uts"), "--mount".into()]);
        args.extend(["sh".into(), "-c".into(), script.into(), "sh".into()]);
        args.extend([OsString::from(format!("node{index}")), lab.state_dir().into()]);
    }
    Ok(args)
}

/// Collects anything that reads as text into what [`Command`] takes.
pub(crate) fn os_strings<S: AsRef<OsStr>>(texts: impl IntoIterator<Item = S>) -> Vec<OsString> {
    texts.into_iter().map(|text| text.as_ref().to_owned()).collect()
}

/// The last lines of a log, for error messages.
pub(crate) fn log_tail(path: &Path) -> String {
    const LINES: usize = 12;
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n  ");
    format!("end of {}:\n  {tail}", PathBuf::from(path).display())
}
