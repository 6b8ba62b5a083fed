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
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let good = Load::new("http://127.0.0.1:80", 10);
        assert!(good.check().is_ok());
        for bad in [
            Load { url: "https://127.0.0.1:80".into(), ..good.clone() },
            Load { url: "http://localhost:80".into(), ..good.clone() },
            Load { paths: vec![], ..good.clone() },
            Load { paths: vec!["x".into()], ..good.clone() },
            Load { requests_per_second: 0, ..good.clone() },
            Load { connections: 0, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    /// Answers each request with what `answer` makes of the number of requests before it; `None` hangs up.
    async fn server(answer: fn(usize) -> Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    while stream.read(&mut request).await.unwrap_or(0) > 0 {
                        let Some(text) = answer(count.fetch_add(1, Ordering::SeqCst)) else { return };
                        stream.write_all(text.as_bytes()).await.unwrap();
                        if text.contains("X-Then: hang-up") {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    async fn measure(answer: fn(usize) -> Option<&'static str>, load: Load, for_ms: u64) -> Report {
        let address = server(answer).await;
        let running = Load { url: format!("http://{address}"), ..load }.start().unwrap();
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        running.stop().await.unwrap()
    }

    #[tokio::test]
    async fn a_healthy_server_gets_the_whole_rate_and_nothing_fails() {
        let report = measure(|_| Some(OK), Load::new("", 200), 300).await;
        assert_eq!((report.failed, &report.errors[..]), (0, &[][..]));
        assert!(report.requests >= 50, "{report:?}");
        assert_eq!(report.statuses.get(&200), Some(&report.requests));
    }

    #[tokio::test]
    async fn a_load_with_an_end_is_over_by_itself_and_has_sent_all() {
        let ramp = Ramp { up: Duration::from_millis(100), hold: Some(Duration::from_millis(50)), down: Duration::ZERO };
        let running =
            Load { ramp, ..Load::new(&format!("http://{}", server(|_| Some(OK)).await), 200) }.start().unwrap();
        assert!(!running.is_over());
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(running.is_over());
        let report = running.stop().await.unwrap();
        assert_eq!((report.requests, report.failed), (20, 0), "{report:?}");
    }

    #[tokio::test]
    async fn anything_but_2xx_and_every_broken_answer_has_failed() {
        fn answer(count: usize) -> Option<&'static str> {
            match count {
                0 => Some("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
                1 => None,
                _ => Some(OK),
            }
        }
        let report = measure(answer, Load { connections: 1, ..Load::new("", 50) }, 200).await;
        assert_eq!(report.failed, 2, "{report:?}");
        assert_eq!(report.statuses.get(&503), Some(&1));
        assert_eq!(report.errors.len(), 2, "{report:?}");
    }

    #[tokio::test]
    async fn a_connection_closed_while_idle_is_opened_again_without_a_failure() {
        let hang_up = |_| Some("HTTP/1.1 200 OK\r\nX-Then: hang-up\r\nContent-Length: 2\r\n\r\nok");
        let report = measure(hang_up, Load { connections: 1, ..Load::new("", 20) }, 300).await;
        assert_eq!(report.failed, 0, "{report:?}");
        assert!(report.requests >= 5, "{report:?}");
    }

    #[tokio::test]
    async fn waiting_for_a_connection_counts_into_the_latency() {
        fn slow_first(count: usize) -> Option<&'static str> {
            if count == 0 {
                std::thread::sleep(Duration::from_millis(150));
            }
            Some(OK)
        }
        let report = measure(slow_first, Load { connections: 1, ..Load::new("", 100) }, 250).await;
        assert_eq!(report.failed, 0, "{report:?}");
        // A closed loop would have seen one slow request and 24 fast ones; here half of them waited.
        assert!(report.latency_ms.p95 > 75.0, "{report:?}");
        assert!(report.latency_ms.max > 140.0, "{report:?}");
    }

    #[tokio::test]
    async fn what_is_never_answered_has_failed() {
        fn never(_: usize) -> Option<&'static str> {
            Some("")
        }
        let load = Load { timeout: Duration::from_millis(50), connections: 2, ..Load::new("", 100) };
        let report = measure(never, load, 200).await;
        assert_eq!(report.failed, report.requests, "{report:?}");
        assert!(report.requests >= 15, "{report:?}");
    }
}
