//! A changed configuration is followed without a restart.
//!
//! The file is looked at every second, and at SIGHUP. What is invalid changes nothing: the former configuration is
//! kept, and the reason said in the log and at `/healthz`. What only counts at the start is named.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use swarmguard_daemon::config::{ConfigError, parse_yaml};
use swarmguard_daemon::presence::chain;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, Settings};
use crate::state::Shared;

/// How often the file is looked at. By its content: a file that is mounted into a container may be replaced without
/// that any event tells so.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Largest file that is read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// What was given on the command line and in the environment, which stands above the file.
    pub settings: Settings,
    /// The file.
    pub path: Option<PathBuf>,
}

impl Source {
    /// The file's text; empty without a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn text(&self) -> Result<String, ConfigError> {
        let Some(path) = &self.path else { return Ok(String::new()) };
        let read = || {
            if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
                return Err(std::io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
            }
            std::fs::read_to_string(path)
        };
        read().map_err(|source| ConfigError::Read { path: path.clone(), source })
    }

    /// The configuration with this text in the file.
    ///
    /// # Errors
    /// Names the first key that is not known or whose value is not allowed.
    pub fn resolve(&self, text: &str) -> Result<Config, ConfigError> {
        let file: Settings = parse_yaml(text)
            .map_err(|reason| ConfigError::Parse { path: self.path.clone().unwrap_or_default(), reason })?;
        self.settings.clone().or(file).resolve()
    }
}

/// Follows the file until the task is dropped. `text` is what was followed at the start.
///
/// # Errors
/// When SIGHUP cannot be caught.
pub fn watch(source: Source, mut text: String, shared: Arc<Shared>) -> std::io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        let mut unreadable = false;
        // A file that is being written may be cut anywhere, and be valid: it counts when it is the same at two looks.
        let mut pending = None;
        loop {
            let asked = next(&mut hangup, source.path.is_some()).await;
            match source.text() {
                Ok(found) if found == text && !asked && !unreadable => {}
                Ok(found) if !asked && pending.as_ref() != Some(&found) => pending = Some(found),
                Ok(found) => {
                    unreadable = false;
                    text = found;
                    follow(&shared, source.resolve(&text));
                }
                // An editor may be replacing it: said once, and looked at again.
                Err(error) => {
                    if !unreadable || asked {
                        refuse(&shared, &error);
                    }
                    unreadable = true;
                }
            }
        }
    })
}

/// Waits for the next look; says whether a person asked for it.
async fn next(hangup: &mut Signal, has_file: bool) -> bool {
    tokio::select! {
        _ = hangup.recv() => true,
        () = tokio::time::sleep(LOOK_INTERVAL), if has_file => false,
    }
}

fn follow(shared: &Shared, resolved: Result<Config, ConfigError>) {
    let config = match resolved {
        Ok(config) => config,
        Err(error) => return refuse(shared, &error),
    };
    for key in config.needs_restart(&shared.config) {
        tracing::warn!(key, "has changed, which counts only after a restart");
    }
    let mut state = shared.state();
    state.refused = None;
    let changed = *state.rules != config.rules;
    state.rules = Arc::new(config.rules);
    drop(state);
    tracing::info!(changed, "configuration read again");
    shared.wake();
}

fn refuse(shared: &Shared, error: &ConfigError) {
    let reason = chain(error);
    tracing::warn!(%reason, "the configuration is not followed: the former one is kept");
    shared.state().refused = Some(reason);
}
