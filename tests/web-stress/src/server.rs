//! The life of the server: bind, serve, drain, close.
//!
//! The drain is what makes a replacement invisible to clients. On shutdown `/health` turns 503 at
//! once, but requests go on being answered for the drain delay, while a load balancer that checks
//! health takes this server out; only then does the listener close, and what is in flight finishes.
//! The invariant: a request that reached the listener before it closed is answered, unless its work
//! outlasts [`FINISH_MAX`].

use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::data::Held;
use crate::limits::Limits;
use crate::routes;
use crate::stress::Stresses;
use crate::usage::{Reading, Usage};

/// How long requests in flight may take after the listener has closed.
const FINISH_MAX: Duration = Duration::from_secs(5);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// After a failed accept (out of descriptors, say), so that the loop does not spin on it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Between the close of the listener and that of idle connections: what a client has already sent
/// on one is read first, and so is a request in flight.
const SETTLE: Duration = Duration::from_millis(20);
/// Worker threads for bursts of `/api/data`; more would only take turns on the same cores.
const WORKERS_MAX: usize = 16;
const WORKER_STACK_BYTES: usize = 256 * 1024;

/// What all requests share.
pub(crate) struct App {
    started: Instant,
    draining: AtomicBool,
    usage: Mutex<Usage>,
    pub(crate) limits: Limits,
    pub(crate) stresses: Stresses,
    pub(crate) held: Arc<Held>,
    pub(crate) traffic: Traffic,
}

/// Counts of requests.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) total: AtomicU64,
    pub(crate) in_flight: AtomicU64,
}

/// A request being answered; counted out when dropped, also if its client goes away.
pub(crate) struct InFlight<'a>(&'a Traffic);

impl App {
    fn new(started: Instant) -> Self {
        Self {
            started,
            draining: AtomicBool::new(false),
            usage: Mutex::default(),
            limits: Limits::read(),
            stresses: Stresses::default(),
            held: Arc::default(),
            traffic: Traffic::default(),
        }
    }

    pub(crate) fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The latest sample.
    pub(crate) fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_usage(&self, usage: Usage) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
    }
}

impl Traffic {
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The runtime [`run`] is made for: one thread that answers, and a few for long bursts of work.
///
/// # Errors
/// If the kernel refuses what the runtime needs to wait for events.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WORKERS_MAX)
        .thread_stack_size(WORKER_STACK_BYTES)
        .build()
}

/// Serves until `shutdown` is ready, then drains. `announce` is called once with the bound address.
///
/// # Errors
/// If the address cannot be bound or announced.
pub async fn run(
    config: Config,
    announce: impl FnOnce(SocketAddr) -> io::Result<()>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let app = Arc::new(App::new(Instant::now()));
    let listener = TcpListener::bind(config.listen).await?;
    announce(listener.local_addr()?)?;
    tokio::spawn(sample(Arc::clone(&app)));

    let mut connections = Connections::new(Arc::clone(&app));
    connections.accept_until(&listener, shutdown).await;
    app.draining.store(true, Ordering::Relaxed);
    connections.accept_until(&listener, tokio::time::sleep(config.drain)).await;
    // Whoever already waits in the queue would be reset by the close.
    connections.accept_until(&listener, ready(())).await;
    drop(listener);
    connections.finish().await;
    Ok(())
}

/// Keeps [`App::usage`] at most a second old.
async fn sample(app: Arc<App>) -> Infallible {
    let mut last = Reading::take(Instant::now());
    app.set_usage(Usage::between(&last, &last));
    loop {
        tokio::time::sleep(SAMPLE_EVERY).await;
        let next = Reading::take(Instant::now());
        app.set_usage(Usage::between(&last, &next));
        last = next;
    }
}

/// The open connections.
struct Connections {
    app: Arc<App>,
    open: JoinSet<()>,
    closing: watch::Sender<bool>,
}

impl Connections {
    fn new(app: Arc<App>) -> Self {
        Self { app, open: JoinSet::new(), closing: watch::Sender::new(false) }
    }

    /// Accepts connections until `stop` is ready and none is waiting.
    async fn accept_until(&mut self, listener: &TcpListener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.serve(stream),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                () = &mut stop => return,
                // Only to let go of what has ended.
                Some(_) = self.open.join_next() => {}
            }
        }
    }

    fn serve(&mut self, stream: TcpStream) {
        // An answer is written whole; waiting to fill a segment would only delay it. A socket that
        // refuses the option is served all the same.
        let _ = stream.set_nodelay(true);
        let app = Arc::clone(&self.app);
        let mut closing = self.closing.subscribe();
        self.open.spawn(async move {
            let service = service_fn(|request| routes::answer(&app, request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                // A client that breaks off is its own affair.
                _ = connection.as_mut() => return,
                _ = closing.wait_for(|closing| *closing) => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        });
    }

    /// Closes idle connections and waits for the others to answer, within [`FINISH_MAX`].
    async fn finish(mut self) {
        tokio::time::sleep(SETTLE).await;
        self.closing.send_replace(true);
        let ended = async { while self.open.join_next().await.is_some() {} };
        // Past the limit the clients are given up: the orchestrator would kill the process next.
        let _ = tokio::time::timeout(FINISH_MAX, ended).await;
    }
}
