//! The keys, on the command line, in the environment and in the file.
//!
//! One struct is both the command line and the file, so a key cannot exist in one and not in the other.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use swarmguard_daemon::config::{secret, secret_in_file};
use swarmguard_influx::Secret;

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
    /// File for the journal of decisions and actions, or none to keep it in memory only
    /// [default: /var/lib/swarmguard/journal.redb, where that can be written]
    #[arg(long, env = "SWARMGUARD_JOURNAL")]
    pub journal: Option<PathBuf>,
    /// Log level: error, warn, info, debug or trace [default: info]
    #[arg(long, env = "SWARMGUARD_LOG")]
    pub log: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub scenarios: Scenarios,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub limits: Limits,
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
    /// Seconds of idleness, and after the service was scaled, before a replica is taken away: at most 280 [default: 180]
    #[arg(id = "s2_down", long = "scenario2-scale-down-cooldown", env = "SWARMGUARD_SCENARIO2_SCALE_DOWN_COOLDOWN")]
    pub scale_down_cooldown: Option<u32>,
    /// Never fewer replicas than this [default: 1]
    #[arg(id = "s2_min", long = "scenario2-min-replicas", env = "SWARMGUARD_SCENARIO2_MIN_REPLICAS")]
    pub min_replicas: Option<u64>,
    /// Scenario 2: never more replicas than this [default: 10]
    #[arg(id = "s2_max", long = "scenario2-max-replicas", env = "SWARMGUARD_SCENARIO2_MAX_REPLICAS")]
    pub max_replicas: Option<u64>,
    /// Scenario 2: ticks in a row that must match [default: 2]
    #[arg(id = "s2_row", long = "scenario2-consecutive-breaches", env = "SWARMGUARD_SCENARIO2_CONSECUTIVE_BREACHES")]
    pub consecutive_breaches: Option<u32>,
}

/// `limits:` of the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Actions under way at a time, in the Swarm [default: 5]
    #[arg(long, env = "SWARMGUARD_MAX_ACTIONS_IN_FLIGHT")]
    pub max_actions_in_flight: Option<u32>,
    /// Migrations under way at a time that leave a node or go to it [default: 2]
    #[arg(long, env = "SWARMGUARD_MAX_ACTIONS_PER_NODE")]
    pub max_actions_per_node: Option<u32>,
    /// Actions begun within an hour, in the Swarm [default: 60]
    #[arg(long, env = "SWARMGUARD_MAX_ACTIONS_PER_HOUR")]
    pub max_actions_per_hour: Option<u32>,
    /// Migrations of one service within an hour; then it is left alone [default: 3]
    #[arg(long, env = "SWARMGUARD_MAX_MOVES_PER_HOUR")]
    pub max_moves_per_hour: Option<u32>,
    /// Nothing is moved while more nodes than this, in percent, and at least three, have sick containers [default: 50]
    #[arg(long, env = "SWARMGUARD_MAX_SICK_NODES_PERCENT")]
    pub max_sick_nodes_percent: Option<f32>,
    /// Hours in UTC in which nothing is done, such as 22:00-06:00 or "sat,sun 00:00-24:00" [default: none]
    #[arg(long, env = "SWARMGUARD_QUIET_HOURS", value_delimiter = ';')]
    pub quiet_hours: Option<Vec<String>>,
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
    /// Seconds after a container began to run in which its CPU is not looked at [default: 10]
    #[arg(long, env = "SWARMGUARD_STARTUP_PERIOD")]
    pub startup_period: Option<u32>,
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
            journal: self.journal.or(below.journal),
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
            limits: first!(Limits, self.limits, below.limits, {
                max_actions_in_flight, max_actions_per_node, max_actions_per_hour, max_moves_per_hour,
                max_sick_nodes_percent, quiet_hours
            }),
            monitoring: first!(Monitoring, self.monitoring, below.monitoring, {
                poll_interval, metric_window, startup_period, alert_immediately
            }),
            performance: first!(Performance, self.performance, below.performance, {
                max_decision_time_ms, target_mttr_seconds, max_downtime_seconds, action_deadline_seconds
            }),
        }
    }
}
