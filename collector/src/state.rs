//! What the HTTP handlers and the control loop share, and how the one wakes the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use swarmguard_planner::quiet::{Pause, Pauses};
use swarmguard_wire::Timestamp;
use tokio::sync::Notify;

use crate::config::{Config, Rules};
use crate::counters::Counters;
use crate::fleet::Fleet;
use crate::journal::Journal;

/// Everything that changes.
#[derive(Debug)]
pub struct State {
    /// What is followed now.
    pub rules: Arc<Rules>,
    /// Why the last change of the configuration was not taken.
    pub refused: Option<String>,
    /// Whether it was ever known what is paused.
    pub pauses_known: bool,
    /// What people said of pauses that the Swarm does not keep yet, at most `PAUSES_MAX`.
    pub pauses_unsaved: Vec<PauseWish>,
    /// The lowest alert thresholds, CPU and memory in percent, that the services' owners chose, as of the last look at
    /// the Swarm.
    pub labelled_thresholds: (f32, f32),
    /// When everything was decided on last.
    pub decided_at: Timestamp,
    /// Actions under way, as of the last decisions.
    pub in_flight: usize,
    /// Actions begun within an hour before them.
    pub within_hour: usize,
    /// What is known.
    pub fleet: Fleet,
    /// What was decided and done.
    pub journal: Journal,
    /// What came in.
    pub counters: Counters,
}

/// What a person said of a service's pause, or of the one of all. Others may say something through another collector at the
/// same time: only this is changed of what the Swarm keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseWish {
    /// The service's name; absent: all.
    pub service: Option<String>,
    /// Absent: it is taken back.
    pub pause: Option<Pause>,
}

impl PauseWish {
    /// Does what it says.
    pub fn apply(&self, pauses: &mut Pauses) {
        match (&self.service, &self.pause) {
            (None, pause) => pauses.all.clone_from(pause),
            (Some(service), Some(pause)) => drop(pauses.services.insert(service.clone(), pause.clone())),
            (Some(service), None) => drop(pauses.services.remove(service)),
        }
    }
}

/// The state, the configuration, and a bell.
#[derive(Debug)]
pub struct Shared {
    /// What the collector was started with; what is followed now is in the state.
    pub config: Config,
    state: Mutex<State>,
    facts_came: Notify,
}

impl Shared {
    /// Nothing is known yet.
    pub fn new(config: Config) -> Self {
        Self::with_journal(config, Journal::default())
    }

    /// Nothing is known yet but what was done before.
    pub fn with_journal(config: Config, journal: Journal) -> Self {
        let state = State {
            rules: Arc::new(config.rules.clone()),
            refused: None,
            pauses_known: false,
            pauses_unsaved: Vec::new(),
            decided_at: Timestamp::default(),
            in_flight: 0,
            within_hour: 0,
            labelled_thresholds: (f32::MAX, f32::MAX),
            fleet: Fleet::default(),
            journal,
            counters: Counters::default(),
        };
        Self { config, state: Mutex::new(state), facts_came: Notify::new() }
    }

    /// The state, for as long as the guard lives: never across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // Facts are recorded whole or not at all, so what a panic left behind is still usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What agents are to alert on: the lowest of the thresholds that any service is judged by.
    pub fn agents(&self) -> swarmguard_wire::Policy {
        let state = self.state();
        let rules = &state.rules;
        let ((cpu, memory), chosen) = (rules.policy.alert_thresholds(), state.labelled_thresholds);
        let (cpu_percent, memory_percent) = (cpu.min(chosen.0), memory.min(chosen.1));
        swarmguard_wire::Policy { cpu_percent, memory_percent, ..rules.agents }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_people_say_through_two_collectors_is_both_kept() {
        let pause = |service: &str| PauseWish {
            service: Some(service.into()),
            pause: Some(Pause { until: None, reason: Some("release".into()) }),
        };
        let mut kept = Pauses::default();
        [pause("web"), pause("shop")].iter().for_each(|wish| wish.apply(&mut kept));
        assert_eq!(kept.services.keys().collect::<Vec<_>>(), ["shop", "web"]);
        PauseWish { service: Some("web".into()), pause: None }.apply(&mut kept);
        PauseWish { service: None, pause: pause("web").pause }.apply(&mut kept);
        assert!(kept.all.is_some() && kept.services.len() == 1);
    }
}
