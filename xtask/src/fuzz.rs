//! `cargo xtask fuzz`: looks for files that the agent makes nonsense of, guided by what the code does with them.
//!
//! libFuzzer needs code that says where it has been, which the stable compiler can make and does not yet promise to, and
//! a C++ compiler; no other tool is needed. The stories that found something new are kept in `target/fuzz/corpus`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{cargo, root, run as run_command, say, target_folder};
use crate::setup;

const COVERAGE_FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// Longest story: some files, each as long as they are.
const STORY_BYTES_MAX: u32 = 1_024;

/// Fuzzes for so many seconds; fails, and says where the story is, if one breaks what must be true.
pub(crate) fn run(seconds: u32) -> Result<()> {
    setup::for_fuzz()?;
    let folder = target_folder().join("fuzz");
    let (beginnings, files) = (build(&folder, "beginnings", &[])?, build(&folder, "files", &COVERAGE_FLAGS)?);
    let corpus = folder.join("corpus");
    std::fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
    let mut begin = Command::new(beginnings);
    begin.arg(&corpus);
    run_command(begin)?;
    let mut fuzz = Command::new(files);
    fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={STORY_BYTES_MAX}"));
    fuzz.arg(format!("-artifact_prefix={}/", folder.display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .arg(&corpus);
    say(&format!("fuzz: {seconds} s; what breaks is written to {}", folder.display()));
    run_command(fuzz)?;
    say("fuzz: nothing broke");
    Ok(())
}

/// Format and lints of the fuzz target, which no other build comes by.
pub(crate) fn check() -> Result<()> {
    let manifest = root().join("agent/fuzz/Cargo.toml").display().to_string();
    run_command(cargo(&["fmt", "--manifest-path", &manifest, "--", "--check"]))?;
    let mut lint = cargo(&["clippy", "--quiet", "--manifest-path", &manifest, "--", "--deny", "warnings"]);
    // Nothing is linked, so libFuzzer need not be compiled.
    lint.env("CUSTOM_LIBFUZZER_PATH", "/nonexistent/libfuzzer.a");
    lint.env("CARGO_TARGET_DIR", target_folder().join("fuzz/check"));
    run_command(lint)
}

/// Builds one of the two programs, each with its own flags and so in a folder of its own.
fn build(folder: &Path, name: &str, flags: &[&str]) -> Result<std::path::PathBuf> {
    let target = folder.join(name);
    // With a target named, the flags are not for build scripts, which are linked without libFuzzer.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cargo(&["build", "--quiet", "--release", "--bin", name, "--target", &triple]);
    build.current_dir(root().join("agent/fuzz"));
    build.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", flags.join(" ")).env("RUSTC_BOOTSTRAP", "1");
    run_command(build)?;
    Ok(target.join(triple).join("release").join(name))
}
