//! A small Swarm of facts to plan for: three nodes with agents, one service with two tasks, on `a` and `b`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swarmguard_planner::facts::{
    HostPort, Leader, Mode, Node, NodeReport, Platform, Protocol, Resources, Service, Swarm, Task, TaskState,
    UpdateState,
};
use swarmguard_planner::labels::Labels;
use swarmguard_planner::window::Sample;
use swarmguard_planner::{Decision, Facts, Memory, Outcome, Policy, Withheld, plan};
use swarmguard_wire::{ContainerId, Name, NodeId, ServiceId, Timestamp};

/// Seconds since the epoch at which the world is planned for.
pub(crate) const NOW: u64 = 1_000;

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

pub(crate) fn node_id(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub(crate) fn service_id() -> ServiceId {
    "web".parse().unwrap()
}

pub(crate) fn container(number: u8) -> ContainerId {
    ContainerId::new([number; 32])
}

/// CPU, memory and network in percent.
pub(crate) type Load = (f32, f32, f32);
pub(crate) const SICK: Load = (95.0, 10.0, 5.0);
pub(crate) const BUSY: Load = (95.0, 90.0, 80.0);
pub(crate) const CALM: Load = (10.0, 10.0, 5.0);

pub(crate) struct World {
    pub(crate) facts: Facts,
    pub(crate) policy: Policy,
    pub(crate) memory: Memory,
}

impl World {
    pub(crate) fn new() -> Self {
        let nodes = ["a", "b", "c"].map(|name| (node_id(name), node(name)));
        let tasks = [("t1", task("a", 1)), ("t2", task("b", 2))].map(|(id, task)| (id.parse().unwrap(), task));
        let service = Service {
            name: Name::new("web"),
            version: 7,
            mode: Mode::Replicated { replicas: 2 },
            scaled: None,
            action: None,
            labels: labels(&[("swarmguard.enable", "true")]),
            update: UpdateState::Settled,
            action_marked: false,
            has_placement: true,
            constraints: Vec::new(),
            platforms: Vec::new(),
            reserved: Resources::default(),
            host_ports: BTreeSet::new(),
            local_mount: None,
            replicas_per_node_max: None,
            has_healthcheck: None,
            tasks: BTreeMap::from(tasks),
        };
        let swarm = Swarm {
            seen_at: at(NOW),
            leader: Leader::Here,
            services: BTreeMap::from([(service_id(), service)]),
            nodes: BTreeMap::from(nodes),
        };
        let reports = ["a", "b", "c"].map(|name| (node_id(name), report(20.0)));
        let mut facts = Facts::default();
        facts.reports = BTreeMap::from(reports);
        facts.record_swarm(swarm);
        Self { facts, policy: Policy::default(), memory: Memory::default() }
    }

    pub(crate) fn swarm(&mut self) -> &mut Swarm {
        self.facts.swarm_mut().unwrap()
    }

    pub(crate) fn forget_swarm(&mut self) {
        self.facts = Facts::default();
    }

    pub(crate) fn service(&mut self) -> &mut Service {
        self.swarm().services.get_mut(&service_id()).unwrap()
    }

    pub(crate) fn node(&mut self, name: &str) -> &mut Node {
        self.swarm().nodes.get_mut(&node_id(name)).unwrap()
    }

    /// Samples of one container at consecutive ticks, the last of them now.
    pub(crate) fn seen(mut self, number: u8, loads: &[Load]) -> Self {
        for (tick, load) in loads.iter().enumerate() {
            let second = NOW + 1 + tick as u64 - loads.len() as u64;
            self.sample(number, second, second, *load);
        }
        self
    }

    pub(crate) fn sample(&mut self, number: u8, tick: u64, second: u64, load: Load) {
        self.facts.record_sample(container(number), sample(tick, second, load));
    }

    /// Samples that a person sent, as by [`World::seen`].
    pub(crate) fn told(mut self, number: u8, loads: &[Load]) -> Self {
        for (tick, load) in loads.iter().enumerate() {
            let second = NOW + 1 + tick as u64 - loads.len() as u64;
            self.facts.record_by_hand(container(number), sample(second, second, *load));
        }
        self
    }

    /// One more node like `c`, which holds no task, in use by so many percent.
    pub(crate) fn spare(&mut self, name: &str, percent: f32) {
        let node = Node { hostname: Name::new(name), ..self.node("c").clone() };
        self.swarm().nodes.insert(node_id(name), node);
        self.facts.reports.insert(node_id(name), report(percent));
    }

    pub(crate) fn task(&mut self, id: &str) -> &mut Task {
        self.service().tasks.get_mut(&id.parse().unwrap()).unwrap()
    }

    pub(crate) fn port(&mut self) {
        self.service().host_ports.insert(HostPort { port: 8080, protocol: Protocol::Tcp });
    }

    pub(crate) fn plan(&self) -> Vec<Decision> {
        plan(&self.facts, &self.policy, &self.memory, at(NOW))
    }

    /// The one decision.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut decisions = self.plan();
        assert_eq!(decisions.len(), 1, "{decisions:?}");
        decisions.remove(0).outcome
    }

    pub(crate) fn withheld(&self) -> Withheld {
        match self.outcome() {
            Outcome::Withhold { withheld } => withheld,
            other @ (Outcome::Act { .. } | Outcome::Observe { .. }) => panic!("not withheld: {other:?}"),
        }
    }
}

pub(crate) fn labels(labels: &[(&str, &str)]) -> Labels {
    Labels::parse(labels.iter().copied())
}

pub(crate) fn sample(tick: u64, second: u64, (cpu, memory, network): Load) -> Sample {
    Sample {
        tick,
        sampled_at: at(second),
        sent_at: at(second),
        received_at: at(second),
        has_healthcheck: None,
        cpu_percent: Some(cpu),
        memory_percent: Some(memory),
        network_percent: Some(network),
    }
}

fn node(name: &str) -> Node {
    Node {
        hostname: Name::new(name),
        ready: true,
        active: true,
        manager: name == "a",
        platform: Platform { os: "linux".into(), architecture: "x86_64".into() },
        resources: Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30 },
        labels: BTreeMap::new(),
        engine_labels: BTreeMap::new(),
    }
}

pub(crate) fn task(node: &str, number: u8) -> Task {
    Task {
        node: Some(node_id(node)),
        slot: Some(number.into()),
        state: TaskState::Running,
        running_since: None,
        desired_running: true,
        desired_gone: false,
        container: Some(container(number)),
        accepted: true,
        publishes: false,
    }
}

pub(crate) fn report(percent: f32) -> NodeReport {
    NodeReport {
        name: Name::new("x"),
        received_at: at(NOW),
        cpu_percent: Some(percent),
        memory_percent: Some(percent),
        network_percent: Some(1.0),
        link_mbps: None,
        containers: 1,
    }
}

/// A time so long before now.
pub(crate) fn before(age: Duration) -> Timestamp {
    at(NOW) - age
}
