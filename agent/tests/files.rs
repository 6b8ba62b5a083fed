//! What becomes of the kernel's files: which are read at which tick, and what is made of those that cannot be understood.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fake_host;

use std::time::{Duration, Instant};

use fake_host::FakeHost;
use swarmguard_agent::discovery::{Change, Container, Found};
use swarmguard_agent::sample::{Sampler, Wanted};
use swarmguard_wire::{ContainerId, ContainerSample, NodeSample};

/// Slow files are read within so many ticks.
const SLOW_TICKS: u64 = 30;

const CPU_STAT: &str = "sys/fs/cgroup/shop/c0/cpu.stat";
const MEMORY_CURRENT: &str = "sys/fs/cgroup/shop/c0/memory.current";

/// What a file that is there may hold instead of what it should: nothing, a part, words, a sign, more than any counter
/// can have, more than any such file is long, and what is no text.
const NONSENSE: [&str; 7] =
    ["", "12", "max min\nmore\n", "-5\n", "99999999999999999999999\n", LONG, "\u{0}\u{7f}\u{ff}\n"];
const LONG: &str = match std::str::from_utf8(&[b'7'; 10_000]) {
    Ok(text) => text,
    Err(_) => "",
};

struct Watched {
    files: FakeHost,
    sampler: Sampler,
    now: Instant,
    ticks: u64,
}

impl Watched {
    fn new(files: FakeHost) -> Self {
        let sampler = files.sampler();
        Self { files, sampler, now: Instant::now(), ticks: 0 }
    }

    /// A tick without anything having happened.
    fn tick(&mut self) -> (ContainerSample, NodeSample) {
        self.now += Duration::from_secs(1);
        self.ticks += 1;
        let tick = self.sampler.tick(self.now, Wanted { node: true, memory_percent: 80.0 });
        (tick.containers[0].clone(), tick.node.unwrap().clone())
    }

    /// Ticks of a node and a container that run, until each file has had its turn; the last one's samples.
    fn run(&mut self, spoilt: Option<(&str, &str)>) -> (ContainerSample, NodeSample) {
        for _ in 0..SLOW_TICKS {
            self.files.usage(0, self.ticks);
            self.files.write("proc/stat", format!("cpu  {0} 0 0 {0} 0 0 0 0 0 0\n", self.ticks));
            if let Some((file, text)) = spoilt {
                self.files.write(file, text);
            }
            self.tick();
        }
        let tick = self.sampler.last(true);
        (tick.containers[0].clone(), tick.node.unwrap().clone())
    }
}

type Pick = fn(&ContainerSample, &NodeSample) -> Option<f32>;

/// Each file, and what comes of it.
const FILES: [(&str, Pick); 10] = [
    (CPU_STAT, |container, _| container.cpu_percent),
    (MEMORY_CURRENT, |container, _| container.memory_mb),
    ("sys/fs/cgroup/shop/c0/memory.stat", |container, _| container.memory_mb),
    ("sys/fs/cgroup/shop/c0/memory.events", |container, _| container.oom_kills.map(|kills| kills as f32)),
    ("sys/fs/cgroup/shop/c0/cpu.pressure", |container, _| container.cpu_pressure_percent),
    ("sys/fs/cgroup/shop/c0/memory.pressure", |container, _| container.memory_pressure_percent),
    ("sys/fs/cgroup/shop/c0/io.pressure", |container, _| container.io_pressure_percent),
    ("proc/stat", |_, node| node.cpu_percent),
    ("proc/meminfo", |_, node| node.memory_percent),
    ("proc/self/net/dev", |_, node| node.network.map(|network| network.rx_mbps)),
];

#[test]
fn a_file_that_makes_no_sense_gives_an_absent_value_and_is_counted_until_it_does_again() {
    let mut watched = Watched::new(FakeHost::new("nonsense", 1));
    let (_, mut before) = watched.run(None);
    for (file, pick) in FILES {
        let good = std::fs::read_to_string(watched.files.path(file)).unwrap();
        for nonsense in NONSENSE {
            let (container, spoilt) = watched.run(Some((file, nonsense)));
            assert_eq!(pick(&container, &spoilt), None, "{file} with {nonsense:.20?}");
            assert!(spoilt.readings_failed > before.readings_failed, "{file} with {nonsense:.20?} is not counted");
            let absent = FILES.iter().filter(|(_, pick)| pick(&container, &spoilt).is_none()).count();
            assert_eq!(absent, if file.ends_with("memory.current") || file.ends_with("memory.stat") { 2 } else { 1 });

            watched.files.write(file, &good);
            let (container, after) = watched.run(None);
            assert!(pick(&container, &after).is_some(), "{file} is not believed again");
            assert_eq!(after.readings_failed, spoilt.readings_failed, "{file} is still counted");
            before = after;
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_absent_and_no_failure() {
    let files = FakeHost::new("absent", 1);
    FILES[1..7].iter().for_each(|(file, _)| std::fs::remove_file(files.path(file)).unwrap());
    let mut watched = Watched::new(files);
    for tick in 0..2 * SLOW_TICKS {
        watched.files.write(CPU_STAT, format!("usage_usec {}\n", 1_000 * tick));
        let (container, node) = watched.tick();
        assert!(FILES[1..7].iter().all(|(_, pick)| pick(&container, &node).is_none()), "{container:?}");
        assert_eq!((container.cpu_percent.is_some(), node.readings_failed), (tick > 0, 0));
    }
}

#[test]
fn a_file_that_opens_and_cannot_be_read_is_absent_and_counted() {
    // As with a cgroup that goes between the two: a directory can be opened as a file and cannot be read as one.
    let files = FakeHost::new("unreadable", 1);
    std::fs::remove_file(files.path(MEMORY_CURRENT)).unwrap();
    std::fs::create_dir(files.path(MEMORY_CURRENT)).unwrap();
    let (container, node) = Watched::new(files).tick();
    assert_eq!((container.memory_mb, container.memory_percent), (None, None));
    assert!(node.readings_failed > 0);
}

#[test]
fn a_container_of_which_nothing_can_be_understood_is_not_gone() {
    let files = FakeHost::new("misunderstood", 1);
    std::fs::remove_file(files.path(MEMORY_CURRENT)).unwrap();
    let mut watched = Watched::new(files);
    watched.run(None);
    watched.files.write(CPU_STAT, "usage_usec lots\n");
    assert_eq!(watched.tick().0.cpu_percent, None);
    watched.run(None);
    assert!(watched.tick().0.cpu_percent.is_some());
}

#[test]
fn limits_that_make_no_sense_are_unknown_and_not_unlimited() {
    for nonsense in NONSENSE {
        let files = FakeHost::new("limits", 1);
        files.write("sys/fs/cgroup/shop/c0/cpu.max", nonsense);
        files.write("sys/fs/cgroup/shop/c0/memory.max", nonsense);
        let (container, _) = Watched::new(files).run(None);
        assert!(container.cpu_percent.is_some() && container.memory_mb.is_some());
        assert_eq!((container.cpu_limit_percent, container.memory_percent), (None, None), "{nonsense:.20?}");
    }
}

#[test]
fn memory_of_a_container_that_does_not_run_is_read_in_turn_only() {
    let mut watched = Watched::new(FakeHost::new("idle", 1));
    let (before, _) = watched.run(None);
    watched.files.write(MEMORY_CURRENT, "60000000\n");
    let ticks: Vec<bool> = (0..SLOW_TICKS).map(|_| watched.tick().0.memory_mb != before.memory_mb).collect();
    assert!(!ticks[0] && ticks.contains(&true), "{ticks:?}");
}

#[test]
fn page_cache_of_memory_that_does_not_move_is_read_at_every_fourth_turn_only() {
    let mut watched = Watched::new(FakeHost::new("cache", 1));
    watched.files.write(MEMORY_CURRENT, "20000000\n");
    let mut ticks_until = |droppable: u64, megabytes: f32| {
        watched.files.write("sys/fs/cgroup/shop/c0/memory.stat", format!("inactive_file {droppable}\n"));
        (1..).find(|_| watched.tick().0.memory_mb == Some(megabytes)).unwrap()
    };
    ticks_until(0, 19.07);
    ticks_until(10_000_000, 9.54);
    assert_eq!(ticks_until(5_000_000, 14.31), 4 * SLOW_TICKS);
}

#[test]
fn memory_of_a_container_that_runs_is_read_when_it_may_be_above_what_is_alerted_on_and_every_fifth_tick() {
    let mut watched = Watched::new(FakeHost::new("runs", 1));
    watched.files.write(MEMORY_CURRENT, "20000000\n");
    (0..SLOW_TICKS).for_each(|_| drop(watched.tick()));
    let (mut cpu_us, mut bytes) = (1_000_000, 20_000_000);
    let mut read_of_twenty = |us: u64| {
        let is_read = |_: &u64| {
            (cpu_us, bytes) = (cpu_us + us, bytes + 20_000);
            watched.files.write(CPU_STAT, format!("usage_usec {cpu_us}\n"));
            watched.files.write(MEMORY_CURRENT, format!("{bytes}\n"));
            let before = watched.sampler.last(false).containers[0].memory_mb;
            watched.tick().0.memory_mb != before
        };
        (0..20).filter(is_read).count()
    };
    // At 16 GB/s half a millisecond is 8 MB, and 60 MB more would be above what is alerted on.
    let seldom = read_of_twenty(500);
    assert!((4..=5).contains(&seldom), "{seldom}: every fifth, and perhaps one in turn");
    assert_eq!(read_of_twenty(5_000), 20);
}

#[test]
fn memory_above_what_is_alerted_on_is_read_at_each_tick() {
    let mut watched = Watched::new(FakeHost::new("decides", 1));
    watched.run(None);
    for megabytes in 85..95 {
        watched.files.write(CPU_STAT, format!("usage_usec {megabytes}000000\n"));
        watched.files.write(MEMORY_CURRENT, format!("{megabytes}000000\n"));
        watched.tick();
        // Nothing runs any more, and yet the last word is read.
        watched.files.write(MEMORY_CURRENT, format!("{megabytes}500000\n"));
        let percent = watched.tick().0.memory_percent.unwrap();
        assert!((percent - megabytes as f32 - 0.5).abs() < 0.01, "{percent}");
    }
}

#[test]
fn page_cache_that_was_dropped_never_makes_memory_zero() {
    let mut watched = Watched::new(FakeHost::new("dropped", 1));
    watched.run(None);
    let mut tick = |seconds: u64, all: u64, droppable: u64| {
        watched.files.write(CPU_STAT, format!("usage_usec {seconds}000000\n"));
        watched.files.write(MEMORY_CURRENT, format!("{all}\n"));
        watched.files.write("sys/fs/cgroup/shop/c0/memory.stat", format!("inactive_file {droppable}\n"));
        watched.tick().0.memory_mb
    };
    assert_eq!(tick(90, 400_000, 300_000), Some(0.1));
    assert_eq!(tick(91, 200_000, 0), Some(0.19), "it moved too little to look again, but for this");
}

#[test]
fn a_counter_that_was_set_anew_or_wrapped_gives_no_rate_once() {
    let mut watched = Watched::new(FakeHost::new("reset", 1));
    let line = |bytes: u64| format!("  eth0: {bytes} 2 0 0 0 0 0 0 {bytes} 3 0 0 0 0 0 0\n");
    let mut tick = |usec: u64, bytes: u64| {
        watched.files.write(CPU_STAT, format!("usage_usec {usec}\nnr_periods {usec}\nnr_throttled {usec}\n"));
        watched.files.write("proc/self/net/dev", line(bytes));
        let (container, node) = watched.tick();
        let rx_mbps = node.network.map(|network| network.rx_mbps);
        (container.cpu_percent, container.throttled_percent, rx_mbps)
    };
    let usual = (Some(10.0), Some(100.0), Some(8.0));
    assert_eq!(tick(5_000_000, u64::from(u32::MAX) - 500_000), (None, None, None), "nothing to compare with");
    assert_eq!(tick(5_100_000, u64::from(u32::MAX) + 500_000), usual);
    assert_eq!(tick(7, 7), (None, None, None), "a container that began anew, and a counter of 32 bits that wrapped");
    assert_eq!(tick(100_007, 1_000_007), usual);
    assert_eq!(tick(u64::MAX / 1_000, u64::MAX), (None, Some(100.0), None), "more than any machine can do");
    assert_eq!(tick(100_007, 1_000_007), (None, None, None), "and back");
    assert_eq!(tick(200_007, 2_000_007), usual);
}

#[test]
fn a_machine_that_slept_has_rates_over_all_the_time_that_passed() {
    let mut watched = Watched::new(FakeHost::new("slept", 1));
    let mut tick = |usec: u64, slept: Duration| {
        watched.now += slept;
        watched.files.write(CPU_STAT, format!("usage_usec {usec}\n"));
        watched.tick().0.cpu_percent
    };
    tick(0, Duration::ZERO);
    assert_eq!(tick(100_000, Duration::ZERO), Some(10.0));
    // A night's work of a tenth of a core, and an hour in which the clock went on and nothing ran.
    assert_eq!(tick(100_000 + 3_000_000_000, Duration::from_secs(29_999)), Some(10.0));
    assert_eq!(tick(3_000_200_000, Duration::from_secs(3_600)), Some(0.0));
    assert_eq!(tick(3_000_300_000, Duration::ZERO), Some(10.0));
}

#[test]
fn a_container_that_restarted_under_its_name_begins_anew() {
    let mut watched = Watched::new(FakeHost::new("restarted", 1));
    watched.run(None);
    // Docker keeps the identifier, and the kernel makes a new cgroup with new counters.
    let container = Container { found: Found::Cgroup("/shop/c1".into(), 1), ..watched.files.containers().remove(0) };
    for file in ["cpu.stat", "memory.current", "cpu.max", "memory.max", "memory.stat"] {
        let text = std::fs::read(watched.files.path(&format!("sys/fs/cgroup/shop/c0/{file}"))).unwrap();
        watched.files.write(&format!("sys/fs/cgroup/shop/c1/{file}"), text);
    }
    watched.files.write("sys/fs/cgroup/shop/c1/cpu.stat", "usage_usec 0\n");
    watched.sampler.apply(Change::Started(container));
    assert_eq!(watched.tick().0.cpu_percent, None, "the old counter is not the new one's");
    watched.files.write("sys/fs/cgroup/shop/c1/cpu.stat", "usage_usec 100000\n");
    assert_eq!(watched.tick().0.cpu_percent, Some(10.0));
}

#[test]
fn a_cgroup_that_docker_tells_of_too_is_measured_once_and_as_dockers() {
    let files = FakeHost::new("twins", 2);
    files.write("proc/7/cgroup", "0::/shop/c0\n");
    let found = files.containers();
    let plain = found.iter().find(|container| container.name.as_str() == "c0").unwrap();
    let id = ContainerId::new([7; 32]);
    let dockers = Container { id, found: Found::Process(7), ..plain.clone() };
    let mut watched = Watched::new(files);
    for change in [dockers.clone(), plain.clone(), dockers] {
        watched.sampler.apply(Change::Started(change));
        watched.tick();
        let containers = watched.sampler.last(false).containers;
        assert_eq!(containers.len(), 2, "the other one stays");
        assert!(containers.iter().any(|container| container.id == id));
    }
}

#[test]
fn a_kill_that_a_turn_finds_is_told_once() {
    let mut watched = Watched::new(FakeHost::new("killed", 1));
    watched.run(None);
    watched.files.write("sys/fs/cgroup/shop/c0/memory.events", "low 0\noom 1\noom_kill 1\n");
    let told = (0..2 * SLOW_TICKS).filter(|_| {
        watched.tick();
        watched.sampler.last(false).extras[0].was_killed
    });
    assert_eq!(told.count(), 1);
    assert_eq!(watched.sampler.look_for_kills().count(), 0);
    // A count that cannot be read is not none.
    watched.files.write("sys/fs/cgroup/shop/c0/memory.events", "low");
    assert_eq!(watched.sampler.look_for_kills().count(), 0);
    watched.run(None);
    watched.files.write("sys/fs/cgroup/shop/c0/memory.events", "low 0\noom 2\noom_kill 2\n");
    assert_eq!(watched.sampler.look_for_kills().count(), 1);
}
