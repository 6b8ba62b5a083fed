//! What must come about: an action ends, who could be helped is, a replica that a move has cost comes back, and in the end
//! each service has its owner's spec.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use swarmguard_planner::facts::UpdateState;
use swarmguard_wire::{NodeId, ServiceId, Timestamp};

use super::{Author, Judge, MARK, SCALED, mark, notes};
use crate::swarmkit::{Service, SwarmKit, Task};

/// An action may take so long from its first update to its mark's end while nothing goes wrong: the deadline, a retreat and
/// the pause before it is taken over again, and all that once more.
const ENDS_WITHIN: Duration = Duration::from_secs(360);

/// A replica that a move has cost at a change of leader is back within so long: Swarm hears from its nodes, misses those
/// that are lost, waits before it starts a task anew, and the container gets healthy.
const BACK_WITHIN: Duration = Duration::from_secs(60);

impl Judge {
    /// A move may cost a replica where its source is excluded when another manager comes to lead, or when the source registers
    /// again. The replica has to be back soon.
    pub(super) fn misplaced(&mut self, service: &ServiceId, node: &NodeId, kit: &SwarmKit, now: Timestamp) {
        let Some(found) = kit.services.get(service) else { return };
        let off = json!(format!("node.id!={node}"));
        let holds = |constraints: &Value| constraints.as_array().is_some_and(|all| all.contains(&off));
        let is_moving = mark(&found.spec).is_some_and(|mark| holds(&mark["change"]["added"]));
        if holds(&found.spec["TaskTemplate"]["Placement"]["Constraints"]) && !is_moving {
            self.broken(now, service, "a healthy task was taken away for a constraint that outlived its action");
        }
        if is_moving {
            self.away.entry(service.clone()).or_insert(now);
        }
    }

    /// Replicas that a move has cost are back; what becomes of the service from then on is another matter.
    pub fn come_back(&mut self, kit: &SwarmKit) {
        // Where a replica had lost its ports before, nobody can tell that this one should have them.
        let is_back = |service: &ServiceId| {
            let is_reached = |task: &Task| task.portless_since.is_none() || !self.published.contains(service);
            let serves = |task: &&Task| task.service == *service && task.is_running() && is_reached(task);
            let running = kit.tasks.values().filter(serves).count() as u64;
            kit.services.get(service).is_none_or(|found| running >= found.replicas())
        };
        let back: Vec<ServiceId> = self.away.keys().filter(|service| is_back(service)).cloned().collect();
        for service in back {
            self.away.remove(&service);
        }
    }

    /// What the manager says is lost: nobody can do anything about those that are away.
    pub fn nobody_can_help(&mut self, now: Timestamp) {
        self.away.values_mut().for_each(|since| *since = now);
    }

    /// Replicas that a move has cost should be back by now.
    pub fn still_away(&mut self, kit: &SwarmKit, can_start: impl Fn(&ServiceId) -> bool, now: Timestamp) {
        self.come_back(kit);
        for (service, since) in std::mem::take(&mut self.away) {
            // What has gone wrong since is another reason for it.
            let since = self.faults.get(&service).map_or(since, |fault| since.max(*fault));
            // Nor may anything be done for one whose owner has forbidden it since.
            let is_allowed =
                kit.services.get(&service).is_some_and(|it| it.spec["Labels"]["swarmguard.enable"] == "true");
            if !can_start(&service) || !is_allowed {
                continue;
            }
            // Nor can it where no node is left but those on which nobody reaches it.
            if !kit.has_room(&service, &self.allowed(&service, kit)) {
                self.away.insert(service, now);
                continue;
            }
            if now.since(since) > BACK_WITHIN {
                self.broken(now, &service, "a replica that a move has cost does not come back");
                continue;
            }
            self.away.insert(service, since);
        }
    }

    /// Actions that should be over by now, since nothing has gone wrong for long.
    pub fn overdue(&mut self, kit: &SwarmKit, disturbed_until: Timestamp, now: Timestamp) {
        for (id, service) in &kit.services {
            let since = self.begun.get(id).copied().unwrap_or_default().max(disturbed_until);
            let is_over = service.spec["Labels"][MARK].is_null() || now.since(since) <= ENDS_WITHIN;
            let is_over = is_over || self.waits_for_owner(id, service, kit) || self.is_locked(id, kit);
            if !is_over && self.overdue.insert(id.clone()) {
                self.broken(now, id, "its action does not end");
            }
        }
    }

    /// The placement that its owner wants: what they wrote, or what there is without our part where that cannot be told.
    fn allowed(&self, id: &ServiceId, kit: &SwarmKit) -> Value {
        if let Some(written) = self.written(id) {
            return written["TaskTemplate"]["Placement"].clone();
        }
        let Some(found) = kit.services.get(id) else { return Value::Null };
        let mut placement = found.spec["TaskTemplate"]["Placement"].clone();
        let added = mark(&found.spec).map(|mark| mark["change"]["added"].clone()).unwrap_or_default();
        let is_ours = |constraint: &Value| added.as_array().is_some_and(|all| all.contains(constraint));
        if let Some(constraints) = placement["Constraints"].as_array_mut() {
            constraints.retain(|constraint| !is_ours(constraint));
        }
        placement
    }

    /// Whatever is changed would cost a healthy replica, and only who takes away what nobody reaches can change that.
    fn is_locked(&self, id: &ServiceId, kit: &SwarmKit) -> bool {
        let is_move =
            kit.services.get(id).and_then(|it| mark(&it.spec)).is_some_and(|it| it["change"]["kind"] == "migrate");
        is_move && self.published.contains(id) && kit.is_locked(id, &self.allowed(id, kit))
    }

    /// A service waits to be helped, though nothing stands in the way.
    pub fn waited(&mut self, service: &ServiceId, for_so_long: Duration, now: Timestamp) {
        if self.overdue.insert(service.clone()) {
            self.broken(now, service, format!("it was not helped for {} s", for_so_long.as_secs()));
        }
    }

    /// An owner's update has stopped half-way, or no node takes what it has made: whatever is changed would have Swarm go on
    /// with it.
    fn waits_for_owner(&self, id: &ServiceId, service: &Service, kit: &SwarmKit) -> bool {
        if self.authors.get(id) != Some(&Author::Owner) {
            return false;
        }
        // Their last change may replace nothing: what has stopped half-way was begun before it.
        let template = &service.spec["TaskTemplate"];
        let is_older = self.containers.get(id).is_some_and(|before| *before != template["ContainerSpec"]);
        let is_rollout = is_older || *template != service.previous["TaskTemplate"];
        let change = mark(&service.spec).map(|mark| mark["change"].clone()).unwrap_or_default();
        let is_scaling = change["kind"] != "migrate";
        match service.update {
            UpdateState::Paused => is_rollout || is_scaling,
            // Of what has no constraints Swarm keeps what waits; a move's may be why it does. One replica that waits is taken
            // back, if SwarmGuard has added one.
            UpdateState::Updating if is_scaling || change["added"] == json!([]) => {
                let of = |task: &&Task| task.service == *id && task.wanted && task.is_alive();
                let waiting: BTreeSet<u64> =
                    kit.tasks.values().filter(of).filter(|task| task.node.is_none()).map(|task| task.slot).collect();
                let has_node = |task: &Task| task.node.is_some() && waiting.contains(&task.slot);
                let is_ours = change["kind"] == "scale_up" && change["to"] == service.replicas();
                let is_given_back = is_ours && waiting.len() == 1 && !kit.tasks.values().filter(of).any(has_node);
                !waiting.is_empty() && !is_given_back
            }
            UpdateState::Updating | UpdateState::Settled | UpdateState::RollingBack => false,
        }
    }

    /// What must have come about by the end.
    pub fn end(&mut self, kit: &SwarmKit, sick: &[ServiceId], busy: &[ServiceId], now: Timestamp) {
        for (id, service) in &kit.services {
            if !service.spec["Labels"][MARK].is_null() {
                let is_late = self.begun.get(id).is_none_or(|begun| now.since(*begun) > ENDS_WITHIN);
                if is_late && !self.waits_for_owner(id, service, kit) && !self.is_locked(id, kit) {
                    self.broken(now, id, "its action has not ended");
                }
                continue;
            }
            let Some(written) = self.written(id) else { continue };
            let (found, wanted) = (service.replicas(), written["Mode"]["Replicated"]["Replicas"].as_u64().unwrap_or(0));
            let explained = notes::of(&service.spec).is_some_and(|note| note["to"] == found)
                || !written["Labels"]["swarmguard.min"].is_null();
            let explained = explained || found < wanted && self.notes.is_unseen(id);
            if found != wanted && !explained {
                self.broken(
                    now,
                    id,
                    format!("it has {found} replicas, its owner asked for {wanted}, and no note says why"),
                );
                continue;
            }
            let (found, written) = (without_scaling(&service.spec), without_scaling(written));
            if found != written {
                self.broken(now, id, format!("its spec is not its owner's: {written} became {found}"));
            }
        }
        for service in sick {
            self.broken(now, service, "it is still sick, though it could have been helped");
        }
        for service in busy {
            self.broken(now, service, "it still has too much to do, though it could have got another replica");
        }
    }
}

/// A spec without what a scaling leaves in it until the replicas are given back.
fn without_scaling(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(labels) = spec["Labels"].as_object_mut() {
        labels.remove(SCALED);
    }
    spec["Mode"] = Value::Null;
    spec
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use swarmguard_planner::Policy;

    use super::*;
    use crate::rng::Rng;
    use crate::swarmkit::plain_node;

    #[test]
    fn a_replica_that_a_move_has_cost_has_a_minute_to_come_back() {
        let begun = Timestamp::from_micros(1_000_000_000);
        let service: ServiceId = "service1".parse().unwrap();
        let node: NodeId = "node1".parse().unwrap();
        let broken_after = |seconds: u64, can_start: bool, has_room: bool, enable: &str| {
            // Where no time passes no replica comes to run.
            let nodes = if has_room { BTreeMap::from([(node.clone(), plain_node("node1"))]) } else { BTreeMap::new() };
            let mut kit = SwarmKit::new(nodes, Rng::new(1), begun);
            let labels = json!({ "swarmguard.enable": enable });
            kit.create(service.clone(), json!({ "Mode": { "Replicated": { "Replicas": 1 } }, "Labels": labels }), 0);
            let mut judge = Judge::new(Policy::default(), begun);
            judge.away.insert(service.clone(), begun);
            judge.still_away(&kit, |_| can_start, begun + Duration::from_secs(seconds));
            !judge.violations.is_empty()
        };
        assert!(broken_after(61, true, true, "true"));
        assert!(!broken_after(60, true, true, "true"), "it has its time");
        assert!(!broken_after(61, false, true, "true"), "it never gets healthy anywhere");
        assert!(!broken_after(61, true, false, "true"), "no node is left that could take it");
        assert!(!broken_after(61, true, true, "false"), "its owner has forbidden it");
    }
}
