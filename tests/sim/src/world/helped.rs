//! Who should have been helped by now.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use swarmguard_collector::swarm::mark::LABEL;
use swarmguard_planner::facts::UpdateState;
use swarmguard_planner::labels::SCALED_LABEL;
use swarmguard_wire::{NodeId, ServiceId, TaskId};

use super::World;
use crate::swarmkit::Service;

/// Who was not to be helped for a part of so long may still wait.
const HELPED_WITHIN: Duration = Duration::from_secs(600);

/// After updates that failed the planner leaves a service alone for so long at most.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Ticks that a row takes, lost ones and the reports between them included.
const TICKS: u32 = 10;

impl World {
    /// Has the judge hear of those who wait for help too long while nothing goes wrong and more may be done at a time.
    pub(super) fn see_who_waits(&mut self) {
        let helped =
            |(id, service): (&ServiceId, &Service)| (!service.spec["Labels"][LABEL].is_null()).then(|| id.clone());
        let helped: BTreeSet<ServiceId> = self.kit.services.iter().filter_map(helped).collect();
        if self.now <= self.disturbed_until || helped.len() >= self.policy.limits.actions_in_flight as usize {
            self.waiting.clear();
            self.idle.clear();
            return;
        }
        self.waiting.retain(|id, _| !helped.contains(id));
        let (now, policy) = (self.now, &self.policy);
        let cooldown = policy.migration.cooldown.max(policy.scaling.scale_up_cooldown).max(REFUSED_FOR);
        let bound = cooldown + policy.startup_period + self.tick * TICKS;
        let (sick, busy) = (self.could_have_been_moved(), self.could_have_grown());
        self.waiting.retain(|id, _| sick.contains(id) || busy.contains(id));
        for service in sick.into_iter().chain(busy).filter(|id| !helped.contains(id)) {
            let since = *self.waiting.entry(service.clone()).or_insert(now);
            if now.since(since) > bound {
                self.judge.waited(&service, now.since(since), now);
            }
        }
        // What can wait is done in what others leave of the limits.
        let idle = if helped.is_empty() { self.could_have_shrunk() } else { Vec::new() };
        self.idle.retain(|id, _| idle.contains(id));
        for service in idle {
            let replicas = self.kit.services.get(&service).map_or(0, Service::replicas);
            let (of, since) = *self.idle.entry(service.clone()).or_insert((replicas, now));
            if of != replicas {
                // One was given back.
                self.idle.insert(service, (replicas, now));
            } else if now.since(since) > bound + self.policy.scaling.scale_down_cooldown {
                self.judge.waited(&service, now.since(since), now);
            }
        }
    }

    /// Services that have replicas which SwarmGuard added, and have had nothing to do for them.
    fn could_have_shrunk(&self) -> Vec<ServiceId> {
        let suffers = |id: &ServiceId| {
            let is_of = |task: &TaskId| self.kit.tasks.get(task).is_some_and(|task| task.service == *id);
            let (sick, spikes) = (&self.suffering.sick, &self.suffering.spikes);
            self.suffering.busy.contains_key(id) || sick.keys().chain(spikes.keys()).any(is_of)
        };
        let is_unreached =
            |id: &ServiceId| self.kit.tasks.values().any(|task| task.service == *id && task.portless_since.is_some());
        let is_idle = |(id, service): (&ServiceId, &Service)| {
            let note = service.spec["Labels"][SCALED_LABEL].as_str()?;
            let note: Value = serde_json::from_str(note).ok()?;
            let min = service.spec["Labels"]["swarmguard.min"].as_str().and_then(|text| text.parse().ok());
            let least = min.unwrap_or(self.policy.scaling.min_replicas).max(note["from"].as_u64()?);
            let is_movable = service.spec["TaskTemplate"]["ContainerSpec"]["Mounts"].is_null();
            // What its owner asked for since, though it be as many, is theirs.
            let asked_for = self.judge.written(id)?["Mode"]["Replicated"]["Replicas"].as_u64();
            let is_ours = note["to"] == service.replicas() && asked_for != Some(service.replicas());
            let is_more = is_ours && service.replicas() > least;
            let is_free = is_movable && !suffers(id) && !is_unreached(id) && self.could_be_helped(id, service);
            (is_more && is_free).then(|| id.clone())
        };
        // Where ticks are a minute apart whether it has been idle for long enough hangs on when is looked: samples are kept
        // for five minutes.
        let is_fine_grained = !self.script.is_day;
        self.kit.services.iter().filter(|_| is_fine_grained).filter_map(is_idle).collect()
    }

    /// Services with a sick replica that should have been moved: allowed to, and with a node to go to.
    pub(super) fn could_have_been_moved(&self) -> Vec<ServiceId> {
        let mut found = BTreeSet::new();
        for task in self.suffering.sick.keys().filter_map(|id| self.kit.tasks.get(id)).filter(|task| task.is_running())
        {
            let Some(service) = self.kit.services.get(&task.service) else { continue };
            // What a busy service has to do hides that a replica of it is sick.
            if self.suffering.busy.contains_key(&task.service) || !self.could_be_helped(&task.service, service) {
                continue;
            }
            let is_movable = service.spec["TaskTemplate"]["ContainerSpec"]["Mounts"].is_null();
            let holding: BTreeSet<&NodeId> = self
                .kit
                .tasks
                .values()
                .filter(|other| other.service == task.service)
                .filter_map(|other| other.node.as_ref())
                .collect();
            let has_room = self
                .kit
                .machines
                .iter()
                .any(|(id, machine)| machine.node.ready && machine.node.active && !holding.contains(id));
            if is_movable && has_room {
                found.insert(task.service.clone());
            }
        }
        found.into_iter().collect()
    }

    /// Services that have more to do than their replicas can bear, and should have got more.
    pub(super) fn could_have_grown(&self) -> Vec<ServiceId> {
        let is_wanting = |(id, (total, _)): (&ServiceId, &(f32, _))| {
            let service = self.kit.services.get(id)?;
            let replicas = service.replicas();
            let scaling = &self.policy.scaling;
            let most = scaling.cpu_threshold.max(scaling.memory_threshold).max(scaling.network_threshold_min);
            let is_high = total / replicas.max(1) as f32 > most;
            (is_high && replicas < self.most(service) && self.could_be_helped(id, service)).then(|| id.clone())
        };
        self.suffering.busy.iter().filter_map(is_wanting).collect()
    }

    fn most(&self, service: &Service) -> u64 {
        let chosen = service.spec["Labels"]["swarmguard.max"].as_str().and_then(|text| text.parse().ok());
        chosen.unwrap_or(self.policy.scaling.max_replicas)
    }

    /// Its owner allows it, nothing stands in the way, and it is a quiet time for nobody.
    fn could_be_helped(&self, id: &ServiceId, service: &Service) -> bool {
        let labels = &service.spec["Labels"];
        let min = labels["swarmguard.min"].as_str().and_then(|text| text.parse::<u64>().ok());
        // Labels that do not go together have it observed only.
        let makes_sense = min.is_none_or(|min| min <= self.most(service));
        let allowed = makes_sense && labels["swarmguard.enable"] == "true" && labels["swarmguard.mode"].is_null();
        let placement = &service.spec["TaskTemplate"]["Placement"];
        let is_free = placement["Constraints"].is_null() && placement["MaxReplicas"].is_null();
        let is_settled = service.update == UpdateState::Settled && service.hopeless_percent == 0;
        let is_whole = self.kit.running(id) == service.replicas();
        let is_led = self.managers.leader().is_some_and(|seat| seat.collector.is_some());
        let (now, before) = (self.now.shifted(self.wall_ahead), (self.now - HELPED_WITHIN).shifted(self.wall_ahead));
        let is_quiet = self.policy.quiet_hours.iter().any(|hours| hours.until(now).or(hours.until(before)).is_some())
            || self.pauses.of(id.as_str(), before).is_some();
        // Where little may be done within an hour somebody may have to wait for the next.
        let is_unlimited = self.policy.limits.actions_per_hour >= 1_000;
        allowed && is_unlimited && is_free && is_settled && is_whole && is_led && !is_quiet
    }
}
