//! Nodes that stop, are cut off, are missed and come back.

use std::time::Duration;

use swarmguard_planner::facts::TaskState;
use swarmguard_wire::NodeId;

use super::{Happened, NODE_DOWN_AFTER, SwarmKit};

impl SwarmKit {
    /// A node stops, or is cut off from the manager; or comes back.
    pub fn set_machine(&mut self, node: &NodeId, up: bool, reachable: bool) {
        let now = self.now;
        self.changes += 1;
        let Some(machine) = self.machines.get_mut(node) else { return };
        (machine.up, machine.reachable) = (up, reachable);
        let seen = up && reachable;
        machine.due = (seen != machine.node.ready).then(|| now + if seen { Duration::ZERO } else { NODE_DOWN_AFTER });
        if !up {
            // What ran there is gone, though nobody is told yet.
            for task in self.tasks.values_mut().filter(|task| task.node.as_ref() == Some(node)) {
                task.due = None;
            }
        }
    }

    /// A node hangs, or goes on.
    pub fn set_hanging(&mut self, node: &NodeId, hangs: bool) {
        self.changes += 1;
        self.machines.get_mut(node).into_iter().for_each(|machine| machine.hangs = hangs);
    }

    pub(super) fn nodes_due(&mut self) {
        let now = self.now;
        let due: Vec<NodeId> =
            self.machines.iter().filter(|(_, m)| m.due.is_some_and(|at| at <= now)).map(|(id, _)| id.clone()).collect();
        for id in due {
            let Some(machine) = self.machines.get_mut(&id) else { continue };
            machine.due = None;
            machine.node.ready = machine.up && machine.reachable;
            let is_back = machine.node.ready;
            let here = self.tasks.iter_mut().filter(|(_, task)| task.node.as_ref() == Some(&id) && task.is_alive());
            for (task_id, task) in here {
                if !is_back {
                    // The manager gives them up; their states stay as they were said last.
                    task.wanted = false;
                } else if !task.wanted || task.due.is_none() && task.state == TaskState::Starting {
                    task.state = TaskState::Ended;
                    self.happened.push(Happened::Ends(task_id.clone()));
                }
            }
            self.reconcile_all();
        }
    }
}
