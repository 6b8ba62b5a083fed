//! Carries out one action, from the first update to the user's spec put back. It chooses nothing.
//!
//! What is asked of Swarm next is for [`course`] to say; here it is asked. The same course serves an action that another
//! collector began: all it needs is the mark in the service's labels.

pub mod course;

use std::time::Duration;

use swarmguard_planner::Action;
use swarmguard_wire::{NodeId, ServiceId, Timestamp};
use tokio::sync::watch;

use crate::clock::now;
use crate::journal::State;
use crate::swarm::{DockerSwarm, Mark, Progress, SwarmError};
use course::{Answer, Course, Step};

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
    /// The node that what was moved now runs on.
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

/// Where an action is carried out, and for how long.
pub struct Stage {
    /// The Swarm.
    pub docker: DockerSwarm,
    /// Nothing is changed after that: by then it may be for another collector to act.
    pub leads_until: watch::Receiver<Timestamp>,
    /// An action has so long to come to its end.
    pub deadline: Duration,
}

/// Carries out a planned action.
pub async fn execute(stage: &Stage, action: Action, mut mark: Mark) -> Ended {
    let service = action.trigger().service.clone();
    mark.times.t4 = Some(now());
    let (course, step) = Course::begin(action, mark, stage.deadline);
    run(stage, &service, course, step).await
}

/// Goes on with an action that was begun before, by whomever, and has this mark.
pub async fn take_over(stage: &Stage, service: &ServiceId, mark: Mark) -> Ended {
    let (course, step) = Course::take_over(mark, stage.deadline, now());
    run(stage, service, course, step).await
}

async fn run(stage: &Stage, service: &ServiceId, mut course: Course, mut step: Step) -> Ended {
    let docker = &stage.docker;
    loop {
        let leads_until = *stage.leads_until.borrow();
        let answer = match step {
            late if late.is_late(leads_until, now()) => Answer::Updated(Err(SwarmError::Late)),
            Step::Begin { action } => within(leads_until, docker.begin(&action, course.mark_mut())).await,
            Step::ReadMark => Answer::Mark(docker.marked(service).await.map(|found| found.map(Box::new))),
            Step::ReadTasks => Answer::Tasks(docker.tasks(service).await),
            Step::ReadNode(node) => Answer::Node(docker.is_ready(&node).await),
            Step::End(end) => within(leads_until, docker.end(service, course.id(), end)).await,
            Step::BackOut { nodes, remade } => {
                let off = nodes.iter().map(|node| node.as_str()).collect::<Vec<_>>().join(", ");
                tracing::info!(%service, action = course.id(), off, "does not go as planned: other nodes are kept off");
                within(leads_until, docker.back_out(service, course.id(), &nodes, remade)).await
            }
            Step::Pause(length) => {
                tokio::time::sleep(length).await;
                Answer::Paused
            }
            Step::Done(ended) => return *ended,
        };
        step = course.next(answer, now());
    }
}

/// An update that is not through by then is given up: whether it was taken is not known.
async fn within(leads_until: Timestamp, update: impl Future<Output = Result<(), SwarmError>>) -> Answer {
    let done = tokio::time::timeout(leads_until.since(now()), update).await;
    Answer::Updated(done.unwrap_or_else(|_| Err(SwarmError::no_answer())))
}

fn describe(error: &SwarmError) -> String {
    swarmguard_daemon::presence::chain(error)
}
