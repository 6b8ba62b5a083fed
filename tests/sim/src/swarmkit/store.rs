//! What the manager's store has: tasks, services, nodes; and what changes in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use swarmguard_planner::facts::{Mode, Node, Platform, Resources, TaskState, UpdateState};
use swarmguard_wire::{ContainerId, Name, NodeId, ServiceId, TaskId, Timestamp};

/// What a task is, as the manager's store has it.
#[derive(Debug, Clone)]
pub struct Task {
    /// The service's.
    pub service: ServiceId,
    /// Its slot.
    pub slot: u64,
    /// Its node, once it has one.
    pub node: Option<NodeId>,
    /// Its container, once it starts.
    pub container: Option<ContainerId>,
    /// Whether its node has taken it.
    pub accepted: bool,
    /// How far it is, as its node said last.
    pub state: TaskState,
    /// Whether it is meant to run.
    pub wanted: bool,
    /// Since when it runs.
    pub running_since: Option<Timestamp>,
    /// The template it was made from, its placement left out, as text.
    pub(super) template: String,
    /// The placement it was made from.
    pub(super) placement: Value,
    /// When its state changes next, and to what.
    pub(super) due: Option<(Timestamp, TaskState)>,
    /// It will never become healthy.
    pub hopeless: bool,
    /// Since when it is clear that it never gets the ports it should publish.
    pub portless_since: Option<Timestamp>,
    /// When it was made.
    pub(super) made_at: Timestamp,
    /// Until then it is held back (its desired state is `READY`): it is started anew, or has a node to wait for.
    pub(super) delayed_until: Timestamp,
    /// Nor before these have ended.
    pub(super) waits_for: Vec<TaskId>,
    /// The version of the spec it was made from.
    pub(super) spec_version: u64,
    /// The scheduler looks for no node any more: it found none for a task of an older version.
    pub(super) is_dropped: bool,
}

impl Task {
    /// Whether it runs and is meant to.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == TaskState::Running && self.wanted
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.state != TaskState::Ended
    }
}

/// A service, as the manager's store has it.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its spec, as its owner or SwarmGuard wrote it last.
    pub spec: Value,
    /// The one before.
    pub previous: Value,
    /// Its version index.
    pub version: u64,
    /// The one that its spec was written with; a rollback brings the earlier one back.
    pub(super) spec_version: u64,
    /// That of the spec before.
    pub(super) previous_version: u64,
    /// Where the last update stands.
    pub update: UpdateState,
    /// Whether that one went back to the spec before.
    pub rolled_back: bool,
    /// Percent of its tasks that never become healthy.
    pub hopeless_percent: u64,
    /// The template of its spec, the placement left out, as text.
    pub(super) template: String,
    /// Slots that have had a task.
    pub(super) slots: BTreeSet<u64>,
    /// Slots whose task is being replaced, and by which.
    pub(super) replacing: BTreeMap<u64, TaskId>,
    /// When the update counts as completed, if all is done by then.
    pub(super) settles_at: Option<Timestamp>,
}

pub(super) fn template_of(spec: &Value) -> String {
    let mut template = spec["TaskTemplate"].clone();
    if let Some(template) = template.as_object_mut() {
        template.remove("Placement");
    }
    template.to_string()
}

impl Service {
    /// Replicas wanted.
    #[must_use]
    pub fn replicas(&self) -> u64 {
        self.spec["Mode"]["Replicated"]["Replicas"].as_u64().unwrap_or(0)
    }

    /// How it is replicated.
    #[must_use]
    pub fn mode(&self) -> Mode {
        Mode::Replicated { replicas: self.replicas() }
    }

    /// Tasks that an update may stop before their replacements run.
    #[must_use]
    pub fn stopped_at_a_time(&self) -> u64 {
        let config = &self.spec["UpdateConfig"];
        match config["Parallelism"].as_u64() {
            _ if config["Order"] == "start-first" => 0,
            Some(0) => u64::MAX,
            parallel => parallel.unwrap_or(1),
        }
    }

    pub(super) fn placement(&self) -> &Value {
        &self.spec["TaskTemplate"]["Placement"]
    }
}

/// A node as most are: ready, active, no manager, four cores and 8 GiB.
#[must_use]
pub fn plain_node(name: &str) -> Node {
    Node {
        hostname: Name::new(name),
        ready: true,
        active: true,
        manager: false,
        platform: Platform { os: "linux".to_owned(), architecture: "x86_64".to_owned() },
        resources: Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30 },
        labels: BTreeMap::new(),
        engine_labels: BTreeMap::new(),
    }
}

/// A node, as it is and as the manager sees it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What the manager knows.
    pub node: Node,
    /// Whether it runs at all.
    pub up: bool,
    /// Whether the manager can reach it.
    pub reachable: bool,
    /// Whether nothing comes of what it is told, though it says that it lives.
    pub hangs: bool,
    /// When the manager misses it, or hears from it again.
    pub(super) due: Option<Timestamp>,
    /// Services whose task there runs and holds its ports, though the manager takes it for ended: how long it takes to stop,
    /// and until when it does, once the node was told.
    pub(super) holds: BTreeMap<ServiceId, (Duration, Option<Timestamp>)>,
}

impl Machine {
    /// Whether what starts then finds the service's ports held.
    pub(super) fn holds_ports(&self, service: &ServiceId, at: Timestamp) -> bool {
        self.holds.get(service).is_some_and(|(_, until)| until.is_none_or(|until| until > at))
    }

    /// Whether it does what the manager tells it, and says so.
    #[must_use]
    pub fn takes(&self) -> bool {
        self.up && self.reachable && !self.hangs
    }
}

/// What changed within a step, for those who watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Happened {
    /// A task began to run, healthy where there is a health check.
    Runs(TaskId),
    /// The manager has a task that ran healthily stopped, because of an update or a smaller number of replicas.
    Stopped {
        /// The task.
        task: TaskId,
        /// Its service.
        service: ServiceId,
        /// Others of the service that run.
        left: u64,
        /// The same with those that nobody reaches.
        seem_left: u64,
        /// Its slots in which nothing runs, and what is to has had no node for a while.
        unplaced: u64,
        /// Whether another task of its slot runs.
        replaced: bool,
        /// Whether the manager takes one of its slot for running, though nobody reaches it.
        seems_replaced: bool,
        /// Whether its owner wants it replaced: it was made from another template than the service has now, and nothing that does
        /// not run was kept for it.
        outdated: bool,
    },
    /// A new leader has a task that ran healthily stopped, because its node does not meet its service's constraints.
    Misplaced {
        /// Its service.
        service: ServiceId,
        /// The node.
        node: NodeId,
    },
    /// A task ended.
    Ends(TaskId),
}
