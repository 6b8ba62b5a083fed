//! What both daemons' configurations share: the error, YAML files, and values that people write.
//!
//! A wrong value is always refused with its key, what was found and what is allowed.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};
use swarmguard_influx::{Endpoint, Precision, Secret};

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

impl ConfigError {
    /// A value that is not allowed.
    pub fn value(key: &'static str, found: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self::Value { key, found: found.to_string(), allowed: allowed.into() }
    }
}

/// Reads a YAML file. An empty one is all defaults.
///
/// # Errors
/// When it cannot be read, or names a key or value that is not allowed.
pub fn read_yaml<T: DeserializeOwned + Default>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse_yaml(&text).map_err(|reason| ConfigError::Parse { path: path.to_owned(), reason })
}

/// Parses YAML. A text of nothing but comments is all defaults.
///
/// # Errors
/// What is wrong, where, and what is allowed.
pub fn parse_yaml<T: DeserializeOwned + Default>(text: &str) -> Result<T, String> {
    let is_content = |line: &str| !matches!(line.trim().chars().next(), None | Some('#'));
    if !text.lines().any(is_content) {
        return Ok(T::default());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// A log level by name.
///
/// # Errors
/// Names the levels there are.
pub fn log_level(text: &str) -> Result<tracing::Level, ConfigError> {
    let error = |_| ConfigError::value("log", format!("{text:?}"), "error, warn, info, debug or trace");
    text.parse().map_err(error)
}

/// The database to write to, from its URL.
///
/// # Errors
/// Names the forms there are.
pub fn influx(url: &str, token: Option<Secret>, precision: Precision) -> Result<Endpoint, ConfigError> {
    Endpoint::parse(url, token, precision).map_err(|error| {
        let forms = "http://host:8086/write?db=NAME or http://host:8086/api/v2/write?org=ORG&bucket=BUCKET";
        // The query may hold a password.
        let shown = url.split('?').next().unwrap_or_default();
        ConfigError::value("influx-url", format!("{shown:?}"), format!("{forms} ({error})"))
    })
}

/// Docker's address: only its form is looked at.
///
/// # Errors
/// Names the forms there are.
pub fn docker_host(text: Option<String>) -> Result<String, ConfigError> {
    let text = text.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let known = ["unix://", "tcp://", "http://"];
    if known.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        return Ok(text);
    }
    Err(ConfigError::value("docker-host", format!("{text:?}"), "unix:///path, tcp://host:port or http://host:port"))
}

/// A length of time as people write it: `1s`, `500ms`, `2m`, `8h`, or a number of seconds.
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
            "h" => 3_600.0,
            _ => f64::NAN,
        };
        let number: f64 = number.parse().unwrap_or(f64::NAN);
        Duration::try_from_secs_f64(number * seconds).map(Span).map_err(|_| {
            format!("{text:?} is not a length of time: expected a number with ms, s, m or h, such as 500ms or 1s")
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

/// A secret from the command line.
///
/// # Errors
/// None.
pub fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// A secret from a file.
///
/// # Errors
/// When it is not a text.
pub fn secret_in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| Secret::new(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit_or_is_in_seconds() {
        let check = |text: &str, expected: Option<u64>| {
            let found = text.parse::<Span>().ok().map(|span| span.0.as_millis());
            assert_eq!(found, expected.map(u128::from), "{text:?}");
        };
        check("1s", Some(1000));
        check("500ms", Some(500));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        check("1.5", Some(1500));
        for wrong in ["", "s", "1d", "-1s", "1 s s", "nan", "inf"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_docker_address_names_its_transport() {
        let check = |text: &str| docker_host(Some(text.to_owned())).is_ok();
        assert!(["unix:///var/run/docker.sock", "tcp://10.0.0.1:2375", "http://[::1]:2375"].into_iter().all(check));
        assert!(!["", "/var/run/docker.sock", "unix://", "ssh://host"].into_iter().any(check));
    }
}
