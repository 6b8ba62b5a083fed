//! What containers have to do, and what they suffer from.

use std::collections::BTreeMap;

use swarmguard_planner::window::Sample;
use swarmguard_wire::{ServiceId, TaskId, Timestamp};

use crate::rng::Rng;
use crate::swarmkit::SwarmKit;

/// In percent of what a container may use, and of the link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    cpu: f32,
    memory: f32,
    network: f32,
}

const HEALTHY: Load = Load { cpu: 12.0, memory: 20.0, network: 3.0 };

impl Load {
    pub(super) fn sick_of_cpu() -> Self {
        Self { cpu: 97.0, ..HEALTHY }
    }

    pub(super) fn sick_of_memory() -> Self {
        Self { memory: 93.0, ..HEALTHY }
    }

    pub(super) fn sample(self, tick: u64, at: Timestamp) -> Sample {
        Sample {
            tick,
            sampled_at: at,
            sent_at: at,
            received_at: at,
            has_healthcheck: Some(true),
            cpu_percent: Some(self.cpu),
            memory_percent: Some(self.memory),
            network_percent: Some(self.network),
        }
    }
}

/// Who suffers from what.
#[derive(Debug, Default)]
pub(super) struct Suffering {
    /// What is healthy wavers, at each tick anew, by whatever is below all thresholds.
    is_noisy: bool,
    /// Tasks that are sick until they go.
    pub(super) sick: BTreeMap<TaskId, Load>,
    /// Tasks that are high until then.
    pub(super) spikes: BTreeMap<TaskId, Timestamp>,
    /// Services with so much to do in all, in percent of one container, until then.
    pub(super) busy: BTreeMap<ServiceId, (f32, Timestamp)>,
}

impl Suffering {
    pub(super) fn new(is_noisy: bool) -> Self {
        Self { is_noisy, ..Self::default() }
    }

    pub(super) fn of(&self, task: &TaskId, service: &ServiceId, replicas: u64, now: Timestamp) -> Load {
        if let Some((total, _)) = self.busy.get(service).filter(|(_, until)| now < *until) {
            let each = (total / replicas as f32).min(100.0);
            return Load { cpu: each, memory: each, network: each };
        }
        if self.spikes.get(task).is_some_and(|until| now < *until) {
            return Load::sick_of_cpu();
        }
        self.sick.get(task).copied().unwrap_or_else(|| if self.is_noisy { noise(task, now) } else { HEALTHY })
    }

    pub(super) fn forget(&mut self, kit: &SwarmKit, now: Timestamp) {
        self.sick.retain(|task, _| kit.tasks.contains_key(task));
        self.spikes.retain(|_, until| now < *until);
        self.busy.retain(|_, (_, until)| now < *until);
    }
}

/// A healthy load, another for each task and moment; after a spike it ends the row, too.
fn noise(task: &TaskId, now: Timestamp) -> Load {
    let number =
        task.as_str().bytes().fold(now.as_micros(), |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut rng = Rng::new(number);
    let mut below = |most: u64| rng.between(0, most) as f32;
    Load { cpu: below(69), memory: below(74), network: below(64) }
}
