//! One tick: every container and the node, read and turned into samples.
//!
//! The sampler owns the kept files and the last counters. It decides nothing and sends nothing, and it reads no clock:
//! the tick's time is given, so that two samplers fed the same files agree.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use swarmguard_wire::{ContainerId, ContainerSample, NodeSample};

use crate::cgroup::hierarchy::{Hierarchies, Membership};
use crate::cgroup::{Cgroup, FILE_BYTES_MAX, Limit, Limits, Usage};
use crate::discovery::{Change, Container};
use crate::host::Host;
use crate::network::{Counters, Interfaces, Source};
use crate::node::{Facts, Gained, Node};
use crate::rates;

const BYTES_PER_MIB: f64 = 1_048_576.0;

/// Everything measured at one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// The tick's number since the agent started.
    pub number: u64,
    /// The node.
    pub node: NodeSample,
    /// The containers, in the order of their identifiers.
    pub containers: Vec<Measured>,
}

/// A container's sample, and the counters that only the database wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What agents and collectors speak of.
    pub sample: ContainerSample,
    /// Traffic since the container started.
    pub network: Option<Counters>,
}

/// Reads the node and all known containers.
#[derive(Debug)]
pub struct Sampler {
    host: Host,
    hierarchies: Hierarchies,
    facts: Facts,
    node: Node,
    containers: BTreeMap<ContainerId, Tracked>,
    last_tick_at: Option<Instant>,
    ticks: u64,
    buffer: Box<[u8]>,
    memory_untold: bool,
}

#[derive(Debug)]
struct Tracked {
    container: Container,
    cgroup: Cgroup,
    limits: Limits,
    network: Source,
    before: Option<Before>,
}

#[derive(Debug, Clone, Copy)]
struct Before {
    at: Instant,
    usage: Usage,
    network: Option<Counters>,
}

impl Sampler {
    /// Finds the cgroup hierarchies and opens the node's files. `namespace` is the process of `/proc` in whose network
    /// namespace the node's interface is.
    pub fn new(host: Host, namespace: &str, facts: Facts) -> Self {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let hierarchies = Hierarchies::parse(&mountinfo, host.sys());
        if hierarchies.is_empty() {
            tracing::warn!(sys = %host.sys().display(), "no cgroup hierarchy is mounted here: containers have no CPU and memory");
        }
        let node = Node::open(&host, namespace);
        Self {
            host,
            hierarchies,
            facts,
            node,
            containers: BTreeMap::new(),
            last_tick_at: None,
            ticks: 0,
            buffer: vec![0; FILE_BYTES_MAX].into_boxed_slice(),
            memory_untold: false,
        }
    }

    /// Takes notice of containers that came, went or changed.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Present(containers) => {
                self.containers.retain(|id, _| containers.iter().any(|container| container.id == *id));
                containers.into_iter().for_each(|container| self.track(container));
            }
            Change::Started(container) => self.track(container),
            Change::Ended(id) => drop(self.containers.remove(&id)),
            Change::LimitsChanged(id) => {
                if let Some(tracked) = self.containers.get_mut(&id) {
                    tracked.limits = tracked.cgroup.limits(&mut self.buffer);
                }
            }
            // Who the node is matters to the messages, not to the sampler.
            Change::Identity(_) => {}
        }
    }

    fn track(&mut self, container: Container) {
        let known = self.containers.get(&container.id);
        if known.is_some_and(|known| known.container.pid == container.pid) {
            return;
        }
        let pid = container.pid;
        // Gone already: its end was or will be told too.
        let Ok(text) = std::fs::read_to_string(self.host.proc(&format!("{pid}/cgroup"))) else { return };
        let membership = Membership::parse(&text);
        if membership.is_foreign() {
            tracing::warn!(
                container = %container.id.short(),
                "its cgroup is outside this agent's cgroup namespace: run the agent's container with --cgroupns=host"
            );
        }
        let cgroup = Cgroup::open(&self.hierarchies, &membership);
        if !cgroup.tells_memory() && !self.memory_untold {
            self.memory_untold = true;
            tracing::warn!(
                "the kernel does not count memory by container: add cgroup_enable=memory cgroup_memory=1 to its \
                 command line (on a Raspberry Pi in /boot/firmware/cmdline.txt) and restart; until then memory is absent"
            );
        }
        let network = if container.host_network {
            Source::Absent
        } else {
            Source::proc_net_dev(&self.host.proc(&format!("{pid}/net/dev")))
        };
        let limits = cgroup.limits(&mut self.buffer);
        let tracked = Tracked { container, cgroup, limits, network, before: None };
        self.containers.insert(tracked.container.id, tracked);
    }

    /// Samples everything once. What needs an earlier reading is absent at a container's first tick; a container whose
    /// cgroup is gone has no sample.
    pub fn tick(&mut self, now: Instant) -> Tick {
        let elapsed = self.last_tick_at.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last_tick_at = Some(now);
        self.ticks += 1;
        let node = self.node.sample(&self.facts, elapsed, &mut self.buffer);
        let (facts, buffer) = (&self.facts, &mut self.buffer);
        let containers =
            self.containers.values_mut().filter_map(|tracked| tracked.sample(facts, now, buffer)).collect();
        Tick { number: self.ticks, node, containers }
    }
}

impl Tracked {
    fn sample(&mut self, facts: &Facts, now: Instant, buffer: &mut [u8]) -> Option<Measured> {
        let usage = self.cgroup.usage(buffer);
        let network = self.network.read(Interfaces::NotLoopback, buffer);
        let counters = network.map(|(counters, _)| counters);
        if usage == Usage::default() && counters.is_none() {
            return None;
        }
        let before = self.before.replace(Before { at: now, usage, network: counters });
        let elapsed = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before.at));
        let before_usage = before.map(|before| before.usage).unwrap_or_default();
        let cpu_percent =
            rates::gained(before_usage.cpu_ns, usage.cpu_ns).and_then(|gained| rates::cpu_percent(gained, elapsed));
        let gained = before.and_then(|before| {
            let (now, source) = network?;
            Gained::between(before.network?, now, source)
        });
        let Container { id, service, task, name, has_healthcheck, .. } = &self.container;
        let sample = ContainerSample {
            id: *id,
            service: service.clone(),
            task: task.clone(),
            name: service.is_none().then(|| name.clone()),
            has_healthcheck: Some(*has_healthcheck),
            cpu_percent,
            cpu_limit_percent: cpu_percent.and_then(|percent| cpu_limit_percent(percent, self.limits, facts)),
            memory_mb: usage.memory_bytes.map(|bytes| rates::round(bytes as f64 / BYTES_PER_MIB)),
            memory_percent: usage.memory_bytes.and_then(|bytes| memory_percent(bytes, self.limits, facts)),
            network: gained.and_then(|gained| facts.network(&gained, elapsed)),
            throttled_percent: throttled_percent(before_usage, usage),
            oom_kills: usage.oom_kills,
        };
        Some(Measured { sample, network: counters })
    }
}

/// CPU in percent of the quota, else of the node. A limit that is not known is not "no limit".
fn cpu_limit_percent(cpu_percent: f32, limits: Limits, facts: &Facts) -> Option<f32> {
    let cores = match limits.cpu_cores? {
        Limit::At(cores) => cores,
        Limit::Unlimited => f64::from(facts.cores),
    };
    rates::ratio_percent(f64::from(cpu_percent) / 100.0, cores)
}

/// Memory in percent of the limit, else of the node. A limit above the node's memory is none.
fn memory_percent(bytes: u64, limits: Limits, facts: &Facts) -> Option<f32> {
    let whole = match (limits.memory_bytes?, facts.memory_bytes) {
        (Limit::At(limit), Some(node)) => limit.min(node),
        (Limit::At(limit), None) => limit,
        (Limit::Unlimited, node) => node?,
    };
    rates::ratio_percent(bytes as f64, whole as f64)
}

fn throttled_percent(before: Usage, now: Usage) -> Option<f32> {
    let periods = rates::gained(before.periods, now.periods)?;
    let throttled = rates::gained(before.throttled_periods, now.throttled_periods)?;
    rates::ratio_percent(throttled as f64, periods as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(memory_bytes: Option<u64>) -> Facts {
        Facts { cores: 4, memory_bytes, interface: None, link_mbps: None }
    }

    #[test]
    fn cpu_is_in_percent_of_the_quota_else_of_the_node() {
        let check = |cpu_cores, expected| {
            let limits = Limits { cpu_cores, memory_bytes: None };
            assert_eq!(cpu_limit_percent(40.0, limits, &facts(None)), expected, "{cpu_cores:?}");
        };
        check(Some(Limit::At(0.5)), Some(80.0));
        check(Some(Limit::Unlimited), Some(10.0));
        check(None, None);
    }

    #[test]
    fn memory_is_in_percent_of_the_limit_else_of_the_node() {
        let check = |memory_bytes, node, expected| {
            let limits = Limits { cpu_cores: None, memory_bytes };
            assert_eq!(memory_percent(50, limits, &facts(node)), expected, "{memory_bytes:?} of {node:?}");
        };
        check(Some(Limit::At(100)), Some(1000), Some(50.0));
        check(Some(Limit::Unlimited), Some(1000), Some(5.0));
        check(Some(Limit::At(5000)), Some(1000), Some(5.0));
        check(Some(Limit::Unlimited), None, None);
        check(None, Some(1000), None);
    }
}
