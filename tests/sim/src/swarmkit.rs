//! A model of SwarmKit, as far as SwarmGuard's actions depend on it.
//!
//! Orchestrator, updater, scheduler, restarts and the loss of nodes, after SwarmKit's sources (`manager/orchestrator`,
//! `manager/scheduler`) and what was seen on a real Swarm. Where SwarmKit leaves open what happens, the seed decides.
//! Nothing here knows SwarmGuard: it takes specs and gives tasks.

mod machines;
mod place;
mod store;
mod update;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use swarmguard_planner::facts::{Node, TaskState, UpdateState};
use swarmguard_wire::{NodeId, ServiceId, TaskId, Timestamp};

use crate::rng::Rng;
use place::OLD_TASK_TIMEOUT;
use store::template_of;
pub use store::{Happened, Machine, Service, Task, plain_node};

/// SwarmKit's default between a task's end and its replacement's start.
pub const RESTART_DELAY: Duration = Duration::from_secs(5);

/// What has had no node for so long is not about to get one.
const UNPLACED_FOR: Duration = Duration::from_secs(20);

/// A node is missed after three heartbeats of five seconds.
pub const NODE_DOWN_AFTER: Duration = Duration::from_secs(15);

/// The Swarm.
#[derive(Debug, Clone)]
pub struct SwarmKit {
    /// The time.
    pub now: Timestamp,
    /// Services.
    pub services: BTreeMap<ServiceId, Service>,
    /// Tasks, ended ones left out after a while.
    pub tasks: BTreeMap<TaskId, Task>,
    /// Nodes.
    pub machines: BTreeMap<NodeId, Machine>,
    /// What has changed since somebody looked.
    pub happened: Vec<Happened>,
    /// Counts whatever changes: what was read at the same count is still so.
    pub changes: u64,
    due: Cell<Option<(u64, Option<Timestamp>)>>,
    version: u64,
    made: u64,
    ports_unsure_until: Timestamp,
    rng: Rng,
}

/// Why a task is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Its service has another spec, or fewer replicas.
    Spec,
    /// A new leader finds it on a node that its service's constraints exclude.
    Misplaced,
}

/// Why an update is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such service.
    Gone,
    /// It does not rest on the newest version.
    OutOfSequence,
}

impl SwarmKit {
    /// Nodes without services.
    #[must_use]
    pub fn new(nodes: BTreeMap<NodeId, Node>, rng: Rng, now: Timestamp) -> Self {
        let machine =
            |node| Machine { node, up: true, reachable: true, hangs: false, due: None, holds: BTreeMap::new() };
        let machines = nodes.into_iter().map(|(id, node)| (id, machine(node))).collect();
        Self {
            now,
            services: BTreeMap::new(),
            tasks: BTreeMap::new(),
            machines,
            happened: Vec::new(),
            changes: 1,
            due: Cell::new(None),
            version: 10,
            made: 0,
            ports_unsure_until: Timestamp::default(),
            rng,
        }
    }

    /// Creates a service.
    pub fn create(&mut self, id: ServiceId, spec: Value, hopeless_percent: u64) {
        self.version += 1;
        let service = Service {
            spec,
            previous: Value::Null,
            rolled_back: false,
            version: self.version,
            spec_version: self.version,
            previous_version: self.version,
            update: UpdateState::Settled,
            hopeless_percent,
            template: String::new(),
            slots: BTreeSet::new(),
            replacing: BTreeMap::new(),
            settles_at: None,
        };
        let service = Service { template: template_of(&service.spec), ..service };
        self.services.insert(id.clone(), service);
        self.reconcile(&id);
    }

    /// `docker service update`: a versioned one.
    ///
    /// # Errors
    /// When the service is gone or has changed since.
    pub fn update(&mut self, id: &ServiceId, version: u64, spec: Value) -> Result<(), Refusal> {
        let service = self.services.get_mut(id).ok_or(Refusal::Gone)?;
        if service.version != version {
            return Err(Refusal::OutOfSequence);
        }
        self.version += 1;
        service.template = template_of(&spec);
        service.previous = std::mem::replace(&mut service.spec, spec);
        service.previous_version = std::mem::replace(&mut service.spec_version, self.version);
        service.rolled_back = false;
        service.version = self.version;
        self.begin_update(id);
        self.reconcile(id);
        Ok(())
    }

    /// `docker service rollback`.
    ///
    /// # Errors
    /// When the service is gone.
    pub fn roll_back(&mut self, id: &ServiceId) -> Result<(), Refusal> {
        let service = self.services.get_mut(id).ok_or(Refusal::Gone)?;
        if service.previous.is_null() {
            return Ok(());
        }
        self.version += 1;
        std::mem::swap(&mut service.spec, &mut service.previous);
        std::mem::swap(&mut service.spec_version, &mut service.previous_version);
        service.rolled_back = true;
        service.template = template_of(&service.spec);
        service.version = self.version;
        self.begin_update(id);
        self.reconcile(id);
        Ok(())
    }

    /// `docker service rm`.
    pub fn remove(&mut self, id: &ServiceId) {
        self.changes += 1;
        self.services.remove(id);
        self.tasks.retain(|_, task| task.service != *id);
    }

    /// A container dies.
    pub fn crash(&mut self, task: &TaskId) {
        let Some(found) = self.tasks.get_mut(task) else { return };
        found.state = TaskState::Ended;
        found.due = None;
        let service = found.service.clone();
        self.start_anew(task);
        self.happened.push(Happened::Ends(task.clone()));
        self.reconcile(&service);
    }

    /// When something happens next by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if let Some((_, due)) = self.due.get().filter(|(changes, _)| *changes == self.changes) {
            return due;
        }
        let due = self.look_for_due();
        self.due.set(Some((self.changes, due)));
        due
    }

    fn look_for_due(&self) -> Option<Timestamp> {
        let now = self.now;
        let tasks = self.tasks.values().flat_map(|task| {
            let delayed =
                (task.node.is_none() && task.is_alive() && task.delayed_until > now).then_some(task.delayed_until);
            let due = task.due.filter(|_| self.hears_of(task)).map(|(at, _)| at);
            let after = self.waits(task).then_some(task.made_at + OLD_TASK_TIMEOUT);
            due.into_iter().chain(delayed).chain(after)
        });
        let updates = self.services.values().filter_map(|service| service.settles_at).filter(|at| *at > now);
        tasks.chain(updates).chain(self.machines.values().filter_map(|machine| machine.due)).min()
    }

    /// Whether what a task does reaches the manager: else it is told when the node is back.
    fn hears_of(&self, task: &Task) -> bool {
        let machine = task.node.as_ref().and_then(|node| self.machines.get(node));
        machine.is_none_or(Machine::takes)
    }

    /// Lets time pass until `to`, and everything happen that is due until then.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some(at) = self.next_due().filter(|at| *at <= to) {
            self.now = self.now.max(at);
            self.changes += 1;
            self.nodes_due();
            self.tasks_due();
        }
        self.now = self.now.max(to);
    }

    fn tasks_due(&mut self) {
        let now = self.now;
        let due: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.due.is_some_and(|(at, _)| at <= now) && self.hears_of(task))
            .map(|(id, _)| id.clone())
            .collect();
        let mut touched = BTreeSet::new();
        for id in due {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let Some((_, state)) = task.due.take() else { continue };
            task.state = state;
            let service = task.service.clone();
            match state {
                TaskState::Running => {
                    task.running_since = Some(now);
                    self.happened.push(Happened::Runs(id));
                }
                TaskState::Ended => {
                    self.start_anew(&id);
                    self.happened.push(Happened::Ends(id));
                }
                TaskState::Starting => {}
            }
            touched.insert(service);
        }
        let waiting = self.tasks.values().filter(|task| task.node.is_none() && task.is_alive());
        touched.extend(waiting.map(|task| task.service.clone()));
        let settling = self.services.iter().filter(|(_, service)| service.settles_at.is_some_and(|at| at <= now));
        touched.extend(settling.map(|(id, _)| id.clone()));
        touched.iter().for_each(|service| self.reconcile(service));
    }

    fn reconcile_all(&mut self) {
        let services: Vec<ServiceId> = self.services.keys().cloned().collect();
        services.iter().for_each(|service| self.reconcile(service));
    }

    fn stop(&mut self, id: &TaskId, why: Why) {
        let (now, length) = (self.now, Duration::from_millis(self.rng.between(100, 4_000)));
        let Some(task) = self.tasks.get_mut(id) else { return };
        // Nobody loses anything by one that nobody reaches.
        let was_running = task.is_running() && task.portless_since.is_none();
        task.wanted = false;
        let service = task.service.clone();
        let is_misplaced = why == Why::Misplaced;
        // One without a node was never started; and one whose node does not meet the constraints is taken for ended at once
        // (SwarmKit's `constraintenforcer`), though its node is yet to be told.
        if task.node.is_none() || is_misplaced {
            task.state = TaskState::Ended;
            task.due = None;
        } else {
            task.due = Some((now + length, TaskState::Ended));
        }
        if let Some(machine) = task.node.as_ref().filter(|_| is_misplaced).and_then(|node| self.machines.get_mut(node))
        {
            machine.holds.insert(service.clone(), (length, None));
            self.happened.push(Happened::Ends(id.clone()));
        }
        if !was_running {
            return;
        }
        let (slot, template) = (task.slot, task.template.clone());
        if let (Why::Misplaced, Some(node)) = (why, task.node.clone()) {
            self.happened.push(Happened::Misplaced { service, node });
        } else {
            let serves =
                |other: &&Task| other.service == service && other.is_running() && other.portless_since.is_none();
            let left = self.tasks.values().filter(serves).count() as u64;
            let replaced = self.tasks.values().filter(serves).any(|other| other.slot == slot);
            let seems = |other: &Task| other.service == service && other.slot == slot && other.is_running();
            let seems_replaced = self.tasks.values().any(seems);
            let (seem_left, unplaced) = (self.running(&service), self.unplaced(&service, slot));
            // Where another of its slot is in line with the spec and does not run yet, that one was kept for it.
            let is_kept = |found: &Service, other: &Task| {
                let is_its = other.service == service && other.slot == slot && other.wanted && other.is_alive();
                is_its && !other.is_running() && self.is_in_line(found, other)
            };
            let outdated = self.services.get(&service).is_some_and(|found| {
                found.template != template && !self.tasks.values().any(|other| is_kept(found, other))
            });
            self.happened.push(Happened::Stopped {
                task: id.clone(),
                service,
                left,
                seem_left,
                unplaced,
                replaced,
                seems_replaced,
                outdated,
            });
        }
    }

    /// Replicas of which nothing runs, since what is to has had no node for a while; `but` that one left out.
    fn unplaced(&self, service: &ServiceId, but: u64) -> u64 {
        let of = |task: &&Task| task.service == *service && task.wanted && task.slot != but;
        let runs = |slot| self.tasks.values().filter(of).any(|task| task.slot == slot && task.is_running());
        let is_stuck =
            |task: &&Task| task.node.is_none() && !self.waits(task) && self.now.since(task.made_at) >= UNPLACED_FOR;
        let stuck = self.tasks.values().filter(of).filter(is_stuck).map(|task| task.slot);
        stuck.filter(|slot| !runs(*slot)).collect::<BTreeSet<u64>>().len() as u64
    }

    /// Tasks of a service that run and are meant to.
    #[must_use]
    pub fn running(&self, service: &ServiceId) -> u64 {
        self.tasks.values().filter(|task| task.service == *service && task.is_running()).count() as u64
    }

    /// The same for every service that has any.
    #[must_use]
    pub fn running_of_each(&self) -> BTreeMap<&ServiceId, u64> {
        let mut running = BTreeMap::new();
        for task in self.tasks.values().filter(|task| task.is_running()) {
            *running.entry(&task.service).or_default() += 1;
        }
        running
    }

    fn make(&mut self, service: &ServiceId, slot: u64, delay: Duration) -> Option<TaskId> {
        let found = self.services.get(service)?;
        self.made += 1;
        let id: TaskId = format!("task{:06}", self.made).parse().ok()?;
        let hopeless = self.rng.chance(found.hopeless_percent);
        let is_portless = self.now < self.ports_unsure_until && self.rng.chance(50);
        let task = Task {
            service: service.clone(),
            slot,
            node: None,
            container: None,
            accepted: false,
            state: TaskState::Starting,
            wanted: true,
            running_since: None,
            template: found.template.clone(),
            placement: found.placement().clone(),
            due: None,
            hopeless,
            portless_since: is_portless.then_some(self.now),
            made_at: self.now,
            delayed_until: self.now + delay,
            waits_for: Vec::new(),
            spec_version: found.spec_version,
            is_dropped: false,
        };
        self.tasks.insert(id.clone(), task);
        Some(id)
    }

    /// What ended long ago is forgotten, as the task history's limit has it.
    pub fn forget(&mut self) {
        let before = self.tasks.len();
        self.tasks.retain(|_, task| task.is_alive());
        self.changes += u64::from(self.tasks.len() != before);
    }
}
