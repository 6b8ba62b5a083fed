//! web-stress as a Swarm service behind a load balancer: the app to be rescued.
//!
//! Its port is published on the nodes themselves (`mode=host`), so that a real balancer with health checks stands in
//! front, and a node holds at most one of its tasks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bollard::models::ServiceSpec;
use serde_json::{Value, json};
use swarmguard_http::Request;
use swarmguard_lab::servers::{Balancer, Haproxy, haproxy};
use swarmguard_lab::{ImageFile, Lab, load_image};

use crate::binaries::Binaries;
use crate::http::{ask, get_json_from_socket, post_to_socket};
use crate::site::running;
use crate::stage::wait_for;

/// The image's name on every node.
pub const IMAGE: &str = "web-stress:lab";

const DOCKERFILE: &str = include_str!("../../web-stress/Dockerfile");
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// What is to be deployed.
#[derive(Debug, Clone)]
pub struct App {
    /// The service's name.
    pub name: String,
    /// Its port on the nodes; the balancer's is the same plus 1000.
    pub port: u16,
    /// Replicas at the start.
    pub replicas: u64,
    /// Whether SwarmGuard may act on it.
    pub enabled: bool,
    /// More labels of the service.
    pub labels: Vec<(String, String)>,
    /// Where its tasks may run, as `--constraint` takes it.
    pub constraints: Vec<String>,
    /// CPU limit, in thousandths of a core.
    pub millicpus: u64,
    /// Memory limit, in MiB.
    pub memory_mb: u64,
    /// `UpdateConfig`, as the API takes it.
    pub update_config: Option<Value>,
    /// `ContainerSpec.HealthCheck` in place of the image's.
    pub health_check: Option<Value>,
}

impl App {
    /// Two enabled replicas that may each use 0.3 of a core and 96 MiB.
    pub fn new(name: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            port,
            replicas: 2,
            enabled: true,
            labels: Vec::new(),
            constraints: Vec::new(),
            millicpus: 300,
            memory_mb: 96,
            update_config: None,
            health_check: None,
        }
    }

    fn spec(&self) -> Result<ServiceSpec> {
        let mut labels = if self.enabled { json!({ "swarmguard.enable": "true" }) } else { json!({}) };
        for (label, value) in &self.labels {
            labels[label] = json!(value);
        }
        let mut spec = json!({
            "Name": self.name,
            "Labels": labels,
            "Mode": { "Replicated": { "Replicas": self.replicas } },
            "TaskTemplate": {
                "ContainerSpec": { "Image": IMAGE },
                "Placement": {},
                "Resources": { "Limits": {
                    "NanoCPUs": self.millicpus * 1_000_000,
                    "MemoryBytes": self.memory_mb << 20,
                } },
            },
            "EndpointSpec": {
                "Mode": "dnsrr",
                "Ports": [{ "Protocol": "tcp", "TargetPort": 8080, "PublishedPort": self.port, "PublishMode": "host" }],
            },
        });
        if !self.constraints.is_empty() {
            spec["TaskTemplate"]["Placement"] = json!({ "Constraints": self.constraints });
        }
        if let Some(config) = &self.update_config {
            spec["UpdateConfig"] = config.clone();
        }
        if let Some(check) = &self.health_check {
            spec["TaskTemplate"]["ContainerSpec"]["HealthCheck"] = check.clone();
        }
        serde_json::from_value(spec).context("building the service's spec")
    }
}

/// Puts the image on every node.
///
/// # Errors
/// When it cannot be built or copied.
pub async fn install(lab: &Lab, binaries: &Binaries) -> Result<()> {
    let program = ImageFile::program("web-stress", Path::new(&binaries.web_stress))?;
    load_image(lab, IMAGE, DOCKERFILE, &[program]).await
}

/// All tasks of a service, as the manager behind this socket tells them in its own JSON.
///
/// # Errors
/// When it does not answer, or there is no such service.
pub async fn tasks_of(socket: &Path, service: &str) -> Result<Vec<Value>> {
    // {"service":["NAME"]}, as a URL has it.
    let path = format!("/tasks?filters=%7B%22service%22%3A%5B%22{service}%22%5D%7D");
    let tasks = get_json_from_socket(socket, &path).await?;
    tasks.as_array().cloned().context("tasks are no list")
}

/// A deployed app.
#[derive(Debug)]
pub struct Deployed {
    /// What was asked for.
    pub app: App,
    /// The balancer in front of it.
    pub balancer: Haproxy,
}

/// A running task: its node's index in the lab and its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Index of the node, from 1.
    pub node: u32,
    /// Docker's identifier of the container.
    pub container: String,
}

impl Deployed {
    /// Creates the service and its balancer and waits until all replicas serve.
    ///
    /// # Errors
    /// When they do not.
    pub async fn deploy(lab: &Lab, app: App) -> Result<Self> {
        let docker = lab.node(1)?.docker().await?;
        docker.create_service(app.spec()?, None).await.with_context(|| format!("creating service {}", app.name))?;
        let balancer = haproxy(lab, Balancer::new(&app.name, app.port + 1000, app.port)).await?;
        let deployed = Self { app, balancer };
        deployed.wait_for_replicas(lab, deployed.app.replicas as usize).await?;
        Ok(deployed)
    }

    /// Waits until so many replicas run and the balancer takes them for healthy.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn wait_for_replicas(&self, lab: &Lab, replicas: usize) -> Result<()> {
        let what = format!("{replicas} replicas of {}", self.app.name);
        wait_for(&what, STARTED_WITHIN, || async {
            let running = self.running(lab).await?.len();
            let healthy = self.balancer.counters().await?.iter().filter(|server| server.up).count();
            Ok((running == replicas && healthy == replicas).then_some(()))
        })
        .await
    }

    /// Removes the service and waits until its containers are gone.
    ///
    /// # Errors
    /// When that does not work.
    pub async fn remove(self, lab: &Lab) -> Result<()> {
        self.balancer.stop().await?;
        self.delete(lab).await?;
        for node in lab.nodes() {
            let docker = node.docker().await?;
            let filter = [("label".to_owned(), vec![format!("com.docker.swarm.service.name={}", self.app.name)])];
            let filter = filter.into_iter().collect();
            wait_for("the service's containers to go", STARTED_WITHIN, || async {
                let options = bollard::query_parameters::ListContainersOptionsBuilder::new().filters(&filter).build();
                Ok(docker.list_containers(Some(options)).await?.is_empty().then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Tasks that run and are meant to, by task identifier.
    ///
    /// # Errors
    /// When the manager does not answer.
    pub async fn running(&self, lab: &Lab) -> Result<BTreeMap<String, Running>> {
        let mut names = BTreeMap::new();
        for node in lab.nodes() {
            let info = node.docker().await?.info().await?;
            names.insert(info.swarm.and_then(|swarm| swarm.node_id).unwrap_or_default(), node.index());
        }
        let running = running(&lab.node(1)?.docker().await?, &self.app.name).await?.into_iter().filter_map(|replica| {
            let node = names.get(&replica.node).copied()?;
            Some((replica.task, Running { node, container: replica.container }))
        });
        Ok(running.collect())
    }

    /// The service's spec as the manager's own JSON: a typed model may drop what it does not know.
    ///
    /// # Errors
    /// When the manager does not answer.
    pub async fn spec(&self, lab: &Lab) -> Result<Value> {
        let service = get_json_from_socket(lab.node(1)?.socket(), &format!("/services/{}", self.app.name)).await?;
        Ok(service["Spec"].clone())
    }

    /// All its tasks, as the manager's own JSON.
    ///
    /// # Errors
    /// When the manager does not answer.
    pub async fn tasks(&self, lab: &Lab) -> Result<Vec<Value>> {
        tasks_of(lab.node(1)?.socket(), &self.app.name).await
    }

    /// Kills a container, as a crash would.
    ///
    /// # Errors
    /// When its node's Docker refuses.
    pub async fn kill(&self, lab: &Lab, place: &Running) -> Result<()> {
        post_to_socket(lab.node(place.node)?.socket(), &format!("/containers/{}/kill", place.container), &Value::Null)
            .await
    }

    /// Updates the service as its owner would who has a new version of it: every task is replaced.
    ///
    /// # Errors
    /// When the manager refuses.
    pub async fn deploy_again(&self, lab: &Lab, version: &str) -> Result<()> {
        let mut spec = self.spec(lab).await?;
        spec["TaskTemplate"]["ContainerSpec"]["Env"] = json!([format!("VERSION={version}")]);
        self.replace_spec(lab, &spec).await
    }

    /// Gives the service this spec, as `docker stack deploy` would.
    ///
    /// # Errors
    /// When the manager refuses.
    pub async fn replace_spec(&self, lab: &Lab, spec: &Value) -> Result<()> {
        self.update(lab, "", spec).await
    }

    /// `docker service rollback`.
    ///
    /// # Errors
    /// When the manager refuses.
    pub async fn roll_back(&self, lab: &Lab) -> Result<()> {
        let spec = self.spec(lab).await?;
        self.update(lab, "&rollback=previous", &spec).await
    }

    async fn update(&self, lab: &Lab, more: &str, spec: &Value) -> Result<()> {
        let socket = lab.node(1)?.socket();
        let service = get_json_from_socket(socket, &format!("/services/{}", self.app.name)).await?;
        let index = &service["Version"]["Index"];
        post_to_socket(socket, &format!("/services/{}/update?version={index}{more}", self.app.name), spec).await
    }

    /// `docker service rm`.
    ///
    /// # Errors
    /// When the manager refuses.
    pub async fn delete(&self, lab: &Lab) -> Result<()> {
        let docker = lab.node(1)?.docker().await?;
        docker.delete_service(&self.app.name).await.with_context(|| format!("removing service {}", self.app.name))
    }

    /// Asks the app on one node for something, past the balancer.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn ask(&self, lab: &Lab, node: u32, path: &str) -> Result<()> {
        let url = format!("http://{}:{}{path}", lab.node(node)?.address(), self.app.port);
        let response = ask(&url, |path| Request::get(path)).await?;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        anyhow::ensure!(response.status == 200, "{url} answered {}: {text}", response.status);
        Ok(())
    }
}
