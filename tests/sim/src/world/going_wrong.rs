//! What goes wrong in a world, and what owners do.

use std::time::Duration;

use serde_json::{Value, json};
use swarmguard_planner::quiet::Pause;
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{NodeId, ServiceId};

use super::managers::Seat;
use super::suffering::Load;
use super::{DISTURBS_FOR, Later, World, made};
use crate::rng::Rng;
use crate::script::{AIMED_FOR, Event, Owner, What};

/// A move takes a few seconds, and twice as long where its first replacement does not do.
const STRIKES_WITHIN_MS: u64 = 6_000;

impl World {
    fn later(&mut self, seconds: u64, what: Later) {
        self.sequence += 1;
        self.later.insert((self.now + Duration::from_secs(seconds), self.sequence), what);
    }

    pub(super) fn fault_everywhere(&mut self) {
        let services: Vec<ServiceId> = self.kit.services.keys().cloned().collect();
        for service in services {
            self.judge.fault(&service, self.now);
        }
    }

    /// It happens now, or waits for an action.
    pub(super) fn is_to_happen(&mut self, event: &Event) {
        if self.script.is_aimed && !event.what.is_reason() {
            self.aimed.insert((self.now + AIMED_FOR, event.draw), event.clone());
        } else {
            self.happens(event);
        }
    }

    /// An action has begun: what waits for one happens within a few seconds, in which most of it is done.
    pub(super) fn aim(&mut self) {
        let now = self.now;
        let soon = |event: &Event| now + Duration::from_millis(event.draw % STRIKES_WITHIN_MS);
        let aimed = std::mem::take(&mut self.aimed).into_iter();
        self.aimed = aimed.map(|((at, draw), event)| ((at.min(soon(&event)), draw), event)).collect();
    }

    /// What waited for an action happens.
    pub(super) fn strike(&mut self) {
        while let Some(entry) = self.aimed.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let event = entry.remove();
            self.happens(&event);
        }
    }

    pub(super) fn happens(&mut self, event: &Event) {
        let mut rng = Rng::new(event.draw);
        self.disturbed_until = self.now + DISTURBS_FOR;
        self.mix((format!("{:?}", event.what), event.draw));
        self.tell(|| format!("{:?}", event.what));
        let seconds = Duration::from_secs;
        match event.what {
            What::Sick => {
                let running = self.running();
                if let Some(task) = rng.pick(&running) {
                    let load = if rng.chance(50) { Load::sick_of_cpu() } else { Load::sick_of_memory() };
                    self.suffering.sick.insert(task.clone(), load);
                }
            }
            What::Spike => {
                let running = self.running();
                if let Some(task) = rng.pick(&running) {
                    self.suffering.spikes.insert(task.clone(), self.now + self.tick);
                }
            }
            What::Busy(length) => {
                let services: Vec<ServiceId> = self.kit.services.keys().cloned().collect();
                if let Some(service) = rng.pick(&services) {
                    let replicas = self.kit.running(service).max(1) as f32;
                    let until = self.now + seconds(length);
                    self.suffering.busy.insert(service.clone(), (replicas * 95.0, until));
                }
            }
            What::BusyOn => {
                let services: Vec<ServiceId> = self.kit.services.keys().cloned().collect();
                if let Some(service) = rng.pick(&services) {
                    let replicas = self.kit.running(service).max(1) as f32;
                    // More than twice as much as they can bear.
                    let until = self.now + seconds(10 * 24 * 3_600);
                    self.suffering.busy.insert(service.clone(), (replicas * 170.0, until));
                }
            }
            What::ClockSteps => {
                let nodes: Vec<NodeId> = self.agents.keys().cloned().collect();
                let by = made::clock(&mut rng);
                if let Some(agent) = rng.pick(&nodes).and_then(|node| self.agents.get_mut(node)) {
                    agent.ahead = agent.ahead.saturating_add(by);
                }
            }
            What::WallSteps => {
                self.wall_ahead = ClockOffset(made::clock(&mut rng));
                self.judge.wall_stepped(self.now);
            }
            What::Pause(length) => {
                let services: Vec<ServiceId> = self.kit.services.keys().cloned().collect();
                let until = self.now.shifted(self.wall_ahead) + seconds(length);
                let pause = Pause { until: Some(until), reason: None };
                let is_of_all = rng.chance(30);
                let whom = rng.pick(&services).filter(|_| !is_of_all);
                match whom {
                    Some(service) => drop(self.pauses.services.insert(service.to_string(), pause)),
                    None => self.pauses.all = Some(pause),
                }
                self.judge.paused(whom, until, self.now);
            }
            What::Crash => {
                let running = self.running();
                if let Some(task) = rng.pick(&running) {
                    let service = self.kit.tasks.get(task).map(|task| task.service.clone());
                    service.into_iter().for_each(|service| self.judge.fault(&service, self.now));
                    self.kit.crash(task);
                }
            }
            What::NodeDown(length) | What::CutOff(length) => {
                let nodes: Vec<NodeId> = self.kit.machines.keys().cloned().collect();
                let is_down = matches!(event.what, What::NodeDown(_));
                self.lose(rng.pick(&nodes).cloned(), is_down, length, &mut rng);
            }
            What::Hangs(length) => {
                let nodes: Vec<NodeId> = self.kit.machines.keys().cloned().collect();
                if let Some(node) = rng.pick(&nodes).cloned() {
                    let until = self.now + seconds(length);
                    self.agents.get_mut(&node).into_iter().for_each(|agent| agent.silent_until = until);
                    self.fault_everywhere();
                    self.kit.set_hanging(&node, true);
                    self.later(length, Later::NodeGoesOn(node));
                }
            }
            What::AgentSilent(length) => {
                let sick = self.suffering.sick.keys().filter_map(|task| self.kit.tasks.get(task)?.node.clone());
                let mut nodes: Vec<NodeId> = sick.collect();
                if nodes.is_empty() || rng.chance(30) {
                    nodes = self.agents.keys().cloned().collect();
                }
                let until = self.now + seconds(length);
                if let Some(agent) = rng.pick(&nodes).and_then(|node| self.agents.get_mut(node)) {
                    agent.silent_until = until;
                }
            }
            What::CollectorKilled(length) => {
                let number = self.seat(&mut rng);
                self.kill(number, length);
            }
            What::CollectorAsleep(length) => {
                let (number, until) = (self.seat(&mut rng), self.now + seconds(length));
                if let Some(seat) = self.managers.seats.get_mut(number) {
                    seat.asleep_until = until;
                }
            }
            What::LeaderMoves => {
                if self.managers.may_be_lost(self.now) && self.managers.elect_another(&mut rng, self.now) {
                    self.fault_everywhere();
                    self.kit.change_leader(&mut rng);
                }
            }
            What::BadNetwork(length) => self.bad_network_until = self.now + seconds(length),
            What::BadManager(length) => self.bad_manager_until = self.now + seconds(length),
            What::Owner(owner) => self.owner(owner, &mut rng),
        }
        self.watch();
    }

    /// A collector dies, and the next one starts after so many seconds.
    fn kill(&mut self, number: usize, seconds: u64) {
        self.managers.seats.get_mut(number).into_iter().for_each(Seat::kill);
        self.later(seconds, Later::CollectorStarts(number));
    }

    /// The manager whose collector something happens to; rather the one that leads.
    fn seat(&self, rng: &mut Rng) -> usize {
        let all = self.managers.seats.len();
        let leader = (0..all).find(|number| self.managers.leads(*number)).unwrap_or(0);
        if rng.chance(70) { leader } else { usize::try_from(rng.between(0, all as u64 - 1)).unwrap_or(0) }
    }

    /// A node stops or is cut off, unless too few managers would be left.
    fn lose(&mut self, node: Option<NodeId>, is_down: bool, seconds: u64, rng: &mut Rng) {
        let Some(node) = node else { return };
        if let Some(number) = made::seat_of(&node).filter(|number| *number < self.managers.seats.len()) {
            if self.managers.seats.len() == 1 || !self.managers.others_are_whole(number) {
                return;
            }
            if self.managers.lose(number, rng, self.now) {
                self.kit.change_leader(rng);
            }
            if is_down {
                self.kill(number, seconds);
            }
        }
        self.fault_everywhere();
        self.kit.set_machine(&node, !is_down, false);
        self.later(seconds, Later::NodeBack(node));
    }

    /// An owner at work, who always has the newest version.
    fn owner(&mut self, owner: Owner, rng: &mut Rng) {
        let services: Vec<ServiceId> = self.kit.services.keys().cloned().collect();
        let Some(service) = rng.pick(&services).cloned() else { return };
        let Some(found) = self.kit.services.get(&service) else { return };
        let (version, mut spec) = (found.version, found.spec.clone());
        let mut written = self.judge.written(&service).cloned();
        let present = found.replicas();
        let (env, replicas) = (json!([format!("VERSION={}", rng.between(1, 1_000_000))]), rng.between(1, 4));
        let change = |spec: &mut Value| match owner {
            Owner::Scales => spec["Mode"]["Replicated"]["Replicas"] = json!(replicas),
            Owner::Disables => spec["Labels"]["swarmguard.enable"] = json!("false"),
            Owner::Deploys | Owner::DeploysStack | Owner::RollsBack | Owner::Removes => {
                spec["TaskTemplate"]["ContainerSpec"]["Env"] = env.clone();
            }
        };
        match owner {
            Owner::RollsBack => {
                // What it comes to cannot be told: it may be what SwarmGuard wrote.
                self.judge.wrote(&service, None, self.now);
                let _ = self.kit.roll_back(&service);
                return;
            }
            Owner::Removes => return self.kit.remove(&service),
            // Swarm does not tell it from no change at all.
            Owner::Scales if replicas == present => return,
            Owner::DeploysStack => {
                let Some(file) = &mut written else { return };
                change(file);
                spec = file.clone();
            }
            Owner::Deploys | Owner::Scales | Owner::Disables => {
                change(&mut spec);
                written.iter_mut().for_each(change);
            }
        }
        self.judge.wrote(&service, written, self.now);
        self.judge.fault(&service, self.now);
        let _ = self.kit.update(&service, version, spec);
        self.judge.changed(&service, &self.kit);
    }
}
