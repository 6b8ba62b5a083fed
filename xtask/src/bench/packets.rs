//! `cargo xtask bench packets`: what the kernel programs cost a transfer.
//!
//! iperf3 transfers as much as it can between two cgroups that the agent knows, over loopback and over the link of a
//! node, so that each packet is met by a program twice: when it is sent and when it is received. In each connection
//! stretches of a fifth of a second follow each other, with nothing attached to the kernel's hook for packets, with
//! programs that do nothing, and with the agent's; so neither a machine that gets slower nor a connection that began
//! badly favours one of them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use swarmguard_end_to_end::binaries::Binaries;
use swarmguard_lab::{Lab, Name, Options as LabOptions};

use super::cgroups::{self, PARENT};
use super::hooks::{self, Programs};
use super::measure;
use super::peers::Peer;
use crate::report::{Figure, Outcome, Promise, promises, table};
use crate::run::step;

/// The cgroups that are counted.
const ENDS: [&str; 2] = ["sender", "receiver"];

const PORT: u16 = 5201;
const SERVER_START: Duration = Duration::from_millis(300);
/// TCP finds its speed.
const WARM_UP: Duration = Duration::from_secs(2);
/// The agent has entered both cgroups by then, which it does at its first tick.
const FIRST_TICK_MAX: Duration = Duration::from_secs(10);
const STRETCH: Duration = Duration::from_millis(200);
/// What was under way when the programs changed is over.
const SETTLE: Duration = Duration::from_millis(30);

/// What meters and attaching take beside the stretches; should this process be killed, iperf3 ends by itself.
const MARGIN: Duration = Duration::from_secs(60);

/// A datagram that fills a packet of 1,500 bytes, so that each one is a packet.
const DATAGRAM_BYTES: &str = "1472";

const TRANSFER_PERCENT_MAX: f64 = 3.0;
/// Over the link, beside programs that do nothing.
const BEYOND_EMPTY_PERCENT_MAX: f64 = 5.0;
/// Nothing is cheaper for the kernel than what is thrown from one namespace of a machine into another, so nowhere else do
/// two programs weigh as much, even those that do nothing. The receiver also sleeps, and is woken, more often when the
/// sender gets slower.
const LINK_PERCENT_MAX: f64 = 10.0;

/// What is attached to the kernel's hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Nothing,
    Empty,
    Agent,
}

impl Hook {
    /// In a cycle of these each follows each, itself included, twice.
    const ORDERS: [[Self; 3]; 6] = [
        [Self::Nothing, Self::Empty, Self::Agent],
        [Self::Agent, Self::Nothing, Self::Empty],
        [Self::Empty, Self::Agent, Self::Nothing],
        [Self::Nothing, Self::Agent, Self::Empty],
        [Self::Empty, Self::Nothing, Self::Agent],
        [Self::Agent, Self::Empty, Self::Nothing],
    ];
}

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

/// What has been sent so far, and what it took.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Meter {
    at: Instant,
    /// By the sender's interfaces.
    sent: Sent,
    /// Of both ends, and of the kernel's threads that handle packets when there are too many for the ends' own time. A
    /// kernel that keeps the time of interrupts apart (`IRQ_TIME_ACCOUNTING`) leaves out what they do; there, look at
    /// the throughput.
    cpu_ns: u64,
}

/// As `/proc/<pid>/net/dev` counts: what the kernel hands over in one piece is one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    bytes: u64,
    packets: u64,
}

/// What a stretch of a transfer reached, and what it took.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    gbit_per_s: f64,
    cpu_ns_per_kib: f64,
    cpu_ns_per_packet: f64,
}

impl Stretch {
    /// Nothing if nothing was sent.
    fn between(from: &Meter, to: &Meter) -> Option<Self> {
        let seconds = to.at.checked_duration_since(from.at)?.as_secs_f64();
        let bytes = to.sent.bytes.checked_sub(from.sent.bytes).filter(|bytes| *bytes > 0)? as f64;
        let packets = to.sent.packets.checked_sub(from.sent.packets).filter(|packets| *packets > 0)? as f64;
        let cpu_ns = to.cpu_ns.checked_sub(from.cpu_ns)? as f64;
        Some(Self {
            gbit_per_s: bytes * 8.0 / seconds / 1e9,
            cpu_ns_per_kib: cpu_ns / (bytes / 1024.0),
            cpu_ns_per_packet: cpu_ns / packets,
        })
    }
}

/// A kind's stretches; those of the same place are of the same three.
#[derive(Debug, Default)]
struct Stretches {
    nothing: Vec<Stretch>,
    empty: Vec<Stretch>,
    agent: Vec<Stretch>,
}

impl Stretches {
    fn of(&mut self, hook: Hook) -> &mut Vec<Stretch> {
        match hook {
            Hook::Nothing => &mut self.nothing,
            Hook::Empty => &mut self.empty,
            Hook::Agent => &mut self.agent,
        }
    }
}

fn figure(stretches: &[Stretch], pick: Pick) -> Figure {
    Figure::of(stretches.iter().map(pick))
}

/// In percent, each time for two of the same three.
fn more(stretches: &[Stretch], than: &[Stretch], pick: Pick) -> Figure {
    Figure::of(stretches.iter().zip(than).map(|(one, other)| (pick(one) / pick(other) - 1.0) * 100.0))
}

type Pick = fn(&Stretch) -> f64;

pub(super) async fn run(stretches: u32, binaries: &Binaries) -> Result<Outcome> {
    let stretches = stretches.next_multiple_of(Hook::ORDERS.len() as u32);
    let begun = Instant::now();
    Lab::clean(Name::Bench).await?;
    cgroups::remove_all();
    let lab = Lab::up(LabOptions::new(Name::Bench, 1), &|_| ()).await?;
    let agent = start_agent(&binaries.agent).await?;
    let bench = Bench { lab, empty: Programs::empty()?, agent: Programs::of_agent(agent.pid())?, stretches };
    let mut kinds: [Stretches; 3] = Default::default();
    for (kind, found) in Kind::ALL.into_iter().zip(&mut kinds) {
        let each = bench.lasts().as_secs();
        step(begun, &format!("{}: {each} s, now without, now with programs", kind.name()));
        *found = bench.transfer(kind).await.with_context(|| kind.name())?;
        ensure!(hooks::counted_cgroups(agent.pid())? >= ENDS.len(), "the agent has stopped counting meanwhile");
    }
    Ok(outcome(stretches, &kinds))
}

struct Bench {
    lab: Lab,
    empty: Programs,
    agent: Programs,
    stretches: u32,
}

impl Bench {
    async fn transfer(&self, kind: Kind) -> Result<Stretches> {
        let node = self.lab.node(1)?;
        let (server_netns, address) = match kind {
            Kind::LoopbackTcp => (node.netns(), "127.0.0.1".to_owned()),
            Kind::LinkTcp | Kind::LinkUdp => (self.lab.hub().netns(), self.lab.hub().address().to_string()),
        };
        let port = PORT.to_string();
        let server = ["--server", "--one-off", "--bind", &address, "--port", &port];
        let server = Peer::start(&mut iperf(server_netns, ENDS[1], &server)?)?;
        tokio::time::sleep(SERVER_START).await;
        let seconds = (self.lasts() + MARGIN).as_secs().to_string();
        let mut client = vec!["--client", &address, "--port", &port, "--time", &seconds];
        if kind == Kind::LinkUdp {
            client.extend(["--udp", "--bandwidth", "0", "--length", DATAGRAM_BYTES]);
        }
        // Else the two change places now and then, and the speed with them.
        if std::thread::available_parallelism()?.get() > 1 {
            client.extend(["--affinity", "0,1"]);
        }
        let client = Peer::start(&mut iperf(node.netns(), ENDS[0], &client)?)?;
        tokio::time::sleep(WARM_UP).await;
        let ends = Ends { client: client.pid(), server: server.pid(), helpers: measure::named("ksoftirqd/") };
        let mut found = Stretches::default();
        for order in Hook::ORDERS.iter().cycle().take(self.stretches as usize) {
            for hook in order {
                let attached = match hook {
                    Hook::Nothing => None,
                    Hook::Empty => Some(self.empty.attach()?),
                    Hook::Agent => Some(self.agent.attach()?),
                };
                tokio::time::sleep(SETTLE).await;
                let from = ends.meter()?;
                tokio::time::sleep(STRETCH).await;
                let to = ends.meter()?;
                drop(attached);
                found
                    .of(*hook)
                    .push(Stretch::between(&from, &to).context("iperf3 has sent nothing, or cannot be measured")?);
            }
        }
        Ok(found)
    }

    /// How long all stretches of a kind take.
    fn lasts(&self) -> Duration {
        WARM_UP + (STRETCH + SETTLE) * (3 * self.stretches)
    }
}

/// With both cgroups known to it and to its programs.
async fn start_agent(program: &Path) -> Result<Peer> {
    for end in ENDS {
        cgroups::make(end)?;
    }
    let mut command = Command::new(program);
    command.args(["--cgroup-parent", PARENT, "--docker-host", "unix:///nonexistent", "--log", "error"]);
    let agent = Peer::start(&mut command)?;
    let begun = Instant::now();
    while hooks::counted_cgroups(agent.pid()).unwrap_or(0) < ENDS.len() {
        ensure!(begun.elapsed() < FIRST_TICK_MAX, "the agent counts no cgroups: see swarmguard-agent doctor");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(agent)
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

/// The processes of a transfer.
struct Ends {
    client: u32,
    server: u32,
    helpers: Vec<u32>,
}

impl Ends {
    fn meter(&self) -> Result<Meter> {
        let text = std::fs::read_to_string(format!("/proc/{}/net/dev", self.client)).context("iperf3 has ended")?;
        let sent = sent(&text).context("its interfaces cannot be read")?;
        let cpu_ns = measure::cpu_ns(&[self.client, self.server])? + measure::cpu_ns(&self.helpers)?;
        Ok(Meter { at: Instant::now(), sent, cpu_ns })
    }
}

/// Of all interfaces together.
fn sent(net_dev: &str) -> Option<Sent> {
    let mut sum = Sent { bytes: 0, packets: 0 };
    for line in net_dev.lines().skip(2) {
        let fields: Vec<&str> = line.split_once(':')?.1.split_ascii_whitespace().collect();
        sum.bytes += fields.get(8)?.parse::<u64>().ok()?;
        sum.packets += fields.get(9)?.parse::<u64>().ok()?;
    }
    Some(sum)
}

fn outcome(stretches: u32, kinds: &[Stretches; 3]) -> Outcome {
    let throughput: Pick = |stretch| stretch.gbit_per_s;
    let per_kib: Pick = |stretch| stretch.cpu_ns_per_kib;
    let per_packet: Pick = |stretch| stretch.cpu_ns_per_packet;
    let less = |kind: &Stretches| -more(&kind.agent, &kind.nothing, throughput).median;
    let in_all = |kind: &Stretches| more(&kind.agent, &kind.nothing, per_kib).median;
    let beyond_empty = |kind: &Stretches| more(&kind.agent, &kind.empty, per_kib).median;
    let mut rows = vec![
        ["", "hook", "Gbit/s", "CPU ns per packet", "throughput, %", "CPU per byte, %"].map(str::to_owned).to_vec(),
    ];
    let mut json = Vec::new();
    for (kind, found) in Kind::ALL.iter().zip(kinds) {
        let mut hooks = serde_json::Map::new();
        for (hook, these) in [("nothing", &found.nothing), ("empty", &found.empty), ("agent", &found.agent)] {
            let first = hook == "nothing";
            let change = |pick| match first {
                true => String::new(),
                false => format!("{:+.1}", more(these, &found.nothing, pick).median),
            };
            rows.push(vec![
                if first { kind.name().to_owned() } else { String::new() },
                hook.to_owned(),
                figure(these, throughput).shown(2),
                figure(these, per_packet).shown(0),
                change(throughput),
                change(per_kib),
            ]);
            hooks.insert(
                hook.to_owned(),
                json!({
                    "gbit_per_s": figure(these, throughput).json(),
                    "cpu_ns_per_kib": figure(these, per_kib).json(),
                    "cpu_ns_per_packet": figure(these, per_packet).json(),
                    "throughput_percent_more": more(these, &found.nothing, throughput).median,
                    "cpu_percent_more": more(these, &found.nothing, per_kib).median,
                }),
            );
        }
        json.push(json!({ "transfer": kind.name(), "hook": hooks }));
    }
    let [loopback, link, datagrams] = kinds;
    let promise = |what, found, at_most| Promise { what, found, at_most };
    let (lines, missed) = promises(&[
        promise("TCP over loopback, % of throughput lost", less(loopback), TRANSFER_PERCENT_MAX),
        promise("TCP over loopback, % more CPU time", in_all(loopback), TRANSFER_PERCENT_MAX),
        promise("TCP over the link, % more than empty", beyond_empty(link), BEYOND_EMPTY_PERCENT_MAX),
        promise("UDP over the link, % more than empty", beyond_empty(datagrams), BEYOND_EMPTY_PERCENT_MAX),
        promise("TCP over the link, % of throughput lost", less(link), LINK_PERCENT_MAX),
        promise("UDP over the link, % of throughput lost", less(datagrams), LINK_PERCENT_MAX),
        promise("TCP over the link, % more CPU time", in_all(link), LINK_PERCENT_MAX),
        promise("UDP over the link, % more CPU time", in_all(datagrams), LINK_PERCENT_MAX),
    ]);
    let text = format!(
        "\n{stretches} stretches of each: median (least-most), and the median of what is more than with nothing\n\
         link: a veth pair and a bridge; empty: programs that do nothing\n\n{}\n{lines}",
        table(&rows)
    );
    let json = json!({ "packets": json, "stretches": stretches, "missed": missed });
    Outcome { text, json, missed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stretch_took_is_shared_by_all_that_was_sent_in_it() {
        let at = Instant::now();
        let meter = |seconds, bytes, packets, cpu_ns| Meter {
            at: at + Duration::from_secs(seconds),
            sent: Sent { bytes, packets },
            cpu_ns,
        };
        let from = meter(0, 1_000, 10, 5_000);
        let stretch = Stretch::between(&from, &meter(2, 1_000 + 1_024_000, 110, 5_000 + 1_000_000));
        assert_eq!(
            stretch,
            Some(Stretch { gbit_per_s: 0.004_096, cpu_ns_per_kib: 1_000.0, cpu_ns_per_packet: 10_000.0 })
        );
        assert_eq!(Stretch::between(&from, &meter(2, 1_000, 10, 6_000)), None);
    }

    #[test]
    fn sent_is_the_ninth_figure_of_each_interface_and_the_tenth() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 1 2 0 0 0 0 0 0 30 4 0 0 0 0 0 0\n  eth0: 9 9 0 0 0 0 0 0 500 6 0 0 0 0 0 0\n";
        assert_eq!(sent(text), Some(Sent { bytes: 530, packets: 10 }));
        assert_eq!(sent("a\nb\neth0: 1 2\n"), None);
    }

    #[test]
    fn more_is_a_relation_within_the_same_three() {
        let stretch = |gbit_per_s| Stretch { gbit_per_s, cpu_ns_per_kib: 100.0 / gbit_per_s, cpu_ns_per_packet: 1.0 };
        let (with, without) = ([8.0, 16.0, 1.0].map(stretch), [10.0, 20.0, 100.0].map(stretch));
        assert_eq!(more(&with, &without, |stretch| stretch.gbit_per_s).median.round(), -20.0);
        assert_eq!(more(&with, &without, |stretch| stretch.cpu_ns_per_kib).median.round(), 25.0);
    }

    #[test]
    fn each_hook_follows_each_as_often() {
        let cycle = Hook::ORDERS.concat();
        let all = [Hook::Nothing, Hook::Empty, Hook::Agent];
        for (before, after) in all.iter().flat_map(|before| all.iter().map(move |after| (before, after))) {
            let next = cycle.iter().skip(1).chain(cycle.first());
            assert_eq!(cycle.iter().zip(next).filter(|pair| *pair == (before, after)).count(), 2);
        }
    }
}
