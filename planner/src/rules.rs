//! Which condition a container is in, and which action its service needs.
//!
//! A sample is calm, sick (scenario 1: CPU or memory high, network low), busy (scenario 2: all three high), or high
//! without matching either. Only ticks in a row count, and only fresh ones. A busy container outranks a sick one of
//! the same service: moving a replica away from heavy traffic helps nobody.

mod migrate;
mod scale_up;

use std::fmt;

use serde::Serialize;
use swarmguard_wire::{ContainerId, NodeId, ServiceId, Timestamp};

use crate::facts::{Facts, Mode, Service, Swarm};
use crate::memory::Memory;
use crate::plan::{Action, ActionKind, Trigger, Withheld, seconds_left};
use crate::policy::Policy;
use crate::window::{Sample, Window};

/// What a container's newest samples say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Scenario 2: CPU, memory and network are high.
    Busy,
    /// Scenario 1: CPU or memory is high, network is low.
    Sick,
    /// CPU or memory is high, but neither scenario matches.
    Unclear(Unclear),
    /// Neither CPU nor memory is high, or they are not known.
    Calm,
}

/// What stands between the scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unclear {
    /// The network is neither low nor high.
    Network {
        /// In percent of the link.
        percent: f32,
        /// Scenario 1 asks for less than this.
        low_below: f32,
        /// Scenario 2 asks for more than this.
        high_above: f32,
    },
    /// The network is high, but not both CPU and memory are.
    OneOfTwo {
        /// CPU in percent of what the container may use.
        cpu_percent: Option<f32>,
        /// Memory in percent of what the container may use.
        memory_percent: Option<f32>,
    },
    /// The network's use is not known.
    NetworkUnknown,
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { percent, low_below, high_above } => {
                write!(f, "network is at {percent:.0} %, neither below {low_below:.0} nor above {high_above:.0}")
            }
            Self::OneOfTwo { cpu_percent, memory_percent } => {
                let shown = |value: &Option<f32>| value.map_or("unknown".to_owned(), |value| format!("{value:.0} %"));
                write!(f, "network is high, but of CPU ({}) and ", shown(cpu_percent))?;
                write!(f, "memory ({}) only one is", shown(memory_percent))
            }
            Self::NetworkUnknown => write!(f, "the network's use is not known"),
        }
    }
}

/// The condition one sample shows.
pub fn condition(sample: &Sample, policy: &Policy) -> Condition {
    let over = |value: Option<f32>, threshold: f32| value.is_some_and(|value| value > threshold);
    let (migration, scaling) = (&policy.migration, &policy.scaling);
    let cpu_sick = over(sample.cpu_percent, migration.cpu_threshold);
    let memory_sick = over(sample.memory_percent, migration.memory_threshold);
    let cpu_busy = over(sample.cpu_percent, scaling.cpu_threshold);
    let memory_busy = over(sample.memory_percent, scaling.memory_threshold);
    if !(cpu_sick || memory_sick || cpu_busy || memory_busy) {
        return Condition::Calm;
    }
    let Some(percent) = sample.network_percent else { return Condition::Unclear(Unclear::NetworkUnknown) };
    if (cpu_sick || memory_sick) && percent < migration.network_threshold_max {
        return Condition::Sick;
    }
    if percent > scaling.network_threshold_min {
        if cpu_busy && memory_busy {
            return Condition::Busy;
        }
        return Condition::Unclear(Unclear::OneOfTwo {
            cpu_percent: sample.cpu_percent,
            memory_percent: sample.memory_percent,
        });
    }
    Condition::Unclear(Unclear::Network {
        percent,
        low_below: migration.network_threshold_max,
        high_above: scaling.network_threshold_min,
    })
}

/// A container over a threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The container.
    pub container: ContainerId,
    /// The node it runs on.
    pub node: NodeId,
    /// What its newest sample shows.
    pub condition: Condition,
    /// Ticks in a row that show it.
    pub streak: u32,
    /// The first of them.
    pub first: Sample,
    /// The newest.
    pub newest: Sample,
}

/// The containers of a service that are over a threshold, the one that needs help most first.
pub fn findings(case: &Case<'_>) -> Vec<Finding> {
    let Case { facts, service, policy, now, .. } = *case;
    let mut findings = Vec::new();
    for task in service.tasks.values().filter(|task| task.is_running()) {
        let (Some(container), Some(node)) = (task.container, &task.node) else { continue };
        let windows = [facts.containers.get(&container), facts.by_hand.get(&container)];
        let found = windows.into_iter().flatten();
        findings.extend(found.filter_map(|window| finding(container, node.clone(), window, policy, now)));
    }
    // A row that is complete comes before one that is not. Equals are told apart by the container's identifier, so that
    // the same facts give the same choice.
    let order = |finding: &Finding| (finding.is_complete(policy), rank(&finding.condition), finding.streak);
    findings.sort_by(|a, b| order(b).cmp(&order(a)).then_with(|| a.container.cmp(&b.container)));
    findings
}

impl Finding {
    fn is_complete(&self, policy: &Policy) -> bool {
        match self.condition {
            Condition::Busy => self.streak >= policy.scaling.consecutive_breaches,
            Condition::Sick => self.streak >= policy.migration.consecutive_breaches,
            Condition::Unclear(_) | Condition::Calm => false,
        }
    }
}

fn finding(container: ContainerId, node: NodeId, window: &Window, policy: &Policy, now: Timestamp) -> Option<Finding> {
    let newest = *window.newest()?;
    if now.since(newest.sampled_at) > policy.metric_window {
        return None;
    }
    let newest_condition = condition(&newest, policy);
    if newest_condition == Condition::Calm {
        return None;
    }
    let (mut streak, mut first) = (0, newest);
    for sample in window.newest_first() {
        let follows = streak == 0 || sample.tick.checked_add(1) == Some(first.tick);
        if !follows || rank(&condition(sample, policy)) != rank(&newest_condition) {
            break;
        }
        streak += 1;
        first = *sample;
    }
    Some(Finding { container, node, condition: newest_condition, streak, first, newest })
}

fn rank(condition: &Condition) -> u8 {
    match condition {
        Condition::Busy => 3,
        Condition::Sick => 2,
        Condition::Unclear(_) => 1,
        Condition::Calm => 0,
    }
}

/// Everything a rule may look at for one service.
pub struct Case<'a> {
    /// All facts.
    pub facts: &'a Facts,
    /// Swarm's state.
    pub swarm: &'a Swarm,
    /// The service's identifier.
    pub id: &'a ServiceId,
    /// The service.
    pub service: &'a Service,
    /// What a person chose.
    pub policy: &'a Policy,
    /// What was done before.
    pub memory: &'a Memory,
    /// The time of the decision.
    pub now: Timestamp,
}

/// The action that a finding asks for.
///
/// # Errors
/// Why nothing is to be done.
pub fn propose(case: &Case<'_>, finding: &Finding) -> Result<Action, Withheld> {
    let (needed, kind) = match finding.condition {
        Condition::Busy => (case.policy.scaling.consecutive_breaches, ActionKind::ScaleUp),
        Condition::Sick => (case.policy.migration.consecutive_breaches, ActionKind::Migrate),
        Condition::Unclear(unclear) => return Err(Withheld::Between { unclear }),
        // There is no finding for a calm container.
        Condition::Calm => return Err(Withheld::Streak { seen: 0, needed: 1 }),
    };
    if finding.streak < needed {
        return Err(Withheld::Streak { seen: finding.streak, needed });
    }
    let cooldown = match kind {
        ActionKind::Migrate => case.policy.migration.cooldown,
        ActionKind::ScaleUp => case.policy.scaling.scale_up_cooldown,
    };
    if let Some(until) = case.memory.cooldown(case.id, kind).until(cooldown, case.now) {
        return Err(Withheld::Cooldown { kind, until, seconds_left: seconds_left(until, case.now) });
    }
    let replicas = match case.service.mode {
        Mode::Replicated { replicas } => replicas,
        Mode::Global | Mode::Job => return Err(Withheld::NotReplicated),
    };
    let running = case.service.running() as u64;
    if running < replicas {
        return Err(Withheld::NotConverged { running, wanted: replicas });
    }
    match kind {
        ActionKind::Migrate => migrate::propose(case, finding).map(Action::Migrate),
        ActionKind::ScaleUp => scale_up::propose(case, finding, replicas).map(Action::ScaleUp),
    }
}

fn trigger(case: &Case<'_>, finding: &Finding) -> Trigger {
    Trigger {
        service: case.id.clone(),
        service_name: case.service.name.clone(),
        version: case.service.version,
        has_healthcheck: case.service.has_healthcheck.or(finding.newest.has_healthcheck),
        container: finding.container,
        cpu_percent: finding.newest.cpu_percent,
        memory_percent: finding.newest.memory_percent,
        network_percent: finding.newest.network_percent,
        breach_at: finding.first.sampled_at,
        sent_at: finding.newest.sent_at,
        received_at: finding.newest.received_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cpu: Option<f32>, memory: Option<f32>, network: Option<f32>, expected: &str) {
        let at = Timestamp::default();
        let sample = Sample {
            tick: 1,
            sampled_at: at,
            sent_at: at,
            received_at: at,
            has_healthcheck: None,
            cpu_percent: cpu,
            memory_percent: memory,
            network_percent: network,
        };
        let found = match condition(&sample, &Policy::default()) {
            Condition::Busy => "busy",
            Condition::Sick => "sick",
            Condition::Calm => "calm",
            Condition::Unclear(Unclear::Network { .. }) => "network between",
            Condition::Unclear(Unclear::OneOfTwo { .. }) => "one of two",
            Condition::Unclear(Unclear::NetworkUnknown) => "network unknown",
        };
        assert_eq!(found, expected, "cpu {cpu:?} memory {memory:?} network {network:?}");
    }

    #[test]
    fn the_scenarios_are_told_apart_by_the_network() {
        check(Some(90.0), Some(10.0), Some(5.0), "sick");
        check(Some(10.0), Some(90.0), Some(5.0), "sick");
        check(Some(90.0), Some(90.0), Some(5.0), "sick");
        check(Some(90.0), Some(90.0), Some(70.0), "busy");
        check(Some(90.0), Some(10.0), Some(70.0), "one of two");
        check(Some(90.0), Some(90.0), Some(50.0), "network between");
        check(Some(10.0), Some(10.0), Some(99.0), "calm");
    }

    #[test]
    fn a_value_at_its_threshold_is_not_beyond_it() {
        check(Some(75.0), Some(80.0), Some(5.0), "calm");
        check(Some(90.0), Some(80.0), Some(35.0), "network between");
        check(Some(90.0), Some(90.0), Some(65.0), "network between");
    }

    #[test]
    fn what_is_unknown_is_neither_high_nor_low() {
        check(None, None, None, "calm");
        check(None, None, Some(5.0), "calm");
        check(Some(90.0), None, Some(5.0), "sick");
        check(Some(90.0), Some(90.0), None, "network unknown");
        check(Some(90.0), None, Some(70.0), "one of two");
    }
}
