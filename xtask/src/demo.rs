//! `cargo xtask demo`: both scenarios on a Swarm of its own, from nothing, with live progress.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use swarmguard_end_to_end::app::{self, App, Deployed};
use swarmguard_end_to_end::binaries::Binaries;
use swarmguard_end_to_end::scenario::{self, Outcome, REQUESTS_PER_SECOND, Sickness};
use swarmguard_end_to_end::stage::Stage;
use swarmguard_lab::machine::Arch;
use swarmguard_lab::{Lab, Name, Options};

use crate::build::KernelPrograms;
use crate::run::{become_root, interrupted, runtime, say, step, target_folder};
use crate::{build, setup};

const NAME: Name = Name::Demo;
const NODES: u32 = 3;

/// A line of progress comes at least this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// What `target/demo/report.json` holds.
#[derive(Debug, Serialize)]
struct Report {
    scenario1: Outcome,
    scenario2: Outcome,
}

pub(crate) fn run(keep: bool) -> Result<()> {
    become_root()?;
    let begun = Instant::now();
    step(begun, "checking what is needed");
    setup::for_lab()?;
    step(begun, "building the static release binaries");
    let binaries = build::binaries(Arch::HOST, KernelPrograms::IfPossible)?;
    runtime()?.block_on(async {
        let shown = tokio::select! {
            shown = show(begun, binaries, keep) => shown,
            interrupted = interrupted() => interrupted,
        };
        if keep && shown.is_ok() {
            return Ok(());
        }
        step(begun, "cleaning up");
        Lab::clean(NAME).await.context("cleaning up; what is left: cargo xtask lab down --name demo")?;
        shown
    })?;
    step(begun, "done");
    Ok(())
}

async fn show(begun: Instant, binaries: Binaries, keep: bool) -> Result<()> {
    step(begun, "bringing up a Swarm of three nodes");
    let lab = Lab::up(Options::new(NAME, NODES), &|text| step(begun, text)).await?;
    step(begun, "copying the app's image to every node");
    app::install(&lab, &binaries).await?;
    step(begun, "starting InfluxDB, the collector and three agents");
    // The containers get sick as soon as they run, which nobody waits for in life.
    let stage = Stage::set(lab, binaries, &["--startup-period=0"]).await?;

    step(begun, "scenario 1: two replicas behind a balancer; one gets sick (CPU high, network low)");
    let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
    let source = web.running(&stage.lab).await?.into_values().next().context("no replica runs")?.node;
    let scenario1 = watched(begun, &stage, "web", scenario::one(&stage, &web, source, Sickness::Cpu)).await?;
    print(&scenario1);

    step(begun, "scenario 2: one replica behind a balancer; traffic makes CPU, memory and network high");
    let shop = Deployed::deploy(&stage.lab, App { replicas: 1, ..App::new("shop", 8090) }).await?;
    let scenario2 = watched(begun, &stage, "shop", scenario::two(&stage, &shop)).await?;
    print(&scenario2);

    let report = Report { scenario1, scenario2 };
    let folder = target_folder().join("demo");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join("report.json");
    std::fs::write(&path, format!("{:#}\n", serde_json::json!(report)))
        .with_context(|| format!("writing {}", path.display()))?;
    say(&format!("report: {}", path.display()));
    if keep {
        pages(&stage, &web, &shop);
    }
    match report.scenario1.failed + report.scenario2.failed {
        0 => Ok(()),
        failed => {
            bail!("{failed} requests failed: {:?} {:?}", report.scenario1.load.errors, report.scenario2.load.errors)
        }
    }
}

/// Runs a scenario and shows meanwhile what the collector knows of the service.
async fn watched(
    begun: Instant,
    stage: &Stage,
    service: &str,
    scenario: impl Future<Output = Result<Outcome>>,
) -> Result<Outcome> {
    let mut scenario = pin!(scenario);
    loop {
        tokio::select! {
            outcome = &mut scenario => return outcome,
            () = tokio::time::sleep(SIGN_OF_LIFE / 2) => {
                if let Ok(known) = stage.service(service).await {
                    step(begun, &format!("  {service}: {}", state_line(&known)));
                }
            }
        }
    }
}

fn state_line(service: &serde_json::Value) -> String {
    let tasks = service["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let task = |task: &serde_json::Value| {
        let percent = |key: &str| task["newest"][key].as_f64().map_or("-".to_owned(), |value| format!("{value:.0}"));
        let node = task["node"].as_str().unwrap_or("no node");
        let (cpu, memory, network) = (percent("cpu_percent"), percent("memory_percent"), percent("network_percent"));
        format!("{node} {} (cpu {cpu} mem {memory} net {network} %)", task["state"].as_str().unwrap_or("?"))
    };
    let decided = service["last_decision_text"].as_str().map(|text| format!("; {text}")).unwrap_or_default();
    format!("{}{decided}", tasks.iter().map(task).collect::<Vec<_>>().join(", "))
}

fn print(outcome: &Outcome) {
    let at_the_end = if outcome.from_node.is_some() { "old task gone" } else { "nothing was to go" };
    let steps = [
        ("T0", "breach measured", outcome.t0),
        ("T1", "alert sent", outcome.t1),
        ("T2", "alert received", outcome.t2),
        ("T3", "decided", outcome.t3),
        ("T4", "Docker called", outcome.t4),
        ("T5", "replacement running and healthy", outcome.t5),
        ("T6", at_the_end, outcome.t6),
    ];
    say("");
    for (name, what, at) in steps {
        say(&format!("    {name}  {:>10}  {what}", at.map_or("-".to_owned(), |at| format!("{at:.1} ms"))));
    }
    match (&outcome.from_node, &outcome.to_node) {
        (Some(from), Some(to)) => say(&format!("    moved from {from} to {to}")),
        _ => say(&format!("    from {} to {} replicas", outcome.replicas_before, outcome.replicas_after)),
    }
    let latency = &outcome.load.latency_ms;
    say(&format!(
        "    {} requests at {REQUESTS_PER_SECOND} a second, {} failed; latency p50 {:.1} ms, p99 {:.1} ms\n",
        outcome.requests, outcome.failed, latency.p50, latency.p99
    ));
}

fn pages(stage: &Stage, web: &Deployed, shop: &Deployed) {
    let collector = stage.collector_url();
    say("\nstill running:");
    for (what, url) in [
        ("health", format!("{collector}/healthz")),
        ("nodes", format!("{collector}/api/v1/nodes")),
        ("services", format!("{collector}/api/v1/services")),
        ("actions", format!("{collector}/api/v1/actions")),
        ("metrics", format!("{collector}/metrics")),
        ("InfluxDB", stage.database.url()),
        ("app web", web.balancer.url()),
        ("its balancer", web.balancer.stats_url()),
        ("app shop", shop.balancer.url()),
        ("its balancer", shop.balancer.stats_url()),
    ] {
        say(&format!("  {what:<13} {url}"));
    }
    say(&format!("end it with: cargo xtask lab down --name {NAME}"));
}
