//! SwarmGuard at work on a lab Swarm: what the demonstration shows and the end-to-end tests check.
//!
//! - [`binaries`]: the programs under test, as they are released
//! - [`stage`]: collector, agents and database on a lab
//! - [`app`]: web-stress as a Swarm service behind a load balancer: the app to be rescued
//! - [`scenario`]: the requirement's two scenarios, set off and measured
//! - [`http`]: asking for JSON

pub mod binaries;

pub mod app;
pub mod stage;

pub mod scenario;

pub mod http;
