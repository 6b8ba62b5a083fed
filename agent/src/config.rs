//! The agent's configuration: flags, then environment, then a YAML file, then defaults; every key in all three.
//!
//! One struct is both the command line and the file, so a key cannot exist in one and not in the other. A wrong value
//! is refused with its key, what was found and what is allowed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Deserializer, de};
use swarmguard_daemon::config::{self, ConfigError, Span, secret, secret_in_file};
use swarmguard_http::Url;
use swarmguard_influx::{Endpoint, Precision, Secret};
use swarmguard_wire::Name;

/// Of timestamps, where the URL does not say. Two ticks a second apart may fall into one second of the clock, and one
/// point would replace the other.
const DEFAULT_PRECISION: Precision = Precision::Milliseconds;

/// Keys as the user gives them. The doc comments are the help texts.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Name of this node in metrics and alerts [default: Docker's name of the host]
    #[arg(long, global = true, env = "SWARMGUARD_NODE")]
    pub node: Option<String>,
    /// Time between samples, 100ms to 60s [default: the collector's poll_interval, else 1s]
    #[arg(long, global = true, env = "SWARMGUARD_INTERVAL")]
    pub interval: Option<Span>,
    /// Address of a collector, http://host:5000; may be given several times, or separated by commas
    #[arg(long, global = true, env = "SWARMGUARD_COLLECTOR", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub collector: Vec<String>,
    /// Database to write to: http://host:8086/write?db=NAME (InfluxDB 1) or
    /// http://host:8086/api/v2/write?org=ORG&bucket=BUCKET (InfluxDB 2, 3, VictoriaMetrics)
    #[arg(long, global = true, env = "INFLUXDB_URL")]
    pub influx_url: Option<String>,
    /// Token for the database; better given by environment or file, where other users do not see it
    #[arg(long, global = true, env = "INFLUXDB_TOKEN", hide_env_values = true, value_parser = secret)]
    #[serde(deserialize_with = "secret_in_file")]
    pub influx_token: Option<Secret>,
    /// Time between writes to the database, 1s to 5m [default: 10s]
    #[arg(long, global = true, env = "SWARMGUARD_FLUSH_INTERVAL")]
    pub flush_interval: Option<Span>,
    /// Network interface of the node [default: the one of the default route]
    #[arg(long, global = true, env = "NET_IFACE")]
    pub iface: Option<String>,
    /// Speed of the node's link in Mbit/s [default: what the kernel says]
    #[arg(long, global = true, env = "SWARMGUARD_LINK_MBPS")]
    pub link_mbps: Option<f64>,
    /// Docker's address: unix:///path, tcp://host:port or http://host:port [default: unix:///var/run/docker.sock]
    #[arg(long, global = true, env = "DOCKER_HOST")]
    pub docker_host: Option<String>,
    /// Also measure each cgroup directly below this one, containers or not: system.slice, or another engine's
    #[arg(long, global = true, env = "SWARMGUARD_CGROUP_PARENT")]
    pub cgroup_parent: Option<PathBuf>,
    /// Folder below which the host's /proc and /sys are mounted [default: /]
    #[arg(long, global = true, env = "SWARMGUARD_HOST_ROOT")]
    pub host_root: Option<PathBuf>,
    /// Log level: error, warn, info, debug or trace [default: info]
    #[arg(long, global = true, env = "SWARMGUARD_LOG")]
    pub log: Option<String>,
}

/// What the agent runs with.
#[derive(Debug)]
pub struct Config {
    /// The node's name, if the user gave one.
    pub node: Option<Name>,
    /// Time between samples; absent means the collector says.
    pub interval: Option<Duration>,
    /// The collectors, all of which are told.
    pub collectors: Vec<Url>,
    /// The database; absent means no metrics are written.
    pub influx: Option<Endpoint>,
    /// Time between writes to the database.
    pub flush_interval: Duration,
    /// The node's interface, if the user gave one.
    pub interface: Option<String>,
    /// The link's speed in Mbit/s, if the user gave it.
    pub link_mbps: Option<f64>,
    /// Docker's address.
    pub docker_host: String,
    /// The cgroup whose children are measured too.
    pub cgroup_parent: Option<PathBuf>,
    /// Where the host's `/proc` and `/sys` are.
    pub host_root: PathBuf,
    /// The log level.
    pub log: tracing::Level,
}

impl Settings {
    /// Takes from `below` what is not given here.
    pub fn or(self, below: Self) -> Self {
        Self {
            node: self.node.or(below.node),
            interval: self.interval.or(below.interval),
            collector: if self.collector.is_empty() { below.collector } else { self.collector },
            influx_url: self.influx_url.or(below.influx_url),
            influx_token: self.influx_token.or(below.influx_token),
            flush_interval: self.flush_interval.or(below.flush_interval),
            iface: self.iface.or(below.iface),
            link_mbps: self.link_mbps.or(below.link_mbps),
            docker_host: self.docker_host.or(below.docker_host),
            cgroup_parent: self.cgroup_parent.or(below.cgroup_parent),
            host_root: self.host_root.or(below.host_root),
            log: self.log.or(below.log),
        }
    }

    /// Checks every value and fills in the defaults.
    ///
    /// # Errors
    /// Names the first key whose value is not allowed.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let interval = in_range("interval", self.interval, Duration::from_millis(100), Duration::from_secs(60))?;
        let flush_interval =
            in_range("flush-interval", self.flush_interval, Duration::from_secs(1), Duration::from_secs(300))?
                .unwrap_or(Duration::from_secs(10));
        Ok(Config {
            node: self.node.as_deref().map(node_name).transpose()?,
            interval,
            collectors: self.collector.iter().map(|text| collector(text)).collect::<Result<_, _>>()?,
            influx: self
                .influx_url
                .map(|url| config::influx(&url, self.influx_token, DEFAULT_PRECISION))
                .transpose()?,
            flush_interval,
            interface: self.iface,
            link_mbps: self.link_mbps.map(link_mbps).transpose()?,
            docker_host: config::docker_host(self.docker_host)?,
            cgroup_parent: self.cgroup_parent,
            host_root: self.host_root.unwrap_or_else(|| "/".into()),
            log: self.log.as_deref().map_or(Ok(tracing::Level::INFO), config::log_level)?,
        })
    }
}

fn in_range(
    key: &'static str,
    span: Option<Span>,
    min: Duration,
    max: Duration,
) -> Result<Option<Duration>, ConfigError> {
    match span {
        Some(Span(found)) if found < min || found > max => {
            Err(ConfigError::value(key, format!("{found:?}"), format!("{min:?} to {max:?}")))
        }
        Some(Span(found)) => Ok(Some(found)),
        None => Ok(None),
    }
}

fn node_name(text: &str) -> Result<Name, ConfigError> {
    let name = Name::new(text);
    if text.is_empty() || name.as_str() != text {
        return Err(ConfigError::value("node", format!("{text:?}"), "1 to 63 bytes"));
    }
    Ok(name)
}

fn collector(text: &str) -> Result<Url, ConfigError> {
    let error = |error: swarmguard_http::UrlError| {
        ConfigError::value("collector", format!("{text:?}"), format!("http://host:port ({error})"))
    };
    text.parse().map_err(error)
}

fn link_mbps(found: f64) -> Result<f64, ConfigError> {
    if found.is_finite() && found > 0.0 {
        return Ok(found);
    }
    Err(ConfigError::value("link-mbps", found, "a number of Mbit/s above 0"))
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address or a list of addresses")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.split(',').map(|part| part.trim().to_owned()).collect())
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(text) = sequence.next_element()? {
                found.push(text);
            }
            Ok(found)
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Settings {
        config::parse_yaml(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let config = parse("").resolve().unwrap();
        assert_eq!(config.docker_host, "unix:///var/run/docker.sock");
        assert_eq!((config.interval, config.flush_interval), (None, Duration::from_secs(10)));
    }

    #[test]
    fn what_stands_above_wins_key_by_key() {
        let above = parse("node: above\n");
        let below = parse("node: below\niface: eth9\n");
        let both = above.or(below).resolve().unwrap();
        assert_eq!(both.node, Some(Name::new("above")));
        assert_eq!(both.interface.as_deref(), Some("eth9"));
    }

    #[test]
    fn every_key_can_be_in_the_file() {
        let text = "node: n1\ninterval: 500ms\ncollector: [http://a:5000, http://b:5000]\n\
                    influx-url: http://db:8086/write?db=x\ninflux-token: t\nflush-interval: 5\niface: eth0\n\
                    link-mbps: 100\ndocker-host: tcp://d:2375\ncgroup-parent: system.slice\n\
                    host-root: /host\nlog: debug\n";
        let config = parse(text).resolve().unwrap();
        assert_eq!(config.collectors.len(), 2);
        assert_eq!(config.interval, Some(Duration::from_millis(500)));
        assert_eq!(config.flush_interval, Duration::from_secs(5));
        assert_eq!(config.log, tracing::Level::DEBUG);
        assert_eq!(config.cgroup_parent, Some("system.slice".into()));
        assert!(config.influx.is_some());
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        let check = |text: &str, parts: &[&str]| {
            let error = match config::parse_yaml::<Settings>(text) {
                Err(error) => error,
                Ok(settings) => settings.resolve().unwrap_err().to_string(),
            };
            assert!(parts.iter().all(|part| error.contains(part)), "{text:?} gave {error:?}");
        };
        check("interval: 1d\n", &["1d", "500ms"]);
        check("interval: 1ms\n", &["interval", "1ms", "100ms to 60s"]);
        check("collector: ftp://x\n", &["collector", "ftp://x", "http://host:port"]);
        check("influx-url: http://db:8086\n", &["influx-url", "http://db:8086", "/write?db="]);
        check("link-mbps: -5\n", &["link-mbps", "-5", "above 0"]);
        check("docker-host: ssh://x\n", &["docker-host", "ssh://x", "unix:///path"]);
        check("log: loud\n", &["log", "loud", "debug"]);
        check("intervall: 1s\n", &["intervall", "interval"]);
    }

    #[test]
    fn a_token_is_never_shown() {
        let settings = parse("influx-token: secret-text\n");
        assert!(!format!("{settings:?}").contains("secret-text"));
    }
}
