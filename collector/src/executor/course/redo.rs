//! A move that does not come to its end as it was planned is begun anew, on other nodes, or given up where none takes it.

use std::time::Duration;

use swarmguard_planner::facts::Task;
use swarmguard_wire::{NodeId, TaskId, Timestamp};

use super::{Course, Phase, Step, Watch};
use crate::journal::State;
use crate::swarm::{self, Retreat, mark};

/// How long the planned node is waited for once nothing is left on the source: a new leader of the Swarm has tasks ended at
/// once whose node no longer meets the constraints, and hears from one node up to 15 s after another.
const STRANDED_MAX: Duration = Duration::from_secs(1);

/// How long any node but the source is waited for then: a replica that runs where it ran before serves, and one that waits for
/// a better place does not.
const AWAY_MAX: Duration = Duration::from_secs(3);

impl Course {
    /// Has Swarm begin the move anew where it does not come to its end as it was planned; once each. What no node takes may
    /// start where it was.
    pub(super) fn redo(
        &mut self,
        watch: &mut Watch,
        retreat: &Retreat,
        tasks: &[(TaskId, Task)],
        now: Timestamp,
    ) -> Option<Step> {
        let mark::Change::Migrate { source, added, .. } = &self.mark.change else { return None };
        let all = || tasks.iter().map(|(_, task)| task);
        if self.rolls_out || watch.remade {
            return None;
        }
        let stranded = watch.stranded_since.map_or(Duration::ZERO, |since| now.since(since));
        let waits = |task: &Task| task.is_unready() && task.node.is_none();
        let is_stranded = stranded >= STRANDED_MAX && all().any(waits);
        if is_stranded && stranded >= AWAY_MAX && self.unreached.is_empty() && *retreat == Retreat::Clear {
            let seconds = AWAY_MAX.as_secs();
            let nowhere = format!("the old task was gone, and for {seconds} s no other node took the next one");
            return Some(self.end(State::Reverted, nowhere, true, now));
        }
        let nodes: Vec<NodeId> = if !self.unreached.is_empty() {
            self.unreached.iter().chain([source]).cloned().collect()
        } else if is_stranded && !watch.widened && added.len() > 1 {
            vec![source.clone()]
        } else {
            return None;
        };
        // A replacement on its way to another node, or without one yet, would be kept at once for the healthy task that it
        // is to replace.
        let is_unsure = all().any(|task| task.node.is_none() && swarm::migrate::is_beside_a_healthy_one(task, all()));
        if is_unsure || !retreat.goes_with(&nodes) {
            return None;
        }
        let step = if self.unreached.is_empty() {
            watch.widened = true;
            Step::BackOut { nodes }
        } else if watch.is_ours {
            watch.remade = true;
            Step::BackOut { nodes }
        } else {
            Step::ReadMark
        };
        self.phase = Phase::Watching(*watch);
        Some(step)
    }
}
