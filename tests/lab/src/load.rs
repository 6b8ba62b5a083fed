//! HTTP requests at a given rate, as from many users who do not wait for each other.
//!
//! Open loop: every request has a moment when it is due, and its latency counts from then. When the service is slow and
//! no connection is free, requests queue and the queueing shows in their latencies; the rate never adapts to the service
//! (which would hide exactly what is to be measured). Nothing is retried: whatever is not a 2xx in time has failed. Only
//! an idle connection that was closed before anything was written to it is opened anew, as every client does.
//!
//! Runs on a thread and a runtime of its own, so that a busy test does not delay it.

mod connection;
mod histogram;
mod probe;
mod ramp;
mod report;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use connection::Connection;
use histogram::Histogram;
pub use histogram::LatencyMs;
pub use probe::{Look, Probe, Probing, downtime};
pub use ramp::Ramp;
use report::{Outcome, Tally};
pub use report::{Report, Stretch};

/// Most connections one load may use.
pub const CONNECTIONS_MAX: usize = 1024;
/// Most requests per second: beyond, one thread would measure itself.
pub const REQUESTS_PER_SECOND_MAX: u32 = 20_000;
/// Requests due that found no free connection; more are counted as failed at once.
const BACKLOG_MAX: usize = 100_000;

/// What to ask for, how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// `http://ADDRESS:PORT`, the address in digits.
    pub url: String,
    /// Asked for in turn; at least one.
    pub paths: Vec<String>,
    /// 1 to [`REQUESTS_PER_SECOND_MAX`].
    pub requests_per_second: u32,
    /// How that rate is reached and left.
    pub ramp: Ramp,
    /// Most connections at once, 1 to [`CONNECTIONS_MAX`]; each carries one request at a time.
    pub connections: usize,
    /// From sending a request to the end of its answer; connecting included.
    pub timeout: Duration,
}

impl Load {
    /// 32 connections, 5 seconds, the path `/`, the whole rate from the start and until it is stopped.
    #[must_use]
    pub fn new(url: &str, requests_per_second: u32) -> Self {
        Self {
            url: url.to_owned(),
            paths: vec!["/".to_owned()],
            requests_per_second,
            ramp: Ramp::default(),
            connections: 32,
            timeout: Duration::from_secs(5),
        }
    }

    /// Begins to send, now.
    ///
    /// # Errors
    /// When the options make no sense or the thread cannot be started.
    pub fn start(self) -> Result<Running> {
        let address = self.check()?;
        let shared = Arc::new(Shared::default());
        let (stop_sender, stop) = oneshot::channel();
        let (finished, finished_receiver) = oneshot::channel();
        let for_thread = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("make a runtime for the load")?;
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                runtime.block_on(run(self, address, for_thread, stop));
                // Nobody may be waiting any more.
                let _ = finished.send(());
            })
            .context("start a thread for the load")?;
        Ok(Running { shared, stop: Some(stop_sender), finished: finished_receiver, thread })
    }

    fn check(&self) -> Result<SocketAddr> {
        ensure!(!self.paths.is_empty(), "a load needs at least one path to ask for");
        for path in &self.paths {
            ensure!(path.starts_with('/'), "the path {path:?} must start with a slash");
            ensure!(path.parse::<hyper::Uri>().is_ok(), "the path {path:?} is none");
        }
        ensure!(
            (1..=REQUESTS_PER_SECOND_MAX).contains(&self.requests_per_second),
            "a load has 1 to {REQUESTS_PER_SECOND_MAX} requests per second, not {}",
            self.requests_per_second
        );
        ensure!(
            (1..=CONNECTIONS_MAX).contains(&self.connections),
            "a load has 1 to {CONNECTIONS_MAX} connections, not {}",
            self.connections
        );
        let rest = self.url.strip_prefix("http://").unwrap_or_default().trim_end_matches('/');
        match rest.parse() {
            Ok(address) => Ok(address),
            Err(_) => bail!("{:?} is not of the form http://10.79.0.1:8080", self.url),
        }
    }
}

/// A load being sent. Dropping it stops the sending and loses the report.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    finished: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Everything counted so far; requests still under way are not in it.
    #[must_use]
    pub fn snapshot(&self) -> Report {
        self.shared.lock().tally.report()
    }

    /// Everything counted since the last cut, or since the start; counting begins anew. A request under way counts where
    /// it ends.
    #[must_use]
    pub fn cut(&self) -> Stretch {
        self.shared.lock().tally.cut()
    }

    /// Whether no more requests become due, after a ramp that has an end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.lock().closing
    }

    /// Makes no more requests due, waits for those that are (at most the time-out of one), and reports.
    ///
    /// # Errors
    /// When the load's thread has panicked.
    pub async fn stop(mut self) -> Result<Report> {
        if let Some(stop) = self.stop.take() {
            // The thread only ever ends after this message.
            let _ = stop.send(());
        }
        (&mut self.finished).await.context("the load's thread ended without finishing")?;
        if self.thread.join().is_err() {
            bail!("the load's thread panicked");
        }
        Ok(self.shared.lock().tally.report())
    }
}

/// One request to be sent.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    sequence: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    work: Notify,
}

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    backlog: VecDeque<Due>,
    /// No more will become due: workers end when the backlog is empty.
    closing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(load: Load, address: SocketAddr, shared: Arc<Shared>, stop: oneshot::Receiver<()>) {
    let load = Arc::new(load);
    let workers: Vec<_> =
        (0..load.connections).map(|_| tokio::spawn(work(Arc::clone(&load), address, Arc::clone(&shared)))).collect();
    tokio::select! {
        () = pace(&load, &shared) => {}
        // A message or the handle dropped: both mean stop.
        _ = stop => {}
    }
    shared.lock().closing = true;
    shared.work.notify_waiters();
    let deadline = Instant::now() + load.timeout;
    for worker in workers {
        let abort = worker.abort_handle();
        if tokio::time::timeout_at(deadline, worker).await.is_err() {
            abort.abort();
        }
    }
    shared.lock().give_up_rest();
}

impl State {
    /// What was due and never answered has failed, however it came about.
    fn give_up_rest(&mut self) {
        self.backlog.clear();
        while self.tally.unanswered() > 0 {
            self.tally.count(Outcome::Failed("unanswered when the load was stopped".to_owned()), None);
        }
    }
}

/// Makes requests due, on time, until the ramp ends.
async fn pace(load: &Load, shared: &Shared) {
    let start = Instant::now();
    let mut sequence: u64 = 0;
    loop {
        let Some(after) = load.ramp.due_after(sequence, load.requests_per_second) else { return };
        let at = start + after;
        sleep_until(at).await;
        let mut state = shared.lock();
        state.tally.due();
        if state.backlog.len() < BACKLOG_MAX {
            state.backlog.push_back(Due { at, sequence: usize::try_from(sequence).unwrap_or(0) });
            drop(state);
            shared.work.notify_one();
        } else {
            state.tally.count(Outcome::Failed("not sent: too many requests wait for a connection".to_owned()), None);
        }
        sequence += 1;
    }
}

/// One connection and the requests it carries, one after the other.
async fn work(load: Arc<Load>, address: SocketAddr, shared: Arc<Shared>) {
    let mut connection = Connection::new(address);
    loop {
        let Some(due) = next_due(&shared).await else { return };
        let path = &load.paths[due.sequence % load.paths.len()];
        let outcome = match tokio::time::timeout(load.timeout, connection.get(path)).await {
            Ok(Ok(status)) => Outcome::Answered(status),
            Ok(Err(error)) => Outcome::Failed(format!("{error:#}")),
            Err(_) => {
                // The late answer must not be taken for that of the next request.
                connection.close();
                Outcome::Failed(format!("no answer within {:?}", load.timeout))
            }
        };
        shared.lock().tally.count(outcome, Some(due.at.elapsed()));
    }
}

/// Waits for work; `None` when there will be no more.
async fn next_due(shared: &Shared) -> Option<Due> {
    loop {
        // Asked to be woken before looking, so that nothing can come in between unnoticed.
        let woken = shared.work.notified();
        {
            let mut state = shared.lock();
            if let Some(due) = state.backlog.pop_front() {
                return Some(due);
            }
            if state.closing {
                return None;
            }
        }
        woken.await;
    }
}

#[cfg(test)]
mod tests;
