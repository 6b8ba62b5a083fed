//! The collector's configuration: flags, then environment, then a YAML file, then defaults; every key in all three.
//!
//! The file has the requirement's keys. One struct is both the command line and the file, so a key cannot exist in one
//! and not in the other.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use swarmguard_daemon::config::{self, ConfigError, secret, secret_in_file};
use swarmguard_influx::{Endpoint, Precision, Secret};
use swarmguard_planner::{Policy, policy};
use swarmguard_wire::report::REPORT_INTERVAL;

/// Keys as the user gives them. The doc comments are the help texts.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address to listen on [default: 0.0.0.0:5000]
    #[arg(long, env = "SWARMGUARD_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// A manager's Docker: unix:///path, tcp://host:port or http://host:port [default: unix:///var/run/docker.sock]
    #[arg(long, env = "DOCKER_HOST")]
    #[serde(rename = "docker-host")]
    pub docker_host: Option<String>,
    /// Database for recovery_events: http://host:8086/write?db=NAME (InfluxDB 1) or
    /// http://host:8086/api/v2/write?org=ORG&bucket=BUCKET (InfluxDB 2, 3, VictoriaMetrics)
    #[arg(long, env = "INFLUXDB_URL")]
    #[serde(rename = "influx-url")]
    pub influx_url: Option<String>,
    /// Token for the database; better given by environment or file, where other users do not see it
    #[arg(long, env = "INFLUXDB_TOKEN", hide_env_values = true, value_parser = secret)]
    #[serde(rename = "influx-token", deserialize_with = "secret_in_file")]
    pub influx_token: Option<Secret>,
    /// Log level: error, warn, info, debug or trace [default: info]
    #[arg(long, env = "SWARMGUARD_LOG")]
    pub log: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub scenarios: Scenarios,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub monitoring: Monitoring,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub performance: Performance,
}

/// `scenarios:` of the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Scenarios {
    #[command(flatten)]
    pub scenario1_migration: Scenario1,
    #[command(flatten)]
    pub scenario2_scaling: Scenario2,
}

/// `scenarios.scenario1_migration:` of the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario1 {
    /// Scenario 1: CPU is high above this, in percent of what the container may use [default: 75]
    #[arg(id = "s1_cpu", long = "scenario1-cpu-threshold", env = "SWARMGUARD_SCENARIO1_CPU_THRESHOLD")]
    pub cpu_threshold: Option<f32>,
    /// Scenario 1: memory is high above this, in percent of what the container may use [default: 80]
    #[arg(id = "s1_mem", long = "scenario1-memory-threshold", env = "SWARMGUARD_SCENARIO1_MEMORY_THRESHOLD")]
    pub memory_threshold: Option<f32>,
    /// Scenario 1: the network is low below this, in percent of the link [default: 35]
    #[arg(id = "s1_net", long = "scenario1-network-threshold-max", env = "SWARMGUARD_SCENARIO1_NETWORK_THRESHOLD_MAX")]
    pub network_threshold_max: Option<f32>,
    /// Scenario 1: seconds after a migration before the next of the same service [default: 30]
    #[arg(id = "s1_cool", long = "scenario1-cooldown-period", env = "SWARMGUARD_SCENARIO1_COOLDOWN_PERIOD")]
    pub cooldown_period: Option<u32>,
    /// Scenario 1: ticks in a row that must match [default: 2]
    #[arg(id = "s1_row", long = "scenario1-consecutive-breaches", env = "SWARMGUARD_SCENARIO1_CONSECUTIVE_BREACHES")]
    pub consecutive_breaches: Option<u32>,
}

/// `scenarios.scenario2_scaling:` of the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario2 {
    /// Scenario 2: CPU is high above this, in percent of what the container may use [default: 75]
    #[arg(id = "s2_cpu", long = "scenario2-cpu-threshold", env = "SWARMGUARD_SCENARIO2_CPU_THRESHOLD")]
    pub cpu_threshold: Option<f32>,
    /// Scenario 2: memory is high above this, in percent of what the container may use [default: 80]
    #[arg(id = "s2_mem", long = "scenario2-memory-threshold", env = "SWARMGUARD_SCENARIO2_MEMORY_THRESHOLD")]
    pub memory_threshold: Option<f32>,
    /// Scenario 2: the network is high above this, in percent of the link [default: 65]
    #[arg(id = "s2_net", long = "scenario2-network-threshold-min", env = "SWARMGUARD_SCENARIO2_NETWORK_THRESHOLD_MIN")]
    pub network_threshold_min: Option<f32>,
    /// Scenario 2: seconds after a replica was added before the next [default: 60]
    #[arg(id = "s2_cool", long = "scenario2-scale-up-cooldown", env = "SWARMGUARD_SCENARIO2_SCALE_UP_COOLDOWN")]
    pub scale_up_cooldown: Option<u32>,
    /// Seconds of idleness before a replica is taken away; checked, but without effect in this version [default: 180]
    #[arg(id = "s2_down", long = "scenario2-scale-down-cooldown", env = "SWARMGUARD_SCENARIO2_SCALE_DOWN_COOLDOWN")]
    pub scale_down_cooldown: Option<u32>,
    /// Never fewer replicas than this; checked, but without effect in this version, which takes none away [default: 1]
    #[arg(id = "s2_min", long = "scenario2-min-replicas", env = "SWARMGUARD_SCENARIO2_MIN_REPLICAS")]
    pub min_replicas: Option<u64>,
    /// Scenario 2: never more replicas than this [default: 10]
    #[arg(id = "s2_max", long = "scenario2-max-replicas", env = "SWARMGUARD_SCENARIO2_MAX_REPLICAS")]
    pub max_replicas: Option<u64>,
    /// Scenario 2: ticks in a row that must match [default: 2]
    #[arg(id = "s2_row", long = "scenario2-consecutive-breaches", env = "SWARMGUARD_SCENARIO2_CONSECUTIVE_BREACHES")]
    pub consecutive_breaches: Option<u32>,
}

/// `monitoring:` of the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Monitoring {
    /// Seconds between samples, for agents that were not given an interval: 0.1 to 60 [default: 1]
    #[arg(long, env = "SWARMGUARD_POLL_INTERVAL")]
    pub poll_interval: Option<f64>,
    /// Seconds for which a sample, a report or the Swarm's state may be acted on [default: 15]
    #[arg(long, env = "SWARMGUARD_METRIC_WINDOW")]
    pub metric_window: Option<u32>,
    /// Whether agents alert at the tick a threshold is crossed in [default: true]
    #[arg(long, env = "SWARMGUARD_ALERT_IMMEDIATELY")]
    pub alert_immediately: Option<bool>,
}

/// `performance:` of the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Performance {
    /// A decision that takes longer, in milliseconds, is logged as a warning [default: 1000]
    #[arg(long, env = "SWARMGUARD_MAX_DECISION_TIME_MS")]
    pub max_decision_time_ms: Option<u32>,
    /// A recovery that takes longer, in seconds, is logged as a warning [default: 10]
    #[arg(long, env = "SWARMGUARD_TARGET_MTTR_SECONDS")]
    pub target_mttr_seconds: Option<u32>,
    /// A recovery during which no task ran for longer, in seconds, is logged as a warning [default: 3]
    #[arg(long, env = "SWARMGUARD_MAX_DOWNTIME_SECONDS")]
    pub max_downtime_seconds: Option<u32>,
    /// Seconds after which an action that is not done is taken back [default: 60]
    #[arg(long, env = "SWARMGUARD_ACTION_DEADLINE_SECONDS")]
    pub action_deadline_seconds: Option<u32>,
}

/// What the collector runs with.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A manager's Docker.
    pub docker_host: String,
    /// Where `recovery_events` go; absent means nowhere.
    pub influx: Option<Endpoint>,
    /// The log level.
    pub log: tracing::Level,
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

macro_rules! first {
    ($type:ident, $above:expr, $below:expr, { $($field:ident),* }) => {
        $type { $($field: $above.$field.or($below.$field)),* }
    };
}

impl Settings {
    /// Takes from `below` what is not given here.
    pub fn or(self, below: Self) -> Self {
        let (s1, s2) = (self.scenarios.scenario1_migration, self.scenarios.scenario2_scaling);
        let (b1, b2) = (below.scenarios.scenario1_migration, below.scenarios.scenario2_scaling);
        Self {
            listen: self.listen.or(below.listen),
            docker_host: self.docker_host.or(below.docker_host),
            influx_url: self.influx_url.or(below.influx_url),
            influx_token: self.influx_token.or(below.influx_token),
            log: self.log.or(below.log),
            scenarios: Scenarios {
                scenario1_migration: first!(Scenario1, s1, b1, {
                    cpu_threshold, memory_threshold, network_threshold_max, cooldown_period, consecutive_breaches
                }),
                scenario2_scaling: first!(Scenario2, s2, b2, {
                    cpu_threshold, memory_threshold, network_threshold_min, scale_up_cooldown,
                    scale_down_cooldown, min_replicas, max_replicas, consecutive_breaches
                }),
            },
            monitoring: first!(Monitoring, self.monitoring, below.monitoring, {
                poll_interval, metric_window, alert_immediately
            }),
            performance: first!(Performance, self.performance, below.performance, {
                max_decision_time_ms, target_mttr_seconds, max_downtime_seconds, action_deadline_seconds
            }),
        }
    }

    /// Checks every value and fills in the defaults.
    ///
    /// # Errors
    /// Names the first key whose value is not allowed.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let policy = self.policy()?;
        let (cpu_percent, memory_percent) = policy.alert_thresholds();
        let poll_interval = poll_interval(self.monitoring.poll_interval.unwrap_or(1.0))?;
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
            log: self.log.as_deref().map_or(Ok(tracing::Level::INFO), config::log_level)?,
            policy,
            agents: swarmguard_wire::Policy {
                cpu_percent,
                memory_percent,
                alert_immediately: self.monitoring.alert_immediately.unwrap_or(true),
                interval_ms: u32::try_from(poll_interval.as_millis()).unwrap_or(u32::MAX),
            },
            expected: Expected {
                decision: Duration::from_millis(max_decision_time_ms.unwrap_or(1000).into()),
                recovery: seconds(target_mttr_seconds.unwrap_or(10)),
                downtime: seconds(max_downtime_seconds.unwrap_or(3)),
            },
        })
    }

    fn policy(&self) -> Result<Policy, ConfigError> {
        let defaults = Policy::default();
        let (migration, scaling) = (&self.scenarios.scenario1_migration, &self.scenarios.scenario2_scaling);
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
                max_replicas: scaling.max_replicas.unwrap_or(defaults.scaling.max_replicas),
                consecutive_breaches: scaling.consecutive_breaches.unwrap_or(defaults.scaling.consecutive_breaches),
            },
            metric_window: self.monitoring.metric_window.map_or(defaults.metric_window, seconds),
            action_deadline: self.performance.action_deadline_seconds.map_or(defaults.action_deadline, seconds),
        };
        let named = |error: policy::PolicyError| ConfigError::value(error.key, error.found, error.allowed);
        policy.validate().map_err(named)?;
        let (min, max) = (scaling.min_replicas.unwrap_or(1), policy.scaling.max_replicas);
        if !(1..=max).contains(&min) {
            let allowed = format!("1 to max_replicas, which is {max}");
            return Err(ConfigError::value("scenarios.scenario2_scaling.min_replicas", min, allowed));
        }
        Ok(policy)
    }
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
        assert_eq!(config.policy, Policy::default());
        assert_eq!(config.agents, swarmguard_wire::Policy::default(), "agents start with what they will be told");
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
        assert_eq!(config.policy, Policy::default());
        assert_eq!(config.agents.interval_ms, 5000);
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
        assert_eq!(config.policy.migration.cpu_threshold, 50.0);
        assert_eq!(config.policy.migration.memory_threshold, 61.0);
        assert_eq!(config.log, tracing::Level::DEBUG);
    }
}
