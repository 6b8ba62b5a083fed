//! Emulated machines: that they boot, do what they are told, and are gone afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one prints how long a machine takes"
)]

use std::path::Path;
use std::time::Duration;

use swarmguard_lab::machine::{Arch, Machine, Output};

const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn a_machine_of_either_architecture_boots_and_runs_a_script() {
    std::thread::scope(|scope| {
        for arch in Arch::ALL {
            scope.spawn(move || boots(arch));
        }
    });
}

fn boots(arch: Arch) {
    let script = "uname -m; cat /proc/cmdline; cat /sys/fs/cgroup/cgroup.subtree_control; \
                  ip link add v0 type veth && ip link set v0 up && echo veth works; \
                  ls /sys/kernel/btf/vmlinux /sys/kernel/tracing/events/oom /sys/fs/bpf; \
                  cat /etc/manifest; su nobody -c id; exit 7";
    let machine = Machine::new(arch).module("veth").kernel_word("swarmguard.word=1");
    let output = machine
        .file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"), "etc/manifest")
        .run(script, TIMEOUT)
        .unwrap();
    let Output { text, status, boot, script } = output;
    println!("{arch}: booted in {boot:.1?}, ran the script in {script:.1?}\n{text}");
    assert_eq!(status, 7, "{text}");
    assert_eq!(text.lines().next(), Some(arch.name()));
    for expected in [
        "swarmguard.word=1",
        "cpu memory pids",
        "veth works",
        "/sys/kernel/btf/vmlinux",
        "mark_victim",
        "name = \"swarmguard-lab\"",
        "uid=65534(nobody)",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
}

#[test]
fn a_script_that_takes_too_long_is_an_error_that_shows_what_it_said_and_the_machine_is_off() {
    let timeout = Duration::from_secs(20);
    let error = Machine::new(Arch::HOST).run("echo I wait; sleep 1000", timeout).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("out of time") && error.contains("I wait"), "{error}");
    assert_eq!(emulators_of_this_thread(), Vec::<String>::new());
}

#[test]
fn a_module_that_the_kernel_does_not_have_is_an_error_that_names_it() {
    let error = Machine::new(Arch::HOST).module("no_such_module").run("true", TIMEOUT).unwrap_err();
    assert!(format!("{error:#}").contains("no_such_module"), "{error:#}");
}

/// The command lines of the children of the thread that asks.
fn emulators_of_this_thread() -> Vec<String> {
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    let command = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    children.split_whitespace().map(command).collect()
}
