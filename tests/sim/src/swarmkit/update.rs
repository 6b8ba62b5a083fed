//! Slots, replicas and rolling updates.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use swarmguard_planner::facts::{TaskState, UpdateState};
use swarmguard_wire::{NodeId, ServiceId, TaskId};

use super::place::meets;
use super::{RESTART_DELAY, Service, SwarmKit, Task, Why};

/// An update counts as completed so long after its last task: the default of `Monitor`.
const MONITOR: Duration = Duration::from_secs(5);

/// The tasks of a service by slot, those that are to go left out.
type Slots = BTreeMap<u64, Vec<TaskId>>;

/// Whether two placements are one; on its way to the manager a list without entries is as good as none.
fn is_same(one: &Value, other: &Value) -> bool {
    let without = |placement: &Value| {
        let mut placement = placement.clone();
        if placement["Constraints"].as_array().is_some_and(Vec::is_empty) {
            placement.as_object_mut().and_then(|placement| placement.remove("Constraints"));
        }
        placement
    };
    one == other || without(one) == without(other)
}

impl SwarmKit {
    /// A new spec cancels the update before it: every slot is looked at anew.
    pub(super) fn begin_update(&mut self, id: &ServiceId) {
        let slots = self.slots(id);
        let is_dirty = slots.values().any(|tasks| self.is_dirty_slot(id, tasks));
        let now = self.now;
        let Some(service) = self.services.get_mut(id) else { return };
        service.replacing.clear();
        service.update = if is_dirty { UpdateState::Updating } else { UpdateState::Settled };
        service.settles_at = is_dirty.then_some(now + MONITOR);
    }

    /// A task has ended beside which another of its slot lives: it is started anew, whatever becomes of an update.
    pub(super) fn start_anew(&mut self, id: &TaskId) {
        let Some(ended) = self.tasks.get(id).filter(|task| task.wanted) else { return };
        let (service, slot) = (ended.service.clone(), ended.slot);
        let is_beside = |other: &Task| other.service == service && other.slot == slot && other.wanted;
        if self.tasks.values().any(|other| is_beside(other) && other.is_alive()) {
            self.make(&service, slot, RESTART_DELAY);
        }
    }

    /// Brings a service's tasks nearer to its spec.
    pub(super) fn reconcile(&mut self, id: &ServiceId) {
        self.changes += 1;
        self.scale(id);
        self.replace(id);
        self.place(id);
        self.settle(id);
    }

    fn slots(&self, id: &ServiceId) -> Slots {
        let mut slots = Slots::new();
        let wanted = self.tasks.iter().filter(|(_, task)| task.service == *id && task.wanted && task.is_alive());
        for (task_id, task) in wanted {
            slots.entry(task.slot).or_default().push(task_id.clone());
        }
        slots
    }

    fn scale(&mut self, id: &ServiceId) {
        let slots = self.slots(id);
        let Some(service) = self.services.get(id) else { return };
        let wanted = service.replicas();
        let mut more = wanted.saturating_sub(slots.len() as u64);
        let mut slot = 0;
        while more > 0 {
            slot += 1;
            if slots.contains_key(&slot) {
                continue;
            }
            let Some(service) = self.services.get_mut(id) else { return };
            // One whose task has ended is started anew after a while.
            let delay = if service.slots.insert(slot) { Duration::ZERO } else { RESTART_DELAY };
            self.make(id, slot, delay);
            more -= 1;
        }
        let surplus = (slots.len() as u64).saturating_sub(wanted);
        for _ in 0..surplus {
            let slots = self.slots(id);
            let Some(slot) = self.surplus(id, &slots) else { return };
            for task in slots.get(&slot).into_iter().flatten() {
                self.stop(task, Why::Spec);
            }
            if let Some(service) = self.services.get_mut(id) {
                service.slots.remove(&slot);
                service.replacing.remove(&slot);
            }
        }
    }

    /// The slot that goes: one without a node first, then one on the node with most of them; health does not matter.
    fn surplus(&mut self, id: &ServiceId, slots: &Slots) -> Option<u64> {
        let mut held: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for task in self.tasks.values().filter(|task| task.service == *id && task.wanted && task.is_alive()) {
            if let Some(node) = &task.node {
                *held.entry(node).or_default() += 1;
            }
        }
        let rank = |tasks: &Vec<TaskId>| {
            let node = tasks.iter().find_map(|task| self.tasks.get(task)?.node.as_ref());
            node.map_or(usize::MAX, |node| held.get(node).copied().unwrap_or(0))
        };
        let most = slots.values().map(rank).max()?;
        let candidates: Vec<u64> =
            slots.iter().filter(|(_, tasks)| rank(tasks) == most).map(|(slot, _)| *slot).collect();
        self.rng.pick(&candidates).copied()
    }

    fn replace(&mut self, id: &ServiceId) {
        for (slot, tasks) in self.slots(id) {
            let Some(service) = self.services.get(id) else { return };
            if let Some(new) = service.replacing.get(&slot).cloned() {
                self.look_at_replacement(id, slot, &new, &tasks);
                continue;
            }
            if service.update == UpdateState::Paused || !self.is_dirty_slot(id, &tasks) {
                continue;
            }
            let clean: Vec<TaskId> = tasks.iter().filter(|task| !self.is_dirty(service, task)).cloned().collect();
            if !clean.is_empty() {
                // It keeps whichever it finds first, be it healthy or not, and drops the others at once; one that is held
                // back only where there is no other.
                let is_held_back = |id: &&TaskId| self.tasks.get(*id).is_some_and(|task| self.holds_back(task));
                let to_run: Vec<TaskId> = clean.iter().filter(|id| !is_held_back(id)).cloned().collect();
                let kept = self.rng.pick(if to_run.is_empty() { &clean } else { &to_run }).cloned();
                for task in tasks.iter().filter(|task| Some(*task) != kept.as_ref()) {
                    self.stop(task, Why::Spec);
                }
                continue;
            }
            let config = &service.spec["UpdateConfig"];
            // Without a config one at a time; in one 0 is all at once.
            let parallel = if config.is_object() { config["Parallelism"].as_u64().unwrap_or(0) } else { 1 };
            if parallel > 0 && service.replacing.len() as u64 >= parallel {
                continue;
            }
            let is_start_first = config["Order"] == "start-first";
            if !is_start_first {
                tasks.iter().for_each(|task| self.stop(task, Why::Spec));
            }
            let new = self.make(id, slot, Duration::ZERO);
            // In stop-first order the new task waits for the old one's end.
            if let Some(new) = new.as_ref().filter(|_| !is_start_first).and_then(|new| self.tasks.get_mut(new)) {
                new.waits_for.clone_from(&tasks);
            }
            if let (Some(new), Some(service)) = (new, self.services.get_mut(id)) {
                service.replacing.insert(slot, new);
            }
        }
    }

    fn look_at_replacement(&mut self, id: &ServiceId, slot: u64, new: &TaskId, tasks: &[TaskId]) {
        let state = self.tasks.get(new).map_or(TaskState::Ended, |task| task.state);
        match state {
            TaskState::Starting => return,
            TaskState::Running => {
                for task in tasks.iter().filter(|task| *task != new) {
                    self.stop(task, Why::Spec);
                }
            }
            // The default of `FailureAction`.
            TaskState::Ended => {
                if let Some(service) = self.services.get_mut(id) {
                    (service.update, service.settles_at) = (UpdateState::Paused, None);
                }
            }
        }
        let settles_at = self.now + MONITOR;
        if let Some(service) = self.services.get_mut(id) {
            service.replacing.remove(&slot);
            service.settles_at = service.settles_at.map(|_| settles_at);
        }
    }

    fn settle(&mut self, id: &ServiceId) {
        let Some(service) = self.services.get(id) else { return };
        let is_over = service.settles_at.is_some_and(|at| at <= self.now);
        if service.update != UpdateState::Updating || !is_over || !service.replacing.is_empty() {
            return;
        }
        let is_done = self.slots(id).values().all(|tasks| !self.is_dirty_slot(id, tasks));
        let settles_at = self.now + MONITOR;
        let Some(service) = self.services.get_mut(id) else { return };
        if is_done {
            (service.update, service.settles_at) = (UpdateState::Settled, None);
        } else {
            service.settles_at = Some(settles_at);
        }
    }

    fn is_dirty_slot(&self, id: &ServiceId, tasks: &[TaskId]) -> bool {
        let Some(service) = self.services.get(id) else { return false };
        tasks.len() > 1 || tasks.iter().any(|task| self.is_dirty(service, task))
    }

    /// `IsTaskDirty`: a task that differs from the spec by its placement only is in line with it while its node still meets
    /// the constraints.
    fn is_dirty(&self, service: &Service, task: &TaskId) -> bool {
        self.tasks.get(task).is_some_and(|task| !self.is_in_line(service, task))
    }

    /// Whether a task is as the spec wants it.
    pub(super) fn is_in_line(&self, service: &Service, task: &Task) -> bool {
        let is_placed_so = || is_same(&task.placement, service.placement()) || self.still_meets(service, task);
        task.template == service.template && is_placed_so()
    }

    fn still_meets(&self, service: &Service, task: &Task) -> bool {
        let node = task.node.as_ref();
        node.is_some_and(|id| {
            self.machines.get(id).is_some_and(|machine| meets(service.placement(), id, &machine.node))
        })
    }
}
