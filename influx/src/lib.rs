//! Points out to a time-series database: InfluxDB 1, 2, 3 or VictoriaMetrics.
//!
//! What happens to a point, in reading order:
//!
//! - [`endpoint`]: where points go, in which dialect and precision, with which token
//! - [`line`](mod@line): a point becomes one line of line protocol in a reused buffer
//! - [`batch`]: lines are collected until there are enough of them or it is time
//! - [`pack`]: a batch becomes a gzip body, and can be split in two
//! - [`queue`]: bodies wait here; when there are too many, the oldest goes
//! - [`answer`]: what the database's answer means for a batch
//! - [`backoff`]: how long to wait before the next attempt
//! - [`standing`]: what is worth telling a person about the database, and what is only counted
//! - [`shared`], [`sink`], [`writer`]: the two ends of the way, and what they share; points go in at [`Sink`], and
//!   [`Writer`] sends them
//!
//! This is not the way of alerts, and nothing here may delay one: the sampling side never waits. Whatever is lost is
//! counted, and whatever can grow has a named maximum. Only [`writer`] does I/O, and all but
//! the two ends is pure.

pub mod endpoint;

pub mod line;

pub mod batch;
pub mod pack;
pub mod queue;

pub mod answer;
pub mod backoff;
pub mod standing;

pub mod shared;
pub mod sink;
pub mod writer;

pub use batch::fnv1a;
pub use endpoint::{Endpoint, EndpointError, Precision, Secret};
pub use line::{Fields, Lines, Point, Series};
pub use shared::{Stats, StatsReader};
pub use sink::Sink;
pub use writer::{Options, Writer, channel};

#[cfg(test)]
#[expect(dead_code, reason = "shared with swarmguard-http, whose tests use all of it")]
#[path = "../../http/src/test_server.rs"]
mod test_server;
