//! What people paused: read with the Swarm, and kept by it.
//!
//! Not to know what is paused must not mean that nothing is, nor that what was begun is not looked after.

use swarmguard_planner::quiet::{Pause, Pauses};

use super::{ControlLoop, News};
use crate::clock::now;
use crate::state::PauseWish;
use crate::swarm::SwarmError;

impl ControlLoop {
    /// Pauses that cannot be read are as they were last known; were they never, everything is paused.
    pub(super) fn saw_pauses(&mut self, read: Result<Pauses, SwarmError>) {
        let mut state = self.shared.state();
        match read {
            Ok(mut pauses) => {
                self.pauses_kept.back();
                // What a person said since, the Swarm does not know yet.
                state.pauses_unsaved.iter().for_each(|wish| wish.apply(&mut pauses));
                pauses.forget(state.fleet.facts().wall(now()));
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
        let due = !state.pauses_unsaved.is_empty() && !self.saving;
        let (true, Some(docker)) = (due, self.docker.clone()) else { return };
        self.saving = true;
        let facts = state.fleet.facts();
        let (wishes, known, wall) = (state.pauses_unsaved.clone(), facts.pauses.clone(), facts.wall(now()));
        let news = self.news.clone();
        tokio::spawn(async move {
            let result = docker.save_pauses(&wishes, known, wall).await;
            let _ = news.send(News::PausesSaved(wishes, result)).await;
        });
    }

    pub(super) fn pauses_saved(&mut self, wishes: &[PauseWish], result: Result<(), SwarmError>) {
        self.saving = false;
        let mut state = self.shared.state();
        match result {
            Ok(()) => {
                self.pauses_kept.back();
                // Others may have come meanwhile: the next look at the Swarm has them kept.
                state.pauses_unsaved.retain(|wish| !wishes.contains(wish));
                // A look that began before may not show them.
                self.trusted_from = now();
            }
            Err(error) => self.pauses_kept.lost(&error),
        }
    }
}
