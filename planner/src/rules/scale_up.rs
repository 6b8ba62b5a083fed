//! Scenario 2: one replica more, never beyond the maximum.
//!
//! Where it runs is Swarm's choice: its scheduler spreads the replicas of a service. It is only asked for when at
//! least one node is a fit target; a replica that cannot run would leave the service unconverged.

use super::{Case, Finding, trigger};
use crate::plan::{Candidates, Scale, WhyScale, Withheld};
use crate::planted::{Bug, has};

pub(super) fn propose(case: &Case<'_>, finding: &Finding, replicas: u64) -> Result<Scale, Withheld> {
    let max = case.policy.scaling.max_replicas;
    if replicas >= max && !has(Bug::AboveMaximum) || has(Bug::NeverGrows) {
        return Err(Withheld::MaxReplicas { replicas, max });
    }
    match Candidates::of(case.places, case.service) {
        Candidates { nodes: 0, rejected, more, .. } => Err(Withheld::NoTarget { nodes: rejected, more }),
        candidates => {
            let why = WhyScale::Busy(candidates);
            Ok(Scale { trigger: trigger(case, finding), from: replicas, to: replicas + 1, why })
        }
    }
}
