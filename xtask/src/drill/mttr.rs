//! How long recovery takes: SwarmGuard's, before the failure, and Swarm's own, after it, in the same run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::scenario::Sickness;
use swarmguard_end_to_end::site::Site;
use swarmguard_end_to_end::stage::Stage;
use swarmguard_end_to_end::trial::{self, Trial};

use super::migrate::shown;
use super::row;
use crate::report::{Outcome, Percentiles, Promise, promises, table};
use crate::run::step;

const BREACH_TO_RUNNING_P95_MS_MAX: f64 = 2_500.0;
const DECISION_P99_MS_MAX: f64 = 1.0;
const ACTED_WITHIN: Duration = Duration::from_secs(40);
/// Crashes and cut nodes: each takes Swarm long, and each takes it much the same.
const CRASHES: u32 = 3;
const CUTS: u32 = 1;
/// CPU, memory and network high on one replica, as scenario 2 has it.
const BUSY: &str = "/stress/combined?cpu=90&memory=84&network=72&duration=60&ramp=0";

#[derive(Default)]
struct Found {
    migrations: Vec<f64>,
    scale_ups: Vec<f64>,
    decisions: Vec<f64>,
    crashes: Vec<f64>,
    cuts: Vec<f64>,
    /// T0 to T6 of each action, in milliseconds.
    times: Vec<serde_json::Value>,
}

pub(super) async fn drill(begun: Instant, stage: &Stage, repeat: u32) -> Result<Outcome> {
    let mut found = Found::default();
    step(begun, &format!("{repeat} migrations"));
    migrations(stage, repeat, &mut found).await?;
    step(begun, &format!("{repeat} scale-ups"));
    scale_ups(stage, repeat, &mut found).await?;
    step(begun, &format!("Swarm's own reaction: a container killed, {CRASHES} times"));
    for _ in 0..CRASHES {
        found.crashes.extend(milliseconds(&crash(stage).await?));
    }
    step(begun, "Swarm's own reaction: a node cut off");
    for _ in 0..CUTS {
        found.cuts.extend(milliseconds(&node_loss(stage).await?));
    }
    Ok(found.outcome())
}

async fn migrations(stage: &Stage, repeat: u32, found: &mut Found) -> Result<()> {
    let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
    for number in 0..repeat as usize {
        let place = web.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
        let sickness = if number % 2 == 0 { Sickness::Cpu } else { Sickness::Memory };
        web.ask(&stage.lab, place.node, sickness.path()).await?;
        found.take(&stage.wait_for_action("web", number, ACTED_WITHIN).await?, true)?;
        web.wait_for_replicas(&stage.lab, 2).await?;
    }
    web.remove(&stage.lab).await
}

/// From one to two and from two to three: then every node has one, and the service begins anew.
async fn scale_ups(stage: &Stage, repeat: u32, found: &mut Found) -> Result<()> {
    let mut known = 0;
    while known < repeat as usize {
        let shop = Deployed::deploy(&stage.lab, App { replicas: 1, ..App::new("shop", 8090) }).await?;
        for replicas in [2, 3] {
            for place in shop.running(&stage.lab).await?.into_values() {
                shop.ask(&stage.lab, place.node, BUSY).await?;
            }
            let action = stage.wait_for_action("shop", known, ACTED_WITHIN).await?;
            known += 1;
            found.take(&action, false)?;
            for place in shop.running(&stage.lab).await?.into_values() {
                shop.ask(&stage.lab, place.node, "/stress/stop").await?;
            }
            shop.wait_for_replicas(&stage.lab, replicas).await?;
            if known == repeat as usize {
                break;
            }
        }
        shop.remove(&stage.lab).await?;
    }
    Ok(())
}

/// What Swarm makes of a container's death alone.
async fn crash(stage: &Stage) -> Result<Trial> {
    alone(stage, async |site| trial::crash(site).await).await
}

/// What Swarm makes of a node's loss alone.
pub(super) async fn node_loss(stage: &Stage) -> Result<Trial> {
    alone(stage, async |site| trial::node_loss(site, &stage.lab).await).await
}

/// A trial on two replicas of which one stays.
async fn alone(stage: &Stage, trial: impl AsyncFnOnce(&Site) -> Result<Trial>) -> Result<Trial> {
    let plain = Deployed::deploy(&stage.lab, App::new("plain", 8070)).await?;
    let done = trial(&stage.site(&plain).await?).await?;
    plain.remove(&stage.lab).await?;
    Ok(done)
}

fn milliseconds(trial: &Trial) -> Option<f64> {
    trial.mttr_seconds.map(|seconds| seconds * 1e3)
}

impl Found {
    fn take(&mut self, action: &swarmguard_collector::journal::ActionRecord, is_migration: bool) -> Result<()> {
        let [_, _, t2, t3, _, t5, _] = action.times_ms;
        self.times.push(json!({ "kind": action.kind, "times_ms": action.times_ms }));
        let running = t5.context("the action has no T5")?;
        ensure!(running > 0.0, "{action:?}");
        self.decisions.push(t3.context("no T3")? - t2.context("no T2")?);
        if is_migration {
            self.migrations.push(running)
        } else {
            self.scale_ups.push(running)
        }
        Ok(())
    }

    fn outcome(self) -> Outcome {
        let (migrations, scale_ups) = (Percentiles::of(self.migrations), Percentiles::of(self.scale_ups));
        let (decisions, crashes, cuts) =
            (Percentiles::of(self.decisions), Percentiles::of(self.crashes), Percentiles::of(self.cuts));
        let rows = [
            row(&["ms", "p50", "p95", "p99", "most"]),
            shown("SwarmGuard, migration: breach to running", migrations, 0),
            shown("SwarmGuard, scale-up: breach to running", scale_ups, 0),
            shown("SwarmGuard, alert received to decided", decisions, 3),
            shown("Swarm alone: container killed to running", crashes, 0),
            shown("Swarm alone: node cut off to running", cuts, 0),
        ];
        let promise = |what, found, at_most| Promise { what, found, at_most };
        let (lines, missed) = promises(&[
            promise("migration, breach to running, p95, ms", migrations.p95, BREACH_TO_RUNNING_P95_MS_MAX),
            promise("scale-up, breach to running, p95, ms", scale_ups.p95, BREACH_TO_RUNNING_P95_MS_MAX),
            promise("alert to decision, p99, ms", decisions.p99, DECISION_P99_MS_MAX),
        ]);
        let text = format!("\n{}\n{lines}", table(&rows));
        let json = json!({
            "migration_ms": migrations, "scale_up_ms": scale_ups, "decision_ms": decisions,
            "swarm_crash_ms": crashes, "swarm_node_cut_off_ms": cuts, "actions": self.times, "missed": missed,
        });
        Outcome { text, json, missed }
    }
}
