//! Where the host's `/proc` and `/sys` are: at the root, or below `--host-root` inside a container.

use std::path::{Path, PathBuf};

/// The host's `/proc` and `/sys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    proc: PathBuf,
    sys: PathBuf,
}

impl Host {
    /// Below `root`: `/` on a host, `/host` where a container has them mounted as `/host/proc` and `/host/sys`.
    pub fn new(root: &Path) -> Self {
        Self { proc: root.join("proc"), sys: root.join("sys") }
    }

    /// `/proc/<path>` of the host.
    pub fn proc(&self, path: &str) -> PathBuf {
        self.proc.join(path)
    }

    /// `/sys` of the host.
    pub fn sys(&self) -> &Path {
        &self.sys
    }
}
