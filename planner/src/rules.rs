//! Which condition a container is in, and which action its service needs.
//!
//! A sample is calm, sick (scenario 1: CPU or memory high, network low), busy (scenario 2: all three high), or high
//! without matching either. Only ticks in a row count, and only fresh ones. A busy container outranks a sick one of
//! the same service: moving a replica away from heavy traffic helps nobody.

mod condition;
mod finding;
mod migrate;
mod scale_down;
mod scale_up;

use std::time::Duration;

use swarmguard_wire::{ServiceId, Timestamp};

use crate::claims::Claims;
use crate::facts::{Facts, Mode, Service, Swarm};
use crate::memory::Memory;
use crate::placement::Place;
use crate::plan::{Action, ActionKind, Trigger, Withheld, seconds_left};
use crate::planted::{Bug, has};
use crate::policy::Policy;

pub(crate) use condition::may_be_high;
pub use condition::{Condition, Unclear, Used, condition};
pub use finding::Finding;
pub(crate) use finding::{Known, findings};
pub(crate) use scale_down::{idle, may_be_idle};

/// How many nodes have sick containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sick {
    /// Nodes with a sick container.
    pub sick: usize,
    /// Nodes that report and could have one; not counted where so few are sick that it does not matter.
    pub nodes: usize,
    /// Whether that is more than can be believed.
    pub are_too_many: bool,
}

/// Everything a rule may look at for one service.
pub struct Case<'a> {
    /// All facts.
    pub facts: &'a Facts,
    /// Swarm's state.
    pub swarm: &'a Swarm,
    /// Every node as a place for a task.
    pub(crate) places: &'a [Place<'a>],
    /// The service's running containers.
    pub(crate) containers: &'a [Known<'a>],
    /// The service's identifier.
    pub id: &'a ServiceId,
    /// The service.
    pub service: &'a Service,
    /// What a person chose.
    pub policy: &'a Policy,
    /// What was done before.
    pub memory: &'a Memory,
    /// The time of the decision.
    pub now: Timestamp,
    /// What is being done already, or was planned before it.
    pub claims: &'a Claims,
    /// How many nodes look sick.
    pub sick: Sick,
}

/// The action that a finding asks for.
///
/// # Errors
/// Why nothing is to be done.
pub fn propose(case: &Case<'_>, finding: &Finding) -> Result<Action, Withheld> {
    let (migration, scaling) = (&case.policy.migration, &case.policy.scaling);
    match finding.condition {
        Condition::Busy => {
            in_a_row(finding, scaling.consecutive_breaches)?;
            cooled_down(case, ActionKind::ScaleUp, scaling.scale_up_cooldown)?;
            case.claims.allow(case)?;
            scale_up::propose(case, finding, converged(case)?).map(Action::ScaleUp)
        }
        Condition::Sick => {
            in_a_row(finding, migration.consecutive_breaches)?;
            cooled_down(case, ActionKind::Migrate, migration.cooldown)?;
            converged(case)?;
            case.claims.allow(case)?;
            migrate::propose(case, finding).map(Action::Migrate)
        }
        Condition::Idle => {
            cooled_down(case, ActionKind::ScaleUp, scaling.scale_down_cooldown)?;
            cooled_down(case, ActionKind::ScaleDown, scaling.scale_down_cooldown)?;
            case.claims.allow_to_wait(case)?;
            scale_down::propose(case, finding, converged(case)?).map(Action::ScaleDown)
        }
        Condition::Unclear(unclear) => Err(Withheld::Between { unclear }),
        // There is no finding for a calm container.
        Condition::Calm => Err(Withheld::Streak { seen: 0, needed: 1 }),
    }
}

/// Enough ticks in a row match.
fn in_a_row(finding: &Finding, needed: u32) -> Result<(), Withheld> {
    if finding.streak < needed && !has(Bug::OneTickIsEnough) {
        Err(Withheld::Streak { seen: finding.streak, needed })
    } else {
        Ok(())
    }
}

/// The last action of a kind was long enough ago.
fn cooled_down(case: &Case<'_>, kind: ActionKind, length: Duration) -> Result<(), Withheld> {
    let length = if has(Bug::NoCooldown) { Duration::ZERO } else { length };
    match case.memory.cooldown(case.id, kind).until(length, case.now) {
        Some(until) => Err(Withheld::Cooldown { kind, until, seconds_left: seconds_left(until, case.now) }),
        None => Ok(()),
    }
}

/// How many replicas the service has, all of which run.
fn converged(case: &Case<'_>) -> Result<u64, Withheld> {
    let replicas = match case.service.mode {
        Mode::Replicated { replicas } => replicas,
        Mode::Global | Mode::Job => return Err(Withheld::NotReplicated),
    };
    let running = case.service.running() as u64;
    if running < replicas && !has(Bug::NotConverged) {
        return Err(Withheld::NotConverged { running, wanted: replicas });
    }
    Ok(replicas)
}

fn trigger(case: &Case<'_>, finding: &Finding) -> Trigger {
    Trigger {
        service: case.id.clone(),
        service_name: case.service.name.clone(),
        version: case.service.version,
        has_healthcheck: case.service.has_healthcheck.or(finding.newest.has_healthcheck),
        container: finding.container,
        cpu_percent: finding.newest.cpu_percent,
        memory_percent: finding.newest.memory_percent,
        network_percent: finding.newest.network_percent,
        breach_at: finding.first.sampled_at,
        sent_at: finding.newest.sent_at,
        received_at: finding.newest.received_at,
    }
}
