//! What the tasks show that were just read: what is on its way to run and what is stuck, and what only seems to run.

use std::collections::BTreeSet;
use std::time::Duration;

use swarmguard_planner::facts::{Task, TaskState};
use swarmguard_planner::planted::{Bug, has};
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use super::Course;
use crate::swarm::{self, Retreat};

/// A task that has no node for so long is not on its way: nothing takes it.
const PLACED_MAX: Duration = Duration::from_secs(3);

/// Nor has it one while a new leader does not hear from any node yet, for up to 15 s: there is no haste with what would be
/// kept if it were given one at that moment.
const THEIRS_PLACED_MAX: Duration = Duration::from_secs(20);

/// A node takes what it is given within milliseconds. One that does not for so long has lost its manager, though Swarm may
/// hear its heartbeats for up to 15 s more.
const ACCEPTED_MAX: Duration = Duration::from_secs(2);

/// A task that Swarm holds back after a failure starts in a moment, five seconds by default: in the first of them it does not.
const RESTING_MAX: Duration = Duration::from_secs(1);

/// What waits for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unplaced {
    Nothing,
    /// Those of one replica, which Swarm would take first if there were to be one fewer.
    Surplus,
    /// A task beside one that has a node, or those of more than one replica.
    More,
}

impl Unplaced {
    fn of(tasks: &[(TaskId, Task)]) -> Self {
        let slots: BTreeSet<Option<u64>> = tasks
            .iter()
            .filter(|(_, task)| task.is_unready() && task.node.is_none())
            .map(|(_, task)| task.slot)
            .collect();
        let has_node = |slot| {
            tasks
                .iter()
                .any(|(_, task)| task.slot == slot && task.is_alive() && !task.desired_gone && task.node.is_some())
        };
        match slots.first() {
            None => Self::Nothing,
            Some(slot) if slots.len() == 1 && !has_node(*slot) => Self::Surplus,
            Some(_) => Self::More,
        }
    }
}

fn runs_in(slot: Option<u64>, tasks: &[(TaskId, Task)]) -> bool {
    tasks.iter().any(|(_, task)| task.slot == slot && task.is_running())
}

impl Course {
    /// A task without the ports that all had published is reached by nobody: it counts for one that does not run yet. Swarm
    /// makes such a task when it loses its leader at the wrong moment, takes it for healthy, and never gives it its ports.
    pub(super) fn as_they_serve(&mut self, mut tasks: Vec<(TaskId, Task)>, now: Timestamp) -> Vec<(TaskId, Task)> {
        self.see_untaken(&tasks, now);
        let unready = || tasks.iter().filter(|(_, task)| task.is_unready());
        self.unplaced = Unplaced::of(&tasks);
        self.placed = unready().any(|(_, task)| task.node.is_some());
        // One that is to run after another waits for that one's end, and not for a node: Swarm holds it back until then, but
        // for no longer than a minute, nor for one on a node that is down. Beside one that runs it is no such.
        let is_after = |task: &Task| {
            let is_its = |other: &Task| other.slot == task.slot && other.is_alive() && other.desired_gone;
            !task.desired_running && !runs_in(task.slot, &tasks) && tasks.iter().any(|(_, other)| is_its(other))
        };
        let since = |id, task| self.waiting.get(id).copied().filter(|_| !is_after(task)).unwrap_or(now);
        let waiting = unready().filter(|(_, task)| task.node.is_none());
        self.waiting = waiting.map(|(id, task)| (id.clone(), since(id, task))).collect();
        // One that was there before anybody looked may start at any moment.
        let is_watched = self.seen_at.is_some_and(|seen| now.since(seen) < RESTING_MAX);
        let first_seen =
            |id| self.resting.get(id).copied().unwrap_or(if is_watched { now } else { Timestamp::default() });
        let held_back = unready().filter(|(_, task)| task.node.is_some() && !task.desired_running);
        self.resting = held_back.map(|(id, _)| (id.clone(), first_seen(id))).collect();
        self.seen_at = Some(now);
        // What starts may fail and start anew on another node the next moment: there it would be kept for the healthy one. What
        // no node has taken for long is none that will be given one at that moment.
        let waits = |id: &TaskId| self.waiting.get(id).is_some_and(|since| now.since(*since) >= THEIRS_PLACED_MAX);
        let all = || tasks.iter().map(|(_, task)| task);
        let starts = |task| swarm::migrate::is_beside_a_healthy_one(task, all());
        let is_unsteady = tasks.iter().any(|(id, task)| starts(task) && !waits(id));
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

    /// Tasks are on their way to run, those included that have just been made.
    pub(super) fn is_coming(&self) -> bool {
        self.is_placed_within(PLACED_MAX)
    }

    /// The same where one that is given its node just then would be kept for a healthy one, as in somebody else's update.
    pub(super) fn theirs_are_coming(&self) -> bool {
        self.is_placed_within(THEIRS_PLACED_MAX)
    }

    /// What is to replace a task that nobody reaches has a node, and starts there as far as is known.
    pub(super) fn third_is_coming(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> bool {
        let is_unreached = |task: &Task| task.node.as_ref().is_some_and(|node| self.unreached.contains(node));
        let replaces = |task: &Task| tasks.iter().any(|(_, other)| other.slot == task.slot && is_unreached(other));
        tasks.iter().any(|(id, task)| {
            let starts = task.is_unready() && task.node.is_some() && !self.is_untaken(id, now);
            starts && !is_unreached(task) && replaces(task)
        })
    }

    /// A task has no node yet, and may be given one as soon as Swarm hears from it.
    pub(super) fn has_just_begun_to_wait(&self) -> bool {
        self.waits_within(THEIRS_PLACED_MAX)
    }

    fn is_placed_within(&self, max: Duration) -> bool {
        self.placed || self.waits_within(max)
    }

    fn waits_within(&self, max: Duration) -> bool {
        let waited = |since: &Timestamp| self.seen_at.map_or(Duration::ZERO, |seen| seen.since(*since));
        self.waiting.values().any(|since| waited(since) < max)
    }

    /// Which tasks their nodes have not taken, and since when.
    fn see_untaken(&mut self, tasks: &[(TaskId, Task)], now: Timestamp) {
        let is_untaken = |task: &Task| task.is_unready() && task.node.is_some() && !task.accepted;
        let since = |id: &TaskId| self.untaken.get(id).copied().unwrap_or(now);
        let untaken = tasks.iter().filter(|(_, task)| is_untaken(task));
        self.untaken = untaken.map(|(id, _)| (id.clone(), since(id))).collect();
    }

    /// Nodes that have not taken a task for too long, while nothing runs in its place.
    pub(super) fn unresponsive(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> Vec<NodeId> {
        let late = tasks.iter().filter(|(id, task)| self.is_untaken(id, now) && !runs_in(task.slot, tasks));
        late.filter_map(|(_, task)| task.node.clone()).collect()
    }

    fn is_untaken(&self, id: &TaskId, now: Timestamp) -> bool {
        self.untaken.get(id).is_some_and(|since| now.since(*since) >= ACCEPTED_MAX)
    }

    /// Whether a slot has nothing but tasks that no node has taken.
    pub(super) fn is_stranded(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> bool {
        let waits = |id, task: &Task| task.is_unready() && (task.node.is_none() || self.is_untaken(id, now));
        let goes_on = |id, task: &Task| task.is_running() || task.is_unready() && !waits(id, task);
        let is_alone = |slot| !tasks.iter().any(|(id, other)| other.slot == slot && goes_on(id, other));
        tasks.iter().any(|(id, task)| waits(id, task) && is_alone(task.slot))
    }

    /// How it can be taken back; where nothing else helps, as a task begins to rest.
    pub(super) fn way_back(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> Retreat {
        let retreat = swarm::retreat(&self.mark, &self.unreached, tasks.iter().map(|(_, task)| task));
        if retreat == Retreat::Wait { self.as_one_rests(tasks, now) } else { retreat }
    }

    /// How it can be taken back but for tasks that have just begun to rest. These are in nobody's way: with the spec as it was
    /// Swarm keeps the one that it wants to run rather than one that it holds back (SwarmKit's updater), and drops this one.
    pub(super) fn as_one_rests(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> Retreat {
        let rests = |id| self.resting.get(id).is_some_and(|since| now.since(*since) < RESTING_MAX);
        swarm::retreat(&self.mark, &self.unreached, tasks.iter().filter(|(id, _)| !rests(id)).map(|(_, task)| task))
    }

    /// Nodes that can be kept off for what nobody reaches there: no healthy task is to be lost with it.
    pub(super) fn to_leave(&self) -> impl Iterator<Item = &NodeId> {
        self.unreached.iter().filter(|node| !self.kept.contains(node))
    }
}
