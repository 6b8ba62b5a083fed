//! The far end: takes packed batches from the queue and sends them, and makes both ends.
//!
//! It sends one batch at a time over one kept-alive connection, in order; what becomes of it is decided by [`classify`].
//! A batch whose answer got lost is sent again: points are named by series and time, so the database then stores the
//! same point over itself. Invariant: every point closed in a sink is in the end counted exactly once, as stored,
//! rejected, dropped or left out.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use swarmguard_http::{Connection, Request, Response};

use crate::answer::{Outcome, classify};
use crate::backoff::{Backoff, PAUSE_FIRST, PAUSE_MAX};
use crate::batch::{Batch, Limits, fnv1a};
use crate::endpoint::{Endpoint, Secret};
use crate::pack::{Packed, split};
use crate::shared::{Shared, StatsReader};
use crate::sink::Sink;
use crate::standing::{News, Standing, Trouble};

/// How long a shutdown may be held up by points that are still to be sent.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// How much of the database's reason goes into a log line.
const REASON_CHARS_MAX: usize = 200;

/// How batches are made, kept and sent. [`Options::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node's name: decides when in the interval it writes, and its jitter.
    pub node: String,
    /// A batch is closed after this time; 10 s. Longer compresses better and shows later.
    pub flush_interval: Duration,
    /// A batch is closed at this many lines; 5,000, which InfluxDB's manual gives as best.
    pub batch_lines_max: u32,
    /// A batch is closed at this many bytes before compression; 1 MiB.
    pub batch_bytes_max: usize,
    /// Compressed bytes kept while the database is away; 4 MiB. Beyond it the oldest batch is dropped.
    pub queue_bytes_max: usize,
    /// Time for connecting, sending and answering together; 10 s.
    pub request_timeout: Duration,
    /// The pause after a first failure; 1 s. It doubles with each further one.
    pub retry_pause_first: Duration,
    /// The longest pause that is not asked for by the database; 60 s.
    pub retry_pause_max: Duration,
}

impl Options {
    /// The defaults, for the node called `node`.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            flush_interval: Duration::from_secs(10),
            batch_lines_max: 5_000,
            batch_bytes_max: 1024 * 1024,
            queue_bytes_max: 4 * 1024 * 1024,
            request_timeout: Duration::from_secs(10),
            retry_pause_first: PAUSE_FIRST,
            retry_pause_max: PAUSE_MAX,
        }
    }
}

/// Makes the two ends of the way to `endpoint`. Nothing is opened and nothing runs until [`Writer::run`].
#[must_use]
pub fn channel(endpoint: Endpoint, options: &Options) -> (Sink, Writer) {
    let shared = Arc::new(Shared::new(options.queue_bytes_max));
    let limits = Limits {
        lines_max: options.batch_lines_max,
        bytes_max: options.batch_bytes_max,
        flush_interval: options.flush_interval,
    };
    let sink = Sink { batch: Batch::new(endpoint.precision(), limits, &options.node), shared: Arc::clone(&shared) };
    let seed = fnv1a(options.node.as_bytes());
    let writer = Writer {
        connection: Connection::new(endpoint.url()),
        backoff: Backoff::new(options.retry_pause_first, options.retry_pause_max, seed),
        standing: Standing::default(),
        request_timeout: options.request_timeout,
        endpoint,
        shared,
    };
    (sink, writer)
}

/// Sends what the sink queues. Does nothing until [`run`](Self::run).
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    backoff: Backoff,
    standing: Standing,
    request_timeout: Duration,
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// What an attempt came to: the database's answer, or none.
type Attempt = Result<Response, swarmguard_http::Error>;

/// What to do after an attempt.
enum Next {
    GoOn,
    PauseFor(Duration),
}

impl Writer {
    /// A reader of the counts, to be taken before the writer is set to run.
    #[must_use]
    pub fn stats_reader(&self) -> StatsReader {
        StatsReader(Arc::clone(&self.shared))
    }

    /// Sends batches until the sink is gone and all are sent, or until `shutdown` and at most [`SHUTDOWN_MAX`] more.
    ///
    /// In that time the rest is sent, what the sink still queues included: drop the sink at shutdown, else the whole
    /// time is waited for it. After `shutdown` a failure is final. Points that remain are counted as dropped.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let shared = Arc::clone(&self.shared);
        {
            let mut work = pin!(self.work());
            tokio::select! {
                biased;
                () = &mut work => {}
                () = shutdown => {
                    shared.lock().shutting_down = true;
                    shared.wake.notify_one();
                    // Being late is no error: what is not sent by then is counted below.
                    let _ = tokio::time::timeout(SHUTDOWN_MAX, work).await;
                }
            }
        }
        let dropped = shared.close();
        if dropped > 0 {
            tracing::warn!(endpoint = %self.endpoint, points = dropped, "points were not sent before the shutdown");
        }
    }

    async fn work(&mut self) {
        while let Some(batch) = self.next_batch().await {
            let attempt = self.send(&batch).await;
            match self.conclude(batch, &attempt) {
                Next::GoOn => {}
                Next::PauseFor(_) if self.shared.lock().shutting_down => return,
                Next::PauseFor(pause) => self.pause(pause).await,
            }
        }
    }

    /// The oldest batch; waits for one; nothing when the sink is gone and the queue is empty.
    async fn next_batch(&self) -> Option<Packed> {
        loop {
            {
                let mut state = self.shared.lock();
                if let Some(batch) = state.queue.take() {
                    return Some(batch);
                }
                if !state.sink_is_open {
                    return None;
                }
            }
            self.shared.wake.notified().await;
        }
    }

    async fn send(&mut self, batch: &Packed) -> Attempt {
        let request = Request {
            content_encoding: Some("gzip"),
            authorization: self.endpoint.authorization().map(Secret::expose),
            ..Request::post(self.endpoint.url().path_and_query(), "text/plain; charset=utf-8", batch.body.clone())
        };
        let attempt = self.connection.request(request, self.request_timeout).await;
        let mut state = self.shared.lock();
        if !matches!(attempt, Err(swarmguard_http::Error::Connect { .. })) {
            state.stats.bytes_sent += u64::try_from(batch.body.len()).unwrap_or(u64::MAX);
        }
        state.stats.connections_opened = self.connection.counters().opened;
        attempt
    }

    /// Decides what becomes of the batch, counts it, and says what is news.
    fn conclude(&mut self, batch: Packed, attempt: &Attempt) -> Next {
        let (status, outcome) = match attempt {
            Ok(answer) => (answer.status, classify(answer.status, &answer.body, answer.retry_after)),
            // An answer whose body was too long or broke off still has a status.
            Err(error) => match error.status() {
                Some(status) => (status, classify(status, b"", None)),
                None => return self.keep(batch, Trouble::Unreachable, Duration::ZERO, attempt),
            },
        };
        let points = u64::from(batch.points);
        match outcome {
            Outcome::Stored => self.settle(0, points, attempt),
            Outcome::Partial { dropped } => self.settle(dropped.unwrap_or(1).min(points), points, attempt),
            Outcome::Rejected => self.settle(points, points, attempt),
            Outcome::TooLarge => self.halve(&batch, attempt),
            Outcome::Unauthorized => self.keep(batch, Trouble::Unauthorized { status }, Duration::ZERO, attempt),
            Outcome::DatabaseMissing => self.keep(batch, Trouble::DatabaseMissing, Duration::ZERO, attempt),
            Outcome::RetryAfter { at_least } => self.keep(batch, Trouble::Busy { status }, at_least, attempt),
            Outcome::Unexpected => self.keep(batch, Trouble::Unexpected { status }, Duration::ZERO, attempt),
        }
    }

    /// The database has dealt with the batch: of its `points`, it did not take `rejected`.
    fn settle(&mut self, rejected: u64, points: u64, attempt: &Attempt) -> Next {
        {
            let mut state = self.shared.lock();
            state.queue.settle();
            state.stats.batches_sent += 1;
            state.stats.points_stored += points - rejected;
            state.stats.points_rejected += rejected;
        }
        self.backoff.reset();
        let news = self.standing.answered();
        self.tell(news, attempt);
        let news = if rejected > 0 { self.standing.refused() } else { self.standing.took_all() };
        self.tell(news, attempt);
        Next::GoOn
    }

    /// The batch is too large for the database: its halves take its place. A single point has none and is rejected.
    fn halve(&mut self, batch: &Packed, attempt: &Attempt) -> Next {
        let Ok(Some((first, second))) = split(batch) else {
            return self.settle(batch.points.into(), batch.points.into(), attempt);
        };
        let mut state = self.shared.lock();
        let dropped = state.queue.put_back([first, second]);
        state.stats.points_dropped += dropped;
        state.stats.retries += 1;
        Next::GoOn
    }

    /// The batch is to be sent again, not before a pause.
    fn keep(&mut self, batch: Packed, trouble: Trouble, at_least: Duration, attempt: &Attempt) -> Next {
        {
            let mut state = self.shared.lock();
            let dropped = state.queue.put_back([batch]);
            state.stats.points_dropped += dropped;
            state.stats.retries += 1;
        }
        let news = self.standing.failed(trouble);
        self.tell(news, attempt);
        Next::PauseFor(self.backoff.pause(at_least))
    }

    /// Waits; a shutdown ends it early, for one last attempt.
    async fn pause(&self, pause: Duration) {
        let mut pause = pin!(tokio::time::sleep(pause));
        while !self.shared.lock().shutting_down {
            tokio::select! {
                () = &mut pause => return,
                // Most often just another batch, which has to wait as well.
                () = self.shared.wake.notified() => {}
            }
        }
    }

    fn tell(&self, news: Option<News>, attempt: &Attempt) {
        let endpoint = &self.endpoint;
        match news {
            None => {}
            Some(News::Lost(trouble)) => tracing::warn!(
                %endpoint, reason = %Reason(attempt), "the database stores nothing: {trouble}; points are kept"
            ),
            Some(News::Back { failures }) => {
                let points_dropped = self.shared.lock().stats.points_dropped;
                tracing::info!(%endpoint, failures, points_dropped, "the database stores again");
            }
            Some(News::Refusing) => tracing::warn!(
                %endpoint, reason = %Reason(attempt), "the database does not take some points; they are dropped"
            ),
            Some(News::TakingAll { batches }) => {
                tracing::info!(%endpoint, batches, "the database takes all points again");
            }
        }
    }
}

/// Why an attempt went as it did: an error with its causes, or the beginning of the database's own words.
struct Reason<'a>(&'a Attempt);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.body);
                let shown: String = text.chars().take(REASON_CHARS_MAX).collect();
                write!(f, "{}", shown.trim())
            }
            Err(error) => {
                write!(f, "{error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
    }
}
