//! How an action ends: the user's spec is put back, and before that, where need be, what was begun is backed out of.

use std::time::Duration;

use swarmguard_planner::facts::Task;
use swarmguard_planner::planted::{Bug, has};
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use super::seen::Unplaced;
use super::{Answer, Course, Phase, RETREAT_MAX, Step, THEIRS, UPDATE_MAX, UPDATE_PAUSE, Watch, describe};
use crate::journal::State;
use crate::swarm::mark::REMADE_MAX;
use crate::swarm::spec::End;
use crate::swarm::{self, Retreat, SwarmError, WATCH_PAUSE, mark};

/// So long after it was made anew: a Swarm that has just lost its leader may make the next one in the same way.
const REMADE_APART: Duration = Duration::from_secs(10);

/// Swarm goes on with a retreat within so long, even where what it starts first fails and rests.
const STUCK_AFTER: Duration = Duration::from_secs(20);

/// The user's spec is being put back.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) begun: Timestamp,
    pub(super) revert: bool,
    /// Where putting the spec back is not safe any more, it is watched on; nothing where there is nothing to watch for.
    pub(super) back_to: Option<Watch>,
    pub(super) state: State,
    pub(super) detail: Option<String>,
}

/// The replacements have to go before the spec can be put back. Only then is that safe: with both tasks of a slot in line
/// with the spec, SwarmKit keeps whichever it finds first.
#[derive(Debug)]
pub(super) struct BackOut {
    pub(super) begun: Timestamp,
    nodes: Vec<NodeId>,
    remade: u32,
    /// The update is taken: what is to go is waited for.
    waiting: bool,
    /// Whether it was taken is not known: it got no answer.
    is_unsure: bool,
    /// They were chosen as no more than Swarm must be told.
    is_narrow: bool,
    late: String,
}

impl Course {
    pub(super) fn retreat(&mut self, retreat: Retreat, now: Timestamp) -> Step {
        self.ended.reached = None;
        let mut late = format!("what was asked for did not run within {} s", self.deadline.as_secs());
        if !self.unreached.is_empty() {
            late = "what was asked for runs without the ports that the service publishes".to_owned();
        }
        match retreat {
            // Nothing else would have Swarm replace what it takes for healthy. Swarm may have stopped to do so before.
            Retreat::Clear | Retreat::Wait if self.may_leave(&retreat) => {
                let nodes: Vec<NodeId> = self.to_leave().cloned().collect();
                let again = self.may_remake(&nodes);
                self.back_out(nodes, late, again, now)
            }
            Retreat::Clear if !self.unreached.is_empty() => {
                self.end(State::Left, format!("{late}, beside a healthy one: it is left so"), false, now)
            }
            Retreat::Clear => self.end(State::Reverted, late, true, now),
            Retreat::From(_) if has(Bug::RevertsAtOnce) => self.end(State::Reverted, late, true, now),
            Retreat::From(mut nodes) => {
                nodes.extend(self.to_leave().cloned());
                nodes.sort();
                nodes.dedup();
                // Swarm waits for a task that no node takes, and does not look again at the two beside it that run.
                let again = self.to_leave().next().is_some() && self.may_remake(&nodes);
                self.back_out(nodes, late, again, now)
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

    /// `again` where what nobody reaches is made anew once more.
    fn back_out(&mut self, nodes: Vec<NodeId>, late: String, again: bool, now: Timestamp) -> Step {
        let remade = self.mark.remade + u32::from(again);
        let step = Step::BackOut { nodes: nodes.clone(), remade };
        let (waiting, is_unsure, is_narrow) = (false, false, false);
        self.phase = Phase::BackingOut(BackOut { begun: now, nodes, remade, waiting, is_unsure, is_narrow, late });
        step
    }

    pub(super) fn end(
        &mut self,
        state: State,
        detail: impl Into<Option<String>>,
        revert: bool,
        now: Timestamp,
    ) -> Step {
        self.attempt(Ending { begun: now, revert, back_to: None, state, detail: detail.into() })
    }

    /// It has come to its end, as the tasks that were just read show.
    pub(super) fn come_to(&mut self, state: State, watch: Watch, detail: Option<String>, now: Timestamp) -> Step {
        let (state, detail) = match self.changed {
            true => (State::Superseded, Some(THEIRS.to_owned())),
            false => (state, detail),
        };
        self.phase = Phase::Ending(Ending { begun: now, revert: false, back_to: Some(watch), state, detail });
        Step::End(self.end_of(false))
    }

    fn end_of(&self, revert: bool) -> End {
        let may_be_why = match self.unplaced {
            Unplaced::Nothing => false,
            Unplaced::Surplus => true,
            Unplaced::More => self.is_migration(),
        };
        End { revert, during_rollout: self.rolls_out, with_more: self.rolls_out && may_be_why }
    }

    /// Since the tasks were read last a replacement may have been given a node, or somebody may have changed the service:
    /// then putting the spec back is not safe any more.
    pub(super) fn attempt(&mut self, ending: Ending) -> Step {
        let revert = ending.revert;
        let look = (revert || self.rolls_out || self.is_migration()) && !(revert && has(Bug::RevertsAtOnce));
        self.phase = Phase::Ending(ending);
        if look { Step::ReadTasks } else { Step::End(self.end_of(revert)) }
    }

    pub(super) fn ending(&mut self, ending: Ending, answer: Answer, now: Timestamp) -> Step {
        let failed = match answer {
            Answer::Tasks(Ok(tasks)) => {
                let revert = ending.revert;
                let retreat = self.way_back(&tasks, now);
                // Since the last look something may wait that would be given the source.
                let is_held = |watch: &Watch| self.may_want_source() && !watch.is_vacated(now);
                if let Some(watch) = ending.back_to.filter(is_held) {
                    self.phase = Phase::Watching(watch);
                    return Step::Pause(WATCH_PAUSE);
                }
                if self.may_yield(&retreat, revert) && (!revert || retreat == Retreat::Clear) {
                    self.phase = Phase::Ending(ending);
                    return Step::End(self.end_of(revert));
                }
                if let Some(watch) = ending.back_to {
                    self.phase = Phase::Watching(watch);
                    return Step::Pause(WATCH_PAUSE);
                }
                match self.unplaced {
                    Unplaced::Surplus | Unplaced::More if self.rolls_out => SwarmError::OthersUnplaced,
                    Unplaced::Nothing | Unplaced::Surplus | Unplaced::More => SwarmError::Moving,
                }
            }
            Answer::Updated(Ok(())) => return self.done(ending.state, ending.detail),
            Answer::Updated(Err(SwarmError::OthersChange)) => {
                self.rolls_out = true;
                self.phase = Phase::Ending(ending);
                return Step::ReadTasks;
            }
            Answer::Updated(Err(error)) => {
                if error.may_have_been_taken() && !has(Bug::ForgetsItsEnd) {
                    self.may_be_over = Some((ending.state.clone(), ending.detail.clone()));
                }
                error
            }
            Answer::Tasks(Err(error)) => error,
            Answer::Paused | Answer::Mark(_) | Answer::Node(_) => return self.attempt(ending),
        };
        if matches!(failed, SwarmError::Superseded | SwarmError::Gone) {
            return self.lost(&failed);
        }
        if is_passing(&failed) && now.since(ending.begun) <= UPDATE_MAX {
            self.phase = Phase::Ending(ending);
            return Step::Pause(UPDATE_PAUSE);
        }
        let detail = format!("the user's spec could not be put back yet: {}", describe(&failed));
        self.done(State::Unfinished, detail)
    }

    pub(super) fn backing_out(&mut self, mut back_out: BackOut, answer: Answer, now: Timestamp) -> Step {
        let BackOut { late, .. } = &back_out;
        match answer {
            Answer::Updated(Ok(())) => {
                self.may_be_over = None;
                self.mark.keep_off(&back_out.nodes, back_out.remade);
                (back_out.waiting, back_out.begun) = (true, now);
                self.phase = Phase::BackingOut(back_out);
                Step::ReadTasks
            }
            Answer::Updated(Err(error)) if is_passing(&error) && now.since(back_out.begun) <= UPDATE_MAX => {
                back_out.is_unsure |= matches!(error, SwarmError::Raw { .. });
                self.phase = Phase::BackingOut(back_out);
                Step::Pause(UPDATE_PAUSE)
            }
            Answer::Updated(Err(error @ (SwarmError::Superseded | SwarmError::Gone))) => self.lost(&error),
            Answer::Mark(found) if back_out.is_unsure => self.looked_up(back_out, found, now),
            Answer::Paused if back_out.is_unsure => {
                self.phase = Phase::BackingOut(back_out);
                Step::ReadMark
            }
            Answer::Updated(Err(error)) => {
                self.done(State::Unfinished, format!("{late}, and it is not backed out of yet: {}", describe(&error)))
            }
            // It was not taken yet: by now the replacement may be elsewhere.
            Answer::Tasks(Ok(tasks)) if !back_out.waiting && !self.has_gone(&tasks, now) => {
                let way_back = self.way_back(&tasks, now);
                let step = self.retreat(way_back, now);
                // What is on its way by now has to be kept off too.
                let is_narrow = back_out.is_narrow && !self.theirs_are_coming();
                let narrow = self.narrow(&tasks).filter(|_| is_narrow);
                let Phase::BackingOut(again) = &mut self.phase else { return step };
                (again.begun, again.remade) = (back_out.begun, again.remade.max(back_out.remade));
                if let Some(nodes) = narrow {
                    (again.nodes, again.is_narrow) = (nodes, true);
                }
                Step::BackOut { nodes: again.nodes.clone(), remade: again.remade }
            }
            Answer::Tasks(Err(error)) if !back_out.waiting => {
                if now.since(back_out.begun) > UPDATE_MAX {
                    let why = describe(&error);
                    return self.done(State::Unfinished, format!("{late}, and it is not backed out of yet: {why}"));
                }
                self.phase = Phase::BackingOut(back_out);
                Step::Pause(UPDATE_PAUSE)
            }
            Answer::Tasks(tasks) => self.waits_to_be_back(back_out, tasks, now),
            Answer::Paused | Answer::Mark(_) | Answer::Node(_) => {
                self.phase = Phase::BackingOut(back_out);
                Step::ReadTasks
            }
        }
    }

    /// The update is taken, and what is to go has gone, or is waited for, or Swarm is told once more.
    fn waits_to_be_back(
        &mut self,
        back_out: BackOut,
        tasks: Result<Vec<(TaskId, Task)>, SwarmError>,
        now: Timestamp,
    ) -> Step {
        let is_over = now.since(back_out.begun) >= RETREAT_MAX;
        // What is still to come may come without its ports.
        let is_all = !self.is_coming() || is_over || !self.mark.publishes;
        if is_all && tasks.as_ref().is_ok_and(|tasks| self.is_back(tasks)) {
            return self.end(State::Reverted, back_out.late, true, now);
        }
        // What came instead has no ports either, if the Swarm has lost its leader once more; Swarm may have stopped
        // half-way, and what was to go is still there.
        let is_elsewhere = self.unreached.iter().any(|node| !back_out.nodes.contains(node));
        let has_come = !self.is_coming() && is_elsewhere && now.since(back_out.begun) >= REMADE_APART;
        if (is_over || has_come) && tasks.is_ok() && self.may_leave_others(&back_out) {
            let nodes = self.to_leave().cloned().collect();
            return self.back_out(nodes, back_out.late, true, now);
        }
        if let Ok(tasks) = &tasks
            && let Some((nodes, is_narrow)) = self.to_tell_again(&back_out, tasks, now)
        {
            let step = self.back_out(nodes, back_out.late, true, now);
            if let Phase::BackingOut(again) = &mut self.phase {
                again.is_narrow = is_narrow;
            }
            return step;
        }
        // What is still to come may yet run, and would be dropped for what nobody reaches.
        let may_come = self.is_coming() && now.since(back_out.begun) < RETREAT_MAX + self.deadline;
        let is_waited_for = may_come && !self.unreached.is_empty();
        if is_over && tasks.is_ok() && !self.unreached.is_empty() && !may_come {
            let left = format!("{}, and no other node takes it: it is left so", back_out.late);
            return self.end(State::Left, left, false, now);
        }
        if is_over && !is_waited_for {
            let seconds = RETREAT_MAX.as_secs();
            let why = format!("the tasks that did not become healthy are still there after {seconds} s");
            return self.done(State::Unfinished, format!("{}, and it is not backed out of yet: {why}", back_out.late));
        }
        self.phase = Phase::BackingOut(back_out);
        Step::Pause(WATCH_PAUSE)
    }

    /// Whether the update was taken whose answer was lost: what may stand where is not judged by a mark that is no more.
    fn looked_up(
        &mut self,
        mut back_out: BackOut,
        found: Result<Option<Box<mark::Marked>>, SwarmError>,
        now: Timestamp,
    ) -> Step {
        let found = match found {
            Ok(Some(found)) if found.mark.id == self.mark.id => found,
            Ok(_) => return self.lost(&SwarmError::Superseded),
            Err(error @ (SwarmError::Gone | SwarmError::Unreadable)) => return self.lost(&error),
            Err(error) if now.since(back_out.begun) > UPDATE_MAX => {
                let detail = format!("{}, and it is not known whether it is backed out of", back_out.late);
                return self.done(State::Unfinished, format!("{detail}: {}", describe(&error)));
            }
            Err(_) => {
                self.phase = Phase::BackingOut(back_out);
                return Step::Pause(UPDATE_PAUSE);
            }
        };
        self.may_be_over = None;
        (self.mark.change, self.mark.remade) = (found.mark.change, found.mark.remade);
        self.mark.publishes &= !found.changed;
        self.rolls_out = found.rolls_out;
        back_out.is_unsure = false;
        if self.mark.is_kept_off(&back_out.nodes) && self.mark.remade == back_out.remade {
            (back_out.waiting, back_out.begun) = (true, now);
        }
        self.phase = Phase::BackingOut(back_out);
        Step::ReadTasks
    }

    /// Swarm was told to keep tasks off these nodes before; where something runs there all the same, it may be told again.
    fn may_remake(&self, nodes: &[NodeId]) -> bool {
        self.mark.is_kept_off(nodes) && self.mark.remade < REMADE_MAX
    }

    /// Nodes can be kept off for what nobody reaches there. What runs on them is moved with it; beside what starts in its slot
    /// it is not: Swarm could keep that one instead.
    fn may_leave(&self, retreat: &Retreat) -> bool {
        let is_steady = *retreat == Retreat::Clear || self.kept.is_empty();
        is_steady && self.to_leave().next().is_some()
    }

    /// Other nodes have what nobody reaches than those that it is kept off.
    fn may_leave_others(&self, back_out: &BackOut) -> bool {
        let may_leave = self.mark.remade < REMADE_MAX && self.may_leave(&Retreat::Wait);
        may_leave && !self.to_leave().eq(&back_out.nodes)
    }

    /// Which nodes Swarm is told once more to keep off, and whether as no more than it must. What was to replace it
    /// failed on the way, at which Swarm stops: what nobody reaches stays, be it beside what was started anew or in another
    /// slot. So does what no node has taken for so long that none will while Swarm is told again: then it is told of no more
    /// nodes than it must.
    fn to_tell_again(
        &self,
        back_out: &BackOut,
        tasks: &[(TaskId, Task)],
        now: Timestamp,
    ) -> Option<(Vec<NodeId>, bool)> {
        // Where nothing waits, it may be the owner's pause between two replacements.
        let rests = if self.waiting.is_empty() { STUCK_AFTER } else { REMADE_APART };
        let is_settled = !self.theirs_are_coming() && now.since(back_out.begun) >= rests;
        let is_there = self.unreached.iter().all(|node| back_out.nodes.contains(node));
        if !is_settled || !is_there || self.to_leave().next().is_none() || !self.may_remake(&back_out.nodes) {
            return None;
        }
        if self.waiting.is_empty() {
            return Some((back_out.nodes.clone(), false));
        }
        self.narrow(tasks).map(|nodes| (nodes, true))
    }

    /// Where something stands beside a healthy one of its slot: the nodes of what nobody reaches there, for which there may be
    /// no other node to wait for; else all where nobody reaches what runs. What stands alone, and beside which something waits,
    /// has no node to go to.
    fn narrow(&self, tasks: &[(TaskId, Task)]) -> Option<Vec<NodeId>> {
        let all = || tasks.iter().map(|(_, task)| task);
        let beside = || all().filter(|task| swarm::migrate::is_beside_a_healthy_one(task, all()));
        beside().next()?;
        let is_beside = |node: &&NodeId| beside().any(|task| task.node.as_ref() == Some(node));
        let nodes: Vec<NodeId> = self.to_leave().filter(is_beside).cloned().collect();
        Some(if nodes.is_empty() { self.to_leave().cloned().collect() } else { nodes })
    }

    /// What was to go is gone by itself, before it was known whether the update was taken.
    fn has_gone(&self, tasks: &[(TaskId, Task)], now: Timestamp) -> bool {
        self.unreached.is_empty() && self.way_back(tasks, now) == Retreat::Clear
    }

    /// Nothing is left, or is to come, that Swarm could keep for a healthy task.
    fn is_back(&self, tasks: &[(TaskId, Task)]) -> bool {
        let all = || tasks.iter().map(|(_, task)| task);
        self.unreached.is_empty() && !all().any(|task| swarm::migrate::is_beside_a_healthy_one(task, all()))
    }
}

/// Whether the same may well be taken a moment later.
pub(super) fn is_passing(error: &SwarmError) -> bool {
    matches!(error, SwarmError::Version { .. } | SwarmError::Docker { .. } | SwarmError::Raw { .. } | SwarmError::Late)
}
