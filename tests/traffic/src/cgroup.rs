//! Belonging to a cgroup.

use std::path::Path;

use anyhow::{Context, Result};

/// Moves this process there.
pub(crate) fn join(folder: &Path) -> Result<()> {
    let file = folder.join("cgroup.procs");
    // 0 is whoever writes it, whatever its number is in whichever namespace. Opened without `create`: where there is no
    // cgroup, there shall be no file that looks as if there were one.
    let opened = std::fs::OpenOptions::new().write(true).open(&file);
    opened
        .and_then(|mut opened| std::io::Write::write_all(&mut opened, b"0"))
        .with_context(|| format!("joining the cgroup {}", folder.display()))
}
