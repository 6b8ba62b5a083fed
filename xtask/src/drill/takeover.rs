//! The collector killed at each step of a migration. The next one finishes it or takes it back, within ten seconds of its
//! start, and the spec is afterwards as it was written.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::scenario::{self, Sickness};
use swarmguard_end_to_end::stage::{Stage, wait_for};

use super::row;
use crate::report::{Outcome, table};
use crate::run::step;

const SETTLED_WITHIN: Duration = Duration::from_secs(10);
const REACHED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(10);
const AFTERMATH: Duration = Duration::from_secs(2);

/// What is seen of the service at a moment.
struct Seen {
    /// The spec carries a mark.
    marked: bool,
    /// The state of the newest task that was not there before.
    new: Option<String>,
    /// Whether Swarm wants the old task gone, and its state.
    old: (bool, String),
}

type Reached = fn(&Seen) -> bool;

fn new_is(seen: &Seen, states: &[&str]) -> bool {
    seen.new.as_deref().is_some_and(|state| states.contains(&state))
}

/// The steps of a migration, in order, and how each is told.
const STEPS: [(&str, Reached); 9] = [
    ("one tick has shown the breach", |seen| !seen.marked),
    ("the update is taken", |seen| seen.marked),
    ("the replacement exists", |seen| seen.marked && seen.new.is_some()),
    ("it has a node", |seen| new_is(seen, &["assigned", "accepted", "preparing", "ready", "starting", "running"])),
    ("it starts", |seen| new_is(seen, &["starting", "running"])),
    ("it runs and is healthy", |seen| new_is(seen, &["running"])),
    ("the old task is to go", |seen| seen.old.0),
    ("the old task is gone", |seen| !matches!(seen.old.1.as_str(), "running" | "starting")),
    ("the spec is put back", |seen| !seen.marked && new_is(seen, &["running"])),
];

pub(super) async fn drill(begun: Instant, stage: &mut Stage) -> Result<Outcome> {
    let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
    let written = web.spec(&stage.lab).await?;
    let mut rows = vec![row(&[
        "the collector is killed when",
        "ms after it got sick",
        "ms from the next start to settled",
        "the sick task",
        "failed",
    ])];
    let (mut figures, mut missed) = (Vec::new(), Vec::new());
    for (number, (what, reached)) in STEPS.into_iter().enumerate() {
        step(begun, &format!("{} of {}: {what}", number + 1, STEPS.len()));
        let load = scenario::light_load(&web)?;
        let before = web.running(&stage.lab).await?;
        let (sick, place) = before.iter().next().context("no replica runs")?;
        let asked = Instant::now();
        web.ask(&stage.lab, place.node, Sickness::Memory.path()).await?;
        if number == 0 {
            wait_for("the first breach", REACHED_WITHIN, || async {
                Ok((stage.service("web").await?["last_decision"]["withheld"]["reason"] == "streak").then_some(()))
            })
            .await?;
        } else {
            let known: Vec<&str> = before.keys().map(String::as_str).collect();
            reach(stage, &web, &known, sick, reached).await.with_context(|| what.to_owned())?;
        }
        let killed_after = asked.elapsed();
        stage.collector.kill().await?;
        let started = Instant::now();
        stage.restart_collector(None).await?;
        let settled = wait_for("the migration to be finished or taken back", SETTLED_WITHIN * 3, || async {
            let is_back = web.spec(&stage.lab).await? == written;
            Ok((is_back && web.running(&stage.lab).await?.len() == 2).then_some(started.elapsed()))
        })
        .await?;
        if number == 0 {
            // Nothing had begun: the next collector sees the breach itself.
            stage.wait_for_action("web", 0, REACHED_WITHIN).await?;
        }
        tokio::time::sleep(AFTERMATH).await;
        let report = load.stop().await?;
        let after = web.running(&stage.lab).await?;
        if settled > SETTLED_WITHIN {
            missed.push(format!("{what}: settled after {settled:?}"));
        }
        if report.failed > 0 {
            missed.push(format!("{what}: {} requests failed: {:?}", report.failed, report.errors));
        }
        let moved = before.iter().filter(|(task, _)| *task != sick && !after.contains_key(*task)).count();
        if moved > 0 && number > 0 {
            missed.push(format!("{what}: {moved} other tasks changed"));
        }
        let sick_is = if after.contains_key(sick) { "stayed" } else { "moved" };
        rows.push(vec![
            what.to_owned(),
            killed_after.as_millis().to_string(),
            settled.as_millis().to_string(),
            sick_is.to_owned(),
            report.failed.to_string(),
        ]);
        figures.push(json!({
            "killed_when": what, "settled_ms": settled.as_secs_f64() * 1e3, "sick_task": sick_is,
            "requests": report.requests, "failed": report.failed,
        }));
        for place in after.into_values() {
            web.ask(&stage.lab, place.node, "/stress/stop").await?;
        }
        wait_for("the service to be as it was written", REACHED_WITHIN, || async {
            Ok((web.spec(&stage.lab).await? == written).then_some(()))
        })
        .await?;
        web.wait_for_replicas(&stage.lab, 2).await?;
    }
    let text = format!("\n{}\nthe spec was as it was written each time\n", table(&rows));
    Ok(Outcome { text, json: json!({ "steps": figures, "missed": missed }), missed })
}

/// Waits until the migration has come so far.
async fn reach(stage: &Stage, web: &Deployed, known: &[&str], sick: &str, reached: Reached) -> Result<()> {
    let begun = Instant::now();
    let mut was_marked = false;
    loop {
        let spec = web.spec(&stage.lab).await?;
        let tasks = web.tasks(&stage.lab).await?;
        let seen = seen(&spec, &tasks, known, sick);
        was_marked |= seen.marked;
        if was_marked && reached(&seen) {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < REACHED_WITHIN, "it did not come so far");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn seen(spec: &Value, tasks: &[Value], known: &[&str], sick: &str) -> Seen {
    let id = |task: &Value| task["ID"].as_str().unwrap_or_default().to_owned();
    let state = |task: &Value| task["Status"]["State"].as_str().unwrap_or_default().to_owned();
    let is_wanted = |task: &&Value| matches!(task["DesiredState"].as_str(), Some("running" | "ready"));
    let new = tasks.iter().filter(is_wanted).find(|task| !known.contains(&id(task).as_str()));
    let old = tasks.iter().find(|task| id(task) == sick);
    Seen {
        marked: !spec["Labels"]["swarmguard.action"].is_null(),
        new: new.map(state),
        old: old.map_or((true, "gone".to_owned()), |task| (!is_wanted(&task), state(task))),
    }
}
