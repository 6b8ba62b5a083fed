//! The kernel programs count what containers really transfer, whatever network they are in.
//!
//! The programs are attached by this test itself, beside those of the running agents, and it knows the containers of two
//! nodes, which share this machine's kernel.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use swarmguard_agent::cgroup::hierarchy::Hierarchies;
use swarmguard_agent::discovery::{self, Change};
use swarmguard_agent::host::Host;
use swarmguard_agent::kernel::programs::attach_network;
use swarmguard_agent::network::Counters;
use swarmguard_agent::node::Facts;
use swarmguard_agent::sample::{Sampler, Wanted};
use swarmguard_end_to_end::binaries::Binaries;
use swarmguard_end_to_end::stage::{Stage, wait_for};
use swarmguard_lab::{ImageFile, Node, load_image};
use swarmguard_wire::ContainerId;

use crate::on_stage;

const IMAGE: &str = "traffic:lab";
const DOCKERFILE: &str = "FROM scratch\nCOPY traffic /traffic\nENTRYPOINT [\"/traffic\"]\n";
const PORT: u16 = 7070;
const TCP_BYTES: u64 = 20_000_000;
const DATAGRAMS: u64 = 2_000;
const DATAGRAM_BYTES: u64 = 1_000;
const TOLERANCE_PERCENT: f64 = 1.0;

fn docker(node: &Node, args: &[&str]) -> Result<String> {
    let host = format!("unix://{}", node.socket().display());
    let output = Command::new("docker").args(["--host", &host]).args(args).output().context("starting docker")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "docker {}: {said}", args.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A container of this test, gone when it is dropped.
struct Container<'a> {
    node: &'a Node,
    id: String,
}

impl<'a> Container<'a> {
    fn start(node: &'a Node, network: &str, args: &[&str]) -> Result<Self> {
        let id = docker(node, &[&["run", "--detach", "--network", network, IMAGE], args].concat())?;
        Ok(Self { node, id })
    }

    fn listener(node: &'a Node, network: &str) -> Result<Self> {
        Self::start(node, network, &["listen", "--port", &PORT.to_string()])
    }

    fn address(&self, family: &str) -> Result<String> {
        let format = format!("{{{{range .NetworkSettings.Networks}}}}{{{{.{family}}}}}{{{{end}}}}");
        docker(self.node, &["inspect", "--format", &format, &self.id])
    }

    fn segments(&self) -> Result<Segments> {
        let pid = docker(self.node, &["inspect", "--format", "{{.State.Pid}}", &self.id])?;
        let snmp = std::fs::read_to_string(format!("/proc/{pid}/net/snmp"))?;
        Segments::parse(&snmp).context("no TCP counters")
    }

    fn transfer(&self, args: &[&str]) -> Result<()> {
        docker(self.node, &[&["exec", &self.id, "/traffic"], args].concat()).map(|_| ())
    }

    fn counters(&self, sampler: &mut Sampler) -> Result<Counters> {
        let id: ContainerId = self.id.parse()?;
        let tick = sampler.tick(Instant::now(), Wanted { node: false, memory_percent: 80.0 });
        let mut both = tick.containers.iter().zip(tick.extras);
        let (_, extra) = both.find(|(sample, _)| sample.id == id).context("the container is not sampled")?;
        extra.network.context("it has no counters")
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = docker(self.node, &["rm", "--force", &self.id]);
    }
}

/// What `payload` is on the link.
fn on_the_link(payload: u64, packets: u64, header_bytes: u64) -> (u64, u64) {
    (payload + packets * header_bytes, packets)
}

/// What TCP has sent in a namespace, for the first time and again: the kernel's own count (RFC 1213), which knows nothing of
/// cgroups. On the node's own there is a little of others too.
#[derive(Clone, Copy)]
struct Segments {
    sent: u64,
    sent_again: u64,
}

impl Segments {
    fn parse(snmp: &str) -> Option<Self> {
        let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, numbers) = (lines.next()?, lines.next()?);
        let value = |wanted: &str| {
            let mut both = names.split_whitespace().zip(numbers.split_whitespace());
            both.find_map(|(name, number)| if name == wanted { number.parse().ok() } else { None })
        };
        Some(Self { sent: value("OutSegs")?, sent_again: value("RetransSegs")? })
    }

    fn since(self, before: Self) -> Self {
        Self { sent: self.sent - before.sent, sent_again: self.sent_again - before.sent_again }
    }

    /// The payload in so many segments; one sent again is nearly always full.
    fn on_the_link(self, mtu: u64, ip_header_bytes: u64) -> (u64, u64) {
        // With the timestamps that Linux adds.
        let header_bytes = ip_header_bytes + 32;
        let again = self.sent_again * (mtu - header_bytes);
        on_the_link(TCP_BYTES + again, self.sent + self.sent_again, header_bytes)
    }
}

fn check(what: &str, found: (u64, u64), expected: (u64, u64)) -> Result<()> {
    let off = |found: u64, expected: u64| (found as f64 / expected as f64 - 1.0) * 100.0;
    let (bytes, packets) = (off(found.0, expected.0), off(found.1, expected.1));
    println!("{what}: {found:?} of {expected:?}: bytes {bytes:+.2} %, packets {packets:+.2} %");
    ensure!(bytes.abs() <= TOLERANCE_PERCENT && packets.abs() <= TOLERANCE_PERCENT, "{what} is off by more than 1 %");
    Ok(())
}

struct Pair<'a> {
    client: Container<'a>,
    server: Container<'a>,
    bystander: Container<'a>,
    address: String,
    mtu: u64,
    ip_header_bytes: u64,
}

impl Pair<'_> {
    /// TCP there and UDP there, each counted at both ends, and by nobody else.
    async fn run(&self, what: &str, stage: &Stage) -> Result<()> {
        let mut sampler = sampler()?;
        for node in stage.lab.nodes() {
            let (_, containers) = discovery::once(&format!("unix://{}", node.socket().display()), None).await?;
            containers.into_iter().for_each(|container| sampler.apply(Change::Started(container)));
        }
        let to = format!("{}:{PORT}", self.address);
        let mut gained = |args: &[&str]| -> Result<[Counters; 3]> {
            let all = [&self.client, &self.server, &self.bystander];
            let before = all.map(|container| container.counters(&mut sampler));
            self.client.transfer(args)?;
            // The last datagrams may still be on their way.
            std::thread::sleep(Duration::from_millis(100));
            let mut gained = [Counters::default(); 3];
            for ((gained, container), before) in gained.iter_mut().zip(all).zip(before) {
                let (before, after) = (before?, container.counters(&mut sampler)?);
                gained.tx_bytes = after.tx_bytes - before.tx_bytes;
                gained.rx_bytes = after.rx_bytes - before.rx_bytes;
                gained.tx_packets = after.tx_packets - before.tx_packets;
                gained.rx_packets = after.rx_packets - before.rx_packets;
                gained.tcp_retransmits =
                    after.tcp_retransmits.zip(before.tcp_retransmits).map(|(now, then)| now - then);
            }
            Ok(gained)
        };
        let before = self.client.segments()?;
        let tcp = gained(&["tcp", "--to", &to, "--bytes", &TCP_BYTES.to_string()])?;
        let segments = self.client.segments()?.since(before);
        let expected = segments.on_the_link(self.mtu, self.ip_header_bytes);
        check(&format!("{what}, TCP sent"), (tcp[0].tx_bytes, tcp[0].tx_packets), expected)?;
        println!("{what}, TCP sent again: {:?} of {}", tcp[0].tcp_retransmits, segments.sent_again);
        check(&format!("{what}, TCP received"), (tcp[1].rx_bytes, tcp[1].rx_packets), expected)?;
        let (count, size) = (DATAGRAMS.to_string(), DATAGRAM_BYTES.to_string());
        let udp = gained(&["udp", "--to", &to, "--datagrams", &count, "--size", &size])?;
        let expected = on_the_link(DATAGRAMS * DATAGRAM_BYTES, DATAGRAMS, self.ip_header_bytes + 8);
        check(&format!("{what}, UDP sent"), (udp[0].tx_bytes, udp[0].tx_packets), expected)?;
        check(&format!("{what}, UDP received"), (udp[1].rx_bytes, udp[1].rx_packets), expected)?;
        for others in [tcp[2], udp[2]] {
            // Neighbour discovery and the like, at most.
            ensure!(others.rx_packets + others.tx_packets < 20, "{what}: the bystander has {others:?}");
        }
        Ok(())
    }
}

fn sampler() -> Result<Sampler> {
    let host = Host::new(Path::new("/"));
    let hierarchies = Hierarchies::parse(&std::fs::read_to_string("/proc/self/mountinfo")?, host.sys());
    let programs = attach_network(hierarchies.v2_mount().context("no cgroup v2")?)?;
    let facts = Facts::read(&host, "self", None, None);
    Ok(Sampler::new(host, "self", hierarchies, facts, Some(programs)))
}

#[test]
fn containers_transfers_are_counted_in_every_kind_of_network() {
    on_stage(async |stage| {
        let program = ImageFile::program("traffic", &stage.binaries.traffic)?;
        load_image(&stage.lab, IMAGE, DOCKERFILE, &[program]).await?;
        let (one, two) = (stage.lab.node(1)?, stage.lab.node(2)?);
        let network = |name: &str, args: &[&str]| docker(one, &[&["network", "create"], args, &[name]].concat());
        network("counted", &["--ipv6", "--subnet", "fd78::/64"])?;
        network("counted-overlay", &["--driver", "overlay", "--attachable"])?;
        let done = all_networks(stage, one, two).await;
        for name in ["counted", "counted-overlay"] {
            // The engine lets go of a network a moment after its last container.
            wait_for("the network to be removed", Duration::from_secs(10), || async {
                Ok(docker(one, &["network", "rm", name]).is_ok().then_some(()))
            })
            .await?;
        }
        done
    });
}

async fn all_networks(stage: &Stage, one: &Node, two: &Node) -> Result<()> {
    for (what, family, ip_header_bytes) in
        [("bridge, IPv4", "IPAddress", 20), ("bridge, IPv6", "GlobalIPv6Address", 40)]
    {
        let server = Container::listener(one, "counted")?;
        let address = server.address(family)?;
        let address = if address.contains(':') { format!("[{address}]") } else { address };
        let client = Container::start(one, "counted", &["sleep"])?;
        let bystander = Container::start(one, "counted", &["sleep"])?;
        Pair { client, server, bystander, address, mtu: 1_500, ip_header_bytes }.run(what, stage).await?;
    }
    let server = Container::listener(two, "host")?;
    let client = Container::start(one, "host", &["sleep"])?;
    let bystander = Container::start(one, "host", &["sleep"])?;
    let address = two.address().to_string();
    Pair { client, server, bystander, address, mtu: 1_500, ip_header_bytes: 20 }.run("host", stage).await?;
    let server = Container::listener(two, "counted-overlay")?;
    let client = Container::start(one, "counted-overlay", &["sleep"])?;
    let bystander = Container::start(one, "counted-overlay", &["sleep"])?;
    let address = server.address("IPAddress")?;
    // 50 bytes of each packet are VXLAN's.
    Pair { client, server, bystander, address, mtu: 1_450, ip_header_bytes: 20 }.run("overlay", stage).await
}

#[test]
fn cap_bpf_and_cap_net_admin_are_enough_to_count_traffic() {
    let binaries = Binaries::from_environment().unwrap();
    let mut doctor = Command::new("setpriv");
    doctor.arg("--bounding-set=-all,+bpf,+net_admin").arg(&binaries.agent).args(["doctor", "--json"]);
    let output = doctor.output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["decisions"]["network_source"], "ebpf", "{told:#}");
}
