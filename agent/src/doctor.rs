//! `swarmguard-agent doctor`: what this kernel and this process's rights offer, and what is missing for more.
//!
//! The same facts and the same decision as at the agent's start, in words. What is to be attached is loaded, so that the
//! kernel's verifier has its say, and then attached to nothing.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;
use swarmguard_daemon::presence;

use crate::config::Config;
use crate::discovery;
use crate::kernel::programs::{self, TcpRetransmits};
use crate::kernel::support::{self, BpfCall, Capability, Facts, MEMORY_HELP, Plan, Reason};

const CAPABILITIES: [Capability; 4] =
    [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon, Capability::SysAdmin];

/// Looks, and says what it has found.
pub async fn examine(config: &Config, json: bool) -> String {
    let (host, _) = crate::host(config);
    let facts = Facts::gather(&host, &crate::hierarchies(&host));
    let docker = discovery::once(&config.docker_host, config.node.as_ref()).await;
    let docker = docker.map(|(_, containers)| containers.len()).map_err(|error| presence::chain(&error));
    let tried = Tried::all(support::decide(&facts));
    if json { machines(&facts, &docker, &tried) } else { people(&facts, &docker, &tried, &config.docker_host) }
}

/// The plan, less what the kernel does not take after all.
struct Tried {
    network: Result<(PathBuf, TcpRetransmits), Reason>,
    oom: Result<(), Reason>,
}

impl Tried {
    fn all(plan: Plan) -> Self {
        let refused = |error: programs::AttachError| Reason::Program(presence::chain(&error));
        let try_network = |root| programs::try_network().map(|retransmits| (root, retransmits)).map_err(refused);
        let try_oom = |()| programs::try_oom().map_err(refused);
        Self { network: plan.network.and_then(try_network), oom: plan.oom.and_then(try_oom) }
    }
}

fn machines(facts: &Facts, docker: &Result<usize, String>, plan: &Tried) -> String {
    let capabilities = CAPABILITIES.map(|capability| (capability.name(), facts.capabilities.has(capability)));
    let reason = |error: Option<&Reason>| error.map(ToString::to_string);
    let whole = json!({
        "facts": {
            "kernel": facts.version.map(|version| version.to_string()),
            "cgroup": cgroup(facts),
            "cgroup_v2": facts.cgroup_v2,
            "memory_controller": facts.memory_controller,
            "pressure": facts.pressure,
            "programs_built": facts.programs_built,
            "capabilities": capabilities.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "bpf": match &facts.bpf { BpfCall::Allowed => None, BpfCall::Refused(reason) => Some(reason) },
            "oom_tracepoint": facts.oom_tracepoint,
            "docker": docker.as_ref().err(),
        },
        "decisions": {
            "network_source": if plan.network.is_ok() { "ebpf" } else { "proc_net_dev" },
            "network_reason": reason(plan.network.as_ref().err()),
            "tcp_retransmits": plan.network.as_ref().is_ok_and(|(_, retransmits)| retransmits.is_ok()),
            "oom_events": plan.oom.is_ok(),
            "oom_reason": reason(plan.oom.as_ref().err()),
            "memory_help": (!facts.memory_controller).then_some(MEMORY_HELP),
        },
    });
    format!("{whole:#}\n")
}

/// One line for people: what was looked at, whether it is as wanted, what was found, and what helps.
struct Row {
    is_good: bool,
    what: &'static str,
    found: String,
    help: Option<String>,
}

impl Row {
    fn new(what: &'static str, found: impl Into<String>, help: Option<String>) -> Self {
        Self { is_good: help.is_none(), what, found: found.into(), help }
    }
}

fn people(facts: &Facts, docker: &Result<usize, String>, plan: &Tried, docker_host: &str) -> String {
    let rows = [kernel(facts), memory(facts), pressure(facts), docker_row(docker, docker_host), capabilities(facts)];
    let rows = rows.into_iter().chain([network(plan), kills(plan)]);
    let mut text = String::new();
    for Row { is_good, what, found, help } in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}  {what:<20} {found}", if is_good { "ok  " } else { "MISS" });
        if let Some(help) = help {
            let _ = writeln!(text, "      {:<20} -> {help}", "");
        }
    }
    text
}

fn kernel(facts: &Facts) -> Row {
    let version = facts.version.map_or_else(|| "of unknown version".to_owned(), |version| version.to_string());
    let help = facts.cgroup_v2.is_none() && !facts.cgroup_v1;
    let help = help.then(|| "mount -t cgroup2 cgroup2 /sys/fs/cgroup".to_owned());
    Row::new("kernel", format!("Linux {version}, cgroups: {}", cgroup(facts)), help)
}

fn memory(facts: &Facts) -> Row {
    match facts.memory_controller {
        true => Row::new("memory", "counted by container", None),
        false => Row::new("memory", "not counted: it is absent, and no rule uses it", Some(MEMORY_HELP.to_owned())),
    }
}

fn pressure(facts: &Facts) -> Row {
    match facts.pressure && facts.cgroup_v2.is_some() {
        true => Row::new("pressure (PSI)", "counted by container", None),
        false => {
            Row::new("pressure (PSI)", "not counted: it is absent", Some("boot with psi=1, and cgroup v2".to_owned()))
        }
    }
}

fn docker_row(docker: &Result<usize, String>, host: &str) -> Row {
    match docker {
        Ok(1) => Row::new("docker", "1 container runs", None),
        Ok(count) => Row::new("docker", format!("{count} containers run"), None),
        Err(error) => {
            let help = format!("is Docker running, and may this user read {host}? (usermod -aG docker USER)");
            Row::new("docker", error.as_str(), Some(help))
        }
    }
}

fn capabilities(facts: &Facts) -> Row {
    let held = CAPABILITIES.into_iter().filter(|capability| facts.capabilities.has(*capability));
    let held: Vec<&str> = held.map(Capability::name).collect();
    match held.as_slice() {
        [] => Row::new("capabilities", "none of those that kernel programs need", None),
        held => Row::new("capabilities", held.join(", "), None),
    }
}

fn network(plan: &Tried) -> Row {
    match &plan.network {
        Ok((root, Ok(()))) => Row::new("network", format!("counted in the kernel, at {}", root.display()), None),
        Ok((root, Err(reason))) => {
            let found = format!("counted in the kernel, at {}, but no TCP segments sent again", root.display());
            Row::new("network", found, Some(reason.clone()))
        }
        Err(reason) => {
            let found = "read from /proc/PID/net/dev; absent for host-network containers";
            Row::new("network", found, Some(reason.to_string()))
        }
    }
}

fn kills(plan: &Tried) -> Row {
    match &plan.oom {
        Ok(()) => Row::new("out-of-memory kills", "told by the kernel as they happen", None),
        Err(reason) => Row::new("out-of-memory kills", "seen within thirty ticks", Some(reason.to_string())),
    }
}

fn cgroup(facts: &Facts) -> &'static str {
    match (facts.cgroup_v1, facts.cgroup_v2.is_some()) {
        (true, true) => "hybrid: controllers v1, and v2 beside",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none mounted",
    }
}
