//! What people run today, beside the same containers: Netdata's cgroups plugin and a `docker stats` stream.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use swarmguard_end_to_end::http::get_json;

use super::measure;

/// A process of ours that ends when this does.
pub(super) struct Peer {
    child: Child,
}

impl Peer {
    /// Starts it with nothing to read and nobody to read it.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self { child: child.with_context(|| format!("starting {:?}", command.get_program()))? })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const NETDATA_PORT: u16 = 29_999;

/// Netdata with nothing but its cgroups plugin, every second, in memory.
pub(super) struct Netdata {
    pub(super) process: Peer,
    folder: PathBuf,
}

impl Netdata {
    /// Starts it and waits until it has charts of all containers.
    pub(super) async fn start(containers: u32) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("swarmguard-bench-netdata-{}", std::process::id()));
        for name in ["cache", "lib", "log"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let file = folder.join("netdata.conf");
        std::fs::write(&file, configuration(&folder))?;
        let mut command = Command::new("/usr/sbin/netdata");
        let process = Peer::start(command.arg("-D").arg("-c").arg(&file))?;
        let netdata = Self { process, folder };
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if netdata.charts().await.is_ok_and(|charts| charts >= u64::from(containers)) {
                return Ok(netdata);
            }
        }
        let charts = netdata.charts().await?;
        ensure!(charts >= u64::from(containers), "Netdata has CPU charts of {charts} cgroups, not of {containers}");
        Ok(netdata)
    }

    /// How many cgroups have a chart of CPU use.
    async fn charts(&self) -> Result<u64> {
        let all = get_json(&format!("http://127.0.0.1:{NETDATA_PORT}/api/v1/charts")).await?;
        let names = all["charts"].as_object().context("no charts")?;
        let is_cpu = |name: &&String| name.starts_with("cgroup_") && name.ends_with(".cpu");
        Ok(names.keys().filter(is_cpu).count() as u64)
    }

    /// CPU time of the cgroups plugin alone.
    pub(super) fn plugin_ns(&self) -> Result<u64> {
        measure::cpu_ns_of_threads(self.process.pid(), "cgroup")
    }
}

impl Drop for Netdata {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    // Left to itself it prefers v2 on hybrid hosts, where that has no controllers.
    let unified = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "yes" } else { "no" };
    let off = [
        "proc",
        "diskspace",
        "tc",
        "idlejitter",
        "timex",
        "apps",
        "charts.d",
        "python.d",
        "go.d",
        "node.d",
        "ebpf",
        "statsd",
        "perf",
        "slabinfo",
        "ioping",
        "debugfs",
        "loopsleepms",
        "enable running new plugins",
        "profile",
    ];
    let off: String = off.iter().map(|plugin| format!("    {plugin} = no\n")).collect();
    format!(
        "[global]\n    run as user = root\n    update every = 1\n[db]\n    mode = ram\n    retention = 3600\n    \
         update every = 1\n[directories]\n    cache = {folder}/cache\n    lib = {folder}/lib\n    log = {folder}/log\n\
         [logs]\n    debug = none\n    error = none\n    access = none\n[web]\n    bind to = 127.0.0.1\n    \
         default port = {NETDATA_PORT}\n[ml]\n    enabled = no\n[health]\n    enabled = no\n[cloud]\n    enabled = no\n\
         [statsd]\n    enabled = no\n[registry]\n    enabled = no\n[plugin:cgroups]\n    update every = 1\n    \
         enable by default cgroups matching = *\n    max cgroups to allow = 2000\n    \
         use unified cgroups = {unified}\n    run script to rename cgroups matching = !*\n[plugins]\n    cgroups = yes\n{off}"
    )
}

/// A `docker stats` stream of all containers of one engine.
pub(super) fn docker_stats(socket: &Path) -> Result<Peer> {
    let mut command = Command::new("docker");
    command.args(["--host", &format!("unix://{}", socket.display()), "stats", "--format", "{{json .}}"]);
    Peer::start(&mut command)
}
