//! An independent look at an action before it is executed.
//!
//! It shares no code with the rules: it asks of the facts alone whether the action would break a promise. A violation
//! is a bug in the rules, and the action is not executed.

use swarmguard_wire::{NodeId, Timestamp};

use crate::facts::{Facts, Leader, Mode, Swarm, Task, UpdateState};
use crate::labels::Engagement;
use crate::memory::Memory;
use crate::plan::{Action, Migrate, Scale};
use crate::policy::Policy;

/// A promise that an action would break.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Violation {
    /// The Swarm's state is not known or too old.
    #[error("the Swarm's state is unknown or stale")]
    Stale,
    /// Another collector acts.
    #[error("the manager beside this collector does not lead the Swarm")]
    Standby,
    /// The service is not there.
    #[error("the service does not exist")]
    NoService,
    /// Its owner did not let us act.
    #[error("the service is not enabled")]
    NotEnabled,
    /// A person said that nothing is to be done at this time.
    #[error("the service is paused, or it is a quiet hour")]
    Quiet,
    /// The service changed after the facts were read.
    #[error("the action rests on version {planned}, the service has {found}")]
    Version {
        /// The action's.
        planned: u64,
        /// The service's.
        found: u64,
    },
    /// Two actions on one service.
    #[error("another action on the service is under way")]
    Concurrent,
    /// More would be under way than may be.
    #[error("{in_flight} actions are under way and {within_hour} have begun within an hour, and one more is too many")]
    TooMany {
        /// Under way.
        in_flight: usize,
        /// Begun within an hour.
        within_hour: usize,
    },
    /// Someone else's update would be cancelled.
    #[error("an update of the service is not over")]
    UpdateInProgress,
    /// Not a replicated service.
    #[error("the service is not replicated")]
    NotReplicated,
    /// A service below its replicas is not to be touched.
    #[error("{running} of {wanted} replicas run")]
    Below {
        /// Running.
        running: u64,
        /// Wanted.
        wanted: u64,
    },
    /// The count does not go from what is there to one more or one fewer, within minimum and maximum.
    #[error("it would go from {from} to {to} replicas, where it has {found} and {min} to {max} are allowed")]
    Replicas {
        /// The action's start.
        from: u64,
        /// The action's end.
        to: u64,
        /// What is there.
        found: u64,
        /// The minimum.
        min: u64,
        /// The maximum.
        max: u64,
    },
    /// The source is not excluded, or has no task of the service, or is the target.
    #[error("the node to leave would not be left")]
    Source,
    /// The target is excluded, unknown, not ready, not active, or holds a task of the service.
    #[error("node {node} cannot be the target")]
    Target {
        /// The target.
        node: NodeId,
    },
    /// A node with a task that is not to move is excluded.
    #[error("excluding node {node} would move a task that is not to move")]
    Bystander {
        /// The node.
        node: NodeId,
    },
    /// The user's spec could not be put back.
    #[error("the service's spec has no placement, and could not be put back")]
    NoPlacement,
    /// A replica would go that the owner asked for.
    #[error("the replica is not one that was added, and the owner chose no minimum")]
    Reserve,
    /// Swarm could keep a replica that nobody reaches, and take one that serves.
    #[error("some replicas run without the ports that others have, and Swarm could keep just those")]
    WithoutPorts,
    /// Data would be left behind.
    #[error("the service's data stays on its node")]
    LocalStorage,
}

/// Vets one action.
///
/// # Errors
/// The first promise that it would break.
pub fn vet(action: &Action, facts: &Facts, policy: &Policy, memory: &Memory, now: Timestamp) -> Result<(), Violation> {
    let swarm = facts.swarm().ok_or(Violation::Stale)?;
    if now.since(swarm.seen_at) > policy.metric_window {
        return Err(Violation::Stale);
    }
    if swarm.leader != Leader::Here || now.since(swarm.seen_at) > policy.leader_window {
        return Err(Violation::Standby);
    }
    let trigger = action.trigger();
    let service = swarm.services.get(&trigger.service).ok_or(Violation::NoService)?;
    let (policy, engagement, _) = service.labels.over(policy);
    if engagement != Engagement::Act {
        return Err(Violation::NotEnabled);
    }
    let wall = facts.wall(now);
    let hours = policy.quiet_hours.iter().any(|hours| hours.until(wall).is_some());
    if hours || facts.pauses.of(service.name.as_str(), wall).is_some() {
        return Err(Violation::Quiet);
    }
    if service.version != trigger.version {
        return Err(Violation::Version { planned: trigger.version, found: service.version });
    }
    if memory.in_flight(&trigger.service).is_some() || service.action_marked {
        return Err(Violation::Concurrent);
    }
    let unended = swarm.services.iter().filter(|(id, found)| found.action.is_some() && memory.in_flight(id).is_none());
    let (in_flight, within_hour) = (memory.in_flight_count() + unended.count(), memory.begun_within_hour(now));
    let limits = &policy.limits;
    if in_flight >= limits.actions_in_flight as usize || within_hour >= limits.actions_per_hour as usize {
        return Err(Violation::TooMany { in_flight, within_hour });
    }
    if service.update != UpdateState::Settled {
        return Err(Violation::UpdateInProgress);
    }
    let Mode::Replicated { replicas } = service.mode else { return Err(Violation::NotReplicated) };
    let running = service.running() as u64;
    if running < replicas {
        return Err(Violation::Below { running, wanted: replicas });
    }
    match action {
        Action::Migrate(migrate) => vet_migrate(migrate, swarm),
        Action::ScaleUp(scale) => vet_scale(scale, replicas, replicas.checked_add(1), &policy),
        Action::ScaleDown(_) if service.local_mount.is_some() => Err(Violation::LocalStorage),
        Action::ScaleDown(scale) => {
            let from = memory.scaled_from(&trigger.service, service);
            if from.is_none_or(|from| scale.to < from) && !service.labels.choose_minimum() {
                return Err(Violation::Reserve);
            }
            let publishes = |task: &&Task| task.is_running() && task.publishes;
            let published = service.tasks.values().filter(publishes).count();
            if published > 0 && published < service.running() {
                return Err(Violation::WithoutPorts);
            }
            vet_scale(scale, replicas, replicas.checked_sub(1), &policy)
        }
    }
}

fn vet_scale(scale: &Scale, found: u64, expected: Option<u64>, policy: &Policy) -> Result<(), Violation> {
    let Scale { from, to, .. } = *scale;
    let (min, max) = (policy.scaling.min_replicas.max(1), policy.scaling.max_replicas);
    // A service that has more than its maximum may come down to it, and one below its minimum up to it.
    let within = if to > from { to <= max } else { to >= min };
    if from == found && expected == Some(to) && within {
        Ok(())
    } else {
        Err(Violation::Replicas { from, to, found, min, max })
    }
}

fn vet_migrate(migrate: &Migrate, swarm: &Swarm) -> Result<(), Violation> {
    let service = swarm.services.get(&migrate.trigger.service).ok_or(Violation::NoService)?;
    if !service.has_placement {
        return Err(Violation::NoPlacement);
    }
    if service.local_mount.is_some() {
        return Err(Violation::LocalStorage);
    }
    let holds = |node: &NodeId| service.alive().any(|(_, task)| task.node.as_ref() == Some(node));
    if !migrate.exclude.contains(&migrate.source) || !holds(&migrate.source) || migrate.target == migrate.source {
        return Err(Violation::Source);
    }
    let target = &migrate.target;
    let fit = swarm.nodes.get(target).is_some_and(|found| found.ready && found.active);
    if !fit || migrate.exclude.contains(target) || holds(target) {
        return Err(Violation::Target { node: target.clone() });
    }
    match migrate.exclude.iter().find(|node| **node != migrate.source && holds(node)) {
        Some(node) => Err(Violation::Bystander { node: node.clone() }),
        None => Ok(()),
    }
}
