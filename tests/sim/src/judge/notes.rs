//! Which notes of replicas that were added are void: their owner has changed the number since.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use swarmguard_wire::ServiceId;

use super::{SCALED, mark};
use crate::swarmkit::{Service, SwarmKit};

#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Services' notes that are void, each with the collectors that have seen another number than the noted one.
    voided: BTreeMap<ServiceId, (Value, BTreeSet<usize>)>,
    /// Those of which a replica may be given back all the same: by a collector that has not, since the number had come to be the
    /// noted one again.
    unseen: BTreeSet<ServiceId>,
}

impl Notes {
    /// After a change of an owner who asked for so many replicas last.
    pub(super) fn changed(&mut self, service: &ServiceId, asked_for: Option<u64>, kit: &SwarmKit) {
        let found = kit.services.get(service);
        if asked_for == found.map(Service::replicas) {
            self.unseen.remove(service);
        }
        // As many as a scale-up has just asked for: it is taken for a change of something else.
        let change = found.and_then(|found| mark(&found.spec)).map(|mark| mark["change"].clone()).unwrap_or_default();
        if change["kind"] == "scale_up" && asked_for.is_some() && change["to"].as_u64() == asked_for {
            self.unseen.insert(service.clone());
        }
        let Some(note) = void(service, kit) else { return };
        if self.voided.get(service).is_none_or(|(known, _)| *known != note) {
            self.voided.insert(service.clone(), (note, BTreeSet::new()));
        }
    }

    /// The collector of this number has read the Swarm.
    pub(super) fn looked(&mut self, number: usize, kit: &SwarmKit) {
        for (service, (note, seen_by)) in &mut self.voided {
            if void(service, kit).as_ref() == Some(note) {
                seen_by.insert(number);
            }
        }
    }

    /// What it saw is in no journal.
    pub(super) fn restarted(&mut self, number: usize) {
        for (_, seen_by) in self.voided.values_mut() {
            seen_by.remove(&number);
        }
    }

    /// A collector takes a replica away from a service that had this spec.
    pub(super) fn gives_back(&mut self, number: usize, service: &ServiceId, before: &Value) {
        let Some((note, seen_by)) = self.voided.get(service) else { return };
        if of(before).as_ref() == Some(note) && !seen_by.contains(&number) {
            self.unseen.insert(service.clone());
        }
    }

    /// Whether a replica that its owner asked for may be gone, since nobody could tell.
    pub(super) fn is_unseen(&self, service: &ServiceId) -> bool {
        self.unseen.contains(service)
    }
}

/// The note of a service that has another number than the noted one.
fn void(service: &ServiceId, kit: &SwarmKit) -> Option<Value> {
    let found = kit.services.get(service)?;
    of(&found.spec).filter(|note| note["to"] != found.replicas())
}

/// How many replicas SwarmGuard has noted in a spec.
pub(super) fn of(spec: &Value) -> Option<Value> {
    serde_json::from_str(spec["Labels"][SCALED].as_str()?).ok()
}
