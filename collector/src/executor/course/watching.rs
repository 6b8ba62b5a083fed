//! What is done while an action is under way: its tasks are looked at until it has come to its end, or its time is over.
//!
//! Every so many looks the mark is read as well, by which it is known when somebody else changes the service. Nothing is ended
//! on an answer that did not come, nor while it is not known which of our own updates was taken.

use std::time::Duration;

use swarmguard_planner::facts::Task;
use swarmguard_planner::planted::{Bug, has};
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use super::ending::Ending;
use super::redo::Redone;
use super::{Answer, Course, Phase, Step, THEIRS, UPDATE_PAUSE};
use crate::journal::State;
use crate::swarm::{self, Retreat, SwarmError, WATCH_PAUSE, mark};

/// The mark is looked for at every so many looks at the tasks.
pub(super) const LOOKS_PER_MARK: u32 = 10;

/// A task that fails is started anew so soon: after the restart delay, five seconds by default, and what it takes to fail.
const RESTS_WITHIN: Duration = Duration::from_secs(20);

/// How long an old task's end is waited for on a node from which Swarm does not hear: after an election it may not for half a
/// minute. That it is to go is decided.
const DECIDED_MAX: Duration = Duration::from_secs(3);

/// How long a third node is waited for where a replacement runs that nobody reaches. One that Swarm hears from is given it at
/// once; after an election Swarm may not hear from it for another ten seconds, in which the node that was left would serve.
const THIRD_NODE_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) begun: Timestamp,
    pub(super) looked_at: Timestamp,
    pub(super) look: u32,
    /// Taking our part out is safe, as far as the last look showed.
    pub(super) clear: bool,
    /// Nobody else had changed the service when nobody reached a replacement.
    pub(super) is_ours: bool,
    pub(super) redone: Redone,
    /// The same once the last update is taken.
    pub(super) asked: Redone,
    /// Whether that one was taken is not known: it got no answer.
    pub(super) is_unsure: bool,
    /// Since when Swarm hears from the source, or later, and when it last did.
    pub(super) heard: Option<(Timestamp, Timestamp)>,
    /// Swarm did not hear from the source when it was asked last.
    pub(super) is_silent: bool,
    /// Since when the move is decided, and nothing but the old task's end is waited for.
    pub(super) decided_since: Option<Timestamp>,
    /// Since when nothing is left on the source, and no node takes what is to replace it.
    pub(super) stranded_since: Option<Timestamp>,
    /// Since when the replacement runs, and Swarm leaves the old task where it is.
    pub(super) half_way_since: Option<Timestamp>,
}

impl Watch {
    /// Swarm was told once more what to do.
    fn begins_anew(&mut self, now: Timestamp) {
        (self.begun, self.redone) = (now, self.asked);
        (self.is_silent, self.stranded_since, self.half_way_since) = (false, None, None);
    }
}

impl Course {
    pub(super) fn watch(&mut self, now: Timestamp) -> Step {
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
            heard: None,
            is_silent: false,
            decided_since: None,
            stranded_since: None,
            half_way_since: None,
        });
        Step::ReadTasks
    }

    pub(super) fn watched(&mut self, mut watch: Watch, answer: Answer, now: Timestamp) -> Step {
        match answer {
            Answer::Tasks(tasks) => self.looked(watch, tasks, now),
            Answer::Node(is_ready) => {
                if let Ok(is_ready) = is_ready {
                    watch.is_silent = !is_ready;
                    watch.heard = is_ready.then(|| watch.heard_again(now));
                }
                self.watch_on(watch)
            }
            Answer::Mark(found) => self.saw_mark(watch, found, now),
            Answer::Updated(done) => self.told(watch, done, now),
            Answer::Paused => {
                watch.look = watch.look.wrapping_add(1);
                self.phase = Phase::Watching(watch);
                let is_silent = now.since(watch.looked_at) > self.deadline;
                if watch.is_unsure && !is_silent { Step::ReadMark } else { Step::ReadTasks }
            }
        }
    }

    fn looked(&mut self, mut watch: Watch, tasks: Result<Vec<(TaskId, Task)>, SwarmError>, now: Timestamp) -> Step {
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

    fn saw_mark(
        &mut self,
        mut watch: Watch,
        found: Result<Option<Box<mark::Marked>>, SwarmError>,
        now: Timestamp,
    ) -> Step {
        match found {
            Ok(Some(found)) if found.mark.id == self.mark.id => {
                if watch.is_unsure && self.mark.change != found.mark.change {
                    (self.mark.change, self.mark.remade) = (found.mark.change, found.mark.remade);
                    watch.begins_anew(now);
                }
                (watch.is_unsure, self.may_be_over) = (false, None);
                self.rolls_out = found.rolls_out;
                self.changed |= found.changed;
                watch.is_ours = !found.changed && !self.unreached.is_empty();
                // What they publish from now on is for them to choose.
                self.mark.publishes &= !found.changed;
                // Our constraints must not stand in the way of somebody else's update.
                let may_yield =
                    self.may_yield(&Retreat::Clear, false) && (!self.may_want_source() || watch.is_vacated(now));
                if found.changed && watch.clear && may_yield {
                    let (state, detail) = (State::Superseded, Some(THEIRS.to_owned()));
                    let back_to = Some(watch);
                    return self.attempt(Ending { begun: now, revert: false, back_to, state, detail });
                }
            }
            Ok(_) => return self.lost(&SwarmError::Superseded),
            Err(error @ (SwarmError::Gone | SwarmError::Unreadable)) => return self.lost(&error),
            Err(_) => {}
        }
        self.phase = Phase::Watching(watch);
        Step::Pause(WATCH_PAUSE)
    }

    /// Swarm was told to begin it anew.
    fn told(&mut self, mut watch: Watch, done: Result<(), SwarmError>, now: Timestamp) -> Step {
        let pause = match done {
            Ok(()) => {
                self.may_be_over = None;
                self.mark.keep_off(&self.kept_off, self.remade);
                watch.begins_anew(now);
                WATCH_PAUSE
            }
            Err(error @ (SwarmError::Superseded | SwarmError::Gone)) => return self.lost(&error),
            Err(error) => {
                if matches!(error, SwarmError::OthersChange | SwarmError::OthersPaused) {
                    (self.rolls_out, self.mark.publishes, watch.is_ours) = (true, false, false);
                }
                watch.is_unsure = matches!(error, SwarmError::Raw { .. });
                UPDATE_PAUSE
            }
        };
        self.phase = Phase::Watching(watch);
        Step::Pause(pause)
    }

    fn watch_on(&mut self, watch: Watch) -> Step {
        let is_mark_due = watch.look.is_multiple_of(LOOKS_PER_MARK);
        self.phase = Phase::Watching(watch);
        if is_mark_due { Step::ReadMark } else { Step::Pause(WATCH_PAUSE) }
    }

    /// How long it may take, as things stand, and whether it is the source that has to be waited for.
    fn limit(&self, watch: &Watch, tasks: &[(TaskId, Task)], now: Timestamp) -> (Duration, bool) {
        let is_elsewhere = watch.redone == Redone::Elsewhere && !self.unreached.is_empty();
        let needs_third = is_elsewhere && !self.third_is_coming(tasks, now);
        // A third that nobody reaches either is to go in any case; else it is the source that would have to take it.
        let needs_source = needs_third && self.unreached.iter().all(|node| self.mark.keeps_off(node));
        let is_shut = needs_source && !watch.is_vacated(now);
        let may_leave = self.to_leave().next().is_some();
        (if needs_third && !is_shut && may_leave { THIRD_NODE_MAX } else { self.deadline }, is_shut)
    }

    /// What follows from the tasks; nothing while it is to be waited on.
    fn saw_tasks(&mut self, watch: &mut Watch, tasks: &[(TaskId, Task)], now: Timestamp) -> Option<Step> {
        let progress = swarm::progress(&self.mark, tasks.iter().map(|(_, task)| task));
        let retreat = swarm::retreat(&self.mark, &self.unreached, tasks.iter().map(|(_, task)| task));
        watch.clear = self.may_yield(&retreat, false);
        self.ended.saw(progress, now.since(watch.looked_at), now);
        watch.looked_at = now;
        let is_reached = self.unreached.is_empty();
        let (limit, is_shut) = self.limit(watch, tasks, now);
        let is_late = now.since(watch.begun) > limit;
        // What fails again and again beside what was moved rests between. In somebody else's update the healthy one may be what
        // they want replaced.
        let rests = || is_late && !self.rolled_out && self.may_yield(&self.as_one_rests(tasks, now), false);
        let is_through = watch.clear || rests() || has(Bug::EndsWhileReplacing);
        let is_decided = is_reached && progress.is_decided();
        // A move that is decided stands, though an old task may take its time to finish what it does. Somebody else's change
        // may have Swarm replace a task that runs elsewhere: our part stays until that is through.
        let since = |was: Option<Timestamp>, is: bool| was.filter(|_| is).or(is.then_some(now));
        // What was said of the source before does not count.
        watch.is_silent &= watch.decided_since.is_some();
        watch.decided_since = since(watch.decided_since, is_decided);
        let is_long_decided = watch.decided_since.is_some_and(|since| now.since(since) >= DECIDED_MAX);
        let is_enough = is_late || is_long_decided && watch.is_silent;
        let is_over = is_through && (is_decided && is_enough || is_reached && progress.is_done());
        let is_source_free = !self.may_want_source() || watch.is_vacated(now);
        if is_over && !is_source_free {
            return self.ask_for_source(watch);
        }
        if is_over || has(Bug::EndsTooEarly) {
            self.ended.reached = self.came_to_run_on(tasks);
            return Some(self.come_to(State::Completed, *watch, watch.redone.said(), now));
        }
        let is_stranded = self.is_stranded(tasks, now);
        let serves = is_reached && progress.running >= self.mark.replicas && !self.is_coming() && !is_stranded;
        let is_anywhere = watch.redone >= Redone::Anywhere && self.mark.allows_source();
        if is_anywhere && watch.clear && serves && !progress.is_decided() {
            let detail = "no replacement came to run elsewhere: it runs where it ran before";
            return Some(self.come_to(State::Reverted, *watch, Some(detail.to_owned()), now));
        }
        let is_waited_for = now.since(watch.begun) <= limit + RESTS_WITHIN;
        if is_late && is_decided && !is_waited_for {
            let why = match self.is_migration() {
                true => "all is moved, but Swarm replaces healthy tasks elsewhere: the spec is put back after that",
                false => "as many replicas run as are to, but an update that somebody else has made is not through yet",
            };
            return Some(self.done(State::Unfinished, why.to_owned()));
        }
        // What was to go is gone, and nothing more is on its way: it is another replica that does not run.
        let is_moved =
            self.reached(tasks).is_some() && progress.old_gone && watch.clear && !self.is_coming() && !is_stranded;
        if is_late && is_reached && is_moved {
            let detail = "not all other replicas of the service run".to_owned();
            self.ended.reached = self.reached(tasks);
            return Some(self.come_to(State::Completed, *watch, Some(detail), now));
        }
        if is_late {
            let retreat = self.way_back(tasks, now);
            // A task that fails again and again rests between, which is when it can be taken back.
            let is_waited_for = is_waited_for && (retreat == Retreat::Wait || is_decided);
            return if is_waited_for { None } else { Some(self.retreat(retreat, now)) };
        }
        let is_asked_about = is_long_decided && watch.look.is_multiple_of(LOOKS_PER_MARK);
        if is_shut || is_asked_about || self.changed && self.may_want_source() {
            return self.ask_for_source(watch);
        }
        let is_stranded = progress.old_leaving && is_stranded;
        let is_half_way = is_reached && progress.replacement_running && !progress.old_leaving && !self.is_coming();
        watch.stranded_since = since(watch.stranded_since, is_stranded);
        watch.half_way_since = since(watch.half_way_since, is_half_way);
        self.redo(watch, &retreat, tasks, now)
    }

    /// Where the replacement runs: on the planned target, else where a single task began to run since Swarm was asked.
    fn came_to_run_on(&self, tasks: &[(TaskId, Task)]) -> Option<NodeId> {
        let asked = self.mark.times.t4.filter(|_| self.is_migration());
        let is_new = |task: &Task| asked.zip(task.running_since).is_some_and(|(asked, since)| since >= asked);
        let mut new = tasks.iter().map(|(_, task)| task).filter(|task| is_new(task));
        let elsewhere = new.next().filter(|_| new.next().is_none()).and_then(|task| task.node.clone());
        self.reached(tasks).or(elsewhere)
    }

    /// The planned target, if a task runs on it now.
    fn reached(&self, tasks: &[(TaskId, Task)]) -> Option<NodeId> {
        let mark::Change::Migrate { target, .. } = &self.mark.change else { return None };
        let runs_there = tasks.iter().any(|(_, task)| task.is_running() && task.node.as_ref() == Some(target));
        runs_there.then(|| target.clone())
    }
}
