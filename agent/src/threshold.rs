//! Which containers are over a threshold, at the tick they are seen in. Pure.
//!
//! CPU or memory over the collector's threshold is a breach; the network alone never is, and what is unknown never is.
//! Which scenario it is, and whether it lasts, is for the collector's planner to say.

use swarmguard_wire::{ContainerSample, HYSTERESIS, Policy};

/// Whether a sample is to be alerted on: it is above a threshold, or the tick before was alerted on and it is not yet
/// [`HYSTERESIS`] below. So a row of ticks does not break where a value only wavers.
pub fn is_breach(sample: &ContainerSample, policy: &Policy, was_alerted: bool) -> bool {
    let margin = if was_alerted { HYSTERESIS } else { 0.0 };
    let over = |value: Option<f32>, threshold: f32| value.is_some_and(|value| value > threshold - margin);
    policy.alert_immediately
        && (over(sample.cpu_limit_percent, policy.cpu_percent) || over(sample.memory_percent, policy.memory_percent))
}

#[cfg(test)]
mod tests {
    use swarmguard_wire::ContainerId;

    use super::*;

    fn check_after(was_alerted: bool, cpu: Option<f32>, memory: Option<f32>, alert_immediately: bool, expected: bool) {
        let sample = ContainerSample {
            id: ContainerId::new([1; 32]),
            service: None,
            task: None,
            name: None,
            has_healthcheck: None,
            // Of one core, not of the limit: must not count.
            cpu_percent: Some(400.0),
            cpu_limit_percent: cpu,
            memory_mb: Some(1e6),
            memory_percent: memory,
            network: None,
            throttled_percent: None,
            oom_kills: None,
            tcp_retransmit_percent: None,
            cpu_pressure_percent: None,
            memory_pressure_percent: None,
            io_pressure_percent: None,
        };
        let policy = Policy { alert_immediately, ..Policy::default() };
        assert_eq!(is_breach(&sample, &policy, was_alerted), expected, "cpu {cpu:?} memory {memory:?}");
    }

    fn check(cpu: Option<f32>, memory: Option<f32>, alert_immediately: bool, expected: bool) {
        check_after(false, cpu, memory, alert_immediately, expected);
    }

    #[test]
    fn either_of_cpu_and_memory_is_enough() {
        check(Some(75.1), None, true, true);
        check(None, Some(80.1), true, true);
        check(Some(75.0), Some(80.0), true, false);
    }

    #[test]
    fn what_is_unknown_is_no_breach() {
        check(None, None, true, false);
    }

    #[test]
    fn what_was_alerted_on_is_until_it_is_five_points_below() {
        check_after(true, Some(70.1), None, true, true);
        check_after(true, None, Some(75.1), true, true);
        check_after(true, Some(70.0), Some(75.0), true, false);
        check_after(true, Some(99.0), None, false, false);
    }

    #[test]
    fn a_collector_can_ask_for_no_alerts() {
        check(Some(99.0), Some(99.0), false, false);
    }
}
