//! A host whose files hold anything at all, and what must be true of what is made of them.
//!
//! Shared by the test that spoils files in a random and repeatable way, and by the fuzz target in `agent/fuzz`.

use std::path::Path;
use std::time::{Duration, Instant};

use swarmguard_agent::cgroup::hierarchy::{Hierarchies, Membership};
use swarmguard_agent::cgroup::parse;
use swarmguard_agent::discovery::{Change, Container, Found};
use swarmguard_agent::kernel::support::{Capabilities, Version};
use swarmguard_agent::sample::{Sampler, Tick, Wanted};
use swarmguard_wire::{ContainerId, ContainerSample, Name, Network, NodeSample};

use super::fake_host::FakeHost;

/// Every file that is read again and again.
pub(crate) const FILES: [&str; 13] = [
    "sys/fs/cgroup/shop/c0/cpu.stat",
    "sys/fs/cgroup/shop/c0/cpu.max",
    "sys/fs/cgroup/shop/c0/memory.current",
    "sys/fs/cgroup/shop/c0/memory.stat",
    "sys/fs/cgroup/shop/c0/memory.events",
    "sys/fs/cgroup/shop/c0/memory.max",
    "sys/fs/cgroup/shop/c0/cpu.pressure",
    "sys/fs/cgroup/shop/c0/memory.pressure",
    "sys/fs/cgroup/shop/c0/io.pressure",
    "proc/stat",
    "proc/meminfo",
    "proc/self/net/dev",
    "proc/7/net/dev",
];

/// Times between ticks: as short as can be asked for, as usual, and of a machine that slept for a night.
const STEPS: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(30_000)];

const CORES: f32 = 4.0;
/// What the kernel's counting in steps may add to CPU time within the shortest step, and what is spared besides.
const CPU_PERCENT_MAX: f32 = CORES * 110.0 + 20.0;
/// What the node may have been given since the start.
const MEMORY_MB: f32 = 16.0 * 1_024.0;
/// Ten times the fastest link there is.
const MBPS_MAX: f32 = 10e6;

pub(crate) struct Spoilt {
    files: FakeHost,
    /// What each of [`FILES`] holds as long as nothing spoils it.
    whole: Vec<Vec<u8>>,
    sampler: Sampler,
    now: Instant,
}

impl Spoilt {
    pub(crate) fn new(name: &str) -> Self {
        let files = FakeHost::new(name, 2);
        files.write("proc/7/net/dev", "  eth0: 200 2 0 0 0 0 0 0 300 3 0 0 0 0 0 0\n");
        files.write("proc/7/cgroup", "0::/shop/c1\n");
        let mut sampler = files.sampler();
        sampler.apply(Change::Started(Container {
            id: ContainerId::new([7; 32]),
            name: Name::new("c1"),
            service: None,
            task: None,
            has_healthcheck: false,
            found: Found::Process(7),
            host_network: false,
        }));
        let whole = FILES.iter().map(|file| std::fs::read(files.path(file)).unwrap()).collect();
        Self { files, whole, sampler, now: Instant::now() }
    }

    /// Whether every container has its main values.
    pub(crate) fn is_measured(&self) -> bool {
        let is_whole = |sample: &ContainerSample| sample.cpu_percent.is_some() && sample.memory_percent.is_some();
        self.sampler.last(false).containers.iter().all(is_whole)
    }

    /// For each file a story that tells it as it is.
    pub(crate) fn beginnings(&self) -> impl Iterator<Item = Vec<u8>> {
        (0..).zip(&self.whole).map(|(file, text)| [&[file, 1, u8::try_from(text.len()).unwrap()], &text[..]].concat())
    }

    /// Takes bytes for a story: a file, a time and a length, so many bytes that the file now holds, a tick, and so on.
    pub(crate) fn tell(&mut self, mut story: &[u8]) {
        while let [file, step, length, rest @ ..] = story {
            let (text, rest) = rest.split_at(rest.len().min(usize::from(*length)));
            story = rest;
            self.spoil(FILES[usize::from(*file) % FILES.len()], text, STEPS[usize::from(*step) % STEPS.len()]);
        }
    }

    /// One file holds `text`, `step` passes, and everything is read.
    fn spoil(&mut self, file: &str, text: &[u8], step: Duration) {
        self.files.write(file, text);
        understand(text);
        if file.ends_with(".max") {
            let ids: Vec<_> = self.sampler.last(false).containers.iter().map(|container| container.id).collect();
            ids.into_iter().for_each(|id| self.sampler.apply(Change::LimitsChanged(id)));
        }
        self.now += step;
        check(&self.sampler.tick(self.now, Wanted { node: true, memory_percent: 80.0 }));
    }
}

/// What is read once is a text like all others.
fn understand(text: &[u8]) {
    let lossy = String::from_utf8_lossy(text);
    let membership = Membership::parse(&lossy);
    let (_, _) = (membership.v2_level(), membership.is_foreign());
    let hierarchies = Hierarchies::parse(&lossy, Path::new("/sys"));
    let (_, _) = (hierarchies.v2_path(&membership), hierarchies.v1_path("memory", &membership));
    let (_, _) = (Version::parse(&lossy), Capabilities::parse(&lossy));
    let (_, _) = (parse::v1_memory_limit(text), parse::v1_cpu_limit(text, text));
}

/// No value is negative, infinite, or more than there can be.
fn check(tick: &Tick<'_>) {
    assert_eq!(tick.containers.len(), 2);
    tick.containers.iter().for_each(check_container);
    tick.node.into_iter().for_each(check_node);
}

fn check_container(sample: &ContainerSample) {
    for (value, most) in [
        (sample.cpu_percent, CPU_PERCENT_MAX),
        (sample.cpu_limit_percent, f32::MAX),
        (sample.memory_mb, MEMORY_MB),
        (sample.memory_percent, f32::MAX),
        (sample.throttled_percent, 100.0),
        (sample.cpu_pressure_percent, 100.0),
        (sample.memory_pressure_percent, 100.0),
        (sample.io_pressure_percent, 100.0),
    ] {
        assert!(value.is_none_or(|value| (0.0..=most).contains(&value)), "{value:?}, at most {most}: {sample:?}");
    }
    check_network(sample.network);
}

fn check_node(sample: &NodeSample) {
    for value in [sample.cpu_percent, sample.memory_percent] {
        assert!(value.is_none_or(|value| (0.0..=100.0).contains(&value)), "{sample:?}");
    }
    check_network(sample.network);
}

fn check_network(network: Option<Network>) {
    let is_sane = |mbps: f32| (0.0..=MBPS_MAX).contains(&mbps);
    assert!(network.is_none_or(|network| is_sane(network.rx_mbps) && is_sane(network.tx_mbps)), "{network:?}");
}
