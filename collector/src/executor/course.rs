//! The course of one action as a state machine: what is to be asked of Swarm next, given what it has answered.
//!
//! Neither I/O nor a clock, so that a simulation goes through the very same steps. `begin → watch → end`, with a deadline:
//! what is not running by then is backed out of, but only where Swarm is sure to keep the healthy task and drop the other.

mod ending;
mod redo;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use swarmguard_planner::Action;
use swarmguard_planner::facts::{Task, TaskState};
use swarmguard_planner::planted::{Bug, has};
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use ending::{BackOut, Ending};
use watching::Watch;

use super::{Ended, describe};
use crate::journal::State;
use crate::swarm::spec::End;
use crate::swarm::{self, Mark, Retreat, SwarmError, mark};

/// How long an update is tried again when someone changes the service at the same moment or the manager fails.
const UPDATE_MAX: Duration = Duration::from_secs(30);
const UPDATE_PAUSE: Duration = Duration::from_millis(200);

/// Tasks that were asked for longer ago than this say nothing about now.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(5);

/// What is said of an action in whose middle somebody else changed the service.
const THEIRS: &str = "someone else changed the service: what was ours is taken out, the rest is theirs";

/// A task that has no node for so long is not on its way: nothing takes it.
const PLACED_MAX: Duration = Duration::from_secs(3);

/// A node takes what it is given within milliseconds. One that does not for so long has lost its manager, though Swarm may
/// hear its heartbeats for up to 15 s more.
const ACCEPTED_MAX: Duration = Duration::from_secs(2);

/// A task that Swarm holds back after a failure starts in a moment, five seconds by default: in the first of them it does not.
const RESTING_MAX: Duration = Duration::from_secs(1);

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
        /// Where replacements did not become healthy, or nobody reaches them; or the source alone.
        nodes: Vec<NodeId>,
        /// How often what nobody reaches was made anew, this time included.
        remade: u32,
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
            Self::Begin { .. } | Self::End(_) | Self::BackOut { .. } => now > leads_until,
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
    /// Those on which one ran that is reached, while in some slot a task starts beside one that runs.
    kept: BTreeSet<NodeId>,
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
    /// Those whose node has not taken them, and since when.
    untaken: BTreeMap<TaskId, Timestamp>,
    /// Those that have a node and are held back, since the one before them failed, and when each was first seen.
    resting: BTreeMap<TaskId, Timestamp>,
    /// When tasks were seen last.
    seen_at: Option<Timestamp>,
    /// Nodes that the last update keeps tasks off, should it be taken.
    kept_off: Vec<NodeId>,
    /// What it came to, should the update that was to end it have been taken: it got no answer.
    may_be_over: Option<(State, Option<String>)>,
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
            kept: BTreeSet::new(),
            changed: false,
            rolls_out: false,
            placed: false,
            coming: false,
            waiting: BTreeMap::new(),
            untaken: BTreeMap::new(),
            resting: BTreeMap::new(),
            seen_at: None,
            kept_off: Vec::new(),
            may_be_over: None,
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

    /// The service has its mark no more: somebody took it away, or the update that was to end it and got no answer.
    fn lost(&mut self, error: &SwarmError) -> Step {
        match self.may_be_over.take() {
            Some((state, detail)) if matches!(error, SwarmError::Superseded) => self.done(state, detail),
            Some(_) | None => self.done(State::Superseded, describe(error)),
        }
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

    /// A task without the ports that all had published is reached by nobody: it counts for one that does not run yet. Swarm
    /// makes such a task when it loses its leader at the wrong moment, takes it for healthy, and never gives it its ports.
    fn as_they_serve(&mut self, mut tasks: Vec<(TaskId, Task)>, now: Timestamp) -> Vec<(TaskId, Task)> {
        self.see_untaken(&tasks, now);
        let unready = || tasks.iter().filter(|(_, task)| task.is_unready());
        self.placed = unready().any(|(_, task)| task.node.is_some());
        // One that is to run after another waits for that one's end, and not for a node.
        let is_after = |task: &Task| {
            tasks.iter().any(|(_, other)| other.slot == task.slot && other.is_alive() && other.desired_gone)
        };
        let counts = |task: &Task| !is_after(task) || has(Bug::IgnoresStopping);
        let since = |id, task| self.waiting.get(id).copied().filter(|_| counts(task)).unwrap_or(now);
        let waiting = unready().filter(|(_, task)| task.node.is_none());
        self.waiting = waiting.map(|(id, task)| (id.clone(), since(id, task))).collect();
        // One that was there before anybody looked may start at any moment.
        let is_watched = self.seen_at.is_some_and(|seen| now.since(seen) < RESTING_MAX);
        let first_seen =
            |id| self.resting.get(id).copied().unwrap_or(if is_watched { now } else { Timestamp::default() });
        let held_back = unready().filter(|(_, task)| task.node.is_some() && !task.desired_running);
        self.resting = held_back.map(|(id, _)| (id.clone(), first_seen(id))).collect();
        self.seen_at = Some(now);
        self.coming = self.placed || self.waiting.values().any(|since| now.since(*since) < PLACED_MAX);
        // What starts may fail and start anew on another node the next moment: there it would be kept for the healthy one.
        let all = || tasks.iter().map(|(_, task)| task);
        let is_unsteady = all().any(|task| swarm::migrate::is_beside_a_healthy_one(task, all()));
        self.unreached.clear();
        for (_, task) in &mut tasks {
            if self.mark.publishes && task.is_running() && !task.publishes && !has(Bug::TrustsRunning) {
                task.state = TaskState::Starting;
                self.unreached.extend(task.node.clone());
            }
        }
        self.unreached.sort();
        self.unreached.dedup();
        let serves = tasks.iter().filter(|(_, task)| task.is_running()).filter_map(|(_, task)| task.node.clone());
        self.kept = if is_unsteady { serves.collect() } else { BTreeSet::new() };
        tasks
    }

    /// Which tasks their nodes have not taken, and since when.
    fn see_untaken(&mut self, tasks: &[(TaskId, Task)], now: Timestamp) {
        let is_untaken = |task: &Task| task.is_unready() && task.node.is_some() && !task.accepted;
        let since = |id: &TaskId| self.untaken.get(id).copied().unwrap_or(now);
        let untaken = tasks.iter().filter(|(_, task)| is_untaken(task));
        self.untaken = untaken.map(|(id, _)| (id.clone(), since(id))).collect();
    }

    /// Nodes that have not taken a task for too long, while nothing runs in its place.
    fn unresponsive(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> Vec<NodeId> {
        let runs = |slot| tasks.iter().any(|(_, task)| task.slot == slot && task.is_running());
        let late = tasks.iter().filter(|(id, task)| self.is_untaken(id, now) && !runs(task.slot));
        late.filter_map(|(_, task)| task.node.clone()).collect()
    }

    fn is_untaken(&self, id: &TaskId, now: Timestamp) -> bool {
        self.untaken.get(id).is_some_and(|since| now.since(*since) >= ACCEPTED_MAX)
    }

    /// Whether a slot has nothing but tasks that no node has taken.
    fn is_stranded(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> bool {
        let waits = |id, task: &Task| task.is_unready() && (task.node.is_none() || self.is_untaken(id, now));
        let goes_on = |id, task: &Task| task.is_running() || task.is_unready() && !waits(id, task);
        let is_alone = |slot| !tasks.iter().any(|(id, other)| other.slot == slot && goes_on(id, other));
        tasks.iter().any(|(id, task)| waits(id, task) && is_alone(task.slot))
    }

    /// How it can be taken back. Where nothing else helps, a task that has just begun to rest is in nobody's way: with the spec
    /// as it was Swarm keeps the one that it wants to run rather than one that it holds back (SwarmKit's updater), and drops
    /// this one.
    fn way_back(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> Retreat {
        let retreat = swarm::retreat(&self.mark, tasks.iter().map(|(_, task)| task));
        if retreat != Retreat::Wait {
            return retreat;
        }
        let rests = |id| self.resting.get(id).is_some_and(|since| now.since(*since) < RESTING_MAX);
        swarm::retreat(&self.mark, tasks.iter().filter(|(id, _)| !rests(id)).map(|(_, task)| task))
    }

    /// Nodes that can be kept off for what nobody reaches there: no healthy task is to be lost with it.
    fn to_leave(&self) -> impl Iterator<Item = &NodeId> {
        self.unreached.iter().filter(|node| !self.kept.contains(node))
    }

    fn is_migration(&self) -> bool {
        matches!(self.mark.change, mark::Change::Migrate { .. })
    }

    /// Taking our part out is safe: nothing that is not healthy could be kept for what is. Of a scaling it is but the mark. Any
    /// change has Swarm begin somebody else's update anew, with the next task before the last one runs.
    fn may_yield(&self, retreat: &Retreat) -> bool {
        (*retreat == Retreat::Clear || !self.is_migration()) && !(self.rolls_out && self.coming)
    }
}

#[cfg(test)]
mod tests;
