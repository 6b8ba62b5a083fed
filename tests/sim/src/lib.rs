//! SwarmGuard in worlds that are made up from a seed: its planner, its checks and its executor's course against a model of
//! Swarm, agents, a network and people, with faults.
//!
//! - [`rng`]: numbers from a seed
//! - [`swarmkit`]: the Swarm, which knows nothing of SwarmGuard
//! - [`collector`]: SwarmGuard's collector: the real planner, checks and course, driven by this world's clock
//! - [`script`]: what goes wrong in a world, and when
//! - [`world`]: one world from its beginning to its end
//! - [`movement`]: scripts that the model and a real Swarm both run, for the one to be held against the other
//! - [`incident`]: beside all that, a few facts over time written by hand, and what would be decided
//! - [`judge`]: what must never happen, and what must come about once nothing goes wrong any more

pub mod rng;

pub mod swarmkit;

pub mod movement;

pub mod collector;

pub mod incident;
pub mod judge;
pub mod script;
pub mod world;

pub use judge::Violation;
pub use script::Script;
pub use world::{Outcome, run, run_unchecked};
