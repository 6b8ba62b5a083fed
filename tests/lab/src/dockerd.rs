//! One `dockerd` per node, with containerd, data and socket of its own.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bollard::Docker;
use tokio::time::{Instant, sleep, timeout};

use crate::command::program;
use crate::lab::Node;
use crate::name::Name;
use crate::process::Process;
use crate::spawn::{self, Place, Start, Surroundings, log_tail};

/// A cold start on a slow disk included; 0.7 seconds is usual.
const READY_WAIT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(20);
/// A daemon that takes longer hangs.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Building an image or stopping a stubborn container is the longest single request.
const REQUEST_TIMEOUT_S: u64 = 120;

pub(crate) fn process_name(index: u32) -> String {
    format!("dockerd-node{index}")
}

pub(crate) fn start(lab: Name, node: &Node) -> Result<Process> {
    let folder = lab.state_dir().join(node.hostname());
    let config = folder.join("daemon.json");
    std::fs::write(&config, "{}\n").with_context(|| format!("write {}", config.display()))?;
    let pid_file = folder.join("dockerd.pid");
    // One that was killed leaves its pid behind, and the next would refuse to start while someone has that pid.
    let _none = std::fs::remove_file(&pid_file);
    let mut host = OsString::from("unix://");
    host.push(node.socket());
    let args: Vec<OsString> = vec![
        "--config-file".into(),
        config.into(),
        "--data-root".into(),
        folder.join("data").into(),
        "--pidfile".into(),
        pid_file.into(),
        "--host".into(),
        host,
        "--cgroup-parent".into(),
        node.cgroup_parent().into(),
        // Under systemd Docker would take systemd's driver, which wants slices for parents.
        "--exec-opt".into(),
        "native.cgroupdriver=cgroupfs".into(),
        // Nothing in a lab is worth waiting for when it goes down.
        "--shutdown-timeout".into(),
        "1".into(),
    ];
    let program = program("dockerd")?;
    spawn::start(
        lab,
        Start {
            place: Place::Node(node.index()),
            surroundings: Surroundings::Dockerd,
            name: &process_name(node.index()),
            program: &program,
            args,
            env: Vec::new(),
        },
    )
}

/// Waits until the daemon answers.
pub(crate) async fn wait_ready(node: &Node, process: &Process) -> Result<()> {
    let deadline = Instant::now() + READY_WAIT;
    loop {
        if is_answering(node).await {
            return Ok(());
        }
        if !process.is_running() {
            bail!("dockerd of {} ended; {}", node.hostname(), log_tail(process.log_path()));
        }
        if Instant::now() >= deadline {
            bail!(
                "dockerd of {} does not answer after {READY_WAIT:?}; {}",
                node.hostname(),
                log_tail(process.log_path())
            );
        }
        sleep(READY_POLL).await;
    }
}

pub(crate) async fn is_answering(node: &Node) -> bool {
    // Connecting first: a socket that exists but refuses would make every request wait for its time-out.
    if tokio::net::UnixStream::connect(node.socket()).await.is_err() {
        return false;
    }
    let Ok(docker) = connect(node) else { return false };
    timeout(PING_TIMEOUT, docker.ping()).await.is_ok_and(|answer| answer.is_ok())
}

/// A client that has not yet agreed on a version of the API.
pub(crate) fn connect(node: &Node) -> Result<Docker> {
    let path = node.socket().to_string_lossy();
    Docker::connect_with_unix(&path, REQUEST_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
        .with_context(|| format!("connect to {path}; is the lab up?"))
}
