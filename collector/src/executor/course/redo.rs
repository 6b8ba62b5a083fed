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
use crate::swarm::{self, Retreat, mark};

/// How long the planned node is waited for once nothing is left on the source: a new leader of the Swarm has tasks ended at
/// once whose node no longer meets the constraints, and hears from one node up to 15 s after another.
const STRANDED_MAX: Duration = Duration::from_secs(1);

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
    pub(super) fn ask_whether_vacated(&mut self, watch: &Watch) -> Option<Step> {
        let mark::Change::Migrate { source, .. } = &self.mark.change else { return None };
        let source = source.clone();
        self.phase = Phase::Watching(*watch);
        Some(Step::ReadNode(source))
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
        if self.rolls_out || watch.redone == Redone::Elsewhere {
            return None;
        }
        let since = |from: Option<Timestamp>| from.map_or(Duration::ZERO, |from| now.since(from));
        let is_stranded = since(watch.stranded_since) >= STRANDED_MAX && !self.changed;
        let unresponsive = self.unresponsive(tasks, now);
        let is_off_source = self.mark.is_kept_off(std::slice::from_ref(source));
        let (redone, mut nodes): (Redone, Vec<NodeId>) = if !self.unreached.is_empty() {
            if self.unreached.iter().any(|node| node != source && self.kept.contains(node)) {
                return None;
            }
            (Redone::Elsewhere, self.unreached.iter().chain([source]).cloned().collect())
        } else if is_stranded && watch.redone == Redone::No && (!is_off_source || !unresponsive.is_empty()) {
            (Redone::Widened, unresponsive.iter().chain([source]).cloned().collect())
        } else if is_stranded && watch.redone < Redone::Anywhere {
            if !watch.is_vacated(now) {
                return self.ask_whether_vacated(watch);
            }
            (Redone::Anywhere, unresponsive)
        } else {
            return None;
        };
        nodes.sort();
        nodes.dedup();
        // A replacement on its way to another node, or without one yet, would be kept at once for the healthy task that it
        // is to replace.
        let is_unsure = all().any(|task| task.node.is_none() && swarm::migrate::is_beside_a_healthy_one(task, all()));
        if is_unsure || !retreat.goes_with(&nodes) {
            return None;
        }
        let step = if redone == Redone::Elsewhere && !watch.is_ours {
            Step::ReadMark
        } else {
            watch.asked = redone;
            self.kept_off.clone_from(&nodes);
            Step::BackOut { nodes, remade: self.mark.remade }
        };
        self.phase = Phase::Watching(*watch);
        Some(step)
    }
}
