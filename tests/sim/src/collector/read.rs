//! The Swarm as a manager tells it.

use std::collections::BTreeMap;

use serde_json::Value;
use swarmguard_collector::swarm::mark::{LABEL, Mark, Scaled};
use swarmguard_planner::facts::{self, Leader, Service, Swarm, TaskState, UpdateState};
use swarmguard_planner::labels::{Labels, SCALED_LABEL};
use swarmguard_planner::placement::Constraint;
use swarmguard_wire::{Name, Timestamp};

use crate::swarmkit::{SwarmKit, Task};

/// All of it.
pub(super) fn swarm(kit: &SwarmKit, leader: Leader, now: Timestamp) -> Swarm {
    let mut services = BTreeMap::new();
    for (id, found) in &kit.services {
        let labels: Vec<(String, String)> = found.spec["Labels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(label, value)| (label.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let label = |wanted: &str| labels.iter().find(|(label, _)| label == wanted).map(|(_, value)| value.as_str());
        let constraints = found.spec["TaskTemplate"]["Placement"]["Constraints"].as_array();
        let service = Service {
            name: Name::new(found.spec["Name"].as_str().unwrap_or_default()),
            version: found.version,
            mode: found.mode(),
            scaled: label(SCALED_LABEL).and_then(Scaled::parse).map(Scaled::fact),
            labels: Labels::parse(labels.iter().map(|(label, value)| (label.as_str(), value.as_str()))),
            update: found.update,
            action_marked: label(LABEL).is_some(),
            action: label(LABEL).and_then(Mark::parse).map(|mark| mark.under_way()),
            has_placement: found.spec["TaskTemplate"]["Placement"].is_object(),
            constraints: constraints.into_iter().flatten().filter_map(Value::as_str).map(Constraint::parse).collect(),
            platforms: Vec::new(),
            reserved: facts::Resources::default(),
            host_ports: Default::default(),
            local_mount: found.spec["TaskTemplate"]["ContainerSpec"]["Mounts"][0]["Source"].as_str().map(str::to_owned),
            replicas_per_node_max: found.spec["TaskTemplate"]["Placement"]["MaxReplicas"].as_u64(),
            has_healthcheck: Some(true),
            tasks: BTreeMap::new(),
        };
        services.insert(id.clone(), service);
    }
    for (id, task) in &kit.tasks {
        if let Some(service) = services.get_mut(&task.service) {
            service.tasks.insert(id.clone(), self::task(task, kit));
        }
    }
    let nodes = kit.machines.iter().map(|(id, machine)| (id.clone(), machine.node.clone())).collect();
    Swarm { seen_at: now, leader, services, nodes }
}

pub(super) fn task(task: &Task, kit: &SwarmKit) -> facts::Task {
    facts::Task {
        node: task.node.clone(),
        slot: Some(task.slot),
        state: task.state,
        running_since: task.running_since,
        desired_running: task.wanted && !kit.holds_back(task),
        desired_gone: !task.wanted,
        container: task.container,
        accepted: task.accepted,
        publishes: task.state == TaskState::Running && task.portless_since.is_none(),
    }
}

/// As the manager's API says where an update stands.
pub(super) fn update_state(state: UpdateState, rolled_back: bool) -> &'static str {
    match (state, rolled_back) {
        (UpdateState::Settled, false) => "completed",
        (UpdateState::Settled, true) => "rollback_completed",
        (UpdateState::Updating, false) => "updating",
        (UpdateState::Paused, false) => "paused",
        (UpdateState::Paused, true) => "rollback_paused",
        (UpdateState::Updating, true) | (UpdateState::RollingBack, _) => "rollback_started",
    }
}
