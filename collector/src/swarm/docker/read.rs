//! Docker's models into facts. What is missing or not understood makes the fact more cautious, never less.

use std::collections::{BTreeMap, BTreeSet};

use crate::swarm::mark::{LABEL, Mark, Scaled};
use bollard::models::{
    EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum, Mount, MountType, Node,
    NodeSpecAvailabilityEnum, NodeSpecRoleEnum, NodeState, ResourceObject, Service, ServiceSpec,
    ServiceUpdateStatusStateEnum, Task, TaskState,
};
use swarmguard_planner::facts;
use swarmguard_planner::labels::{Labels, SCALED_LABEL};
use swarmguard_planner::placement::{Constraint, architecture};
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{Name, NodeId, ServiceId, TaskId, Timestamp};

/// All of the Swarm, as the manager of the node `own` told it.
pub(super) fn swarm(
    now: Timestamp,
    wall_ahead: ClockOffset,
    own: Option<&NodeId>,
    services: Vec<Service>,
    tasks: Vec<Task>,
    nodes: Vec<Node>,
) -> facts::Swarm {
    let ours = ClockOffset(wall_ahead.0.saturating_neg());
    let mut services: BTreeMap<ServiceId, facts::Service> = services.into_iter().filter_map(service).collect();
    for (service, id, mut task) in tasks.into_iter().filter_map(task) {
        task.running_since = task.running_since.map(|since| since.shifted(ours));
        if let Some(service) = services.get_mut(&service) {
            service.tasks.insert(id, task);
        }
    }
    let leader = leader(&nodes, own);
    facts::Swarm { seen_at: now, leader, services, nodes: nodes.into_iter().filter_map(node).collect() }
}

fn leader(nodes: &[Node], own: Option<&NodeId>) -> facts::Leader {
    let leads = |node: &&Node| node.manager_status.as_ref().and_then(|status| status.leader) == Some(true);
    match nodes.iter().find(leads) {
        Some(found) if own.is_some_and(|own| found.id.as_deref() == Some(own.as_str())) => facts::Leader::Here,
        Some(found) if own.is_some() => {
            let hostname = found.description.as_ref().and_then(|description| description.hostname.as_deref());
            facts::Leader::Elsewhere { node: Name::new(hostname.unwrap_or_default()) }
        }
        Some(_) | None => facts::Leader::Unknown,
    }
}

fn service(found: Service) -> Option<(ServiceId, facts::Service)> {
    let id = found.id?.parse().ok()?;
    let version = found.version?.index?;
    let spec = found.spec?;
    let state = found.update_status.and_then(|status| status.state);
    let labels = spec.labels.clone().unwrap_or_default();
    let template = spec.task_template.clone().unwrap_or_default();
    let container = template.container_spec.unwrap_or_default();
    let has_placement = template.placement.is_some();
    let placement = template.placement.unwrap_or_default();
    let health = container.health_check.and_then(|health| health.test);
    let service = facts::Service {
        name: Name::new(spec.name.as_deref().unwrap_or_default()),
        version,
        mode: mode(&spec),
        scaled: labels.get(SCALED_LABEL).and_then(|text| Scaled::parse(text)).map(Scaled::fact),
        labels: Labels::parse(labels.iter().map(|(label, value)| (label.as_str(), value.as_str()))),
        update: update_state(state),
        action_marked: labels.contains_key(LABEL),
        action: labels.get(LABEL).and_then(|text| Mark::parse(text)).map(|mark| mark.under_way()),
        has_placement,
        constraints: placement.constraints.unwrap_or_default().iter().map(|text| Constraint::parse(text)).collect(),
        platforms: placement.platforms.unwrap_or_default().into_iter().map(platform).collect(),
        reserved: resources(template.resources.and_then(|resources| resources.reservations)),
        host_ports: host_ports(&spec),
        local_mount: container.mounts.unwrap_or_default().iter().find_map(local_mount),
        replicas_per_node_max: placement.max_replicas.and_then(|max| u64::try_from(max).ok()).filter(|max| *max > 0),
        has_healthcheck: health.filter(|test| !test.is_empty()).map(|test| test != ["NONE"]),
        tasks: BTreeMap::new(),
    };
    Some((id, service))
}

fn mode(spec: &ServiceSpec) -> facts::Mode {
    let Some(mode) = &spec.mode else { return facts::Mode::Global };
    match &mode.replicated {
        Some(replicated) => {
            // Docker's default where none is given.
            let replicas = replicated.replicas.and_then(|replicas| u64::try_from(replicas).ok()).unwrap_or(1);
            facts::Mode::Replicated { replicas }
        }
        None if mode.global.is_some() => facts::Mode::Global,
        None => facts::Mode::Job,
    }
}

fn update_state(state: Option<ServiceUpdateStatusStateEnum>) -> facts::UpdateState {
    use ServiceUpdateStatusStateEnum as State;
    match state {
        None | Some(State::EMPTY | State::COMPLETED | State::ROLLBACK_COMPLETED) => facts::UpdateState::Settled,
        Some(State::UPDATING) => facts::UpdateState::Updating,
        Some(State::PAUSED) => facts::UpdateState::Paused,
        Some(State::ROLLBACK_STARTED | State::ROLLBACK_PAUSED) => facts::UpdateState::RollingBack,
    }
}

fn host_ports(spec: &ServiceSpec) -> BTreeSet<facts::HostPort> {
    let ports = spec.endpoint_spec.as_ref().and_then(|endpoint| endpoint.ports.as_deref()).unwrap_or_default();
    let on_host = ports.iter().filter(|port| port.publish_mode == Some(EndpointPortConfigPublishModeEnum::HOST));
    on_host
        .filter_map(|port| {
            let number =
                port.published_port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)?;
            let protocol = match port.protocol {
                Some(EndpointPortConfigProtocolEnum::UDP) => facts::Protocol::Udp,
                Some(EndpointPortConfigProtocolEnum::SCTP) => facts::Protocol::Sctp,
                Some(EndpointPortConfigProtocolEnum::TCP | EndpointPortConfigProtocolEnum::EMPTY) | None => {
                    facts::Protocol::Tcp
                }
            };
            Some(facts::HostPort { port: number, protocol })
        })
        .collect()
}

/// A bind mount or a volume. A volume of another driver may be shared between nodes; that cannot be known here.
fn local_mount(mount: &Mount) -> Option<String> {
    let kind = match mount.typ? {
        MountType::BIND => "bind mount",
        MountType::VOLUME => "volume",
        MountType::NPIPE => "named pipe",
        MountType::CLUSTER | MountType::IMAGE | MountType::TMPFS => return None,
    };
    let source = mount.source.as_deref().unwrap_or("anonymous");
    Some(format!("{kind} {source} at {}", mount.target.as_deref().unwrap_or("?")))
}

fn platform(found: bollard::models::Platform) -> facts::Platform {
    facts::Platform {
        os: found.os.unwrap_or_default(),
        architecture: architecture(&found.architecture.unwrap_or_default()).to_owned(),
    }
}

fn resources(found: Option<ResourceObject>) -> facts::Resources {
    let found = found.unwrap_or_default();
    let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
    facts::Resources { nano_cpus: number(found.nano_cpus), memory_bytes: number(found.memory_bytes) }
}

pub(super) fn task(found: Task) -> Option<(ServiceId, TaskId, facts::Task)> {
    let status = found.status.unwrap_or_default();
    let task_state = |state: Option<TaskState>| match state {
        Some(TaskState::RUNNING) => facts::TaskState::Running,
        Some(
            TaskState::COMPLETE
            | TaskState::SHUTDOWN
            | TaskState::FAILED
            | TaskState::REJECTED
            | TaskState::REMOVE
            | TaskState::ORPHANED,
        ) => facts::TaskState::Ended,
        Some(
            TaskState::NEW
            | TaskState::ALLOCATED
            | TaskState::PENDING
            | TaskState::ASSIGNED
            | TaskState::ACCEPTED
            | TaskState::PREPARING
            | TaskState::READY
            | TaskState::STARTING,
        )
        | None => facts::TaskState::Starting,
    };
    let runs = status.state == Some(TaskState::RUNNING);
    let task = facts::Task {
        node: found.node_id.and_then(|id| id.parse::<NodeId>().ok()),
        slot: found.slot.and_then(|slot| u64::try_from(slot).ok()),
        state: task_state(status.state),
        running_since: found.updated_at.filter(|_| runs).and_then(|text| parse_time(&text)),
        desired_running: found.desired_state == Some(TaskState::RUNNING),
        desired_gone: task_state(found.desired_state) == facts::TaskState::Ended,
        container: status.container_status.and_then(|container| container.container_id?.parse().ok()),
        accepted: is_accepted(status.state),
        publishes: status.port_status.and_then(|status| status.ports).is_some_and(|ports| !ports.is_empty()),
    };
    Some((found.service_id?.parse().ok()?, found.id?.parse().ok()?, task))
}

/// Until then a task stands in Swarm's store alone.
fn is_accepted(state: Option<TaskState>) -> bool {
    use TaskState::{ALLOCATED, ASSIGNED, NEW, PENDING};
    !matches!(state, None | Some(NEW | ALLOCATED | PENDING | ASSIGNED))
}

fn node(found: Node) -> Option<(NodeId, facts::Node)> {
    let id = found.id?.parse().ok()?;
    let spec = found.spec.unwrap_or_default();
    let description = found.description.unwrap_or_default();
    let node = facts::Node {
        hostname: Name::new(description.hostname.as_deref().unwrap_or_default()),
        ready: found.status.and_then(|status| status.state) == Some(NodeState::READY),
        active: spec.availability == Some(NodeSpecAvailabilityEnum::ACTIVE),
        manager: spec.role == Some(NodeSpecRoleEnum::MANAGER),
        platform: description.platform.map(platform).unwrap_or_default(),
        resources: resources(description.resources),
        labels: spec.labels.unwrap_or_default().into_iter().collect(),
        engine_labels: description.engine.and_then(|engine| engine.labels).unwrap_or_default().into_iter().collect(),
    };
    Some((id, node))
}

/// A time as Docker writes it: RFC 3339 in UTC, such as `2026-01-31T09:15:00.123456789Z`.
fn parse_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 {
        return None;
    }
    // Years that begin in March have their leap day last; eras of 400 years are all alike (Howard Hinnant's algorithm).
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    let seconds = (days.checked_sub(719_468)? * 24 + hour) * 3_600 + minute * 60 + second;
    Some(Timestamp::from_micros(seconds * 1_000_000 + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_times_are_read_and_nothing_else() {
        let check = |text: &str, micros: Option<u64>| assert_eq!(parse_time(text), micros.map(Timestamp::from_micros));
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T23:59:59.5Z", Some(951_868_799_500_000));
        check("2026-11-26T01:00:00.123456789Z", Some(1_795_654_800_123_456));
        check("0001-01-01T00:00:00Z", None);
        check("2026-13-01T00:00:00Z", None);
        check("2026-11-26 01:00:00", None);
        check("yesterday", None);
        check("", None);
    }
}
