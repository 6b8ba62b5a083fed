//! What a manager's engine tells of the service and of the Swarm. It is asked itself, past any collector: the drill judges what
//! collectors say by it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;
use swarmguard_end_to_end::app::tasks_of;
use swarmguard_end_to_end::http::get_json_from_socket;
use swarmguard_end_to_end::stage::Stage;

use super::WORKERS;

/// What a manager tells: who leads, which nodes it hears from, whether an action goes on, and where tasks are; and whether one
/// of those nodes is a worker.
pub(super) async fn sight(stage: &Stage, manager: u32) -> Result<(String, bool)> {
    let socket = stage.lab.node(manager)?.socket();
    let nodes = get_json_from_socket(socket, "/nodes").await?;
    let leader = leader_of(&nodes);
    let name = |id: &Value| {
        let of = nodes.as_array().into_iter().flatten().find(|node| node["ID"] == *id);
        of.and_then(|node| node["Description"]["Hostname"].as_str()).unwrap_or("nowhere").to_owned()
    };
    let heard = nodes.as_array().into_iter().flatten().filter(|node| node["Status"]["State"] == "ready");
    let mut heard: Vec<String> = heard.map(|node| name(&node["ID"])).collect();
    heard.sort();
    let hears_worker = WORKERS.iter().any(|worker| heard.contains(&format!("node{worker}")));
    let tasks = tasks_of(socket, "web").await?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alive = tasks.iter().filter(|task| {
        !["shutdown", "failed", "rejected", "complete", "orphaned"]
            .contains(&task["Status"]["State"].as_str().unwrap_or_default())
    });
    let mut tasks: Vec<String> = alive
        .map(|task| {
            format!(
                "{} {} (to be {})",
                name(&task["NodeID"]),
                word(&task["Status"]["State"]),
                word(&task["DesiredState"])
            )
        })
        .collect();
    tasks.sort();
    let under_way = if mark(&spec(stage, manager).await?).is_some() { "under way" } else { "over" };
    let sight = format!("leader {leader:?}, {under_way}; hears {}; tasks: {}", heard.join(" "), tasks.join(", "));
    Ok((sight, hears_worker))
}

pub(super) async fn leader_seen_by(stage: &Stage, witness: u32) -> Result<Option<u32>> {
    Ok(leader_of(&get_json_from_socket(stage.lab.node(witness)?.socket(), "/nodes").await?))
}

fn leader_of(nodes: &Value) -> Option<u32> {
    let leader = nodes.as_array()?.iter().find(|node| node["ManagerStatus"]["Leader"] == true)?;
    leader["Description"]["Hostname"].as_str()?.strip_prefix("node")?.parse().ok()
}

pub(super) async fn spec(stage: &Stage, manager: u32) -> Result<Value> {
    Ok(get_json_from_socket(stage.lab.node(manager)?.socket(), "/services/web").await?["Spec"].clone())
}

/// The spec and the one before, which any update replaces. The version counts also what Swarm itself writes about an update.
pub(super) async fn specs(stage: &Stage, manager: u32) -> Result<[Value; 2]> {
    let found = get_json_from_socket(stage.lab.node(manager)?.socket(), "/services/web").await?;
    Ok(["Spec", "PreviousSpec"].map(|key| found[key].clone()))
}

pub(super) fn mark(spec: &Value) -> Option<String> {
    let mark: Value = serde_json::from_str(spec["Labels"]["swarmguard.action"].as_str()?).ok()?;
    mark["id"].as_str().map(str::to_owned)
}

/// Running tasks of the app, and the lab's number of each one's node.
pub(super) async fn running(stage: &Stage, manager: u32) -> Result<BTreeMap<String, u32>> {
    let socket = stage.lab.node(manager)?.socket();
    let mut running = BTreeMap::new();
    for task in tasks_of(socket, "web").await? {
        let is_running = task["Status"]["State"] == "running" && task["DesiredState"] == "running";
        if !is_running {
            continue;
        }
        for worker in WORKERS {
            let info = stage.lab.node(worker)?.docker().await?.info().await?;
            if info.swarm.and_then(|swarm| swarm.node_id).as_deref() == task["NodeID"].as_str() {
                running.insert(task["ID"].as_str().unwrap_or_default().to_owned(), worker);
            }
        }
    }
    Ok(running)
}
