//! What a decision rests on, for those who read it later.

use serde::Serialize;
use swarmguard_wire::{Name, Timestamp};

use crate::facts::{Mode, Service};
use crate::placement::{Ineligible, Place, Rejected};
use crate::plan::NAMED_MAX;
use crate::rules::{Case, Condition, Finding};

/// What was seen of the container that a decision rests on, and what it was judged by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grounds {
    /// The container's node.
    pub node: Name,
    /// Its CPU in percent of what it may use.
    pub cpu_percent: Option<f32>,
    /// Its memory in percent of what it may use.
    pub memory_percent: Option<f32>,
    /// Its network in percent of the link.
    pub network_percent: Option<f32>,
    /// Ticks in a row that show the same.
    pub ticks: u32,
    /// The first of them was sampled then.
    pub since: Timestamp,
    /// The newest was sampled then.
    pub at: Timestamp,
    /// What high and low mean for this service.
    pub thresholds: Thresholds,
    /// Tasks of the service that run.
    pub running: u64,
    /// Replicas wanted; absent where the service is global or a job.
    pub replicas: Option<u64>,
}

/// What high and low mean, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// CPU is high above this.
    pub cpu: f32,
    /// Memory is high above this.
    pub memory: f32,
    /// Network is low below this in scenario 1, and high above it in scenario 2.
    pub network: f32,
    /// Ticks in a row that must match.
    pub ticks: u32,
}

impl Grounds {
    pub(super) fn of(case: &Case<'_>, finding: &Finding) -> Self {
        let (migration, scaling) = (&case.policy.migration, &case.policy.scaling);
        let thresholds = match finding.condition {
            Condition::Sick | Condition::Unclear(_) | Condition::Calm => Thresholds {
                cpu: migration.cpu_threshold,
                memory: migration.memory_threshold,
                network: migration.network_threshold_max,
                ticks: migration.consecutive_breaches,
            },
            Condition::Busy | Condition::Idle => Thresholds {
                cpu: scaling.cpu_threshold,
                memory: scaling.memory_threshold,
                network: scaling.network_threshold_min,
                ticks: scaling.consecutive_breaches,
            },
        };
        Self {
            node: case.swarm.name_of(&finding.node),
            cpu_percent: finding.newest.cpu_percent,
            memory_percent: finding.newest.memory_percent,
            network_percent: finding.newest.network_percent,
            ticks: finding.streak,
            since: finding.first.sampled_at,
            at: finding.newest.sampled_at,
            thresholds,
            running: case.service.running() as u64,
            replicas: match case.service.mode {
                Mode::Replicated { replicas } => Some(replicas),
                Mode::Global | Mode::Job => None,
            },
        }
    }
}

/// The nodes that were looked at for a task that is to move, apart from the one that was chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Considered {
    /// How much the chosen one is in use: CPU plus memory in percent, with what is on its way there.
    pub chosen_use: f32,
    /// Others, at most [`NAMED_MAX`].
    pub others: Vec<Other>,
    /// How many more there are.
    pub more: usize,
}

/// A node that was not chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Other {
    /// The node.
    pub node: Name,
    /// How much it is in use, if it would have done.
    pub in_use: Option<f32>,
    /// Why it would not, else.
    pub why: Option<Ineligible>,
}

impl Considered {
    /// The chosen one's use, and of all others what came of looking at them.
    pub(crate) fn new<'a>(
        chosen_use: f32,
        others: impl ExactSizeIterator<Item = &'a Place<'a>>,
        mut look: impl FnMut(&Place<'_>) -> Result<f32, Ineligible>,
    ) -> Self {
        let more = others.len().saturating_sub(NAMED_MAX);
        let other = |place: &'a Place<'a>| {
            let node = place.node.hostname.clone();
            match look(place) {
                Ok(in_use) => Other { node, in_use: Some(in_use), why: None },
                Err(why) => Other { node, in_use: None, why: Some(why) },
            }
        };
        Self { chosen_use, others: others.take(NAMED_MAX).map(other).collect(), more }
    }
}

/// The nodes that were looked at for one replica more: Swarm chooses among those that may take it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Candidates {
    /// How many may take it.
    pub nodes: usize,
    /// Their names, at most [`NAMED_MAX`].
    pub names: Vec<Name>,
    /// Nodes that may not, at most [`NAMED_MAX`].
    pub rejected: Vec<Rejected>,
    /// How many more of these there are.
    pub more: usize,
}

impl Candidates {
    pub(crate) fn of(places: &[Place<'_>], service: &Service) -> Self {
        let mut candidates = Self::default();
        for place in places {
            let node = &place.node.hostname;
            match place.target_score(service) {
                Ok(_) => {
                    candidates.nodes += 1;
                    if candidates.nodes <= NAMED_MAX {
                        candidates.names.push(node.clone());
                    }
                }
                Err(why) if candidates.rejected.len() < NAMED_MAX => {
                    candidates.rejected.push(Rejected { node: node.clone(), why });
                }
                Err(_) => candidates.more += 1,
            }
        }
        candidates
    }
}
