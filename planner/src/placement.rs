//! Which nodes may take a task of a service, and why the others may not.
//!
//! Two questions, kept apart. *Could Swarm place it there* follows SwarmKit's scheduler filters: readiness,
//! availability, constraints, platform, host ports, reservations, replicas per node. *Should it go there* is ours: a
//! node whose agent is silent or whose memory is nearly full is not a target, although Swarm would take it.

mod constraint;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use swarmguard_wire::{Name, NodeId, Timestamp};

use crate::facts::index::{Index, Taken};
use crate::facts::{Node, NodeReport, Platform, Resources, Service, Swarm};
use crate::labels::TARGET_LABEL;
use crate::policy::Policy;

pub use constraint::{Constraint, architecture};

/// A node that uses more of its memory than this, in percent, is not a target.
pub const TARGET_MEMORY_PERCENT_MAX: f32 = 90.0;

/// Why a node does not take a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Ineligible {
    /// It is the node to leave.
    Source,
    /// Swarm does not hear from it.
    Down,
    /// It is paused or drained.
    NotActive,
    /// It does not meet a constraint of the service.
    Constraint {
        /// As the user wrote it.
        constraint: String,
    },
    /// The image is not for its platform.
    Platform {
        /// What the node runs.
        found: String,
    },
    /// A port that the service publishes on its node is taken.
    HostPort {
        /// The port.
        port: u16,
    },
    /// It holds as many tasks of the service as it may.
    ReplicasPerNode {
        /// The limit.
        max: u64,
    },
    /// What the task reserves is not free.
    NoRoom {
        /// Reserved by the task.
        needed: Resources,
        /// Free on the node.
        free: Resources,
    },
    /// It runs a task of the service already: that one would have to move too, should the move be taken back.
    HoldsTask,
    /// As many actions leave it or go to it as may.
    InFlight {
        /// Most.
        max: u32,
    },
    /// Its label `swarmguard.target=false` keeps tasks that are moved off it.
    KeptOut,
    /// Its agent was not heard of lately.
    Silent {
        /// Seconds since the last report; absent if there was none.
        seconds: Option<u64>,
    },
    /// Its memory is nearly full.
    MemoryFull {
        /// In use, in percent.
        percent: f32,
    },
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => write!(f, "is the node to leave"),
            Self::Down => write!(f, "is down"),
            Self::NotActive => write!(f, "is paused or drained"),
            Self::Constraint { constraint } => write!(f, "does not meet {constraint}"),
            Self::Platform { found } => write!(f, "runs {found}, which the image is not for"),
            Self::HostPort { port } => write!(f, "has port {port} taken"),
            Self::ReplicasPerNode { max } => write!(f, "holds {max} of the service's tasks, the most that it may"),
            Self::NoRoom { needed, free } => write!(
                f,
                "has {:.2} cores and {} MiB free, and the task reserves {:.2} cores and {} MiB",
                free.nano_cpus as f64 / 1e9,
                free.memory_bytes >> 20,
                needed.nano_cpus as f64 / 1e9,
                needed.memory_bytes >> 20
            ),
            Self::HoldsTask => write!(f, "runs a task of the service already"),
            Self::InFlight { max } => write!(f, "has as many actions under way as it may, {max}"),
            Self::KeptOut => write!(f, "is kept out by its label {TARGET_LABEL}=false"),
            Self::Silent { seconds: Some(seconds) } => write!(f, "has an agent that has been silent for {seconds} s"),
            Self::Silent { seconds: None } => write!(f, "has no agent"),
            Self::MemoryFull { percent } => write!(f, "has {percent:.0} % of its memory in use"),
        }
    }
}

/// A node and why it was not chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejected {
    /// The node.
    pub node: Name,
    /// Why not.
    #[serde(flatten)]
    pub why: Ineligible,
}

/// A node as a place for a task, with what is the same for every service looked at once.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The node's identifier.
    pub(crate) id: &'a NodeId,
    /// The node.
    pub(crate) node: &'a Node,
    taken: &'a Taken,
    /// How much it is in use, or why nothing should be moved there.
    use_percent: Result<f32, Ineligible>,
}

/// Every node of the Swarm as a place, in the order of their identifiers.
pub(crate) fn places<'a>(
    swarm: &'a Swarm,
    index: &'a Index,
    reports: &BTreeMap<NodeId, NodeReport>,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Place<'a>> {
    let mut reports = reports.iter().peekable();
    let place = |((id, node), taken): ((&'a NodeId, &'a Node), &'a Taken)| {
        while reports.next_if(|(known, _)| *known < id).is_some() {}
        let report = reports.peek().filter(|(known, _)| *known == id).map(|(_, report)| *report);
        Place { id, node, taken, use_percent: use_percent(node, report, policy, now) }
    };
    swarm.nodes.iter().zip(index.taken()).map(place).collect()
}

/// How much a node is in use: CPU plus memory in percent, 0 to 200.
fn use_percent(node: &Node, report: Option<&NodeReport>, policy: &Policy, now: Timestamp) -> Result<f32, Ineligible> {
    if node.labels.get(TARGET_LABEL).is_some_and(|value| value == "false") {
        return Err(Ineligible::KeptOut);
    }
    let report = report.ok_or(Ineligible::Silent { seconds: None })?;
    let age = now.since(report.received_at);
    if age > policy.metric_window {
        return Err(Ineligible::Silent { seconds: Some(age.as_secs()) });
    }
    match report.memory_percent {
        Some(percent) if percent > TARGET_MEMORY_PERCENT_MAX => Err(Ineligible::MemoryFull { percent }),
        // What is not known counts as fully used: such a node is chosen last.
        memory => Ok(report.cpu_percent.unwrap_or(100.0) + memory.unwrap_or(100.0)),
    }
}

impl Place<'_> {
    /// Whether Swarm's scheduler could place one more task of `service` on the node.
    ///
    /// # Errors
    /// The first filter that the node does not pass.
    pub(crate) fn swarm_could_take(&self, service: &Service) -> Result<(), Ineligible> {
        let Self { id, node, taken, .. } = self;
        if !node.ready {
            return Err(Ineligible::Down);
        }
        if !node.active {
            return Err(Ineligible::NotActive);
        }
        if let Some(unmet) = service.constraints.iter().find(|constraint| !constraint.met_by(id, node)) {
            return Err(Ineligible::Constraint { constraint: unmet.to_string() });
        }
        if !platform_fits(&service.platforms, &node.platform) {
            let found = format!("{}/{}", node.platform.os, node.platform.architecture);
            return Err(Ineligible::Platform { found });
        }
        if let Some(port) = service.host_ports.iter().find(|port| taken.ports.contains(port)) {
            return Err(Ineligible::HostPort { port: port.port });
        }
        if let Some(max) = service.replicas_per_node_max {
            let held = service.alive().filter(|(_, task)| task.node.as_ref() == Some(*id)).count() as u64;
            if held >= max {
                return Err(Ineligible::ReplicasPerNode { max });
            }
        }
        let free = Resources {
            nano_cpus: node.resources.nano_cpus.saturating_sub(taken.reserved.nano_cpus),
            memory_bytes: node.resources.memory_bytes.saturating_sub(taken.reserved.memory_bytes),
        };
        let needed = service.reserved;
        if needed.nano_cpus > free.nano_cpus || needed.memory_bytes > free.memory_bytes {
            return Err(Ineligible::NoRoom { needed, free });
        }
        Ok(())
    }

    /// Whether the node is a target, and how much it is in use: CPU plus memory in percent, 0 to 200, lower is better.
    ///
    /// # Errors
    /// The first reason why it is none.
    pub(crate) fn target_score(&self, service: &Service) -> Result<f32, Ineligible> {
        self.swarm_could_take(service)?;
        self.use_percent.clone()
    }
}

fn platform_fits(wanted: &[Platform], found: &Platform) -> bool {
    let fits = |wanted: &str, found: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(found);
    wanted.is_empty()
        || wanted.iter().any(|wanted| fits(&wanted.os, &found.os) && fits(&wanted.architecture, &found.architecture))
}
