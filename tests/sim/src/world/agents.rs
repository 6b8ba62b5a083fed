//! Agents that measure, and their messages on the way to the collectors.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use swarmguard_collector::fleet::{Sent, Times};
use swarmguard_planner::facts::{Leader, NodeReport, TaskState};
use swarmguard_planner::window::Sample;
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{ContainerId, HYSTERESIS, Name, NodeId, TaskId, Timestamp};

use super::World;
use super::suffering::Moment;
use crate::collector::Collector;
use crate::swarmkit::Task;

/// Agents report so often.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// A message on its way to the collector.
#[derive(Debug)]
pub(super) enum Message {
    Alert(ContainerId, Sample, Option<ClockOffset>),
    Report(NodeId, NodeReport, Vec<(ContainerId, Sample)>, Option<ClockOffset>),
}

#[derive(Debug, Default)]
pub(super) struct Agent {
    /// How far its clock is ahead of the world's, in microseconds.
    pub(super) ahead: i64,
    /// What it takes for the difference, since its last report.
    offset: Option<ClockOffset>,
    tick: u64,
    alerted: BTreeSet<ContainerId>,
    pub(super) silent_until: Timestamp,
}

impl Agent {
    /// One whose clock is so far ahead, in microseconds.
    pub(super) fn ahead_by(ahead: i64) -> Self {
        Self { ahead, ..Self::default() }
    }
}

impl World {
    pub(super) fn agents_tick(&mut self) {
        let now = self.now;
        self.suffering.forget(&self.kit, now);
        let mut sent: Vec<Message> = Vec::new();
        let (thresholds, startup) = (self.policy.alert_thresholds(), self.policy.startup_period);
        let running = self.kit.running_of_each();
        let mut by_node: BTreeMap<&NodeId, Vec<(&TaskId, &Task, ContainerId)>> = BTreeMap::new();
        for (id, task) in self.kit.tasks.iter().filter(|(_, task)| task.state == TaskState::Running) {
            if let (Some(node), Some(container), Some(_)) = (&task.node, task.container, task.running_since) {
                by_node.entry(node).or_default().push((id, task, container));
            }
        }
        for (id, agent) in &mut self.agents {
            agent.tick += 1;
            let Some(machine) = self.kit.machines.get(id).filter(|machine| machine.up) else { continue };
            let mut samples = Vec::new();
            for (task_id, task, container) in by_node.remove(id).unwrap_or_default() {
                let replicas = running.get(&task.service).copied().unwrap_or_default().max(1);
                let is_starting = task.running_since.is_some_and(|since| now.since(since) + self.tick * 2 < startup);
                let moment = Moment { now, tick: agent.tick, is_starting };
                let load = self.suffering.of(task_id, &task.service, replicas, moment);
                samples.push((container, load.sample(agent.tick, now.shifted(ClockOffset(agent.ahead)))));
            }
            let is_silent = agent.silent_until > now || !machine.reachable;
            let alerted = std::mem::take(&mut agent.alerted);
            for (container, sample) in &samples {
                let margin = if alerted.contains(container) { HYSTERESIS } else { 0.0 };
                let over = |value: Option<f32>, threshold: f32| value.is_some_and(|value| value > threshold - margin);
                if over(sample.cpu_percent, thresholds.0) || over(sample.memory_percent, thresholds.1) {
                    agent.alerted.insert(*container);
                    sent.extend((!is_silent).then_some(Message::Alert(*container, *sample, agent.offset)));
                }
            }
            let per_report = (REPORT_INTERVAL.as_secs() / self.tick.as_secs().max(1)).max(1);
            if !is_silent && agent.tick % per_report == 2 % per_report {
                let report = NodeReport {
                    name: Name::new(id.as_str()),
                    received_at: now,
                    cpu_percent: Some(20.0 + samples.len() as f32),
                    memory_percent: Some(30.0),
                    network_percent: Some(1.0),
                    link_mbps: None,
                    containers: samples.len(),
                };
                sent.push(Message::Report(id.clone(), report, samples, agent.offset));
                // The answer tells the difference, to some milliseconds.
                agent.offset = Some(ClockOffset(-agent.ahead + 1_000));
            }
        }
        sent.into_iter().for_each(|message| self.send(message));
    }

    /// To every collector, each over a connection of its own.
    fn send(&mut self, message: Message) {
        let message = Rc::new(message);
        let is_bad = self.now <= self.bad_network_until;
        for number in 0..self.managers.seats.len() {
            if is_bad && self.rng.chance(20) {
                continue;
            }
            let copies = if is_bad && self.rng.chance(20) { 2 } else { 1 };
            for _ in 0..copies {
                let late = if is_bad { self.rng.between(1, 4_000) } else { self.rng.between(1, 5) };
                self.sequence += 1;
                let at = (self.now + Duration::from_millis(late), self.sequence);
                self.messages.insert(at, (number, Rc::clone(&message)));
            }
        }
    }

    pub(super) fn receive(&mut self) {
        let now = self.now;
        let mut alerted = BTreeSet::new();
        while let Some(entry) = self.messages.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, sequence), (number, message)) = entry.remove_entry();
            let Some(seat) = self.managers.seats.get_mut(number).filter(|seat| seat.is_connected) else { continue };
            if seat.asleep_until > now {
                // It waits in the socket.
                self.messages.insert((seat.asleep_until, sequence), (number, message));
                continue;
            }
            let Some(collector) = &mut seat.collector else { continue };
            let received = |sample: &Sample, offset: &Option<ClockOffset>| {
                let Sample { sampled_at, sent_at, .. } = *sample;
                let sent = Sent { sampled_at, sent_at, offset: *offset };
                let Times { sampled_at, sent_at, received_at } = sent.by_our_clock(now);
                Sample { sampled_at, sent_at, received_at, ..*sample }
            };
            match &*message {
                Message::Alert(container, sample, offset) => {
                    collector.facts.record_sample(*container, received(sample, offset));
                    alerted.insert(number);
                }
                Message::Report(node, report, samples, offset) => {
                    for (container, sample) in samples {
                        collector.facts.record_sample(*container, received(sample, offset));
                    }
                    let report = NodeReport { received_at: now, ..report.clone() };
                    collector.facts.record_report(node.clone(), report);
                }
            }
        }
        if !alerted.is_empty() {
            // What one decides beside another leader comes to nothing: some of its looks are often enough to see that it does.
            let leads = |collector: &Collector| {
                collector.facts.swarm().is_none_or(|swarm| !matches!(swarm.leader, Leader::Elsewhere { .. }))
            };
            let alerted = self.managers.awake(now).filter(|(number, _)| alerted.contains(number));
            alerted.filter(|(_, collector)| leads(collector)).for_each(|(_, collector)| collector.decide(now));
            self.watch();
        }
    }
}
