//! When something may be done at all, and how much at a time, within an hour and after what was done last.

use std::time::Duration;

use swarmguard_planner::Action;
use swarmguard_planner::plan::ActionKind;
use swarmguard_wire::{ServiceId, Timestamp};

use super::{Judge, remembered};
use crate::swarmkit::SwarmKit;

impl Judge {
    /// A collector changed a service whose manager has not led for so long: by then it has to know.
    pub fn acted_beside(&mut self, service: &ServiceId, not_led_for: Duration, now: Timestamp) {
        // It may have read the Swarm just before, and the update takes its time.
        if not_led_for > self.known_after() {
            self.broken(now, service, "it was acted on by a collector whose manager does not lead");
        }
    }

    /// A person paused a service, or all, until then by the wall clock.
    pub fn paused(&mut self, service: Option<&ServiceId>, until: Timestamp, now: Timestamp) {
        self.pauses.insert(service.cloned(), (now, until));
    }

    /// A collector began an action, at this time by the wall clock.
    pub fn began_at(&mut self, service: &ServiceId, wall: Timestamp, now: Timestamp) {
        // It may have read what is paused, and the clock, just before.
        let known = self.known_after();
        let holds = |pause: Option<&(Timestamp, Timestamp)>| {
            pause.is_some_and(|(since, until)| now.since(*since) > known && wall < *until)
        };
        if holds(self.pauses.get(&None)) || holds(self.pauses.get(&Some(service.clone()))) {
            self.broken(now, service, "it was acted on while it was paused");
        }
        let is_quiet = |wall: Timestamp| self.policy.quiet_hours.iter().any(|hours| hours.until(wall).is_some());
        if is_quiet(wall) && is_quiet(wall - known) && self.steps_are_known(known, now) {
            self.broken(now, service, "it was acted on in quiet hours");
        }
    }

    /// The wall clock stepped.
    pub fn wall_stepped(&mut self, now: Timestamp) {
        self.stepped_at = now;
    }

    fn steps_are_known(&self, within: Duration, now: Timestamp) -> bool {
        now.since(self.stepped_at) > within
    }

    /// Cooldowns and limits.
    pub(super) fn remember(&mut self, number: usize, action: &Action, kit: &SwarmKit, now: Timestamp) {
        let (service, kind) = (&action.trigger().service, action.kind());
        let length = match kind {
            ActionKind::Migrate => self.policy.migration.cooldown,
            ActionKind::ScaleUp => self.policy.scaling.scale_up_cooldown,
            ActionKind::ScaleDown => self.policy.scaling.scale_down_cooldown,
        };
        let limits = &self.policy.limits;
        let mut broken = Vec::new();
        if self.remembered.is_cooling(number, service, kind, length, now) {
            broken.push("it was acted on within its cooldown".to_owned());
        }
        let within_hour = self.remembered.began(number, service, now);
        if within_hour > limits.actions_per_hour as usize {
            broken.push(format!("it was the {within_hour}th action within an hour"));
        }
        if kind == ActionKind::Migrate {
            let moves = self.remembered.moves(number, service, now);
            if moves >= limits.moves_per_hour as usize {
                broken.push(format!("it was moved though it had been {moves} times within an hour"));
            }
            for node in action.nodes() {
                let on_node = remembered::moves_on(kit, &node, |id| !self.has_come_back(id, now));
                if on_node > limits.actions_per_node as usize {
                    broken.push(format!("{on_node} moves leave {node} or go there at a time"));
                }
            }
        }
        broken.into_iter().for_each(|what| self.broken(now, service, what));
    }

    /// Whether an owner's rollback may just have brought its mark back: that is not known yet.
    pub(super) fn has_come_back(&self, service: &ServiceId, now: Timestamp) -> bool {
        let known = self.known_after();
        self.rolled_back.get(service).is_some_and(|at| now.since(*at) <= known)
    }

    /// What has changed for so long has to be known: the Swarm is read that often, and the update takes its time.
    pub(super) fn known_after(&self) -> Duration {
        self.policy.leader_window + Duration::from_secs(1)
    }
}
