//! Scenario 1: a sick replica moves.

use anyhow::{Result, ensure};

use super::{AFTERMATH, AtWork, Trial, WITHIN};
use crate::site::Site;

/// Scenario 1: a replica gets sick by `stress`, a path of the app's, and is moved.
///
/// # Errors
/// When nothing is done about it, or another than the sick one changed.
pub async fn migration(site: &Site, stress: &str) -> Result<Trial> {
    let (known, before) = (site.ended().await?.len(), site.running().await?);
    let users = AtWork::start(site)?;
    tokio::time::sleep(AFTERMATH).await;
    site.ask(stress).await?;
    let action = site.wait_for_action(known, WITHIN).await?;
    tokio::time::sleep(AFTERMATH).await;
    let users = users.stop().await?;
    ensure!(action.kind == "migrate", "it was not moved, but: {action:?}");
    let after = site.running().await?;
    let left = before.iter().filter(|replica| !after.contains(replica)).count();
    ensure!(left == 1 && after.len() == before.len(), "{left} replicas changed: {before:?} {after:?}");
    Trial::of_action(&action, &users)
}
