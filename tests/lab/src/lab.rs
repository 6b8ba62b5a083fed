//! The lab itself: up, open, down, and its nodes.

use std::ffi::OsStr;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bollard::Docker;
use serde::{Deserialize, Serialize};

use crate::command::program;
use crate::name::{NODES_MAX, Name};
use crate::process::Process;
use crate::spawn::{self, Place, Start, Surroundings, os_strings};
use crate::state::{self, Lock, Saved};
use crate::{clean, dockerd, network, owned, swarm};

/// How long the first manager may take to list the nodes.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Told what is being done, one line at a time.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What to bring up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Which of the labs.
    pub name: Name,
    /// How many nodes, 1 to [`NODES_MAX`].
    pub nodes: u32,
    /// How many of them are managers, 1 to `nodes`; they are the first ones.
    pub managers: u32,
}

impl Options {
    /// One manager.
    #[must_use]
    pub fn new(name: Name, nodes: u32) -> Self {
        Self { name, nodes, managers: 1 }
    }

    fn check(&self) -> Result<()> {
        ensure!((1..=NODES_MAX).contains(&self.nodes), "a lab has 1 to {NODES_MAX} nodes, not {}", self.nodes);
        ensure!(
            (1..=self.nodes).contains(&self.managers),
            "{} nodes can have 1 to {} managers, not {}",
            self.nodes,
            self.nodes,
            self.managers
        );
        Ok(())
    }
}

/// A Swarm on this machine that is up.
///
/// Dropping it changes nothing; [`Lab::down`] ends it.
#[derive(Debug)]
pub struct Lab {
    options: Options,
    nodes: Vec<Node>,
    hub: Hub,
}

impl Lab {
    /// Brings a lab up: network, dockerds, Swarm. Remains of an earlier one are removed first.
    ///
    /// # Errors
    /// When one of that name is up already; when programs, root or the network are missing; when something does not
    /// become ready in time. What was made until then stays, for its logs, until the next `up` or [`Lab::clean`].
    pub async fn up(options: Options, progress: Progress<'_>) -> Result<Self> {
        options.check()?;
        check_machine()?;
        let _lock = Lock::take(options.name)?;
        let lab = Self::from_options(options);
        if let Some(existing) = Self::open(options.name)
            && existing.is_healthy().await
        {
            bail!("the lab {} is up already; to end it: cargo xtask lab down --name {}", options.name, options.name);
        }
        clean::remove_all(options.name, progress).await.context("remove the remains of an earlier lab")?;
        lab.bring_up(progress).await?;
        Ok(lab)
    }

    async fn bring_up(&self, progress: Progress<'_>) -> Result<()> {
        let options = self.options;
        state::create_folders(&options)?;
        state::save(&Saved { options, complete: false })?;
        progress(&format!("connecting {} nodes in {}", options.nodes, options.name.subnet()));
        network::create(&options)?;
        progress("starting their dockerds");
        let daemons = self.nodes.iter().map(|node| dockerd::start(options.name, node)).collect::<Result<Vec<_>>>()?;
        for (node, daemon) in self.nodes.iter().zip(&daemons) {
            dockerd::wait_ready(node, daemon).await?;
        }
        progress("joining them to a Swarm");
        swarm::create(&self.nodes, options.managers).await?;
        state::save(&Saved { options, complete: true })
    }

    /// The lab of that name, if it was brought up to the end and not taken down since.
    #[must_use]
    pub fn open(name: Name) -> Option<Self> {
        let saved = state::load(name)?;
        // Files outlive a restart of the machine; namespaces do not.
        let is_there = owned::netns_path(&name.hub_netns()).exists();
        (is_there && saved.complete && saved.options.name == name && saved.options.check().is_ok())
            .then(|| Self::from_options(saved.options))
    }

    /// Takes the lab down and leaves nothing behind.
    ///
    /// # Errors
    /// When something cannot be removed; calling it again goes on where it stopped.
    pub async fn down(self, progress: Progress<'_>) -> Result<()> {
        Self::clean_with(self.name(), progress).await
    }

    /// Removes whatever there is of a lab of that name, whole or in pieces; nothing to remove is fine.
    ///
    /// # Errors
    /// As [`Lab::down`].
    pub async fn clean(name: Name) -> Result<()> {
        Self::clean_with(name, &|_| ()).await
    }

    async fn clean_with(name: Name, progress: Progress<'_>) -> Result<()> {
        check_root()?;
        let lock = Lock::take(name)?;
        clean::remove_all(name, progress).await?;
        lock.release_and_delete();
        Ok(())
    }

    fn from_options(options: Options) -> Self {
        let name = options.name;
        let nodes = (1..=options.nodes).map(|index| Node::new(name, index)).collect();
        Self { options, nodes, hub: Hub { netns: name.hub_netns(), address: name.hub_address() } }
    }

    /// Every dockerd answers and the Swarm sees every node ready.
    pub async fn is_healthy(&self) -> bool {
        for node in &self.nodes {
            if !dockerd::is_answering(node).await {
                return false;
            }
        }
        let ready = tokio::time::timeout(HEALTH_TIMEOUT, swarm::ready_count(&self.nodes)).await;
        ready.is_ok_and(|ready| ready.is_ok_and(|ready| ready == self.nodes.len()))
    }

    /// Runs a program inside the lab, in a session of its own. Its environment is `PATH`, `HOME` and what is given.
    ///
    /// Its output is appended to `logs/<name>.log` in the state folder. It runs until it is ended or the lab goes down,
    /// whatever becomes of the caller.
    ///
    /// # Errors
    /// When the program does not exist or cannot be started. That it fails later shows in its log.
    pub fn spawn<A, K, V>(
        &self,
        place: Place,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Process>
    where
        A: AsRef<OsStr>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        if let Place::Node(index) = place {
            self.node(index)?;
        }
        let env = env.into_iter().map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().to_owned())).collect();
        let args = os_strings(args);
        spawn::start(self.name(), Start { place, surroundings: Surroundings::Plain, name, program, args, env })
    }

    /// The running process of that name, whoever started it; a node's Docker is `dockerd-node1` and so on.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<Process> {
        let mut found = state::records(self.name()).into_iter().filter(|record| record.name == name).map(Process::new);
        found.find(Process::is_running)
    }

    /// Starts a node's dockerd again after it was ended, and waits until it answers. Containers that outlived the old one
    /// are ended first, as by a restart of the machine.
    ///
    /// # Errors
    /// When it runs already or does not become ready in time.
    pub async fn start_dockerd(&self, index: u32) -> Result<Process> {
        let node = self.node(index)?;
        if let Some(running) = self.process(&dockerd::process_name(index)) {
            bail!("dockerd of {} is running already, as process {}; end it first", node.hostname, running.pid());
        }
        clean::kill_containers(self.name(), index).await?;
        let daemon = dockerd::start(self.name(), node)?;
        dockerd::wait_ready(node, &daemon).await?;
        Ok(daemon)
    }

    /// Pulls a node's network cable: it keeps running and reaches nobody.
    ///
    /// # Errors
    /// When there is no such node or `ip` fails.
    pub fn unplug(&self, index: u32) -> Result<()> {
        self.node(index)?;
        network::set_cable(self.name(), index, false)
    }

    /// Puts the cable back in.
    ///
    /// # Errors
    /// As [`Lab::unplug`].
    pub fn plug(&self, index: u32) -> Result<()> {
        self.node(index)?;
        network::set_cable(self.name(), index, true)
    }

    /// Node `index`, counted from 1.
    ///
    /// # Errors
    /// When the lab has fewer nodes.
    pub fn node(&self, index: u32) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.index == index)
            .with_context(|| format!("the lab {} has nodes 1 to {}, not {index}", self.name(), self.nodes.len()))
    }

    /// All nodes, managers first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The namespace with the bridge, where the servers run.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Which lab this is.
    #[must_use]
    pub fn name(&self) -> Name {
        self.options.name
    }

    /// What it was brought up with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Folder of everything the lab keeps on disk; deleted by [`Lab::down`].
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.name().state_dir()
    }
}

impl fmt::Display for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lab {} with {} nodes in {}", self.name(), self.nodes.len(), self.name().subnet())
    }
}

/// One machine of the Swarm, as far as Docker can tell.
#[derive(Debug, Clone)]
pub struct Node {
    index: u32,
    hostname: String,
    address: Ipv4Addr,
    socket: PathBuf,
    netns: String,
    cgroup_parent: String,
}

impl Node {
    fn new(name: Name, index: u32) -> Self {
        let hostname = format!("node{index}");
        Self {
            index,
            address: name.node_address(index),
            socket: name.state_dir().join(&hostname).join("docker.sock"),
            netns: name.node_netns(index),
            cgroup_parent: name.cgroup_parent(index),
            hostname,
        }
    }

    /// Counted from 1.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// `node1` and so on: what Docker shows.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Its address in the lab's network, reachable from this machine too.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its Docker's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its network namespace, as `ip netns` lists it.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// The cgroup above all its containers, with a leading slash, relative to each hierarchy's root.
    #[must_use]
    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// A client of its Docker that speaks the daemon's version of the API.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn docker(&self) -> Result<Docker> {
        let docker = dockerd::connect(self)?;
        docker.negotiate_version().await.with_context(|| format!("ask dockerd of {} for its version", self.hostname))
    }
}

/// The namespace with the bridge, where the servers run.
#[derive(Debug, Clone)]
pub struct Hub {
    netns: String,
    address: Ipv4Addr,
}

impl Hub {
    /// Its network namespace, as `ip netns` lists it.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Its address, reachable from all nodes and from this machine.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

fn check_root() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a lab needs root: it makes network namespaces and runs dockerd");
    Ok(())
}

fn check_machine() -> Result<()> {
    check_root()?;
    for name in ["dockerd", "containerd", "ip", "iptables", "nsenter", "unshare", "setsid"] {
        program(name)?;
    }
    Ok(())
}
