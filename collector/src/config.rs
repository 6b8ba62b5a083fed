//! The collector's configuration: flags, then environment, then a YAML file, then defaults; every key in all three.
//!
//! - [`settings`]: the keys as people give them
//! - here: what they mean, checked; the file has the requirement's keys

mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use swarmguard_daemon::config::{self, ConfigError};
use swarmguard_influx::{Endpoint, Precision};
use swarmguard_planner::policy::SCALE_DOWN_COOLDOWN_MAX;
use swarmguard_planner::quiet::QuietHours;
use swarmguard_planner::window::SAMPLES_MAX;
use swarmguard_planner::{Policy, policy};
use swarmguard_wire::report::REPORT_INTERVAL;

pub use settings::{Limits, Monitoring, Performance, Scenario1, Scenario2, Scenarios, Settings};

/// What the collector runs with.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A manager's Docker.
    pub docker_host: String,
    /// Where `recovery_events` go; absent means nowhere.
    pub influx: Option<Endpoint>,
    /// Where the journal is kept.
    pub journal: Place,
    /// The log level.
    pub log: tracing::Level,
    /// What may change while it runs.
    pub rules: Rules,
}

/// Where the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere but in memory.
    Memory,
    /// In the file that the user gave.
    File(PathBuf),
    /// In this file, if that can be.
    Default(PathBuf),
}

/// Where the journal is kept if nobody says otherwise.
const JOURNAL: &str = "/var/lib/swarmguard/journal.redb";

impl Config {
    /// Keys of what is not the same in the two and only counts at the start.
    pub(crate) fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let changed = [
            ("listen", self.listen != other.listen),
            ("docker-host", self.docker_host != other.docker_host),
            ("influx-url or influx-token", self.influx != other.influx),
            ("journal", self.journal != other.journal),
            ("log", self.log != other.log),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
}

/// What may change while the collector runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What the planner follows.
    pub policy: Policy,
    /// What agents are told.
    pub agents: swarmguard_wire::Policy,
    /// Limits whose passing is logged.
    pub expected: Expected,
}

/// What a person expects of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Longest decision.
    pub decision: Duration,
    /// Longest recovery, from breach to replacement running.
    pub recovery: Duration,
    /// Longest time without a running task.
    pub downtime: Duration,
}

impl Settings {
    /// Checks every value and fills in the defaults.
    ///
    /// # Errors
    /// Names the first key whose value is not allowed.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let alert_immediately = self.monitoring.alert_immediately.unwrap_or(true);
        let poll_interval = poll_interval(self.monitoring.poll_interval.unwrap_or(1.0))?;
        let mut longest = SCALE_DOWN_COOLDOWN_MAX;
        if !alert_immediately {
            // Every tick has a report then, and a service's idle time must be in the samples that are kept.
            longest = longest.min(poll_interval * u32::try_from(SAMPLES_MAX).unwrap_or(u32::MAX));
        }
        let policy = self.policy(longest)?;
        let (cpu_percent, memory_percent) = policy.alert_thresholds();
        // Agents report every five seconds, or at each tick where ticks are rarer; one report may be lost.
        let window_min = 2 * poll_interval.max(REPORT_INTERVAL);
        if policy.metric_window < window_min {
            let allowed = format!("at least {window_min:?}, two reports of an agent");
            return Err(ConfigError::value("monitoring.metric_window", policy.metric_window.as_secs(), allowed));
        }
        let Performance { max_decision_time_ms, target_mttr_seconds, max_downtime_seconds, .. } = self.performance;
        Ok(Config {
            listen: self.listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 5000))),
            docker_host: config::docker_host(self.docker_host)?,
            influx: self
                .influx_url
                .map(|url| config::influx(&url, self.influx_token, Precision::Milliseconds))
                .transpose()?,
            journal: match self.journal {
                None => Place::Default(JOURNAL.into()),
                Some(path) if path.as_os_str() == "none" => Place::Memory,
                Some(path) => Place::File(path),
            },
            log: self.log.as_deref().map_or(Ok(tracing::Level::INFO), config::log_level)?,
            rules: Rules {
                policy,
                agents: swarmguard_wire::Policy {
                    cpu_percent,
                    memory_percent,
                    alert_immediately,
                    interval_ms: u32::try_from(poll_interval.as_millis()).unwrap_or(u32::MAX),
                },
                expected: Expected {
                    decision: Duration::from_millis(max_decision_time_ms.unwrap_or(1000).into()),
                    recovery: seconds(target_mttr_seconds.unwrap_or(10)),
                    downtime: seconds(max_downtime_seconds.unwrap_or(3)),
                },
            },
        })
    }

    fn policy(&self, scale_down_cooldown_max: Duration) -> Result<Policy, ConfigError> {
        let defaults = Policy::default();
        let (migration, scaling) = (&self.scenarios.scenario1_migration, &self.scenarios.scenario2_scaling);
        let limits = &self.limits;
        let policy = Policy {
            migration: policy::Migration {
                cpu_threshold: migration.cpu_threshold.unwrap_or(defaults.migration.cpu_threshold),
                memory_threshold: migration.memory_threshold.unwrap_or(defaults.migration.memory_threshold),
                network_threshold_max: migration
                    .network_threshold_max
                    .unwrap_or(defaults.migration.network_threshold_max),
                cooldown: migration.cooldown_period.map_or(defaults.migration.cooldown, seconds),
                consecutive_breaches: migration.consecutive_breaches.unwrap_or(defaults.migration.consecutive_breaches),
            },
            scaling: policy::Scaling {
                cpu_threshold: scaling.cpu_threshold.unwrap_or(defaults.scaling.cpu_threshold),
                memory_threshold: scaling.memory_threshold.unwrap_or(defaults.scaling.memory_threshold),
                network_threshold_min: scaling.network_threshold_min.unwrap_or(defaults.scaling.network_threshold_min),
                scale_up_cooldown: scaling.scale_up_cooldown.map_or(defaults.scaling.scale_up_cooldown, seconds),
                scale_down_cooldown: scaling.scale_down_cooldown.map_or(defaults.scaling.scale_down_cooldown, seconds),
                scale_down_cooldown_max,
                min_replicas: scaling.min_replicas.unwrap_or(defaults.scaling.min_replicas),
                max_replicas: scaling.max_replicas.unwrap_or(defaults.scaling.max_replicas),
                consecutive_breaches: scaling.consecutive_breaches.unwrap_or(defaults.scaling.consecutive_breaches),
            },
            limits: policy::Limits {
                actions_in_flight: limits.max_actions_in_flight.unwrap_or(defaults.limits.actions_in_flight),
                actions_per_node: limits.max_actions_per_node.unwrap_or(defaults.limits.actions_per_node),
                actions_per_hour: limits.max_actions_per_hour.unwrap_or(defaults.limits.actions_per_hour),
                moves_per_hour: limits.max_moves_per_hour.unwrap_or(defaults.limits.moves_per_hour),
                sick_nodes_percent: limits.max_sick_nodes_percent.unwrap_or(defaults.limits.sick_nodes_percent),
            },
            quiet_hours: quiet_hours(limits.quiet_hours.as_deref().unwrap_or_default())?,
            startup_period: self.monitoring.startup_period.map_or(defaults.startup_period, seconds),
            metric_window: self.monitoring.metric_window.map_or(defaults.metric_window, seconds),
            leader_window: defaults.leader_window,
            action_deadline: self.performance.action_deadline_seconds.map_or(defaults.action_deadline, seconds),
        };
        let named = |error: policy::PolicyError| ConfigError::value(error.key, error.found, error.allowed);
        policy.validate().map_err(named)?;
        Ok(policy)
    }
}

fn quiet_hours(texts: &[String]) -> Result<Vec<QuietHours>, ConfigError> {
    let parsed = texts.iter().map(|text| {
        let allowed = "HH:MM-HH:MM in UTC, after days such as sat,sun or mon-fri if not every day";
        QuietHours::parse(text).ok_or_else(|| ConfigError::value("limits.quiet_hours", format!("{text:?}"), allowed))
    });
    parsed.collect()
}

fn poll_interval(seconds: f64) -> Result<Duration, ConfigError> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(60);
    let interval = Duration::try_from_secs_f64(seconds).ok().filter(|interval| allowed.contains(interval));
    interval.ok_or_else(|| ConfigError::value("monitoring.poll_interval", seconds, "0.1 to 60 seconds"))
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        config::parse_yaml::<Settings>(text)?.resolve().map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_the_requirements_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config.rules.policy, Policy::default());
        assert_eq!(config.rules.agents, swarmguard_wire::Policy::default(), "agents start with what they will be told");
        assert_eq!(config.listen.port(), 5000);
    }

    #[test]
    fn the_requirements_own_example_is_understood() {
        let text = "
scenarios:
  scenario1_migration:
    cpu_threshold: 75
    memory_threshold: 80
    network_threshold_max: 35
    cooldown_period: 30
    consecutive_breaches: 2
  scenario2_scaling:
    cpu_threshold: 75
    memory_threshold: 80
    network_threshold_min: 65
    scale_up_cooldown: 60
    scale_down_cooldown: 180
    min_replicas: 1
    max_replicas: 10
    consecutive_breaches: 2
monitoring:
  poll_interval: 5
  metric_window: 15
  alert_immediately: true
performance:
  max_decision_time_ms: 1000
  target_mttr_seconds: 10
  max_downtime_seconds: 3
";
        let config = parse(text).unwrap();
        assert_eq!(config.rules.policy, Policy::default());
        assert_eq!(config.rules.agents.interval_ms, 5000);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        let check = |text: &str, parts: &[&str]| {
            let error = parse(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{text:?} gave {error:?}");
        };
        check("scenarios: {scenario1_migration: {cpu_threshold: 175}}", &["cpu_threshold", "175", "at most 100"]);
        check("scenarios: {scenario1_migration: {cpu_treshold: 75}}", &["cpu_treshold", "cpu_threshold"]);
        check("scenarios: {scenario2_scaling: {max_replicas: 0}}", &["max_replicas", "0", "at least 1"]);
        check("scenarios: {scenario2_scaling: {max_replicas: lots}}", &["lots"]);
        check("scenarios: {scenario2_scaling: {min_replicas: 11}}", &["min_replicas", "11", "1 to max_replicas"]);
        check("monitoring: {metric_window: 5}", &["metric_window", "5", "at least 10s"]);
        check(
            "monitoring: {poll_interval: 0.2, alert_immediately: false}",
            &["scale_down_cooldown", "180", "300 times poll_interval"],
        );
        check("monitoring: {poll_interval: 0}", &["poll_interval", "0", "0.1 to 60"]);
        check("docker-host: nowhere", &["docker-host", "nowhere", "unix:///path"]);
        check("listen: nowhere", &["nowhere"]);
    }

    #[test]
    fn what_stands_above_wins_key_by_key() {
        let settings = |text: &str| config::parse_yaml::<Settings>(text).unwrap();
        let above = settings("scenarios: {scenario1_migration: {cpu_threshold: 50}}");
        let below = settings("scenarios: {scenario1_migration: {cpu_threshold: 60, memory_threshold: 61}}\nlog: debug");
        let config = above.or(below).resolve().unwrap();
        assert_eq!(config.rules.policy.migration.cpu_threshold, 50.0);
        assert_eq!(config.rules.policy.migration.memory_threshold, 61.0);
        assert_eq!(config.log, tracing::Level::DEBUG);
    }
}
