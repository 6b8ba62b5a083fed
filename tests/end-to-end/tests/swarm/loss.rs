//! The collector or the database dies: nothing else does, and everything carries on when it is back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::stage::{Stage, wait_for};

use crate::figures::{influx_count, influx_count_between, unix_ms};
use crate::on_stage;

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
