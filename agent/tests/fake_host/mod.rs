//! A host of files that a test can change.

use std::path::{Path, PathBuf};

use swarmguard_agent::cgroup::hierarchy::Hierarchies;
use swarmguard_agent::discovery::{Change, Container, plain};
use swarmguard_agent::host::Host;
use swarmguard_agent::node::Facts;
use swarmguard_agent::sample::Sampler;

/// A host of files, with `containers` cgroups v2 below `shop`.
pub(crate) struct FakeHost(PathBuf);

impl FakeHost {
    pub(crate) fn new(name: &str, containers: usize) -> Self {
        let root = std::env::temp_dir().join(format!("swarmguard-{name}-{}", std::process::id()));
        let host = Self(root);
        host.write("proc/stat", "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n");
        host.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n");
        host.write("proc/self/net/dev", "  eth0: 200 2 0 0 0 0 0 0 300 3 0 0 0 0 0 0\n");
        for number in 0..containers {
            host.usage(number, 0);
            for (file, text) in [
                ("cpu.max", "50000 100000\n"),
                ("memory.max", "100000000\n"),
                ("memory.events", "low 0\noom 0\noom_kill 0\n"),
                ("memory.stat", "anon 1\ninactive_file 4096\n"),
                ("cpu.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n"),
                ("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"),
                ("io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"),
            ] {
                host.write(&format!("sys/fs/cgroup/shop/c{number}/{file}"), text);
            }
        }
        host
    }

    /// What changes: as the kernel does, in place.
    pub(crate) fn usage(&self, container: usize, tick: u64) {
        let cpu = format!("usage_usec {}\nnr_periods {tick}\nnr_throttled 0\n", 1_000_000 + tick * 1_000);
        self.write(&format!("sys/fs/cgroup/shop/c{container}/cpu.stat"), &cpu);
        let memory = format!("{}\n", 50_000_000 + tick * 100_000);
        self.write(&format!("sys/fs/cgroup/shop/c{container}/memory.current"), &memory);
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// A sampler that has found all containers.
    pub(crate) fn sampler(&self) -> Sampler {
        let hierarchies = self.hierarchies();
        let found = self.containers();
        let facts = Facts { cores: 4, memory_bytes: Some(1 << 30), interface: None, link_mbps: Some(100.0) };
        let mut sampler = Sampler::new(Host::new(&self.0), "self", hierarchies, facts, None);
        found.into_iter().for_each(|container| sampler.apply(Change::Started(container)));
        sampler
    }

    /// The containers that are found, in the order of their identifiers.
    pub(crate) fn containers(&self) -> Vec<Container> {
        plain::scan(&plain::mounts(&self.hierarchies()), Path::new("shop")).into_values().collect()
    }

    fn hierarchies(&self) -> Hierarchies {
        let sys = self.0.join("sys");
        let mountinfo = format!("30 24 0:26 / {}/fs/cgroup rw - cgroup2 cgroup2 rw\n", sys.display());
        Hierarchies::parse(&mountinfo, &sys)
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
