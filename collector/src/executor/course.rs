//! The course of one action as a state machine: what is to be asked of Swarm next, given what it has answered.
//!
//! Neither I/O nor a clock, so that a simulation goes through the very same steps. `begin → watch → end`, with a deadline:
//! what is not running by then is backed out of, but only where Swarm is sure to keep the healthy task and drop the other.

mod seen;
mod watching;

mod redo;

mod ending;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use swarmguard_planner::Action;
use swarmguard_planner::facts::Task;
use swarmguard_planner::planted::{Bug, has};
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use ending::{BackOut, Ending};
use seen::Unplaced;
use watching::Watch;

use super::{Ended, describe};
use crate::journal::State;
use crate::swarm::spec::End;
use crate::swarm::{Mark, Retreat, SwarmError, mark};

/// How long an update is tried again when someone changes the service at the same moment or the manager fails.
const UPDATE_MAX: Duration = Duration::from_secs(30);

/// How long until then between two tries.
const UPDATE_PAUSE: Duration = Duration::from_millis(200);

/// Tasks that were asked for longer ago than this say nothing about now.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(5);

/// What is said of an action in whose middle somebody else changed the service.
const THEIRS: &str = "someone else changed the service: what was ours is taken out, the rest is theirs";

/// How long a retreat may take: stopping a task that never became healthy, within its stop grace period. What replaces one
/// that nobody reaches may take as long as in a move to get healthy.
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
    /// This course has seen it do so, and it may yet where they have made another change since.
    rolled_out: bool,
    /// A task that has a node was on its way to run, when last looked at.
    placed: bool,
    /// Which tasks have no node, when last looked at.
    unplaced: Unplaced,
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
    /// How often something was made anew by then.
    remade: u32,
    /// What it came to, should the update that was to end it have been taken: it got no answer.
    may_be_over: Option<(State, Option<String>)>,
}

#[derive(Debug)]
enum Phase {
    /// The update that begins it is under way.
    Beginning,
    /// It got no answer; the mark tells whether it was taken. Since when that is asked for.
    Doubting(SwarmError, Timestamp),
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
            rolled_out: false,
            placed: false,
            unplaced: Unplaced::Nothing,
            waiting: BTreeMap::new(),
            untaken: BTreeMap::new(),
            resting: BTreeMap::new(),
            seen_at: None,
            kept_off: Vec::new(),
            remade: 0,
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
        self.rolled_out |= self.rolls_out;
        match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Beginning => self.begun(answer, now),
            Phase::Doubting(error, since) => self.doubt(error, since, answer, now),
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
                self.phase = Phase::Doubting(error, now);
                Step::ReadMark
            }
            Answer::Updated(Err(error)) => self.done(State::Refused, describe(&error)),
            Answer::Mark(_) | Answer::Tasks(_) | Answer::Node(_) | Answer::Paused => self.done(State::Unfinished, None),
        }
    }

    fn doubt(&mut self, error: SwarmError, since: Timestamp, answer: Answer, now: Timestamp) -> Step {
        match answer {
            Answer::Mark(Ok(Some(found))) if found.mark.id == self.mark.id => self.watch(now),
            Answer::Mark(Ok(_)) => self.done(State::Refused, describe(&error)),
            Answer::Mark(Err(_)) if now.since(since) <= UPDATE_MAX => {
                self.phase = Phase::Doubting(error, since);
                Step::Pause(UPDATE_PAUSE)
            }
            Answer::Paused => {
                self.phase = Phase::Doubting(error, since);
                Step::ReadMark
            }
            // Whether it was taken is not known; the next look at the Swarm shows the mark, or none.
            Answer::Mark(Err(_)) | Answer::Updated(_) | Answer::Tasks(_) | Answer::Node(_) => {
                self.done(State::Unfinished, describe(&error))
            }
        }
    }

    fn is_migration(&self) -> bool {
        matches!(self.mark.change, mark::Change::Migrate { .. })
    }

    /// Taking our part out is safe: nothing that is not healthy could be kept for what is. Of a scaling it is but the mark, and
    /// the replica that was added where it is taken back. Any change has Swarm begin somebody else's update anew: with the
    /// next task before the last one runs, and with what waits for a node kept for the healthy one beside it. Constraints
    /// may be what keeps their tasks from a node, and once these are taken out such tasks are made anew.
    fn may_yield(&self, retreat: &Retreat, takes_back: bool) -> bool {
        if self.is_migration() && *retreat != Retreat::Clear || self.rolls_out && self.theirs_are_coming() {
            return false;
        }
        !self.rolls_out
            || !self.mark.added().is_empty()
            || match self.unplaced {
                Unplaced::Nothing => true,
                Unplaced::Surplus => takes_back && !self.is_migration(),
                Unplaced::More => has(Bug::HurriesOwner),
            }
    }
}

#[cfg(test)]
mod tests;
