//! What SwarmGuard's daemons do alike, whatever they are for.
//!
//! - [`config`]: values that people write, and errors that say what is allowed
//! - [`presence`]: saying once that something is lost, and once that it is back
//! - [`stop`]: ending at a signal; [`log`]: where log lines go

pub mod config;
pub mod log;
pub mod presence;
pub mod stop;
