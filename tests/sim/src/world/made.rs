//! What a world is made of: nodes, services and a policy, drawn from its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use swarmguard_planner::Policy;
use swarmguard_planner::facts::Node;
use swarmguard_planner::quiet::QuietHours;
use swarmguard_wire::{NodeId, ServiceId};

use crate::collector::Did;
use crate::rng::Rng;
use crate::script::Script;
use crate::swarmkit::plain_node;

pub(super) fn policy(rng: &mut Rng, script: &Script) -> Policy {
    let mut policy = Policy::default();
    policy.migration.cooldown = Duration::from_secs(rng.between(1, 60));
    policy.scaling.scale_up_cooldown = Duration::from_secs(rng.between(1, 60));
    policy.scaling.scale_down_cooldown = Duration::from_secs(rng.between(10, 200));
    policy.scaling.max_replicas = rng.between(3, 10);
    policy.startup_period = Duration::from_secs(*rng.pick(&[0, 10]).unwrap_or(&0));
    policy.action_deadline = Duration::from_secs(rng.between(20, 60));
    policy.limits.actions_in_flight = u32::try_from(rng.between(1, 5)).unwrap_or(1);
    policy.limits.moves_per_hour = 1_000;
    policy.limits.actions_per_hour = 1_000;
    if rng.chance(30) {
        policy.limits.actions_per_hour = u32::try_from(rng.between(2, 8)).unwrap_or(2);
        policy.limits.moves_per_hour = u32::try_from(rng.between(1, 3)).unwrap_or(1);
        policy.limits.actions_per_node = 1;
    }
    policy.limits.sick_nodes_percent = 100.0;
    if !script.is_calm && rng.chance(10) {
        let (from, length) = (rng.between(0, 25), rng.between(3, 40));
        let hours = |minutes: u64| format!("{:02}:{:02}", 1 + (40 + minutes) / 60, (40 + minutes) % 60);
        policy.quiet_hours.extend(QuietHours::parse(&format!("{}-{}", hours(from), hours(from + length))));
    }
    if script.is_day {
        // Ticks are up to a minute apart, and so are looks.
        policy.metric_window = Duration::from_secs(180);
        policy.leader_window = Duration::from_secs(180);
        policy.scaling.scale_down_cooldown = Duration::from_secs(280);
    }
    policy
}

/// How far a node's clock is ahead, in microseconds: mostly little, sometimes hours, either way.
pub(super) fn clock(rng: &mut Rng) -> i64 {
    let span = if rng.chance(25) { 4 * 3_600_000_000 } else { 20_000 };
    i64::try_from(rng.between(0, 2 * span)).unwrap_or(0) - i64::try_from(span).unwrap_or(0)
}

/// How many managers there are: the first nodes. Never so many that a node would not be left that is none.
pub(super) fn managers(script: &Script) -> usize {
    if Rng::new(script.seed ^ 0x3A_4A6E).chance(40) { 3 } else { 1 }
}

/// The number of the manager that a node would be.
pub(super) fn seat_of(node: &NodeId) -> Option<usize> {
    node.as_str().strip_prefix("node")?.parse::<usize>().ok()?.checked_sub(1)
}

/// The first `managers` of them are managers.
pub(super) fn nodes(rng: &mut Rng, managers: usize) -> BTreeMap<NodeId, Node> {
    let node = |number: u64| {
        let name = format!("node{number}");
        let node = Node { manager: number <= managers as u64, ..plain_node(&name) };
        name.parse().ok().map(|id| (id, node))
    };
    (1..=rng.between(3, 7)).filter_map(node).collect()
}

/// Services with their specs, and how many percent of their tasks never become healthy.
pub(super) fn services(rng: &mut Rng, script: &Script, nodes: u64) -> Vec<(ServiceId, Value, u64)> {
    let make = |number: u64, rng: &mut Rng| {
        let mut labels = json!({});
        if rng.chance(85) {
            labels["swarmguard.enable"] = json!("true");
        }
        if rng.chance(8) {
            labels["swarmguard.mode"] = json!(rng.pick(&["observe", "off"]).copied());
        }
        if !script.is_calm && rng.chance(20) {
            labels["swarmguard.min"] = json!(rng.between(1, 3).to_string());
        }
        if rng.chance(10) {
            labels["swarmguard.max"] = json!(rng.between(1, 4).to_string());
        }
        let mut placement = json!({});
        if rng.chance(15) {
            placement["Constraints"] = json!([format!("node.hostname!=node{}", rng.between(1, nodes))]);
        }
        if rng.chance(10) {
            placement["MaxReplicas"] = json!(rng.between(1, 2));
        }
        let mut container = json!({ "Image": "web:1" });
        if rng.chance(8) {
            container["Mounts"] = json!([{ "Type": "volume", "Source": "data", "Target": "/data" }]);
        }
        let mut spec = json!({
            "Name": format!("service{number}"),
            "Labels": labels,
            "Mode": { "Replicated": { "Replicas": rng.between(1, nodes.min(4)) } },
            "TaskTemplate": { "ContainerSpec": container, "Placement": placement },
        });
        if rng.chance(50) {
            let order = rng.pick(&["start-first", "stop-first"]).copied();
            spec["UpdateConfig"] = json!({ "Parallelism": rng.between(0, 2), "Order": order });
            // The model of SwarmKit pauses in any case; what counts is that it comes back.
            if Rng::new(script.seed ^ number << 32).chance(25) {
                spec["UpdateConfig"]["FailureAction"] = json!("rollback");
            }
        }
        let hopeless = if script.is_calm || rng.chance(85) { 0 } else { rng.between(10, 100) };
        let id = format!("service{number}").parse().ok();
        id.map(|id| (id, spec, hopeless))
    };
    let count = rng.between(1, 5);
    (1..=count).filter_map(|number| make(number, rng)).collect()
}

/// What a collector did, in a line.
pub(super) fn told(did: &Did) -> String {
    match did {
        Did::Began { action, .. } => format!("begins {action:?}"),
        Did::Changed(service) => format!("changes {service}"),
        Did::HeldBack(text) => format!("holds back {text}"),
        Did::Ended(service, kind, state) => format!("{} of {service} ended: {}", kind.noun(), state.as_str()),
    }
}
