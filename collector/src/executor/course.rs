//! The course of one action as a state machine: what is to be asked of Swarm next, given what it has answered.
//!
//! Neither I/O nor a clock, so that a simulation goes through the very same steps. `begin → watch → end`, with a deadline:
//! what is not running by then is backed out of, but only where Swarm is sure to keep the healthy task and drop the other.

use std::mem;
use std::time::Duration;

use swarmguard_planner::Action;
use swarmguard_planner::facts::Task;
use swarmguard_planner::planted::{Bug, has};
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use super::{Ended, describe};
use crate::journal::State;
use crate::swarm::{self, Mark, Retreat, SwarmError, WATCH_PAUSE, mark};

/// How long an update is tried again when someone changes the service at the same moment or the manager fails.
const UPDATE_MAX: Duration = Duration::from_secs(30);
const UPDATE_PAUSE: Duration = Duration::from_millis(200);

/// Tasks that were asked for longer ago than this say nothing about now.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(5);

/// The mark is looked for at every so many looks at the tasks.
const LOOKS_PER_MARK: u32 = 10;

/// How long a retreat may take: stopping a task that never became healthy, within its stop grace period.
const RETREAT_MAX: Duration = Duration::from_secs(60);

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Make the update that begins the action.
    Begin {
        /// The action.
        action: Box<Action>,
        /// Not after that: by then it may be for another collector to act.
        by: Timestamp,
    },
    /// Read the mark in the service's labels.
    ReadMark,
    /// Read the service's tasks.
    ReadTasks,
    /// Put the user's spec back; `revert` also takes back a replica that was added.
    End {
        /// Whether the action is taken back.
        revert: bool,
    },
    /// Keep tasks off these nodes instead of off the source.
    BackOut {
        /// Where replacements did not become healthy.
        nodes: Vec<NodeId>,
    },
    /// Wait.
    Pause(Duration),
    /// Nothing more.
    Done(Box<Ended>),
}

/// What came of a step.
#[derive(Debug)]
pub enum Answer {
    /// Of an update.
    Updated(Result<(), SwarmError>),
    /// The mark that was found, if any.
    Mark(Result<Option<Box<mark::Marked>>, SwarmError>),
    /// The service's tasks.
    Tasks(Result<Vec<(TaskId, Task)>, SwarmError>),
    /// It was waited.
    Paused,
}

/// An action under way.
#[derive(Debug)]
pub struct Course {
    mark: Mark,
    deadline: Duration,
    ended: Ended,
    phase: Phase,
    /// When the last step was given.
    asked_at: Option<Timestamp>,
}

#[derive(Debug)]
enum Phase {
    /// The update that begins it is under way.
    Beginning,
    /// It got no answer; the mark tells whether it was taken.
    Doubting(SwarmError),
    Watching(Watch),
    Ending(Ending),
    BackingOut(BackOut),
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    begun: Timestamp,
    looked_at: Timestamp,
    look: u32,
    /// Taking our part out is safe, as far as the last look showed.
    clear: bool,
}

/// The user's spec is being put back.
#[derive(Debug)]
struct Ending {
    begun: Timestamp,
    revert: bool,
    /// It is ended before it has come to its end, for somebody else: where that is not safe any more, it is watched on.
    instead_of: Option<Watch>,
    state: State,
    detail: Option<String>,
}

/// The replacements have to go before the spec can be put back. Only then is that safe: with both tasks of a slot in line
/// with the spec, SwarmKit keeps whichever it finds first.
#[derive(Debug)]
struct BackOut {
    begun: Timestamp,
    nodes: Vec<NodeId>,
    /// The update is taken: what is to go is waited for.
    waiting: bool,
    late: String,
}

impl Course {
    /// Of an action that is to begin, and its first step.
    pub fn begin(action: Action, mark: Mark, deadline: Duration, by: Timestamp) -> (Self, Step) {
        let ended = Ended::begun(mark.times.t4);
        (
            Self { mark, deadline, ended, phase: Phase::Beginning, asked_at: None },
            Step::Begin { action: Box::new(action), by },
        )
    }

    /// Of one that was begun before, by whomever, and its first step; it has the whole deadline again, since the clock of
    /// the collector that began it is not this one's.
    pub fn take_over(mark: Mark, deadline: Duration, now: Timestamp) -> (Self, Step) {
        let ended = Ended::begun(mark.times.t4);
        let mut course = Self { mark, deadline, ended, phase: Phase::Over, asked_at: Some(now) };
        let step = course.watch(now);
        (course, step)
    }

    /// What is to be done after this answer to the last step.
    pub fn next(&mut self, answer: Answer, now: Timestamp) -> Step {
        // Whoever was asleep between question and answer has tasks in hand as they were before: that is no answer.
        let is_old = self.asked_at.is_some_and(|asked| now.since(asked) > ANSWER_AGE_MAX);
        let is_of_tasks = matches!(answer, Answer::Tasks(Ok(_)));
        let answer = if is_of_tasks && is_old { Answer::Tasks(Err(SwarmError::Late)) } else { answer };
        self.asked_at = Some(now);
        match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Beginning => self.begun(answer, now),
            Phase::Doubting(error) => self.doubt(error, answer, now),
            Phase::Watching(watch) => self.watched(watch, answer, now),
            Phase::Ending(ending) => self.ending(ending, answer, now),
            Phase::BackingOut(back_out) => self.backing_out(back_out, answer, now),
            Phase::Over => self.done(State::Unfinished, None),
        }
    }

    /// The action's identifier.
    pub fn id(&self) -> &str {
        &self.mark.id
    }

    /// The mark of the action, which the first update writes.
    pub fn mark_mut(&mut self) -> &mut Mark {
        &mut self.mark
    }

    fn done(&mut self, state: State, detail: impl Into<Option<String>>) -> Step {
        Step::Done(Box::new(Ended { state, detail: detail.into(), ..self.ended.clone() }))
    }

    fn begun(&mut self, answer: Answer, now: Timestamp) -> Step {
        match answer {
            Answer::Updated(Ok(())) => self.watch(now),
            // Swarm may have taken an update whose answer was lost; the mark would tell.
            Answer::Updated(Err(error @ SwarmError::Raw { .. })) => {
                self.phase = Phase::Doubting(error);
                Step::ReadMark
            }
            Answer::Updated(Err(error)) => self.done(State::Refused, describe(&error)),
            Answer::Mark(_) | Answer::Tasks(_) | Answer::Paused => self.done(State::Unfinished, None),
        }
    }

    fn doubt(&mut self, error: SwarmError, answer: Answer, now: Timestamp) -> Step {
        match answer {
            Answer::Mark(Ok(Some(found))) if found.mark.id == self.mark.id => self.watch(now),
            Answer::Mark(Ok(_)) => self.done(State::Refused, describe(&error)),
            // Whether it was taken is not known; the next look at the Swarm shows the mark, or none.
            Answer::Mark(Err(_)) | Answer::Updated(_) | Answer::Tasks(_) | Answer::Paused => {
                self.done(State::Unfinished, describe(&error))
            }
        }
    }

    fn watch(&mut self, now: Timestamp) -> Step {
        self.phase = Phase::Watching(Watch { begun: now, looked_at: now, look: 0, clear: false });
        Step::ReadTasks
    }

    fn watched(&mut self, mut watch: Watch, answer: Answer, now: Timestamp) -> Step {
        match answer {
            Answer::Tasks(tasks) => {
                // An answer that does not come is not progress, and no ground to take anything back on.
                watch.clear = false;
                if let Ok(tasks) = tasks
                    && let Some(step) = self.saw_tasks(&mut watch, &tasks, now)
                {
                    return step;
                }
                if now.since(watch.looked_at) > self.deadline {
                    return self.done(State::Unfinished, "the manager does not answer".to_owned());
                }
                let is_mark_due = watch.look.is_multiple_of(LOOKS_PER_MARK);
                self.phase = Phase::Watching(watch);
                if is_mark_due { Step::ReadMark } else { Step::Pause(WATCH_PAUSE) }
            }
            Answer::Mark(found) => {
                match found {
                    Ok(Some(found)) if found.mark.id == self.mark.id => {
                        // Our constraints must not stand in the way of somebody else's update.
                        if found.changed && watch.clear {
                            let why =
                                "someone else changed the service: what was ours is taken out, the rest is theirs";
                            let (state, detail) = (State::Superseded, Some(why.to_owned()));
                            let instead_of = Some(watch);
                            return self.attempt(Ending { begun: now, revert: false, instead_of, state, detail });
                        }
                    }
                    Ok(_) => return self.done(State::Superseded, describe(&SwarmError::Superseded)),
                    Err(error @ (SwarmError::Gone | SwarmError::Unreadable)) => {
                        return self.done(State::Superseded, describe(&error));
                    }
                    Err(_) => {}
                }
                self.phase = Phase::Watching(watch);
                Step::Pause(WATCH_PAUSE)
            }
            Answer::Paused | Answer::Updated(_) => {
                watch.look = watch.look.wrapping_add(1);
                self.phase = Phase::Watching(watch);
                Step::ReadTasks
            }
        }
    }

    /// What follows from the tasks; nothing while it is to be waited on.
    fn saw_tasks(&mut self, watch: &mut Watch, tasks: &[(TaskId, Task)], now: Timestamp) -> Option<Step> {
        let progress = swarm::progress(&self.mark, tasks.iter().map(|(_, task)| task));
        let retreat = swarm::retreat(&self.mark, tasks.iter().map(|(_, task)| task));
        watch.clear = self.may_yield(&retreat);
        self.ended.saw(progress, now.since(watch.looked_at), now);
        watch.looked_at = now;
        let is_late = now.since(watch.begun) > self.deadline;
        // A move that is decided stands, though an old task may take its time to finish what it does.
        if progress.is_done() || has(Bug::EndsTooEarly) || is_late && progress.is_decided() {
            self.ended.reached = self.reached(tasks);
            return Some(self.end(State::Completed, None, false, now));
        }
        is_late.then(|| self.retreat(retreat, now))
    }

    fn retreat(&mut self, retreat: Retreat, now: Timestamp) -> Step {
        let late = format!("what was asked for did not run within {} s", self.deadline.as_secs());
        match retreat {
            Retreat::Clear => self.end(State::Reverted, late, true, now),
            Retreat::From(_) if has(Bug::RevertsAtOnce) => self.end(State::Reverted, late, true, now),
            Retreat::From(nodes) => {
                let step = Step::BackOut { nodes: nodes.clone() };
                self.phase = Phase::BackingOut(BackOut { begun: now, nodes, waiting: false, late });
                step
            }
            Retreat::Unsafe => {
                let left =
                    format!("{late}; it is left to Swarm, since taking it back could take a healthy task with it");
                self.end(State::Left, left, false, now)
            }
            // A migration that cannot be taken back safely goes on: the old tasks run until the new one does.
            Retreat::Wait => self.done(State::Unfinished, format!("{late}; it goes on, the old task runs meanwhile")),
        }
    }

    fn end(&mut self, state: State, detail: impl Into<Option<String>>, revert: bool, now: Timestamp) -> Step {
        let ending = Ending { begun: now, revert, instead_of: None, state, detail: detail.into() };
        self.attempt(ending)
    }

    fn attempt(&mut self, ending: Ending) -> Step {
        let revert = ending.revert;
        // Between two attempts a replacement may have been given a node: then putting the spec back is not safe any more.
        let look = revert && !has(Bug::RevertsAtOnce) || ending.instead_of.is_some();
        self.phase = Phase::Ending(ending);
        if look { Step::ReadTasks } else { Step::End { revert } }
    }

    fn ending(&mut self, ending: Ending, answer: Answer, now: Timestamp) -> Step {
        let failed = match answer {
            Answer::Tasks(Ok(tasks)) => {
                let retreat = swarm::retreat(&self.mark, tasks.iter().map(|(_, task)| task));
                let revert = ending.revert;
                match ending.instead_of {
                    Some(watch) if !self.may_yield(&retreat) => {
                        self.phase = Phase::Watching(watch);
                        return Step::Pause(WATCH_PAUSE);
                    }
                    None if retreat != Retreat::Clear => SwarmError::Moving,
                    Some(_) | None => {
                        self.phase = Phase::Ending(ending);
                        return Step::End { revert };
                    }
                }
            }
            Answer::Updated(Ok(())) => return self.done(ending.state, ending.detail),
            Answer::Updated(Err(error)) | Answer::Tasks(Err(error)) => error,
            Answer::Paused | Answer::Mark(_) => return self.attempt(ending),
        };
        if matches!(failed, SwarmError::Superseded | SwarmError::Gone) {
            return self.done(State::Superseded, describe(&failed));
        }
        if is_passing(&failed) && now.since(ending.begun) <= UPDATE_MAX {
            self.phase = Phase::Ending(ending);
            return Step::Pause(UPDATE_PAUSE);
        }
        let detail = format!("the user's spec could not be put back yet: {}", describe(&failed));
        self.done(State::Unfinished, detail)
    }

    fn backing_out(&mut self, mut back_out: BackOut, answer: Answer, now: Timestamp) -> Step {
        let BackOut { late, .. } = &back_out;
        match answer {
            Answer::Updated(Ok(())) => {
                (back_out.waiting, back_out.begun) = (true, now);
                self.phase = Phase::BackingOut(back_out);
                Step::ReadTasks
            }
            Answer::Updated(Err(error)) if is_passing(&error) && now.since(back_out.begun) <= UPDATE_MAX => {
                self.phase = Phase::BackingOut(back_out);
                Step::Pause(UPDATE_PAUSE)
            }
            Answer::Updated(Err(error)) => {
                self.done(State::Unfinished, format!("{late}, and it is not backed out of yet: {}", describe(&error)))
            }
            Answer::Tasks(tasks) => {
                if tasks.is_ok_and(|tasks| Self::is_back(&tasks, &back_out.nodes)) {
                    return self.end(State::Reverted, back_out.late, true, now);
                }
                if now.since(back_out.begun) >= RETREAT_MAX {
                    let seconds = RETREAT_MAX.as_secs();
                    let why = format!("the tasks that did not become healthy are still there after {seconds} s");
                    return self.done(State::Unfinished, format!("{late}, and it is not backed out of yet: {why}"));
                }
                self.phase = Phase::BackingOut(back_out);
                Step::Pause(WATCH_PAUSE)
            }
            Answer::Paused | Answer::Mark(_) => {
                let step =
                    if back_out.waiting { Step::ReadTasks } else { Step::BackOut { nodes: back_out.nodes.clone() } };
                self.phase = Phase::BackingOut(back_out);
                step
            }
        }
    }

    /// Taking our part out is safe: nothing that is not healthy could be kept for what is. Of a scaling it is but the mark.
    fn may_yield(&self, retreat: &Retreat) -> bool {
        *retreat == Retreat::Clear || !matches!(self.mark.change, mark::Change::Migrate { .. })
    }

    /// Nothing is to come on these nodes any more that Swarm could keep for a healthy task.
    fn is_back(tasks: &[(TaskId, Task)], nodes: &[NodeId]) -> bool {
        let there = |task: &Task| task.node.as_ref().is_some_and(|node| nodes.contains(node));
        let all = || tasks.iter().map(|(_, task)| task);
        !all().any(|task| there(task) && swarm::migrate::is_beside_a_healthy_one(task, all()))
    }

    /// The planned target, if a task runs on it now.
    fn reached(&self, tasks: &[(TaskId, Task)]) -> Option<NodeId> {
        let mark::Change::Migrate { target, .. } = &self.mark.change else { return None };
        let runs_there = tasks.iter().any(|(_, task)| task.is_running() && task.node.as_ref() == Some(target));
        runs_there.then(|| target.clone())
    }
}

/// Whether the same may well be taken a moment later.
fn is_passing(error: &SwarmError) -> bool {
    matches!(error, SwarmError::Version { .. } | SwarmError::Docker { .. } | SwarmError::Raw { .. } | SwarmError::Late)
}

#[cfg(test)]
mod tests;
