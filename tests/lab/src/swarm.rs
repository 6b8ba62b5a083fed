//! Making one Swarm of the nodes.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bollard::models::{NodeState, SwarmInitRequest, SwarmJoinRequest};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::lab::Node;

const READY_WAIT: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(50);
const CLUSTER_PORT: u16 = 2377;

/// The first `managers` nodes become managers, the others workers.
pub(crate) async fn create(nodes: &[Node], managers: u32) -> Result<()> {
    let Some((first, others)) = nodes.split_first() else { bail!("a Swarm needs at least one node") };
    let docker = first.docker().await?;
    let init = SwarmInitRequest {
        listen_addr: Some(format!("0.0.0.0:{CLUSTER_PORT}")),
        advertise_addr: Some(first.address().to_string()),
        ..SwarmInitRequest::default()
    };
    docker.init_swarm(init).await.context("start the Swarm on node1; see its dockerd's log")?;
    let tokens = docker.inspect_swarm().await.context("ask for the join tokens")?.join_tokens.unwrap_or_default();
    let (joining_managers, workers): (Vec<_>, Vec<_>) = others.iter().partition(|node| node.index() <= managers);
    // Managers one after the other: each joining one changes the group whose majority the next one needs.
    for node in joining_managers {
        join(node, first, tokens.manager.clone()).await?;
    }
    try_join_all(workers.into_iter().map(|node| join(node, first, tokens.worker.clone()))).await?;
    wait_ready(nodes).await
}

async fn join(node: &Node, first: &Node, token: Option<String>) -> Result<()> {
    let request = SwarmJoinRequest {
        listen_addr: Some(format!("0.0.0.0:{CLUSTER_PORT}")),
        advertise_addr: Some(node.address().to_string()),
        remote_addrs: Some(vec![format!("{}:{CLUSTER_PORT}", first.address())]),
        join_token: token,
        ..SwarmJoinRequest::default()
    };
    let docker = node.docker().await?;
    docker
        .join_swarm(request)
        .await
        .with_context(|| format!("{} joins the Swarm; see its dockerd's log", node.hostname()))
}

async fn wait_ready(nodes: &[Node]) -> Result<()> {
    let deadline = Instant::now() + READY_WAIT;
    loop {
        let ready = ready_count(nodes).await?;
        if ready == nodes.len() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("only {ready} of {} nodes are ready after {READY_WAIT:?}; see the dockerds' logs", nodes.len());
        }
        sleep(READY_POLL).await;
    }
}

/// How many nodes the first one sees ready.
pub(crate) async fn ready_count(nodes: &[Node]) -> Result<usize> {
    let Some(first) = nodes.first() else { return Ok(0) };
    let docker = first.docker().await?;
    let listed = docker.list_nodes(None).await.context("list the nodes of the Swarm on node1")?;
    let states = listed.into_iter().filter_map(|node| node.status?.state);
    Ok(states.filter(|state| *state == NodeState::READY).count())
}
