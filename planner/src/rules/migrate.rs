//! Scenario 1: all tasks of the service on a node move to another node.
//!
//! Swarm has no call to move a task. Constraints that exclude the source make its tasks out of date and no others;
//! Swarm's scheduler then prefers the node with the fewest tasks of the service. So a target without a task of this
//! service is reached by excluding every other such node. A node that holds a task must not be excluded, or that task
//! moves too; so where every candidate holds one, neither can the target be named nor, should the replacement fail,
//! the move be taken back without touching a healthy task: nothing is done.

use std::collections::BTreeSet;

use swarmguard_wire::NodeId;

use super::{Case, Finding, trigger};
use crate::placement::{Ineligible, Place, Rejected};
use crate::plan::{Considered, Migrate, Withheld, seconds_left};
use crate::planted::{Bug, has};

/// Most nodes named in a service's constraints, so that a spec stays small in a large Swarm.
pub(super) const EXCLUDED_MAX: usize = 100;

/// What a task that is on its way to a node will use there is not measured yet: it counts as so much CPU plus memory.
const CLAIM_PERCENT: f32 = 25.0;

pub(super) fn propose(case: &Case<'_>, finding: &Finding) -> Result<Migrate, Withheld> {
    if !case.service.has_placement {
        return Err(Withheld::NoPlacement);
    }
    if let Some(mount) = case.service.local_mount.as_ref().filter(|_| !has(Bug::LocalStorage)) {
        return Err(Withheld::LocalStorage { mount: mount.clone() });
    }
    let source = &finding.node;
    if case.sick.are_too_many {
        return Err(Withheld::TooManySick { sick: case.sick.sick, nodes: case.sick.nodes });
    }
    let (moves, limit) = (case.memory.moves_within_hour(case.id, case.now), case.policy.limits.moves_per_hour as usize);
    if moves >= limit && !has(Bug::MovesLimit) || has(Bug::NeverMoves) {
        let until = case.memory.moves_are_over(case.id, case.now, limit);
        return Err(Withheld::MovedTooOften { moves, seconds_left: seconds_left(until, case.now) });
    }
    case.claims.allow_from(source, &case.swarm.name_of(source), case.policy)?;
    let held = holders(case);
    let scores: Vec<(&Place<'_>, f32)> =
        case.places.iter().filter_map(|place| Some((place, score(case, source, place).ok()?))).collect();
    if scores.is_empty() {
        let reject = |place: &Place<'_>| {
            let why = score(case, source, place).err()?;
            Some(Rejected { node: place.node.hostname.clone(), why })
        };
        return Err(Withheld::no_target(case.places.iter().filter_map(reject)));
    }
    let free = scores.iter().filter(|(place, _)| !held.contains(place.id) || has(Bug::TargetHoldsTask));
    // Of equals the first in the nodes' order.
    let Some((chosen, chosen_use)) = free.min_by(|a, b| a.1.total_cmp(&b.1)) else {
        return Err(Withheld::no_free_node(scores.iter().map(|(place, _)| place.node.hostname.clone())));
    };
    let exclude = excluded(case, source, chosen.id, &held);
    if exclude.len() > EXCLUDED_MAX {
        return Err(Withheld::TooManyNodes { found: exclude.len(), max: EXCLUDED_MAX });
    }
    let on_source = case.service.alive().filter(|(_, task)| task.node.as_ref() == Some(source));
    Ok(Migrate {
        trigger: trigger(case, finding),
        source: source.clone(),
        source_name: case.swarm.name_of(source),
        target: chosen.id.clone(),
        target_name: chosen.node.hostname.clone(),
        considered: considered(case, source, chosen, *chosen_use, &held),
        exclude,
        tasks: on_source.map(|(id, _)| id.clone()).collect(),
    })
}

/// Nodes that hold a task of the service.
fn holders<'a>(case: &Case<'a>) -> BTreeSet<&'a NodeId> {
    case.service.alive().filter_map(|(_, task)| task.node.as_ref()).collect()
}

/// How much a node is in use as a target, what is on its way there included.
fn score(case: &Case<'_>, source: &NodeId, place: &Place<'_>) -> Result<f32, Ineligible> {
    if place.id == source {
        return Err(Ineligible::Source);
    }
    let (claims, max) = (case.claims.on(place.id), case.policy.limits.actions_per_node);
    if claims >= max && !has(Bug::NodeLimit) {
        return Err(Ineligible::InFlight { max });
    }
    Ok(place.target_score(case.service)? + claims as f32 * CLAIM_PERCENT)
}

/// What is told of the other nodes.
fn considered(
    case: &Case<'_>,
    source: &NodeId,
    chosen: &Place<'_>,
    chosen_use: f32,
    held: &BTreeSet<&NodeId>,
) -> Considered {
    let others: Vec<&Place<'_>> = case.places.iter().filter(|place| place.id != chosen.id).collect();
    Considered::new(chosen_use, others.into_iter(), |place| match score(case, source, place) {
        Ok(_) if held.contains(place.id) => Err(Ineligible::HoldsTask),
        score => score,
    })
}

/// The source, and every node that Swarm could choose although it is not the target.
fn excluded(case: &Case<'_>, source: &NodeId, target: &NodeId, held: &BTreeSet<&NodeId>) -> Vec<NodeId> {
    let elsewhere = case.places.iter().filter(|place| {
        place.id != source
            && place.id != target
            && (!held.contains(place.id) || has(Bug::Bystander))
            && place.swarm_could_take(case.service).is_ok()
    });
    std::iter::once(source).chain(elsewhere.map(|place| place.id)).cloned().collect()
}
