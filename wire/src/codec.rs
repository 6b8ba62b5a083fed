//! Messages to bytes and back: the only module that knows MessagePack.
//!
//! A message is a MessagePack array of two: the protocol's version, then the body, whose fields stand in the order of
//! their declaration without keys. A body is refused whole or taken whole: wrong version, bytes behind the end,
//! numbers that are not finite or percentages below zero never become facts.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::alert::{ALERT_BYTES_MAX, Alert};
use crate::reply::{Policy, Reply};
use crate::report::{REPORT_BYTES_MAX, REPORT_CONTAINERS_MAX, Report};
use crate::sample::{ContainerSample, Network};
use crate::verbose::{VERBOSE_BYTES_MAX, VerboseAlert};

/// The version this build speaks.
pub const VERSION: u8 = 1;

/// Content type of MessagePack bodies.
pub const CONTENT_TYPE: &str = "application/msgpack";

/// The longest reply, in bytes.
pub const REPLY_BYTES_MAX: usize = 128;

/// A MessagePack array of two elements starts with this byte.
const ARRAY_OF_TWO: u8 = 0x92;
/// Integers below this are one byte and stand for themselves.
const FIXINT_END: u8 = 0x80;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than a message of this kind can have.
    #[error("{found} bytes are too many: at most {max}")]
    Oversized {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not an array of a version and a body.
    #[error("not a versioned message: expected a MessagePack array of two, starting with the version")]
    Envelope,
    /// A version this build does not speak.
    #[error("version {found} is not known: this build speaks version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The body does not have the fields of this message.
    #[error("the body is malformed")]
    Body(#[source] rmp_serde::decode::Error),
    /// Bytes remain after the body.
    #[error("{extra} bytes follow the message")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A number outside its range.
    #[error("{field} is {found}: expected {allowed}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// The number found.
        found: f64,
        /// The range allowed, in words.
        allowed: &'static str,
    },
}

/// A message of the protocol.
pub trait Message: Serialize {
    /// The longest encoding, in bytes.
    const BYTES_MAX: usize;

    /// Checks what the types alone do not.
    fn validate(&self) -> Result<(), DecodeError>;
}

impl Message for Alert {
    const BYTES_MAX: usize = ALERT_BYTES_MAX;

    fn validate(&self) -> Result<(), DecodeError> {
        container_in_range(&self.container)
    }
}

impl Message for Report<'_> {
    const BYTES_MAX: usize = REPORT_BYTES_MAX;

    fn validate(&self) -> Result<(), DecodeError> {
        let found = self.containers.len();
        if found > REPORT_CONTAINERS_MAX {
            return Err(DecodeError::Oversized { found, max: REPORT_CONTAINERS_MAX });
        }
        in_range("cpu_percent", self.sample.cpu_percent)?;
        in_range("memory_percent", self.sample.memory_percent)?;
        in_range("memory_total_mb", self.sample.memory_total_mb)?;
        in_range("link_mbps", self.sample.link_mbps)?;
        network_in_range(self.sample.network.as_ref())?;
        self.containers.iter().try_for_each(container_in_range)
    }
}

impl Message for Reply {
    const BYTES_MAX: usize = REPLY_BYTES_MAX;

    fn validate(&self) -> Result<(), DecodeError> {
        let Policy { cpu_percent, memory_percent, alert_immediately: _, interval_ms } = self.policy;
        in_range("cpu_percent", Some(cpu_percent))?;
        in_range("memory_percent", Some(memory_percent))?;
        if interval_ms == 0 {
            return Err(DecodeError::Range { field: "interval_ms", found: 0.0, allowed: "at least 1" });
        }
        Ok(())
    }
}

fn container_in_range(sample: &ContainerSample) -> Result<(), DecodeError> {
    in_range("cpu_percent", sample.cpu_percent)?;
    in_range("cpu_limit_percent", sample.cpu_limit_percent)?;
    in_range("memory_mb", sample.memory_mb)?;
    in_range("memory_percent", sample.memory_percent)?;
    in_range("throttled_percent", sample.throttled_percent)?;
    in_range("tcp_retransmit_percent", sample.tcp_retransmit_percent)?;
    in_range("cpu_pressure_percent", sample.cpu_pressure_percent)?;
    in_range("memory_pressure_percent", sample.memory_pressure_percent)?;
    in_range("io_pressure_percent", sample.io_pressure_percent)?;
    network_in_range(sample.network.as_ref())
}

fn network_in_range(network: Option<&Network>) -> Result<(), DecodeError> {
    let Some(network) = network else { return Ok(()) };
    in_range("rx_mbps", Some(network.rx_mbps))?;
    in_range("tx_mbps", Some(network.tx_mbps))?;
    in_range("network_percent", network.percent)
}

fn in_range(field: &'static str, value: Option<f32>) -> Result<(), DecodeError> {
    match value {
        Some(found) if !found.is_finite() || found < 0.0 => {
            Err(DecodeError::Range { field, found: found.into(), allowed: "a finite number, 0 or more" })
        }
        Some(_) | None => Ok(()),
    }
}

/// Encodes `message` into `buffer`, which is cleared first; its capacity is reused.
///
/// # Errors
/// None for the message types of this crate: every one of their fields has a MessagePack form.
pub fn encode_into<M: Message>(message: &M, buffer: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
    buffer.clear();
    buffer.extend([ARRAY_OF_TWO, VERSION]);
    rmp_serde::encode::write(buffer, message)
}

/// Encodes `message` into a new buffer.
///
/// # Errors
/// As [`encode_into`].
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut buffer = Vec::new();
    encode_into(message, &mut buffer)?;
    Ok(buffer)
}

/// Decodes one message that fills `bytes`.
///
/// # Errors
/// Says what was found and what was expected; see [`DecodeError`].
pub fn decode<M: Message + DeserializeOwned>(bytes: &[u8]) -> Result<M, DecodeError> {
    if bytes.len() > M::BYTES_MAX {
        return Err(DecodeError::Oversized { found: bytes.len(), max: M::BYTES_MAX });
    }
    let body = match bytes {
        [ARRAY_OF_TWO, VERSION, body @ ..] => body,
        [ARRAY_OF_TWO, found, ..] if *found < FIXINT_END => return Err(DecodeError::Version { found: *found }),
        _ => return Err(DecodeError::Envelope),
    };
    let mut reader = body;
    let message: M = rmp_serde::from_read(&mut reader).map_err(DecodeError::Body)?;
    if !reader.is_empty() {
        return Err(DecodeError::Trailing { extra: reader.len() });
    }
    message.validate()?;
    Ok(message)
}

/// Why JSON is not an alert.
#[derive(Debug, thiserror::Error)]
pub enum VerboseError {
    /// More bytes than a JSON alert may have.
    #[error("{found} bytes are too many: at most {max}")]
    Oversized {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not JSON, or not these fields.
    #[error("not a JSON alert: {0}")]
    Json(serde_json::Error),
    /// A number outside its range.
    #[error("{field} is {found}: expected a finite number, 0 or more")]
    Range {
        /// The field's name.
        field: &'static str,
        /// The number found.
        found: f64,
    },
}

/// Decodes the JSON form of an alert.
///
/// # Errors
/// Says what was found and what was expected; see [`VerboseError`].
pub fn decode_verbose(bytes: &[u8]) -> Result<VerboseAlert, VerboseError> {
    if bytes.len() > VERBOSE_BYTES_MAX {
        return Err(VerboseError::Oversized { found: bytes.len(), max: VERBOSE_BYTES_MAX });
    }
    let alert: VerboseAlert = serde_json::from_slice(bytes).map_err(VerboseError::Json)?;
    let metrics = &alert.metrics;
    let fields = [
        ("timestamp", Some(alert.timestamp)),
        ("cpu_percent", metrics.cpu_percent.map(f64::from)),
        ("memory_mb", metrics.memory_mb.map(f64::from)),
        ("memory_percent", metrics.memory_percent.map(f64::from)),
        ("network_rx_mbps", metrics.network_rx_mbps.map(f64::from)),
        ("network_tx_mbps", metrics.network_tx_mbps.map(f64::from)),
        ("network_percent", metrics.network_percent.map(f64::from)),
    ];
    for (field, value) in fields {
        match value {
            Some(found) if !found.is_finite() || found < 0.0 => return Err(VerboseError::Range { field, found }),
            Some(_) | None => {}
        }
    }
    Ok(alert)
}
