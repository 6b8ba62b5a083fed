//! SwarmGuard on a real Swarm of three nodes: what it promises, with the numbers.
//!
//! All tests share one lab and run one after the other; each deploys what it needs, and whatever becomes of it, its
//! services are removed before the next one starts. `cargo xtask test` prepares and cleans up.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and these print the figures they measure"
)]

mod figures;
mod interference;
mod loss;
mod movements;
mod policy;
mod recovery;
mod traffic;
mod trials;

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use bollard::query_parameters::ListServicesOptions;
use swarmguard_end_to_end::app;
use swarmguard_end_to_end::binaries::Binaries;
use swarmguard_end_to_end::stage::Stage;
use swarmguard_lab::{Lab, Name, Options};

/// Short cooldowns and many moves, so that five migrations fit into a test; a maximum that a test can reach; containers
/// that are made sick as soon as they run.
const POLICY: [&str; 6] = [
    "--scenario1-cooldown-period=1",
    "--scenario2-scale-up-cooldown=2",
    "--scenario2-max-replicas=2",
    "--max-moves-per-hour=1000",
    "--max-actions-per-hour=1000",
    "--startup-period=0",
];

static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

/// Runs one test on the shared stage.
fn on_stage(test: impl AsyncFnOnce(&mut Stage) -> Result<()>) {
    let mut shared = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async {
        if shared.is_none() {
            *shared = Some(set().await.context("setting the stage")?);
        }
        let stage = shared.as_mut().context("no stage")?;
        let done = test(stage).await;
        remove_apps(&stage.lab).await.context("removing the test's apps")?;
        done
    });
    if let Err(error) = done {
        panic!("{error:#}");
    }
}

async fn set() -> Result<Stage> {
    let binaries = Binaries::from_environment()?;
    Lab::clean(Name::Test).await?;
    let lab = Lab::up(Options::new(Name::Test, 3), &|_| ()).await?;
    app::install(&lab, &binaries).await?;
    Stage::set(lab, binaries, &POLICY).await
}

async fn remove_apps(lab: &Lab) -> Result<()> {
    let docker = lab.node(1)?.docker().await?;
    for service in docker.list_services(None::<ListServicesOptions>).await? {
        let name = service.spec.and_then(|spec| spec.name).unwrap_or_default();
        if let Some(balancer) = lab.process(&format!("haproxy-{name}")) {
            balancer.terminate().await?;
        }
        docker.delete_service(&service.id.unwrap_or_default()).await?;
    }
    Ok(())
}
