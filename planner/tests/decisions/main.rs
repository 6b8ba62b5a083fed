//! What the planner decides, and what its checks catch, on a small Swarm of facts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod checks;
mod explain;
mod facts;
mod limits;
mod memory;
mod places;
mod plan;
mod scale_down;
mod words;
mod world;
