//! InfluxDB 1, as Debian packs it.

use std::path::Path;

use anyhow::{Context, Result};
use hyper::Method;

use super::{Recipe, Server, write_config};
use crate::command::program;
use crate::lab::Lab;

/// Where it listens, in the hub.
pub const INFLUXDB_PORT: u16 = 8086;
/// The database that is there when [`influxdb`] returns.
pub const INFLUXDB_DATABASE: &str = "swarmguard";

/// Starts InfluxDB in the hub, with the database [`INFLUXDB_DATABASE`] made.
///
/// # Errors
/// When it is not installed or not ready in time.
pub async fn influxdb(lab: &Lab) -> Result<Server> {
    let program = program("influxd")?;
    let text = config(&lab.state_dir().join("influxdb"));
    let path = write_config(lab, "influxdb", "influxdb.conf", &text)?;
    let recipe = Recipe {
        name: "influxdb".to_owned(),
        port: INFLUXDB_PORT,
        program,
        args: vec!["run".into(), "-config".into(), path.into()],
        ready_path: "/ping",
    };
    let server = Server::start_new(lab, recipe).await?;
    let create = format!("/query?q=CREATE%20DATABASE%20{INFLUXDB_DATABASE}");
    server.ask(Method::POST, &create).await.context("create the database in InfluxDB")?;
    Ok(server)
}

fn config(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"# Tells nobody that it runs.
reporting-disabled = true
# For backups, which nobody makes here; a free port on loopback.
bind-address = "127.0.0.1:0"

[meta]
  dir = "{folder}/meta"

[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  # Caches sized for minutes of data.
  cache-max-memory-size = "64m"
  cache-snapshot-memory-size = "8m"
  max-concurrent-compactions = 1

[http]
  bind-address = ":{INFLUXDB_PORT}"
  log-enabled = false

# Statistics about itself would be written every ten seconds and disturb measurements.
[monitor]
  store-enabled = false

[continuous_queries]
  enabled = false

[logging]
  level = "warn"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_data_live_below_the_state_folder() {
        let text = config(Path::new("/state/influxdb"));
        let dirs: Vec<_> = text.lines().filter(|line| line.contains("dir = ")).collect();
        assert_eq!(dirs.len(), 3);
        assert!(dirs.iter().all(|line| line.contains("\"/state/influxdb/")), "{dirs:?}");
    }
}
