//! `cargo xtask bench packets`: what the kernel programs cost a transfer.
//!
//! iperf3 transfers as much as it can between two cgroups, over loopback and over the link of a node, without the agent
//! and with it, in turn: half of each first, so that a machine that gets slower favours neither. The agent knows both
//! cgroups, so that each packet over the link is counted twice, when it is sent and when it is received.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use swarmguard_end_to_end::binaries::Binaries;
use swarmguard_lab::{Lab, Name, Options as LabOptions};

use super::cgroups::{self, PARENT};
use super::measure;
use super::peers::Peer;
use super::report::{Figure, Outcome, Promise, promises, table};
use crate::run::{output, step};

const PORT: u16 = 5201;
/// Not counted: TCP finds its speed.
const OMITTED_SECONDS: u32 = 1;
/// The agent has found the cgroups and attached its programs.
const ATTACH: Duration = Duration::from_millis(2_500);
const SERVER_START: Duration = Duration::from_millis(200);

/// A datagram that fills a packet of 1,500 bytes, so that each one is a packet.
const DATAGRAM_BYTES: &str = "1472";

const TRANSFER_PERCENT_MAX: f64 = 3.0;
/// Nothing is cheaper for the kernel than a datagram that is thrown into a link between two namespaces of one machine,
/// so nowhere else do two programs weigh as much. The receiver also sleeps, and is woken, more often when the sender
/// gets slower, which is most of what is measured.
const FLOOD_PERCENT_MAX: f64 = 10.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    LoopbackTcp,
    LinkTcp,
    LinkUdp,
}

impl Kind {
    const ALL: [Self; 3] = [Self::LoopbackTcp, Self::LinkTcp, Self::LinkUdp];

    fn name(self) -> &'static str {
        match self {
            Self::LoopbackTcp => "TCP over loopback",
            Self::LinkTcp => "TCP over the link",
            Self::LinkUdp => "UDP over the link, a packet each",
        }
    }
}

/// What one transfer reached, and what it took.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Transfer {
    /// Received.
    gbit_per_s: f64,
    /// CPU time of both ends for each KiB sent.
    cpu_ns_per_kib: f64,
}

/// A kind's transfers, of the same number with and without.
#[derive(Debug, Default)]
struct Pair {
    without: Vec<Transfer>,
    with: Vec<Transfer>,
}

impl Pair {
    /// With in relation to without, in the same run, since the machine is not as fast in all of them.
    fn ratio(&self, pick: fn(&Transfer) -> f64) -> f64 {
        Figure::of(self.with.iter().zip(&self.without).map(|(with, without)| pick(with) / pick(without))).median
    }
}

fn figure(transfers: &[Transfer], pick: fn(&Transfer) -> f64) -> Figure {
    Figure::of(transfers.iter().map(pick))
}

pub(super) async fn run(seconds: u32, runs: u32, binaries: &Binaries) -> Result<Outcome> {
    let begun = Instant::now();
    Lab::clean(Name::Bench).await?;
    cgroups::remove_all();
    let lab = Lab::up(LabOptions::new(Name::Bench, 1), &|_| ()).await?;
    let bench = Bench { lab, seconds };
    let mut pairs: [Pair; 3] = Default::default();
    for run in 1..=runs {
        step(begun, &format!("run {run} of {runs}: {} transfers of {seconds} s without, and with", Kind::ALL.len()));
        let with_first = run % 2 == 0;
        for with in [with_first, !with_first] {
            let agent = with.then(|| bench.start_agent(&binaries.agent)).transpose()?;
            tokio::time::sleep(ATTACH).await;
            if let Some(agent) = &agent {
                let links = measure::descriptors_of(agent.pid(), "bpf_link");
                ensure!(links >= 2, "the agent has attached no programs: {links} links");
            }
            for (kind, pair) in Kind::ALL.iter().zip(&mut pairs) {
                let transfers = if with { &mut pair.with } else { &mut pair.without };
                transfers.push(bench.transfer(*kind)?);
            }
            drop(agent);
        }
    }
    Ok(outcome(seconds, runs, &pairs))
}

struct Bench {
    lab: Lab,
    seconds: u32,
}

impl Bench {
    fn start_agent(&self, program: &Path) -> Result<Peer> {
        cgroups::make("sender")?;
        cgroups::make("receiver")?;
        let mut command = Command::new(program);
        command.args(["--cgroup-parent", PARENT, "--docker-host", "unix:///nonexistent", "--log", "error"]);
        Peer::start(&mut command)
    }

    fn transfer(&self, kind: Kind) -> Result<Transfer> {
        let node = self.lab.node(1)?;
        let (server_netns, address) = match kind {
            Kind::LoopbackTcp => (node.netns(), "127.0.0.1".to_owned()),
            Kind::LinkTcp | Kind::LinkUdp => (self.lab.hub().netns(), self.lab.hub().address().to_string()),
        };
        let port = PORT.to_string();
        let server = ["--server", "--one-off", "--bind", &address, "--port", &port];
        let server = Peer::start(&mut iperf(server_netns, "receiver", &server)?)?;
        std::thread::sleep(SERVER_START);
        let (seconds, omitted) = (self.seconds.to_string(), OMITTED_SECONDS.to_string());
        let mut client = vec!["--client", &address, "--port", &port, "--time", &seconds, "--omit", &omitted, "--json"];
        if kind == Kind::LinkUdp {
            client.extend(["--udp", "--bandwidth", "0", "--length", DATAGRAM_BYTES]);
        }
        let text = output(iperf(node.netns(), "sender", &client)?)?;
        drop(server);
        let report = serde_json::from_str(&text).context("reading what iperf3 said")?;
        let seconds = f64::from(self.seconds + OMITTED_SECONDS);
        parse(&report, seconds).with_context(|| format!("iperf3 did not say how it went: {text}"))
    }
}

/// iperf3 in a namespace and, from its first socket on, in a cgroup.
fn iperf(netns: &str, cgroup: &str, args: &[&str]) -> Result<Command> {
    let folders = cgroups::make(cgroup)?;
    let enter = "for folder; do if [ \"$folder\" = -- ]; then break; fi; echo $$ > \"$folder/cgroup.procs\" || exit 1; shift; done; shift\n";
    ensure!(!folders.is_empty(), "no cgroup hierarchy is mounted");
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{netns}"));
    command.args(["sh", "-c", &format!("{enter} exec iperf3 \"$@\""), "sh"]);
    command.args(folders).arg("--").args(args);
    Ok(command)
}

/// `--json` of iperf3's client. CPU time is in percent of the whole transfer, the omitted seconds included.
fn parse(report: &Value, seconds: f64) -> Option<Transfer> {
    let end = report.get("end")?;
    let received = end.get("sum_received").or_else(|| end.get("sum"))?;
    let sent = end.get("sum_sent").or_else(|| end.get("sum"))?;
    let cpu = end.get("cpu_utilization_percent")?;
    let (host, remote) = (cpu.get("host_total")?.as_f64()?, cpu.get("remote_total")?.as_f64()?);
    let cpu_ns = (host + remote) / 100.0 * seconds * 1e9;
    let bytes = sent.get("bits_per_second")?.as_f64()? / 8.0 * seconds;
    Some(Transfer {
        gbit_per_s: received.get("bits_per_second")?.as_f64()? / 1e9,
        cpu_ns_per_kib: cpu_ns / (bytes / 1024.0),
    })
}

fn outcome(seconds: u32, runs: u32, pairs: &[Pair; 3]) -> Outcome {
    let throughput: fn(&Transfer) -> f64 = |transfer| transfer.gbit_per_s;
    let cpu: fn(&Transfer) -> f64 = |transfer| transfer.cpu_ns_per_kib;
    let mut rows = vec![
        ["", "Gbit/s without", "with", "CPU ns per KiB without", "with", "CPU more, %"].map(str::to_owned).to_vec(),
    ];
    let mut kinds = Vec::new();
    for (kind, pair) in Kind::ALL.iter().zip(pairs) {
        let more = percent_more(pair.ratio(cpu));
        rows.push(vec![
            kind.name().to_owned(),
            figure(&pair.without, throughput).shown(2),
            figure(&pair.with, throughput).shown(2),
            figure(&pair.without, cpu).shown(0),
            figure(&pair.with, cpu).shown(0),
            format!("{more:.1}"),
        ]);
        let sides =
            |pick| json!({ "without": figure(&pair.without, pick).json(), "with": figure(&pair.with, pick).json() });
        kinds.push(json!({ "transfer": kind.name(), "gbit_per_s": sides(throughput), "cpu_ns_per_kib": sides(cpu) }));
    }
    let less = |pair: &Pair| -percent_more(pair.ratio(throughput));
    let more = |pair: &Pair| percent_more(pair.ratio(cpu));
    let [loopback, link, packets] = pairs;
    let promise = |what, found, at_most| Promise { what, found, at_most };
    let (lines, missed) = promises(&[
        promise("TCP over loopback, % of throughput lost", less(loopback), TRANSFER_PERCENT_MAX),
        promise("TCP over loopback, % more CPU time", more(loopback), TRANSFER_PERCENT_MAX),
        promise("TCP over the link, % of throughput lost", less(link), TRANSFER_PERCENT_MAX),
        promise("TCP over the link, % more CPU time", more(link), TRANSFER_PERCENT_MAX),
        promise("UDP over the link, % more CPU time", more(packets), FLOOD_PERCENT_MAX),
    ]);
    let text = format!(
        "\n{runs} transfers of {seconds} s each: median (least-most); link: a veth pair and a bridge\n\n{}\n{lines}",
        table(&rows)
    );
    Outcome { text, json: json!({ "packets": kinds, "seconds": seconds, "runs": runs, "missed": missed }), missed }
}

fn percent_more(ratio: f64) -> f64 {
    (ratio - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_of_both_ends_is_shared_by_all_that_was_sent() {
        let report = json!({ "end": {
            "sum_sent": { "bits_per_second": 8.0 * 1024.0 * 1000.0 }, "sum_received": { "bits_per_second": 1e9 },
            "cpu_utilization_percent": { "host_total": 60.0, "remote_total": 40.0 },
        }});
        assert_eq!(parse(&report, 2.0), Some(Transfer { gbit_per_s: 1.0, cpu_ns_per_kib: 1e6 }));
        assert_eq!(parse(&json!({ "error": "unable to connect" }), 2.0), None);
    }

    #[test]
    fn what_is_lost_and_what_is_more_are_relations_within_a_run() {
        let transfer = |gbit_per_s| Transfer { gbit_per_s, cpu_ns_per_kib: 100.0 / gbit_per_s };
        let pair =
            Pair { without: [10.0, 20.0, 100.0].map(transfer).to_vec(), with: [8.0, 16.0, 1.0].map(transfer).to_vec() };
        assert_eq!(pair.ratio(|transfer| transfer.gbit_per_s), 0.8);
        assert_eq!(pair.ratio(|transfer| transfer.cpu_ns_per_kib), 1.25);
    }
}
