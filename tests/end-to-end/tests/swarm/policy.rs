//! What people change while it runs: the configuration, pauses, and a service's labels.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::stage::{Stage, wait_for};

use crate::{POLICY, on_stage};

/// Between the thresholds of 40 % and 95 %, for a minute and a half; what Docker's health checks add to it on a slow
/// machine included.
const WARM: &str = "/stress/cpu?target=60&duration=90&ramp=0";
const SICK: &str = "/stress/cpu?target=95&duration=90&ramp=0";

/// Two reports of an agent, and two ticks in a row.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(12);

async fn heat(stage: &Stage, app: &Deployed, path: &str) -> Result<()> {
    let place = app.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
    app.ask(&stage.lab, place.node, path).await
}

async fn refused(stage: &Stage) -> Result<Option<String>> {
    Ok(stage.get("/healthz").await?["configuration_refused"].as_str().map(str::to_owned))
}

#[test]
fn a_changed_configuration_is_followed_and_an_invalid_one_is_not() {
    on_stage(async |stage| {
        let file = std::env::temp_dir().join(format!("swarmguard-test-{}.yaml", std::process::id()));
        // Both, since what is high by one scenario's measure alone is told as well.
        let high = "{scenario1_migration: {cpu_threshold: 95}, scenario2_scaling: {cpu_threshold: 95}}";
        std::fs::write(&file, format!("scenarios: {high}\n"))?;
        let with_file = format!("--config={}", file.display());
        stage.restart_collector(Some(&[&POLICY[..], &[&with_file]].concat())).await?;
        let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
        heat(stage, &web, WARM).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let decision = &stage.service("web").await?["last_decision"];
        ensure!(decision.is_null(), "60 % is no breach of 95 %: {decision:#}");

        std::fs::write(&file, "scenarios: {scenario1_migration: {cpu_threshold: 400}}\n")?;
        wait_for("the reason why it is not followed", Duration::from_secs(5), || async {
            Ok(refused(stage).await?.filter(|reason| reason.contains("cpu_threshold is 400")))
        })
        .await?;
        ensure!(stage.actions("web").await?.is_empty());

        std::fs::write(&file, "scenarios: {scenario1_migration: {cpu_threshold: 40}}\n")?;
        let changed = Instant::now();
        stage.wait_for_action("web", 0, FOLLOWED_WITHIN + Duration::from_secs(20)).await?;
        let action = stage.actions("web").await?.remove(0);
        let decided = Duration::from_secs_f64(action.times_ms[3].context("no T3")? / 1e3);
        println!(
            "a changed threshold: action ended {:.1} s after the change, {decided:?} after its T0",
            changed.elapsed().as_secs_f64()
        );
        ensure!(refused(stage).await?.is_none(), "the reason is gone with its cause");
        std::fs::remove_file(&file)?;
        stage.restart_collector(Some(&POLICY)).await
    });
}

#[test]
fn a_pause_outlives_the_collector_and_ends_with_resume() {
    on_stage(async |stage| {
        let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
        stage.post("/api/v1/pause", &json!({ "service": "web", "reason": "release" })).await?;
        wait_for("the Swarm to keep the pause", Duration::from_secs(5), || async {
            Ok((stage.get("/api/v1/pauses").await?["saved"] == true).then_some(()))
        })
        .await?;
        stage.restart_collector(None).await?;
        heat(stage, &web, SICK).await?;
        let shown = wait_for("the decision that would be made", Duration::from_secs(20), || async {
            let decision = stage.service("web").await?["last_decision"].clone();
            Ok((decision["outcome"] == "observe").then_some(decision))
        })
        .await?;
        ensure!(shown["because"]["quiet"]["why"] == "release", "{shown:#}");
        ensure!(stage.actions("web").await?.is_empty(), "it was acted on");
        stage.post("/api/v1/resume", &json!({ "service": "web" })).await?;
        stage.wait_for_action("web", 0, Duration::from_secs(20)).await?;
        Ok(())
    });
}

#[test]
fn labels_that_cannot_be_followed_are_named_and_the_service_is_observed() {
    on_stage(async |stage| {
        let labels = [("swarmguard.max", "lots"), ("swarmguard.min", "2")];
        let app = App {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            ..App::new("labelled", 8060)
        };
        let labelled = Deployed::deploy(&stage.lab, app).await?;
        let known = wait_for("the collector to know the service", Duration::from_secs(5), || async {
            Ok(stage.service("labelled").await.ok())
        })
        .await?;
        ensure!(known["mode"] == "observe", "{known:#}");
        let problem = known["label_problems"][0].as_str().unwrap_or_default().to_owned();
        ensure!(problem.contains("swarmguard.max") && problem.contains("lots"), "{known:#}");
        heat(stage, &labelled, SICK).await?;
        wait_for("the decision that would be made", Duration::from_secs(20), || async {
            Ok((stage.service("labelled").await?["last_decision"]["outcome"] == "observe").then_some(()))
        })
        .await?;
        ensure!(stage.actions("labelled").await?.is_empty(), "it was acted on");
        Ok(())
    });
}
