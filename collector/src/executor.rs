//! Carries out one action, from the first update to the user's spec put back. It chooses nothing.
//!
//! `begin → watch → end`, with a deadline: what is not running by then is backed out of, but only where Swarm is sure
//! to keep the healthy task and drop the other. The same watch and end serve an action that another collector began:
//! all they need is the mark in the service's labels.

use std::future::Future;
use std::time::Duration;

use swarmguard_planner::Action;
use swarmguard_planner::facts::Task;
use swarmguard_wire::{NodeId, ServiceId, TaskId, Timestamp};

use crate::clock::now;
use crate::journal::State;
use crate::swarm::{self, DockerSwarm, Mark, Progress, Retreat, SwarmError, WATCH_PAUSE, mark};

/// How long an update is tried again when someone changes the service at the same moment or the manager fails.
const UPDATE_MAX: Duration = Duration::from_secs(30);
const UPDATE_PAUSE: Duration = Duration::from_millis(200);

/// The mark is looked for at every so many looks at the tasks.
const LOOKS_PER_MARK: u32 = 10;

/// How long a retreat may take: stopping a task that never became healthy, within its stop grace period.
const RETREAT_MAX: Duration = Duration::from_secs(60);

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
    /// The planned target that a task now runs on.
    pub reached: Option<NodeId>,
}

impl Ended {
    fn begun(called_at: Option<Timestamp>) -> Self {
        Self {
            state: State::Running,
            detail: None,
            called_at,
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
        if progress.is_done() {
            self.gone_at.get_or_insert(at);
        }
    }
}

/// Carries out a planned action.
pub async fn execute(docker: &DockerSwarm, action: &Action, mut mark: Mark, deadline: Duration) -> Ended {
    let service = &action.trigger().service;
    let called_at = now();
    mark.times.t4 = Some(called_at);
    let ended = Ended::begun(Some(called_at));
    match docker.begin(action, &mut mark).await {
        Ok(()) => finish(docker, service, &mark, deadline, ended).await,
        // Swarm may have taken an update whose answer was lost; the mark would tell.
        Err(error @ SwarmError::Raw { .. }) => match docker.mark(service).await {
            Ok(Some(found)) if found.id == mark.id => finish(docker, service, &mark, deadline, ended).await,
            Ok(_) => ended.with(State::Refused, describe(&error)),
            // Whether it was taken is not known; the next look at the Swarm shows the mark, or none.
            Err(_) => ended.with(State::Unfinished, describe(&error)),
        },
        Err(error) => ended.with(State::Refused, describe(&error)),
    }
}

/// Takes over an action that was begun before, by whomever; it has the whole deadline again, since the clock of the
/// collector that began it is not this one's. `None` if there is none after all.
///
/// # Errors
/// When the mark cannot be read, or the service not be asked for.
pub async fn take_over(
    docker: &DockerSwarm,
    service: &ServiceId,
    deadline: Duration,
) -> Result<Option<(Mark, Ended)>, SwarmError> {
    let Some(mark) = docker.mark(service).await? else { return Ok(None) };
    let begun = Ended::begun(mark.times.t4);
    let ended = finish(docker, service, &mark, deadline, begun).await;
    Ok(Some((mark, ended)))
}

async fn finish(docker: &DockerSwarm, service: &ServiceId, mark: &Mark, deadline: Duration, mut ended: Ended) -> Ended {
    let retreat = match watch(docker, service, mark, deadline, &mut ended).await {
        Watched::Done => return end(docker, service, mark, false, ended.with(State::Completed, None)).await,
        Watched::Superseded(why) => return ended.with(State::Superseded, why),
        Watched::Changed => {
            let changed = "someone else changed the service: what was ours is taken out, the rest is theirs";
            return end(docker, service, mark, false, ended.with(State::Superseded, changed.to_owned())).await;
        }
        Watched::Silent => return ended.with(State::Unfinished, "the manager does not answer".to_owned()),
        Watched::Deadline(retreat) => retreat,
    };
    let late = format!("what was asked for did not run within {} s", deadline.as_secs());
    match retreat {
        Retreat::Clear => end(docker, service, mark, true, ended.with(State::Reverted, late)).await,
        Retreat::From(nodes) => match back_out(docker, service, mark, &nodes).await {
            Ok(()) => end(docker, service, mark, true, ended.with(State::Reverted, late)).await,
            Err(why) => ended.with(State::Unfinished, format!("{late}, and it is not backed out of yet: {why}")),
        },
        Retreat::Unsafe => {
            let left = format!("{late}; it is left to Swarm, since taking it back could take a healthy task with it");
            end(docker, service, mark, false, ended.with(State::Left, left)).await
        }
        // A migration that cannot be taken back safely goes on: the old tasks run until the new one does.
        Retreat::Wait => ended.with(State::Unfinished, format!("{late}; it goes on, the old task runs meanwhile")),
    }
}

/// Puts the user's spec back.
async fn end(docker: &DockerSwarm, service: &ServiceId, mark: &Mark, revert: bool, ended: Ended) -> Ended {
    let update = || async {
        // Between two attempts a replacement may have been given a node: then putting the spec back is not safe any more.
        if revert && retreat(docker, service, mark).await? != Retreat::Clear {
            return Err(SwarmError::Moving);
        }
        docker.end(service, &mark.id, revert).await
    };
    match attempts(update).await {
        Ok(()) => ended,
        Err(error @ (SwarmError::Superseded | SwarmError::Gone)) => ended.with(State::Superseded, describe(&error)),
        Err(error) => {
            let detail = format!("the user's spec could not be put back yet: {}", describe(&error));
            ended.with(State::Unfinished, detail)
        }
    }
}

async fn retreat(docker: &DockerSwarm, service: &ServiceId, mark: &Mark) -> Result<Retreat, SwarmError> {
    let tasks = docker.tasks(service).await?;
    Ok(swarm::retreat(mark, tasks.iter().map(|(_, task)| task)))
}

/// Keeps tasks off the nodes where the replacements did not become healthy, and waits until these are gone and as many
/// tasks run as before. Only then is it safe to put the spec back: with both tasks of a slot in line with the spec,
/// SwarmKit keeps whichever it finds first.
async fn back_out(docker: &DockerSwarm, service: &ServiceId, mark: &Mark, nodes: &[NodeId]) -> Result<(), String> {
    let updated = attempts(|| docker.back_out(service, &mark.id, nodes)).await;
    updated.map_err(|error| describe(&error))?;
    let begun = now();
    while now().since(begun) < RETREAT_MAX {
        if let Ok(tasks) = docker.tasks(service).await {
            let running = tasks.iter().filter(|(_, task)| task.is_running()).count() as u64;
            let there = |task: &Task| task.node.as_ref().is_some_and(|node| nodes.contains(node));
            let to_come = tasks.iter().any(|(_, task)| task.is_unready() && there(task));
            if running >= mark.replicas && !to_come {
                return Ok(());
            }
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
    Err(format!("the tasks that did not become healthy are still there after {} s", RETREAT_MAX.as_secs()))
}

/// Tries an update until it neither loses against someone else's nor fails on the way, for [`UPDATE_MAX`] at most.
async fn attempts<F>(update: impl Fn() -> F) -> Result<(), SwarmError>
where
    F: Future<Output = Result<(), SwarmError>>,
{
    let begun = now();
    loop {
        let failed = match update().await {
            Err(error @ (SwarmError::Version { .. } | SwarmError::Docker { .. } | SwarmError::Raw { .. })) => error,
            done => return done,
        };
        if now().since(begun) > UPDATE_MAX {
            return Err(failed);
        }
        tokio::time::sleep(UPDATE_PAUSE).await;
    }
}

enum Watched {
    Done,
    /// No look at the tasks succeeded for as long as an action may take.
    Silent,
    Deadline(Retreat),
    /// Someone changed the spec and left the mark in it. Our constraints must not stand in the way of their update.
    Changed,
    Superseded(String),
}

async fn watch(
    docker: &DockerSwarm,
    service: &ServiceId,
    mark: &Mark,
    deadline: Duration,
    ended: &mut Ended,
) -> Watched {
    let begun = now();
    let mut looked_at = begun;
    let mut look = 0_u32;
    // Taking our part out is safe: nothing that is not healthy could be kept for what is.
    let mut clear = false;
    loop {
        // An answer that does not come is not progress, and no ground to take anything back on.
        if let Ok(tasks) = docker.tasks(service).await {
            let at = now();
            let progress = swarm::progress(mark, tasks.iter().map(|(_, task)| task));
            clear = swarm::retreat(mark, tasks.iter().map(|(_, task)| task)) == Retreat::Clear;
            ended.saw(progress, at.since(looked_at), at);
            looked_at = at;
            if progress.is_done() {
                ended.reached = reached(mark, &tasks);
                return Watched::Done;
            }
            if at.since(begun) > deadline && progress.is_decided() {
                // The move stands; an old task takes its time to finish what it does.
                ended.reached = reached(mark, &tasks);
                return Watched::Done;
            }
            if at.since(begun) > deadline {
                return Watched::Deadline(swarm::retreat(mark, tasks.iter().map(|(_, task)| task)));
            }
        }
        if now().since(looked_at) > deadline {
            return Watched::Silent;
        }
        if look.is_multiple_of(LOOKS_PER_MARK) {
            match docker.marked(service).await {
                Ok(Some(found)) if found.mark.id == mark.id => {
                    if found.changed && clear {
                        return Watched::Changed;
                    }
                }
                Ok(_) => return Watched::Superseded(describe(&SwarmError::Superseded)),
                Err(error @ (SwarmError::Gone | SwarmError::Unreadable)) => {
                    return Watched::Superseded(describe(&error));
                }
                Err(_) => {}
            }
        }
        look = look.wrapping_add(1);
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// The planned target, if a task runs on it now.
fn reached(mark: &Mark, tasks: &[(TaskId, Task)]) -> Option<NodeId> {
    let mark::Change::Migrate { target, .. } = &mark.change else { return None };
    let runs_there = tasks.iter().any(|(_, task)| task.is_running() && task.node.as_ref() == Some(target));
    runs_there.then(|| target.clone())
}

fn describe(error: &SwarmError) -> String {
    swarmguard_daemon::presence::chain(error)
}
