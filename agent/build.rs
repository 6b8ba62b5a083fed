//! Takes the kernel programs into the agent, if `cargo xtask build` has built them and says where.
//!
//! Without them, as in a plain `cargo build`, the agent is whole but for what only kernel programs can tell.

use std::path::{Path, PathBuf};

/// The folder with the kernel programs' objects.
const FOLDER: &str = "SWARMGUARD_EBPF_FOLDER";
const PROGRAMS: [&str; 2] = ["network", "oom"];

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-env-changed={FOLDER}");
    let built = std::env::var_os(FOLDER).map(PathBuf::from);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    for program in PROGRAMS {
        let target = out.join(format!("{program}.o"));
        match &built {
            Some(folder) => take(&folder.join(program), &target)?,
            // Empty means: not built.
            None => std::fs::write(target, [])?,
        }
    }
    Ok(())
}

fn take(object: &Path, target: &Path) -> std::io::Result<()> {
    println!("cargo::rerun-if-changed={}", object.display());
    std::fs::copy(object, target).map(|_| ())
}
