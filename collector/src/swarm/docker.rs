//! A manager's API: Swarm's state as facts, and versioned updates of one service.
//!
//! The only place that knows bollard: [`read`] turns its models into facts, [`pauses`] keeps what people paused. The changes
//! that [`super::spec`] makes to a service's spec are got and sent by [`raw`] as the manager's own JSON. Every update
//! carries the version it rests on; Swarm refuses a stale one, which is the fence between two collectors and between a
//! collector and a person.

mod pauses;
mod raw;
mod read;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::query_parameters::{ListNodesOptions, ListServicesOptions, ListTasksOptions, ListTasksOptionsBuilder};
use serde_json::Value;
use swarmguard_planner::facts::{Swarm, Task};
use swarmguard_planner::plan::Action;
use swarmguard_planner::quiet::Pauses;
use swarmguard_wire::time::ClockOffset;
use swarmguard_wire::{NodeId, ServiceId, TaskId, Timestamp};

use super::mark::{LABEL, Mark, Marked};
use super::spec::{self, End, Update};
pub use raw::RawError;

/// What is asked for with an update.
const UPDATING: &str = "updating the service";

/// Any answer of a manager may take so long, in seconds.
const DOCKER_TIMEOUT_S: u64 = 10;

/// Why the Swarm could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// The address is of no kind that is known.
    #[error("docker-host is {found:?}: expected unix:///path, tcp://host:port or http://host:port")]
    Address {
        /// What was given.
        found: String,
    },
    /// The manager does not answer, or answers with an error.
    #[error("{what}")]
    Docker {
        /// What was asked.
        what: &'static str,
        /// Its reason.
        #[source]
        source: DockerError,
    },
    /// The same of a request for a spec.
    #[error("{what}")]
    Raw {
        /// What was asked.
        what: &'static str,
        /// Its reason.
        #[source]
        source: RawError,
    },
    /// The service is not there any more.
    #[error("the service is gone")]
    Gone,
    /// The service changed since the facts were read.
    #[error("the service changed in the meantime: version {planned} was planned on, {} is there", version(found))]
    Version {
        /// The version planned on.
        planned: u64,
        /// The version found; absent where the manager did not tell.
        found: Option<u64>,
    },
    /// It comes too late: another collector may be the one to act by now.
    #[error("it came too late: by now another collector may be the one to act")]
    Late,
    /// The mark of the action is not there any more: someone else changed the service.
    #[error("someone else changed the service: the action's mark is gone")]
    Superseded,
    /// A replacement has come so far meanwhile that taking it back needs another way.
    #[error("a replacement was given a node in the meantime")]
    Moving,
    /// No node takes a task of somebody else's update, which would begin anew at the cost of a healthy one.
    #[error("no node takes a task of somebody else's update")]
    OthersUnplaced,
    /// Somebody else's update is under way, or was.
    #[error("somebody else has changed the service in the meantime")]
    OthersChange,
    /// Somebody else's update has stopped half-way. Whatever is changed now would have Swarm go on with it.
    #[error("somebody else's update of the service is paused, and any change of it would have Swarm go on with that")]
    OthersPaused,
    /// A mark that this version cannot read.
    #[error(
        "its label {LABEL} cannot be read by this version: look at the constraints it names, then remove the label with \
         docker service update --label-rm {LABEL}"
    )]
    Unreadable,
    /// What people paused cannot be read or kept.
    #[error(
        "the pauses in the config object swarmguard.pauses: {why}; swarmguard-collector resume, or pause, writes them anew"
    )]
    Pauses {
        /// What is wrong.
        why: &'static str,
    },
    /// The spec has no shape this version knows.
    #[error("the service's spec cannot be changed: {why}")]
    Spec {
        /// What is missing.
        why: &'static str,
    },
}

impl SwarmError {
    /// Of an update that got no answer in time. Whether it was taken is not known.
    pub fn no_answer() -> Self {
        Self::Raw { what: UPDATING, source: RawError::Timeout }
    }

    /// Whether an update that ended so may have been taken: it was sent, and got no answer.
    pub fn may_have_been_taken(&self) -> bool {
        matches!(self, Self::Raw { what: UPDATING, source } if !matches!(source, RawError::Refused { .. }))
    }
}

/// A version that may not be known.
fn version(found: &Option<u64>) -> String {
    found.map_or_else(|| "another".to_owned(), |found| found.to_string())
}

/// A manager.
#[derive(Debug, Clone)]
pub struct DockerSwarm {
    docker: Docker,
    raw: raw::Address,
    /// The manager's own node; absent where it said none.
    own: Option<NodeId>,
}

impl DockerSwarm {
    /// Connects and agrees on an API version.
    ///
    /// # Errors
    /// When the address is wrong or the manager does not answer.
    pub async fn connect(host: &str) -> Result<Self, SwarmError> {
        let raw = raw::Address::parse(host).ok_or_else(|| SwarmError::Address { found: host.to_owned() })?;
        let connected = match &raw {
            raw::Address::Unix(_) => Docker::connect_with_unix(host, DOCKER_TIMEOUT_S, bollard::API_DEFAULT_VERSION),
            raw::Address::Tcp(_) => Docker::connect_with_http(host, DOCKER_TIMEOUT_S, bollard::API_DEFAULT_VERSION),
        };
        let docker = connected.map_err(failed("connecting to the manager"))?;
        let docker = within(docker.negotiate_version()).await.map_err(failed("asking the manager for its version"))?;
        let info = within(docker.info()).await.map_err(failed("asking the manager who it is"))?;
        let own = info.swarm.and_then(|swarm| swarm.node_id?.parse().ok());
        Ok(Self { docker, raw, own })
    }

    /// The whole Swarm, as of `now`, which is taken before anything is read: it is never newer than it says. Its own times
    /// are by the wall clock, which is `wall_ahead` of ours. Without what people paused the rest is worth as much.
    ///
    /// # Errors
    /// When the manager does not answer, or is none.
    pub async fn read(
        &self,
        now: Timestamp,
        wall_ahead: ClockOffset,
    ) -> Result<(Swarm, Result<Pauses, SwarmError>), SwarmError> {
        let (services, tasks, nodes, pauses) = tokio::join!(
            within(self.docker.list_services(None::<ListServicesOptions>)),
            within(self.docker.list_tasks(None::<ListTasksOptions>)),
            within(self.docker.list_nodes(None::<ListNodesOptions>)),
            self.pauses(),
        );
        let services = services.map_err(failed("listing services (is this node a manager?)"))?;
        let tasks = tasks.map_err(failed("listing tasks"))?;
        let nodes = nodes.map_err(failed("listing nodes"))?;
        Ok((read::swarm(now, wall_ahead, self.own.as_ref(), services, tasks, nodes), pauses))
    }

    /// The tasks of one service.
    ///
    /// # Errors
    /// When the manager does not answer.
    pub async fn tasks(&self, service: &ServiceId) -> Result<Vec<(TaskId, Task)>, SwarmError> {
        let filters = HashMap::from([("service".to_owned(), vec![service.to_string()])]);
        let options = ListTasksOptionsBuilder::new().filters(&filters).build();
        let tasks =
            within(self.docker.list_tasks(Some(options))).await.map_err(failed("listing the service's tasks"))?;
        Ok(tasks.into_iter().filter_map(read::task).map(|(_, id, task)| (id, task)).collect())
    }

    /// Whether the manager would give a node tasks, as far as it is heard.
    ///
    /// # Errors
    /// When the manager does not answer, or knows of no such node.
    pub async fn is_ready(&self, node: &NodeId) -> Result<bool, SwarmError> {
        let found = self.raw.get(&self.path(&format!("/nodes/{node}"))).await;
        found.map(|found| found["Status"]["State"] == "ready").map_err(|error| unanswered("inspecting a node", error))
    }

    /// Begins an action: see [`spec::begin`].
    ///
    /// # Errors
    /// [`SwarmError::Version`] when the service changed since; nothing is changed then.
    pub async fn begin(&self, action: &Action, mark: &mut Mark) -> Result<(), SwarmError> {
        let service = &action.trigger().service;
        let update = spec::begin(self.get(service).await?, action, mark)?;
        self.update(service, update).await
    }

    /// Ends an action: see [`spec::end`].
    ///
    /// # Errors
    /// [`SwarmError::Superseded`] when another mark or none is there; else as [`spec::end`] says.
    pub async fn end(&self, service: &ServiceId, id: &str, end: End) -> Result<(), SwarmError> {
        let update = spec::end(self.get(service).await?, id, end)?;
        self.update(service, update).await
    }

    /// Keeps a migration's tasks off `nodes` and no others: see [`spec::back_out`].
    ///
    /// # Errors
    /// [`SwarmError::Superseded`] when another mark or none is there; else as [`spec::end`] says.
    pub async fn back_out(
        &self,
        service: &ServiceId,
        id: &str,
        nodes: &[NodeId],
        remade: u32,
    ) -> Result<(), SwarmError> {
        match spec::back_out(self.get(service).await?, id, nodes, remade)? {
            Some(update) => self.update(service, update).await,
            None => Ok(()),
        }
    }

    /// The mark of an action on a service, if there is one.
    ///
    /// # Errors
    /// [`SwarmError::Unreadable`] when there is one that this version cannot read; else when the service is gone or the
    /// manager does not answer.
    pub async fn mark(&self, service: &ServiceId) -> Result<Option<Mark>, SwarmError> {
        Ok(self.marked(service).await?.map(|marked| marked.mark))
    }

    /// The same, and whether somebody else has changed the service since.
    ///
    /// # Errors
    /// As for [`DockerSwarm::mark`].
    pub async fn marked(&self, service: &ServiceId) -> Result<Option<Marked>, SwarmError> {
        spec::marked(&self.get(service).await?)
    }

    async fn get(&self, service: &ServiceId) -> Result<Value, SwarmError> {
        let found = self.raw.get(&self.path(&format!("/services/{service}"))).await;
        found.map_err(|error| unanswered("inspecting the service", error))
    }

    async fn update(&self, service: &ServiceId, (version, spec): Update) -> Result<(), SwarmError> {
        // `registryAuthFrom=spec`: the credentials stay those the user gave.
        let path = self.path(&format!("/services/{service}/update?version={version}&registryAuthFrom=spec"));
        match self.raw.post(&path, &spec).await {
            Err(RawError::Refused { message, .. }) if message.contains("update out of sequence") => {
                Err(SwarmError::Version { planned: version, found: None })
            }
            done => done.map_err(|error| unanswered(UPDATING, error)),
        }
    }

    fn path(&self, path: &str) -> String {
        let version = self.docker.client_version();
        format!("/v{}.{}{path}", version.major_version, version.minor_version)
    }
}

fn unanswered(what: &'static str, error: RawError) -> SwarmError {
    match error {
        RawError::Refused { status: 404, .. } => SwarmError::Gone,
        source @ (RawError::Io(_)
        | RawError::Http(_)
        | RawError::Request(_)
        | RawError::Body(_)
        | RawError::Timeout
        | RawError::Json(_)
        | RawError::Refused { .. }) => SwarmError::Raw { what, source },
    }
}

/// bollard limits the time to an answer's head only; its body may stall as well.
async fn within<T>(answer: impl Future<Output = Result<T, DockerError>>) -> Result<T, DockerError> {
    let limit = Duration::from_secs(DOCKER_TIMEOUT_S);
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(DockerError::RequestTimeoutError))
}

fn failed(what: &'static str) -> impl Fn(DockerError) -> SwarmError {
    move |source| SwarmError::Docker { what, source }
}
