//! A Swarm with SwarmGuard on it as a trial sees it: addresses only, be it the lab's or one of a user's own.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::{ServiceSpec, TaskState};
use bollard::query_parameters::ListTasksOptionsBuilder;
use serde_json::{Value, json};
use swarmguard_collector::journal::{ActionRecord, State};
use swarmguard_http::{Request, Url};

use crate::http::{ask, get_json, post_json};
use crate::results::Database;
use crate::stage::wait_for;

/// Docker's answers may take so long, in seconds.
const DOCKER_TIMEOUT_S: u64 = 20;

/// A pause ends by itself after so long, should the trial be interrupted.
const PAUSED_FOR: Duration = Duration::from_secs(180);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// A manager's Docker: `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub docker_host: String,
    /// The collector: `http://host:port`.
    pub collector: String,
    /// Where the service's users come in: `http://host:port`.
    pub target: String,
    /// The service's name.
    pub service: String,
}

/// The Swarm, the service that is tried, and where results go.
#[derive(Debug)]
pub struct Site {
    addresses: Addresses,
    target: SocketAddr,
    docker: Docker,
    /// The database, where there is one.
    pub database: Option<Database>,
}

/// A running task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    /// The task.
    pub task: String,
    /// Its node's identifier.
    pub node: String,
    /// Its container.
    pub container: String,
}

/// Connects to a manager.
///
/// # Errors
/// When the address is of no kind that is known, or nobody answers.
pub async fn manager(docker_host: &str) -> Result<Docker> {
    let connected = if docker_host.starts_with("unix://") {
        Docker::connect_with_unix(docker_host, DOCKER_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
    } else {
        Docker::connect_with_http(docker_host, DOCKER_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
    };
    let docker = connected.with_context(|| format!("connecting to {docker_host}"))?;
    docker.negotiate_version().await.with_context(|| format!("asking {docker_host} for its version"))
}

/// The address of `http://host:port`, whatever follows.
///
/// # Errors
/// When it is none, or the host is not known.
pub fn address_of(url: &str) -> Result<SocketAddr> {
    let parsed: Url = url.parse().with_context(|| format!("parsing {url}"))?;
    let authority = parsed.authority().to_owned();
    let with_port = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        authority
    } else {
        format!("{authority}:80")
    };
    let mut found = with_port.to_socket_addrs().with_context(|| format!("looking up {with_port}"))?;
    found.next().with_context(|| format!("{with_port} has no address"))
}

impl Site {
    /// Looks whether everybody is there: the manager, the collector, and the service, which has to be known to it.
    ///
    /// # Errors
    /// Says who is not, and what to do about it.
    pub async fn open(addresses: Addresses, database: Option<Database>) -> Result<Self> {
        let target = address_of(&addresses.target)?;
        let docker = manager(&addresses.docker_host).await?;
        let site = Self { addresses, target, docker, database };
        let known =
            wait_for("the collector to know the service", Duration::from_secs(5), || async { site.known().await });
        let known = known.await.with_context(|| {
            format!(
                "is {} deployed (drill deploy), and SwarmGuard's collector at {}?",
                site.service(),
                site.collector()
            )
        })?;
        ensure!(
            known["mode"] == "act",
            "{} is only observed: docker service update --label-add swarmguard.enable=true {}",
            site.service(),
            site.service()
        );
        Ok(site)
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.addresses.service
    }

    /// Where users come in.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    fn collector(&self) -> &str {
        self.addresses.collector.trim_end_matches('/')
    }

    async fn known(&self) -> Result<Option<Value>> {
        let services = get_json(&format!("{}/api/v1/services", self.collector())).await?;
        Ok(services.as_array().and_then(|all| all.iter().find(|found| found["name"] == *self.service())).cloned())
    }

    /// Actions on the service that have ended, oldest first.
    ///
    /// # Errors
    /// When the collector does not answer.
    pub async fn ended(&self) -> Result<Vec<ActionRecord>> {
        let all: Vec<ActionRecord> =
            serde_json::from_value(get_json(&format!("{}/api/v1/actions", self.collector())).await?)?;
        let ours = all.into_iter().filter(|action| action.service_name == self.service());
        Ok(ours.filter(|action| action.state != State::Running).collect())
    }

    /// Waits for the action after `known` others to end.
    ///
    /// # Errors
    /// When there is none within `limit`, with the last decision, or when it did not complete.
    pub async fn wait_for_action(&self, known: usize, limit: Duration) -> Result<ActionRecord> {
        let what = format!("an action on {}", self.service());
        let ended = wait_for(&what, limit, || async { Ok(self.ended().await?.into_iter().nth(known)) }).await;
        let action = match ended {
            Ok(action) => action,
            Err(error) => {
                let known = self.known().await.ok().flatten().unwrap_or_default();
                let last = known["last_decision_text"].as_str().unwrap_or("none");
                return Err(error.context(format!("the last decision: {last}")));
            }
        };
        ensure!(action.state == State::Completed, "the action ended as {:?}: {:?}", action.state, action.detail);
        Ok(action)
    }

    /// Has SwarmGuard leave the service alone, for a while at most.
    ///
    /// # Errors
    /// When the collector refuses.
    pub async fn pause(&self, reason: &str) -> Result<()> {
        let wish = json!({ "service": self.service(), "for_seconds": PAUSED_FOR.as_secs(), "reason": reason });
        post_json(&format!("{}/api/v1/pause", self.collector()), &wish).await.map(drop)
    }

    /// Takes that back.
    ///
    /// # Errors
    /// When the collector refuses.
    pub async fn resume(&self) -> Result<()> {
        let wish = json!({ "service": self.service() });
        post_json(&format!("{}/api/v1/resume", self.collector()), &wish).await.map(drop)
    }

    /// Tasks that run and are meant to.
    ///
    /// # Errors
    /// When the manager does not answer.
    pub async fn running(&self) -> Result<Vec<Replica>> {
        running(&self.docker, self.service()).await
    }

    /// Waits until so many replicas run.
    ///
    /// # Errors
    /// When they do not within `limit`.
    pub async fn wait_for_replicas(&self, replicas: usize, limit: Duration) -> Result<()> {
        let what = format!("{replicas} replicas of {}", self.service());
        wait_for(&what, limit, || async { Ok((self.running().await?.len() == replicas).then_some(())) }).await
    }

    /// Asks the service for something, as a user would.
    ///
    /// # Errors
    /// When it does not answer with 200.
    pub async fn ask(&self, path: &str) -> Result<()> {
        let url = format!("http://{}{path}", self.target);
        let answer = ask(&url, |path| Request::get(path)).await?;
        ensure!(answer.status == 200, "{url} answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(())
    }
}

/// Tasks of a service that run and are meant to, in the order of their identifiers.
///
/// # Errors
/// When the manager does not answer.
pub async fn running(docker: &Docker, service: &str) -> Result<Vec<Replica>> {
    let filters = [("service".to_owned(), vec![service.to_owned()])].into_iter().collect();
    let tasks = docker.list_tasks(Some(ListTasksOptionsBuilder::new().filters(&filters).build())).await?;
    let running = tasks.into_iter().filter_map(|task| {
        let status = task.status?;
        let runs = status.state == Some(TaskState::RUNNING) && task.desired_state == Some(TaskState::RUNNING);
        let container = status.container_status?.container_id?;
        runs.then_some(Replica { task: task.id?, node: task.node_id?, container })
    });
    let mut running: Vec<Replica> = running.collect();
    running.sort();
    Ok(running)
}

/// What of the app is to be deployed.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The service's name.
    pub service: String,
    /// An image that every node can pull, or has.
    pub image: String,
    /// Replicas.
    pub replicas: u64,
    /// The port that users come in at.
    pub port: u16,
    /// Whether at every node (the routing mesh), or only where a replica runs, which a balancer in front can do with.
    pub on_every_node: bool,
    /// An overlay network to join, if any.
    pub network: Option<String>,
    /// CPU limit, in thousandths of a core.
    pub millicpus: u64,
    /// Memory limit, in MiB.
    pub memory_mb: u64,
}

impl Deployment {
    fn spec(&self) -> Result<ServiceSpec> {
        let mode = if self.on_every_node { "ingress" } else { "host" };
        let networks: Vec<Value> = self.network.iter().map(|network| json!({ "Target": network })).collect();
        let spec = json!({
            "Name": self.service,
            "Labels": { "swarmguard.enable": "true" },
            "Mode": { "Replicated": { "Replicas": self.replicas } },
            "TaskTemplate": {
                "ContainerSpec": { "Image": self.image },
                "Placement": {},
                "Networks": networks,
                "Resources": { "Limits": {
                    "NanoCPUs": self.millicpus * 1_000_000,
                    "MemoryBytes": self.memory_mb << 20,
                } },
            },
            "EndpointSpec": { "Ports": [
                { "Protocol": "tcp", "TargetPort": 8080, "PublishedPort": self.port, "PublishMode": mode },
            ] },
        });
        serde_json::from_value(spec).context("building the service's spec")
    }

    /// Creates the service and waits until all replicas run.
    ///
    /// # Errors
    /// When they do not, with what Swarm says about the tasks.
    pub async fn create(&self, docker: &Docker, limit: Duration) -> Result<()> {
        let created = docker.create_service(self.spec()?, None).await;
        created.with_context(|| format!("creating service {}", self.service))?;
        let what = format!("{} replicas of {}", self.replicas, self.service);
        let up = wait_for(&what, limit, || async {
            Ok((running(docker, &self.service).await?.len() as u64 == self.replicas).then_some(()))
        });
        match up.await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(states(docker, &self.service).await?)),
        }
    }
}

/// The states of a service's tasks and Swarm's reasons, in one line.
async fn states(docker: &Docker, service: &str) -> Result<String> {
    let filters = [("service".to_owned(), vec![service.to_owned()])].into_iter().collect();
    let tasks = docker.list_tasks(Some(ListTasksOptionsBuilder::new().filters(&filters).build())).await?;
    let said = tasks.into_iter().filter_map(|task| {
        let status = task.status?;
        Some(format!("{:?}: {}", status.state?, status.err.or(status.message).unwrap_or_default()))
    });
    Ok(said.collect::<Vec<_>>().join("; "))
}

/// Removes a service and waits until its tasks are gone; whether there was one.
///
/// # Errors
/// When the manager does not answer, or tasks stay.
pub async fn remove(docker: &Docker, service: &str, limit: Duration) -> Result<bool> {
    let id = match docker.inspect_service(service, None).await {
        Ok(found) => found.id,
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("looking for service {service}")),
    };
    docker.delete_service(service).await.with_context(|| format!("removing service {service}"))?;
    // The manager forgets a task once its container is gone.
    wait_for("the service's tasks to go", limit, || async {
        let tasks = docker.list_tasks(None).await?;
        Ok((!tasks.iter().any(|task| task.service_id == id)).then_some(()))
    })
    .await?;
    Ok(true)
}
