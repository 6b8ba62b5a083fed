//! The note in a service's labels that says which action is under way and how to undo it.
//!
//! It is written in the same versioned update as the action itself, so that Swarm's store holds either both or
//! neither. A collector that finds a mark it did not write finishes or reverts that action; no other memory is needed.

use serde::{Deserialize, Serialize};
use swarmguard_planner::facts::{self, Mode, Service, UnderWay};
use swarmguard_planner::labels::ACTION_LABEL;
use swarmguard_planner::plan::{Action, ActionKind};
use swarmguard_wire::NodeId;

use crate::journal::TimeLine;

/// The label that carries the mark. Its value is JSON.
pub const LABEL: &str = ACTION_LABEL;

/// How often what nobody reaches is made anew once more.
pub const REMADE_MAX: u32 = 4;

/// An action that has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The mark's own version.
    pub v: u8,
    /// The action's identifier.
    pub id: String,
    /// T0 to T4, by the clock of the collector that began it.
    pub times: TimeLine,
    /// Replicas the service had.
    pub replicas: u64,
    /// Replicas it had before SwarmGuard added the first; absent where it has added none, or somebody has changed their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_from: Option<u64>,
    /// All tasks that ran had ports published on their nodes: one that has none is reached by nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publishes: bool,
    /// How often what nobody reaches was made anew while it was backed out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remade: u32,
    /// What is changed.
    pub change: Change,
    /// What the user's spec had, to be put back.
    pub original: Original,
}

/// A mark as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Marked {
    /// The mark.
    pub mark: Mark,
    /// Whether somebody else has changed the service since, and left the mark in it.
    pub changed: bool,
    /// Whether Swarm replaces tasks for that change, or has stopped to do so half-way.
    pub rolls_out: bool,
}

/// The version of [`Mark`] this build writes and reads.
pub const MARK_VERSION: u8 = 1;

/// What an action changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// Tasks leave a node.
    Migrate {
        /// The node to leave.
        source: NodeId,
        /// The node to reach.
        target: NodeId,
        /// Constraints that were added; one of them more than once where something was made anew.
        added: Vec<String>,
    },
    /// One replica more.
    ScaleUp {
        /// Replicas after.
        to: u64,
    },
    /// One replica fewer.
    ScaleDown {
        /// Replicas after.
        to: u64,
    },
}

/// What is left in a service's labels while it has replicas that SwarmGuard added: only they may be taken again. It is
/// void where somebody else has changed their number since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// Replicas before the first was added.
    pub from: u64,
    /// Replicas now.
    pub to: u64,
    /// The action that left it.
    #[serde(default)]
    pub by: String,
    /// Whether the service had no map of labels at all before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub labels_absent: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The constraint that keeps tasks off a node.
fn off(node: &NodeId) -> String {
    format!("node.id!={node}")
}

/// The constraints that keep tasks off these nodes. Each time that something is made anew one of them stands there once more:
/// a task that waits for a node is in line with a spec whose placement is the same word for word (SwarmKit's `IsTaskDirty`),
/// and could be kept for a healthy one.
fn constraints_off(nodes: &[NodeId], remade: u32) -> Vec<String> {
    let again = nodes.last().into_iter().cycle().take(remade.min(REMADE_MAX) as usize);
    nodes.iter().chain(again).map(off).collect()
}

impl Scaled {
    /// Reads the label's value; one of another shape is void.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// As a fact.
    pub fn fact(self) -> facts::Scaled {
        facts::Scaled { from: self.from, to: self.to, by: self.by }
    }
}

/// Parts of the user's spec that an action overwrites, as Docker's API has them; `null` where there were none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Original {
    /// `TaskTemplate.Placement`.
    pub placement: serde_json::Value,
    /// `UpdateConfig`.
    pub update_config: serde_json::Value,
    /// Whether the service had no map of labels at all.
    pub labels_absent: bool,
    /// A fingerprint of what else Swarm replaces tasks for; absent in marks of versions that wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<u64>,
}

impl Mark {
    /// The mark of an action on `service` that begins now, and had `scaled_from` replicas before SwarmGuard added any; what
    /// is overwritten is filled in where the spec is at hand.
    pub fn new(id: String, action: &Action, service: &Service, scaled_from: Option<u64>, times: TimeLine) -> Self {
        let replicas = match service.mode {
            Mode::Replicated { replicas } => replicas,
            Mode::Global | Mode::Job => 0,
        };
        let mut running = service.tasks.values().filter(|task| task.is_running()).peekable();
        let publishes = running.peek().is_some() && running.all(|task| task.publishes);
        let change = match action {
            Action::Migrate(migrate) => Change::Migrate {
                source: migrate.source.clone(),
                target: migrate.target.clone(),
                added: migrate.exclude.iter().map(off).collect(),
            },
            Action::ScaleUp(scale) => Change::ScaleUp { to: scale.to },
            Action::ScaleDown(scale) => Change::ScaleDown { to: scale.to },
        };
        Self {
            v: MARK_VERSION,
            id,
            times,
            replicas,
            scaled_from,
            publishes,
            remade: 0,
            change,
            original: Original::default(),
        }
    }

    /// From now on tasks are kept off these nodes instead of those before, and so often something was made anew. Gives the
    /// constraints that were added before; nothing where it is no migration.
    pub fn keep_off(&mut self, nodes: &[NodeId], remade: u32) -> Option<Vec<String>> {
        let Change::Migrate { added, .. } = &mut self.change else { return None };
        self.remade = remade;
        Some(std::mem::replace(added, constraints_off(nodes, remade)))
    }

    /// Whether tasks are kept off these nodes, and off no others.
    pub fn is_kept_off(&self, nodes: &[NodeId]) -> bool {
        self.added() == constraints_off(nodes, self.remade)
    }

    /// Whether tasks are kept off this node, among others.
    pub fn keeps_off(&self, node: &NodeId) -> bool {
        self.added().contains(&off(node))
    }

    /// Whether it is a move after which the source may have the task again: no other node took it, or it is backed out of.
    pub fn allows_source(&self) -> bool {
        let Change::Migrate { source, .. } = &self.change else { return false };
        !self.keeps_off(source)
    }

    /// The constraints that are added by now.
    pub fn added(&self) -> &[String] {
        match &self.change {
            Change::Migrate { added, .. } => added,
            Change::ScaleUp { .. } | Change::ScaleDown { .. } => &[],
        }
    }

    /// Reads the label's value, if it is one that this build can read.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().filter(|mark| mark.v == MARK_VERSION)
    }

    /// As a fact.
    pub fn under_way(&self) -> UnderWay {
        let nodes = match &self.change {
            Change::Migrate { source, target, .. } => vec![source.clone(), target.clone()],
            Change::ScaleUp { .. } | Change::ScaleDown { .. } => Vec::new(),
        };
        UnderWay { kind: self.kind(), nodes }
    }

    /// What the action does.
    pub fn kind(&self) -> ActionKind {
        match self.change {
            Change::Migrate { .. } => ActionKind::Migrate,
            Change::ScaleUp { .. } => ActionKind::ScaleUp,
            Change::ScaleDown { .. } => ActionKind::ScaleDown,
        }
    }
}
