//! Which condition a container is in, and which action its service needs.
//!
//! A sample is calm, sick (scenario 1: CPU or memory high, network low), busy (scenario 2: all three high), or high
//! without matching either. Only ticks in a row count, and only fresh ones. A busy container outranks a sick one of
//! the same service: moving a replica away from heavy traffic helps nobody.

mod migrate;
mod scale_down;
mod scale_up;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use swarmguard_wire::{ContainerId, NodeId, ServiceId, Timestamp};

use crate::claims::Claims;
use crate::facts::{Facts, Mode, Service, Swarm};
use crate::memory::Memory;
use crate::plan::{Action, ActionKind, Trigger, Withheld, seconds_left};
use crate::planted::{Bug, has};
use crate::policy::Policy;
use crate::window::{Sample, Window};

pub(crate) use scale_down::idle;

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
    /// All containers of the service together have so little to do that one fewer would do.
    Idle,
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
///
/// Rows begin anew after `since`, the end of the last action on the service: its effect shows only then.
pub fn findings(
    facts: &Facts,
    service: &Service,
    policy: &Policy,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for task in service.tasks.values().filter(|task| task.is_running()) {
        let (Some(container), Some(node)) = (task.container, &task.node) else { continue };
        let windows = [facts.containers.get(&container), facts.by_hand.get(&container)];
        // Beyond doubt in the future: a clock that is wrong, by which it would never settle.
        let seen_at = facts.swarm.as_ref().map_or(now, |swarm| swarm.seen_at);
        let running_since = task.running_since.filter(|since| *since <= seen_at + policy.startup_period);
        let settled_at = running_since.map(|since| since + policy.startup_period);
        let look = Look { container, node, settled_at, since, policy, now };
        findings.extend(windows.into_iter().flatten().filter_map(|window| look.at(window)));
    }
    // A row that is complete comes before one that is not. Equals are told apart by the container's identifier, so that
    // the same facts give the same choice.
    let order = |finding: &Finding| (finding.is_complete(policy), rank(&finding.condition), finding.streak);
    findings.sort_by(|a, b| order(b).cmp(&order(a)).then_with(|| a.container.cmp(&b.container)));
    findings
}

impl Finding {
    /// Whether as many ticks in a row show it as are needed.
    pub fn is_complete(&self, policy: &Policy) -> bool {
        match self.condition {
            Condition::Busy => self.streak >= policy.scaling.consecutive_breaches,
            Condition::Sick => self.streak >= policy.migration.consecutive_breaches,
            Condition::Unclear(_) | Condition::Calm | Condition::Idle => false,
        }
    }

    /// Higher is more urgent: the condition first, then how much the container has to do.
    pub(crate) fn urgency(&self) -> f32 {
        let most = self.newest.cpu_percent.into_iter().chain(self.newest.memory_percent).fold(0.0, f32::max);
        f32::from(rank(&self.condition)) * 10_000.0 + most.clamp(0.0, 9_999.0)
    }
}

/// A look at one container of a service.
struct Look<'a> {
    container: ContainerId,
    node: &'a NodeId,
    /// Before that its CPU is not looked at.
    settled_at: Option<Timestamp>,
    /// Samples up to then do not count.
    since: Option<Timestamp>,
    policy: &'a Policy,
    now: Timestamp,
}

impl Look<'_> {
    fn at(&self, window: &Window) -> Option<Finding> {
        let newest = *window.newest()?;
        if self.now.since(newest.sampled_at) > self.policy.metric_window && !has(Bug::StaleSample) {
            return None;
        }
        let newest_condition = self.condition(&newest, self.policy);
        if newest_condition == Condition::Calm {
            return None;
        }
        // A row begins and ends with ticks that show it; between them a value may waver.
        let lenient = self.policy.lenient();
        let (mut streak, mut first, mut seen, mut last) = (0, newest, 0, newest);
        let counts = |sample: &&Sample| self.since.is_none_or(|since| sample.sampled_at > since);
        for sample in window.newest_first().take_while(counts) {
            let follows = seen == 0 || sample.tick.checked_add(1) == Some(last.tick);
            if !follows || rank(&self.condition(sample, &lenient)) != rank(&newest_condition) {
                break;
            }
            (seen, last) = (seen + 1, *sample);
            if rank(&self.condition(sample, self.policy)) == rank(&newest_condition) {
                (streak, first) = (seen, *sample);
            }
        }
        let Self { container, node, .. } = self;
        let finding = Finding {
            container: *container,
            node: (*node).clone(),
            condition: newest_condition,
            streak,
            first,
            newest,
        };
        Some(finding)
    }

    fn condition(&self, sample: &Sample, policy: &Policy) -> Condition {
        if self.settled_at.is_some_and(|settled| sample.sampled_at < settled) {
            return condition(&Sample { cpu_percent: None, ..*sample }, policy);
        }
        condition(sample, policy)
    }
}

fn rank(condition: &Condition) -> u8 {
    match condition {
        Condition::Busy => 3,
        Condition::Sick => 2,
        Condition::Unclear(_) => 1,
        Condition::Calm | Condition::Idle => 0,
    }
}

/// How many nodes have sick containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sick {
    /// Nodes with a sick container.
    pub sick: usize,
    /// Nodes that report and could have one; not counted where so few are sick that it does not matter.
    pub nodes: usize,
    /// Whether that is more than can be believed.
    pub are_too_many: bool,
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
    /// What is being done already, or was planned before it.
    pub claims: &'a Claims,
    /// How many nodes look sick.
    pub sick: Sick,
}

/// The action that a finding asks for.
///
/// # Errors
/// Why nothing is to be done.
pub fn propose(case: &Case<'_>, finding: &Finding) -> Result<Action, Withheld> {
    let (migration, scaling) = (&case.policy.migration, &case.policy.scaling);
    match finding.condition {
        Condition::Busy => {
            in_a_row(finding, scaling.consecutive_breaches)?;
            cooled_down(case, ActionKind::ScaleUp, scaling.scale_up_cooldown)?;
            case.claims.allow(case)?;
            scale_up::propose(case, finding, converged(case)?).map(Action::ScaleUp)
        }
        Condition::Sick => {
            in_a_row(finding, migration.consecutive_breaches)?;
            cooled_down(case, ActionKind::Migrate, migration.cooldown)?;
            converged(case)?;
            case.claims.allow(case)?;
            migrate::propose(case, finding).map(Action::Migrate)
        }
        Condition::Idle => {
            cooled_down(case, ActionKind::ScaleUp, scaling.scale_down_cooldown)?;
            cooled_down(case, ActionKind::ScaleDown, scaling.scale_down_cooldown)?;
            case.claims.allow_to_wait(case)?;
            scale_down::propose(case, finding, converged(case)?).map(Action::ScaleDown)
        }
        Condition::Unclear(unclear) => Err(Withheld::Between { unclear }),
        // There is no finding for a calm container.
        Condition::Calm => Err(Withheld::Streak { seen: 0, needed: 1 }),
    }
}

/// Enough ticks in a row match.
fn in_a_row(finding: &Finding, needed: u32) -> Result<(), Withheld> {
    if finding.streak < needed && !has(Bug::OneTickIsEnough) {
        Err(Withheld::Streak { seen: finding.streak, needed })
    } else {
        Ok(())
    }
}

/// The last action of a kind was long enough ago.
fn cooled_down(case: &Case<'_>, kind: ActionKind, length: Duration) -> Result<(), Withheld> {
    let length = if has(Bug::NoCooldown) { Duration::ZERO } else { length };
    match case.memory.cooldown(case.id, kind).until(length, case.now) {
        Some(until) => Err(Withheld::Cooldown { kind, until, seconds_left: seconds_left(until, case.now) }),
        None => Ok(()),
    }
}

/// How many replicas the service has, all of which run.
fn converged(case: &Case<'_>) -> Result<u64, Withheld> {
    let replicas = match case.service.mode {
        Mode::Replicated { replicas } => replicas,
        Mode::Global | Mode::Job => return Err(Withheld::NotReplicated),
    };
    let running = case.service.running() as u64;
    if running < replicas && !has(Bug::NotConverged) {
        return Err(Withheld::NotConverged { running, wanted: replicas });
    }
    Ok(replicas)
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
            Condition::Idle => "idle",
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
