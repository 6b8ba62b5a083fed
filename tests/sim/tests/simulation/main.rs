//! What the simulation shows of SwarmGuard, and that it would show the contrary.
//!
//! One program, since each is linked for minutes with the optimization that the worlds want.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and these print what they find and measure"
)]

mod movements;
#[cfg(feature = "planted-bugs")]
mod planted;
mod regressions;
mod scenarios;
mod worlds;
