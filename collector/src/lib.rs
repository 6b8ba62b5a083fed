//! The collector: knows the fleet, decides, and acts on the Swarm.
//!
//! In the order an alert travels:
//!
//! - [`config`]: what a person wants; [`reload`]: how it changes meanwhile
//! - [`server`]: alerts and reports come in and are recorded as facts; what is known is shown
//! - [`fleet`]: the facts; [`state`]: what handlers and the loop share
//! - [`control_loop`]: the one place that decides, with the `planner` crate
//! - [`executor`]: carries out one action; [`swarm`]: the manager's API, and what is written there
//! - [`journal`]: what was decided and done; [`explain`]: the same in sentences; [`events`]: for the database and for machines
//! - [`ask`]: pause, resume and explain from the command line
//! - [`counters`]: what came in; [`clock`]: the one place where time is read

pub mod config;
pub mod reload;

pub mod server;

pub mod fleet;
pub mod state;

pub mod control_loop;

pub mod executor;
pub mod swarm;

pub mod events;
pub mod explain;
pub mod journal;

pub mod ask;

pub mod clock;
pub mod counters;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;

use swarmguard_daemon::presence;

use config::Place;
use control_loop::ControlLoop;
use journal::Journal;
use journal::disk::Disk;
use reload::Source;
use state::Shared;

/// How long the last points may take to be written when the collector stops.
const FLUSH_AT_STOP_MAX: Duration = Duration::from_secs(3);

/// Runs until `shutdown` resolves.
///
/// # Errors
/// When the configuration is wrong or the address cannot be listened on. Docker, agents and the database may come and go.
pub async fn run(source: Source, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let text = source.text()?;
    let config = source.resolve(&text)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listening on {}: is another collector running here?", config.listen))?;
    let (stop_writer, writer_stopped) = tokio::sync::oneshot::channel::<()>();
    let (sink, writer) = match config.influx.clone() {
        Some(endpoint) => {
            let options = swarmguard_influx::Options {
                flush_interval: Duration::from_secs(1),
                ..swarmguard_influx::Options::new("collector")
            };
            let (sink, writer) = swarmguard_influx::channel(endpoint, &options);
            let stopped = async {
                // Resolves when the sender is dropped, which is how the collector says that it stops.
                let _ = writer_stopped.await;
            };
            (Some(sink), Some(tokio::spawn(writer.run(stopped))))
        }
        None => (None, None),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %listener.local_addr().context("asking for the address listened on")?,
        docker = %config.docker_host,
        database = config.influx.is_some(),
        "collector started"
    );
    let journal = open_journal(&config.journal)?;
    let shared = Arc::new(Shared::with_journal(config, journal));
    let journal_file = shared.state().journal.disk();
    let serving = tokio::spawn(server::serve(listener, shared.clone()));
    let watching = reload::watch(source, text, shared.clone()).context("catching SIGHUP")?;
    let watching = tokio::spawn(watching);
    let deciding = tokio::spawn(ControlLoop::new(shared, sink).run());
    shutdown.await;
    watching.abort();
    serving.abort();
    deciding.abort();
    // Waits until the loop, and with it the sink, is gone.
    let _ = deciding.await;
    if let Some(file) = journal_file {
        file.flush(FLUSH_AT_STOP_MAX);
    }
    drop(stop_writer);
    if let Some(writer) = writer
        && tokio::time::timeout(FLUSH_AT_STOP_MAX, writer).await.is_err()
    {
        tracing::warn!("stopped before the last points were written");
    }
    tracing::info!("collector stopped");
    Ok(())
}

/// The journal with what is on disk. Where nobody asked for a certain file, one that cannot be used is said and gone without.
fn open_journal(place: &Place) -> anyhow::Result<Journal> {
    let (path, is_asked_for) = match place {
        Place::Memory => return Ok(Journal::default()),
        Place::File(path) => (path, true),
        Place::Default(path) => (path, false),
    };
    match Disk::open(path, clock::now()) {
        Ok((disk, entries)) => {
            tracing::info!(file = %path.display(), entries = entries.len(), "the journal goes on");
            Ok(Journal::on(disk, entries))
        }
        Err(error) if is_asked_for => Err(error).context("the journal"),
        Err(error) => {
            let error = presence::chain(&error);
            tracing::warn!(%error, "the journal is in memory only, and cooldowns are forgotten at a restart; see --journal");
            Ok(Journal::default())
        }
    }
}
