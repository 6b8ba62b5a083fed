//! Decisions: for each service in trouble an action that names everything, or the reason why nothing is done.
//!
//! The executor chooses nothing: service, version, node to leave, node to reach and replica count stand in the action.
//! A service in whose containers nothing is amiss has no decision.

use std::fmt;

use serde::Serialize;
use swarmguard_wire::{ContainerId, Name, NodeId, ServiceId, TaskId, Timestamp};

use crate::facts::{Facts, UpdateState};
use crate::memory::Memory;
use crate::placement::Rejected;
use crate::policy::Policy;
use crate::rules::{self, Case, Condition, Finding, Unclear};

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Scenario 1: leave a node.
    Migrate,
    /// Scenario 2: one replica more.
    ScaleUp,
}

impl ActionKind {
    /// The kind in words, for sentences.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Migrate => "migration",
            Self::ScaleUp => "scale-up",
        }
    }

    /// The kind in one word, as in the journal and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::ScaleUp => "scale_up",
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
    ScaleUp(ScaleUp),
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
    /// Nodes to keep the replacement off: the source, and those that Swarm would prefer to the target.
    pub exclude: Vec<NodeId>,
    /// The tasks to be replaced: all of the service on the source.
    pub tasks: Vec<TaskId>,
}

/// Adds one replica.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScaleUp {
    /// What set it off.
    pub trigger: Trigger,
    /// Replicas before.
    pub from: u64,
    /// Replicas after.
    pub to: u64,
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
    /// The container that matched.
    pub container: ContainerId,
    /// Its CPU in percent of what it may use.
    pub cpu_percent: Option<f32>,
    /// Its memory in percent of what it may use.
    pub memory_percent: Option<f32>,
    /// Its network in percent of the link.
    pub network_percent: Option<f32>,
    /// T0: the first breach of the row was measured.
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
        }
    }

    /// What set it off.
    pub fn trigger(&self) -> &Trigger {
        match self {
            Self::Migrate(migrate) => &migrate.trigger,
            Self::ScaleUp(scale_up) => &scale_up.trigger,
        }
    }
}

/// Why nothing is done for a service in trouble.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Withheld {
    /// The Swarm's state was read too long ago.
    SwarmStale {
        /// Seconds since.
        seconds: u64,
    },
    /// Not enough ticks in a row match.
    Streak {
        /// Ticks in a row so far.
        seen: u32,
        /// Ticks in a row needed.
        needed: u32,
    },
    /// CPU or memory is high, but neither scenario matches.
    Between {
        /// What stands between.
        unclear: Unclear,
    },
    /// Another action on the service has not ended.
    InFlight {
        /// What it does, if this collector started it.
        kind: Option<ActionKind>,
    },
    /// The service was acted on lately.
    Cooldown {
        /// Which action has to wait.
        kind: ActionKind,
        /// Until when.
        until: Timestamp,
        /// Seconds until then, rounded up.
        seconds_left: u64,
    },
    /// Swarm refused the last attempts.
    Refused {
        /// Seconds until the next one, rounded up.
        seconds_left: u64,
    },
    /// Someone else's update of the service has not ended.
    UpdateInProgress {
        /// Where it stands.
        state: UpdateState,
    },
    /// Fewer tasks run than the service wants: Swarm is still at work on it.
    NotConverged {
        /// Running.
        running: u64,
        /// Wanted.
        wanted: u64,
    },
    /// The service is global or a job: it has no replicas to move or add.
    NotReplicated,
    /// Its spec has no placement, not even an empty one. SwarmKit's manager dies of a nil pointer (`nodeMatches`) when a
    /// task that was given constraints meets a spec without placement, so the user's spec could not be put back.
    NoPlacement,
    /// Its data stays on its node.
    LocalStorage {
        /// The mount.
        mount: String,
    },
    /// It has as many replicas as it may.
    MaxReplicas {
        /// The maximum.
        max: u64,
    },
    /// No node may take the task.
    NoTarget {
        /// Each node and why not.
        nodes: Vec<Rejected>,
    },
    /// Every node that may take the task runs one of the service already: the target could not be named, nor the move be
    /// taken back.
    NoFreeNode {
        /// These nodes.
        nodes: Vec<Name>,
    },
    /// The target cannot be told apart from more nodes than a spec should name.
    TooManyNodes {
        /// Nodes to be excluded.
        found: usize,
        /// Most that are.
        max: usize,
    },
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwarmStale { seconds } => write!(f, "the Swarm's state is {seconds} s old"),
            Self::Streak { seen, needed } => write!(f, "{seen} of {needed} ticks in a row match"),
            Self::Between { unclear } => write!(f, "no scenario matches: {unclear}"),
            Self::InFlight { kind: Some(kind) } => write!(f, "a {} is under way", kind.noun()),
            Self::InFlight { kind: None } => {
                write!(f, "an action that another collector began, or that has just ended, is being looked after")
            }
            Self::Cooldown { kind, seconds_left, .. } => {
                write!(f, "the last {} was a short while ago: {seconds_left} s of its cooldown are left", kind.noun())
            }
            Self::Refused { seconds_left } => {
                write!(f, "Swarm refused the last attempt: the next is in {seconds_left} s at the earliest")
            }
            Self::UpdateInProgress { state } => write!(f, "an update of the service is not over: {state:?}"),
            Self::NotConverged { running, wanted } => write!(f, "{running} of {wanted} replicas run"),
            Self::NotReplicated => write!(f, "the service is global or a job"),
            Self::NoPlacement => write!(
                f,
                "its spec has no placement, and giving one and taking it away again crashes SwarmKit; give it an empty one \
                 with: docker service update --constraint-add node.id!=none, then --constraint-rm"
            ),
            Self::LocalStorage { mount } => write!(f, "its data stays on its node: {mount}"),
            Self::MaxReplicas { max } => write!(f, "it has {max} replicas, its maximum"),
            Self::NoTarget { nodes } => {
                write!(f, "no node may take it")?;
                nodes.iter().try_for_each(|rejected| write!(f, "; {} {}", rejected.node, rejected.why))
            }
            Self::NoFreeNode { nodes } => {
                let names: Vec<&str> = nodes.iter().map(Name::as_str).collect();
                write!(f, "every node that may take it runs a task of the service already: {}", names.join(", "))
            }
            Self::TooManyNodes { found, max } => {
                write!(f, "{found} nodes would have to be excluded, and at most {max} are")
            }
        }
    }
}

/// What comes of a service in trouble.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// To be executed.
    Act {
        /// The action.
        action: Action,
    },
    /// Would be executed if the service had `swarmguard.enable=true`.
    Observe {
        /// The action.
        action: Action,
    },
    /// Nothing is to be done.
    Withhold {
        /// Why.
        withheld: Withheld,
    },
}

/// The decision for one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// The service.
    pub service: ServiceId,
    /// Its name.
    pub service_name: Name,
    /// The container it rests on.
    pub container: ContainerId,
    /// What condition that container is in.
    pub condition: Condition,
    /// What comes of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, action) = match &self.outcome {
            Outcome::Withhold { withheld } => return write!(f, "nothing is done: {withheld}"),
            Outcome::Act { action } => ("", action),
            Outcome::Observe { action } => ("observed only, without swarmguard.enable=true: would ", action),
        };
        let trigger = action.trigger();
        let shown = |value: Option<f32>| value.map_or("unknown".to_owned(), |value| format!("{value:.0} %"));
        match action {
            Action::Migrate(migrate) => write!(f, "{verb}move it off {}", migrate.source_name)?,
            Action::ScaleUp(scale_up) => write!(f, "{verb}go from {} to {} replicas", scale_up.from, scale_up.to)?,
        }
        let (cpu, memory) = (shown(trigger.cpu_percent), shown(trigger.memory_percent));
        write!(f, ": CPU is at {cpu}, memory at {memory}, network at {}", shown(trigger.network_percent))
    }
}

/// Decides for every service one of whose containers is over a threshold, in the order of their identifiers.
pub fn plan(facts: &Facts, policy: &Policy, memory: &Memory, now: Timestamp) -> Vec<Decision> {
    let Some(swarm) = &facts.swarm else { return Vec::new() };
    let cases = swarm.services.iter().map(|(id, service)| Case { facts, swarm, id, service, policy, memory, now });
    cases.filter_map(|case| decide(&case)).collect()
}

fn decide(case: &Case<'_>) -> Option<Decision> {
    let findings = rules::findings(case);
    let (finding, proposed) = match guard(case) {
        Err(withheld) => (findings.first()?, Err(withheld)),
        Ok(()) => first_action(case, &findings)?,
    };
    let outcome = match proposed {
        Ok(action) if case.service.enabled => Outcome::Act { action },
        Ok(action) => Outcome::Observe { action },
        Err(withheld) => Outcome::Withhold { withheld },
    };
    Some(Decision {
        service: case.id.clone(),
        service_name: case.service.name.clone(),
        container: finding.container,
        condition: finding.condition,
        outcome,
    })
}

/// The first action that a finding leads to; if none does, the first finding and why not. So a busy service at its
/// maximum does not keep its sick container from being moved.
fn first_action<'a>(case: &Case<'_>, findings: &'a [Finding]) -> Option<(&'a Finding, Result<Action, Withheld>)> {
    let mut first = None;
    for finding in findings {
        match rules::propose(case, finding) {
            Ok(action) => return Some((finding, Ok(action))),
            Err(withheld) => drop(first.get_or_insert((finding, Err(withheld)))),
        }
    }
    first
}

/// Seconds from `now` to `until`, rounded up.
pub(crate) fn seconds_left(until: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(until.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// What holds back every kind of action.
fn guard(case: &Case<'_>) -> Result<(), Withheld> {
    let Case { swarm, id, service, policy, memory, now, .. } = *case;
    let age = now.since(swarm.seen_at);
    if age > policy.metric_window {
        return Err(Withheld::SwarmStale { seconds: age.as_secs() });
    }
    if let Some(kind) = memory.in_flight(id) {
        return Err(Withheld::InFlight { kind: Some(kind) });
    }
    if service.action_marked {
        return Err(Withheld::InFlight { kind: None });
    }
    if let Some(until) = memory.refused_until(id, now) {
        return Err(Withheld::Refused { seconds_left: seconds_left(until, now) });
    }
    match service.update {
        UpdateState::Settled => Ok(()),
        state @ (UpdateState::Updating | UpdateState::Paused | UpdateState::RollingBack) => {
            Err(Withheld::UpdateInProgress { state })
        }
    }
}
