//! A person changes the service while it is being moved: each time the outcome says so, and nothing of ours is left.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swarmguard_collector::journal::{ActionRecord, State};
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::stage::{Stage, wait_for};

use crate::on_stage;

const SICK: &str = "/stress/memory?target=84&duration=90&ramp=0";
const ENDED_WITHIN: Duration = Duration::from_secs(40);

/// Deploys, makes a replica sick, and has `interfere` done as soon as the action's mark is there.
async fn interfered(
    stage: &mut Stage,
    name: &str,
    port: u16,
    interfere: impl AsyncFnOnce(&mut Stage, &Deployed, &Value) -> Result<()>,
) -> Result<(Deployed, Value, ActionRecord)> {
    let app = Deployed::deploy(&stage.lab, App::new(name, port)).await?;
    let written = app.spec(&stage.lab).await?;
    let place = app.running(&stage.lab).await?.into_values().next().context("no replica runs")?;
    app.ask(&stage.lab, place.node, SICK).await?;
    let begun = wait_for("the action to begin", Duration::from_secs(20), || async {
        let spec = app.spec(&stage.lab).await?;
        Ok((spec != written).then_some(spec))
    })
    .await?;
    ensure!(template(&begun) == template(&written), "the mark's fingerprint would tell of a rollout that is none");
    interfere(stage, &app, &written).await?;
    let action = wait_for("the action to end", ENDED_WITHIN, || async {
        let action = stage.actions(name).await?.into_iter().next();
        Ok(action.filter(|action| action.state != State::Running))
    })
    .await?;
    println!("{name}: {:?}: {:?}", action.state, action.detail);
    Ok((app, written, action))
}

/// What the mark has a fingerprint of.
fn template(spec: &Value) -> Vec<Value> {
    let mut template = spec["TaskTemplate"].clone();
    template["Placement"].take();
    vec![template, spec["EndpointSpec"].clone(), spec["Networks"].clone()]
}

fn labels(spec: &Value) -> Vec<&str> {
    spec["Labels"].as_object().into_iter().flatten().map(|(label, _)| label.as_str()).collect()
}

#[test]
fn what_a_user_changes_in_the_middle_of_a_move_stays_and_only_ours_is_taken_out() {
    on_stage(async |stage| {
        let changed = async |stage: &mut Stage, app: &Deployed, _: &Value| app.deploy_again(&stage.lab, "2").await;
        let (app, written, action) = interfered(stage, "updated", 8040, changed).await?;
        check_only_theirs(stage, &app, &written, &action).await
    });
}

#[test]
fn a_user_has_the_last_word_also_while_no_collector_runs() {
    on_stage(async |stage| {
        let meanwhile = async |stage: &mut Stage, app: &Deployed, _: &Value| {
            stage.collector.kill().await?;
            app.deploy_again(&stage.lab, "2").await?;
            stage.restart_collector(None).await
        };
        let (app, written, action) = interfered(stage, "orphaned", 8048, meanwhile).await?;
        check_only_theirs(stage, &app, &written, &action).await
    });
}

/// The user's change stays, and nothing of ours.
async fn check_only_theirs(stage: &Stage, app: &Deployed, written: &Value, action: &ActionRecord) -> Result<()> {
    ensure!(action.state == State::Superseded, "{action:?}\n{}", stage.logs());
    let spec = wait_for("our part to be gone", Duration::from_secs(10), || async {
        let spec = app.spec(&stage.lab).await?;
        Ok((labels(&spec) == ["swarmguard.enable"]).then_some(spec))
    })
    .await?;
    ensure!(spec["TaskTemplate"]["ContainerSpec"]["Env"][0] == "VERSION=2", "{spec:#}");
    ensure!(spec["TaskTemplate"]["Placement"] == written["TaskTemplate"]["Placement"], "{spec:#}");
    ensure!(spec["UpdateConfig"] == written["UpdateConfig"], "{spec:#}");
    app.wait_for_replicas(&stage.lab, 2).await
}

#[test]
fn a_stack_that_is_deployed_anew_in_the_middle_of_a_move_supersedes_it() {
    on_stage(async |stage| {
        // As docker stack deploy does: the whole spec, without our label and constraints.
        let anew =
            async |stage: &mut Stage, app: &Deployed, written: &Value| app.replace_spec(&stage.lab, written).await;
        let (app, written, action) = interfered(stage, "stacked", 8042, anew).await?;
        ensure!(action.state == State::Superseded, "{action:?}\n{}", stage.logs());
        ensure!(app.spec(&stage.lab).await? == written, "the spec is not the user's");
        Ok(())
    });
}

#[test]
fn a_rollback_in_the_middle_of_a_move_supersedes_it() {
    on_stage(async |stage| {
        let back = async |stage: &mut Stage, app: &Deployed, _: &Value| app.roll_back(&stage.lab).await;
        let (app, written, action) = interfered(stage, "rolled", 8044, back).await?;
        ensure!(action.state == State::Superseded, "{action:?}\n{}", stage.logs());
        ensure!(app.spec(&stage.lab).await? == written, "the spec is not the user's");
        Ok(())
    });
}

#[test]
fn a_service_that_is_removed_in_the_middle_of_a_move_supersedes_it() {
    on_stage(async |stage| {
        let removed = async |stage: &mut Stage, app: &Deployed, _: &Value| app.delete(&stage.lab).await;
        let (_, _, action) = interfered(stage, "removed", 8046, removed).await?;
        ensure!(action.state == State::Superseded, "{action:?}\n{}", stage.logs());
        Ok(())
    });
}
