//! What people paused: read with the Swarm, and kept by it.
//!
//! Not to know what is paused must not mean that nothing is, nor that what was begun is not looked after.

use swarmguard_planner::quiet::{Pause, Pauses};

use super::{ControlLoop, News};
use crate::clock::now;
use crate::swarm::SwarmError;

impl ControlLoop {
    /// Pauses that cannot be read are as they were last known; were they never, everything is paused.
    pub(super) fn saw_pauses(&mut self, read: Result<Pauses, SwarmError>) {
        let mut state = self.shared.state();
        // What a person said since, the Swarm does not know yet.
        if state.pauses_unsaved {
            return;
        }
        match read {
            Ok(pauses) => {
                self.pauses_kept.back();
                state.pauses_known = true;
                state.fleet.record_pauses(pauses);
            }
            Err(error) => {
                self.pauses_kept.lost(&error);
                if !state.pauses_known {
                    let reason = Some("what was paused cannot be read; to resume all ends that".to_owned());
                    let all = Some(Pause { until: None, reason });
                    state.fleet.record_pauses(Pauses { all, ..Pauses::default() });
                }
            }
        }
    }

    /// Has the Swarm keep what people paused since.
    pub(super) fn save_pauses(&mut self) {
        let state = self.shared.state();
        let due = state.pauses_unsaved && !self.saving;
        let (true, Some(docker)) = (due, self.docker.clone()) else { return };
        self.saving = true;
        let (pauses, news) = (state.fleet.facts().pauses.clone(), self.news.clone());
        tokio::spawn(async move {
            let result = docker.save_pauses(&pauses).await;
            let _ = news.send(News::PausesSaved(pauses, result)).await;
        });
    }

    pub(super) fn pauses_saved(&mut self, pauses: &Pauses, result: Result<(), SwarmError>) {
        self.saving = false;
        let mut state = self.shared.state();
        match result {
            Ok(()) => {
                self.pauses_kept.back();
                // Others may have come meanwhile: the next look at the Swarm has them kept.
                state.pauses_unsaved = state.fleet.facts().pauses != *pauses;
                // A look that began before may not show them.
                self.trusted_from = now();
            }
            Err(error) => self.pauses_kept.lost(&error),
        }
    }
}
