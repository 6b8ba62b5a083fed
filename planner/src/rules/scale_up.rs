//! Scenario 2: one replica more, never beyond the maximum.
//!
//! Where it runs is Swarm's choice: its scheduler spreads the replicas of a service. It is only asked for when at
//! least one node is a fit target; a replica that cannot run would leave the service unconverged.

use super::{Case, Finding, trigger};
use crate::placement::{Place, Rejected};
use crate::plan::{Scale, WhyScale, Withheld};
use crate::planted::{Bug, has};

pub(super) fn propose(case: &Case<'_>, finding: &Finding, replicas: u64) -> Result<Scale, Withheld> {
    let max = case.policy.scaling.max_replicas;
    if replicas >= max && !has(Bug::AboveMaximum) || has(Bug::NeverGrows) {
        return Err(Withheld::MaxReplicas { replicas, max });
    }
    let nodes = case.places.iter().filter(|place| place.target_score(case.service).is_ok()).count();
    if nodes > 0 {
        let why = WhyScale::Busy { nodes };
        return Ok(Scale { trigger: trigger(case, finding), from: replicas, to: replicas + 1, why });
    }
    let reject = |place: &Place<'_>| {
        let why = place.target_score(case.service).err()?;
        Some(Rejected { node: place.node.hostname.clone(), why })
    };
    Err(Withheld::no_target(case.places.iter().filter_map(reject)))
}
