//! A small web application that can be put under stress, for a cluster to rescue.
//!
//! Read in the order of the `mod` lines: what the process is told ([`Command`]), what it may use
//! (`limits`), what it uses (`cpu_time`, `usage`), the three stresses with their common ramp
//! (`stress`), one request of the pretended application (`data`), what is asked (`query`), what is
//! answered (`routes`), and the life of the server from bind to drain (`server`).
//!
//! It is not a benchmark and has no state on disk. The invariant: whatever stress runs, the HTTP
//! server answers, since all stress runs in threads of its own, in short slices.

mod config;
mod probe;

mod limits;

mod cpu_time;
mod usage;

mod stress;

mod data;
mod query;
mod routes;
mod server;

pub use config::{Command, Config, ConfigError, HealthTarget, USAGE};
pub use probe::probe;
pub use server::{run, runtime};
