//! What trials on a Swarm of the user's need beside them: the app deployed and removed, a load, and whether a service
//! answers.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use swarmguard_end_to_end::results::Database;
use swarmguard_end_to_end::site::{self, Deployment, address_of, manager};
use swarmguard_end_to_end::trial;
use swarmguard_http::Url;
use swarmguard_lab::load::{Load, Probe, Ramp, downtime};

use super::anywhere::{SERVICE, token};
use crate::report::Outcome;
use crate::run::{interrupted, runtime, say, step};

const DOCKER_HOST: &str = "unix:///var/run/docker.sock";
const DEPLOYED_WITHIN: Duration = Duration::from_secs(120);
const REMOVED_WITHIN: Duration = Duration::from_secs(60);
/// A line of progress comes so often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Deploy the app that trials are made on, with a limit of 0.3 cores and 96 MiB
    Deploy {
        /// A manager's Docker: unix:///path, tcp://host:port or http://host:port
        #[arg(long, value_name = "ADDRESS", env = "DOCKER_HOST", default_value = DOCKER_HOST)]
        docker_host: String,
        /// The service's name
        #[arg(long, default_value = SERVICE)]
        service: String,
        /// The app's image, which every node can pull or has: docker build tests/web-stress, see tests/README.md
        #[arg(long, default_value = "web-stress:latest")]
        image: String,
        /// Replicas
        #[arg(long, default_value_t = 1)]
        replicas: u64,
        /// The port that users come in at
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Where: at every node (the routing mesh), or at those where a replica runs, for a balancer of yours
        #[arg(long, default_value_t = Publish::Ingress)]
        publish: Publish,
        /// An overlay network to join
        #[arg(long)]
        network: Option<String>,
    },
    /// Remove what deploy deployed
    Cleanup {
        /// A manager's Docker
        #[arg(long, value_name = "ADDRESS", env = "DOCKER_HOST", default_value = DOCKER_HOST)]
        docker_host: String,
        /// The service's name
        #[arg(long, default_value = SERVICE)]
        service: String,
        /// Also remove the stored results (test_results) from the database
        #[arg(long, requires = "influx_url")]
        full: bool,
        /// The database
        #[arg(long, value_name = "URL", env = "INFLUXDB_URL")]
        influx_url: Option<String>,
    },
    /// Requests at a rate that goes up, holds and goes down
    Load {
        /// What to ask for: http://host:port/path
        #[arg(long, value_name = "URL")]
        target: String,
        /// Requests a second, at the most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
        rps: u32,
        /// Seconds from no request to that
        #[arg(long, default_value_t = 30)]
        ramp: u64,
        /// Seconds at that
        #[arg(long, default_value_t = 120)]
        hold: u64,
        /// Seconds from that to no request
        #[arg(long, default_value_t = 30)]
        ramp_down: u64,
        /// Connections at the most
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
        connections: u16,
        /// Also write the figures here as JSON; - is the standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Look at short intervals whether a service answers, until interrupted or for a time; exit code 1 if it did not always
    ZeroDowntime {
        /// What to ask for: http://host:port/path
        #[arg(long, value_name = "URL")]
        target: String,
        /// Seconds from one look to the next
        #[arg(long, default_value_t = 0.1)]
        interval: f64,
        /// For so many seconds [default: until interrupted]
        #[arg(long)]
        seconds: Option<u64>,
        /// Write each look here: milliseconds since 1970, what was answered, and after how many milliseconds
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Database to store the result in
        #[arg(long, value_name = "URL", env = "INFLUXDB_URL")]
        influx_url: Option<String>,
    },
}

/// How Docker publishes a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Publish {
    Ingress,
    Host,
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Host => "host",
        })
    }
}

impl Tool {
    pub(super) fn run(self) -> Result<()> {
        let begun = Instant::now();
        runtime()?.block_on(async {
            match self {
                Self::Deploy { docker_host, service, image, replicas, port, publish, network } => {
                    let docker = manager(&docker_host).await?;
                    step(begun, &format!("deploying {replicas} replicas of {image} as {service}"));
                    let (millicpus, memory_mb) = (300, 96);
                    let on_every_node = publish == Publish::Ingress;
                    let deployment =
                        Deployment { service, image, replicas, port, on_every_node, network, millicpus, memory_mb };
                    deployment.create(&docker, DEPLOYED_WITHIN).await?;
                    step(begun, &format!("they run; users come in at port {port} ({publish})"));
                    Ok(())
                }
                Self::Cleanup { docker_host, service, full, influx_url } => {
                    let docker = manager(&docker_host).await?;
                    let was_there = site::remove(&docker, &service, REMOVED_WITHIN).await?;
                    let what = if was_there { "is removed" } else { "was not there" };
                    step(begun, &format!("service {service} {what}"));
                    if full {
                        let database = Database::parse(&influx_url.context("--full needs --influx-url")?, token())?;
                        database.query("DROP MEASUREMENT test_results").await?;
                        step(begun, "test_results is removed from the database");
                    }
                    Ok(())
                }
                Self::Load { target, rps, ramp, hold, ramp_down, connections, json } => {
                    let seconds = Duration::from_secs;
                    let ramp = Ramp { up: seconds(ramp), hold: Some(seconds(hold)), down: seconds(ramp_down) };
                    let load = Load {
                        paths: vec![path_of(&target)?],
                        ramp,
                        connections: connections.into(),
                        ..Load::new(&format!("http://{}", address_of(&target)?), rps)
                    };
                    send(begun, load).await?.tell(json)
                }
                Self::ZeroDowntime { target, interval, seconds, output, influx_url } => {
                    let database = influx_url.map(|url| Database::parse(&url, token())).transpose()?;
                    let interval = Duration::try_from_secs_f64(interval).ok().filter(|interval| !interval.is_zero());
                    let probe = Probe {
                        address: address_of(&target)?,
                        path: path_of(&target)?,
                        interval: interval.context("the interval has to be above 0 seconds")?,
                        timeout: Duration::from_secs(2),
                    };
                    look(begun, probe, seconds.map(Duration::from_secs), output, database).await
                }
            }
        })
    }
}

fn path_of(url: &str) -> Result<String> {
    let parsed: Url = url.parse().with_context(|| format!("parsing {url}"))?;
    Ok(parsed.path_and_query().to_owned())
}

async fn send(begun: Instant, load: Load) -> Result<Outcome> {
    let length = load.ramp.length().unwrap_or_default();
    step(begun, &format!("up to {} requests a second, for {} s", load.requests_per_second, length.as_secs()));
    let running = load.start()?;
    let mut before = 0;
    let watched = async {
        while !running.is_over() {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            let report = running.snapshot();
            let rate = (report.requests - before) as f64 / SIGN_OF_LIFE.as_secs_f64();
            before = report.requests;
            step(
                begun,
                &format!("  {rate:.0} requests a second; {} in all, {} failed", report.requests, report.failed),
            );
        }
    };
    tokio::select! {
        () = watched => {}
        // An interrupted load is a shorter one.
        _ = interrupted() => step(begun, "interrupted"),
    }
    let report = running.stop().await?;
    let latency = report.latency_ms;
    let json = json!({
        "requests": report.requests, "failed": report.failed, "errors": report.errors,
        "latency_ms": { "p50": latency.p50, "p95": latency.p95, "p99": latency.p99, "max": latency.max },
    });
    let missed = if report.failed > 0 { vec![format!("{} requests failed", report.failed)] } else { Vec::new() };
    Ok(Outcome { text: format!("\n{report}"), json, missed })
}

async fn look(
    begun: Instant,
    probe: Probe,
    length: Option<Duration>,
    output: Option<PathBuf>,
    database: Option<Database>,
) -> Result<()> {
    let target = format!("{}{}", probe.address, probe.path);
    let until = length.map_or("until interrupted".to_owned(), |length| format!("for {} s", length.as_secs()));
    step(begun, &format!("looking at {target} every {:?}, {until}", probe.interval));
    let started_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seen, mut looks) = tokio::sync::mpsc::unbounded_channel();
    let probing = probe.start(Some(seen));
    let mut was_answered = true;
    let told = async {
        while let Some(look) = looks.recv().await {
            if look.is_answered() != was_answered {
                was_answered = look.is_answered();
                let what = if was_answered { "it answers again".to_owned() } else { format!("no: {:?}", look.answer) };
                say(&format!("{:>8.1} s  {what}", look.after.as_secs_f64()));
            }
        }
    };
    let over = async {
        match length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = told => {}
        () = over => {}
        _ = interrupted() => {}
    }
    let looks = probing.stop().await;
    ensure!(!looks.is_empty(), "it ended before the first look");
    if let Some(path) = output {
        let mut text = String::new();
        for look in &looks {
            let answer = match &look.answer {
                Ok(status) => status.to_string(),
                Err(error) => error.replace(char::is_whitespace, "_"),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{} {answer} {:.1}",
                (started_at + look.after).as_millis(),
                look.took.as_secs_f64() * 1e3
            );
        }
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(database) = database {
        database.store(&[trial::availability(&target, &looks)]).await?;
    }
    let failed = looks.iter().filter(|look| !look.is_answered()).count();
    let down = downtime(&looks).as_secs_f64();
    step(begun, &format!("{} looks, {failed} without an answer, downtime {down:.2} s", looks.len()));
    if failed > 0 { bail!("it did not always answer") } else { Ok(()) }
}
