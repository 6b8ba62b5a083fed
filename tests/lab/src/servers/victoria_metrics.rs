//! VictoriaMetrics, single node.

use anyhow::Result;

use super::{Recipe, Server, write_config};
use crate::command::program;
use crate::lab::Lab;

/// Where it listens, in the hub.
pub const VICTORIA_METRICS_PORT: u16 = 8428;

/// Starts VictoriaMetrics in the hub.
///
/// # Errors
/// When it is not installed or not ready in time.
pub async fn victoria_metrics(lab: &Lab) -> Result<Server> {
    let program = program("victoria-metrics")?;
    // It takes no configuration file; an empty one makes its folder.
    write_config(lab, "victoria-metrics", "README", "Data of the lab's VictoriaMetrics.\n")?;
    let data = lab.state_dir().join("victoria-metrics").join("data");
    let args = [
        format!("-storageDataPath={}", data.display()),
        format!("-httpListenAddr=:{VICTORIA_METRICS_PORT}"),
        "-retentionPeriod=1".to_owned(),
        // By default it takes 60 % of the machine's memory.
        "-memory.allowedBytes=128MiB".to_owned(),
        // What was written a moment ago shall be found: tests ask at once.
        "-search.latencyOffset=0s".to_owned(),
        "-search.disableCache=true".to_owned(),
        "-loggerLevel=WARN".to_owned(),
    ];
    let recipe = Recipe {
        name: "victoria-metrics".to_owned(),
        port: VICTORIA_METRICS_PORT,
        program,
        args: args.into_iter().map(Into::into).collect(),
        ready_path: "/health",
    };
    Server::start_new(lab, recipe).await
}
