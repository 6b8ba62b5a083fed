//! One tick: every container and the node, read and turned into samples.
//!
//! The sampler owns the kept files, the last counters and the samples, which are changed in place, so that a tick
//! allocates nothing. It decides nothing and sends nothing, and it reads no clock: the tick's time is given, so that two
//! samplers fed the same files agree.
//!
//! What is read at each tick is a container's CPU time, one system call, and its traffic, which is none; and its memory in
//! use, when that CPU time is enough to have changed what is to be done, or every few ticks. What changes slowly or is seldom wanted is read every thirty ticks, every ten of busy
//! containers, a part of them at each tick; and at once where it matters: see `tracked`.

mod tracked;

use std::time::{Duration, Instant};

use swarmguard_wire::{ContainerId, ContainerSample, NodeSample};

use crate::cgroup::hierarchy::{Hierarchies, Membership};
use crate::cgroup::{Cgroup, Reader};
use crate::discovery::{Change, Container, Found};
use crate::host::Host;
use crate::kernel::programs::NetworkPrograms;
use crate::kernel::support::{self, MEMORY_HELP};
use crate::kernel::traffic::EnterError;
use crate::network::{Counters, Source};
use crate::node::{Facts, Node};
use tracked::{Slow, Told, Tracked, Turn};

/// Everything measured at one tick.
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    /// The tick's number since the agent started.
    pub number: u64,
    /// The node, if it was asked for.
    pub node: Option<&'a NodeSample>,
    /// The containers, in the order of their identifiers.
    pub containers: &'a [ContainerSample],
    /// What only the database wants of each of them.
    pub extras: &'a [Extra],
}

/// Of a container, what only the database wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extra {
    /// Traffic since the container started, or since the agent did, whichever was later.
    pub network: Option<Counters>,
    /// Whether throttling was read at this tick.
    pub throttling_is_fresh: bool,
    /// Whether pressure and kills for lack of memory were.
    pub slow_is_fresh: bool,
    /// Whether there were more kills than before.
    pub was_killed: bool,
}

/// What a tick is to include.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// The node too.
    pub node: bool,
    /// A container whose memory in use is above this percentage has its page cache looked at.
    pub memory_percent: f32,
}

/// What is the matter with many containers alike is said of the first one.
#[derive(Debug, Default)]
struct ToldOnce {
    foreign: bool,
    no_memory: bool,
    full: bool,
    uncounted: bool,
}

/// Reads the node and all known containers.
#[derive(Debug)]
pub struct Sampler {
    host: Host,
    hierarchies: Hierarchies,
    facts: Facts,
    node: Node,
    node_sample: NodeSample,
    node_read_at: Option<Instant>,
    programs: Option<NetworkPrograms>,
    /// Sorted by identifier; `samples` and `extras` are in the same order.
    tracked: Vec<Tracked>,
    samples: Vec<ContainerSample>,
    extras: Vec<Extra>,
    ticks: u64,
    reader: Reader,
    told: ToldOnce,
}

impl Sampler {
    /// Opens the node's files. `namespace` is the process of `/proc` in whose network namespace the node's interface is;
    /// without `programs`, traffic is read from `/proc`.
    pub fn new(
        host: Host,
        namespace: &str,
        hierarchies: Hierarchies,
        facts: Facts,
        programs: Option<NetworkPrograms>,
    ) -> Self {
        if hierarchies.is_empty() {
            tracing::warn!(sys = %host.sys().display(), "no cgroup hierarchy is mounted here: containers have no CPU and memory");
        }
        let mut node = Node::open(&host, namespace);
        let mut reader = Reader::default();
        let node_sample = node.sample(&facts, Duration::ZERO, &mut reader);
        Self {
            host,
            hierarchies,
            facts,
            node,
            node_sample,
            node_read_at: None,
            programs,
            tracked: Vec::new(),
            samples: Vec::new(),
            extras: Vec::new(),
            ticks: 0,
            reader,
            told: ToldOnce::default(),
        }
    }

    /// Takes notice of containers that came, went or changed.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Present(containers) => {
                let gone = |tracked: &Tracked| {
                    let is_dockers = matches!(tracked.container.found, Found::Process(_));
                    is_dockers && !containers.iter().any(|container| container.id == tracked.container.id)
                };
                (0..self.tracked.len())
                    .rev()
                    .filter(|index| gone(&self.tracked[*index]))
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|index| self.remove(index));
                containers.into_iter().for_each(|container| self.track(container));
            }
            Change::Started(container) => self.track(container),
            Change::Ended(id) => {
                if let Ok(index) = self.place(id) {
                    self.remove(index);
                }
            }
            Change::LimitsChanged(id) => {
                if let Ok(index) = self.place(id) {
                    let tracked = &mut self.tracked[index];
                    tracked.limits = tracked.cgroup.limits();
                }
            }
            // Who the node is matters to the messages, not to the sampler.
            Change::Identity(_) => {}
        }
    }

    fn place(&self, id: ContainerId) -> Result<usize, usize> {
        self.tracked.binary_search_by_key(&id, |tracked| tracked.container.id)
    }

    fn remove(&mut self, index: usize) {
        let tracked = self.tracked.remove(index);
        self.samples.remove(index);
        self.extras.remove(index);
        if let (Source::Ebpf(place), Some(programs)) = (tracked.network, &mut self.programs) {
            programs.traffic.leave(place);
        }
    }

    fn track(&mut self, container: Container) {
        if let Ok(index) = self.place(container.id) {
            if self.tracked[index].container.found == container.found {
                return;
            }
            self.remove(index);
        }
        let Some(membership) = self.membership(&container) else { return };
        if membership.is_foreign() && !std::mem::replace(&mut self.told.foreign, true) {
            tracing::warn!(
                container = %container.id.short(),
                "its cgroup is outside this agent's cgroup namespace: run the agent's container with --cgroupns=host"
            );
        }
        let cgroup = Cgroup::open(&self.hierarchies, &membership);
        if !cgroup.tells_memory() && !std::mem::replace(&mut self.told.no_memory, true) {
            match support::counts_memory(&self.hierarchies) {
                true => tracing::warn!(container = %container.id.short(), "its memory files cannot be opened"),
                false => {
                    tracing::warn!(help = MEMORY_HELP, "the kernel does not count memory by container: it is absent")
                }
            }
        }
        // What is known by its path and is a container of Docker's too is measured once, as Docker's.
        if let Some(twin) = self.twin(&cgroup) {
            match (&container.found, &self.tracked[twin].container.found) {
                (Found::Cgroup(..), _) => return,
                (Found::Process(_), Found::Cgroup(..)) => self.remove(twin),
                (Found::Process(_), Found::Process(_)) => {}
            }
        }
        let network = self.network(&container, &cgroup, &membership);
        let limits = cgroup.limits();
        let Err(index) = self.place(container.id) else { return };
        // A kill is one that is not in the first count.
        let oom_kills = cgroup.oom_kills(&mut self.reader);
        self.samples.insert(index, ContainerSample { oom_kills, ..unmeasured(&container) });
        self.extras.insert(index, Extra::default());
        self.tracked
            .insert(index, Tracked { container, cgroup, limits, network, before: None, slow: Slow::new(oom_kills) });
    }

    /// Who is in the same cgroup already.
    fn twin(&self, cgroup: &Cgroup) -> Option<usize> {
        let place = cgroup.place()?;
        self.tracked.iter().position(|tracked| tracked.cgroup.place() == Some(place))
    }

    /// Where a container's process or path is; nothing for one that is gone already: its end was or will be told too.
    fn membership(&self, container: &Container) -> Option<Membership> {
        match &container.found {
            Found::Process(pid) => {
                let text = std::fs::read_to_string(self.host.proc(&format!("{pid}/cgroup"))).ok()?;
                Some(Membership::parse(&text))
            }
            Found::Cgroup(path, _) => Some(Membership::everywhere(&self.hierarchies, path)),
        }
    }

    fn network(&mut self, container: &Container, cgroup: &Cgroup, membership: &Membership) -> Source {
        let of_namespace = || match &container.found {
            Found::Process(pid) if !container.host_network => {
                Source::proc_net_dev(&self.host.proc(&format!("{pid}/net/dev")))
            }
            Found::Process(_) | Found::Cgroup(..) => Source::Absent,
        };
        let (Some(programs), Some(id), Some(level)) = (&mut self.programs, cgroup.id(), membership.v2_level()) else {
            return of_namespace();
        };
        let entered = match membership.has_own_v2() {
            true => programs.traffic.enter(id, level),
            false => Err(EnterError::Shared),
        };
        match entered {
            Ok(place) => Source::Ebpf(place),
            Err(error) => {
                let told = if error == EnterError::Full { &mut self.told.full } else { &mut self.told.uncounted };
                if !std::mem::replace(told, true) {
                    tracing::warn!(container = %container.id.short(), %error, "traffic is read from /proc, where it can be");
                }
                of_namespace()
            }
        }
    }

    /// Samples everything once. What needs an earlier reading is absent at a container's first tick; a container whose
    /// cgroup is gone is forgotten.
    pub fn tick(&mut self, now: Instant, wanted: Wanted) -> Tick<'_> {
        self.ticks += 1;
        let mut index = 0;
        while index < self.tracked.len() {
            let turn = Turn { now, wanted, number: self.ticks, facts: &self.facts, programs: self.programs.as_ref() };
            let tracked = &mut self.tracked[index];
            let told = tracked.sample(&turn, &mut self.samples[index], &mut self.extras[index], &mut self.reader);
            match told {
                Told::Something => index += 1,
                Told::Gone => self.remove(index),
            }
        }
        if wanted.node {
            let elapsed = self.node_read_at.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
            self.node_read_at = Some(now);
            self.node_sample = self.node.sample(&self.facts, elapsed, &mut self.reader);
            self.node_sample.network_uncounted = self.uncounted();
        }
        self.last(wanted.node)
    }

    /// Containers that the programs, if there are any, do not count.
    fn uncounted(&self) -> u32 {
        let is_uncounted = |tracked: &&Tracked| !matches!(tracked.network, Source::Ebpf(_));
        let count = self.programs.as_ref().map_or(0, |_| self.tracked.iter().filter(is_uncounted).count());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The number of the next tick.
    pub fn next_number(&self) -> u64 {
        self.ticks + 1
    }

    /// The last tick again, with the node or without.
    pub fn last(&self, node: bool) -> Tick<'_> {
        Tick {
            number: self.ticks,
            node: node.then_some(&self.node_sample),
            containers: &self.samples,
            extras: &self.extras,
        }
    }

    /// Reads every container's count of kills for lack of memory now, and tells those that have more than before.
    pub fn look_for_kills(&mut self) -> impl Iterator<Item = &ContainerSample> {
        let Self { tracked, samples, reader, .. } = self;
        tracked.iter_mut().zip(samples).filter_map(|(tracked, sample)| {
            let now = tracked.cgroup.oom_kills(reader);
            sample.oom_kills = now.or(sample.oom_kills);
            tracked.slow.is_more_kills(now).then_some(&*sample)
        })
    }

    /// Containers known, and the programs that count their traffic.
    pub fn state(&self) -> (usize, Option<&NetworkPrograms>) {
        (self.tracked.len(), self.programs.as_ref())
    }
}

fn unmeasured(container: &Container) -> ContainerSample {
    ContainerSample {
        id: container.id,
        service: container.service.clone(),
        task: container.task.clone(),
        name: container.service.is_none().then(|| container.name.clone()),
        has_healthcheck: Some(container.has_healthcheck),
        cpu_percent: None,
        cpu_limit_percent: None,
        memory_mb: None,
        memory_percent: None,
        network: None,
        throttled_percent: None,
        oom_kills: None,
        tcp_retransmit_percent: None,
        cpu_pressure_percent: None,
        memory_pressure_percent: None,
        io_pressure_percent: None,
    }
}
