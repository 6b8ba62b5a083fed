//! Everything one after the other: Swarm alone first, so that SwarmGuard's figures stand beside those of the same run.

use anyhow::Result;
use swarmguard_end_to_end::scenario::Sickness;
use swarmguard_end_to_end::trial::Traffic;

use super::anywhere::Ground;
use super::told::Told;
use super::{concurrent, mttr};

pub(super) async fn drill(ground: &Ground<'_>, iterations: u32, traffic: &Traffic) -> Result<Told> {
    let mut told = Told::of(ground.crashes(iterations).await?);
    if let Some(stage) = ground.stage {
        ground.say("Swarm alone: a node is cut off");
        told.trials.push(mttr::node_loss(stage).await?);
    }
    told.trials.extend(ground.migrations(iterations, Sickness::Cpu.path()).await?);
    told.merge(ground.scalings(iterations, traffic).await?);
    if let Some(stage) = ground.stage {
        ground.say("three services in trouble at once");
        told.parts.push(("Three services in trouble at once", concurrent::drill(ground.begun, stage).await?));
    }
    Ok(told)
}
