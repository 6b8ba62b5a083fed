//! What is known: Swarm's own state, and what the agents measured.
//!
//! Facts are recorded by the collector as they come and read by the rules; nothing here judges them. Each carries the
//! time it was learnt, by the collector's clock, so that a rule can tell stale from fresh.

pub(crate) mod index;
mod swarm;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{ContainerId, Name, NodeId, Timestamp};

use crate::quiet::Pauses;
use crate::window::{Sample, Window};
use index::{By, Index};

pub use swarm::{
    HostPort, Leader, Mode, Node, Platform, Protocol, Resources, Scaled, Service, Swarm, Task, TaskState, UnderWay,
    UpdateState,
};

/// How long samples and reports are kept.
pub const MEMORY: Duration = Duration::from_secs(300);

/// Most containers known; samples of others are not taken while so many are.
pub const CONTAINERS_MAX: usize = 50_000;

/// Most nodes known; reports of others are not taken while so many are.
pub const NODES_MAX: usize = 5_000;

/// Everything a plan rests on.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    swarm: Option<Swarm>,
    containers: BTreeMap<ContainerId, Window>,
    by_hand: BTreeMap<ContainerId, Window>,
    /// Of these three: worked out when it is asked for, told of each sample from then on, and void once `swarm` is changed.
    index: OnceLock<Index>,
    /// The last report of each node.
    pub reports: BTreeMap<NodeId, NodeReport>,
    /// What people paused.
    pub pauses: Pauses,
    /// How far the wall clock is ahead of the clock that all these times are told by, which never steps. What people
    /// mean by an hour or a date is judged by it.
    pub wall_ahead: ClockOffset,
}

impl Facts {
    /// Swarm's state; absent until it was read once.
    pub fn swarm(&self) -> Option<&Swarm> {
        self.swarm.as_ref()
    }

    /// Recent samples of each container, from its node's agent.
    pub fn containers(&self) -> &BTreeMap<ContainerId, Window> {
        &self.containers
    }

    /// Samples that people sent, kept apart: their ticks have nothing to do with the agent's.
    pub fn by_hand(&self) -> &BTreeMap<ContainerId, Window> {
        &self.by_hand
    }

    /// Swarm's state, to be changed.
    pub fn swarm_mut(&mut self) -> Option<&mut Swarm> {
        self.index = OnceLock::new();
        self.swarm.as_mut()
    }

    /// Records Swarm's state, all of it. Where everything is in it is worked out at once: no alert has to wait for that.
    pub fn record_swarm(&mut self, swarm: Swarm) {
        self.index = OnceLock::from(Index::of(&swarm, &self.containers, &self.by_hand));
        self.swarm = Some(swarm);
    }

    /// Swarm was read again, and its state is still the one recorded.
    pub fn record_unchanged(&mut self, seen_at: Timestamp) {
        self.swarm.iter_mut().for_each(|swarm| swarm.seen_at = seen_at);
    }

    /// Swarm's state and where everything is in it.
    pub(crate) fn indexed(&self) -> Option<(&Swarm, &Index)> {
        let swarm = self.swarm.as_ref()?;
        Some((swarm, self.index.get_or_init(|| Index::of(swarm, &self.containers, &self.by_hand))))
    }

    /// The time of day, which a person's choice of hours and dates is about.
    pub fn wall(&self, now: Timestamp) -> Timestamp {
        now.shifted(self.wall_ahead)
    }

    /// Records one sample of a container.
    pub fn record_sample(&mut self, container: ContainerId, sample: Sample) {
        record(&mut self.containers, container, sample, By::Agent, self.index.get_mut());
    }

    /// Records one sample of a container that a person sent.
    pub fn record_by_hand(&mut self, container: ContainerId, sample: Sample) {
        record(&mut self.by_hand, container, sample, By::Hand, self.index.get_mut());
    }

    /// Records what a node's agent said.
    pub fn record_report(&mut self, node: NodeId, report: NodeReport) {
        if self.reports.len() < NODES_MAX || self.reports.contains_key(&node) {
            self.reports.insert(node, report);
        }
    }

    /// Forgets containers and nodes that were not heard of for [`MEMORY`].
    pub fn forget(&mut self, now: Timestamp) {
        let fresh = |at: Timestamp| now.since(at) <= MEMORY;
        for windows in [&mut self.containers, &mut self.by_hand] {
            windows.retain(|_, window| window.newest().is_some_and(|sample| fresh(sample.received_at)));
        }
        self.reports.retain(|_, report| fresh(report.received_at));
        self.pauses.forget(self.wall(now));
    }
}

fn record(
    windows: &mut BTreeMap<ContainerId, Window>,
    container: ContainerId,
    sample: Sample,
    by: By,
    index: Option<&mut Index>,
) {
    if windows.len() >= CONTAINERS_MAX && !windows.contains_key(&container) {
        return;
    }
    let window = windows.entry(container).or_default();
    window.push(sample, MEMORY);
    index.into_iter().for_each(|index| index.hear(by, &container, window.newest()));
}

/// What a node's agent said last.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// The node's name by its agent.
    pub name: Name,
    /// When it was received.
    pub received_at: Timestamp,
    /// CPU in percent of all cores.
    pub cpu_percent: Option<f32>,
    /// Memory in percent of all.
    pub memory_percent: Option<f32>,
    /// Network in percent of the link.
    pub network_percent: Option<f32>,
    /// The link's speed, in Mbit/s.
    pub link_mbps: Option<f32>,
    /// Containers that the agent sees.
    pub containers: usize,
}
