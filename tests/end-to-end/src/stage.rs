//! SwarmGuard on a lab: a collector beside each manager, an agent on each node, and a database.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use swarmguard_collector::journal::{ActionRecord, State};
use swarmguard_lab::servers::{INFLUXDB_DATABASE, Server, influxdb};
use swarmguard_lab::{Lab, Place, Process};

use crate::app::Deployed;
use crate::binaries::Binaries;
use crate::http::{get_json, post_json};
use crate::results::Database;
use crate::site::{Addresses, Site};

/// The port of the collectors, on their nodes.
pub const COLLECTOR_PORT: u16 = 5000;

/// The speed that the agents take the lab's virtual links for, in Mbit/s: the requirement's network.
pub const LINK_MBPS: &str = "100";

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Waits until `look` finds something, looking every 50 ms.
///
/// # Errors
/// When it does not within `limit`: says what was waited for, and the last error.
pub async fn wait_for<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        let error = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if begun.elapsed() > limit {
            let waited = format!("waited {} s for {what}", limit.as_secs());
            return Err(match error {
                Some(error) => error.context(waited),
                None => anyhow::anyhow!(waited),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// SwarmGuard's processes and what they write to.
#[derive(Debug)]
pub struct Stage {
    /// The Swarm.
    pub lab: Lab,
    /// The programs.
    pub binaries: Binaries,
    /// InfluxDB, in the hub.
    pub database: Server,
    /// The collector, beside the manager on node 1.
    pub collector: Process,
    /// Those beside the other managers, if there are any.
    pub others: Vec<Process>,
    /// The agents, one for each node.
    pub agents: Vec<Process>,
    policy: Vec<String>,
}

impl Stage {
    /// Starts everything and waits until each agent has reported. `policy` are flags of the collector.
    ///
    /// # Errors
    /// When something does not start, with the end of its log.
    pub async fn set(lab: Lab, binaries: Binaries, policy: &[&str]) -> Result<Self> {
        let database = influxdb(&lab).await.context("starting InfluxDB")?;
        let policy: Vec<String> = policy.iter().map(|flag| (*flag).to_owned()).collect();
        let collector = start_collector(&lab, &binaries, &database, &policy, 1)?;
        let others = 2..=lab.options().managers;
        let others = others.map(|index| start_collector(&lab, &binaries, &database, &policy, index));
        let others = others.collect::<Result<_>>()?;
        let mut agents = Vec::new();
        for node in lab.nodes() {
            agents.push(start_agent(&lab, &binaries, &influx_url(&database), node.index())?);
        }
        let stage = Self { lab, binaries, database, collector, others, agents, policy };
        stage.wait_ready().await?;
        Ok(stage)
    }

    /// Waits until the collector has the Swarm's state and a report of each node.
    ///
    /// # Errors
    /// When it does not get them.
    pub async fn wait_ready(&self) -> Result<()> {
        let nodes = self.lab.nodes().len() as u64;
        let ready = wait_for("the collector and a report of each agent", READY_WITHIN, || async {
            let health = self.get("/healthz").await?;
            let fresh = self.get("/api/v1/nodes").await?;
            let fresh = fresh.as_array().context("nodes are no list")?;
            let reporting =
                fresh.iter().filter(|node| node["agent"]["age_seconds"].as_f64().is_some_and(|age| age < 10.0));
            Ok((reporting.count() as u64 == nodes && health["status"] == "ok").then_some(()))
        });
        ready.await.with_context(|| self.logs())
    }

    /// Stops the collector if it runs, and starts it anew; `policy` replaces its flags if given.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart_collector(&mut self, policy: Option<&[&str]>) -> Result<()> {
        if let Some(policy) = policy {
            self.policy = policy.iter().map(|flag| (*flag).to_owned()).collect();
        }
        self.collector.terminate().await?;
        self.collector = start_collector(&self.lab, &self.binaries, &self.database, &self.policy, 1)?;
        self.wait_ready().await
    }

    /// Starts the collector beside the manager on node `index` after it was ended.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_collector(&mut self, index: u32) -> Result<()> {
        let started = start_collector(&self.lab, &self.binaries, &self.database, &self.policy, index)?;
        match self.others.get_mut((index as usize).wrapping_sub(2)) {
            Some(other) => *other = started,
            None => self.collector = started,
        }
        Ok(())
    }

    /// The collector beside the manager on node `index`.
    pub fn collector_of(&self, index: u32) -> &Process {
        self.others.get((index as usize).wrapping_sub(2)).unwrap_or(&self.collector)
    }

    /// The collector's address.
    pub fn collector_url(&self) -> String {
        self.collector_url_of(1)
    }

    /// The address of the one beside the manager on node `index`.
    pub fn collector_url_of(&self, index: u32) -> String {
        let node = self.lab.nodes().iter().find(|node| node.index() == index);
        collector_url(node.unwrap_or(&self.lab.nodes()[0]))
    }

    /// Asks the collector.
    ///
    /// # Errors
    /// When it does not answer with JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        get_json(&format!("{}{path}", self.collector_url())).await
    }

    /// Posts JSON to the collector.
    ///
    /// # Errors
    /// When it does not answer with 200 and JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        post_json(&format!("{}{path}", self.collector_url()), body).await
    }

    /// Actions on a service, oldest first.
    ///
    /// # Errors
    /// When the collector does not answer.
    pub async fn actions(&self, service: &str) -> Result<Vec<ActionRecord>> {
        let all: Vec<ActionRecord> = serde_json::from_value(self.get("/api/v1/actions").await?)?;
        Ok(all.into_iter().filter(|action| action.service_name == service).collect())
    }

    /// What the collector knows of a service.
    ///
    /// # Errors
    /// When it does not answer or does not know it.
    pub async fn service(&self, name: &str) -> Result<Value> {
        let services = self.get("/api/v1/services").await?;
        let found = services.as_array().and_then(|all| all.iter().find(|service| service["name"] == name)).cloned();
        found.with_context(|| format!("the collector knows no service {name}"))
    }

    /// Waits for the action on a service after `known` others to end.
    ///
    /// # Errors
    /// When there is none within `limit`, or it did not complete.
    pub async fn wait_for_action(&self, service: &str, known: usize, limit: Duration) -> Result<ActionRecord> {
        let what = format!("an action on {service}");
        let ended = wait_for(&what, limit, || async {
            let action = self.actions(service).await?.into_iter().nth(known);
            Ok(action.filter(|action| action.state != State::Running))
        });
        let action = match ended.await {
            Ok(action) => action,
            Err(error) => {
                let last = self.service(service).await.map(|service| format!("{service:#}")).unwrap_or_default();
                return Err(error.context(format!("{last}\n{}", self.logs())));
            }
        };
        if action.state != State::Completed {
            bail!("the action ended as {:?}: {:?}\n{}", action.state, action.detail, self.logs());
        }
        Ok(action)
    }

    /// What a trial has to know of this Swarm and of an app on it.
    ///
    /// # Errors
    /// When the collector does not know the app's service.
    pub async fn site(&self, app: &Deployed) -> Result<Site> {
        let addresses = Addresses {
            docker_host: format!("unix://{}", self.lab.node(1)?.socket().display()),
            collector: self.collector_url(),
            target: app.balancer.url(),
            service: app.app.name.clone(),
        };
        Site::open(addresses, Some(Database::parse(&influx_url(&self.database), None)?)).await
    }

    /// The end of the log of the collector beside the manager on node `index`.
    pub fn log_of(&self, index: u32) -> String {
        tail(self.collector_of(index))
    }

    /// The ends of all logs, for a person who has to find out what went wrong.
    pub fn logs(&self) -> String {
        let processes = std::iter::once(&self.collector).chain(&self.others).chain(&self.agents);
        processes.map(|process| format!("--- {}\n{}\n", process.name(), tail(process))).collect()
    }
}

fn tail(process: &Process) -> String {
    let text = std::fs::read_to_string(process.log_path()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Where points go in the lab's InfluxDB.
pub fn influx_url(database: &Server) -> String {
    format!("{}/write?db={INFLUXDB_DATABASE}", database.url())
}

fn collector_url(node: &swarmguard_lab::Node) -> String {
    format!("http://{}:{COLLECTOR_PORT}", node.address())
}

fn start_collector(
    lab: &Lab,
    binaries: &Binaries,
    database: &Server,
    policy: &[String],
    index: u32,
) -> Result<Process> {
    let manager = lab.node(index)?;
    let mut args = vec![
        format!("--listen=0.0.0.0:{COLLECTOR_PORT}"),
        format!("--docker-host=unix://{}", manager.socket().display()),
        format!("--influx-url={}", influx_url(database)),
    ];
    args.extend(policy.iter().cloned());
    if !policy.iter().any(|flag| flag.starts_with("--journal")) {
        // Each test begins anew.
        args.push("--journal=none".to_owned());
    }
    let name = if index == 1 { "collector".to_owned() } else { format!("collector-{index}") };
    lab.spawn(Place::Node(index), &name, &binaries.collector, args, [("NO_COLOR", "1")])
        .with_context(|| format!("starting the collector on node {index}"))
}

/// Starts the agent of one node.
///
/// # Errors
/// When it does not start.
pub fn start_agent(lab: &Lab, binaries: &Binaries, influx_url: &str, index: u32) -> Result<Process> {
    let node = lab.node(index)?;
    let managers = lab.nodes().iter().take(lab.options().managers as usize);
    let args = [
        format!("--collector={}", managers.map(collector_url).collect::<Vec<_>>().join(",")),
        format!("--docker-host=unix://{}", node.socket().display()),
        format!("--influx-url={influx_url}"),
        "--flush-interval=2s".to_owned(),
        "--iface=eth0".to_owned(),
        format!("--link-mbps={LINK_MBPS}"),
    ];
    lab.spawn(Place::Node(index), &format!("agent-{index}"), &binaries.agent, args, [("NO_COLOR", "1")])
        .with_context(|| format!("starting the agent of node {index}"))
}
