//! Which node a task is given, and how long it takes to run there.

use std::time::Duration;

use serde_json::Value;
use swarmguard_planner::facts::{Node, TaskState};
use swarmguard_wire::{ContainerId, NodeId, ServiceId, TaskId};

use super::{Machine, SwarmKit, Task};

/// A container is made, starts, and passes its first health check within so many milliseconds.
const STARTS_WITHIN_MS: (u64, u64) = (300, 3_000);
/// One that finds its port held is given up on within so many.
const FAILS_WITHIN_MS: (u64, u64) = (100, 500);
/// What is to run after another does not wait for that one's end any longer.
pub(super) const OLD_TASK_TIMEOUT: Duration = Duration::from_secs(60);

/// One that never gets healthy is given up on within so many.
const GIVEN_UP_WITHIN_MS: (u64, u64) = (4_000, 40_000);

impl SwarmKit {
    /// Gives waiting tasks of a service their nodes, where there are any.
    pub(super) fn place(&mut self, service: &ServiceId) {
        let waiting: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.service == *service && task.node.is_none() && task.wanted && task.is_alive())
            .filter(|(_, task)| !self.waits(task) && !task.is_dropped)
            .map(|(id, _)| id.clone())
            .collect();
        for id in waiting {
            let Some(node) = self.tasks.get(&id).and_then(|task| self.choose(service, &task.placement)) else {
                self.drop_outdated(&id);
                continue;
            };
            self.made += 1;
            let mut digits = [0_u8; 32];
            digits[..8].copy_from_slice(&self.made.to_be_bytes());
            let machine = self.machines.get(&node);
            let accepted = machine.is_some_and(Machine::takes);
            let (now, rng) = (self.now, &mut self.rng);
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            // One that is started anew has its node at once, and is held back there.
            let starts = now.max(task.delayed_until);
            let is_held = machine.is_some_and(|machine| machine.holds_ports(service, starts));
            let ((from, to), state) = match (is_held, task.hopeless) {
                (true, _) => (FAILS_WITHIN_MS, TaskState::Ended),
                (false, true) => (GIVEN_UP_WITHIN_MS, TaskState::Ended),
                (false, false) => (STARTS_WITHIN_MS, TaskState::Running),
            };
            (task.node, task.accepted) = (Some(node), accepted);
            task.container = Some(ContainerId::new(digits));
            task.due = Some((starts + Duration::from_millis(rng.between(from, to)), state));
        }
    }

    /// A task of an older version of its service for which there is no node is not tried again by this leader
    /// (`noSuitableNode`).
    fn drop_outdated(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let version = self.services.get(&task.service).map(|service| service.spec_version);
        task.is_dropped = version.is_some_and(|version| version > task.spec_version);
    }

    /// Whether a node would take another task of a service under this placement, on which none runs that nobody reaches.
    #[must_use]
    pub fn has_room(&self, service: &ServiceId, placement: &Value) -> bool {
        let is_portless = |task: &Task| task.service == *service && task.is_running() && task.portless_since.is_some();
        let is_lost_on = |id| self.tasks.values().any(|task| is_portless(task) && task.node.as_ref() == Some(id));
        let max = placement["MaxReplicas"].as_u64().filter(|max| *max > 0);
        let holds = |task: &Task, id| task.service == *service && task.is_alive() && task.node.as_ref() == Some(id);
        let held = |id| self.tasks.values().filter(|task| holds(task, id)).count() as u64;
        let may_take = |machine: &Machine| machine.node.ready && machine.node.active;
        self.machines.iter().any(|(id, machine)| {
            let is_free = !is_lost_on(id) && max.is_none_or(|max| held(id) < max);
            may_take(machine) && meets(placement, id, &machine.node) && is_free
        })
    }

    /// Whether tasks run that nobody reaches beside healthy ones of their slots, and none of them can be dropped: all these
    /// nodes have to be excluded at once, or what nobody reaches could be kept for the healthy one beside it. Then no healthy
    /// one is on a node that is not, and no other node could take a task of the service under this placement.
    #[must_use]
    pub fn is_locked(&self, service: &ServiceId, placement: &Value) -> bool {
        let running = || self.tasks.values().filter(|task| task.service == *service && task.is_running());
        let serves_in = |slot| running().filter(move |task| task.slot == slot && task.portless_since.is_none());
        let lost = || running().filter(|task| task.portless_since.is_some() && serves_in(task.slot).next().is_some());
        let excluded: Vec<&NodeId> = lost().filter_map(|task| task.node.as_ref()).collect();
        let is_excluded = |node: &NodeId| excluded.contains(&node);
        let may_take = |machine: &Machine| machine.node.ready && machine.node.active;
        let mut able = self.machines.iter().filter(|(id, it)| may_take(it) && meets(placement, id, &it.node));
        let mut kept = lost().flat_map(|task| serves_in(task.slot)).filter_map(|task| task.node.as_ref());
        !excluded.is_empty() && able.all(|(id, _)| is_excluded(id)) && kept.all(is_excluded)
    }

    /// Whether it is to run after another, which has not ended yet: for a minute at most, and not for one whose node is missed
    /// (SwarmKit's `DelayStart`).
    pub(super) fn waits(&self, task: &Task) -> bool {
        self.now < task.made_at + OLD_TASK_TIMEOUT
            && task
                .waits_for
                .iter()
                .any(|old| self.tasks.get(old).is_some_and(|old| old.is_alive() && !self.is_missed(old)))
    }

    /// Whether it is not to run yet (its desired state is `READY`): it is started anew, or runs after another.
    #[must_use]
    pub fn holds_back(&self, task: &Task) -> bool {
        task.wanted && (task.delayed_until > self.now || self.waits(task))
    }

    fn is_missed(&self, task: &Task) -> bool {
        let machine = task.node.as_ref().and_then(|node| self.machines.get(node));
        machine.is_some_and(|machine| !machine.node.ready && machine.due.is_none())
    }

    /// Of the nodes that pass all filters, by the placement that the task was made with, the one with the fewest tasks of
    /// the service, then with the fewest in all.
    fn choose(&self, service: &ServiceId, placement: &Value) -> Option<NodeId> {
        let max = placement["MaxReplicas"].as_u64().filter(|max| *max > 0);
        let mut loads: Vec<(u64, u64, &NodeId)> = Vec::new();
        for (id, machine) in &self.machines {
            if !machine.node.ready || !machine.node.active || !meets(placement, id, &machine.node) {
                continue;
            }
            let (mut of_service, mut all) = (0_u64, 0_u64);
            for task in self.tasks.values().filter(|task| task.node.as_ref() == Some(id) && task.is_alive()) {
                all += 1;
                of_service += u64::from(task.service == *service && task.wanted);
            }
            if max.is_none_or(|max| of_service < max) {
                loads.push((of_service, all, id));
            }
        }
        loads.into_iter().min().map(|(_, _, id)| id.clone())
    }
}

/// Whether a node meets the constraints of a placement: of its identifier and of its name, which are all that worlds and
/// movements have. The planner's own reading of constraints is among what is tried here, and so not used.
pub(super) fn meets(placement: &Value, id: &NodeId, node: &Node) -> bool {
    let constraints = placement["Constraints"].as_array();
    constraints.into_iter().flatten().filter_map(Value::as_str).all(|text| meets_one(text, id, node))
}

fn meets_one(constraint: &str, id: &NodeId, node: &Node) -> bool {
    let (parts, is_equal) = match constraint.split_once("==") {
        Some(parts) => (Some(parts), true),
        None => (constraint.split_once("!="), false),
    };
    let Some((key, value)) = parts else { return false };
    let found = match key.trim() {
        "node.id" => id.as_str(),
        "node.hostname" => node.hostname.as_str(),
        _ => return false,
    };
    found.eq_ignore_ascii_case(value.trim()) == is_equal
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use swarmguard_wire::Timestamp;

    use super::*;
    use crate::rng::Rng;
    use crate::swarmkit::plain_node;

    #[test]
    fn nothing_can_be_done_where_what_nobody_reaches_stands_beside_a_healthy_one_on_every_node() {
        let begun = Timestamp::from_micros(1_000_000_000);
        let nodes = ["node1", "node2"].map(|name| (name.parse().unwrap(), plain_node(name)));
        let service: ServiceId = "service1".parse().unwrap();
        let is_locked = |slots: [u64; 4], placement: &Value| {
            let mut kit = SwarmKit::new(BTreeMap::from(nodes.clone()), Rng::new(1), begun);
            kit.create(service.clone(), json!({ "Mode": { "Replicated": { "Replicas": 4 } } }), 0);
            kit.advance(begun + Duration::from_secs(10));
            // On each node the first of its two is one that nobody reaches.
            let mut seen: Vec<NodeId> = Vec::new();
            for (task, slot) in kit.tasks.values_mut().zip(slots) {
                let node = task.node.clone().unwrap();
                task.slot = slot;
                task.portless_since = (!seen.contains(&node)).then_some(begun);
                seen.push(node);
            }
            kit.is_locked(&service, placement)
        };
        let (any, first) = (json!({}), json!({ "Constraints": ["node.id==node1"] }));
        assert!(is_locked([1, 2, 1, 2], &any));
        assert!(!is_locked([1, 2, 3, 2], &any), "the one in slot 1 stands alone: its node may be allowed");
        assert!(is_locked([1, 2, 1, 3], &first), "the owner does not allow the other node");
        assert!(!is_locked([1, 2, 3, 2], &first));
    }
}
