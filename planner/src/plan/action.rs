//! An action names everything: service, version, node to leave, node to reach and replica count.

use serde::Serialize;
use swarmguard_wire::{ContainerId, Name, NodeId, ServiceId, TaskId, Timestamp};

use super::grounds::{Candidates, Considered};

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Scenario 1: leave a node.
    Migrate,
    /// Scenario 2: one replica more.
    ScaleUp,
    /// The load is gone: one replica fewer.
    ScaleDown,
}

impl ActionKind {
    /// The kind in words, for sentences.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Migrate => "migration",
            Self::ScaleUp => "scale-up",
            Self::ScaleDown => "scale-down",
        }
    }

    /// The kind in one word, as in the journal and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::ScaleUp => "scale_up",
            Self::ScaleDown => "scale_down",
        }
    }
}

/// An action on one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Scenario 1.
    Migrate(Migrate),
    /// Scenario 2.
    ScaleUp(Scale),
    /// The load is gone.
    ScaleDown(Scale),
}

/// Moves all tasks of a service away from a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Migrate {
    /// What set it off.
    pub trigger: Trigger,
    /// The node to leave.
    pub source: NodeId,
    /// Its name.
    pub source_name: Name,
    /// The node to reach: the only one that Swarm's own rules leave.
    pub target: NodeId,
    /// Its name.
    pub target_name: Name,
    /// The nodes that were looked at.
    pub considered: Considered,
    /// Nodes to keep the replacement off: the source, and those that Swarm would prefer to the target.
    pub exclude: Vec<NodeId>,
    /// The tasks to be replaced: all of the service on the source.
    pub tasks: Vec<TaskId>,
}

/// Adds one replica, or takes one away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scale {
    /// What set it off.
    pub trigger: Trigger,
    /// Replicas before.
    pub from: u64,
    /// Replicas after.
    pub to: u64,
    /// What it rests on beside its trigger.
    pub why: WhyScale,
}

/// What a change of the number of replicas rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum WhyScale {
    /// There is too much to do.
    Busy(Candidates),
    /// One fewer could do it all.
    Idle {
        /// Seconds for which that is known.
        seconds: u64,
        /// The sum of what each container had to do at most in that time: CPU, memory and network in percent of one.
        sum: [f32; 3],
        /// What one replica fewer is trusted with.
        carries: [f32; 3],
    },
}

/// What set an action off, and T0 to T2 of its time line, by the collector's clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trigger {
    /// The service.
    pub service: ServiceId,
    /// Its name.
    pub service_name: Name,
    /// The version of the service's spec that the decision rests on.
    pub version: u64,
    /// Whether RUNNING means healthy; without a health check there is no promise of zero downtime. Absent: not known.
    pub has_healthcheck: Option<bool>,
    /// The container that matched; of an idle service its busiest.
    pub container: ContainerId,
    /// Its CPU in percent of what it may use.
    pub cpu_percent: Option<f32>,
    /// Its memory in percent of what it may use.
    pub memory_percent: Option<f32>,
    /// Its network in percent of the link.
    pub network_percent: Option<f32>,
    /// T0: the first breach of the row was measured, or the first sample of the time in which the service was idle.
    pub breach_at: Timestamp,
    /// T1: the message that completed the row was sent.
    pub sent_at: Timestamp,
    /// T2: it was received.
    pub received_at: Timestamp,
}

impl Action {
    /// What it does.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Migrate(_) => ActionKind::Migrate,
            Self::ScaleUp(_) => ActionKind::ScaleUp,
            Self::ScaleDown(_) => ActionKind::ScaleDown,
        }
    }

    /// The nodes that it leaves or reaches, as far as they are known before.
    pub fn nodes(&self) -> Vec<NodeId> {
        match self {
            Self::Migrate(migrate) => vec![migrate.source.clone(), migrate.target.clone()],
            Self::ScaleUp(_) | Self::ScaleDown(_) => Vec::new(),
        }
    }

    /// What set it off.
    pub fn trigger(&self) -> &Trigger {
        match self {
            Self::Migrate(migrate) => &migrate.trigger,
            Self::ScaleUp(scale) | Self::ScaleDown(scale) => &scale.trigger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name_for_people_and_one_for_the_journal() {
        let check = |kind: ActionKind, noun, word| assert_eq!((kind.noun(), kind.as_str()), (noun, word));
        check(ActionKind::Migrate, "migration", "migrate");
        check(ActionKind::ScaleUp, "scale-up", "scale_up");
        check(ActionKind::ScaleDown, "scale-down", "scale_down");
    }
}
