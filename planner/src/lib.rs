//! What to do about a Swarm: same facts, same policy, same memory, same `now`, same plan.
//!
//! - [`facts`]: what is known of services, tasks, nodes and containers; [`window`]: a container's recent samples
//! - [`policy`]: thresholds, cooldowns and limits that a person chose; [`labels`]: what a service's owner chose over it;
//!   [`quiet`]: when nothing is done
//! - [`memory`]: what was done before: actions in flight and cooldowns; [`claims`]: what they take of the limits
//! - [`rules`]: which condition a container is in, and what its service needs
//! - [`placement`]: which nodes may take a task, and why the others may not
//! - [`plan`]: the decisions, each an action that names everything or a refusal that says why
//! - [`explain`]: a decision in sentences
//! - [`checks`]: an independent look at an action before it is executed
//!
//! No I/O, no async, no clock, no environment: `clippy.toml` bans them.

pub mod facts;
pub mod window;

pub mod labels;
pub mod policy;
pub mod quiet;

pub mod claims;
pub mod cooldown;
pub mod memory;

pub mod placement;
pub mod rules;

pub mod plan;

pub mod explain;

pub mod checks;

pub mod planted;

pub use facts::Facts;
pub use memory::Memory;
pub use plan::{Action, Decision, Outcome, Withheld, plan};
pub use policy::Policy;
