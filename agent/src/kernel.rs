//! What only programs in the kernel can tell: each container's traffic, and kills for lack of memory as they happen.
//!
//! Facts → decision → effect, in this order:
//!
//! - [`support`]: what this kernel and this process's rights offer, asked once, and what is to be attached: pure
//! - [`programs`]: loading and attaching, the only place that knows aya
//! - [`traffic`]: the containers' counters, which the kernel shares with the agent as memory
//!
//! Everything here is optional: what cannot be had is said once and the agent goes on without it. Nothing stays in the
//! kernel when the agent ends.

pub mod support;

pub mod programs;
pub mod traffic;
