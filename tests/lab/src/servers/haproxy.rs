//! A load balancer in front of all nodes, set up as one would be in production: health checks, connections kept alive,
//! and another server tried when the first one did not take the request.
//!
//! Not the Swarm's own routing mesh: many kernels lack IPVS, and a balancer outside can count what each node answered.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use hyper::Method;

use super::{Recipe, Server, ask, write_config};
use crate::command::program;
use crate::lab::Lab;
use crate::process::Process;

const STATS_PATH: &str = "/stats;csv";

/// What to balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    /// Tells several balancers of one lab apart: letters, digits and dashes.
    pub name: String,
    /// Where users come in, in the hub.
    pub listen_port: u16,
    /// Where the service's tasks listen, on each node that has one (published in host mode).
    pub backend_port: u16,
    /// Where the balancer shows its counters, in the hub.
    pub stats_port: u16,
    /// Answers 200 on a server that may get requests.
    pub health_path: String,
    /// `leastconn` or `roundrobin`.
    pub balance: String,
    /// More lines for the backend section.
    pub extra_backend_lines: Vec<String>,
}

impl Balancer {
    /// `leastconn`, `/health`, and counters one thousand ports above `listen_port` (below it, where there is no above).
    #[must_use]
    pub fn new(name: &str, listen_port: u16, backend_port: u16) -> Self {
        Self {
            name: name.to_owned(),
            listen_port,
            backend_port,
            stats_port: listen_port.checked_add(1000).unwrap_or(listen_port - 1000),
            health_path: "/health".to_owned(),
            balance: "leastconn".to_owned(),
            extra_backend_lines: Vec::new(),
        }
    }
}

/// Starts haproxy in the hub, in front of all nodes of the lab. Nodes without a task are simply down.
///
/// # Errors
/// When it is not installed, refuses its configuration or is not ready in time.
pub async fn haproxy(lab: &Lab, balancer: Balancer) -> Result<Haproxy> {
    let program = program("haproxy")?;
    let name = format!("haproxy-{}", balancer.name);
    let nodes: Vec<_> = lab.nodes().iter().map(|node| (node.hostname().to_owned(), node.address())).collect();
    let path = write_config(lab, &name, "haproxy.cfg", &config(&balancer, &nodes))?;
    let recipe = Recipe {
        name,
        // Ready when it shows its counters: behind the other port there may be no task yet.
        port: balancer.stats_port,
        program,
        args: vec!["-db".into(), "-f".into(), path.into()],
        ready_path: STATS_PATH,
    };
    let server = Server::start_new(lab, recipe).await?;
    let address = SocketAddr::from((lab.hub().address(), balancer.listen_port));
    Ok(Haproxy { server, address })
}

/// A running balancer.
#[derive(Debug)]
pub struct Haproxy {
    server: Server,
    address: SocketAddr,
}

impl Haproxy {
    /// Where users come in.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Address and port where users come in.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A page with all counters, for people.
    #[must_use]
    pub fn stats_url(&self) -> String {
        format!("{}/stats", self.server.url())
    }

    /// The process as it was last started.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.server.process()
    }

    /// Ends it; requests under way are cut.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop().await
    }

    /// Starts it again; its counters begin at zero.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start(&mut self) -> Result<()> {
        self.server.start().await
    }

    /// What was counted per node since the start.
    ///
    /// # Errors
    /// When it does not answer, or not in the form known.
    pub async fn counters(&self) -> Result<Vec<ServerCounters>> {
        parse_counters(&ask(self.server.address(), Method::GET, STATS_PATH).await?)
    }
}

/// One node as the balancer sees it, since the balancer's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCounters {
    /// The node's host name.
    pub server: String,
    /// The last health check succeeded.
    pub up: bool,
    /// Requests given to it, tries that came to nothing included; answers are counted below.
    pub requests: u64,
    /// Answers by class: 1xx to 5xx.
    pub responses_by_class: [u64; 5],
    /// Connections to it that could not be made.
    pub connect_errors: u64,
    /// Answers that broke off or never came.
    pub response_errors: u64,
    /// Times a request was tried again on it.
    pub retries: u64,
    /// Times a request went on to another server instead.
    pub redispatches: u64,
}

/// Columns are found by their names in the first line, since each version adds some.
fn parse_counters(csv: &str) -> Result<Vec<ServerCounters>> {
    let mut lines = csv.lines();
    let header = lines.next().and_then(|line| line.strip_prefix("# ")).context("haproxy's counters lack a header")?;
    let columns: Vec<_> = header.split(',').collect();
    let mut servers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let row = Row { columns: &columns, fields: line.split(',').collect() };
        let server = row.text("svname")?;
        if server == "FRONTEND" || server == "BACKEND" {
            continue;
        }
        let mut responses_by_class = [0; 5];
        for (count, column) in
            responses_by_class.iter_mut().zip(["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx"])
        {
            *count = row.number(column)?;
        }
        servers.push(ServerCounters {
            server: server.to_owned(),
            up: row.text("status")?.starts_with("UP"),
            requests: row.number("stot")?,
            responses_by_class,
            connect_errors: row.number("econ")?,
            response_errors: row.number("eresp")?,
            retries: row.number("wretr")?,
            redispatches: row.number("wredis")?,
        });
    }
    Ok(servers)
}

struct Row<'a> {
    columns: &'a [&'a str],
    fields: Vec<&'a str>,
}

impl Row<'_> {
    fn text(&self, column: &str) -> Result<&str> {
        let at = self.columns.iter().position(|name| *name == column);
        at.and_then(|at| self.fields.get(at).copied()).with_context(|| format!("haproxy does not count {column}"))
    }

    /// haproxy leaves a field empty where counting makes no sense.
    fn number(&self, column: &str) -> Result<u64> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Ok(0);
        }
        match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => bail!("haproxy says {column} is {text:?}, which is no number"),
        }
    }
}

/// The configuration file; nodes are host names and addresses.
fn config(balancer: &Balancer, nodes: &[(String, Ipv4Addr)]) -> String {
    let Balancer { listen_port, backend_port, stats_port, health_path, balance, .. } = balancer;
    let mut text = format!(
        "\
global
    maxconn 4096

defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout queue 5s
    timeout check 1s
    # Longer than any pause of a user's browser in a demo.
    timeout http-keep-alive 30s

frontend users
    bind :{listen_port}
    default_backend nodes

backend nodes
    balance {balance}
    option httpchk GET {health_path}
    http-check expect status 200
    # A request is tried again, each time on another server, when the first one surely did nothing with it (no
    # connection) or closed without a byte of an answer (an idle connection that ended as the request went out).
    # An answer that was begun, that is slow, or that says 5xx is passed on as it is: users would see that too.
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response
    # What may have changed something is never sent twice.
    http-request disable-l7-retry unless METH_GET
    # One failed check takes a server out, one good one brings it back: a check costs little on a lab's network.
    default-server check inter 100ms fall 1 rise 1
"
    );
    for line in &balancer.extra_backend_lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {line}");
    }
    for (host, address) in nodes {
        let _ = writeln!(text, "    server {host} {address}:{backend_port}");
    }
    let _ = write!(
        text,
        "
frontend counters
    bind :{stats_port}
    stats enable
    stats uri /stats
    stats refresh 2s
    no log
"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_a_server_and_only_safe_requests_are_tried_again() {
        let balancer = Balancer { extra_backend_lines: vec!["fullconn 10".into()], ..Balancer::new("web", 8080, 9000) };
        let nodes =
            [("node1".to_owned(), Ipv4Addr::new(10, 79, 0, 11)), ("node2".to_owned(), Ipv4Addr::new(10, 79, 0, 12))];
        let text = config(&balancer, &nodes);
        for line in [
            "    bind :8080",
            "    bind :9080",
            "    balance leastconn",
            "    option httpchk GET /health",
            "    server node1 10.79.0.11:9000",
            "    server node2 10.79.0.12:9000",
            "    fullconn 10",
            "    retry-on conn-failure empty-response",
            "    http-request disable-l7-retry unless METH_GET",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn counters_are_found_by_the_names_of_their_columns() {
        let csv = "\
# pxname,svname,stot,econ,eresp,wretr,wredis,status,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,
users,FRONTEND,9,,,,,OPEN,0,9,0,0,0,
nodes,node1,7,1,2,3,4,UP,0,6,0,0,1,
nodes,node2,2,0,0,0,0,DOWN,0,2,0,0,,
nodes,BACKEND,9,,,,,UP,0,8,0,0,1,
";
        let counters = parse_counters(csv).unwrap();
        assert_eq!(counters.len(), 2);
        assert_eq!(
            counters[0],
            ServerCounters {
                server: "node1".to_owned(),
                up: true,
                requests: 7,
                responses_by_class: [0, 6, 0, 0, 1],
                connect_errors: 1,
                response_errors: 2,
                retries: 3,
                redispatches: 4,
            }
        );
        assert!(!counters[1].up);
    }

    #[test]
    fn counters_of_an_unknown_form_are_refused() {
        assert!(parse_counters("").is_err());
        let error = parse_counters("# pxname,svname\nnodes,node1\n").unwrap_err().to_string();
        assert!(error.contains("hrsp_1xx"), "{error}");
    }
}
