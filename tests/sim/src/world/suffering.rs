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

/// Of the ticks at which a noisy container may be high, so many are.
const SPIKES_PERCENT: u64 = 5;

/// Of those at which one that starts may be high of CPU, so many are.
const SPIKES_WHILE_STARTING_PERCENT: u64 = 70;

/// Who suffers from what.
#[derive(Debug, Default)]
pub(super) struct Suffering {
    /// What is healthy wavers, at each tick anew: by whatever is below all thresholds, and now and then, for a single tick or,
    /// of CPU, while it starts, by more than that.
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

    pub(super) fn of(&self, task: &TaskId, service: &ServiceId, replicas: u64, moment: Moment) -> Load {
        let now = moment.now;
        if let Some((total, _)) = self.busy.get(service).filter(|(_, until)| now < *until) {
            let each = (total / replicas as f32).min(100.0);
            return Load { cpu: each, memory: each, network: each };
        }
        let may_spike = !self.is_noisy || moment.may_spike();
        if may_spike && self.spikes.get(task).is_some_and(|until| now < *until) {
            return Load::sick_of_cpu();
        }
        self.sick.get(task).copied().unwrap_or_else(|| if self.is_noisy { noise(task, moment) } else { HEALTHY })
    }

    pub(super) fn forget(&mut self, kit: &SwarmKit, now: Timestamp) {
        self.sick.retain(|task, _| kit.tasks.contains_key(task));
        self.spikes.retain(|_, until| now < *until);
        self.busy.retain(|_, (_, until)| now < *until);
    }
}

/// When a container is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    /// The number of its agent's tick.
    pub(super) tick: u64,
    /// It has not run for so long yet that its CPU is anybody's concern.
    pub(super) is_starting: bool,
}

impl Moment {
    /// No two ticks in a row may be high where all is well.
    fn may_spike(self) -> bool {
        self.tick.is_multiple_of(2)
    }
}

/// A healthy load, another for each task and moment; after a tick at which it is high it ends the row, too.
fn noise(task: &TaskId, moment: Moment) -> Load {
    let seed = moment.now.as_micros();
    let number = task.as_str().bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut rng = Rng::new(number);
    if moment.is_starting && rng.chance(SPIKES_WHILE_STARTING_PERCENT) {
        return Load::sick_of_cpu();
    }
    if moment.may_spike() && rng.chance(SPIKES_PERCENT) {
        let busy = Load { cpu: 95.0, memory: 95.0, network: 95.0 };
        let loads = [Load::sick_of_cpu(), Load::sick_of_memory(), busy];
        return rng.pick(&loads).copied().unwrap_or(busy);
    }
    let mut below = |most: u64| rng.between(0, most) as f32;
    Load { cpu: below(69), memory: below(74), network: below(64) }
}
