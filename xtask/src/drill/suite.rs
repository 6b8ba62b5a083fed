//! Everything one after the other: Swarm alone first, so that SwarmGuard's figures stand beside those of the same run.

use anyhow::Result;
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::scenario::Sickness;
use swarmguard_end_to_end::trial::{self, Traffic};

use super::anywhere::Ground;
use super::concurrent;
use super::told::Told;

pub(super) async fn drill(ground: &Ground<'_>, iterations: u32, traffic: &Traffic) -> Result<Told> {
    let mut told = Told::of(ground.crashes(iterations).await?);
    if let Some(stage) = ground.stage {
        ground.say("Swarm alone: a node is cut off");
        let plain = Deployed::deploy(&stage.lab, App::new("plain", 8070)).await?;
        let site = stage.site(&plain).await?;
        told.trials.push(trial::node_loss(&site, &stage.lab).await?);
        plain.wait_for_replicas(&stage.lab, 2).await?;
        plain.remove(&stage.lab).await?;
    }
    told.trials.extend(ground.migrations(iterations, Sickness::Cpu.path()).await?);
    told.merge(ground.scalings(iterations, traffic).await?);
    if let Some(stage) = ground.stage {
        ground.say("three services in trouble at once");
        told.parts.push(("Three services in trouble at once", concurrent::drill(ground.begun, stage).await?));
    }
    Ok(told)
}
