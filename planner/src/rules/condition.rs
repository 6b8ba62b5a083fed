//! What one sample of a container shows.

use std::fmt;

use serde::Serialize;

use crate::policy::Policy;
use crate::window::Sample;

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
            Self::NetworkUnknown => {
                write!(f, "the network's use is not known (give agents --link-mbps where the kernel tells no speed)")
            }
        }
    }
}

/// Whether one sample of several could show anything but calm, given the highest CPU and memory among them.
pub(crate) fn may_be_high([cpu, memory]: [f32; 2], policy: &Policy) -> bool {
    let (cpu_threshold, memory_threshold) = policy.alert_thresholds();
    cpu > cpu_threshold || memory > memory_threshold
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

/// How much it asks for help.
pub(super) fn rank(condition: &Condition) -> u8 {
    match condition {
        Condition::Busy => 3,
        Condition::Sick => 2,
        Condition::Unclear(_) => 1,
        Condition::Calm | Condition::Idle => 0,
    }
}

#[cfg(test)]
mod tests {
    use swarmguard_wire::Timestamp;

    use super::*;

    fn check(cpu: Option<f32>, memory: Option<f32>, network: Option<f32>, expected: &str) {
        check_by(&Policy::default(), cpu, memory, network, expected);
    }

    fn check_by(policy: &Policy, cpu: Option<f32>, memory: Option<f32>, network: Option<f32>, expected: &str) {
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
        let found = match condition(&sample, policy) {
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

    #[test]
    fn what_is_high_by_one_scenarios_measure_alone_is_not_calm() {
        let mut policy = Policy::default();
        (policy.scaling.cpu_threshold, policy.scaling.memory_threshold) = (60.0, 60.0);
        check_by(&policy, Some(70.0), Some(10.0), Some(5.0), "network between");
        check_by(&policy, Some(10.0), Some(70.0), Some(5.0), "network between");
        check_by(&policy, Some(70.0), Some(70.0), Some(70.0), "busy");
        let mut policy = Policy::default();
        (policy.migration.cpu_threshold, policy.migration.memory_threshold) = (60.0, 60.0);
        check_by(&policy, Some(70.0), Some(10.0), Some(5.0), "sick");
        check_by(&policy, Some(10.0), Some(70.0), Some(5.0), "sick");
        check_by(&policy, Some(70.0), Some(70.0), Some(70.0), "one of two");
    }

    #[test]
    fn a_glance_tells_what_cannot_be_high() {
        let check = |most, expected| assert_eq!(may_be_high(most, &Policy::default()), expected, "{most:?}");
        check([0.0, 0.0], false);
        check([75.0, 80.0], false);
        check([75.5, 0.0], true);
        check([0.0, 80.5], true);
        check([99.0, 99.0], true);
    }
}
