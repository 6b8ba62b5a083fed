//! The course of one action as a state machine: what is to be asked of Swarm next, given what it has answered.
//!
//! Neither I/O nor a clock, so that a simulation goes through the very same steps. `begin → watch → end`, with a deadline:
//! what is not running by then is backed out of, but only where Swarm is sure to keep the healthy task and drop the other.

mod ending;
mod redo;

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use swarmguard_planner::Action;
use swarmguard_planner::facts::{Task, TaskState};
use swarmguard_planner::planted::{Bug, has};
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use ending::{BackOut, Ending};
use redo::Redone;

use super::{Ended, describe};
use crate::journal::State;
use crate::swarm::spec::End;
use crate::swarm::{self, Mark, Retreat, SwarmError, WATCH_PAUSE, mark};

/// How long an update is tried again when someone changes the service at the same moment or the manager fails.
const UPDATE_MAX: Duration = Duration::from_secs(30);
const UPDATE_PAUSE: Duration = Duration::from_millis(200);

/// Tasks that were asked for longer ago than this say nothing about now.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(5);

/// The mark is looked for at every so many looks at the tasks.
const LOOKS_PER_MARK: u32 = 10;

/// How long a third node is waited for where a replacement runs that nobody reaches.
const REMADE_MAX: Duration = Duration::from_secs(10);

/// What is said of an action in whose middle somebody else changed the service.
const THEIRS: &str = "someone else changed the service: what was ours is taken out, the rest is theirs";

/// A task that has no node for so long is not on its way: nothing takes it.
const PLACED_MAX: Duration = Duration::from_secs(3);

/// How long a retreat may take: stopping a task that never became healthy, within its stop grace period.
const RETREAT_MAX: Duration = Duration::from_secs(60);

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Make the update that begins the action.
    Begin {
        /// The action.
        action: Box<Action>,
    },
    /// Read the mark in the service's labels.
    ReadMark,
    /// Read the service's tasks.
    ReadTasks,
    /// Ask whether Swarm hears from a node.
    ReadNode(NodeId),
    /// Put the user's spec back; `revert` also takes back a replica that was added.
    End(End),
    /// Keep tasks off these nodes, and off no others; off none where there are none.
    BackOut {
        /// Where replacements did not become healthy, or nobody reaches them.
        nodes: Vec<NodeId>,
    },
    /// Wait.
    Pause(Duration),
    /// Nothing more.
    Done(Box<Ended>),
}

impl Step {
    /// Whether it must not be done any more: it changes something, and by now that may be for another collector to do.
    pub fn is_late(&self, leads_until: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Begin { .. } | Self::End(_) | Self::BackOut { .. } => now > leads_until && !has(Bug::ChangesUnled),
            Self::ReadMark | Self::ReadTasks | Self::ReadNode(_) | Self::Pause(_) | Self::Done(_) => false,
        }
    }
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
    /// Whether Swarm hears from the node.
    Node(Result<bool, SwarmError>),
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
    /// Nodes on which a task ran, when last looked at, that nobody reaches.
    unreached: Vec<NodeId>,
    /// Somebody else has changed the service since it began.
    changed: bool,
    /// Swarm replaces tasks for that change.
    rolls_out: bool,
    /// A task that has a node was on its way to run, when last looked at.
    placed: bool,
    /// Tasks were on their way to run, those included that have just been made.
    coming: bool,
    /// Since when those that have no node wait for one.
    waiting: BTreeMap<TaskId, Timestamp>,
    /// Nodes that the last update keeps tasks off, should it be taken.
    kept_off: Vec<NodeId>,
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
    /// Nobody else had changed the service when nobody reached a replacement.
    is_ours: bool,
    redone: Redone,
    /// The same once the last update is taken.
    asked: Redone,
    /// Whether that one was taken is not known: it got no answer.
    is_unsure: bool,
    /// Since when Swarm hears from the source, or later.
    vacated_since: Option<Timestamp>,
    /// Since when nothing is left on the source, and no node takes what is to replace it.
    stranded_since: Option<Timestamp>,
}

impl Course {
    /// Of an action that is to begin, and its first step.
    pub fn begin(action: Action, mark: Mark, deadline: Duration) -> (Self, Step) {
        (Self::of(mark, deadline, Phase::Beginning, None), Step::Begin { action: Box::new(action) })
    }

    fn of(mark: Mark, deadline: Duration, phase: Phase, asked_at: Option<Timestamp>) -> Self {
        Self {
            deadline,
            ended: Ended::begun(mark.times.t4),
            mark,
            phase,
            asked_at,
            unreached: Vec::new(),
            changed: false,
            rolls_out: false,
            placed: false,
            coming: false,
            waiting: BTreeMap::new(),
            kept_off: Vec::new(),
        }
    }

    /// Of one that was begun before, by whomever, and its first step; it has the whole deadline again, since the clock of
    /// the collector that began it is not this one's.
    pub fn take_over(mark: Mark, deadline: Duration, now: Timestamp) -> (Self, Step) {
        let mut course = Self::of(mark, deadline, Phase::Over, Some(now));
        let step = course.watch(now);
        (course, step)
    }

    /// What is to be done after this answer to the last step.
    pub fn next(&mut self, answer: Answer, now: Timestamp) -> Step {
        // Whoever was asleep between question and answer has tasks in hand as they were before: that is no answer.
        let is_old = self.asked_at.is_some_and(|asked| now.since(asked) > ANSWER_AGE_MAX);
        let answer = match answer {
            Answer::Tasks(Ok(_)) if is_old => Answer::Tasks(Err(SwarmError::Late)),
            Answer::Tasks(Ok(tasks)) => Answer::Tasks(Ok(self.as_they_serve(tasks, now))),
            other @ (Answer::Tasks(Err(_))
            | Answer::Node(_)
            | Answer::Updated(_)
            | Answer::Mark(_)
            | Answer::Paused) => other,
        };
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
            Answer::Mark(_) | Answer::Tasks(_) | Answer::Node(_) | Answer::Paused => self.done(State::Unfinished, None),
        }
    }

    fn doubt(&mut self, error: SwarmError, answer: Answer, now: Timestamp) -> Step {
        match answer {
            Answer::Mark(Ok(Some(found))) if found.mark.id == self.mark.id => self.watch(now),
            Answer::Mark(Ok(_)) => self.done(State::Refused, describe(&error)),
            // Whether it was taken is not known; the next look at the Swarm shows the mark, or none.
            Answer::Mark(Err(_)) | Answer::Updated(_) | Answer::Tasks(_) | Answer::Node(_) | Answer::Paused => {
                self.done(State::Unfinished, describe(&error))
            }
        }
    }

    fn watch(&mut self, now: Timestamp) -> Step {
        // Whoever was at work on it before may have told Swarm so.
        let redone = if self.mark.allows_source() { Redone::Anywhere } else { Redone::No };
        self.phase = Phase::Watching(Watch {
            begun: now,
            looked_at: now,
            look: 0,
            clear: false,
            is_ours: false,
            redone,
            asked: redone,
            is_unsure: false,
            vacated_since: None,
            stranded_since: None,
        });
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
                self.watch_on(watch)
            }
            Answer::Node(is_ready) => {
                let since = is_ready.map(|is_ready| is_ready.then(|| watch.vacated_since.unwrap_or(now)));
                watch.vacated_since = since.unwrap_or(watch.vacated_since);
                self.watch_on(watch)
            }
            Answer::Mark(found) => {
                match found {
                    Ok(Some(found)) if found.mark.id == self.mark.id => {
                        if watch.is_unsure && self.mark.change != found.mark.change {
                            self.mark.change = found.mark.change;
                            watch.redone = watch.asked;
                        }
                        watch.is_unsure = false;
                        self.rolls_out = found.rolls_out;
                        self.changed |= found.changed;
                        watch.is_ours = !found.changed && !self.unreached.is_empty();
                        // What they publish from now on is for them to choose.
                        self.mark.publishes &= !found.changed;
                        // Our constraints must not stand in the way of somebody else's update.
                        if found.changed && watch.clear && self.may_yield(&Retreat::Clear) {
                            let (state, detail) = (State::Superseded, Some(THEIRS.to_owned()));
                            let back_to = Some(watch);
                            return self.attempt(Ending { begun: now, revert: false, back_to, state, detail });
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
            Answer::Updated(Ok(())) => {
                self.mark.keep_off(&self.kept_off);
                (watch.begun, watch.stranded_since, watch.redone) = (now, None, watch.asked);
                self.phase = Phase::Watching(watch);
                Step::Pause(WATCH_PAUSE)
            }
            Answer::Updated(Err(error @ (SwarmError::Superseded | SwarmError::Gone))) => {
                self.done(State::Superseded, describe(&error))
            }
            Answer::Updated(Err(error)) => {
                if matches!(error, SwarmError::OthersChange | SwarmError::OthersPaused) {
                    (self.rolls_out, self.mark.publishes, watch.is_ours) = (true, false, false);
                }
                watch.is_unsure = matches!(error, SwarmError::Raw { .. });
                self.phase = Phase::Watching(watch);
                Step::Pause(UPDATE_PAUSE)
            }
            Answer::Paused => {
                watch.look = watch.look.wrapping_add(1);
                self.phase = Phase::Watching(watch);
                let is_silent = now.since(watch.looked_at) > self.deadline;
                if watch.is_unsure && !is_silent { Step::ReadMark } else { Step::ReadTasks }
            }
        }
    }

    fn watch_on(&mut self, watch: Watch) -> Step {
        let is_mark_due = watch.look.is_multiple_of(LOOKS_PER_MARK);
        self.phase = Phase::Watching(watch);
        if is_mark_due { Step::ReadMark } else { Step::Pause(WATCH_PAUSE) }
    }

    /// What follows from the tasks; nothing while it is to be waited on.
    fn saw_tasks(&mut self, watch: &mut Watch, tasks: &[(TaskId, Task)], now: Timestamp) -> Option<Step> {
        let progress = swarm::progress(&self.mark, tasks.iter().map(|(_, task)| task));
        let retreat = swarm::retreat(&self.mark, tasks.iter().map(|(_, task)| task));
        watch.clear = self.may_yield(&retreat);
        self.ended.saw(progress, now.since(watch.looked_at), now);
        watch.looked_at = now;
        let is_reached = self.unreached.is_empty();
        let limit =
            if watch.redone == Redone::Elsewhere && !is_reached && !self.placed { REMADE_MAX } else { self.deadline };
        let is_late = now.since(watch.begun) > limit;
        let is_through = watch.clear || has(Bug::EndsWhileReplacing);
        let is_decided = is_reached && progress.is_decided();
        // A move that is decided stands, though an old task may take its time to finish what it does. Somebody else's change
        // may have Swarm replace a task that runs elsewhere: our part stays until that is through.
        let is_over = is_through && (is_decided && is_late || is_reached && progress.is_done());
        if is_over || has(Bug::EndsTooEarly) {
            self.ended.reached = self.reached(tasks);
            return Some(self.come_to(State::Completed, *watch, watch.redone.said(), now));
        }
        let is_stranded = redo::is_stranded(tasks.iter().map(|(_, task)| task));
        let serves = is_reached && progress.running >= self.mark.replicas && !self.coming && !is_stranded;
        if watch.redone == Redone::Anywhere && watch.clear && serves && !progress.is_decided() {
            let detail = "no other node took the replacement once the old task was gone: it runs where that ran";
            return Some(self.come_to(State::Reverted, *watch, Some(detail.to_owned()), now));
        }
        if is_late && is_decided {
            let why = "all is moved, but Swarm replaces healthy tasks elsewhere: the spec is put back after that";
            return Some(self.done(State::Unfinished, why.to_owned()));
        }
        if is_late {
            return Some(self.retreat(retreat, now));
        }
        let is_stranded = progress.old_leaving && is_stranded;
        watch.stranded_since = watch.stranded_since.filter(|_| is_stranded).or(is_stranded.then_some(now));
        self.redo(watch, &retreat, tasks, now)
    }

    /// A task without the ports that all had published is reached by nobody: it counts for one that does not run yet. Swarm
    /// makes such a task when it loses its leader at the wrong moment, takes it for healthy, and never gives it its ports.
    fn as_they_serve(&mut self, mut tasks: Vec<(TaskId, Task)>, now: Timestamp) -> Vec<(TaskId, Task)> {
        let unready = || tasks.iter().filter(|(_, task)| task.is_unready());
        self.placed = unready().any(|(_, task)| task.node.is_some());
        let waiting = unready().filter(|(_, task)| task.node.is_none());
        self.waiting = waiting.map(|(id, _)| (id.clone(), self.waiting.get(id).copied().unwrap_or(now))).collect();
        self.coming = self.placed || self.waiting.values().any(|since| now.since(*since) < PLACED_MAX);
        self.unreached.clear();
        for (_, task) in &mut tasks {
            if self.mark.publishes && task.is_running() && !task.publishes && !has(Bug::TrustsRunning) {
                task.state = TaskState::Starting;
                self.unreached.extend(task.node.clone());
            }
        }
        self.unreached.sort();
        self.unreached.dedup();
        tasks
    }

    fn is_migration(&self) -> bool {
        matches!(self.mark.change, mark::Change::Migrate { .. })
    }

    /// Taking our part out is safe: nothing that is not healthy could be kept for what is. Of a scaling it is but the mark. Any
    /// change has Swarm begin somebody else's update anew, with the next task before the last one runs.
    fn may_yield(&self, retreat: &Retreat) -> bool {
        (*retreat == Retreat::Clear || !self.is_migration()) && !(self.rolls_out && self.coming)
    }

    /// The planned target, if a task runs on it now.
    fn reached(&self, tasks: &[(TaskId, Task)]) -> Option<NodeId> {
        let mark::Change::Migrate { target, .. } = &self.mark.change else { return None };
        let runs_there = tasks.iter().any(|(_, task)| task.is_running() && task.node.as_ref() == Some(target));
        runs_there.then(|| target.clone())
    }
}

#[cfg(test)]
mod tests;
