//! `cargo xtask mutants`: changes the planner in every small way, one at a time, and sees whether a test notices.
//!
//! cargo-mutants makes the changes and runs the planner's own tests. What survives is either a test that is missing or a
//! change that makes no difference; the latter are listed with the reason in `planner/mutants.md`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{cargo, root, run as run_command, say, target_folder};

/// Where what cannot be noticed stands, with the reason.
const LIST: &str = "planner/mutants.md";

/// In percent of those that can be built.
const CAUGHT_MIN: f64 = 95.0;

/// Longest time of a test run: a change may make one that never ends.
const TIMEOUT_S: &str = "60";

pub(crate) fn run(jobs: u32) -> Result<()> {
    let program = installed()?;
    let folder = target_folder();
    let mut mutants = Command::new(program);
    mutants.current_dir(root()).args(["mutants", "--package", "swarmguard-planner", "--no-shuffle"]);
    // What is planted is no code of the planner's own.
    mutants.args(["--exclude", "planner/src/planted.rs", "--timeout", TIMEOUT_S, "--colors", "never"]);
    mutants.arg("--jobs").arg(jobs.to_string()).arg("--output").arg(&folder);
    let line = format!("{mutants:?}");
    // It ends with 2 when one survives, which is for the count below to judge.
    let status = mutants.status().with_context(|| format!("starting {line}"))?;
    match status.code() {
        Some(0 | 2 | 3) => judge(&folder.join("mutants.out/outcomes.json")),
        _ => bail!("{line} failed: {status}"),
    }
}

fn judge(path: &std::path::Path) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let outcomes: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    let count = |what: &str| outcomes[what].as_u64().unwrap_or(0);
    let (caught, missed, timeout) = (count("caught"), count("missed"), count("timeout"));
    let viable = caught + missed + timeout;
    let percent = (caught + timeout) as f64 * 100.0 / viable.max(1) as f64;
    say(&format!(
        "{viable} changes, {caught} noticed, {timeout} made a test endless, {missed} not noticed: {percent:.1} % caught"
    ));
    if viable == 0 || percent < CAUGHT_MIN {
        bail!("{CAUGHT_MIN} % are promised; what was not noticed: {}", path.with_file_name("missed.txt").display());
    }
    let missed = std::fs::read_to_string(path.with_file_name("missed.txt")).context("reading what was not noticed")?;
    let listed = std::fs::read_to_string(root().join(LIST)).with_context(|| format!("reading {LIST}"))?;
    let times = |text: &str, change: &str| text.matches(change).count();
    // A change may be listed for one place of a function and be noticed at another.
    let is_listed = |change: &&str| times(&listed, change) >= times(&missed, change);
    let unlisted: Vec<&str> = missed.lines().map(change).filter(|change| !is_listed(change)).collect();
    if !unlisted.is_empty() {
        bail!("not noticed, and not in {LIST} with a reason:\n{}", unlisted.join("\n"));
    }
    Ok(())
}

/// What was changed and in which function, without the place, which moves with the code around it.
fn change(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, change)| change).trim()
}

/// The program, in the target folder, where it troubles nobody else.
fn installed() -> Result<PathBuf> {
    let folder = target_folder().join("tools");
    let program = folder.join("bin/cargo-mutants");
    if !program.is_file() {
        say("mutants: installing cargo-mutants into target/tools");
        let mut install = cargo(&["install", "--quiet", "--locked", "cargo-mutants", "--version", "27.1.0"]);
        install.arg("--root").arg(&folder);
        run_command(install)?;
    }
    Ok(program)
}
