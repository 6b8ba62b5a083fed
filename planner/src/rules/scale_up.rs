//! Scenario 2: one replica more, never beyond the maximum.
//!
//! Where it runs is Swarm's choice: its scheduler spreads the replicas of a service. It is only asked for when at
//! least one node is a fit target; a replica that cannot run would leave the service unconverged.

use super::{Case, Finding, trigger};
use crate::placement::{Rejected, target_score};
use crate::plan::{Scale, Withheld};
use crate::planted::{Bug, has};

pub(super) fn propose(case: &Case<'_>, finding: &Finding, replicas: u64) -> Result<Scale, Withheld> {
    let max = case.policy.scaling.max_replicas;
    if replicas >= max && !has(Bug::AboveMaximum) {
        return Err(Withheld::MaxReplicas { max });
    }
    let mut rejected = Vec::new();
    for (id, node) in &case.swarm.nodes {
        match target_score(case.facts, case.swarm, case.service, id, case.policy, case.now) {
            Ok(_) => return Ok(Scale { trigger: trigger(case, finding), from: replicas, to: replicas + 1 }),
            Err(why) => rejected.push(Rejected { node: node.hostname.clone(), why }),
        }
    }
    Err(Withheld::NoTarget { nodes: rejected })
}
