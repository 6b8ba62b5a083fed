//! The servers around the Swarm, in the hub's network: time-series databases and a load balancer.
//!
//! Each keeps its configuration and data below the lab's state folder, so that stopping and starting one again finds
//! the same data, and taking the lab down removes it. They listen in the hub's namespace only: the machine's own
//! InfluxDB on the same port is none of theirs.

mod haproxy;
mod influxdb;
mod victoria_metrics;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use tokio::time::{Instant, sleep};

pub use haproxy::{Balancer, Haproxy, ServerCounters, haproxy};
pub use influxdb::{INFLUXDB_DATABASE, INFLUXDB_PORT, influxdb};
pub use victoria_metrics::{VICTORIA_METRICS_PORT, victoria_metrics};

use crate::http;
use crate::lab::Lab;
use crate::name::Name;
use crate::process::Process;
use crate::spawn::{self, Place, Start, Surroundings, log_tail};

/// From start to the first answer; a second is usual.
const READY_WAIT: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(20);
/// For any single question to a server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A server in the hub. Dropping it does not end it; the lab going down does.
pub struct Server {
    lab: Name,
    name: String,
    address: SocketAddr,
    program: PathBuf,
    args: Vec<OsString>,
    /// Answers with any 2xx when the server is ready.
    ready_path: &'static str,
    process: Process,
}

/// What a server is started from, and started again.
struct Recipe {
    name: String,
    port: u16,
    program: PathBuf,
    args: Vec<OsString>,
    ready_path: &'static str,
}

impl Server {
    async fn start_new(lab: &Lab, recipe: Recipe) -> Result<Self> {
        if let Some(running) = lab.process(&recipe.name) {
            bail!("{} runs already, as process {}; end it first", recipe.name, running.pid());
        }
        let Recipe { name, port, program, args, ready_path } = recipe;
        let address = SocketAddr::from((lab.hub().address(), port));
        let process = launch(lab.name(), &name, &program, &args)?;
        let server = Self { lab: lab.name(), name, address, program, args, ready_path, process };
        server.wait_ready().await?;
        Ok(server)
    }

    /// `http://10.79.K.1:PORT`, reachable from the nodes and from this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process as it was last started.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it, gently at first. Its data stay.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&self) -> Result<()> {
        self.process.terminate().await
    }

    /// Starts it again on the same port and data, ending it first if it still runs, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready in time, with the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        self.process.terminate().await?;
        self.process = launch(self.lab, &self.name, &self.program, &self.args)?;
        self.wait_ready().await
    }

    /// Asks the server something without a body and gives the answer's text.
    ///
    /// # Errors
    /// When it does not answer, or with anything but 2xx.
    async fn ask(&self, method: Method, path: &str) -> Result<String> {
        ask(self.address, method, path).await
    }

    async fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WAIT;
        loop {
            let Err(error) = self.ask(Method::GET, self.ready_path).await else { return Ok(()) };
            let tail = || log_tail(self.process.log_path());
            if !self.process.is_running() {
                bail!("{} ended; {}", self.name, tail());
            }
            if Instant::now() >= deadline {
                bail!("{} is not ready after {READY_WAIT:?}: {error:#}; {}", self.name, tail());
            }
            sleep(READY_POLL).await;
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} (pid {})", self.name, self.address, self.process.pid())
    }
}

async fn ask(address: SocketAddr, method: Method, path: &str) -> Result<String> {
    let answer = http::request(address, method, path, ANSWER_TIMEOUT).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if !(200..300).contains(&answer.status) {
        bail!("http://{address}{path} answered {}: {}", answer.status, text.trim());
    }
    Ok(text)
}

fn launch(lab: Name, name: &str, program: &std::path::Path, args: &[OsString]) -> Result<Process> {
    let start = Start {
        place: Place::Hub,
        surroundings: Surroundings::Plain,
        name,
        program,
        args: args.to_vec(),
        env: Vec::new(),
    };
    spawn::start(lab, start)
}

/// Makes the server's folder in the lab's state and writes its configuration there.
fn write_config(lab: &Lab, server: &str, file: &str, text: &str) -> Result<PathBuf> {
    let folder = lab.state_dir().join(server);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join(file);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
