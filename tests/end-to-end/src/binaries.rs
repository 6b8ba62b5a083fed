//! The programs under test: static release binaries, as a user installs them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The environment variable by which `cargo xtask test` tells tests where the binaries are.
pub const FOLDER_VARIABLE: &str = "SWARMGUARD_BINARIES";

/// Paths of the programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `swarmguard-agent`
    pub agent: PathBuf,
    /// `swarmguard-collector`
    pub collector: PathBuf,
    /// `traffic`
    pub traffic: PathBuf,
    /// `web-stress`
    pub web_stress: PathBuf,
}

impl Binaries {
    /// In one folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            agent: folder.join("swarmguard-agent"),
            collector: folder.join("swarmguard-collector"),
            traffic: folder.join("traffic"),
            web_stress: folder.join("web-stress"),
        }
    }

    /// Where `cargo xtask test` says.
    ///
    /// # Errors
    /// When it does not say: these tests need its preparations.
    pub fn from_environment() -> Result<Self> {
        let folder = std::env::var_os(FOLDER_VARIABLE);
        let folder =
            folder.with_context(|| format!("{FOLDER_VARIABLE} is not set: run these tests with cargo xtask test"))?;
        Ok(Self::in_folder(Path::new(&folder)))
    }
}
