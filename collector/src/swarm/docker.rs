//! A manager's API: Swarm's state as facts, and versioned updates of one service.
//!
//! The only place, with its two parts, that knows bollard: [`read`] turns Docker's models into facts, [`spec`] makes
//! the changes to a service's spec. Every update carries the version it rests on; Swarm refuses a stale one, which is
//! the fence between two collectors and between a collector and a person.

mod read;
mod spec;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::models::ServiceSpec;
use bollard::query_parameters::{
    InspectServiceOptions, ListNodesOptions, ListServicesOptions, ListTasksOptions, ListTasksOptionsBuilder,
    UpdateServiceOptionsBuilder,
};
use swarmguard_planner::facts::{Swarm, Task};
use swarmguard_planner::plan::Action;
use swarmguard_wire::{NodeId, ServiceId, TaskId, Timestamp};

use super::mark::{LABEL, Mark};

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
    /// The service is not there any more.
    #[error("the service is gone")]
    Gone,
    /// The service changed since the facts were read.
    #[error("the service changed in the meantime: version {planned} was planned on, {found} is there")]
    Version {
        /// The version planned on.
        planned: u64,
        /// The version found.
        found: u64,
    },
    /// The mark of the action is not there any more: someone else changed the service.
    #[error("someone else changed the service: the action's mark is gone")]
    Superseded,
    /// A mark that this version cannot read.
    #[error(
        "its label {LABEL} cannot be read by this version: look at the constraints it names, then remove the label with \
         docker service update --label-rm {LABEL}"
    )]
    Unreadable,
    /// The spec has no shape this version knows.
    #[error("the service's spec cannot be changed: {why}")]
    Spec {
        /// What is missing.
        why: &'static str,
    },
}

/// A manager.
#[derive(Debug, Clone)]
pub struct DockerSwarm {
    docker: Docker,
}

impl DockerSwarm {
    /// Connects and agrees on an API version.
    ///
    /// # Errors
    /// When the address is wrong or the manager does not answer.
    pub async fn connect(host: &str) -> Result<Self, SwarmError> {
        let connected = if host.starts_with("unix://") {
            Docker::connect_with_unix(host, DOCKER_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
        } else if host.starts_with("tcp://") || host.starts_with("http://") {
            Docker::connect_with_http(host, DOCKER_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
        } else {
            return Err(SwarmError::Address { found: host.to_owned() });
        };
        let docker = connected.map_err(failed("connecting to the manager"))?;
        let docker = within(docker.negotiate_version()).await.map_err(failed("asking the manager for its version"))?;
        Ok(Self { docker })
    }

    /// The whole Swarm, as of `now`, which is taken before anything is read: it is never newer than it says.
    ///
    /// # Errors
    /// When the manager does not answer, or is none.
    pub async fn read(&self, now: Timestamp) -> Result<Swarm, SwarmError> {
        let (services, tasks, nodes) = tokio::join!(
            within(self.docker.list_services(None::<ListServicesOptions>)),
            within(self.docker.list_tasks(None::<ListTasksOptions>)),
            within(self.docker.list_nodes(None::<ListNodesOptions>)),
        );
        let services = services.map_err(failed("listing services (is this node a manager?)"))?;
        let tasks = tasks.map_err(failed("listing tasks"))?;
        let nodes = nodes.map_err(failed("listing nodes"))?;
        Ok(read::swarm(now, services, tasks, nodes))
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

    /// Begins an action: one update that changes the spec and adds the mark, on exactly the version planned on.
    ///
    /// # Errors
    /// [`SwarmError::Version`] when the service changed since; nothing is changed then.
    pub async fn begin(&self, action: &Action, mark: &mut Mark) -> Result<(), SwarmError> {
        let trigger = action.trigger();
        let (found, mut service_spec) = self.inspect(&trigger.service).await?;
        if found != trigger.version {
            return Err(SwarmError::Version { planned: trigger.version, found });
        }
        mark.original = spec::original(&service_spec)?;
        spec::apply(&mut service_spec, mark)?;
        self.update(&trigger.service, found, service_spec).await
    }

    /// Ends an action: puts back what the user's spec had and takes the mark away. `revert` also takes back a replica
    /// that was added.
    ///
    /// # Errors
    /// [`SwarmError::Superseded`] when another mark or none is there.
    pub async fn end(&self, service: &ServiceId, id: &str, revert: bool) -> Result<(), SwarmError> {
        let (version, mut service_spec) = self.inspect(service).await?;
        let mark = spec::mark(&service_spec).filter(|mark| mark.id == id).ok_or(SwarmError::Superseded)?;
        spec::undo(&mut service_spec, &mark, revert)?;
        self.update(service, version, service_spec).await
    }

    /// Has Swarm replace what a migration began on `nodes` by what was there before; the mark stays.
    ///
    /// # Errors
    /// [`SwarmError::Superseded`] when another mark or none is there.
    pub async fn back_out(&self, service: &ServiceId, id: &str, nodes: &[NodeId]) -> Result<(), SwarmError> {
        let (version, mut service_spec) = self.inspect(service).await?;
        let mut mark = spec::mark(&service_spec).filter(|mark| mark.id == id).ok_or(SwarmError::Superseded)?;
        spec::back_out(&mut service_spec, &mut mark, nodes)?;
        self.update(service, version, service_spec).await
    }

    /// The mark of an action on a service, if there is one.
    ///
    /// # Errors
    /// [`SwarmError::Unreadable`] when there is one that this version cannot read; else when the service is gone or the
    /// manager does not answer.
    pub async fn mark(&self, service: &ServiceId) -> Result<Option<Mark>, SwarmError> {
        let (_, service_spec) = self.inspect(service).await?;
        match spec::mark(&service_spec) {
            None if is_marked(service_spec.labels.as_ref()) => Err(SwarmError::Unreadable),
            mark => Ok(mark),
        }
    }

    async fn inspect(&self, service: &ServiceId) -> Result<(u64, ServiceSpec), SwarmError> {
        let found = within(self.docker.inspect_service(service.as_str(), None::<InspectServiceOptions>)).await;
        let found = found.map_err(|error| match status(&error) {
            Some(404) => SwarmError::Gone,
            _ => SwarmError::Docker { what: "inspecting the service", source: error },
        })?;
        let version = found.version.and_then(|version| version.index);
        match (version, found.spec) {
            (Some(version), Some(spec)) => Ok((version, spec)),
            _ => Err(SwarmError::Spec { why: "the manager gave no version or no spec" }),
        }
    }

    async fn update(&self, service: &ServiceId, version: u64, spec: ServiceSpec) -> Result<(), SwarmError> {
        // bollard takes the version as `i32`, although Docker's is 64 bits wide: refuse what would be cut.
        let version_i32 = i32::try_from(version)
            .map_err(|_| SwarmError::Spec { why: "its version is beyond what the client can send" })?;
        let options = UpdateServiceOptionsBuilder::new().version(version_i32).build();
        match within(self.docker.update_service(service.as_str(), spec, options, None)).await {
            Ok(_) => Ok(()),
            Err(error) if is_out_of_sequence(&error) => {
                Err(SwarmError::Version { planned: version, found: version + 1 })
            }
            Err(error) if status(&error) == Some(404) => Err(SwarmError::Gone),
            Err(source) => Err(SwarmError::Docker { what: "updating the service", source }),
        }
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

fn status(error: &DockerError) -> Option<u16> {
    let DockerError::DockerResponseServerError { status_code, .. } = error else { return None };
    Some(*status_code)
}

fn is_out_of_sequence(error: &DockerError) -> bool {
    let DockerError::DockerResponseServerError { message, .. } = error else { return false };
    message.contains("update out of sequence")
}

/// Whether a service's labels carry a mark, readable or not.
fn is_marked(labels: Option<&HashMap<String, String>>) -> bool {
    labels.is_some_and(|labels| labels.contains_key(LABEL))
}
