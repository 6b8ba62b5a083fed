//! The Swarm: its state as facts, and the few changes that are ever made to a service.
//!
//! - [`mark`]: the note in a service's labels that says which action is under way and how to undo it
//! - [`migrate`], [`scale`]: when each kind of action is done, as pure functions over tasks
//! - [`spec`]: what is changed in a service's spec and changed back, as pure functions over the manager's own JSON
//! - [`docker`]: the manager's API; the only module that knows bollard

pub mod mark;

pub mod migrate;
pub mod scale;
pub mod spec;

pub mod docker;

use std::time::Duration;

use swarmguard_planner::facts::Task;
use swarmguard_wire::NodeId;

pub use docker::{DockerSwarm, SwarmError};
pub use mark::Mark;

/// How often tasks are asked for while an action runs: T5 and T6 are known to within it.
pub const WATCH_PAUSE: Duration = Duration::from_millis(50);

/// How far an action has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What was asked for runs, and is healthy where there is a health check.
    pub replacement_running: bool,
    /// Nothing of what was to go is meant to stay.
    pub old_leaving: bool,
    /// Nothing is left of what was to go.
    pub old_gone: bool,
    /// Tasks that run and are meant to.
    pub running: u64,
}

impl Progress {
    /// Whether nothing more has to be done, although something may still be on its way out.
    pub fn is_decided(&self) -> bool {
        self.replacement_running && self.old_leaving
    }

    /// Whether nothing more is to come.
    pub fn is_done(&self) -> bool {
        self.replacement_running && self.old_gone
    }
}

/// How an action that did not come to its end in time can be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retreat {
    /// Putting the spec back is enough: nothing that was begun has a node yet, so Swarm drops that first.
    Clear,
    /// The replacements on these nodes have to go first.
    From(Vec<NodeId>),
    /// Taking it back could take a healthy task; leaving it takes none.
    Unsafe,
    /// Of several tasks that move to one node some run there already and some do not: taking it back could take a healthy
    /// one, and so could putting the spec back. It has to go on.
    Wait,
}

impl Retreat {
    /// Whether nothing that Swarm could keep for a healthy task is left once no task may be on these nodes.
    pub fn goes_with(&self, nodes: &[NodeId]) -> bool {
        match self {
            Self::Clear => true,
            Self::From(unready) => unready.iter().all(|node| nodes.contains(node)),
            Self::Unsafe | Self::Wait => false,
        }
    }
}

/// How the action of `mark` can be taken back; on the nodes `unreached` something runs that nobody reaches.
pub fn retreat<'a>(mark: &Mark, unreached: &[NodeId], tasks: impl Iterator<Item = &'a Task> + Clone) -> Retreat {
    match &mark.change {
        mark::Change::Migrate { source, .. } => {
            // What nobody reaches there stays, and could be kept for a healthy one as soon as the spec is as it was.
            let counts_source = mark.allows_source() || unreached.contains(source);
            migrate::retreat(source, counts_source, tasks)
        }
        mark::Change::ScaleUp { .. } => scale::retreat(tasks),
        // The replica is being stopped already: taking that back would start another one.
        mark::Change::ScaleDown { .. } => Retreat::Unsafe,
    }
}

/// How far the action of `mark` has come.
pub fn progress<'a>(mark: &Mark, tasks: impl Iterator<Item = &'a Task> + Clone) -> Progress {
    match &mark.change {
        mark::Change::Migrate { source, .. } => migrate::progress(source, mark.replicas, tasks),
        mark::Change::ScaleUp { to } => scale::progress_up(*to, tasks),
        mark::Change::ScaleDown { to } => scale::progress_down(*to, tasks),
    }
}
