//! Which containers run here, from Docker: its event stream, and one inspect for each container.
//!
//! [`plain`] adds cgroups that Docker does not know. This is the only module of the agent that knows bollard. Docker is never asked for statistics. When it is away,
//! containers that are known stay known and are sampled on; when it is back, the whole list is taken anew, since
//! events were missed.

pub mod plain;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, EventMessage};
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptions};
use futures_util::StreamExt;
use swarmguard_daemon::presence::Presence;
use swarmguard_wire::{ContainerId, Name, NodeId, NodeRef, ServiceRef, TaskId};
use tokio::sync::mpsc;

/// Changes waiting for the sampler; a burst beyond it waits in Docker's stream.
pub const CHANGES_MAX: usize = 256;

/// Docker's answer to anything may take so long, in seconds: it is slow when many containers start at once.
const DOCKER_TIMEOUT_S: u64 = 30;
/// The node is asked who it is so often: it may join or leave a Swarm while its Docker runs on.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(60);
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(500);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(10);

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Docker's identifier.
    pub id: ContainerId,
    /// Its name without the leading slash.
    pub name: Name,
    /// Its Swarm service.
    pub service: Option<ServiceRef>,
    /// Its Swarm task.
    pub task: Option<TaskId>,
    /// Whether Docker checks its health.
    pub has_healthcheck: bool,
    /// Where it is found.
    pub found: Found,
    /// Whether it shares the node's network namespace.
    pub host_network: bool,
}

/// Where a container's cgroup is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// By its first process, as the host numbers it: Docker's containers.
    Process(i64),
    /// By its path in every hierarchy, and the sum of its inodes there, since a path can be made anew: cgroups that are no
    /// containers, see [`plain`].
    Cgroup(PathBuf, u64),
}

/// What discovery tells the sampler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Which node this is.
    Identity(NodeRef),
    /// Of Docker's containers, these run and no others.
    Present(Vec<Container>),
    /// One started.
    Started(Container),
    /// One ended.
    Ended(ContainerId),
    /// Someone changed a running container's limits.
    LimitsChanged(ContainerId),
}

/// Docker could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Docker does not answer.
    #[error("cannot reach Docker at {host}")]
    Unreachable {
        /// The address.
        host: String,
        /// bollard's reason.
        #[source]
        source: bollard::errors::Error,
    },
    /// Docker ended the event stream.
    #[error("Docker at {host} ended its event stream")]
    StreamEnded {
        /// The address.
        host: String,
    },
}

/// One look: who this node is and what runs on it.
///
/// # Errors
/// When Docker cannot be asked.
pub async fn once(host: &str, node_name: Option<&Name>) -> Result<(NodeRef, Vec<Container>), DiscoveryError> {
    let docker = connect(host).await?;
    let unreachable = |source| DiscoveryError::Unreachable { host: host.to_owned(), source };
    let identity = identity(&docker, node_name).await.map_err(unreachable)?;
    let (containers, _) = present(&docker).await.map_err(unreachable)?;
    Ok((identity, containers))
}

/// Tells every change from now on, until the receiver is gone. The loss of Docker is said once and mended.
pub async fn watch(host: String, node_name: Option<Name>, changes: mpsc::Sender<Change>) {
    let mut presence = Presence::new("docker");
    let mut pause = RECONNECT_PAUSE_MIN;
    while !changes.is_closed() {
        let mut told = false;
        let ended = session(&host, node_name.as_ref(), &changes, &mut presence, &mut told).await;
        if let Err(error) = ended {
            presence.lost(&error);
        }
        pause = if told { RECONNECT_PAUSE_MIN } else { (pause * 2).min(RECONNECT_PAUSE_MAX) };
        tokio::time::sleep(pause).await;
    }
}

async fn session(
    host: &str,
    node_name: Option<&Name>,
    changes: &mpsc::Sender<Change>,
    presence: &mut Presence,
    told: &mut bool,
) -> Result<(), DiscoveryError> {
    let docker = connect(host).await?;
    let unreachable = |source| DiscoveryError::Unreachable { host: host.to_owned(), source };
    let node = identity(&docker, node_name).await.map_err(unreachable)?;
    // The stream is asked for what happened since before the list was taken: nothing falls between the two.
    let mut events = Box::pin(docker.events(Some(events_since(SystemTime::now()))));
    let (containers, mut overlooked) = present(&docker).await.map_err(unreachable)?;
    presence.back();
    *told = true;
    let closed = |_| DiscoveryError::StreamEnded { host: host.to_owned() };
    changes.send(Change::Identity(node)).await.map_err(closed)?;
    changes.send(Change::Present(containers)).await.map_err(closed)?;
    let mut identity_due = tokio::time::interval(IDENTITY_INTERVAL);
    loop {
        tokio::select! {
            event = events.next() => {
                let event = event.ok_or_else(|| DiscoveryError::StreamEnded { host: host.to_owned() })?;
                match change(&docker, event.map_err(unreachable)?).await {
                    Ok(Some(change)) => changes.send(change).await.map_err(closed)?,
                    Ok(None) => {}
                    Err(error) => overlooked = overlook(&error),
                }
            }
            _ = identity_due.tick() => {
                let node = identity(&docker, node_name).await.map_err(unreachable)?;
                changes.send(Change::Identity(node)).await.map_err(closed)?;
                if overlooked {
                    let (containers, still) = present(&docker).await.map_err(unreachable)?;
                    changes.send(Change::Present(containers)).await.map_err(closed)?;
                    overlooked = still;
                }
            }
        }
    }
}

async fn connect(host: &str) -> Result<Docker, DiscoveryError> {
    let unreachable = |source| DiscoveryError::Unreachable { host: host.to_owned(), source };
    let docker = if host.starts_with("unix://") {
        Docker::connect_with_unix(host, DOCKER_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
    } else {
        Docker::connect_with_http(host, DOCKER_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
    };
    docker.map_err(unreachable)?.negotiate_version().await.map_err(unreachable)
}

async fn identity(docker: &Docker, node_name: Option<&Name>) -> Result<NodeRef, bollard::errors::Error> {
    let info = within(docker.info()).await?;
    let id = info.swarm.and_then(|swarm| swarm.node_id).and_then(|id| id.parse::<NodeId>().ok());
    let name = node_name.cloned().or_else(|| info.name.as_deref().map(Name::new)).unwrap_or_default();
    Ok(NodeRef { id, name })
}

/// All containers that could be inspected, and whether one could not.
async fn present(docker: &Docker) -> Result<(Vec<Container>, bool), bollard::errors::Error> {
    let (mut containers, mut overlooked) = (Vec::new(), false);
    for summary in within(docker.list_containers(None::<ListContainersOptions>)).await? {
        let Some(id) = summary.id else { continue };
        match inspect(docker, &id).await {
            Ok(container) => containers.extend(container),
            Err(error) => overlooked = overlook(&error),
        }
    }
    Ok((containers, overlooked))
}

/// One container that Docker cannot tell about must not hide the others; it is asked about again after a while.
fn overlook(error: &bollard::errors::Error) -> bool {
    tracing::warn!(%error, "a container could not be inspected and is not sampled: asking again within a minute");
    true
}

/// `None` for a container that is gone already or never got a process; any other failure is one, so that a container
/// that could not be asked about in a busy moment is not overlooked for ever.
async fn inspect(docker: &Docker, id: &str) -> Result<Option<Container>, bollard::errors::Error> {
    match within(docker.inspect_container(id, None::<InspectContainerOptions>)).await {
        Ok(found) => Ok(container(found)),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// bollard limits the time to an answer's head only; its body may stall as well.
async fn within<T>(
    answer: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, bollard::errors::Error> {
    let limit = Duration::from_secs(DOCKER_TIMEOUT_S);
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(bollard::errors::Error::RequestTimeoutError))
}

fn container(found: ContainerInspectResponse) -> Option<Container> {
    let config = found.config.unwrap_or_default();
    let test = config.healthcheck.and_then(|health| health.test).unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let label = |key: &str| labels.get(key).map(String::as_str);
    let service = label("com.docker.swarm.service.id")
        .and_then(|id| id.parse().ok())
        .map(|id| ServiceRef { id, name: Name::new(label("com.docker.swarm.service.name").unwrap_or_default()) });
    Some(Container {
        id: found.id?.parse().ok()?,
        name: Name::new(found.name.as_deref().unwrap_or_default().trim_start_matches('/')),
        service,
        task: label("com.docker.swarm.task.id").and_then(|id| id.parse().ok()),
        has_healthcheck: !test.is_empty() && test != ["NONE"],
        found: Found::Process(found.state?.pid.filter(|pid| *pid > 0)?),
        host_network: found.host_config?.network_mode.as_deref() == Some("host"),
    })
}

fn events_since(since: SystemTime) -> bollard::query_parameters::EventsOptions {
    let seconds = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let filters: HashMap<String, Vec<String>> = HashMap::from([
        ("type".to_owned(), list(&["container"])),
        ("event".to_owned(), list(&["start", "die", "update"])),
    ]);
    EventsOptionsBuilder::new().since(&seconds.to_string()).filters(&filters).build()
}

async fn change(docker: &Docker, event: EventMessage) -> Result<Option<Change>, bollard::errors::Error> {
    let (Some(id), Some(action)) = (event.actor.and_then(|actor| actor.id), event.action) else { return Ok(None) };
    Ok(match action.as_str() {
        "start" => inspect(docker, &id).await?.map(Change::Started),
        "die" => id.parse().ok().map(Change::Ended),
        "update" => id.parse().ok().map(Change::LimitsChanged),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_a_process_is_none() {
        assert_eq!(container(ContainerInspectResponse::default()), None);
    }
}
