//! The figures: what the databases hold is what was sampled, and what was sampled is what Docker says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;
use serde_json::Value;
use swarmguard_agent::cgroup::hierarchy::Hierarchies;
use swarmguard_agent::discovery::{self, Change};
use swarmguard_agent::host::Host;
use swarmguard_agent::node::Facts;
use swarmguard_agent::points::Points;
use swarmguard_agent::sample::{Extra, Sampler, Wanted};
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::http::{ask, get_json};
use swarmguard_end_to_end::results::encoded;
use swarmguard_end_to_end::stage::{Stage, influx_url, wait_for};
use swarmguard_http::Request;
use swarmguard_influx::{Endpoint, Options, Precision, Sink, Writer};
use swarmguard_lab::Node;
use swarmguard_lab::servers::{INFLUXDB_DATABASE, victoria_metrics};
use swarmguard_wire::ContainerSample;

use crate::on_stage;

const TICKS: usize = 8;

async fn influx_query(stage: &Stage, query: &str) -> Result<Value> {
    let url = stage.database.url();
    get_json(&format!("{url}/query?db={INFLUXDB_DATABASE}&epoch=ms&q={}", encoded(query))).await
}

/// The first point of `recovery_events` for which this holds, once InfluxDB has it: each column by its name.
pub(crate) async fn recovery_event(stage: &Stage, condition: &str) -> Result<BTreeMap<String, Value>> {
    let query = format!("SELECT * FROM recovery_events WHERE {condition} LIMIT 1");
    wait_for("a point in recovery_events", Duration::from_secs(20), || async {
        let answer = influx_query(stage, &query).await?;
        let series = &answer["results"][0]["series"][0];
        let (Some(columns), Some(values)) = (series["columns"].as_array(), series["values"][0].as_array()) else {
            return Ok(None);
        };
        let names = columns.iter().map(|name| name.as_str().unwrap_or_default().to_owned());
        Ok(Some(names.zip(values.iter().cloned()).collect()))
    })
    .await
}

/// How many points of one container InfluxDB has.
pub(crate) async fn influx_count(stage: &Stage, container: &str) -> Result<u64> {
    let query = format!("SELECT count(memory_mb) FROM container_metrics WHERE container_id='{container}'");
    let answer = influx_query(stage, &query).await?;
    Ok(answer["results"][0]["series"][0]["values"][0][1].as_u64().unwrap_or(0))
}

/// How many of them were sampled between two times, in milliseconds since the epoch.
pub(crate) async fn influx_count_between(stage: &Stage, container: &str, from: i64, to: i64) -> Result<u64> {
    let query = format!(
        "SELECT count(memory_mb) FROM container_metrics WHERE container_id='{container}' AND time >= {from}ms AND \
         time <= {to}ms"
    );
    let answer = influx_query(stage, &query).await?;
    Ok(answer["results"][0]["series"][0]["values"][0][1].as_u64().unwrap_or(0))
}

/// As the agent has it: the page cache is looked at when it decides.
const WANTED: Wanted = Wanted { node: true, memory_percent: 80.0 };

async fn sampler(node: &Node) -> Result<Sampler> {
    let host = Host::new("/".as_ref());
    let facts = Facts::read(&host, "self", Some("eth0".to_owned()), Some(100.0));
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
    let hierarchies = Hierarchies::parse(&mountinfo, host.sys());
    let mut sampler = Sampler::new(host, "self", hierarchies, facts, None);
    let (_, containers) = discovery::once(&format!("unix://{}", node.socket().display()), None).await?;
    sampler.apply(Change::Present(containers));
    Ok(sampler)
}

fn writer(url: &str) -> Result<(Sink, Writer)> {
    let endpoint = Endpoint::parse(url, None, Precision::Milliseconds)?;
    Ok(swarmguard_influx::channel(endpoint, &Options::new("test")))
}

pub(crate) fn unix_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn two_decimals(value: Option<f32>) -> Option<f64> {
    value.map(|value| (f64::from(value) * 100.0).round() / 100.0)
}

/// A sample's figures as the database names them; absent ones have no entry.
fn sampled(sample: &ContainerSample, extra: &Extra) -> BTreeMap<&'static str, f64> {
    let network = sample.network;
    let counter = |pick: fn(&swarmguard_agent::network::Counters) -> u64| {
        extra.network.as_ref().map(|counters| pick(counters) as f64)
    };
    let fields = [
        ("cpu_percent", two_decimals(sample.cpu_percent)),
        ("cpu_limit_percent", two_decimals(sample.cpu_limit_percent)),
        ("memory_mb", two_decimals(sample.memory_mb)),
        ("memory_percent", two_decimals(sample.memory_percent)),
        ("network_rx_bytes", counter(|counters| counters.rx_bytes)),
        ("network_tx_bytes", counter(|counters| counters.tx_bytes)),
        ("network_rx_packets", counter(|counters| counters.rx_packets)),
        ("network_tx_packets", counter(|counters| counters.tx_packets)),
        ("network_rx_mbps", two_decimals(network.map(|network| network.rx_mbps))),
        ("network_tx_mbps", two_decimals(network.map(|network| network.tx_mbps))),
        ("network_percent", two_decimals(network.and_then(|network| network.percent))),
        ("throttled_percent", two_decimals(sample.throttled_percent.filter(|_| extra.throttling_is_fresh))),
        ("oom_kills", sample.oom_kills.filter(|_| extra.slow_is_fresh).map(|kills| kills as f64)),
        ("cpu_pressure_percent", two_decimals(sample.cpu_pressure_percent.filter(|_| extra.slow_is_fresh))),
        ("memory_pressure_percent", two_decimals(sample.memory_pressure_percent.filter(|_| extra.slow_is_fresh))),
        ("io_pressure_percent", two_decimals(sample.io_pressure_percent.filter(|_| extra.slow_is_fresh))),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

type Stored = BTreeMap<i64, BTreeMap<String, f64>>;

async fn influx_points(stage: &Stage, container: &str) -> Result<Stored> {
    let query = format!("SELECT * FROM container_metrics WHERE container_id='{container}' AND node='sampled'");
    let answer = influx_query(stage, &query).await?;
    let series = &answer["results"][0]["series"][0];
    let columns: Vec<&str> =
        series["columns"].as_array().context("no points")?.iter().filter_map(Value::as_str).collect();
    let mut points = Stored::new();
    for row in series["values"].as_array().context("no rows")? {
        let time = row[0].as_i64().context("no time")?;
        let fields = columns.iter().zip(row.as_array().context("no row")?).skip(1);
        let fields = fields.filter_map(|(name, value)| Some(((*name).to_owned(), value.as_f64()?)));
        points.insert(time, fields.collect());
    }
    Ok(points)
}

async fn victoria_points(url: &str, container: &str) -> Result<Stored> {
    ask(&format!("{url}/internal/force_flush"), |path| Request::get(path)).await?;
    let query = encoded(&format!("{{container_id=\"{container}\",node=\"sampled\"}}"));
    let answer = ask(&format!("{url}/api/v1/export?match[]={query}"), |path| Request::get(path)).await?;
    let mut points = Stored::new();
    for line in String::from_utf8(answer.body.to_vec())?.lines() {
        let series: Value = serde_json::from_str(line)?;
        let name = series["metric"]["__name__"].as_str().context("no name")?;
        let field = name.strip_prefix("container_metrics_").context("another measurement")?;
        let numbers = |key: &str| series[key].as_array().cloned().unwrap_or_default();
        for (time, value) in numbers("timestamps").iter().zip(numbers("values")) {
            let time = time.as_i64().context("no time")?;
            points.entry(time).or_default().insert(field.to_owned(), value.as_f64().context("no value")?);
        }
    }
    Ok(points)
}

fn check_equal(database: &str, expected: &BTreeMap<i64, BTreeMap<&str, f64>>, found: &Stored) -> Result<()> {
    let mut values = 0;
    for (time, fields) in expected {
        let point =
            found.get(time).with_context(|| format!("{database} has no point of {time}: {:?}", found.keys()))?;
        for (name, value) in fields {
            ensure!(
                point.get(*name) == Some(value),
                "{database}: {name} at {time} is {:?}, sampled {value}",
                point.get(*name)
            );
            values += 1;
        }
    }
    ensure!(values >= TICKS * 8, "only {values} values were compared");
    println!("{database}: {} points, {values} values, all equal what was sampled", expected.len());
    Ok(())
}

#[test]
fn the_databases_hold_exactly_what_was_sampled() {
    on_stage(async |stage| {
        let web = Deployed::deploy(&stage.lab, App { replicas: 3, ..App::new("web", 8080) }).await?;
        let on_node_1 = web.running(&stage.lab).await?.into_values().find(|place| place.node == 1);
        let container = on_node_1.context("no replica on node 1")?.container;
        let all = "/stress/combined?cpu=40&memory=20&network=5&duration=30&ramp=5";
        web.ask(&stage.lab, 1, all).await?;
        let victoria = victoria_metrics(&stage.lab).await?;
        let (mut to_influx, influx) = writer(&influx_url(&stage.database))?;
        let (mut to_victoria, victoria_writer) = writer(&format!("{}/api/v2/write?org=o&bucket=b", victoria.url()))?;

        let mut sampler = sampler(stage.lab.node(1)?).await?;
        let node = swarmguard_wire::NodeRef { id: None, name: swarmguard_wire::Name::new("sampled") };
        let (mut influx_points_of, mut victoria_points_of) = (Points::new(node.clone()), Points::new(node));
        let mut expected = BTreeMap::new();
        for _ in 0..TICKS {
            let (tick, time) = (sampler.tick(Instant::now(), WANTED), unix_ms());
            influx_points_of.write(&mut to_influx, &tick, time * 1_000_000);
            victoria_points_of.write(&mut to_victoria, &tick, time * 1_000_000);
            let mut both = tick.containers.iter().zip(tick.extras);
            let (sample, extra) =
                both.find(|(sample, _)| sample.id.to_string() == container).context("the container was not sampled")?;
            expected.insert(time, sampled(sample, extra));
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        drop((to_influx, to_victoria));
        influx.run(std::future::pending()).await;
        victoria_writer.run(std::future::pending()).await;

        check_equal("InfluxDB 1", &expected, &influx_points(stage, &container).await?)?;
        // VictoriaMetrics shows points some seconds after it took them.
        let found = wait_for("all points in VictoriaMetrics", Duration::from_secs(20), || async {
            let found = victoria_points(&victoria.url(), &container).await?;
            Ok((found.len() >= expected.len()).then_some(found))
        });
        check_equal("VictoriaMetrics", &expected, &found.await?)?;
        victoria.stop().await
    });
}

/// One answer of `docker stats`: when it was read, CPU time until then, and memory as it is shown (docker/cli,
/// `stats_helpers.go`), in seconds and MiB.
struct DockerStats {
    read_s: f64,
    cpu_s: f64,
    memory_mib: f64,
}

fn docker_stats(stats: &Value) -> Option<DockerStats> {
    let number = |value: &Value| value.as_f64();
    let memory = &stats["memory_stats"];
    let cache = number(&memory["stats"]["total_inactive_file"]).or_else(|| number(&memory["stats"]["inactive_file"]));
    Some(DockerStats {
        read_s: seconds_of_day(stats["read"].as_str()?)?,
        cpu_s: number(&stats["cpu_stats"]["cpu_usage"]["total_usage"])? / 1e9,
        memory_mib: (number(&memory["usage"])? - cache?) / f64::from(1 << 20),
    })
}

/// Of `2026-01-31T12:34:56.789Z`.
fn seconds_of_day(time: &str) -> Option<f64> {
    let mut parts = time.split_once('T')?.1.strip_suffix('Z')?.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
}

/// `docker stats` shows CPU time as a share of the node's CPU time, which leaves out what a hypervisor has stolen
/// (`/proc/stat`, steal): in a busy virtual machine it shows several percent too much. Compared is therefore what it
/// counted over the time it says it counted in.
#[test]
fn the_agent_and_docker_stats_agree_on_a_steady_load() {
    on_stage(async |stage| {
        let web = Deployed::deploy(&stage.lab, App { replicas: 3, ..App::new("web", 8080) }).await?;
        let on_node_1 = web.running(&stage.lab).await?.into_values().find(|place| place.node == 1);
        let container = on_node_1.context("no replica on node 1")?.container;
        web.ask(&stage.lab, 1, "/stress/combined?cpu=60&memory=48&duration=60&ramp=0").await?;
        tokio::time::sleep(Duration::from_secs(3)).await;

        let docker = stage.lab.node(1)?.docker().await?;
        let mut sampler = sampler(stage.lab.node(1)?).await?;
        let mut stream = Box::pin(docker.stats(&container, Some(StatsOptionsBuilder::new().stream(true).build())));
        let (mut dockers, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let stats = stream.next().await.context("docker stats ended")??;
            dockers.push(docker_stats(&serde_json::to_value(&stats)?).context("docker stats is not whole")?);
            let tick = sampler.tick(Instant::now(), WANTED);
            let mine = tick.containers.iter().find(|sample| sample.id.to_string() == container);
            ours.push(mine.context("the container was not sampled")?.clone());
        }
        let (first, last) = dockers.first().zip(dockers.last()).context("no stats")?;
        let docker_cpu = (last.cpu_s - first.cpu_s) / (last.read_s - first.read_s).rem_euclid(86_400.0) * 100.0;
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let docker_memory = mean(dockers.iter().map(|stats| stats.memory_mib).collect());
        // The first tick has no earlier reading to compare with.
        let our_cpu = mean(ours.iter().skip(1).filter_map(|sample| sample.cpu_percent.map(f64::from)).collect());
        let our_memory = mean(ours.iter().filter_map(|sample| sample.memory_mb.map(f64::from)).collect());
        let off = |ours: f64, dockers: f64| (ours / dockers - 1.0).abs() * 100.0;
        let (cpu, memory) = (off(our_cpu, docker_cpu), off(our_memory, docker_memory));
        println!(
            "CPU {our_cpu:.2} % against {docker_cpu:.2} % ({cpu:.2} % off), \
             memory {our_memory:.2} MiB against {docker_memory:.2} ({memory:.2} % off)"
        );
        ensure!(cpu <= 5.0 && memory <= 5.0, "they differ by more than 5 %");
        Ok(())
    });
}

#[test]
fn the_agents_points_arrive_with_the_services_name() {
    on_stage(async |stage| {
        let web = Deployed::deploy(&stage.lab, App::new("web", 8080)).await?;
        let container = web.running(&stage.lab).await?.into_values().next().context("no replica runs")?.container;
        wait_for("points of the new container", Duration::from_secs(15), || async {
            Ok((influx_count(stage, &container).await? > 0).then_some(()))
        })
        .await?;
        let query =
            format!("SHOW TAG VALUES FROM container_metrics WITH KEY = service_name WHERE container_id='{container}'");
        let answer = influx_query(stage, &query).await?;
        ensure!(answer["results"][0]["series"][0]["values"][0][1] == "web", "{answer}");
        Ok(())
    });
}
