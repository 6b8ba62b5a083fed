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
    /// The network is low, but neither CPU nor memory is high by scenario 1's thresholds.
    NotSick {
        /// The network's use in percent of the link.
        percent: f32,
        /// CPU.
        cpu: Used,
        /// Memory.
        memory: Used,
    },
    /// The network is high, but not both CPU and memory are by scenario 2's thresholds.
    NotBusy {
        /// The network's use in percent of the link.
        percent: f32,
        /// CPU.
        cpu: Used,
        /// Memory.
        memory: Used,
    },
    /// The network's use is not known.
    NetworkUnknown,
}

/// How much is used beside what would be high.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Used {
    /// In percent of what the container may use, where that is known.
    pub percent: Option<f32>,
    /// More than this is high.
    pub high_above: f32,
}

impl Used {
    fn is_high(self) -> bool {
        self.percent.is_some_and(|percent| percent > self.high_above)
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.percent {
            Some(percent) => write!(f, "{percent:.0} %, high above {:.0}", self.high_above),
            None => write!(f, "unknown, high above {:.0}", self.high_above),
        }
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { percent, low_below, high_above } => {
                write!(f, "network is at {percent:.0} %, neither below {low_below:.0} nor above {high_above:.0}")
            }
            Self::NotSick { percent, cpu, memory } => {
                write!(
                    f,
                    "network is low ({percent:.0} %), and by scenario 1 neither CPU ({cpu}) nor memory ({memory}) is high"
                )
            }
            Self::NotBusy { percent, cpu, memory } => {
                write!(
                    f,
                    "network is high ({percent:.0} %), and by scenario 2 not both CPU ({cpu}) and memory ({memory}) are high"
                )
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
    let used = |percent, high_above| Used { percent, high_above };
    let (migration, scaling) = (&policy.migration, &policy.scaling);
    let cpu = used(sample.cpu_percent, migration.cpu_threshold);
    let memory = used(sample.memory_percent, migration.memory_threshold);
    let cpu_busy = used(sample.cpu_percent, scaling.cpu_threshold);
    let memory_busy = used(sample.memory_percent, scaling.memory_threshold);
    let is_sick = cpu.is_high() || memory.is_high();
    if !(is_sick || cpu_busy.is_high() || memory_busy.is_high()) {
        return Condition::Calm;
    }
    let Some(percent) = sample.network_percent else { return Condition::Unclear(Unclear::NetworkUnknown) };
    let (low_below, high_above) = (migration.network_threshold_max, scaling.network_threshold_min);
    match (percent < low_below, percent > high_above) {
        (true, _) if is_sick => Condition::Sick,
        (_, true) if cpu_busy.is_high() && memory_busy.is_high() => Condition::Busy,
        (_, true) => Condition::Unclear(Unclear::NotBusy { percent, cpu: cpu_busy, memory: memory_busy }),
        (true, false) => Condition::Unclear(Unclear::NotSick { percent, cpu, memory }),
        (false, false) => Condition::Unclear(Unclear::Network { percent, low_below, high_above }),
    }
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
            Condition::Unclear(Unclear::NotSick { .. }) => "not sick",
            Condition::Unclear(Unclear::NotBusy { .. }) => "not busy",
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
        check(Some(90.0), Some(10.0), Some(70.0), "not busy");
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
        check(Some(90.0), None, Some(70.0), "not busy");
    }

    #[test]
    fn what_is_high_by_one_scenarios_measure_alone_is_not_calm() {
        let mut policy = Policy::default();
        (policy.scaling.cpu_threshold, policy.scaling.memory_threshold) = (60.0, 60.0);
        check_by(&policy, Some(70.0), Some(10.0), Some(5.0), "not sick");
        check_by(&policy, Some(10.0), Some(70.0), Some(5.0), "not sick");
        check_by(&policy, Some(10.0), Some(70.0), Some(50.0), "network between");
        check_by(&policy, Some(70.0), Some(70.0), Some(70.0), "busy");
        let mut policy = Policy::default();
        (policy.migration.cpu_threshold, policy.migration.memory_threshold) = (60.0, 60.0);
        check_by(&policy, Some(70.0), Some(10.0), Some(5.0), "sick");
        check_by(&policy, Some(10.0), Some(70.0), Some(5.0), "sick");
        check_by(&policy, Some(70.0), Some(70.0), Some(70.0), "not busy");
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
