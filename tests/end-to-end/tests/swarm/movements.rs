//! The model of SwarmKit that the simulation rests on, held against this Swarm: one script, on both, and the same tasks move
//! in the same order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use swarmguard_end_to_end::app::{IMAGE, tasks_of};
use swarmguard_end_to_end::http::{get_json_from_socket, post_to_socket};
use swarmguard_end_to_end::stage::Stage;
use swarmguard_sim::movement::{self, Seen, State, Step, Watch, What, slot_of};

use crate::on_stage;

const SERVICE: &str = "moved";

const LOOK_PAUSE: Duration = Duration::from_millis(25);
/// As the model's.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Nothing has happened for so long: what a crash leads to comes after [`RESTART_DELAY`].
const SETTLED_AFTER: Duration = Duration::from_millis(800);
const CRASH_SETTLED_AFTER: Duration = Duration::from_millis(2_500);
const RESTART_DELAY: Duration = Duration::from_secs(1);
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

fn scripts() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../movements");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    scripts.sort();
    Ok(scripts)
}

#[test]
fn the_model_moves_the_tasks_that_this_swarm_moves() {
    on_stage(async |stage| {
        let begun = Instant::now();
        let (mut wrong, mut steps_done) = (Vec::new(), 0);
        let scripts = scripts()?;
        for path in &scripts {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let script = std::fs::read_to_string(path)?;
            let Ok(steps) = movement::read(&script) else { bail!("{name} cannot be read") };
            let on_model = movement::on_model(&steps, 1).with_context(|| format!("{name} on the model"))?;
            let here = on_swarm(stage, &steps).await.with_context(|| name.clone())?;
            if here != on_model {
                wrong.push(format!("{name}, here:\n{here}on the model:\n{on_model}"));
            }
            steps_done += steps.len();
        }
        println!("{} scripts, {steps_done} steps, {:.0} s", scripts.len(), begun.elapsed().as_secs_f64());
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        ensure!(scripts.len() >= 10, "{} scripts", scripts.len());
        Ok(())
    });
}

async fn on_swarm(stage: &Stage, steps: &[Step]) -> Result<String> {
    let mut told = String::new();
    let (mut watch, mut about, mut settled_after) = (Watch::default(), None, SETTLED_AFTER);
    for (number, step) in steps.iter().enumerate() {
        let tasks = seen(stage).await?;
        if !step.is_at_once {
            (watch, about, settled_after) = (Watch::new(&tasks), None, SETTLED_AFTER);
        }
        if let Some(slot) = step.what.about() {
            about = Some(slot_of(&tasks, slot).context("there is no such slot")?.0);
        }
        if matches!(step.what, What::Crash(_)) {
            settled_after = CRASH_SETTLED_AFTER;
        }
        apply(stage, step.what, &tasks).await.with_context(|| step.text.clone())?;
        told.push_str(&format!("{}\n", step.text));
        if steps.get(number + 1).is_some_and(|next| next.is_at_once) {
            let begun = Instant::now();
            while begun.elapsed() < AT_ONCE {
                watch.saw(&seen(stage).await?);
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            continue;
        }
        settle(stage, &mut watch, settled_after).await.with_context(|| step.text.clone())?;
        told.push_str(&watch.told(about));
    }
    let docker = stage.lab.node(1)?.docker().await?;
    docker.delete_service(SERVICE).await?;
    Ok(told)
}

/// Watches until nothing has changed for a while and no update is under way; one that finds no node stays under way.
async fn settle(stage: &Stage, watch: &mut Watch, settled_after: Duration) -> Result<()> {
    let (begun, mut changed) = (Instant::now(), Instant::now());
    let mut last = Vec::new();
    loop {
        let tasks = seen(stage).await?;
        watch.saw(&tasks);
        let is_waiting = |task: &Seen| task.is_wanted && task.state == State::Starting && task.node.is_none();
        let is_busy = |task: &Seen| task.state == State::Starting && task.node.is_some() && task.is_wanted;
        if tasks != last || tasks.iter().any(is_busy) {
            changed = Instant::now();
        }
        let service = get_json_from_socket(stage.lab.node(1)?.socket(), &format!("/services/{SERVICE}")).await?;
        let is_updating = service["UpdateStatus"]["State"] == "updating" && !tasks.iter().any(is_waiting);
        if changed.elapsed() >= settled_after && !is_updating {
            return Ok(());
        }
        ensure!(begun.elapsed() < SETTLED_WITHIN, "it has not settled: {tasks:?}");
        last = tasks;
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn apply(stage: &Stage, what: What, tasks: &[Seen]) -> Result<()> {
    let socket = stage.lab.node(1)?.socket();
    match what {
        What::Create(replicas, order) => {
            let mut spec = movement::spec(SERVICE, IMAGE, replicas, order);
            hasten(&mut spec);
            post_to_socket(socket, "/services/create", &spec).await
        }
        What::Crash(number) => {
            let (_, task) = slot_of(tasks, number).context("there is no such slot")?;
            let found = get_json_from_socket(socket, &format!("/tasks/{}", task.task)).await?;
            let container = found["Status"]["ContainerStatus"]["ContainerID"].as_str().context("no container")?;
            for node in stage.lab.nodes() {
                if post_to_socket(node.socket(), &format!("/containers/{container}/kill"), &Value::Null).await.is_ok() {
                    return Ok(());
                }
            }
            bail!("no node has {container}")
        }
        What::Change(change) => {
            update(socket, "", |spec| change.make(spec, |number| slot_of(tasks, number)?.1.node)).await
        }
        What::RollBack => update(socket, "&rollback=previous", |_| ()).await,
    }
}

async fn update(socket: &Path, more: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let service = get_json_from_socket(socket, &format!("/services/{SERVICE}")).await?;
    let (index, mut spec) = (&service["Version"]["Index"], service["Spec"].clone());
    change(&mut spec);
    post_to_socket(socket, &format!("/services/{SERVICE}/update?version={index}{more}"), &spec).await
}

/// How long Swarm looks on after each task, and waits before it starts one anew, changes nothing of what moves.
fn hasten(spec: &mut Value) {
    let delay = u64::try_from(RESTART_DELAY.as_nanos()).unwrap_or(u64::MAX);
    spec["TaskTemplate"]["RestartPolicy"] = json!({ "Condition": "any", "Delay": delay });
    spec["UpdateConfig"]["Monitor"] = json!(500_000_000);
    spec["RollbackConfig"] =
        json!({ "Parallelism": 1, "Monitor": 500_000_000, "Order": spec["UpdateConfig"]["Order"] });
}

async fn seen(stage: &Stage) -> Result<Vec<Seen>> {
    // Before the service is there, Swarm refuses to tell.
    let tasks = tasks_of(stage.lab.node(1)?.socket(), SERVICE).await.unwrap_or_default();
    let mut seen: Vec<Seen> = tasks.iter().filter_map(task).collect();
    seen.sort_by(|a, b| a.task.cmp(&b.task));
    Ok(seen)
}

fn task(found: &Value) -> Option<Seen> {
    let state = match found["Status"]["State"].as_str()? {
        "running" => State::Running,
        "complete" | "failed" | "shutdown" | "rejected" | "orphaned" | "remove" => State::Ended,
        _ => State::Starting,
    };
    Some(Seen {
        task: found["ID"].as_str()?.to_owned(),
        slot: found["Slot"].as_u64()?,
        node: found["NodeID"].as_str().filter(|node| !node.is_empty()).map(str::to_owned),
        state,
        is_wanted: matches!(found["DesiredState"].as_str()?, "running" | "ready"),
    })
}
