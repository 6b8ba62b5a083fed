//! What a person chose: thresholds, cooldowns and limits.
//!
//! Names and defaults are the requirement's, tick and window aside. A policy is checked where it is read
//! ([`Policy::validate`]); the rules rely on it.

use std::time::Duration;

use swarmguard_wire::HYSTERESIS;

use crate::quiet::QuietHours;

/// Thresholds, cooldowns and limits. Percentages are of what a container may use and of the node's link.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Scenario 1: the container is in trouble.
    pub migration: Migration,
    /// Scenario 2: the service has much to do.
    pub scaling: Scaling,
    /// How much may be done at all.
    pub limits: Limits,
    /// When nothing is done.
    pub quiet_hours: Vec<QuietHours>,
    /// So long after a container began to run its CPU is not looked at: starting is work.
    pub startup_period: Duration,
    /// How old the newest sample, a node's report or the view of the Swarm may be to act on it.
    pub metric_window: Duration,
    /// How old the knowledge of who leads the Swarm's managers may be. SwarmKit elects another leader 10 s after it last
    /// heard of the one before at the earliest; whoever was asleep for so long must not act.
    pub leader_window: Duration,
    /// How long an action may take before it is reverted.
    pub action_deadline: Duration,
}

/// Scenario 1: (CPU or memory high) and network low.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// High means above this, in percent.
    pub cpu_threshold: f32,
    /// High means above this, in percent.
    pub memory_threshold: f32,
    /// Low means below this, in percent.
    pub network_threshold_max: f32,
    /// After a migration, none of the same service for so long.
    pub cooldown: Duration,
    /// Ticks in a row that must match.
    pub consecutive_breaches: u32,
}

/// Scenario 2: CPU and memory and network high.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// High means above this, in percent.
    pub cpu_threshold: f32,
    /// High means above this, in percent.
    pub memory_threshold: f32,
    /// High means above this, in percent.
    pub network_threshold_min: f32,
    /// After a replica was added, no other for so long.
    pub scale_up_cooldown: Duration,
    /// Only after it was idle for so long, and so long after it was scaled, does a service lose a replica.
    pub scale_down_cooldown: Duration,
    /// The longest that this may be: samples of so long are kept.
    pub scale_down_cooldown_max: Duration,
    /// Never fewer replicas than this.
    pub min_replicas: u64,
    /// Never more replicas than this.
    pub max_replicas: u64,
    /// Ticks in a row that must match.
    pub consecutive_breaches: u32,
}

/// How much may be done at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Actions under way at a time, in the Swarm.
    pub actions_in_flight: u32,
    /// Migrations under way at a time that leave a node or go to it.
    pub actions_per_node: u32,
    /// Actions begun within an hour, in the Swarm.
    pub actions_per_hour: u32,
    /// Migrations of one service within an hour; beyond it is the container that is sick, and no node.
    pub moves_per_hour: u32,
    /// When more nodes than this have sick containers, in percent of those that report, nothing is moved: the observer is
    /// more likely wrong than they are. Fewer than [`SICK_NODES_MIN`] nodes never count as many.
    pub sick_nodes_percent: f32,
}

/// What [`Limits::actions_per_hour`] and [`Limits::moves_per_hour`] count in.
pub const HOUR: Duration = Duration::from_secs(3_600);

/// See [`Limits::sick_nodes_percent`].
pub const SICK_NODES_MIN: usize = 3;

impl Default for Policy {
    fn default() -> Self {
        Self {
            migration: Migration {
                cpu_threshold: 75.0,
                memory_threshold: 80.0,
                network_threshold_max: 35.0,
                cooldown: Duration::from_secs(30),
                consecutive_breaches: 2,
            },
            scaling: Scaling {
                cpu_threshold: 75.0,
                memory_threshold: 80.0,
                network_threshold_min: 65.0,
                scale_up_cooldown: Duration::from_secs(60),
                scale_down_cooldown: Duration::from_secs(180),
                scale_down_cooldown_max: SCALE_DOWN_COOLDOWN_MAX,
                min_replicas: 1,
                max_replicas: 10,
                consecutive_breaches: 2,
            },
            limits: Limits {
                actions_in_flight: 5,
                actions_per_node: 2,
                actions_per_hour: 60,
                moves_per_hour: 3,
                sick_nodes_percent: 50.0,
            },
            quiet_hours: Vec::new(),
            startup_period: Duration::from_secs(10),
            // Three reports of the agents' default five ticks: one may be lost and one late.
            metric_window: Duration::from_secs(15),
            leader_window: Duration::from_secs(5),
            action_deadline: Duration::from_secs(60),
        }
    }
}

/// Longest cooldown before a scale-down: samples are kept for [`crate::facts::MEMORY`], and a report may be late.
pub const SCALE_DOWN_COOLDOWN_MAX: Duration = Duration::from_secs(280);

/// A policy that cannot be followed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key} is {found}: expected {allowed}")]
pub struct PolicyError {
    /// The key in the configuration file.
    pub key: &'static str,
    /// The value found.
    pub found: String,
    /// What is allowed, in words.
    pub allowed: &'static str,
}

impl Policy {
    /// The thresholds agents alert on: the lower of both scenarios', so that neither is missed.
    pub fn alert_thresholds(&self) -> (f32, f32) {
        (
            self.migration.cpu_threshold.min(self.scaling.cpu_threshold),
            self.migration.memory_threshold.min(self.scaling.memory_threshold),
        )
    }

    /// What a container that was high has to come below to be high no more: CPU and memory thresholds [`HYSTERESIS`] lower.
    pub(crate) fn lenient(&self) -> Self {
        let mut lenient = self.clone();
        let (migration, scaling) = (&mut lenient.migration, &mut lenient.scaling);
        for threshold in [
            &mut migration.cpu_threshold,
            &mut migration.memory_threshold,
            &mut scaling.cpu_threshold,
            &mut scaling.memory_threshold,
        ] {
            *threshold -= HYSTERESIS;
        }
        lenient
    }

    /// Refuses what no rule could follow.
    ///
    /// # Errors
    /// Names the first key whose value is not allowed.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let percent = |key, value: f32| {
            if value > 0.0 && value <= 100.0 {
                Ok(())
            } else {
                Err(PolicyError { key, found: value.to_string(), allowed: "a percentage above 0 and at most 100" })
            }
        };
        let at_least_one = |key, value: u64| {
            if value >= 1 { Ok(()) } else { Err(PolicyError { key, found: value.to_string(), allowed: "at least 1" }) }
        };
        percent("scenarios.scenario1_migration.cpu_threshold", self.migration.cpu_threshold)?;
        percent("scenarios.scenario1_migration.memory_threshold", self.migration.memory_threshold)?;
        percent("scenarios.scenario1_migration.network_threshold_max", self.migration.network_threshold_max)?;
        percent("scenarios.scenario2_scaling.cpu_threshold", self.scaling.cpu_threshold)?;
        percent("scenarios.scenario2_scaling.memory_threshold", self.scaling.memory_threshold)?;
        percent("scenarios.scenario2_scaling.network_threshold_min", self.scaling.network_threshold_min)?;
        at_least_one("scenarios.scenario1_migration.consecutive_breaches", self.migration.consecutive_breaches.into())?;
        at_least_one("scenarios.scenario2_scaling.consecutive_breaches", self.scaling.consecutive_breaches.into())?;
        at_least_one("scenarios.scenario2_scaling.max_replicas", self.scaling.max_replicas)?;
        if !(1..=self.scaling.max_replicas).contains(&self.scaling.min_replicas) {
            return Err(PolicyError {
                key: "scenarios.scenario2_scaling.min_replicas",
                found: self.scaling.min_replicas.to_string(),
                allowed: "1 to max_replicas",
            });
        }
        if self.scaling.scale_down_cooldown > self.scaling.scale_down_cooldown_max {
            return Err(PolicyError {
                key: "scenarios.scenario2_scaling.scale_down_cooldown",
                found: self.scaling.scale_down_cooldown.as_secs().to_string(),
                allowed: "at most 280 seconds, and without alerts 300 times poll_interval: of so long samples are kept",
            });
        }
        at_least_one("limits.max_actions_in_flight", self.limits.actions_in_flight.into())?;
        at_least_one("limits.max_actions_per_node", self.limits.actions_per_node.into())?;
        at_least_one("limits.max_actions_per_hour", self.limits.actions_per_hour.into())?;
        at_least_one("limits.max_moves_per_hour", self.limits.moves_per_hour.into())?;
        percent("limits.max_sick_nodes_percent", self.limits.sick_nodes_percent)?;
        if self.migration.network_threshold_max > self.scaling.network_threshold_min {
            return Err(PolicyError {
                key: "scenarios.scenario1_migration.network_threshold_max",
                found: self.migration.network_threshold_max.to_string(),
                allowed: "at most scenarios.scenario2_scaling.network_threshold_min, or both scenarios match at once",
            });
        }
        if self.metric_window < Duration::from_secs(1) {
            return Err(PolicyError {
                key: "monitoring.metric_window",
                found: format!("{:?}", self.metric_window),
                allowed: "at least 1 second",
            });
        }
        if self.action_deadline < Duration::from_secs(5) {
            return Err(PolicyError {
                key: "performance.action_deadline_seconds",
                found: format!("{:?}", self.action_deadline),
                allowed: "at least 5 seconds",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Policy), key: &str) {
        let mut policy = Policy::default();
        change(&mut policy);
        assert_eq!(policy.validate().unwrap_err().key, key);
    }

    #[test]
    fn the_defaults_are_allowed() {
        assert_eq!(Policy::default().validate(), Ok(()));
    }

    #[test]
    fn what_no_rule_could_follow_is_named() {
        check(|p| p.migration.cpu_threshold = 0.0, "scenarios.scenario1_migration.cpu_threshold");
        check(|p| p.migration.memory_threshold = 101.0, "scenarios.scenario1_migration.memory_threshold");
        check(|p| p.scaling.cpu_threshold = f32::NAN, "scenarios.scenario2_scaling.cpu_threshold");
        check(|p| p.scaling.max_replicas = 0, "scenarios.scenario2_scaling.max_replicas");
        check(|p| p.migration.consecutive_breaches = 0, "scenarios.scenario1_migration.consecutive_breaches");
        check(|p| p.migration.network_threshold_max = 70.0, "scenarios.scenario1_migration.network_threshold_max");
        check(|p| p.metric_window = Duration::ZERO, "monitoring.metric_window");
        check(|p| p.action_deadline = Duration::ZERO, "performance.action_deadline_seconds");
    }

    #[test]
    fn agents_alert_at_the_lower_of_both_scenarios_thresholds() {
        let mut policy = Policy::default();
        policy.scaling.cpu_threshold = 60.0;
        assert_eq!(policy.alert_thresholds(), (60.0, 80.0));
    }

    #[test]
    fn what_is_just_at_its_bound_is_allowed() {
        let check = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            assert_eq!(policy.validate(), Ok(()));
        };
        check(|p| p.migration.cpu_threshold = 100.0);
        check(|p| p.limits.sick_nodes_percent = 100.0);
        check(|p| p.scaling.min_replicas = p.scaling.max_replicas);
        check(|p| p.scaling.scale_down_cooldown = p.scaling.scale_down_cooldown_max);
        check(|p| p.migration.network_threshold_max = p.scaling.network_threshold_min);
        check(|p| p.metric_window = Duration::from_secs(1));
        check(|p| p.action_deadline = Duration::from_secs(5));
    }
}
