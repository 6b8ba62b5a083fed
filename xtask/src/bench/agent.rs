//! `cargo xtask bench agent`: the agent, Netdata, `docker stats` and the floor beside the same containers.
//!
//! One after the other, so that none disturbs another. Netdata is its cgroups plugin's threads alone, which is less than
//! the whole process and fairer to it; `docker stats` is the client, dockerd and containerd: their memory together,
//! and their CPU time, with the shims', less what they take when nobody asks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use swarmguard_end_to_end::app::{IMAGE, install};
use swarmguard_end_to_end::binaries::Binaries;
use swarmguard_end_to_end::stage::{COLLECTOR_PORT, influx_url};
use swarmguard_lab::servers::influxdb;
use swarmguard_lab::{Lab, Name, Node, Options as LabOptions, Place, Process};

use super::measure::{self, Memory};
use super::peers::{Netdata, Peer, docker_stats};
use crate::report::{Figure, Outcome, Promise, promises, table};
use crate::run::{output, say, step};

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) containers: u32,
    pub(super) seconds: u32,
    pub(super) runs: u32,
}

/// Long enough for start-up and the first write to the database to be over.
const WARM_UP: Duration = Duration::from_secs(12);

/// Promised for 50 containers, and in proportion beyond.
const CPU_PERCENT_MAX: f64 = 0.08;
const CONTAINERS_PROMISED: f64 = 50.0;

/// What one process cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    cpu_percent: f64,
    memory: Memory,
}

#[derive(Debug, Default)]
struct Costs {
    swarmguard: Vec<Cost>,
    netdata: Vec<Cost>,
    netdata_process: Vec<Cost>,
    docker_stats: Vec<Cost>,
    floor: Vec<Cost>,
    wire_bytes_per_sample: Vec<f64>,
}

impl Costs {
    fn last_run(&self) -> String {
        let cpu = |costs: &[Cost]| costs.last().map_or(0.0, |cost| cost.cpu_percent);
        format!(
            "         CPU % of a core: agent {:.4}, floor {:.4}, Netdata's plugin {:.4}, docker stats {:.4}",
            cpu(&self.swarmguard),
            cpu(&self.floor),
            cpu(&self.netdata),
            cpu(&self.docker_stats)
        )
    }
}

pub(super) async fn run(options: Options, binaries: &Binaries, floor: &Path) -> Result<Outcome> {
    let begun = Instant::now();
    step(begun, &format!("a lab with {} containers", options.containers));
    Lab::clean(Name::Bench).await?;
    let lab = Lab::up(LabOptions::new(Name::Bench, 1), &|_| ()).await?;
    install(&lab, binaries).await?;
    let files = start_containers(lab.node(1)?, options.containers)?;
    let bench = Bench { lab, binaries, options, files };
    let database = influxdb(&bench.lab).await?;
    let influx = influx_url(&database);
    let _collector = bench.start_collector(&influx)?;
    let mut costs = Costs::default();
    for run in 1..=options.runs {
        let of = |what: &str| step(begun, &format!("run {run} of {}: {what}, {} s", options.runs, options.seconds));
        of("the agent");
        bench.agent(&influx, &mut costs).await?;
        of("the floor");
        bench.floor(floor, &mut costs).await?;
        of("Netdata");
        bench.netdata(&mut costs).await?;
        of("docker stats, and the engine without it");
        bench.docker_stats(&mut costs).await?;
        say(&costs.last_run());
    }
    let binary_bytes = std::fs::metadata(&binaries.agent)?.len();
    Ok(outcome(options, &costs, binary_bytes))
}

/// Starts them, and finds what is to be read of each: CPU time and memory in use.
fn start_containers(node: &Node, count: u32) -> Result<Vec<PathBuf>> {
    let host = format!("unix://{}", node.socket().display());
    for number in 0..count {
        let mut docker = Command::new("docker");
        docker.args(["--host", &host, "run", "--detach", "--name", &format!("idle-{number}"), IMAGE]);
        output(docker)?;
        if number % 10 == 9 {
            say(&format!("         {} containers run", number + 1));
        }
    }
    let roots: [(&str, &str); 2] = match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => [("/sys/fs/cgroup", "cpu.stat"), ("/sys/fs/cgroup", "memory.current")],
        false => [("/sys/fs/cgroup/cpuacct", "cpuacct.usage"), ("/sys/fs/cgroup/memory", "memory.usage_in_bytes")],
    };
    let parent = node.cgroup_parent().trim_start_matches('/');
    let mut files = Vec::new();
    for (root, file) in roots {
        let folder = Path::new(root).join(parent);
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        files.extend(entries.flatten().map(|entry| entry.path().join(file)).filter(|file| file.is_file()));
    }
    ensure!(files.len() == 2 * count as usize, "{} files of {count} containers", files.len());
    Ok(files)
}

struct Bench<'a> {
    lab: Lab,
    binaries: &'a Binaries,
    options: Options,
    files: Vec<PathBuf>,
}

impl Bench<'_> {
    fn start_collector(&self, influx: &str) -> Result<Process> {
        let socket = self.lab.node(1)?.socket().display().to_string();
        let args = [
            format!("--listen=0.0.0.0:{COLLECTOR_PORT}"),
            format!("--docker-host=unix://{socket}"),
            format!("--influx-url={influx}"),
        ];
        self.lab.spawn(Place::Node(1), "collector", &self.binaries.collector, args, [("NO_COLOR", "1")])
    }

    async fn window(&self) {
        tokio::time::sleep(Duration::from_secs(self.options.seconds.into())).await;
    }

    /// CPU time gained over the window, in percent of a core.
    async fn percent(&self, cpu_ns: impl Fn() -> Result<u64>) -> Result<f64> {
        let (begun, before) = (Instant::now(), cpu_ns()?);
        self.window().await;
        let gained = cpu_ns()?.saturating_sub(before);
        Ok(gained as f64 / 1e9 / begun.elapsed().as_secs_f64() * 100.0)
    }

    async fn agent(&self, influx: &str, costs: &mut Costs) -> Result<()> {
        let node = self.lab.node(1)?;
        let args = [
            format!("--collector=http://{}:{COLLECTOR_PORT}", node.address()),
            format!("--docker-host=unix://{}", node.socket().display()),
            format!("--influx-url={influx}"),
            "--iface=eth0".to_owned(),
            "--link-mbps=100".to_owned(),
        ];
        let agent = self.lab.spawn(Place::Node(1), "agent", &self.binaries.agent, args, [("NO_COLOR", "1")])?;
        tokio::time::sleep(WARM_UP).await;
        let (pid, sent) = (agent.pid(), self.bytes_sent(agent.pid())?);
        let cpu_percent = self.percent(|| measure::cpu_ns(&[pid])).await?;
        let bytes = self.bytes_sent(pid)?.saturating_sub(sent);
        let samples = f64::from(self.options.containers) * f64::from(self.options.seconds);
        costs.wire_bytes_per_sample.push(bytes as f64 / samples);
        costs.swarmguard.push(Cost { cpu_percent, memory: measure::memory(pid)? });
        let log = std::fs::read_to_string(agent.log_path()).unwrap_or_default();
        ensure!(!log.contains(" WARN ") && !log.contains(" reason="), "the agent did not have everything on:\n{log}");
        agent.terminate().await
    }

    /// Bytes that the agent's connections have sent, to database and collector.
    fn bytes_sent(&self, pid: u32) -> Result<u64> {
        let mut ss = Command::new("nsenter");
        ss.args(["--target", &pid.to_string(), "--net", "ss", "-tinHp"]);
        let text = output(ss)?;
        // Two lines for each connection, the second with the counts.
        let lines: Vec<&str> = text.lines().collect();
        let own = lines.windows(2).filter(|pair| pair[0].contains(&format!("pid={pid},"))).map(|pair| pair[1]);
        Ok(own.map(measure::bytes_sent).sum())
    }

    async fn floor(&self, program: &Path, costs: &mut Costs) -> Result<()> {
        let floor = Peer::start(Command::new(program).args(&self.files))?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let pid = floor.pid();
        let cpu_percent = self.percent(|| measure::cpu_ns(&[pid])).await?;
        costs.floor.push(Cost { cpu_percent, memory: measure::memory(pid)? });
        Ok(())
    }

    async fn netdata(&self, costs: &mut Costs) -> Result<()> {
        let netdata = Netdata::start(self.options.containers).await?;
        tokio::time::sleep(WARM_UP).await;
        let pid = netdata.process.pid();
        let (begun, whole, plugin) = (Instant::now(), measure::cpu_ns(&[pid])?, netdata.plugin_ns()?);
        self.window().await;
        let percent = |gained: u64| gained as f64 / 1e9 / begun.elapsed().as_secs_f64() * 100.0;
        let memory = measure::memory(pid)?;
        let plugin = percent(netdata.plugin_ns()?.saturating_sub(plugin));
        ensure!(plugin > 0.0, "Netdata has no thread of its cgroups plugin");
        costs.netdata.push(Cost { cpu_percent: plugin, memory });
        let whole = percent(measure::cpu_ns(&[pid])?.saturating_sub(whole));
        costs.netdata_process.push(Cost { cpu_percent: whole, memory });
        Ok(())
    }

    async fn docker_stats(&self, costs: &mut Costs) -> Result<()> {
        let socket = self.lab.node(1)?.socket().to_owned();
        let engine = self.engine()?;
        let idle = self.percent(|| measure::cpu_ns(&engine)).await?;
        let client = docker_stats(&socket)?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let all: Vec<u32> = engine.iter().copied().chain([client.pid()]).collect();
        let asked = self.percent(|| measure::cpu_ns(&all)).await?;
        let without_shims = all.iter().filter(|pid| ["dockerd", "containerd", "docker"].contains(&comm(**pid).trim()));
        let memory = without_shims.map(|pid| measure::memory(*pid)).sum::<Result<Memory>>()?;
        costs.docker_stats.push(Cost { cpu_percent: (asked - idle).max(0.0), memory });
        Ok(())
    }

    /// dockerd, its containerd and the shims: all that name the lab's folder, but not what is measured here.
    fn engine(&self) -> Result<Vec<u32>> {
        let folder = self.lab.state_dir().display().to_string();
        let is_engine = |pid: &u32| ["dockerd", "containerd"].iter().any(|name| comm(*pid).starts_with(name));
        let shims = measure::with_command_line("containerd-shim").into_iter();
        let named = measure::with_command_line(&folder).into_iter();
        let mut engine: Vec<u32> = named.chain(shims).filter(is_engine).collect();
        engine.sort_unstable();
        engine.dedup();
        ensure!(engine.len() > self.options.containers as usize, "{} processes of the engine", engine.len());
        Ok(engine)
    }
}

/// A process's name, cut at 15 bytes.
fn comm(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}

fn figure(costs: &[Cost], pick: fn(&Cost) -> f64) -> Figure {
    Figure::of(costs.iter().map(pick))
}

fn json_of(costs: &[Cost]) -> Value {
    json!({
        "cpu_percent": figure(costs, |cost| cost.cpu_percent).json(),
        "rss_kib": figure(costs, |cost| cost.memory.rss as f64).json(),
        "anon_kib": figure(costs, |cost| cost.memory.anon as f64).json(),
        "peak_rss_kib": figure(costs, |cost| cost.memory.peak as f64).json(),
    })
}

fn outcome(options: Options, costs: &Costs, binary_bytes: u64) -> Outcome {
    let cpu = |costs: &[Cost]| figure(costs, |cost| cost.cpu_percent);
    let (ours, wire) = (cpu(&costs.swarmguard), Figure::of(costs.wire_bytes_per_sample.iter().copied()));
    let mut rows =
        vec![["", "CPU % of a core", "x ours", "RSS KiB", "anon KiB", "peak KiB"].map(str::to_owned).to_vec()];
    for (name, of) in [
        ("swarmguard", &costs.swarmguard),
        ("floor", &costs.floor),
        ("netdata (cgroups plugin)", &costs.netdata),
        ("netdata (whole)", &costs.netdata_process),
        ("docker stats", &costs.docker_stats),
    ] {
        let memory = |pick: fn(&Cost) -> f64| format!("{:.0}", figure(of, pick).median);
        rows.push(vec![
            name.to_owned(),
            cpu(of).shown(4),
            format!("{:.2}", cpu(of).median / ours.median),
            memory(|cost| cost.memory.rss as f64),
            memory(|cost| cost.memory.anon as f64),
            memory(|cost| cost.memory.peak as f64),
        ]);
    }
    let mib = |pick: fn(&Cost) -> f64| figure(&costs.swarmguard, pick).median / 1024.0;
    let scale = (f64::from(options.containers) / CONTAINERS_PROMISED).max(1.0);
    let (lines, missed) = promises(&[
        Promise { what: "agent, CPU % of a core", found: ours.median, at_most: CPU_PERCENT_MAX * scale },
        Promise {
            what: "agent / Netdata's cgroups plugin",
            found: ours.median / cpu(&costs.netdata).median,
            at_most: 0.1,
        },
        Promise { what: "agent / floor", found: ours.median / cpu(&costs.floor).median, at_most: 3.0 },
        Promise { what: "agent, MiB resident", found: mib(|cost| cost.memory.rss as f64), at_most: 5.0 },
        Promise { what: "agent, MiB at the peak", found: mib(|cost| cost.memory.peak as f64), at_most: 10.0 },
        Promise { what: "agent, MiB of the binary", found: binary_bytes as f64 / f64::from(1 << 20), at_most: 3.0 },
    ]);
    let text = format!(
        "\n{} containers, {} runs of {} s each: median (least-most)\n\n{}\nwire: {} bytes per container and sample\n\n{lines}",
        options.containers,
        options.runs,
        options.seconds,
        table(&rows),
        wire.shown(1),
    );
    let json = json!({
        "swarmguard": json_of(&costs.swarmguard),
        "netdata": json_of(&costs.netdata),
        "netdata_process": json_of(&costs.netdata_process),
        "docker_stats": json_of(&costs.docker_stats),
        "floor": json_of(&costs.floor),
        "binary_bytes": binary_bytes,
        "wire_bytes_per_sample": wire.json(),
        "containers": options.containers,
        "seconds": options.seconds,
        "runs": options.runs,
        "missed": missed,
    });
    Outcome { text, json, missed }
}
