//! An incident in a few lines: facts over time, and at some moments what would be decided and why.
//!
//! ```text
//! node a manager
//! node b cpu 40 memory 40
//! service web on a b enabled
//! from 1 to 2: web.1 cpu 95 memory 40 network 5
//! at 2: plan
//! ```
//!
//! Times are seconds after Thursday, 1 January 2026, 08:00 UTC. Agents take a sample each second; `web.1` is the first task of
//! `web` and `web.*` are all of them. Nodes report and the Swarm is read all the time, unless it is said otherwise.

mod read;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use swarmguard_collector::explain;
use swarmguard_planner::facts::{Leader, Mode, Node, NodeReport, Service, Swarm, Task, TaskState, UpdateState};
use swarmguard_planner::memory::EndedBy;
use swarmguard_planner::plan::ActionKind;
use swarmguard_planner::quiet::Pause;
use swarmguard_planner::window::Sample;
use swarmguard_planner::{Facts, Memory, Policy, plan};
use swarmguard_wire::{ContainerId, NodeId, ServiceId, Timestamp};

/// 1 January 2026, 08:00 UTC.
const BEGINNING_S: u64 = 1_767_254_400;

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// Something that happens at a second.
#[derive(Debug, Clone)]
enum Event {
    Sample {
        service: ServiceId,
        task: Option<u64>,
        load: [Option<f32>; 3],
    },
    Begun(ServiceId, ActionKind, Vec<NodeId>),
    Ended(ServiceId, ActionKind),
    Refused(ServiceId),
    Update(ServiceId, UpdateState),
    /// The service has running tasks on these nodes from now on.
    Tasks(ServiceId, Vec<NodeId>),
    /// Its last task is on its way to run.
    Starting(ServiceId),
    /// Its tasks run since then.
    Started(ServiceId),
    /// Each of its tasks but the one in this slot has its ports.
    WithoutPorts(ServiceId, u64),
    /// It carries the mark of an action that another collector began.
    Marked(ServiceId),
    Pause(Option<ServiceId>, Option<String>),
    Node(NodeId, Health),
    Leader(Leader),
    SwarmUnread,
    Plan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Up,
    Down,
    Silent,
}

/// What a script says is there at the beginning, and what happens.
#[derive(Debug, Clone, Default)]
struct Incident {
    policy: Policy,
    nodes: BTreeMap<NodeId, (Node, [f32; 2])>,
    services: BTreeMap<ServiceId, (Service, Vec<NodeId>)>,
    events: Vec<(u64, Event)>,
}

/// What would be decided at each moment that the script asks about, in sentences.
///
/// # Errors
/// Names the first line that cannot be read.
pub fn explain(script: &str) -> Result<String, Unreadable> {
    let incident = read::incident(script)?;
    Ok(Run::new(incident).run())
}

struct Run {
    incident: Incident,
    facts: Facts,
    memory: Memory,
    swarm: Swarm,
    silent: BTreeMap<NodeId, u64>,
    unread_since: Option<u64>,
    /// Containers that were made.
    made: u8,
    told: String,
}

impl Run {
    fn new(incident: Incident) -> Self {
        let services = incident.services.iter().map(|(id, (service, _))| (id.clone(), service.clone()));
        let nodes = incident.nodes.iter().map(|(id, (node, _))| (id.clone(), node.clone()));
        let swarm =
            Swarm { leader: Leader::Here, nodes: nodes.collect(), services: services.collect(), ..Swarm::default() };
        let (facts, memory, silent, told) = Default::default();
        let mut run = Self { incident, facts, memory, swarm, silent, unread_since: None, made: 0, told };
        for (id, (_, nodes)) in run.incident.services.clone() {
            run.place(&id, &nodes);
        }
        run
    }

    fn run(mut self) -> String {
        let mut events = std::mem::take(&mut self.incident.events);
        events.sort_by_key(|(second, _)| *second);
        for (second, event) in events {
            self.happens(second, event);
        }
        self.told
    }

    fn happens(&mut self, second: u64, event: Event) {
        let now = at(second);
        match event {
            Event::Sample { service, task, load } => self.sample(&service, task, load, second),
            Event::Begun(service, kind, nodes) => self.memory.started(&service, kind, nodes, now),
            Event::Ended(service, kind) => self.memory.ended(&service, kind, EndedBy::Us, now),
            Event::Refused(service) => self.memory.refused(&service, now),
            Event::Update(service, state) => self.change(&service, |service| service.update = state),
            Event::Tasks(service, nodes) => {
                let replicas = nodes.len() as u64;
                self.change(&service, |service| service.mode = Mode::Replicated { replicas });
                self.place(&service, &nodes);
            }
            Event::Starting(service) => self.change(&service, |service| {
                if let Some(mut task) = service.tasks.last_entry() {
                    task.get_mut().state = TaskState::Starting;
                }
            }),
            Event::Started(service) => self.change(&service, |service| {
                service.tasks.values_mut().for_each(|task| task.running_since = Some(now));
            }),
            Event::WithoutPorts(service, slot) => self.change(&service, |service| {
                service.tasks.values_mut().for_each(|task| task.publishes = task.slot != Some(slot));
            }),
            Event::Marked(service) => self.change(&service, |service| service.action_marked = true),
            Event::Pause(service, reason) => {
                let pause = Pause { until: None, reason };
                match service {
                    Some(service) => drop(self.facts.pauses.services.insert(service.to_string(), pause)),
                    None => self.facts.pauses.all = Some(pause),
                }
            }
            Event::Node(node, health) => {
                if let Some(found) = self.swarm.nodes.get_mut(&node) {
                    found.ready = health != Health::Down;
                }
                match health {
                    Health::Up => drop(self.silent.remove(&node)),
                    Health::Down | Health::Silent => drop(self.silent.entry(node).or_insert(second)),
                }
            }
            Event::Leader(leader) => self.swarm.leader = leader,
            Event::SwarmUnread => self.unread_since = Some(second),
            Event::Plan => self.plan(second),
        }
    }

    fn plan(&mut self, second: u64) {
        let now = at(second);
        self.swarm.seen_at = at(self.unread_since.unwrap_or(second));
        self.facts.record_swarm(self.swarm.clone());
        self.memory.saw(&self.swarm, now);
        for (id, (node, [cpu, memory])) in &self.incident.nodes {
            let received_at = at(self.silent.get(id).copied().unwrap_or(second));
            let report = NodeReport {
                name: node.hostname.clone(),
                received_at,
                cpu_percent: Some(*cpu),
                memory_percent: Some(*memory),
                network_percent: Some(1.0),
                link_mbps: None,
                containers: 1,
            };
            self.facts.record_report(id.clone(), report);
        }
        let decisions = plan(&self.facts, &self.incident.policy, &self.memory, now);
        if !self.told.is_empty() {
            self.told.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.told, "{second} s");
        let calm = self.swarm.services.iter().filter(|(id, _)| decisions.iter().all(|it| it.service != **id));
        let calm = calm.map(|(_, service)| explain::calm(&self.facts, &self.incident.policy, service, now));
        for sentences in decisions.iter().map(|decision| decision.explain()).chain(calm) {
            for (number, sentence) in sentences.iter().enumerate() {
                let _ = writeln!(self.told, "  {}{sentence}", if number == 0 { "" } else { "  " });
            }
        }
    }

    fn sample(
        &mut self,
        service: &ServiceId,
        task: Option<u64>,
        [cpu, memory, network]: [Option<f32>; 3],
        second: u64,
    ) {
        let Some(found) = self.swarm.services.get(service) else { return };
        let wanted = found.tasks.values().filter(|found| task.is_none() || found.slot == task);
        for container in wanted.filter_map(|task| task.container) {
            let sample = Sample {
                tick: second,
                sampled_at: at(second),
                sent_at: at(second),
                received_at: at(second),
                has_healthcheck: Some(true),
                cpu_percent: cpu,
                memory_percent: memory,
                network_percent: network,
            };
            self.facts.record_sample(container, sample);
        }
    }

    fn change(&mut self, service: &ServiceId, change: impl FnOnce(&mut Service)) {
        if let Some(service) = self.swarm.services.get_mut(service) {
            change(service);
        }
    }

    /// Gives a service running tasks on these nodes.
    fn place(&mut self, id: &ServiceId, nodes: &[NodeId]) {
        let Some(service) = self.swarm.services.get_mut(id) else { return };
        service.tasks.clear();
        for (slot, node) in (1..).zip(nodes) {
            self.made = self.made.wrapping_add(1);
            let task = Task {
                node: Some(node.clone()),
                slot: Some(slot),
                state: TaskState::Running,
                running_since: None,
                desired_running: true,
                desired_gone: false,
                container: Some(ContainerId::new([self.made; 32])),
                accepted: true,
                publishes: false,
            };
            service.tasks.extend(format!("{id}{slot:03}").parse().ok().map(|id| (id, task)));
        }
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(BEGINNING_S + second)
}
