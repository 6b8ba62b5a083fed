//! The one static binary of each architecture, on Debian's kernel of that architecture.
//!
//! All tests share three machines, which the first of them boots. They fail without the binaries: `cargo xtask test`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and these print the figures they measure"
)]

use serde_json::Value;
use swarmguard_kernels::boot::{Boot, Printed, SHORT_TRANSFERS, TRANSFERS, printed};
use swarmguard_kernels::sample::Container;
use swarmguard_kernels::transfer::{Flow, Transfer, expected, sent_again};
use swarmguard_lab::machine::Arch;

/// How far bytes and packets may be from what was transferred.
const TOLERANCE: f64 = 0.01;

/// What a Raspberry Pi's user has to add.
const MEMORY_WORD: &str = "cgroup_enable=memory";

fn on_each(check: impl Fn(Arch, &Printed)) {
    for arch in Arch::ALL {
        check(arch, printed(Boot::Plain(arch)).unwrap());
    }
}

fn container(printed: &Printed, sample: &str, cgroup: &str) -> Container {
    Container::of(printed, sample, cgroup).unwrap()
}

fn json(printed: &Printed, part: &str) -> Value {
    let text = printed.part(part).unwrap();
    serde_json::from_str(text).unwrap()
}

/// Both cgroups of one sample against what was transferred between them.
fn check_counts(arch: Arch, printed: &Printed, sample: &str, transfers: &[Transfer]) {
    assert_eq!(printed.part(&format!("{sample} in time")).unwrap(), "yes\n", "{arch}: the sample ended too early");
    let expected = expected(printed, sample, transfers).unwrap();
    let (a, b) = (container(printed, sample, "a"), container(printed, sample, "b"));
    let log = printed.part(&format!("{sample} log")).unwrap();
    for container in [&a, &b] {
        assert_eq!(container.network_source(), Some("ebpf"), "{arch} {sample}: {container:?}; the agent said:\n{log}");
    }
    println!("{arch} {sample}: {} s to boot, {} s for all", printed.boot.as_secs_f32(), printed.script.as_secs_f32());
    for (what, found, expected) in [
        ("a sent", a.sent().unwrap(), expected.a_to_b),
        ("a received", a.received().unwrap(), expected.b_to_a),
        ("b sent", b.sent().unwrap(), expected.b_to_a),
        ("b received", b.received().unwrap(), expected.a_to_b),
    ] {
        println!("  {what}: {found:?}, expected {expected:?}");
        assert!(is_close(found, expected), "{arch} {sample}: {what} {found:?}, expected {expected:?}");
    }
    for (what, found, expected) in [
        ("a sent again", a.retransmits().unwrap(), expected.a_retransmits),
        ("b sent again", b.retransmits().unwrap(), expected.b_retransmits),
    ] {
        println!("  {what}: {found} segments, expected {expected}");
        assert_eq!(found, expected, "{arch} {sample}: {what}");
    }
}

fn is_close(found: Flow, expected: Flow) -> bool {
    let close = |found: u64, expected: u64| found.abs_diff(expected) as f64 <= expected as f64 * TOLERANCE;
    close(found.bytes, expected.bytes) && close(found.packets, expected.packets)
}

#[test]
fn bytes_and_packets_of_two_cgroups_are_what_was_transferred_between_them() {
    on_each(|arch, printed| check_counts(arch, printed, "counted", &TRANSFERS));
}

#[test]
fn a_kernel_without_btf_counts_all_the_same() {
    on_each(|arch, printed| {
        assert_eq!(printed.part("btf").unwrap(), "", "{arch}: BTF was not hidden");
        check_counts(arch, printed, "without-btf", &SHORT_TRANSFERS);
    });
}

#[test]
fn segments_that_are_lost_and_sent_again_are_counted_as_tcp_counts_them() {
    on_each(|arch, printed| {
        let expected = sent_again(printed, "lost").unwrap();
        let found = container(printed, "lost", "a").retransmits().unwrap();
        println!(
            "{arch}: {found} segments sent again, expected {expected}: {}",
            printed.part("lost 0").unwrap().trim()
        );
        assert!(expected > 0, "{arch}: nothing was lost");
        assert_eq!(found, expected, "{arch}");
    });
}

#[test]
fn a_cgroup_without_traffic_has_none_while_others_have() {
    on_each(|arch, printed| {
        let idle = container(printed, "counted", "idle");
        assert_eq!(idle.network_source(), Some("ebpf"), "{arch}");
        assert_eq!((idle.sent().unwrap(), idle.received().unwrap()), (Flow::default(), Flow::default()), "{arch}");
    });
}

#[test]
fn cpu_and_memory_are_measured_and_nothing_is_missed_on_a_plain_kernel() {
    on_each(|arch, printed| {
        for cgroup in ["a", "b"] {
            let container = container(printed, "counted", cgroup);
            assert!(container.number("cpu_percent").unwrap() > 0.0, "{arch} {cgroup}: {container:?}");
            assert!(container.number("memory_mb").unwrap() > 0.0, "{arch} {cgroup}: {container:?}");
        }
        assert_eq!(json(printed, "doctor json")["decisions"]["network_source"], "ebpf", "{arch}");
        assert!(!printed.part("doctor").unwrap().contains(MEMORY_WORD), "{arch}: memory is counted already");
    });
}

#[test]
fn who_may_not_use_bpf_measures_all_else_and_is_told_what_is_missing() {
    on_each(|arch, printed| {
        let a = container(printed, "refused", "a");
        assert!(matches!(a.network_source(), None | Some("proc_net_dev")), "{arch}: {a:?}");
        assert!(a.number("cpu_percent").unwrap() > 10.0, "{arch}: {a:?}");
        assert!(a.number("memory_mb").unwrap() > 0.0, "{arch}: {a:?}");
        let text = printed.part("refused doctor").unwrap();
        assert!(text.contains("CAP_BPF"), "{arch}: {text}");
        assert_eq!(json(printed, "refused doctor json")["decisions"]["network_source"], "proc_net_dev", "{arch}");
    });
}

#[test]
fn pressure_is_what_the_kernel_says() {
    on_each(|arch, printed| {
        let in_file = |part: &str| {
            let text = printed.part(part).unwrap();
            let (_, rest) = text.split_once("some avg10=").unwrap();
            rest.split(' ').next().unwrap().parse::<f64>().unwrap()
        };
        let (before, after) = (in_file("pressure before"), in_file("pressure after"));
        let told = container(printed, "pressed", "a").number("cpu_pressure_percent").unwrap();
        println!("{arch}: {before} %, told {told} %, then {after} %");
        assert!(before > 0.0, "{arch}: nobody waits");
        // What is sampled is no double.
        assert!((before - 0.01..=after + 0.01).contains(&told), "{arch}: {before}, told {told}, then {after}");
        assert_eq!(container(printed, "pressed", "idle").number("cpu_pressure_percent"), Some(0.0), "{arch}");
    });
}

#[test]
fn a_kill_for_lack_of_memory_is_told_at_once_and_not_at_the_next_tick() {
    on_each(|arch, printed| {
        const TOLD: &str = "killed for lack of memory";
        let (before, after) = (printed.part("killed before").unwrap(), printed.part("killed").unwrap());
        assert!(!before.contains(TOLD), "{arch}: {before}");
        assert_eq!(after.matches(TOLD).count(), 1, "{arch}: {after}");
        assert!(after.lines().any(|line| line.contains(TOLD) && line.contains("kills=1")), "{arch}: {after}");
        assert!(printed.part("killed counted").unwrap().contains("oom_kill 1\n"), "{arch}");
        assert_eq!(json(printed, "killed doctor json")["decisions"]["oom_events"], true, "{arch}");
    });
}

#[test]
fn without_the_memory_controller_memory_is_absent_and_never_zero() {
    let printed = printed(Boot::WithoutMemory).unwrap();
    for cgroup in ["a", "b", "idle"] {
        let container = container(printed, "measured", cgroup);
        assert_eq!(container.number("memory_mb"), None, "{cgroup}: {container:?}");
        assert_eq!(container.number("memory_percent"), None, "{cgroup}: {container:?}");
    }
    let a = container(printed, "measured", "a");
    assert!(a.number("cpu_percent").unwrap() > 10.0, "{a:?}");
}

#[test]
fn without_the_memory_controller_the_doctor_names_what_turns_it_on() {
    let text = printed(Boot::WithoutMemory).unwrap().part("doctor").unwrap();
    assert!(text.contains(MEMORY_WORD), "{text}");
}
