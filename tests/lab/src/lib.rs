//! A real Docker Swarm of several nodes on one machine, and the servers around it, for tests, benchmarks and demos.
//!
//! Each node is a network namespace with its own host name and its own `dockerd`; a hub namespace holds the bridge
//! between them and the servers (InfluxDB, VictoriaMetrics, haproxy). Nothing of the machine's own is changed but for
//! one network interface with a route to the lab. Needs root and the packages that `cargo xtask setup` installs.
//!
//! Invariant: whatever a lab made, [`Lab::clean`] can find by the lab's name alone and remove, at whatever point the
//! lab was interrupted; and it never ends a process that is not the lab's own.
//!
//! The way through: [`Name`] says where everything lives, [`Lab`] brings it up and down, [`Process`] is a program run
//! inside it, [`servers`] are the programs known by name, [`load`] asks them for answers and counts. Beside all that,
//! [`machine`] is an emulated machine with a kernel of its own.

mod name;

mod dockerd;
mod image;
mod lab;
mod network;
mod swarm;

mod cgroup;
mod clean;
mod mountinfo;
mod owned;
mod process;
mod spawn;
mod state;

pub mod load;
pub mod servers;

pub mod machine;

mod command;
mod http;

pub use image::{ImageFile, load_image};
pub use lab::{Hub, Lab, Node, Options, Progress};
pub use name::{NODES_MAX, Name};
pub use process::{KillOnDrop, Process};
pub use spawn::Place;
