//! What was done before: which services are being acted on, and which were lately.
//!
//! The control loop tells it when an action starts and ends. What must survive the loop's own death is not kept here
//! but in the services' labels; losing this memory only loses cooldowns.

use std::collections::BTreeMap;
use std::time::Duration;

use swarmguard_wire::{ServiceId, Timestamp};

use crate::cooldown::Cooldown;
use crate::plan::ActionKind;

/// Most services remembered; the ones acted on longest ago are forgotten first.
pub const SERVICES_MAX: usize = 10_000;

/// The pause after a first refusal: a service that has just changed is planned for anew at the next look.
pub const REFUSAL_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause after refusals.
pub const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Doublings beyond this would exceed the longest pause anyway.
const REFUSALS_COUNTED_MAX: u32 = 10;

/// What was done to each service.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    services: BTreeMap<ServiceId, ServiceMemory>,
}

#[derive(Debug, Clone, Default)]
struct ServiceMemory {
    in_flight: Option<ActionKind>,
    refusals: u32,
    refused_until: Timestamp,
    migrated: Cooldown,
    scaled_up: Cooldown,
    touched_at: Timestamp,
}

impl Memory {
    /// An action has begun.
    pub fn started(&mut self, service: &ServiceId, kind: ActionKind, now: Timestamp) {
        let memory = self.services.entry(service.clone()).or_default();
        memory.in_flight = Some(kind);
        memory.touched_at = now;
        self.forget_beyond(SERVICES_MAX);
    }

    /// An action has ended, well or not: its cooldown starts.
    pub fn ended(&mut self, service: &ServiceId, kind: ActionKind, now: Timestamp) {
        let memory = self.services.entry(service.clone()).or_default();
        memory.in_flight = None;
        memory.touched_at = now;
        memory.refusals = 0;
        match kind {
            ActionKind::Migrate => memory.migrated.start(now),
            ActionKind::ScaleUp => memory.scaled_up.start(now),
        }
    }

    /// An action was refused before anything was changed: no cooldown starts, but a pause that doubles with each
    /// refusal in a row.
    pub fn refused(&mut self, service: &ServiceId, now: Timestamp) {
        let memory = self.services.entry(service.clone()).or_default();
        memory.in_flight = None;
        memory.touched_at = now;
        let doubled = REFUSAL_PAUSE_MIN.saturating_mul(1 << memory.refusals.min(REFUSALS_COUNTED_MAX));
        memory.refused_until = now + doubled.min(REFUSAL_PAUSE_MAX);
        memory.refusals = memory.refusals.saturating_add(1);
    }

    /// Until when nothing is tried after refusals; `None` if that time has passed.
    pub fn refused_until(&self, service: &ServiceId, now: Timestamp) -> Option<Timestamp> {
        self.services.get(service).map(|memory| memory.refused_until).filter(|until| now < *until)
    }

    /// The action that is being executed on a service.
    pub fn in_flight(&self, service: &ServiceId) -> Option<ActionKind> {
        self.services.get(service).and_then(|memory| memory.in_flight)
    }

    /// The cooldown of one kind of action on a service.
    pub fn cooldown(&self, service: &ServiceId, kind: ActionKind) -> Cooldown {
        let memory = self.services.get(service);
        match kind {
            ActionKind::Migrate => memory.map(|memory| memory.migrated),
            ActionKind::ScaleUp => memory.map(|memory| memory.scaled_up),
        }
        .unwrap_or_default()
    }

    fn forget_beyond(&mut self, max: usize) {
        while self.services.len() > max {
            let idle = self.services.iter().filter(|(_, memory)| memory.in_flight.is_none());
            let Some(oldest) = idle.min_by_key(|(_, memory)| memory.touched_at).map(|(id, _)| id.clone()) else {
                return;
            };
            self.services.remove(&oldest);
        }
    }
}
