//! The agent: samples every container of a node, alerts the collectors, feeds the database.
//!
//! In the order a figure travels:
//!
//! - [`config`]: what the user wants; [`host`]: where `/proc` and `/sys` are
//! - [`discovery`]: which containers run, from Docker
//! - [`kernel`]: what programs in the kernel tell, where it takes them
//! - [`cgroup`], [`network`], [`node`]: the kernel's files, kept open; [`rates`]: counters to rates
//! - [`ticker`]: when to tick; [`sample`]: one tick of everything
//! - [`threshold`]: which containers are over a threshold
//! - [`delivery`]: alerts and reports to the collectors; [`clock`]: how far their clocks are ahead
//! - [`points`]: the tick as points for the database
//! - [`show`]: the tick as text, for `swarmguard-agent sample`; [`doctor`]: what the kernel offers, in words
//!
//! One thread. Docker, the collectors and the database may each be away at any time: `presence` says so once, and
//! sampling goes on.

pub mod config;
pub mod host;

pub mod discovery;

pub mod kernel;

pub mod cgroup;
pub mod network;
pub mod node;
pub mod rates;

pub mod ticker;

pub mod sample;

pub mod threshold;

pub mod clock;
pub mod delivery;

pub mod points;

pub mod doctor;
pub mod show;

use std::borrow::Cow;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use swarmguard_daemon::presence;
use swarmguard_influx::Sink;
use swarmguard_wire::report::{REPORT_CONTAINERS_MAX, REPORT_INTERVAL};
use swarmguard_wire::{
    Alert, ContainerId, ContainerSample, HYSTERESIS, Name, NodeRef, NodeSample, Policy, Report, Timestamp,
};
use tokio::sync::{mpsc, watch};

use cgroup::hierarchy::Hierarchies;
use config::Config;
use delivery::Collectors;
use discovery::{CHANGES_MAX, Change};
use host::Host;
use kernel::programs::{NetworkPrograms, OomProgram};
use kernel::support;
use points::Points;
use sample::{Sampler, Tick, Wanted};
use ticker::Ticker;

/// Shortest and longest time between ticks that a collector may ask for.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// How long the last points may take to be written when the agent stops.
const FLUSH_AT_STOP_MAX: Duration = Duration::from_secs(3);

/// Runs until `shutdown` resolves.
///
/// # Errors
/// Only for what no retry can mend: an address that cannot stand in a request.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let (host, namespace) = host(&config);
    let facts = node_facts(&config, &host, namespace);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = sysinfo::System::kernel_version().ok(),
        cores = facts.cores,
        interface = facts.interface,
        link_mbps = facts.link_mbps,
        collectors = config.collectors.len(),
        database = config.influx.is_some(),
        "agent started"
    );
    if facts.link_mbps.is_none() {
        tracing::warn!("the link's speed is unknown, so no rule that needs the network applies: give --link-mbps");
    }
    let (policy_sender, policy) = watch::channel(Policy::default());
    let collectors =
        Collectors::start(&config.collectors, &policy_sender).context("starting delivery to collectors")?;
    let (stop_writer, writer_stopped) = tokio::sync::oneshot::channel::<()>();
    let node = NodeRef { id: None, name: fallback_name(&config) };
    let (sink, writer) = database(&config, &node, writer_stopped)?;
    let hierarchies = hierarchies(&host);
    let (changes_sender, changes) = mpsc::channel(CHANGES_MAX);
    let mut watching = tokio::task::JoinSet::new();
    if let Some(parent) = config.cgroup_parent.clone() {
        watching.spawn(discovery::plain::watch(discovery::plain::mounts(&hierarchies), parent, changes_sender.clone()));
    }
    watching.spawn(discovery::watch(config.docker_host.clone(), config.node.clone(), changes_sender));
    allow_many_files();
    let (programs, oom) = attach(&host, &hierarchies);

    let sampler = Sampler::new(host, namespace, hierarchies, facts, programs);
    let points = Points::new(node.clone());
    let agent = Agent { config, node, sampler, collectors, points, sink, policy, alerted: Default::default(), oom };
    let ticker = Ticker::every(agent.interval()).context("starting the timer")?;
    agent.run(changes, ticker, shutdown).await;

    watching.abort_all();
    drop(stop_writer);
    if let Some(writer) = writer
        && tokio::time::timeout(FLUSH_AT_STOP_MAX, writer).await.is_err()
    {
        tracing::warn!("stopped before the last points were written");
    }
    tracing::info!("agent stopped");
    Ok(())
}

type WriterTask = tokio::task::JoinHandle<()>;

fn database(
    config: &Config,
    node: &NodeRef,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> anyhow::Result<(Option<Sink>, Option<WriterTask>)> {
    let Some(endpoint) = config.influx.clone() else { return Ok((None, None)) };
    let options = swarmguard_influx::Options {
        flush_interval: config.flush_interval,
        ..swarmguard_influx::Options::new(node.name.as_str())
    };
    let (sink, writer) = swarmguard_influx::channel(endpoint, &options);
    let shutdown = async {
        // Resolves when the sender is dropped, which is how the agent says that it stops.
        let _ = stopped.await;
    };
    Ok((Some(sink), Some(tokio::spawn(writer.run(shutdown)))))
}

struct Agent {
    config: Config,
    node: NodeRef,
    sampler: Sampler,
    collectors: Collectors,
    points: Points,
    sink: Option<Sink>,
    policy: watch::Receiver<Policy>,
    /// The containers that the last tick was alerted on for, and room for the next tick's.
    alerted: [Vec<ContainerId>; 2],
    oom: Option<OomProgram>,
}

impl Agent {
    async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        mut ticker: Ticker,
        shutdown: impl Future<Output = ()>,
    ) {
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(change) = changes.recv() => self.notice(change),
                () = killed(&mut self.oom) => self.tell_kills(SystemTime::now()),
                () = ticker.tick() => {
                    self.tick(Instant::now(), SystemTime::now(), ticker.interval());
                    if self.interval() != ticker.interval()
                        && let Err(error) = ticker.change(self.interval())
                    {
                        tracing::warn!(%error, "the time between samples stays as it is");
                    }
                }
            }
        }
    }

    fn interval(&self) -> Duration {
        let collectors = Duration::from_millis(self.policy.borrow().interval_ms.into());
        self.config.interval.unwrap_or(collectors.clamp(INTERVAL_MIN, INTERVAL_MAX))
    }

    fn notice(&mut self, change: Change) {
        if let Change::Identity(node) = &change
            && *node != self.node
        {
            self.node = node.clone();
            self.points = Points::new(node.clone());
        }
        self.sampler.apply(change);
    }

    /// Sample, alert, report, and only then the database.
    fn tick(&mut self, now: Instant, wall: SystemTime, interval: Duration) {
        let at = Timestamp::from(wall);
        let policy = *self.policy.borrow();
        let is_report_due = is_report_due(self.sampler.next_number(), interval, &policy);
        let tick =
            self.sampler.tick(now, Wanted { node: is_report_due, memory_percent: policy.memory_percent - HYSTERESIS });
        for (sample, extra) in tick.containers.iter().zip(tick.extras) {
            // Without the program that tells of kills, or when a turn was faster than it, this is where they are seen.
            if extra.was_killed {
                log_kill(sample);
            }
            let [before, these] = &mut self.alerted;
            let is_breach = threshold::is_breach(sample, &policy, before.contains(&sample.id));
            if is_breach {
                these.push(sample.id);
            }
            if is_breach || extra.was_killed && policy.alert_immediately {
                self.collectors.alert(&alert(at, tick.number, &self.node, sample));
            }
        }
        let [before, these] = &mut self.alerted;
        before.clear();
        std::mem::swap(before, these);
        if let Some(sample) = tick.node {
            let mut report = report(&tick, sample, &self.node, at, interval);
            report.alerts_dropped = self.collectors.alerts_dropped();
            self.collectors.report(&mut report);
        }
        if let Some(sink) = &mut self.sink {
            let unix_ns = i64::try_from(at.as_micros()).unwrap_or(i64::MAX).saturating_mul(1_000);
            self.points.write(sink, &tick, unix_ns);
            sink.commit(now);
        }
    }

    /// A process was killed for lack of memory: whose it was is alerted on at once, whatever the thresholds.
    fn tell_kills(&mut self, wall: SystemTime) {
        let (at, number) = (Timestamp::from(wall), self.sampler.last(false).number);
        let is_alerted = self.policy.borrow().alert_immediately;
        for sample in self.sampler.look_for_kills() {
            log_kill(sample);
            if is_alerted {
                self.collectors.alert(&alert(at, number, &self.node, sample));
            }
        }
    }
}

fn log_kill(sample: &ContainerSample) {
    tracing::warn!(container = %sample.id.short(), kills = sample.oom_kills, "killed for lack of memory");
}

fn alert(at: Timestamp, tick: u64, node: &NodeRef, sample: &ContainerSample) -> Alert {
    Alert { sampled_at: at, sent_at: at, clock_offset: None, tick, node: node.clone(), container: sample.clone() }
}

/// Without alerts the collector sees breaches in reports alone, so each tick has one. The second tick has one in any
/// case: it is the first with rates, and the collector is waiting to know this node.
fn is_report_due(tick: u64, interval: Duration, policy: &Policy) -> bool {
    let ticks_per_report = REPORT_INTERVAL.as_millis().checked_div(interval.as_millis()).unwrap_or(1).max(1);
    !policy.alert_immediately || u128::from(tick) % ticks_per_report == 2 % ticks_per_report
}

fn report<'a>(
    tick: &Tick<'a>,
    sample: &NodeSample,
    node: &'a NodeRef,
    at: Timestamp,
    interval: Duration,
) -> Report<'a> {
    let (reported, omitted) = tick.containers.split_at(tick.containers.len().min(REPORT_CONTAINERS_MAX));
    Report {
        sampled_at: at,
        sent_at: at,
        clock_offset: None,
        tick: tick.number,
        interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
        node: Cow::Borrowed(node),
        sample: sample.clone(),
        containers: Cow::Borrowed(reported),
        containers_omitted: u32::try_from(omitted.len()).unwrap_or(u32::MAX),
        alerts_dropped: 0,
    }
}

/// Where no program tells of kills, none ever happens here: the counts are read in turn.
async fn killed(oom: &mut Option<OomProgram>) {
    match oom {
        Some(oom) => oom.killed().await,
        None => std::future::pending().await,
    }
}

/// Attaches what this kernel takes; what it does not is said once, and done without.
fn attach(host: &Host, hierarchies: &Hierarchies) -> (Option<NetworkPrograms>, Option<OomProgram>) {
    let plan = support::decide(&support::Facts::gather(host, hierarchies));
    (attach_network(&plan), attach_oom(&plan))
}

fn attach_network(plan: &support::Plan) -> Option<NetworkPrograms> {
    let root = plan.network.as_ref().map_err(ToString::to_string);
    let attached =
        root.and_then(|root| kernel::programs::attach_network(root).map_err(|error| presence::chain(&error)));
    let say =
        |reason: &String| tracing::warn!(reason, "traffic is read from /proc, and absent for host-network containers");
    attached.inspect_err(say).ok()
}

fn attach_oom(plan: &support::Plan) -> Option<OomProgram> {
    let wanted = plan.oom.as_ref().map_err(ToString::to_string);
    let attached = wanted.and_then(|()| kernel::programs::attach_oom().map_err(|error| presence::chain(&error)));
    let say =
        |reason: &String| tracing::info!(reason, "kills for lack of memory are seen within thirty ticks, not at once");
    attached.inspect_err(say).ok()
}

/// Each container takes about eight open files, and the usual soft limit is 1,024. Raising it up to the hard one needs no
/// right; programs that fear large descriptor numbers (`select`) are not in here.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is");
    }
}

fn hierarchies(host: &Host) -> Hierarchies {
    Hierarchies::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), host.sys())
}

/// The host's files, and the process in whose network namespace the node's interface is: the agent's own on a host,
/// the host's first one when the agent runs in a container.
fn host(config: &Config) -> (Host, &'static str) {
    let namespace = if config.host_root == std::path::Path::new("/") { "self" } else { "1" };
    (Host::new(&config.host_root), namespace)
}

fn node_facts(config: &Config, host: &Host, namespace: &str) -> node::Facts {
    node::Facts::read(host, namespace, config.interface.clone(), config.link_mbps)
}

/// The node's name until Docker tells its own.
fn fallback_name(config: &Config) -> Name {
    let host_name = || Name::new(&sysinfo::System::host_name().unwrap_or_default());
    config.node.clone().unwrap_or_else(host_name)
}
