//! Nodes that stop, are cut off, are missed and come back.

use std::time::Duration;

use swarmguard_planner::facts::TaskState;
use swarmguard_wire::{NodeId, TaskId};

use super::place::meets;
use super::{Happened, Machine, NODE_DOWN_AFTER, RESTART_DELAY, SwarmKit, Task, Why};
use crate::rng::Rng;

/// So long after its leader was lost a Swarm may make tasks that never get their ports; the next leader takes up to 12 s of it.
const PORTS_UNSURE: Duration = Duration::from_secs(20);

/// A new leader hears from one node after another, seen within 14 s.
const HEARS_WITHIN_MS: (u64, u64) = (100, 14_000);

impl SwarmKit {
    /// A node stops, or is cut off from the manager; or comes back.
    pub fn set_machine(&mut self, node: &NodeId, up: bool, reachable: bool) {
        let now = self.now;
        self.changes += 1;
        let Some(machine) = self.machines.get_mut(node) else { return };
        (machine.up, machine.reachable) = (up, reachable);
        let seen = up && reachable;
        machine.due = (!seen || !machine.node.ready).then(|| now + if seen { Duration::ZERO } else { NODE_DOWN_AFTER });
        // It was not missed, and registers again.
        let is_seen_again = seen && machine.node.ready;
        if !up {
            machine.holds.clear();
            // What ran there is gone, though nobody is told before it is back.
            let here = self.tasks.values_mut().filter(|task| task.node.as_ref() == Some(node) && task.is_alive());
            here.for_each(|task| task.due = Some((now, TaskState::Ended)));
        }
        self.take(node);
        if is_seen_again {
            self.enforce_constraints(node);
            self.reconcile_all();
        }
    }

    /// The leader is lost, and another manager leads: no node is ready until it has found the new leader, and tasks are ended
    /// at once whose nodes do not meet their service's constraints, as they are now. Tasks that do not run yet, and some that
    /// are made before the new leader has found its feet, may never get their ports, and are taken for healthy all the same.
    pub fn change_leader(&mut self, rng: &mut Rng) {
        let now = self.now;
        self.changes += 1;
        self.ports_unsure_until = now + PORTS_UNSURE;
        // Its scheduler looks at all that wait.
        self.tasks.values_mut().for_each(|task| task.is_dropped = false);
        // It knows no more what was to run after what, and takes it for one that was started anew (`CheckTasks`).
        for task in self.tasks.values_mut().filter(|task| !task.waits_for.is_empty() && task.node.is_none()) {
            task.waits_for.clear();
            task.delayed_until = task.delayed_until.max(task.made_at + RESTART_DELAY);
        }
        let unready = |task: &&mut Task| task.wanted && task.state == TaskState::Starting;
        for task in self.tasks.values_mut().filter(unready).filter(|_| rng.chance(50)) {
            task.portless_since.get_or_insert(now);
        }
        for machine in self.machines.values_mut().filter(|machine| machine.node.ready) {
            machine.node.ready = false;
            machine.due = Some(now + Duration::from_millis(rng.between(HEARS_WITHIN_MS.0, HEARS_WITHIN_MS.1)));
        }
        let nodes: Vec<NodeId> = self.machines.keys().cloned().collect();
        nodes.iter().for_each(|node| self.enforce_constraints(node));
        self.reconcile_all();
    }

    /// What runs on a node that does not meet its service's constraints, as they are now, is ended at once, and started anew
    /// like one that failed (SwarmKit's `constraintenforcer`).
    fn enforce_constraints(&mut self, id: &NodeId) {
        let Some(machine) = self.machines.get(id) else { return };
        let is_misplaced = |task: &&Task| {
            let service = self.services.get(&task.service);
            let is_here = task.node.as_ref() == Some(id) && task.wanted && task.is_alive();
            is_here && service.is_some_and(|service| !meets(service.placement(), id, &machine.node))
        };
        let misplaced: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| is_misplaced(task)).map(|(id, _)| id.clone()).collect();
        for task in misplaced {
            self.start_anew(&task);
            self.stop(&task, Why::Misplaced);
        }
    }

    /// A node hangs, or goes on.
    pub fn set_hanging(&mut self, node: &NodeId, hangs: bool) {
        self.changes += 1;
        self.machines.get_mut(node).into_iter().for_each(|machine| machine.hangs = hangs);
        self.take(node);
    }

    /// A node takes what it was given, if it can.
    fn take(&mut self, node: &NodeId) {
        if self.machines.get(node).is_some_and(Machine::takes) {
            let here = self.tasks.values_mut().filter(|task| task.node.as_ref() == Some(node));
            here.for_each(|task| task.accepted = true);
        }
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
            if is_back {
                self.enforce_constraints(&id);
            }
            let Some(machine) = self.machines.get_mut(&id) else { continue };
            for (length, until) in machine.holds.values_mut().filter(|_| is_back) {
                until.get_or_insert(now + *length);
            }
            let here = self.tasks.iter_mut().filter(|(_, task)| task.node.as_ref() == Some(&id) && task.is_alive());
            for (task_id, task) in here {
                if !is_back {
                    // The manager gives them up; their states stay as they were said last.
                    task.wanted = false;
                } else if !task.wanted || task.due.is_none() && task.state == TaskState::Starting {
                    (task.state, task.due) = (TaskState::Ended, None);
                    self.happened.push(Happened::Ends(task_id.clone()));
                }
            }
            self.reconcile_all();
        }
    }
}
