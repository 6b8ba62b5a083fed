//! The collector or the database dies: nothing else does, and everything carries on when it is back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swarmguard_collector::journal::State;
use swarmguard_end_to_end::app::{App, Deployed, Running};
use swarmguard_end_to_end::stage::{Stage, wait_for};

use crate::figures::{influx_count, influx_count_between, unix_ms};
use crate::{POLICY, on_stage};

fn agents_run(stage: &Stage) -> Result<()> {
    for agent in &stage.agents {
        ensure!(agent.is_running(), "{} ended:\n{}", agent.name(), stage.logs());
    }
    Ok(())
}

#[test]
fn the_collectors_death_changes_nothing_and_its_return_everything_needed() {
    on_stage(async |stage| {
        let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
        let before = web.running(&stage.lab).await?;
        stage.collector.kill().await?;
        let place = before.values().next().context("no replica runs")?;
        web.ask(&stage.lab, place.node, "/stress/cpu?target=95&duration=60&ramp=0").await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        agents_run(stage)?;
        ensure!(web.running(&stage.lab).await? == before, "a container changed");
        stage.restart_collector(None).await?;
        let action = stage.wait_for_action("web", 0, Duration::from_secs(30)).await?;
        println!("after the collector's return the sick container moved: {:?}", action.times_ms);
        agents_run(stage)
    });
}

#[test]
fn an_action_whose_collector_died_is_finished_by_the_next_one() {
    on_stage(async |stage| {
        let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
        let written = web.spec(&stage.lab).await?;
        let before = web.running(&stage.lab).await?;
        let (sick, place) = before.iter().next().context("no replica runs")?;
        web.ask(&stage.lab, place.node, "/stress/cpu?target=95&duration=60&ramp=0").await?;
        wait_for("the migration to begin", Duration::from_secs(20), || async {
            Ok((web.spec(&stage.lab).await? != written).then_some(()))
        })
        .await?;
        stage.collector.kill().await?;
        stage.restart_collector(None).await?;
        wait_for("the user's spec to come back", Duration::from_secs(10), || async {
            Ok((web.spec(&stage.lab).await? == written).then_some(()))
        })
        .await?;
        let after = web.running(&stage.lab).await?;
        ensure!(after.len() == 2 && !after.contains_key(sick), "{sick} was to go: {after:?}");
        Ok(())
    });
}

#[test]
fn a_planned_node_that_takes_nothing_is_not_waited_for_once_the_old_task_is_gone() {
    on_stage(async |stage| {
        let workers = vec!["node.role==worker".to_owned()];
        let app = App { replicas: 1, constraints: workers, ..App::new("web", 8080) };
        let web = Deployed::deploy(&stage.lab, app).await?;
        let written = web.spec(&stage.lab).await?;
        let place = web.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
        // The workers are 2 and 3.
        let target = 5 - place.node;
        web.ask(&stage.lab, place.node, "/stress/cpu?target=95&duration=60&ramp=0").await?;
        let target_id = node_id(stage, target).await?;
        let engine = stage.lab.process(&format!("dockerd-node{target}")).context("no dockerd runs there")?;
        engine.stop();
        let kept_off = kept_off_while_heard(stage, &web, &written, &place, &target_id).await;
        engine.cont();
        kept_off?;
        let action = wait_for("the action to end", Duration::from_secs(90), || async {
            let action = stage.actions("web").await?.into_iter().next();
            Ok(action.filter(|action| action.state != State::Running))
        })
        .await?;
        println!("its node took nothing: {:?}: {:?}", action.state, action.detail);
        web.wait_for_replicas(&stage.lab, 1).await?;
        ensure!(web.spec(&stage.lab).await? == written, "the spec is not the user's");
        Ok(())
    });
}

/// The old task is lost in the middle of the move: the node that takes nothing is kept off while Swarm still hears from it.
async fn kept_off_while_heard(
    stage: &Stage,
    web: &Deployed,
    written: &Value,
    place: &Running,
    target: &str,
) -> Result<()> {
    wait_for("the migration to begin", Duration::from_secs(20), || async {
        Ok((web.spec(&stage.lab).await? != *written).then_some(()))
    })
    .await?;
    web.kill(&stage.lab, place).await?;
    wait_for("the node to be kept off", Duration::from_secs(20), || async {
        let spec = web.spec(&stage.lab).await?;
        let constraints = spec["TaskTemplate"]["Placement"]["Constraints"].as_array();
        let mut constraints = constraints.into_iter().flatten().filter_map(Value::as_str);
        Ok(constraints.any(|constraint| constraint == format!("node.id!={target}")).then_some(()))
    })
    .await?;
    let nodes = stage.get("/api/v1/nodes").await?;
    let found = nodes.as_array().and_then(|nodes| nodes.iter().find(|node| node["id"] == target));
    ensure!(found.is_some_and(|node| node["ready"] == true), "Swarm had missed it by then: {nodes:#}");
    Ok(())
}

async fn node_id(stage: &Stage, index: u32) -> Result<String> {
    let info = stage.lab.node(index)?.docker().await?.info().await?;
    info.swarm.and_then(|swarm| swarm.node_id).context("it is in no Swarm")
}

#[test]
fn what_a_collector_did_is_known_to_the_next_one_and_told_in_words() {
    on_stage(async |stage| {
        let journal = format!("--journal={}", stage.lab.state_dir().join("journal.redb").display());
        let policy: Vec<&str> = POLICY.into_iter().filter(|flag| !flag.contains("cooldown")).collect();
        let policy = [&policy[..], &["--scenario1-cooldown-period=600", &journal]].concat();
        stage.restart_collector(Some(&policy)).await?;
        let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
        let sick = web.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
        web.ask(&stage.lab, sick.node, "/stress/cpu?target=95&duration=60&ramp=0").await?;
        let action = stage.wait_for_action("web", 0, Duration::from_secs(30)).await?;
        // Within the second that may be lost it might not be on disk yet.
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.collector.kill().await?;
        stage.restart_collector(None).await?;
        let told = explain(stage, &action.id).await?;
        for part in
            ["web is moved from node", "in a row (2 needed)", "that may take it", "It is completed", "T6 old task gone"]
        {
            ensure!(told.contains(part), "{part:?} is missing:\n{told}");
        }
        println!("{told}");
        let healthy = explain(stage, "web").await?;
        ensure!(healthy.starts_with("Now\n") && healthy.contains(&action.id), "{healthy}");
        let again = web.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
        web.ask(&stage.lab, again.node, "/stress/cpu?target=95&duration=60&ramp=0").await?;
        wait_for("the cooldown to be the reason", Duration::from_secs(30), || async {
            let told = explain(stage, "web").await?;
            Ok(told.contains("the last migration was a short while ago").then_some(()))
        })
        .await?;
        ensure!(stage.actions("web").await?.len() == 1, "it was moved within its cooldown");
        stage.restart_collector(Some(&POLICY)).await
    });
}

/// `swarmguard-collector explain`.
async fn explain(stage: &Stage, what: &str) -> Result<String> {
    let mut command = std::process::Command::new(&stage.binaries.collector);
    command.args(["explain", what, "--collector", &stage.collector_url()]);
    let output = command.output().context("starting the collector's program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_databases_death_loses_no_point_and_delays_nothing() {
    on_stage(async |stage| {
        let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
        let container = web.running(&stage.lab).await?.into_values().next().context("no replica runs")?.container;
        wait_for("the first points", Duration::from_secs(15), || async {
            Ok((influx_count(stage, &container).await? > 0).then_some(()))
        })
        .await?;
        stage.database.process().kill().await?;
        let went_away = unix_ms();
        tokio::time::sleep(Duration::from_secs(5)).await;
        agents_run(stage)?;
        ensure!(stage.get("/healthz").await?["status"] == "ok");
        stage.database.start().await?;
        let came_back = unix_ms();
        let found = wait_for("the points of the time between", Duration::from_secs(40), || async {
            let between = influx_count_between(stage, &container, went_away, came_back).await?;
            // One a second; the first and the last second may be cut.
            Ok((between >= 4).then_some(between))
        })
        .await?;
        println!("points of the {} ms without a database: {found}", came_back - went_away);
        agents_run(stage)
    });
}
