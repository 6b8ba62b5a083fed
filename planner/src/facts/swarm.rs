//! Swarm's own state, as a manager told it: services, their tasks, and nodes.
//!
//! Only what decisions need is here, and nothing is judged. It is one look, replaced whole by the next: between two looks
//! nothing in it changes but what SwarmGuard itself has just done.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use swarmguard_wire::{ContainerId, Name, NodeId, ServiceId, TaskId, Timestamp};

use crate::labels::Labels;
use crate::placement::Constraint;
use crate::plan::ActionKind;

/// Swarm's state as a manager told it.
#[derive(Debug, Clone, Default)]
pub struct Swarm {
    /// When it was read.
    pub seen_at: Timestamp,
    /// Who leads: only beside that manager anything is done.
    pub leader: Leader,
    /// All services.
    pub services: BTreeMap<ServiceId, Service>,
    /// All nodes.
    pub nodes: BTreeMap<NodeId, Node>,
}

/// Who leads the Swarm's managers, seen from the one that was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "leader", rename_all = "snake_case")]
pub enum Leader {
    /// That one does.
    Here,
    /// Another one does.
    Elsewhere {
        /// Its host name.
        node: Name,
    },
    /// Nobody is known to.
    #[default]
    Unknown,
}

impl Swarm {
    /// A node's host name, else its identifier.
    pub fn name_of(&self, node: &NodeId) -> Name {
        self.nodes.get(node).map_or_else(|| Name::new(node.as_str()), |found| found.hostname.clone())
    }
}

/// How a service is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// So many tasks, anywhere.
    Replicated {
        /// Tasks wanted.
        replicas: u64,
    },
    /// One task on each node.
    Global,
    /// Tasks that end.
    Job,
}

/// Where Swarm stands with the service's last update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// None is running.
    Settled,
    /// Tasks are being replaced.
    Updating,
    /// Stopped half-way; a person must look.
    Paused,
    /// The former spec is being restored, or the restoring is paused.
    RollingBack,
}

/// A service, as far as decisions need it.
#[derive(Debug, Clone)]
pub struct Service {
    /// The service's name.
    pub name: Name,
    /// Swarm's version index: an update must carry the newest one.
    pub version: u64,
    /// How it is replicated.
    pub mode: Mode,
    /// The note of replicas that SwarmGuard added.
    pub scaled: Option<Scaled>,
    /// What its owner chose.
    pub labels: Labels,
    /// Where Swarm stands with its last update.
    pub update: UpdateState,
    /// Whether it carries the mark of an action that has not ended.
    pub action_marked: bool,
    /// That action; absent where there is none, or where the mark cannot be read.
    pub action: Option<UnderWay>,
    /// Whether its spec has a placement, be it an empty one. API clients may leave it out; Docker's own never does.
    pub has_placement: bool,
    /// Where its tasks may run.
    pub constraints: Vec<Constraint>,
    /// Platforms its image is for; empty means any.
    pub platforms: Vec<Platform>,
    /// Resources reserved for each task.
    pub reserved: Resources,
    /// Ports that each task publishes on its node (`mode=host`).
    pub host_ports: BTreeSet<HostPort>,
    /// The first mount whose data stays on its node, if any: a local volume or a bind mount.
    pub local_mount: Option<String>,
    /// Most tasks on one node; absent means no limit.
    pub replicas_per_node_max: Option<u64>,
    /// Whether RUNNING means healthy, as far as the spec says; the image may have a health check that it does not show.
    pub has_healthcheck: Option<bool>,
    /// Its tasks, also those that have ended.
    pub tasks: BTreeMap<TaskId, Task>,
}

impl Service {
    /// Tasks that hold a place on a node and are meant to.
    pub fn alive(&self) -> impl Iterator<Item = (&TaskId, &Task)> {
        self.tasks.iter().filter(|(_, task)| task.is_alive())
    }

    /// Whether its tasks are of a kind that can be moved to another node.
    pub fn may_move(&self) -> bool {
        matches!(self.mode, Mode::Replicated { .. }) && self.has_placement && self.local_mount.is_none()
    }

    /// Tasks that run and are meant to run, healthy where there is a health check.
    pub fn running(&self) -> usize {
        self.tasks.values().filter(|task| task.is_running()).count()
    }

    /// Running tasks whose engine has published no port though that of others has: nobody reaches them.
    pub fn without_ports(&self) -> usize {
        let running = || self.tasks.values().filter(|task| task.is_running());
        if running().any(|task| task.publishes) { running().filter(|task| !task.publishes).count() } else { 0 }
    }
}

/// An action that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// What it does.
    pub kind: ActionKind,
    /// The nodes that it leaves and reaches.
    pub nodes: Vec<NodeId>,
}

/// How many replicas there were before SwarmGuard added some, and with them. It is void where somebody else has changed
/// their number since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaled {
    /// Before.
    pub from: u64,
    /// With them.
    pub to: u64,
    /// The action that left the note: another with the same numbers is another note.
    pub by: String,
}

/// A port on the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostPort {
    /// The port.
    pub port: u16,
    /// Its transport.
    pub protocol: Protocol,
}

/// A published port's transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// An operating system and an architecture; an empty one matches any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Platform {
    /// `linux`, as Docker names it.
    pub os: String,
    /// `x86_64` or `aarch64`; Docker's `amd64` and `arm64` are settled where the text is read.
    pub architecture: String,
}

/// CPU and memory, of a node or reserved by a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Resources {
    /// In 10⁻⁹ of a core.
    pub nano_cpus: u64,
    /// In bytes.
    pub memory_bytes: u64,
}

/// One task of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The node it was given; absent before that.
    pub node: Option<NodeId>,
    /// Its slot among the replicas; absent for global services.
    pub slot: Option<u64>,
    /// How far it is.
    pub state: TaskState,
    /// Since when it runs, or later; brought from the manager's wall clock to ours.
    pub running_since: Option<Timestamp>,
    /// Whether Swarm wants it to run.
    pub desired_running: bool,
    /// Whether Swarm wants it gone. On a node that is down its state stays as it was for a day all the same.
    pub desired_gone: bool,
    /// Its container, once there is one.
    pub container: Option<ContainerId>,
    /// Whether its node has taken it. One that Swarm hears from may not: their session is broken, which Swarm learns from
    /// heartbeats that do not come.
    pub accepted: bool,
    /// Whether its engine has published ports of it on the node.
    pub publishes: bool,
}

impl Task {
    /// Whether it holds a place on its node.
    pub fn is_alive(&self) -> bool {
        self.state != TaskState::Ended
    }

    /// Whether it is on its way to run, and meant to.
    pub fn is_unready(&self) -> bool {
        self.state == TaskState::Starting && !self.desired_gone
    }

    /// Whether it runs and is meant to.
    pub fn is_running(&self) -> bool {
        self.state == TaskState::Running && self.desired_running
    }
}

/// How far a task is, as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Before running: new, assigned, preparing, starting.
    Starting,
    /// Running; healthy where there is a health check.
    Running,
    /// Complete, failed, shut down, rejected, orphaned or removed.
    Ended,
}

/// A node of the Swarm.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its host name.
    pub hostname: Name,
    /// Whether Swarm hears from it.
    pub ready: bool,
    /// Whether it takes new tasks.
    pub active: bool,
    /// Whether it is a manager.
    pub manager: bool,
    /// What it runs.
    pub platform: Platform,
    /// What it has.
    pub resources: Resources,
    /// Its labels (`node.labels`).
    pub labels: BTreeMap<String, String>,
    /// Its engine's labels (`engine.labels`).
    pub engine_labels: BTreeMap<String, String>,
}
