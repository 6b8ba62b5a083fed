//! Three services in trouble at once: one sick of CPU, one busy, one sick of memory. Each gets what it needs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use swarmguard_collector::journal::ActionRecord;
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::scenario::{self, SESSIONS_HELD, Sickness};
use swarmguard_end_to_end::stage::Stage;

use super::row;
use crate::report::{Outcome, table};
use crate::run::step;

const ACTED_WITHIN: Duration = Duration::from_secs(40);
const AFTERMATH: Duration = Duration::from_secs(3);
/// The other two services are made sick when this one is about to be busy.
const UNTIL_BUSY: Duration = Duration::from_secs(4);

pub(super) async fn drill(begun: Instant, stage: &Stage) -> Result<Outcome> {
    step(begun, "deploying three services");
    let a = Deployed::deploy(&stage.lab, App::new("a", 8010)).await?;
    let b = Deployed::deploy(&stage.lab, App { replicas: 1, ..App::new("b", 8020) }).await?;
    let c = Deployed::deploy(&stage.lab, App::new("c", 8030)).await?;
    let loads = [scenario::light_load(&a)?, scenario::busy_load(&b)?, scenario::light_load(&c)?];
    tokio::time::sleep(UNTIL_BUSY).await;
    step(begun, "a gets sick of CPU, b busy, c sick of memory");
    for (app, sickness) in [(&a, Sickness::Cpu), (&c, Sickness::Memory)] {
        let place = app.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
        app.ask(&stage.lab, place.node, sickness.path()).await?;
    }
    let mut actions = Vec::new();
    for app in [&a, &b, &c] {
        actions.push(stage.wait_for_action(&app.app.name, 0, ACTED_WITHIN).await?);
    }
    tokio::time::sleep(AFTERMATH).await;
    let mut rows =
        vec![row(&["service", "action", "from", "to", "replicas", "breach to running, ms", "requests", "failed"])];
    let mut figures = Vec::new();
    let mut missed = Vec::new();
    for (action, load) in actions.iter().zip(loads) {
        let load = load.stop().await?;
        if load.failed > 0 {
            missed.push(format!("{} requests to {} failed: {:?}", load.failed, action.service_name, load.errors));
        }
        rows.push(shown(action, load.requests, load.failed));
        figures.push(json!({
            "service": action.service_name, "action": action.kind, "breach_to_running_ms": action.times_ms[5],
            "requests": load.requests, "failed": load.failed,
        }));
    }
    let kinds: Vec<&str> = actions.iter().map(|action| action.kind.as_str()).collect();
    if kinds != ["migrate", "scale_up", "migrate"] {
        missed.push(format!("what was done is {kinds:?}"));
    }
    tokio::time::sleep(SESSIONS_HELD).await;
    for app in [&a, &b, &c] {
        let more = stage.actions(&app.app.name).await?.len() - 1;
        ensure!(more == 0 || app.app.name == "b", "{more} more actions on {}", app.app.name);
    }
    let text = format!("\n{}", table(&rows));
    Ok(Outcome { text, json: json!({ "services": figures, "missed": missed }), missed })
}

fn shown(action: &ActionRecord, requests: u64, failed: u64) -> Vec<String> {
    let node = |node: &Option<String>| node.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        action.service_name.clone(),
        action.kind.clone(),
        node(&action.from_node),
        node(&action.to_node),
        format!("{} to {}", action.replicas_before, action.replicas_after),
        action.times_ms[5].map_or("-".to_owned(), |ms| format!("{ms:.0}")),
        requests.to_string(),
        failed.to_string(),
    ]
}
