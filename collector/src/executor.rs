//! Carries out one action, from the first update to the user's spec put back. It chooses nothing.
//!
//! `begin → watch → end`, with a deadline: what is not running by then is taken back. The same watch and end serve an
//! action that another collector began: all they need is the mark in the service's labels.

use std::time::Duration;

use swarmguard_planner::Action;
use swarmguard_wire::{ServiceId, Timestamp};

use crate::clock::now;
use crate::journal::State;
use crate::swarm::{self, DockerSwarm, Mark, Progress, SwarmError, WATCH_PAUSE, mark};

/// Attempts at putting the user's spec back when someone changes the service at the same moment.
const END_ATTEMPTS: u32 = 20;
const END_PAUSE: Duration = Duration::from_millis(200);

/// The mark is looked for at every so many looks at the tasks.
const LOOKS_PER_MARK: u32 = 10;

/// How an action ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// What came of it.
    pub state: State,
    /// More about that.
    pub detail: Option<String>,
    /// T4: Docker was called.
    pub called_at: Option<Timestamp>,
    /// T5: what was asked for runs.
    pub running_at: Option<Timestamp>,
    /// T6: what was to go is gone.
    pub gone_at: Option<Timestamp>,
    /// Fewest tasks seen running meanwhile.
    pub running_min: Option<u64>,
    /// Time in which no task was seen running.
    pub downtime: Duration,
    /// The node of the newest task that runs off the source.
    pub reached: Option<swarmguard_wire::NodeId>,
}

impl Ended {
    fn new() -> Self {
        Self {
            state: State::Running,
            detail: None,
            called_at: None,
            running_at: None,
            gone_at: None,
            running_min: None,
            downtime: Duration::ZERO,
            reached: None,
        }
    }

    fn with(mut self, state: State, detail: impl Into<Option<String>>) -> Self {
        self.state = state;
        self.detail = detail.into();
        self
    }

    fn saw(&mut self, progress: Progress, since_last: Duration, at: Timestamp) {
        self.running_min = Some(self.running_min.map_or(progress.running, |min| min.min(progress.running)));
        if progress.running == 0 {
            self.downtime += since_last;
        }
        if progress.replacement_running {
            self.running_at.get_or_insert(at);
        }
        if progress.replacement_running && progress.old_gone {
            self.gone_at.get_or_insert(at);
        }
    }
}

/// Carries out a planned action.
pub async fn execute(docker: &DockerSwarm, action: &Action, mut mark: Mark, deadline: Duration) -> Ended {
    let mut ended = Ended::new();
    let service = &action.trigger().service;
    ended.called_at = Some(now());
    match docker.begin(action, &mut mark).await {
        Ok(()) => finish(docker, service, &mark, deadline, ended).await,
        // Swarm may have taken an update whose answer was lost; the mark would tell.
        Err(error @ SwarmError::Docker { .. }) => match docker.mark(service).await {
            Ok(Some(found)) if found.id == mark.id => finish(docker, service, &mark, deadline, ended).await,
            Ok(_) | Err(_) => ended.with(State::Refused, describe(&error)),
        },
        Err(error) => ended.with(State::Refused, describe(&error)),
    }
}

/// Takes over an action that was begun before, by whomever.
pub async fn take_over(docker: &DockerSwarm, service: &ServiceId, deadline: Duration) -> Option<(Mark, Ended)> {
    let mark = docker.mark(service).await.ok().flatten()?;
    let mut ended = Ended::new();
    ended.called_at = Some(mark.begun_at);
    let ended = finish(docker, service, &mark, deadline, ended).await;
    Some((mark, ended))
}

async fn finish(docker: &DockerSwarm, service: &ServiceId, mark: &Mark, deadline: Duration, mut ended: Ended) -> Ended {
    let watched = watch(docker, service, mark, deadline, &mut ended).await;
    let (state, detail) = match watched {
        Watched::Done => (State::Completed, None),
        Watched::Deadline => {
            let text = format!("what was asked for did not run within {} s", deadline.as_secs());
            (State::Reverted, Some(text))
        }
        Watched::Superseded(why) => return ended.with(State::Superseded, why),
    };
    let revert = state == State::Reverted;
    for _ in 0..END_ATTEMPTS {
        match docker.end(service, &mark.id, revert).await {
            Ok(()) => return ended.with(state, detail),
            Err(error @ (SwarmError::Superseded | SwarmError::Gone)) => {
                return ended.with(State::Superseded, describe(&error));
            }
            Err(error @ (SwarmError::Spec { .. } | SwarmError::Address { .. })) => {
                return ended.with(State::Unfinished, describe(&error));
            }
            Err(SwarmError::Version { .. } | SwarmError::Docker { .. }) => tokio::time::sleep(END_PAUSE).await,
        }
    }
    ended.with(State::Unfinished, "the user's spec could not be put back yet".to_owned())
}

enum Watched {
    Done,
    Deadline,
    Superseded(String),
}

async fn watch(
    docker: &DockerSwarm,
    service: &ServiceId,
    mark: &Mark,
    deadline: Duration,
    ended: &mut Ended,
) -> Watched {
    let mut looked_at = now();
    for look in 1_u32.. {
        // An answer that does not come is not progress; the deadline goes on.
        if let Ok(tasks) = docker.tasks(service).await {
            let at = now();
            let progress = swarm::progress(mark, tasks.iter().map(|(_, task)| task));
            ended.saw(progress, at.since(looked_at), at);
            looked_at = at;
            if progress.replacement_running && progress.old_gone {
                ended.reached = reached(mark, &tasks);
                return Watched::Done;
            }
        }
        if now().since(mark.begun_at) > deadline {
            return Watched::Deadline;
        }
        if look % LOOKS_PER_MARK == 0 {
            match docker.mark(service).await {
                Ok(Some(found)) if found.id == mark.id => {}
                Ok(_) => return Watched::Superseded(describe(&SwarmError::Superseded)),
                Err(error @ SwarmError::Gone) => return Watched::Superseded(describe(&error)),
                Err(_) => {}
            }
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
    Watched::Deadline
}

/// The planned target that a task now runs on; where several were possible, one that Swarm chose.
fn reached(
    mark: &Mark,
    tasks: &[(swarmguard_wire::TaskId, swarmguard_planner::facts::Task)],
) -> Option<swarmguard_wire::NodeId> {
    let mark::Change::Migrate { target, .. } = &mark.change else { return None };
    let runs_on = |node: &&swarmguard_wire::NodeId| {
        tasks.iter().any(|(_, task)| task.is_running() && task.node.as_ref() == Some(node))
    };
    target.iter().find(runs_on).cloned()
}

fn describe(error: &SwarmError) -> String {
    swarmguard_daemon::presence::chain(error)
}
