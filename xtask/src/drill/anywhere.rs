//! Both scenarios and Swarm's own reaction, in the lab or on a Swarm of the user's, where SwarmGuard runs and the app is
//! deployed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::results::Database;
use swarmguard_end_to_end::site::{Addresses, Site, address_of};
use swarmguard_end_to_end::stage::Stage;
use swarmguard_end_to_end::trial::{self, Traffic, Trial};
use swarmguard_influx::Secret;

use super::told::Told;
use super::{POLICY, lab_of_three, on_lab, suite};
use crate::report::Outcome;
use crate::run::{interrupted, runtime, step};

/// The service's name where none is given.
pub(super) const SERVICE: &str = "web-stress";

/// A replica is given back after so long in the lab, where nobody wants to wait for minutes.
const GIVEN_BACK_AFTER: &str = "--scenario2-scale-down-cooldown=15";

/// Between two trials: cooldowns have to pass, which are a second in the lab and half a minute in life.
const PAUSE_IN_LAB: Duration = Duration::from_secs(5);
const PAUSE_IN_LIFE: Duration = Duration::from_secs(40);

/// From the end of the load to the last replica given back, where each waits for the default of three minutes.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(1_800);

/// Which Swarm.
#[derive(Debug, Clone, Args)]
pub(crate) struct At {
    /// A manager of your own Swarm: unix:///path, tcp://host:port or http://host:port; without it a Swarm of three nodes
    /// is made for the drill and removed again
    #[arg(long, value_name = "ADDRESS", requires = "target")]
    docker_host: Option<String>,
    /// Where the users of its service come in: http://host:port
    #[arg(long, value_name = "URL", requires = "docker_host")]
    target: Option<String>,
    /// SwarmGuard's collector there [default: port 5000 of the target's host]
    #[arg(long, value_name = "URL", requires = "docker_host")]
    collector: Option<String>,
    /// The database that its agents write to: shares of the load are read there, and results stored; its token, if it
    /// needs one, is taken from INFLUXDB_TOKEN
    #[arg(long, value_name = "URL", env = "INFLUXDB_URL")]
    influx_url: Option<String>,
    /// The service
    #[arg(long, default_value = SERVICE)]
    service: String,
    /// Seconds between two trials [default: 40, or 5 in the lab]
    #[arg(long)]
    pause: Option<u64>,
    /// Also write a report here that a person can read, as Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Also write the figures here as JSON; - is the standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What scenario 2 is made of.
#[derive(Debug, Clone, Args)]
pub(crate) struct Busy {
    /// Requests a second, at the most
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rps: u32,
    /// Seconds from no request to that
    #[arg(long, default_value_t = 60)]
    ramp: u64,
    /// Seconds at that
    #[arg(long, default_value_t = 30)]
    hold: u64,
    /// Seconds from that to no request
    #[arg(long, default_value_t = 5)]
    ramp_down: u64,
    /// What is asked for: what makes CPU, memory and network high at about a hundred requests a second on one replica of
    /// 0.3 cores and 96 MiB on a link of 100 Mbit/s
    #[arg(long, default_value = "/api/data?cpu_us=1900&kb=80&hold_kb=140&hold_ms=5000")]
    path: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Anywhere {
    /// Scenario 1: one replica gets sick (CPU or memory high, network low) and is moved
    Scenario1 {
        #[command(flatten)]
        at: At,
        /// How often
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        repeat: u32,
        /// CPU in percent of what the replica may use
        #[arg(long, default_value_t = 95, value_parser = clap::value_parser!(u32).range(0..=100))]
        cpu: u32,
        /// Memory in MiB, beside what it needs
        #[arg(long, default_value_t = 0)]
        memory: u32,
        /// Seconds until it is that sick
        #[arg(long, default_value_t = 0)]
        ramp: u32,
        /// Seconds for which it is
        #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
        duration: u32,
    },
    /// Scenario 2: traffic goes up, replicas are added; it goes down, and they are given back
    Scenario2 {
        #[command(flatten)]
        at: At,
        /// How often
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        repeat: u32,
        #[command(flatten)]
        busy: Busy,
    },
    /// What Swarm does alone when a container dies, SwarmGuard being paused
    Baseline {
        #[command(flatten)]
        at: At,
        /// How often
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        repeat: u32,
    },
    /// All of these several times, and in the lab a node cut off and three services at once; with a report
    Suite {
        #[command(flatten)]
        at: At,
        /// How often
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        iterations: u32,
        #[command(flatten)]
        busy: Busy,
    },
}

impl Busy {
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            path: self.path.clone(),
            requests_per_second: self.rps,
            up: Duration::from_secs(self.ramp),
            hold: Duration::from_secs(self.hold),
            down: Duration::from_secs(self.ramp_down),
        }
    }
}

/// What a trial is made in.
pub(super) struct Ground<'a> {
    pub(super) begun: Instant,
    pub(super) site: &'a Site,
    /// The stage in the lab; on a user's own Swarm there is none.
    pub(super) stage: Option<&'a Stage>,
    /// Between two trials.
    pub(super) pause: Duration,
}

impl Anywhere {
    fn at(&self) -> &At {
        match self {
            Self::Scenario1 { at, .. }
            | Self::Scenario2 { at, .. }
            | Self::Baseline { at, .. }
            | Self::Suite { at, .. } => at,
        }
    }

    pub(super) fn run(self) -> Result<()> {
        let begun = Instant::now();
        let at = self.at().clone();
        let given_pause = at.pause.map(Duration::from_secs);
        let outcome = match at.addresses()? {
            Some(addresses) => {
                let database = at.influx_url.as_deref().map(|url| Database::parse(url, token())).transpose()?;
                let pause = given_pause.unwrap_or(PAUSE_IN_LIFE);
                runtime()?.block_on(async {
                    let site = Site::open(addresses, database).await?;
                    let ground = Ground { begun, site: &site, stage: None, pause };
                    tokio::select! {
                        outcome = self.drill(&ground) => outcome,
                        stopped = interrupted() => {
                            // What cannot be taken back ends by itself: the pause after three minutes, the stress after its time.
                            let _ = site.resume().await;
                            let _ = site.ask("/stress/stop").await;
                            stopped.map(|()| Outcome::default())
                        }
                    }
                })
            }
            None => on_lab(begun, lab_of_three(), &[&POLICY[..], &[GIVEN_BACK_AFTER]].concat(), async |stage| {
                let app = App { replicas: 1, ..App::new(&at.service, 8080) };
                let app = Deployed::deploy(&stage.lab, app).await?;
                let site = stage.site(&app).await?;
                let pause = given_pause.unwrap_or(PAUSE_IN_LAB);
                self.drill(&Ground { begun, site: &site, stage: Some(stage), pause }).await
            }),
        }?;
        outcome.tell(at.json)
    }

    async fn drill(&self, ground: &Ground<'_>) -> Result<Outcome> {
        let told = match self {
            Self::Scenario1 { repeat, cpu, memory, ramp, duration, .. } => {
                let stress = format!("/stress/combined?cpu={cpu}&memory={memory}&duration={duration}&ramp={ramp}");
                Told::of(ground.migrations(*repeat, &stress).await?)
            }
            Self::Scenario2 { repeat, busy, .. } => ground.scalings(*repeat, &busy.traffic()).await?,
            Self::Baseline { repeat, .. } => Told::of(ground.crashes(*repeat).await?),
            Self::Suite { iterations, busy, .. } => suite::drill(ground, *iterations, &busy.traffic()).await?,
        };
        if let Some(database) = &ground.site.database {
            database.store(&told.trials).await?;
            step(ground.begun, &format!("{} results stored as test_results", told.trials.len()));
        }
        if let Some(path) = &self.at().report {
            std::fs::write(path, told.markdown()).with_context(|| format!("writing {}", path.display()))?;
            step(ground.begun, &format!("a report is in {}", path.display()));
        }
        Ok(told.outcome(ground.stage.is_some()))
    }
}

impl Ground<'_> {
    pub(super) fn say(&self, text: &str) {
        step(self.begun, text);
    }

    pub(super) async fn migrations(&self, repeat: u32, stress: &str) -> Result<Vec<Trial>> {
        self.repeated(repeat, "scenario 1: a replica gets sick", async || trial::migration(self.site, stress).await)
            .await
    }

    pub(super) async fn crashes(&self, repeat: u32) -> Result<Vec<Trial>> {
        self.repeated(repeat, "Swarm alone: a container is killed", async || trial::crash(self.site).await).await
    }

    async fn repeated(&self, repeat: u32, what: &str, trial: impl AsyncFn() -> Result<Trial>) -> Result<Vec<Trial>> {
        let mut trials = Vec::new();
        for number in 1..=repeat {
            self.say(&format!("{what} ({number} of {repeat})"));
            let done = trial().await?;
            self.say(&format!(
                "  mended after {:.2} s, downtime {:.2} s, {} of {} requests failed",
                done.mttr_seconds.unwrap_or_default(),
                done.downtime_seconds,
                done.failed_requests,
                done.requests
            ));
            trials.push(done);
            tokio::time::sleep(self.pause).await;
        }
        Ok(trials)
    }

    pub(super) async fn scalings(&self, repeat: u32, traffic: &Traffic) -> Result<Told> {
        let mut told = Told::default();
        for number in 1..=repeat {
            self.say(&format!("scenario 2: traffic goes up ({number} of {repeat})"));
            let tell = |text: &str| self.say(&format!("  {text}"));
            let scaling = trial::scaling(self.site, traffic, GIVEN_BACK_WITHIN, &tell).await?;
            tell("the replicas are given back");
            told.add(scaling);
            tokio::time::sleep(self.pause).await;
        }
        Ok(told)
    }
}

impl At {
    fn addresses(&self) -> Result<Option<Addresses>> {
        let (Some(docker_host), Some(target)) = (&self.docker_host, &self.target) else { return Ok(None) };
        let beside = || -> Result<String> {
            let address = address_of(target)?;
            Ok(format!("http://{}", std::net::SocketAddr::new(address.ip(), 5000)))
        };
        Ok(Some(Addresses {
            docker_host: docker_host.clone(),
            collector: self.collector.clone().map_or_else(beside, Ok)?,
            target: target.clone(),
            service: self.service.clone(),
        }))
    }
}

/// The database's token: by environment, where other users do not see it.
pub(super) fn token() -> Option<Secret> {
    std::env::var("INFLUXDB_TOKEN").ok().filter(|token| !token.is_empty()).map(|token| Secret::new(&token))
}
