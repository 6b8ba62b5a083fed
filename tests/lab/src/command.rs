//! Running the machine's own small programs (`ip`, `nsenter`) with errors that show what was run and what it said.
//!
//! Programs are looked for in `PATH` and in the system folders a user's `PATH` may lack.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

const SYSTEM_DIRS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// What every process started for the lab gets as `PATH`.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the program is, or an error that says how to get it.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRS.map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("the program {name} is not installed; run: cargo xtask setup"))
}

/// Runs a program to its end and gives its output.
pub(crate) fn run(name: &str, args: &[&str]) -> Result<String> {
    run_with_input(name, args, "")
}

/// Runs many `ip` commands at once, in the given network namespace or in the machine's own.
pub(crate) fn ip_batch(netns: Option<&str>, lines: &[String]) -> Result<()> {
    let mut args = vec!["-batch", "-"];
    if let Some(netns) = netns {
        args.splice(0..0, ["-n", netns]);
    }
    run_with_input("ip", &args, &(lines.join("\n") + "\n")).map(drop)
}

fn run_with_input(name: &str, args: &[&str], input: &str) -> Result<String> {
    let line = || describe(Path::new(name), args, input);
    let mut child = Command::new(program(name)?)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{}`", line()))?;
    // The inputs are a few hundred bytes, less than a pipe holds: writing all before reading cannot block.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("write to `{}`", line()))?;
    }
    let output = child.wait_with_output().with_context(|| format!("wait for `{}`", line()))?;
    if !output.status.success() {
        bail!("`{}` failed ({}): {}", line(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn describe(program: &Path, args: &[&str], input: &str) -> String {
    let mut line = format!("{} {}", program.display(), args.join(" "));
    if !input.is_empty() {
        line.push_str(" <<< ");
        line.push_str(&input.trim_end().replace('\n', "; "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_shows_its_line_and_what_it_said() {
        let error = run("ls", &["/no/such/folder"]).unwrap_err().to_string();
        assert!(error.contains("ls /no/such/folder") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_missing_program_names_the_setup_command() {
        let error = program("no-such-program").unwrap_err().to_string();
        assert!(error.contains("cargo xtask setup"), "{error}");
    }
}
