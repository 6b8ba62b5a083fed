//! The program as a user starts it: wrong configurations, and nothing there to talk to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};
use std::time::Duration;

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmguard-agent"));
    command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn check_refused(args: &[&str], environment: &[(&str, &str)], parts: &[&str]) {
    let output = agent().args(args).envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{args:?}: {text}");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_key_value_and_what_is_allowed() {
    check_refused(&["--interval=1ms"], &[], &["interval", "1ms", "100ms to 60s"]);
    check_refused(&[], &[("SWARMGUARD_INTERVAL", "soon")], &["interval", "soon", "500ms"]);
    check_refused(&["--collector=https://c:5000"], &[], &["collector", "https://c:5000", "TLS"]);
    check_refused(&["--influx-url=http://db:8086/x"], &[], &["influx-url", "/write?db="]);
    check_refused(&["--link-mbps=0"], &[], &["link-mbps", "0", "above 0"]);
    check_refused(&["--config=/no/such/file"], &[], &["/no/such/file", "No such file"]);
}

#[test]
fn with_nothing_there_it_says_each_loss_once_and_goes_on() {
    let mut child = agent()
        .args(["--docker-host=unix:///no/docker.sock", "--collector=http://127.0.0.1:9", "--interval=100ms"])
        .args(["--influx-url=http://127.0.0.1:9/write?db=x", "--flush-interval=1s", "--node=alone"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    assert!(child.try_wait().unwrap().is_none(), "it ended");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for loss in ["what=\"docker\"", "what=\"collector\"", "the database stores nothing"] {
        assert_eq!(text.matches(loss).count(), 1, "{loss} in {text}");
    }
}

#[test]
fn a_sample_needs_nothing_and_comes_in_each_format() {
    let sample = |format: &str| {
        let output = agent()
            .args(["sample", "--format", format, "--docker-host=unix:///no/docker.sock", "--interval=100ms"])
            .args(["--node=alone", "--link-mbps=100"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{format}: {:?}", output);
        String::from_utf8(output.stdout).unwrap()
    };
    let flag_wins =
        agent().env("SWARMGUARD_NODE", "below").args(["sample", "--node=above", "--interval=100ms"]).output();
    assert!(String::from_utf8(flag_wins.unwrap().stdout).unwrap().starts_with("node above"));
    let json: serde_json::Value = serde_json::from_str(&sample("json")).unwrap();
    assert_eq!(json["node"]["name"], "alone");
    assert!(json["sample"]["cpu_percent"].is_number() && json["containers"].as_array().is_some());
    assert!(sample("line-protocol").starts_with("node_metrics,node=alone cores="));
    assert!(sample("table").starts_with("node alone"));
}
