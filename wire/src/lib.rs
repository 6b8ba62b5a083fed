//! What agents and collectors say to each other.
//!
//! - [`ids`]: Docker's identifiers, kept whole, and display names, cut to a bound
//! - [`time`]: microseconds since the epoch, and the clock offset between two machines
//! - [`sample`]: what was measured of one container and of one node
//! - [`alert`], [`report`], [`reply`]: the three messages
//! - [`verbose`]: the same alert as JSON, for people with curl
//! - [`codec`]: bytes; the only module that knows MessagePack
//!
//! Nothing here opens a socket or reads a clock. The layout is described for other implementations in `docs/wire.md`,
//! and `wire/tests/golden.rs` holds bytes of each version ever released: they must decode for ever.

pub mod ids;
pub mod time;

pub mod sample;

pub mod alert;
pub mod reply;
pub mod report;
pub mod verbose;

pub mod codec;

pub use alert::Alert;
pub use ids::{ContainerId, Name, NodeId, NodeRef, ServiceId, ServiceRef, TaskId};
pub use reply::{HYSTERESIS, Policy, Reply};
pub use report::Report;
pub use sample::{ContainerSample, Network, NetworkSource, NodeSample};
pub use time::Timestamp;
