//! The agent's configuration: flags, then environment, then a YAML file, then defaults; every key in all three.
//!
//! One struct is both the command line and the file, so a key cannot exist in one and not in the other. A wrong value
//! is refused with its key, what was found and what is allowed.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Deserializer, de};
use swarmguard_http::Url;
use swarmguard_influx::{Endpoint, Precision, Secret};
use swarmguard_wire::Name;

use crate::discovery;

/// Keys as the user gives them. The doc comments are the help texts.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Name of this node in metrics and alerts [default: Docker's name of the host]
    #[arg(long, env = "SWARMGUARD_NODE")]
    pub node: Option<String>,
    /// Time between samples, 100ms to 60s [default: the collector's poll_interval, else 1s]
    #[arg(long, env = "SWARMGUARD_INTERVAL")]
    pub interval: Option<Span>,
    /// Address of a collector, http://host:5000; may be given several times, or separated by commas
    #[arg(long, env = "SWARMGUARD_COLLECTOR", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub collector: Vec<String>,
    /// Database to write to: http://host:8086/write?db=NAME (InfluxDB 1) or
    /// http://host:8086/api/v2/write?org=ORG&bucket=BUCKET (InfluxDB 2, 3, VictoriaMetrics)
    #[arg(long, env = "INFLUXDB_URL")]
    pub influx_url: Option<String>,
    /// Token for the database; better given by environment or file, where other users do not see it
    #[arg(long, env = "INFLUXDB_TOKEN", hide_env_values = true, value_parser = secret)]
    #[serde(deserialize_with = "secret_in_file")]
    pub influx_token: Option<Secret>,
    /// Time between writes to the database, 1s to 5m [default: 10s]
    #[arg(long, env = "SWARMGUARD_FLUSH_INTERVAL")]
    pub flush_interval: Option<Span>,
    /// Network interface of the node [default: the one of the default route]
    #[arg(long, env = "NET_IFACE")]
    pub iface: Option<String>,
    /// Speed of the node's link in Mbit/s [default: what the kernel says]
    #[arg(long, env = "SWARMGUARD_LINK_MBPS")]
    pub link_mbps: Option<f64>,
    /// Docker's address: unix:///path, tcp://host:port or http://host:port [default: unix:///var/run/docker.sock]
    #[arg(long, env = "DOCKER_HOST")]
    pub docker_host: Option<String>,
    /// Folder below which the host's /proc and /sys are mounted [default: /]
    #[arg(long, env = "SWARMGUARD_HOST_ROOT")]
    pub host_root: Option<PathBuf>,
    /// Log level: error, warn, info, debug or trace [default: info]
    #[arg(long, env = "SWARMGUARD_LOG")]
    pub log: Option<String>,
}

/// A wrong configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("config is {path}: cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file is not YAML with these keys.
    #[error("config is {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what is allowed.
        reason: String,
    },
    /// A value is not allowed.
    #[error("{key} is {found}: expected {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is allowed, in words.
        allowed: String,
    },
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
    /// Where the host's `/proc` and `/sys` are.
    pub host_root: PathBuf,
    /// The log level.
    pub log: tracing::Level,
}

impl Settings {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// When it cannot be read, or names a key or value that is not allowed.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|reason| ConfigError::Parse { path: path.to_owned(), reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

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
        let precision = match interval {
            Some(interval) if interval < Duration::from_secs(1) => Precision::Milliseconds,
            Some(_) | None => Precision::Seconds,
        };
        let docker_host = self.docker_host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        discovery::check_address(&docker_host).map_err(|_| ConfigError::Value {
            key: "docker-host",
            found: docker_host.clone(),
            allowed: "unix:///path, tcp://host:port or http://host:port".to_owned(),
        })?;
        Ok(Config {
            node: self.node.as_deref().map(node_name).transpose()?,
            interval,
            collectors: self.collector.iter().map(|text| collector(text)).collect::<Result<_, _>>()?,
            influx: self.influx_url.map(|url| influx(&url, self.influx_token, precision)).transpose()?,
            flush_interval,
            interface: self.iface,
            link_mbps: self.link_mbps.map(link_mbps).transpose()?,
            docker_host,
            host_root: self.host_root.unwrap_or_else(|| "/".into()),
            log: self.log.as_deref().map_or(Ok(tracing::Level::INFO), log_level)?,
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
            Err(ConfigError::Value { key, found: format!("{found:?}"), allowed: format!("{min:?} to {max:?}") })
        }
        Some(Span(found)) => Ok(Some(found)),
        None => Ok(None),
    }
}

fn node_name(text: &str) -> Result<Name, ConfigError> {
    let name = Name::new(text);
    if text.is_empty() || name.as_str() != text {
        let allowed = "1 to 63 bytes".to_owned();
        return Err(ConfigError::Value { key: "node", found: format!("{text:?}"), allowed });
    }
    Ok(name)
}

fn collector(text: &str) -> Result<Url, ConfigError> {
    text.parse().map_err(|error| ConfigError::Value {
        key: "collector",
        found: format!("{text:?}"),
        allowed: format!("http://host:port ({error})"),
    })
}

fn influx(url: &str, token: Option<Secret>, precision: Precision) -> Result<Endpoint, ConfigError> {
    Endpoint::parse(url, token, precision).map_err(|error| ConfigError::Value {
        key: "influx-url",
        found: format!("{url:?}"),
        allowed: format!(
            "http://host:8086/write?db=NAME or http://host:8086/api/v2/write?org=ORG&bucket=BUCKET ({error})"
        ),
    })
}

fn link_mbps(found: f64) -> Result<f64, ConfigError> {
    if found.is_finite() && found > 0.0 {
        return Ok(found);
    }
    let allowed = "a number of Mbit/s above 0".to_owned();
    Err(ConfigError::Value { key: "link-mbps", found: found.to_string(), allowed })
}

fn log_level(text: &str) -> Result<tracing::Level, ConfigError> {
    text.parse().map_err(|_| ConfigError::Value {
        key: "log",
        found: format!("{text:?}"),
        allowed: "error, warn, info, debug or trace".to_owned(),
    })
}

/// A length of time as people write it: `1s`, `500ms`, `2m`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let seconds = match unit.trim() {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            _ => f64::NAN,
        };
        let number: f64 = number.parse().unwrap_or(f64::NAN);
        Duration::try_from_secs_f64(number * seconds).map(Span).map_err(|_| {
            format!("{text:?} is not a length of time: expected a number with ms, s or m, such as 500ms or 1s")
        })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as 500ms or 1s")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                Ok(Span(Duration::from_secs(seconds)))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                Duration::try_from_secs_f64(seconds).map(Span).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

fn secret_in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| Secret::new(&text)))
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
        Settings::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
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
                    link-mbps: 100\ndocker-host: tcp://d:2375\nhost-root: /host\nlog: debug\n";
        let config = parse(text).resolve().unwrap();
        assert_eq!(config.collectors.len(), 2);
        assert_eq!(config.interval, Some(Duration::from_millis(500)));
        assert_eq!(config.flush_interval, Duration::from_secs(5));
        assert_eq!(config.log, tracing::Level::DEBUG);
        assert!(config.influx.is_some());
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        let check = |text: &str, parts: &[&str]| {
            let error = match Settings::parse(text) {
                Err(error) => error,
                Ok(settings) => settings.resolve().unwrap_err().to_string(),
            };
            assert!(parts.iter().all(|part| error.contains(part)), "{text:?} gave {error:?}");
        };
        check("interval: 1h\n", &["1h", "500ms"]);
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
