//! Containers come and go for ever: real cgroups, and the real kernel programs where they are built.
//!
//! Needs root. `SWARMGUARD_CHURN` sets how many come and go (default 10,000).

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use swarmguard_agent::cgroup::hierarchy::Hierarchies;
use swarmguard_agent::discovery::{Change, plain};
use swarmguard_agent::host::Host;
use swarmguard_agent::kernel::programs;
use swarmguard_agent::kernel::traffic::EnterError;
use swarmguard_agent::node::Facts;
use swarmguard_agent::sample::{Sampler, Wanted};
use swarmguard_agent_ebpf_common::{CONTAINERS_MAX, LEVELS_MAX};

/// As many at once.
const AT_ONCE: usize = 50;

/// Cgroups of this test, gone when it is dropped.
struct Cgroups {
    mounts: Vec<PathBuf>,
    parent: String,
}

impl Cgroups {
    fn new(hierarchies: &Hierarchies) -> Self {
        let wanted = ["cpuacct", "memory", "unified", "cgroup"];
        let is_wanted = |mount: &PathBuf| wanted.iter().any(|name| mount.ends_with(name));
        let mounts = plain::mounts(hierarchies).into_iter().filter(is_wanted).collect();
        Self { mounts, parent: format!("swarmguard-churn-{}", std::process::id()) }
    }

    fn make(&self, name: &str) {
        for mount in &self.mounts {
            std::fs::create_dir_all(mount.join(&self.parent).join(name)).unwrap();
        }
    }

    fn remove(&self, name: &str) {
        for mount in &self.mounts {
            std::fs::remove_dir(mount.join(&self.parent).join(name)).unwrap();
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for parent in self.mounts.iter().map(|mount| mount.join(&self.parent)) {
            for child in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(child.path());
            }
            let _ = std::fs::remove_dir(&parent);
        }
    }
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// Descriptors and memory are the whole process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn after_many_containers_everything_is_where_it_was() {
    let _alone = ONE_AT_A_TIME.lock();
    assert!(rustix::process::geteuid().is_root(), "this test makes cgroups: run it as root, as cargo xtask test does");
    let containers = std::env::var("SWARMGUARD_CHURN").map_or(10_000, |count| count.parse::<usize>().unwrap());
    let host = Host::new(Path::new("/"));
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let hierarchies = Hierarchies::parse(&mountinfo, host.sys());
    let cgroups = Cgroups::new(&hierarchies);
    let mounts = plain::mounts(&hierarchies);
    let root = hierarchies.v2_mount().map(Path::to_owned).unwrap();
    let programs = programs::are_built().then(|| programs::attach_network(&root).unwrap());
    let has_programs = programs.is_some();
    let facts = Facts::read(&host, "self", None, Some(100.0));
    let cores = facts.cores;
    let mut sampler = Sampler::new(host, "self", hierarchies, facts, programs);
    let mut begun = None;
    for (round, first) in (0..containers).step_by(AT_ONCE).enumerate() {
        let names: Vec<String> = (first..first + AT_ONCE).map(|number| format!("c{number}")).collect();
        names.iter().for_each(|name| cgroups.make(name));
        let found = plain::scan(&mounts, Path::new(&cgroups.parent));
        assert_eq!(found.len(), AT_ONCE);
        found.values().for_each(|container| sampler.apply(Change::Started(container.clone())));
        for _ in 0..3 {
            let tick = sampler.tick(Instant::now(), Wanted { node: true, memory_percent: 80.0 });
            assert_eq!(tick.containers.len(), AT_ONCE);
            for sample in tick.containers {
                let percent = sample.cpu_percent.unwrap_or(0.0);
                assert!((0.0..=f32::from(cores) * 110.0 + 2_000.0).contains(&percent), "{sample:?}");
                assert!(sample.network.is_none_or(|network| network.rx_mbps >= 0.0), "{sample:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let entered =
            sampler.state().1.map(|programs| (programs.traffic.entered(), programs.traffic.entries_in_kernel()));
        assert_eq!(entered, has_programs.then_some((AT_ONCE, AT_ONCE)));
        names.iter().for_each(|name| cgroups.remove(name));
        // Half of them are told of, half are noticed.
        found.keys().take(AT_ONCE / 2).for_each(|id| sampler.apply(Change::Ended(*id)));
        sampler.tick(Instant::now(), Wanted { node: false, memory_percent: 80.0 });
        let (known, programs) = sampler.state();
        let left = programs.map_or(0, |programs| programs.traffic.entries_in_kernel());
        assert_eq!((known, left), (0, 0), "round {round}");
        // The first tenth makes the buffers, and finds how scattered the heap gets.
        if round == containers / AT_ONCE / 10 {
            begun = Some((open_files(), resident_kib()));
        }
    }
    let (files, kib) = begun.unwrap();
    println!("{containers} came and went: {files} files and {kib} KiB, then {} and {}", open_files(), resident_kib());
    assert_eq!(open_files(), files);
    assert!(resident_kib() <= kib + 128, "{kib} KiB, then {}", resident_kib());
}

#[test]
fn a_container_without_a_place_among_the_counters_is_told_why() {
    let _alone = ONE_AT_A_TIME.lock();
    assert!(programs::are_built(), "this test needs the kernel programs: cargo xtask test builds them");
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = Hierarchies::parse(&mountinfo, Path::new("/sys")).v2_mount().map(Path::to_owned).unwrap();
    let mut programs = programs::attach_network(&root).unwrap();
    let traffic = &mut programs.traffic;
    // No cgroup has such an identifier.
    let cgroup = |number: u32| u64::MAX - u64::from(number);
    assert_eq!(traffic.enter(cgroup(0), 0), Err(EnterError::Root));
    assert_eq!(traffic.enter(cgroup(0), LEVELS_MAX), Err(EnterError::Deep { level: LEVELS_MAX }));
    let mut places: Vec<_> = (0..CONTAINERS_MAX).map(|number| traffic.enter(cgroup(number), 2).unwrap()).collect();
    assert_eq!(traffic.enter(cgroup(CONTAINERS_MAX), 2), Err(EnterError::Full));
    assert_eq!(traffic.entered(), CONTAINERS_MAX as usize);
    // All counters are mapped, up to the last.
    assert!(places.iter().all(|place| traffic.read(place, true).rx_bytes == 0));
    traffic.leave(places.remove(0));
    places.push(traffic.enter(cgroup(CONTAINERS_MAX), 2).unwrap());
    places.into_iter().for_each(|place| traffic.leave(place));
    assert_eq!((traffic.entered(), traffic.entries_in_kernel()), (0, 0));
}
