//! What the HTTP handlers and the control loop share, and how the one wakes the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::config::Config;
use crate::counters::Counters;
use crate::fleet::Fleet;
use crate::journal::Journal;

/// Everything that changes.
#[derive(Debug, Default)]
pub struct State {
    /// What is known.
    pub fleet: Fleet,
    /// What was decided and done.
    pub journal: Journal,
    /// What came in.
    pub counters: Counters,
}

/// The state, the configuration, and a bell.
#[derive(Debug)]
pub struct Shared {
    /// What the collector runs with.
    pub config: Config,
    state: Mutex<State>,
    facts_came: Notify,
}

impl Shared {
    /// Nothing is known yet.
    pub fn new(config: Config) -> Self {
        Self { config, state: Mutex::default(), facts_came: Notify::new() }
    }

    /// The state, for as long as the guard lives: never across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // Facts are recorded whole or not at all, so what a panic left behind is still usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the control loop that there is something to decide.
    pub fn wake(&self) {
        self.facts_came.notify_one();
    }

    /// Resolves when there is something to decide; several rings before it count as one.
    pub async fn facts_came(&self) {
        self.facts_came.notified().await;
    }
}
