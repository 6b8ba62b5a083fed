//! Making an action's record: from the plan when it begins, from its mark when it is taken over, and from its end.

use std::collections::BTreeMap;

use swarmguard_planner::Action;
use swarmguard_planner::facts::{Mode, Swarm};
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{Name, NodeId, ServiceId, Timestamp};

use super::{ActionRecord, State, TimeLine};
use crate::executor::Ended;
use crate::swarm::{Mark, mark};

/// Of an action that was just decided.
pub(crate) fn planned(
    id: String,
    action: &Action,
    because: Vec<String>,
    swarm: &Swarm,
    decided_at: Timestamp,
) -> ActionRecord {
    let trigger = action.trigger();
    let replicas = match swarm.services.get(&trigger.service).map(|service| service.mode) {
        Some(Mode::Replicated { replicas }) => replicas,
        Some(Mode::Global | Mode::Job) | None => 0,
    };
    let (from_node, to_node, replicas_before, replicas_after) = match action {
        Action::Migrate(migrate) => {
            let (from, to) = (migrate.source_name.to_string(), migrate.target_name.to_string());
            (Some(from), Some(to), replicas, replicas)
        }
        Action::ScaleUp(scale) | Action::ScaleDown(scale) => (None, None, scale.from, scale.to),
    };
    ActionRecord {
        id,
        kind: action.kind().as_str().to_owned(),
        service: trigger.service.to_string(),
        service_name: trigger.service_name.to_string(),
        state: State::Running,
        detail: None,
        container: Some(trigger.container.to_string()),
        cpu_percent: trigger.cpu_percent,
        memory_percent: trigger.memory_percent,
        network_percent: trigger.network_percent,
        from_node,
        to_node,
        replicas_before,
        replicas_after,
        has_healthcheck: trigger.has_healthcheck,
        running_min: None,
        downtime_ms: 0.0,
        because,
        taken_over: false,
        wall_ahead: ClockOffset::default(),
        ended_at: None,
        times: TimeLine {
            t0: Some(trigger.breach_at),
            t1: Some(trigger.sent_at),
            t2: Some(trigger.received_at),
            t3: Some(decided_at),
            ..TimeLine::default()
        },
        times_ms: [None; 7],
    }
}

/// Of an action that was begun before, by another collector or by this one.
pub(crate) fn taken_over(
    service: &ServiceId,
    service_name: String,
    names: &BTreeMap<NodeId, Name>,
    mark: &Mark,
    is_own: bool,
) -> ActionRecord {
    let (from_node, replicas_after) = match &mark.change {
        mark::Change::Migrate { source, .. } => (Some(label(names, source)), mark.replicas),
        mark::Change::ScaleUp { to } | mark::Change::ScaleDown { to } => (None, *to),
    };
    ActionRecord {
        id: mark.id.clone(),
        kind: mark.kind().as_str().to_owned(),
        service: service.to_string(),
        service_name,
        state: State::Running,
        detail: None,
        container: None,
        cpu_percent: None,
        memory_percent: None,
        network_percent: None,
        from_node,
        to_node: None,
        replicas_before: mark.replicas,
        replicas_after,
        has_healthcheck: None,
        running_min: None,
        downtime_ms: 0.0,
        because: Vec::new(),
        taken_over: !is_own,
        wall_ahead: ClockOffset::default(),
        ended_at: None,
        times: mark.times,
        times_ms: [None; 7],
    }
}

/// A node's name, else its identifier.
fn label(names: &BTreeMap<NodeId, Name>, id: &NodeId) -> String {
    names.get(id).map_or_else(|| id.to_string(), Name::to_string)
}

/// Adds how it ended.
pub(crate) fn complete(record: &mut ActionRecord, ended: &Ended, names: &BTreeMap<NodeId, Name>, now: Timestamp) {
    record.ended_at = Some(now);
    record.state = ended.state.clone();
    if ended.detail.is_some() {
        record.detail.clone_from(&ended.detail);
    }
    // Until it is over that is the node that was planned.
    if !ended.state.is_open() {
        record.to_node = ended.reached.as_ref().map(|node| label(names, node));
    }
    if matches!(ended.state, State::Reverted | State::Refused) {
        record.replicas_after = record.replicas_before;
    }
    record.running_min = ended.running_min;
    record.downtime_ms = ended.downtime.as_secs_f64() * 1e3;
    record.times.t4 = ended.called_at;
    record.times.t5 = ended.running_at;
    record.times.t6 = ended.gone_at;
    record.times_ms = record.times.millis();
}
