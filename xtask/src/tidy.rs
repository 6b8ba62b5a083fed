//! `cargo xtask tidy`: format, lints, and rules of the house that no other tool checks.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::fuzz;
use crate::run::{cargo, output, root, run as run_command, say};

/// Longer files are to be split.
const LINES_MAX: usize = 450;

pub(crate) fn run() -> Result<()> {
    run_command(cargo(&["fmt", "--all", "--check"])).context("run: cargo fmt")?;
    run_command(cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    fuzz::check()?;
    house_rules()?;
    say("tidy: format, lints and house rules hold");
    Ok(())
}

/// Which crate is allowed where: the invariants of ARCHITECTURE.md about what is absent.
const ONLY_IN: [(&str, &[&str]); 5] = [
    ("use bollard", &["collector/src/swarm/docker", "agent/src/discovery.rs", "tests/"]),
    ("aya::", &["agent/src/kernel/"]),
    ("rmp_serde", &["wire/src/codec.rs"]),
    ("SystemTime::now()", &["collector/src/clock.rs", "agent/src/", "tests/", "xtask/"]),
    ("std::env::var", &["tests/", "xtask/", "agent/build.rs", "agent/tests/", "collector/tests/"]),
];

fn house_rules() -> Result<()> {
    let mut broken = Vec::new();
    for path in sources()? {
        let text =
            std::fs::read_to_string(root().join(&path)).with_context(|| format!("reading {}", path.display()))?;
        broken.extend(check(&path, &text));
    }
    if broken.is_empty() { Ok(()) } else { bail!("house rules broken:\n  {}", broken.join("\n  ")) }
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut git = std::process::Command::new("git");
    // Root may well work in a clone that belongs to somebody else.
    git.args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root());
    Ok(output(git)?.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}

fn check(path: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        broken.push(format!("{}: {lines} lines, at most {LINES_MAX}", path.display()));
    }
    // A module's own tests are told by their claims.
    if !text.starts_with("//!") && !path.ends_with("tests.rs") {
        broken.push(format!("{}: does not begin with what it is (//!)", path.display()));
    }
    // This file names what it looks for.
    let rules = if path == Path::new("xtask/src/tidy.rs") { &[][..] } else { &ONLY_IN[..] };
    for (word, allowed) in rules {
        let here = allowed.iter().any(|place| path.starts_with(place) || path.to_string_lossy().starts_with(place));
        if !here && text.contains(*word) {
            broken.push(format!("{}: {word} is allowed only in {}", path.display(), allowed.join(", ")));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(path: &str, text: &str) -> usize {
        check(Path::new(path), text).len()
    }

    #[test]
    fn bollard_is_known_in_its_rooms_only() {
        let text = "//! x\nuse bollard::Docker;\n";
        assert_eq!(check_one("collector/src/swarm/docker.rs", text), 0);
        assert_eq!(check_one("collector/src/swarm/docker/read.rs", text), 0);
        assert_eq!(check_one("collector/src/executor.rs", text), 1);
        assert_eq!(check_one("planner/src/plan.rs", text), 1);
    }

    #[test]
    fn a_file_says_what_it_is_and_ends_in_time() {
        assert_eq!(check_one("wire/src/x.rs", "use std;\n"), 1);
        assert_eq!(check_one("wire/src/x.rs", &"//! x\n".repeat(LINES_MAX + 1)), 1);
    }
}
