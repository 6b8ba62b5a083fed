//! The program as a user starts it: wrong configurations, and a manager that is not there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn collector() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmguard-collector"));
    command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn check_refused(args: &[&str], parts: &[&str]) {
    let output = collector().args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{args:?}: {text}");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_key_value_and_what_is_allowed() {
    check_refused(&["--scenario1-cpu-threshold=175"], &["scenario1_migration.cpu_threshold", "175", "at most 100"]);
    check_refused(&["--scenario2-max-replicas=lots"], &["--scenario2-max-replicas", "lots"]);
    check_refused(&["--docker-host=nowhere"], &["docker-host", "nowhere", "unix:///path"]);
    check_refused(&["--influx-url=http://db:8086"], &["influx-url", "http://db:8086", "/write?db="]);
    check_refused(&["--config=/no/such/file"], &["/no/such/file", "No such file"]);
}

#[test]
fn without_a_manager_it_says_so_once_and_goes_on() {
    let mut child = collector().args(["--listen=127.0.0.1:0", "--docker-host=unix:///no/docker.sock"]).spawn().unwrap();
    // Several looks at the Swarm fail in this time.
    std::thread::sleep(Duration::from_secs(3));
    assert!(child.try_wait().unwrap().is_none(), "it ended");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let begun = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && begun.elapsed() < Duration::from_secs(5), "{:?}", output.status);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.matches("lost").count(), 1, "{text}");
    assert!(text.contains("/no/docker.sock"), "{text}");
}
