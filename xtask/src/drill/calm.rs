//! A Swarm that is noisy and healthy: spikes of one tick, deploys, containers that crash and start anew, and steady high
//! load that matches no rule. Nothing is to be done.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::scenario;
use swarmguard_end_to_end::stage::Stage;

use crate::report::Outcome;
use crate::run::step;

/// High CPU for less than two ticks.
const SPIKE: &str = "/stress/cpu?target=95&duration=1&ramp=0";
/// High CPU with a network that is neither low nor high, for as long as the drill may take.
const STEADY: &str = "/stress/combined?cpu=90&memory=20&network=50&duration=3600&ramp=0";
const ROUND: Duration = Duration::from_secs(12);
const SIGN_OF_LIFE: u32 = 5;

pub(super) async fn drill(begun: Instant, stage: &Stage, length: Duration) -> Result<Outcome> {
    let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
    let steady = Deployed::deploy(&stage.lab, App { replicas: 1, ..App::new("steady", 8090) }).await?;
    let place = steady.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
    steady.ask(&stage.lab, place.node, STEADY).await?;
    let load = scenario::light_load(&web)?;
    let counting = Instant::now();
    let (mut round, mut spikes, mut deploys, mut crashes) = (0_u32, 0_u32, 0_u32, 0_u32);
    while counting.elapsed() < length {
        round += 1;
        match round % 3 {
            0 => {
                web.deploy_again(&stage.lab, &format!("round {round}")).await?;
                deploys += 1;
            }
            1 => {
                let places = web.running(&stage.lab).await?.into_values();
                for place in places {
                    web.ask(&stage.lab, place.node, SPIKE).await?;
                    spikes += 1;
                }
            }
            _ => {
                let place = web.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
                web.kill(&stage.lab, &place).await?;
                crashes += 1;
            }
        }
        tokio::time::sleep(ROUND).await;
        web.wait_for_replicas(&stage.lab, 2).await?;
        if round % SIGN_OF_LIFE == 0 {
            let actions = stage.get("/api/v1/actions").await?.as_array().map_or(0, Vec::len);
            let minutes = counting.elapsed().as_secs_f64() / 60.0;
            step(begun, &format!("  {minutes:.1} minutes: {actions} actions"));
        }
    }
    load.stop().await?;
    let decision = stage.service("steady").await?["last_decision_text"].as_str().map(str::to_owned);
    let actions = stage.get("/api/v1/actions").await?;
    let actions = actions.as_array().cloned().unwrap_or_default();
    let missed: Vec<String> = actions.iter().map(|action| format!("an action: {action}")).collect();
    let text = format!(
        "\n{:.1} minutes: {spikes} spikes of a second, {deploys} deploys, {crashes} crashes, one service under steady high load ({}): {} actions\n",
        counting.elapsed().as_secs_f64() / 60.0,
        decision.as_deref().unwrap_or("no decision"),
        actions.len()
    );
    let json = json!({
        "seconds": counting.elapsed().as_secs_f64(), "spikes": spikes, "deploys": deploys, "crashes": crashes,
        "actions": actions.len(), "missed": missed,
    });
    Ok(Outcome { text, json, missed })
}
