//! A move that does not come to its end as it was planned is begun anew, on other nodes; never back and forth.
//!
//! Each time the same update is made, which keeps tasks off other nodes than before: off the source alone, off none, or off
//! those where nobody reaches what runs; and off those that do not take what they are given. Swarm then replaces what waits,
//! and what stands on a node that is kept off. That takes no healthy task as long as nothing that is on its way stands beside
//! one in its slot.

use std::time::Duration;

use swarmguard_planner::facts::Task;
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use super::{Course, Phase, Step, Watch};
use crate::swarm::mark::REMADE_MAX;
use crate::swarm::{self, Retreat, mark};

/// How long the planned node is waited for once nothing is left on the source: a new leader of the Swarm has tasks ended at
/// once whose node no longer meets the constraints, and hears from one node up to 15 s after another.
const STRANDED_MAX: Duration = Duration::from_secs(1);

/// Swarm takes the old task away as soon as the replacement runs. It has stopped half-way where it does not for so long: the
/// first replacement failed, which pauses the update, and the one that was started after it runs. The time is that for which
/// Swarm watches a replacement, by default (`Monitor`).
const HALF_WAY_MAX: Duration = Duration::from_secs(5);

/// For so long the source has to be heard from before a replacement may start there: until then what it stops may hold a port.
/// Every other node has that time too. What finds the port held fails, and Swarm pauses the update.
const VACATED_AFTER: Duration = Duration::from_secs(3);

/// It is asked for at every look; when it was not for so long, it is not known whether it was heard from meanwhile.
const HEARD_APART_MAX: Duration = Duration::from_secs(2);

/// What Swarm was told beyond the plan, last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Redone {
    /// Nothing.
    No,
    /// To go on with what it had stopped half-way.
    Resumed,
    /// To take any node but the source, and but those that do not take what they are given.
    Widened,
    /// To take any node but those, the source included.
    Anywhere,
    /// To make another of what nobody reaches.
    Elsewhere,
}

impl Redone {
    /// How that is said of a move that came to its end.
    pub(super) fn said(self) -> Option<String> {
        let said = match self {
            Self::No => return None,
            Self::Resumed => {
                "the first replacement failed, at which Swarm had stopped: it was told to go on once one ran"
            }
            Self::Widened | Self::Anywhere => {
                "the node that was planned did not take it in time once the old task was gone"
            }
            Self::Elsewhere => "a first replacement ran without the service's ports, and was replaced itself",
        };
        Some(said.to_owned())
    }
}

impl Watch {
    /// What ran on the source has had the time to stop, and a replacement may start there.
    pub(super) fn is_vacated(&self, now: Timestamp) -> bool {
        self.heard_since(now).is_some_and(|since| now.since(since) >= VACATED_AFTER)
    }

    /// Since when Swarm hears from the source, which it was seen to do just now, and when.
    pub(super) fn heard_again(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        (self.heard_since(now).unwrap_or(now), now)
    }

    fn heard_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.heard.filter(|(_, last)| now.since(*last) <= HEARD_APART_MAX).map(|(since, _)| since)
    }
}

impl Course {
    /// Asks whether Swarm hears from the source, before which nothing stops there.
    pub(super) fn ask_for_source(&mut self, watch: &Watch) -> Option<Step> {
        let mark::Change::Migrate { source, .. } = &self.mark.change else { return None };
        let source = source.clone();
        self.phase = Phase::Watching(*watch);
        Some(Step::ReadNode(source))
    }

    /// What waits could be given the source with our part taken out. While what ran there may hold its port, it would fail,
    /// Swarm would pause somebody's update, and none of its tasks would come to run. After an election Swarm may
    /// not hear from any node for as long as a task has just begun to wait; what waits for longer waits for something else.
    pub(super) fn may_want_source(&self) -> bool {
        let mark::Change::Migrate { source, .. } = &self.mark.change else { return false };
        self.has_just_begun_to_wait() && self.mark.keeps_off(source)
    }

    /// Has Swarm begin the move anew where it does not come to its end as it was planned; once each.
    pub(super) fn redo(
        &mut self,
        watch: &mut Watch,
        retreat: &Retreat,
        tasks: &[(TaskId, Task)],
        now: Timestamp,
    ) -> Option<Step> {
        let mark::Change::Migrate { source, .. } = &self.mark.change else { return None };
        let all = || tasks.iter().map(|(_, task)| task);
        if self.rolls_out || watch.redone == Redone::Elsewhere && !self.unreached.is_empty() {
            return None;
        }
        let since = |from: Option<Timestamp>| from.map_or(Duration::ZERO, |from| now.since(from));
        let is_stranded = since(watch.stranded_since) >= STRANDED_MAX && !self.changed;
        let is_half_way = since(watch.half_way_since) >= HALF_WAY_MAX && !self.changed;
        let unresponsive = self.unresponsive(tasks, now);
        let is_off_source = self.mark.is_kept_off(std::slice::from_ref(source));
        let (redone, mut nodes): (Redone, Vec<NodeId>) = if !self.unreached.is_empty() {
            let is_beside_others = self.unreached.iter().any(|node| node != source && self.kept.contains(node));
            // No third node took it, and the source may have it: whoever was at work on it before has told Swarm so.
            let is_left = self.mark.allows_source() && self.unreached.iter().all(|node| self.mark.keeps_off(node));
            if is_beside_others || is_left {
                return None;
            }
            (Redone::Elsewhere, self.unreached.iter().chain([source]).cloned().collect())
        } else if is_half_way && watch.redone == Redone::No {
            (Redone::Resumed, vec![source.clone()])
        } else if is_stranded && watch.redone <= Redone::Resumed && (!is_off_source || !unresponsive.is_empty()) {
            (Redone::Widened, unresponsive.iter().chain([source]).cloned().collect())
        } else if is_stranded && self.mark.keeps_off(source) {
            if !watch.is_vacated(now) {
                return self.ask_for_source(watch);
            }
            // Once what nobody reached has gone by itself, it is not begun once more for another.
            (watch.redone.max(Redone::Anywhere), unresponsive)
        } else {
            return None;
        };
        nodes.sort();
        nodes.dedup();
        // A replacement on its way to another node, or without one yet, would be kept at once for the healthy task that it
        // is to replace.
        let may_be_kept = all().any(|task| task.node.is_none() && swarm::migrate::is_beside_a_healthy_one(task, all()));
        if may_be_kept || !retreat.goes_with(&nodes) {
            return None;
        }
        let step = if !self.unreached.is_empty() && !watch.is_ours {
            Step::ReadMark
        } else {
            watch.asked = redone;
            self.kept_off.clone_from(&nodes);
            // What waits may have been made with these constraints before, and be past trying: it must not be in line with them.
            let is_again = self.mark.is_kept_off(&nodes) || !self.waiting.is_empty();
            self.remade = self.mark.remade + u32::from(is_again && self.mark.remade < REMADE_MAX);
            Step::BackOut { nodes, remade: self.remade }
        };
        self.phase = Phase::Watching(*watch);
        Some(step)
    }
}
