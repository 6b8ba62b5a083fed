//! What is known, as JSON and as Prometheus metrics.

use hyper::StatusCode;
use serde_json::{Value, json};
use swarmguard_planner::Policy;
use swarmguard_planner::facts::{Leader, Mode, Service, Swarm};
use swarmguard_wire::{NodeId, ServiceId};

use super::{Answer, json, typed};
use crate::clock::now;
use crate::counters::Gauges;
use crate::journal::{ActionRecord, DecisionRecord};
use crate::state::{Shared, State};

/// Whom a balancer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Healthy {
    /// A collector that works.
    Any,
    /// The one that acts.
    Leader,
}

/// 200 while the Swarm's state is fresh, 503 else: without it nothing is done. Asked for the leader, 503 from all others.
pub(super) fn health(shared: &Shared, wanted: Healthy) -> Answer {
    let state = shared.state();
    let seen = state.fleet.facts().swarm().map(|swarm| now().since(swarm.seen_at));
    let fresh = seen.is_some_and(|age| age <= state.rules.policy.metric_window);
    let leader = leader(&state);
    let (role, leads) = match leader {
        Some(Leader::Here) => ("leader", Value::Null),
        Some(Leader::Elsewhere { node }) => ("standby", json!(node)),
        Some(Leader::Unknown) | None => ("unknown", Value::Null),
    };
    let is_wanted = fresh && (wanted == Healthy::Any || role == "leader");
    let status = if is_wanted { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let value = json!({
        "status": if fresh { "ok" } else { "the Swarm's state is unknown or stale: nothing is done" },
        "role": role,
        "leader": leads,
        "swarm_age_seconds": seen.map(|age| age.as_secs_f64()),
        "nodes_reporting": state.fleet.facts().reports.len(),
        "configuration_refused": state.refused,
        "version": env!("CARGO_PKG_VERSION"),
    });
    json(status, &value)
}

/// Who leads, as long as that is known for certain: beyond it nothing is done here either.
fn leader(state: &State) -> Option<&Leader> {
    let swarm = state.fleet.facts().swarm()?;
    (now().since(swarm.seen_at) <= state.rules.policy.leader_window).then_some(&swarm.leader)
}

pub(super) fn metrics(shared: &Shared) -> Answer {
    let state = shared.state();
    let (facts, at) = (state.fleet.facts(), now());
    let wall = facts.wall(at);
    let is_quiet = state.rules.policy.quiet_hours.iter().any(|hours| hours.until(wall).is_some());
    let gauges = Gauges {
        in_flight: state.in_flight,
        within_hour: state.within_hour,
        leader: leader(&state) == Some(&Leader::Here),
        quiet: is_quiet || facts.pauses.all.as_ref().is_some_and(|pause| pause.holds(wall)),
        services_paused: facts.pauses.services.values().filter(|pause| pause.holds(wall)).count(),
    };
    let text = state.counters.prometheus(&gauges);
    typed(StatusCode::OK, "text/plain; version=0.0.4", text.into())
}

pub(super) fn nodes(shared: &Shared) -> Answer {
    let state = shared.state();
    let facts = state.fleet.facts();
    let empty = Swarm::default();
    let swarm = facts.swarm().unwrap_or(&empty);
    let node = |(id, node): (&NodeId, &swarmguard_planner::facts::Node)| {
        let report = facts.reports.get(id).map(|report| {
            json!({
                "age_seconds": now().since(report.received_at).as_secs_f64(),
                "cpu_percent": report.cpu_percent,
                "memory_percent": report.memory_percent,
                "network_percent": report.network_percent,
                "containers": report.containers,
            })
        });
        json!({
            "id": id,
            "hostname": node.hostname,
            "ready": node.ready,
            "active": node.active,
            "manager": node.manager,
            "platform": node.platform,
            "agent": report,
        })
    };
    json(StatusCode::OK, &Value::Array(swarm.nodes.iter().map(node).collect()))
}

pub(super) fn services(shared: &Shared) -> Answer {
    let state = shared.state();
    let empty = Swarm::default();
    let swarm = state.fleet.facts().swarm().unwrap_or(&empty);
    let services = swarm.services.iter().map(|(id, found)| service(&state, &state.rules.policy, swarm, id, found));
    json(StatusCode::OK, &Value::Array(services.collect()))
}

pub(super) fn service(state: &State, policy: &Policy, swarm: &Swarm, id: &ServiceId, service: &Service) -> Value {
    let task = |(task_id, task): (&swarmguard_wire::TaskId, &swarmguard_planner::facts::Task)| {
        let node = task.node.as_ref().and_then(|node| swarm.nodes.get(node)).map(|node| &node.hostname);
        let window = task.container.as_ref().and_then(|container| state.fleet.facts().containers().get(container));
        let newest = window.and_then(|window| window.newest()).map(|sample| {
            json!({
                "age_seconds": now().since(sample.sampled_at).as_secs_f64(),
                "cpu_percent": sample.cpu_percent,
                "memory_percent": sample.memory_percent,
                "network_percent": sample.network_percent,
            })
        });
        json!({ "id": task_id, "node": node, "state": task.state, "container": task.container, "newest": newest })
    };
    let replicas = match service.mode {
        Mode::Replicated { replicas } => Some(replicas),
        Mode::Global | Mode::Job => None,
    };
    let (_, engagement, problems) = service.labels.over(policy);
    json!({
        "id": id,
        "name": service.name,
        "mode": engagement,
        "label_problems": problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "version": service.version,
        "replicas": replicas,
        "running": service.running(),
        "has_healthcheck": service.has_healthcheck,
        "update": service.update,
        "action_under_way": service.action_marked,
        "tasks": service.alive().map(task).collect::<Vec<_>>(),
        "last_decision": state.journal.decision(id).map(DecisionRecord::by_wall),
        "last_decision_text": state.journal.decision(id).map(|record| record.decision.to_string()),
    })
}

pub(super) fn pauses(shared: &Shared) -> Answer {
    let state = shared.state();
    json(StatusCode::OK, &json!({ "pauses": state.fleet.facts().pauses, "saved": state.pauses_unsaved.is_empty() }))
}

pub(super) fn actions(shared: &Shared) -> Answer {
    let state = shared.state();
    json(StatusCode::OK, &json!(state.journal.actions().map(ActionRecord::by_wall).collect::<Vec<_>>()))
}
