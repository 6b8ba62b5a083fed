//! SwarmGuard at work on a lab Swarm: what the demonstration shows and the end-to-end tests check.
//!
//! - [`binaries`]: the programs under test, as they are released
//! - [`stage`]: collector, agents and database on a lab
//! - [`app`]: web-stress as a Swarm service behind a load balancer: the app to be rescued
//! - [`scenario`]: the requirement's two scenarios, set off and measured
//! - [`site`]: a Swarm with SwarmGuard on it by its addresses alone, the lab's or a user's own
//! - [`trial`]: one trial each of a crash, a sick container and a busy service, on any site
//! - [`results`]: what trials store in the database, and read from it
//! - [`http`]: asking for JSON

pub mod binaries;

pub mod app;
pub mod stage;

pub mod scenario;

pub mod results;
pub mod site;
pub mod trial;

pub mod http;
