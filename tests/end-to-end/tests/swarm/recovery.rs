//! The two scenarios: right, in time, and unnoticed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use swarmguard_collector::journal::State;
use swarmguard_end_to_end::app::{App, Deployed, Running};
use swarmguard_end_to_end::scenario::{self, Outcome, SESSIONS_HELD, Sickness};
use swarmguard_end_to_end::stage::{Stage, wait_for};
use swarmguard_lab::servers::victoria_metrics;
use swarmguard_lab::{KillOnDrop, Place};

use crate::figures::recovery_event;
use crate::{POLICY, on_stage};

const RUNS: usize = 5;
const BREACH_TO_RUNNING_MS_MAX: f64 = 5_000.0;
const DECISION_MS_MAX: f64 = 10.0;
const REQUESTS_PER_SECOND_MIN: f64 = 100.0;

fn check_promises(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.breach_to_running_ms <= BREACH_TO_RUNNING_MS_MAX, "{outcome:?}");
    ensure!(outcome.decision_ms()? <= DECISION_MS_MAX, "{outcome:?}");
    ensure!(outcome.requests_per_second >= REQUESTS_PER_SECOND_MIN, "{outcome:?}");
    ensure!(outcome.failed == 0, "{} requests failed: {:?}", outcome.failed, outcome.load.errors);
    Ok(())
}

fn tell(what: &str, outcome: &Outcome) -> Result<()> {
    println!(
        "{what}: breach to running {:.0} ms, alert to decision {:.2} ms, {} requests ({:.0} a second), {} failed, \
         p99 {:.0} ms",
        outcome.breach_to_running_ms,
        outcome.decision_ms()?,
        outcome.requests,
        outcome.requests_per_second,
        outcome.failed,
        outcome.load.latency_ms.p99,
    );
    Ok(())
}

#[test]
fn a_sick_container_moves_in_time_and_nobody_notices() {
    on_stage(async |stage| {
        // As users have it: an order and a reaction of their own, which must come back after each migration.
        let config =
            json!({ "Parallelism": 2, "Order": "stop-first", "FailureAction": "rollback", "Delay": 1_000_000_000 });
        let app = App { update_config: Some(config), ..App::new("web", 8080) };
        let web = Deployed::deploy(&stage.lab, app).await?;
        let written = web.spec(&stage.lab).await?;
        for run in 1..=RUNS {
            let before = web.running(&stage.lab).await?;
            let (sick, place) = before.iter().next().context("no replica runs")?;
            let sickness = if run % 2 == 0 { Sickness::Memory } else { Sickness::Cpu };
            let outcome = scenario::one(stage, &web, place.node, sickness).await?;
            tell(&format!("migration {run} of {RUNS} ({sickness:?})"), &outcome)?;
            check_promises(&outcome)?;
            let after = web.running(&stage.lab).await?;
            ensure!(after.len() == 2 && !after.contains_key(sick), "{sick} was to go: {after:?}");
            for (task, place) in before.iter().filter(|(task, _)| *task != sick) {
                ensure!(after.get(task) == Some(place), "{task} was not to move: {after:?}");
            }
            ensure!(after.values().all(|now| now.node != place.node), "node{} was to be left: {after:?}", place.node);
            let spec = web.spec(&stage.lab).await?;
            ensure!(spec == written, "the spec is not as the user wrote it:\n{written:#}\n{spec:#}");
            web.wait_for_replicas(&stage.lab, 2).await?;
        }
        for action in stage.actions("web").await? {
            let point = recovery_event(stage, &format!("action_id='{}'", action.id)).await?;
            let [.., t5, _] = action.times_ms;
            for (column, expected) in [
                ("kind", json!("migrate")),
                ("outcome", json!("completed")),
                ("service_name", json!("web")),
                ("from_node", json!(action.from_node)),
                ("to_node", json!(action.to_node)),
            ] {
                ensure!(point.get(column) == Some(&expected), "{column} is to be {expected}: {point:?}");
            }
            let found = point.get("t5_ms").and_then(Value::as_f64);
            ensure!(found.is_some() && found == t5, "t5_ms is to be {t5:?}: {point:?}");
        }
        Ok(())
    });
}

#[test]
fn heavy_traffic_adds_a_replica_and_never_more_than_the_maximum() {
    on_stage(async |stage| {
        let shop = Deployed::deploy(&stage.lab, App { replicas: 1, ..App::new("shop", 8090) }).await?;
        let outcome = scenario::two(stage, &shop).await?;
        tell("scale-up", &outcome)?;
        check_promises(&outcome)?;
        ensure!((outcome.replicas_before, outcome.replicas_after) == (1, 2), "{outcome:?}");
        // What the load's sessions hold would come on top, beyond the memory limit.
        tokio::time::sleep(SESSIONS_HELD).await;
        for place in shop.running(&stage.lab).await?.into_values() {
            let all = "/stress/combined?cpu=80&memory=84&network=72&duration=30&ramp=0";
            shop.ask(&stage.lab, place.node, all).await?;
        }
        wait_for("the maximum to be the reason", Duration::from_secs(20), || async {
            Ok((stage.service("shop").await?["last_decision"]["withheld"]["reason"] == "max_replicas").then_some(()))
        })
        .await?;
        ensure!(shop.running(&stage.lab).await?.len() == 2 && stage.actions("shop").await?.len() == 1);
        Ok(())
    });
}

#[test]
fn when_the_load_has_ended_the_service_comes_back_to_its_minimum_one_by_one() {
    on_stage(async |stage| {
        let policy = [&POLICY[..], &["--scenario2-scale-down-cooldown=10"]].concat();
        stage.restart_collector(Some(&policy)).await?;
        let labels = vec![("swarmguard.min".to_owned(), "1".to_owned())];
        let shop = Deployed::deploy(&stage.lab, App { replicas: 3, labels, ..App::new("shop", 8090) }).await?;
        let load = scenario::light_load(&shop)?;
        for known in 0..2 {
            stage.wait_for_action("shop", known, Duration::from_secs(60)).await?;
        }
        // A third one would come within this.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let report = load.stop().await?;
        let actions = stage.actions("shop").await?;
        let steps: Vec<_> = actions
            .iter()
            .map(|action| (action.kind.as_str(), action.replicas_before, action.replicas_after))
            .collect();
        ensure!(steps == [("scale_down", 3, 2), ("scale_down", 2, 1)], "{steps:?}");
        ensure!(shop.running(&stage.lab).await?.len() == 1);
        ensure!(report.failed == 0, "{} of {} requests failed: {:?}", report.failed, report.requests, report.errors);
        println!("scale-down: from 3 to 1 replica, {} requests, {} failed", report.requests, report.failed);
        stage.restart_collector(Some(&POLICY)).await
    });
}

#[test]
fn a_service_whose_owner_did_not_allow_it_is_observed_only() {
    on_stage(async |stage| {
        let app = App { enabled: false, ..App::new("quiet", 8070) };
        let quiet = Deployed::deploy(&stage.lab, app).await?;
        let before = quiet.running(&stage.lab).await?;
        let place = before.values().next().context("no replica runs")?;
        quiet.ask(&stage.lab, place.node, "/stress/cpu?target=95&duration=30&ramp=0").await?;
        wait_for("the decision that would be made", Duration::from_secs(20), || async {
            Ok((stage.service("quiet").await?["last_decision"]["outcome"] == "observe").then_some(()))
        })
        .await?;
        // Were it acted on, the mark would be in Swarm within milliseconds.
        tokio::time::sleep(Duration::from_secs(2)).await;
        ensure!(stage.actions("quiet").await?.is_empty(), "it was acted on");
        ensure!(quiet.running(&stage.lab).await? == before, "its tasks changed");
        let point = recovery_event(stage, "service_name='quiet' AND outcome='observed'").await?;
        let text = point.get("text").and_then(Value::as_str).context("no text")?;
        ensure!(text.contains("its owner has not set the label"), "{text}");
        Ok(())
    });
}

/// A health check that the old replicas have passed, and that no new one can pass once its server is stopped.
fn check_of(url: &str) -> Value {
    json!({
        "Test": ["CMD", "/web-stress", "health", "--url", format!("{url}/health")],
        "Interval": 500_000_000, "Timeout": 1_000_000_000, "Retries": 1_000,
    })
}

#[test]
fn a_replacement_that_never_gets_healthy_is_taken_back_and_the_old_tasks_stay() {
    on_stage(async |stage| {
        let mut policy = POLICY.to_vec();
        policy.push("--action-deadline-seconds=5");
        stage.restart_collector(Some(&policy)).await?;
        let other = victoria_metrics(&stage.lab).await?;
        let app = App { health_check: Some(check_of(&other.url())), ..App::new("web", 8080) };
        let web = Deployed::deploy(&stage.lab, app).await?;
        let (written, before) = (web.spec(&stage.lab).await?, web.running(&stage.lab).await?);
        other.stop().await?;
        let place = before.values().next().context("no replica runs")?;
        web.ask(&stage.lab, place.node, "/stress/cpu?target=95&duration=120&ramp=0").await?;
        // It stays sick, so it is tried again after each cooldown.
        let actions = wait_for("three attempts", Duration::from_secs(90), || async {
            let actions = stage.actions("web").await?;
            let ended: Vec<_> = actions.into_iter().filter(|action| action.state != State::Running).collect();
            Ok((ended.len() >= 3).then_some(ended))
        })
        .await?;
        for action in actions {
            ensure!(action.state == State::Reverted && action.running_min >= Some(2), "{action:?}\n{}", stage.logs());
        }
        web.ask(&stage.lab, place.node, "/stress/stop").await?;
        wait_for("the user's spec to come back", Duration::from_secs(30), || async {
            Ok((web.spec(&stage.lab).await? == written).then_some(()))
        })
        .await?;
        ensure!(web.running(&stage.lab).await? == before, "the old tasks are not the same any more");
        stage.restart_collector(Some(&POLICY)).await
    });
}

/// Holds the app's port on the node that has no replica. Of this Swarm knows nothing: whatever it starts there fails.
fn squatter(stage: &Stage, running: &BTreeMap<String, Running>) -> Result<KillOnDrop> {
    let runs_on = |node: &u32| running.values().any(|place| place.node == *node);
    let free = (1..=3).find(|node| !runs_on(node)).context("no node is free")?;
    let args = ["--listen", "0.0.0.0:8080"];
    let program = &stage.binaries.web_stress;
    Ok(stage.lab.spawn(Place::Node(free), "squatter", program, args, [("", ""); 0])?.kill_on_drop())
}

#[test]
fn a_replacement_that_fails_again_and_again_is_taken_back_though_swarm_would_roll_back_by_itself() {
    on_stage(async |stage| {
        let mut policy = POLICY.to_vec();
        policy.push("--action-deadline-seconds=12");
        stage.restart_collector(Some(&policy)).await?;
        let config = json!({ "Parallelism": 1, "FailureAction": "rollback", "Monitor": 5_000_000_000_u64 });
        let web = Deployed::deploy(&stage.lab, App { update_config: Some(config), ..App::new("web", 8080) }).await?;
        let (written, before) = (web.spec(&stage.lab).await?, web.running(&stage.lab).await?);
        let squatter = squatter(stage, &before)?;
        let place = before.values().next().context("no replica runs")?;
        web.ask(&stage.lab, place.node, "/stress/cpu?target=95&duration=120&ramp=0").await?;
        let action = wait_for("an attempt", Duration::from_secs(120), || async {
            let mut actions = stage.actions("web").await?.into_iter();
            Ok(actions.find(|action| !matches!(action.state, State::Running | State::Unfinished)))
        })
        .await?;
        ensure!(action.state == State::Reverted && action.running_min == Some(2), "{action:?}\n{}", stage.logs());
        web.ask(&stage.lab, place.node, "/stress/stop").await?;
        wait_for("the user's spec to come back", Duration::from_secs(60), || async {
            Ok((web.spec(&stage.lab).await? == written).then_some(()))
        })
        .await?;
        ensure!(web.running(&stage.lab).await? == before, "the old tasks are not the same any more");
        drop(squatter);
        stage.restart_collector(Some(&POLICY)).await
    });
}

#[test]
fn a_move_whose_first_replacement_failed_is_finished_once_the_next_one_runs() {
    on_stage(async |stage| {
        stage.restart_collector(Some(&POLICY)).await?;
        let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
        let (written, before) = (web.spec(&stage.lab).await?, web.running(&stage.lab).await?);
        let squatter = squatter(stage, &before)?;
        let (sick, place) = before.first_key_value().context("no replica runs")?;
        web.ask(&stage.lab, place.node, "/stress/cpu?target=95&duration=120&ramp=0").await?;
        // At the first that fails Swarm pauses the update, and never looks again at the old task beside the next one.
        wait_for("a replacement to fail", Duration::from_secs(30), || async {
            let has_failed =
                |task: &Value| task["Status"]["State"] == "failed" || task["Status"]["State"] == "rejected";
            Ok(web.tasks(&stage.lab).await?.iter().any(has_failed).then_some(()))
        })
        .await?;
        drop(squatter);
        let failed_at = Instant::now();
        let action = stage.wait_for_action("web", 0, Duration::from_secs(50)).await?;
        let took = failed_at.elapsed();
        ensure!(action.state == State::Completed && action.running_min == Some(2), "{action:?}\n{}", stage.logs());
        println!("a first replacement failed: {:.1} s later the move was finished", took.as_secs_f64());
        let after = web.running(&stage.lab).await?;
        ensure!(!after.contains_key(sick) && after.len() == 2, "{sick} of {before:?} is not among {after:?}");
        ensure!(web.spec(&stage.lab).await? == written, "the spec is not the user's");
        Ok(())
    });
}
