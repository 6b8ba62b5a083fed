//! Bugs that can be put in on purpose, to see whether the simulation finds them: with the feature `planted-bugs` only, which
//! nothing but the simulation asks for. Without it [`has`] is false at compile time and nothing is left of them.

/// A bug, named after the promise that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each name says what is wrong")]
pub enum Bug {
    StaleSwarm,
    StaleSample,
    NotEnabled,
    SecondAction,
    SomeonesUpdate,
    NotConverged,
    NoCooldown,
    OneTickIsEnough,
    AboveMaximum,
    BelowMinimum,
    OwnersReplicas,
    TooManyInFlight,
    TargetHoldsTask,
    Bystander,
    LocalStorage,
    StopFirst,
    EndsTooEarly,
    RevertsAtOnce,
    ForgetsMark,
    ForgetsConstraints,
    ForgetsUpdateConfig,
    ForgetsNote,
    ActsInStandby,
    IgnoresPause,
    NeverMoves,
    NeverGrows,
    NeverShrinks,
    HourLimit,
    MovesLimit,
    NodeLimit,
    ForgetsOthers,
    ForgetsPast,
    TrustsRunning,
    EndsWhileReplacing,
    IgnoresOthers,
    ForgetsItsEnd,
    HurriesOwner,
}

impl Bug {
    /// Those that few worlds show: some tens of thousands had to be run until one did, and these are kept.
    pub const RARE: [Self; 4] =
        [Self::EndsWhileReplacing, Self::IgnoresOthers, Self::ForgetsItsEnd, Self::HurriesOwner];

    /// All others.
    pub const COMMON: [Self; 33] = [
        Self::StaleSwarm,
        Self::StaleSample,
        Self::NotEnabled,
        Self::SecondAction,
        Self::SomeonesUpdate,
        Self::NotConverged,
        Self::NoCooldown,
        Self::OneTickIsEnough,
        Self::AboveMaximum,
        Self::BelowMinimum,
        Self::OwnersReplicas,
        Self::TooManyInFlight,
        Self::TargetHoldsTask,
        Self::Bystander,
        Self::LocalStorage,
        Self::StopFirst,
        Self::EndsTooEarly,
        Self::RevertsAtOnce,
        Self::ForgetsMark,
        Self::ForgetsConstraints,
        Self::ForgetsUpdateConfig,
        Self::ForgetsNote,
        Self::ActsInStandby,
        Self::IgnoresPause,
        Self::NeverMoves,
        Self::NeverGrows,
        Self::NeverShrinks,
        Self::HourLimit,
        Self::MovesLimit,
        Self::NodeLimit,
        Self::ForgetsOthers,
        Self::ForgetsPast,
        Self::TrustsRunning,
    ];
}

#[cfg(feature = "planted-bugs")]
mod on {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Puts a bug in for this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is in.
    pub fn has(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub use on::{has, plant};

/// No bug is in.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn has(_bug: Bug) -> bool {
    false
}
