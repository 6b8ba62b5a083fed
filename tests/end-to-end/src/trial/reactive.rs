//! What Swarm makes of a failure alone, while SwarmGuard leaves the service alone.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use swarmguard_lab::Lab;

use super::{AFTERMATH, AtWork, Case, Trial, WITHIN};
use crate::site::Site;
use crate::stage::wait_for;

/// A container crashes while SwarmGuard leaves the service alone: what Swarm makes of it.
///
/// # Errors
/// When the service is not replaced in time.
pub async fn crash(site: &Site) -> Result<Trial> {
    site.pause("a trial of what Swarm does alone").await?;
    let trial = crash_while_paused(site).await;
    site.resume().await?;
    trial
}

async fn crash_while_paused(site: &Site) -> Result<Trial> {
    let before = site.running().await?;
    ensure!(!before.is_empty(), "no replica of {} runs", site.service());
    let users = AtWork::start(site)?;
    tokio::time::sleep(AFTERMATH).await;
    // It does not answer any more.
    let _ = site.ask("/stress/crash").await;
    let begun = Instant::now();
    wait_for("Swarm to replace the container", WITHIN, || async {
        let running = site.running().await?;
        let is_new = running.iter().any(|replica| !before.contains(replica));
        Ok((is_new && running.len() == before.len()).then_some(()))
    })
    .await?;
    let mttr = begun.elapsed();
    // The balancer has to see it, too: that is downtime, not recovery.
    tokio::time::sleep(AFTERMATH).await;
    Ok(Trial::of(Case::Crash, site.service(), Some(mttr), before.len() as u64, &users.stop().await?))
}

/// A node of the lab is cut off while SwarmGuard leaves the service alone: what Swarm makes of it.
///
/// # Errors
/// When no replica runs on a node that can be cut off, or it is not replaced in time.
pub async fn node_loss(site: &Site, lab: &Lab) -> Result<Trial> {
    site.pause("a trial of what Swarm does alone").await?;
    let before = site.running().await?;
    // Node 1 is the manager.
    let mut workers = Vec::new();
    for node in lab.nodes().iter().skip(1) {
        let info = node.docker().await?.info().await?;
        workers.push((info.swarm.and_then(|swarm| swarm.node_id).unwrap_or_default(), node.index()));
    }
    let found = workers.iter().find(|(id, _)| before.iter().any(|replica| replica.node == *id));
    let (id, index) = found.context("no replica runs on a worker")?;
    let kept = before.iter().filter(|replica| replica.node != *id).count();
    let users = AtWork::start(site)?;
    tokio::time::sleep(AFTERMATH).await;
    lab.unplug(*index)?;
    let begun = Instant::now();
    let replaced = wait_for("Swarm to replace what ran on the node", WITHIN, || async {
        let running = site.running().await?;
        let new = running.iter().filter(|replica| !before.contains(replica)).count();
        Ok((new >= 1 && running.len() > kept).then_some(()))
    });
    let replaced = replaced.await;
    let mttr = begun.elapsed();
    lab.plug(*index)?;
    site.resume().await?;
    replaced?;
    tokio::time::sleep(AFTERMATH).await;
    Ok(Trial::of(Case::NodeLoss, site.service(), Some(mttr), before.len() as u64, &users.stop().await?))
}
