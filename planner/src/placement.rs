//! Which nodes may take a task of a service, and why the others may not.
//!
//! Two questions, kept apart. *Could Swarm place it there* follows SwarmKit's scheduler filters: readiness,
//! availability, constraints, platform, host ports, reservations, replicas per node. *Should it go there* is ours: a
//! node whose agent is silent or whose memory is nearly full is not a target, although Swarm would take it.

use std::fmt;

use serde::Serialize;
use swarmguard_wire::{Name, NodeId, Timestamp};

use crate::facts::{Facts, HostPort, Node, Platform, Resources, Service, Swarm};
use crate::labels::TARGET_LABEL;
use crate::policy::Policy;

/// A node that uses more of its memory than this, in percent, is not a target.
pub const TARGET_MEMORY_PERCENT_MAX: f32 = 90.0;

/// A placement constraint, such as `node.role==worker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    text: String,
    key: Key,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    NodeId,
    Hostname,
    Role,
    Os,
    Architecture,
    Label(String),
    EngineLabel(String),
    /// A key this version does not know (`node.ip` among them): taken as never met, so that nothing is moved by guess.
    Unknown,
}

impl Constraint {
    /// Reads a constraint as `docker service create --constraint` takes it.
    pub fn parse(text: &str) -> Self {
        let (key, equal, value) = match (text.split_once("=="), text.split_once("!=")) {
            (Some((key, value)), None) => (key, true, value),
            (None, Some((key, value))) => (key, false, value),
            // Both signs: the first one divides, as in SwarmKit.
            (Some((key, value)), Some((other, _))) if key.len() < other.len() => (key, true, value),
            (Some(_), Some((key, value))) => (key, false, value),
            (None, None) => ("", true, ""),
        };
        let key = match key.trim() {
            "node.id" => Key::NodeId,
            "node.hostname" => Key::Hostname,
            "node.role" => Key::Role,
            "node.platform.os" => Key::Os,
            "node.platform.arch" => Key::Architecture,
            other => match (other.strip_prefix("node.labels."), other.strip_prefix("engine.labels.")) {
                (Some(label), _) => Key::Label(label.to_owned()),
                (None, Some(label)) => Key::EngineLabel(label.to_owned()),
                (None, None) => Key::Unknown,
            },
        };
        Self { text: text.to_owned(), key, equal, value: value.trim().to_owned() }
    }

    /// Whether `node` meets it. Values are compared without regard to case, as SwarmKit does.
    pub fn met_by(&self, id: &NodeId, node: &Node) -> bool {
        let found = match &self.key {
            Key::NodeId => id.as_str(),
            Key::Hostname => node.hostname.as_str(),
            Key::Role => {
                if node.manager {
                    "manager"
                } else {
                    "worker"
                }
            }
            Key::Os => node.platform.os.as_str(),
            Key::Architecture => {
                return architecture(&self.value).eq_ignore_ascii_case(&node.platform.architecture) == self.equal;
            }
            Key::Label(label) => node.labels.get(label).map_or("", String::as_str),
            Key::EngineLabel(label) => node.engine_labels.get(label).map_or("", String::as_str),
            Key::Unknown => return false,
        };
        found.eq_ignore_ascii_case(&self.value) == self.equal
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One name for an architecture that Docker calls by two.
pub fn architecture(text: &str) -> &str {
    match text {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

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
            Self::ReplicasPerNode { max } => write!(f, "holds {max} tasks of the service, its maximum"),
            Self::NoRoom { needed, free } => write!(
                f,
                "has {:.2} cores and {} MiB free, and the task reserves {:.2} and {}",
                free.nano_cpus as f64 / 1e9,
                free.memory_bytes >> 20,
                needed.nano_cpus as f64 / 1e9,
                needed.memory_bytes >> 20
            ),
            Self::InFlight { max } => write!(f, "has {max} actions under way, the most at a time"),
            Self::KeptOut => write!(f, "is kept out by its label {TARGET_LABEL}=false"),
            Self::Silent { seconds: Some(seconds) } => write!(f, "has a silent agent, {seconds} s by now"),
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

/// Whether Swarm's scheduler could place one more task of `service` on the node.
///
/// # Errors
/// The first filter that the node does not pass.
pub fn swarm_could_place(swarm: &Swarm, service: &Service, id: &NodeId, node: &Node) -> Result<(), Ineligible> {
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
    let taken = |port: &&HostPort| swarm.tasks_on(id).any(|(other, _)| other.host_ports.contains(port));
    if let Some(port) = service.host_ports.iter().find(taken) {
        return Err(Ineligible::HostPort { port: port.port });
    }
    let held = service.alive().filter(|(_, task)| task.node.as_ref() == Some(id)).count() as u64;
    if let Some(max) = service.replicas_per_node_max.filter(|max| held >= *max) {
        return Err(Ineligible::ReplicasPerNode { max });
    }
    let free = free_resources(swarm, id, node);
    let needed = service.reserved;
    if needed.nano_cpus > free.nano_cpus || needed.memory_bytes > free.memory_bytes {
        return Err(Ineligible::NoRoom { needed, free });
    }
    Ok(())
}

fn platform_fits(wanted: &[Platform], found: &Platform) -> bool {
    let fits = |wanted: &str, found: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(found);
    wanted.is_empty()
        || wanted.iter().any(|wanted| fits(&wanted.os, &found.os) && fits(&wanted.architecture, &found.architecture))
}

fn free_resources(swarm: &Swarm, id: &NodeId, node: &Node) -> Resources {
    swarm.tasks_on(id).fold(node.resources, |free, (service, _)| Resources {
        nano_cpus: free.nano_cpus.saturating_sub(service.reserved.nano_cpus),
        memory_bytes: free.memory_bytes.saturating_sub(service.reserved.memory_bytes),
    })
}

/// Whether a node is a target, and how much it is in use: CPU plus memory in percent, 0 to 200, lower is better.
///
/// # Errors
/// The first reason why it is none.
pub fn target_score(
    facts: &Facts,
    swarm: &Swarm,
    service: &Service,
    id: &NodeId,
    policy: &Policy,
    now: Timestamp,
) -> Result<f32, Ineligible> {
    let node = swarm.nodes.get(id).ok_or(Ineligible::Down)?;
    swarm_could_place(swarm, service, id, node)?;
    if node.labels.get(TARGET_LABEL).is_some_and(|value| value == "false") {
        return Err(Ineligible::KeptOut);
    }
    let report = facts.reports.get(id).ok_or(Ineligible::Silent { seconds: None })?;
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
