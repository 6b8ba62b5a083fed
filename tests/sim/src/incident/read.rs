//! Reading a script: one line, one fact.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swarmguard_planner::Policy;
use swarmguard_planner::facts::{HostPort, Leader, Mode, Node, Platform, Protocol, Resources, Service, UpdateState};
use swarmguard_planner::labels::Labels;
use swarmguard_planner::placement::Constraint;
use swarmguard_planner::plan::ActionKind;
use swarmguard_planner::quiet::QuietHours;
use swarmguard_wire::{Name, NodeId, ServiceId};

use super::{Event, Health, Incident, Unreadable};
use crate::swarmkit::plain_node;

pub(super) fn incident(script: &str) -> Result<Incident, Unreadable> {
    let mut incident = Incident::default();
    for (number, line) in (1..).zip(script.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_end_matches(':')).collect();
        let mut words = Words(words.into_iter());
        let read = match words.0.next() {
            None => Ok(()),
            Some("node") => incident.node(&mut words),
            Some("nodes") => incident.nodes(&mut words),
            Some("service") => incident.service(&mut words),
            Some("policy") => incident.policy(&mut words),
            Some("at") => incident.at(&mut words),
            Some("from") => incident.from(&mut words),
            Some(other) => Err(format!("{other}: expected node, nodes, service, policy, at or from")),
        };
        read.and_then(|()| words.end()).map_err(|why| Unreadable { line: number, why })?;
    }
    Ok(incident)
}

type Read<T> = Result<T, String>;

struct Words<'a>(std::vec::IntoIter<&'a str>);

impl<'a> Words<'a> {
    fn word(&mut self, what: &str) -> Read<&'a str> {
        self.0.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn parse<T: std::str::FromStr>(&mut self, what: &str) -> Read<T> {
        let word = self.word(what)?;
        word.parse().map_err(|_| format!("{word} is no {what}"))
    }

    fn is_next(&mut self, word: &str) -> bool {
        let is_next = self.0.as_slice().first() == Some(&word);
        if is_next {
            self.0.next();
        }
        is_next
    }

    /// The names up to the next word that is one of the language's own.
    fn nodes(&mut self, known: &BTreeMap<NodeId, (Node, [f32; 2])>) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        while let Some(node) = self.0.as_slice().first().and_then(|word| word.parse().ok()) {
            if !known.contains_key(&node) {
                break;
            }
            self.0.next();
            nodes.push(node);
        }
        nodes
    }

    fn end(&mut self) -> Read<()> {
        self.0.next().map_or(Ok(()), |word| Err(format!("{word} is too much")))
    }
}

impl Incident {
    fn node(&mut self, words: &mut Words<'_>) -> Read<()> {
        let id: NodeId = words.parse("node")?;
        let mut node = plain_node(id.as_str());
        let mut in_use = [20.0, 20.0];
        while let Some(word) = words.0.next() {
            match word {
                "manager" => node.manager = true,
                "paused" | "drained" => node.active = false,
                "cpu" => in_use[0] = words.parse("percentage")?,
                "memory" => in_use[1] = words.parse("percentage")?,
                "cores" => node.resources.nano_cpus = words.parse::<u64>("number of cores")? * 1_000_000_000,
                "arch" => node.platform.architecture = words.word("architecture")?.to_owned(),
                "label" => {
                    let (label, value) = words.word("label")?.split_once('=').ok_or("a label is key=value")?;
                    node.labels.insert(label.to_owned(), value.to_owned());
                }
                other => return Err(format!("{other} is nothing that a node has")),
            }
        }
        self.nodes.insert(id, (node, in_use));
        Ok(())
    }

    /// `nodes n 1 to 110`: many alike.
    fn nodes(&mut self, words: &mut Words<'_>) -> Read<()> {
        let (name, first) = (words.word("name")?, words.parse::<u64>("number")?);
        if !words.is_next("to") {
            return Err("expected `to` and a number".to_owned());
        }
        for number in first..=words.parse::<u64>("number")? {
            let node = format!("{name}{number:03}");
            self.node(&mut Words(vec![node.as_str()].into_iter()))?;
        }
        Ok(())
    }

    fn service(&mut self, words: &mut Words<'_>) -> Read<()> {
        let id: ServiceId = words.parse("service")?;
        let mut labels: Vec<(&str, &str)> = Vec::new();
        let mut nodes = Vec::new();
        let mut service = Service {
            name: Name::new(id.as_str()),
            version: 10,
            mode: Mode::Replicated { replicas: 0 },
            scaled: None,
            labels: Labels::default(),
            update: UpdateState::Settled,
            action_marked: false,
            action: None,
            has_placement: true,
            constraints: Vec::new(),
            platforms: Vec::new(),
            reserved: Resources::default(),
            host_ports: BTreeSet::new(),
            local_mount: None,
            replicas_per_node_max: None,
            has_healthcheck: Some(true),
            tasks: BTreeMap::new(),
        };
        while let Some(word) = words.0.next() {
            match word {
                "on" => nodes = words.nodes(&self.nodes),
                "enabled" => labels.push(("swarmguard.enable", "true")),
                "global" => service.mode = Mode::Global,
                "without-placement" => service.has_placement = false,
                "constraint" => service.constraints.push(Constraint::parse(words.word("constraint")?)),
                "arch" => service
                    .platforms
                    .push(Platform { os: "linux".to_owned(), architecture: words.word("architecture")?.to_owned() }),
                "port" => {
                    let port = words.parse("port")?;
                    service.host_ports.insert(HostPort { port, protocol: Protocol::Tcp });
                }
                "volume" => service.local_mount = Some(format!("volume {} at /data", words.word("volume")?)),
                "per-node" => service.replicas_per_node_max = Some(words.parse("number of tasks")?),
                "reserves" => service.reserved.nano_cpus = words.parse::<u64>("number of cores")? * 1_000_000_000,
                label => labels.push(label.split_once('=').ok_or(format!("{label} is nothing that a service has"))?),
            }
        }
        if let Mode::Replicated { replicas } = &mut service.mode {
            *replicas = nodes.len() as u64;
        }
        service.labels = Labels::parse(labels.into_iter());
        self.services.insert(id, (service, nodes));
        Ok(())
    }

    fn policy(&mut self, words: &mut Words<'_>) -> Read<()> {
        let policy: &mut Policy = &mut self.policy;
        match words.word("key")? {
            "actions-in-flight" => policy.limits.actions_in_flight = words.parse("number")?,
            "actions-per-node" => policy.limits.actions_per_node = words.parse("number")?,
            "actions-per-hour" => policy.limits.actions_per_hour = words.parse("number")?,
            "moves-per-hour" => policy.limits.moves_per_hour = words.parse("number")?,
            "startup-period" => policy.startup_period = Duration::from_secs(words.parse("number of seconds")?),
            "quiet-hours" => {
                let text = words.word("hours")?;
                policy.quiet_hours.push(QuietHours::parse(text).ok_or(format!("{text} are no hours"))?);
            }
            other => return Err(format!("{other} is no key of the policy")),
        }
        Ok(())
    }

    /// `web.1` or `web.*`.
    fn task(&self, word: &str) -> Read<(ServiceId, Option<u64>)> {
        let (service, task) = word.split_once('.').ok_or(format!("{word} is no task: expected web.1 or web.*"))?;
        let task = if task == "*" { None } else { Some(task.parse().map_err(|_| format!("{word} is no task"))?) };
        Ok((self.known(service)?, task))
    }

    fn known(&self, service: &str) -> Read<ServiceId> {
        let id = service.parse().map_err(|_| format!("{service} is no service"))?;
        if self.services.contains_key(&id) { Ok(id) } else { Err(format!("there is no service {service}")) }
    }

    fn from(&mut self, words: &mut Words<'_>) -> Read<()> {
        let first: u64 = words.parse("second")?;
        if !words.is_next("to") {
            return Err("expected `to` and a second".to_owned());
        }
        let last: u64 = words.parse("second")?;
        let (service, task) = self.task(words.word("task")?)?;
        let load = load(words)?;
        for second in first..=last {
            self.events.push((second, Event::Sample { service: service.clone(), task, load }));
        }
        Ok(())
    }

    fn at(&mut self, words: &mut Words<'_>) -> Read<()> {
        let second: u64 = words.parse("second")?;
        let event = match words.word("what happens")? {
            "plan" => Event::Plan,
            "pause" => {
                let whom = words.word("service or all")?;
                let whom = if whom == "all" { None } else { Some(self.known(whom)?) };
                let reason = words.is_next("because").then(|| words.0.by_ref().collect::<Vec<_>>().join(" "));
                Event::Pause(whom, reason)
            }
            "leader" => Event::Leader(match words.word("node")? {
                "unknown" => Leader::Unknown,
                node => Leader::Elsewhere { node: Name::new(node) },
            }),
            "swarm" if words.is_next("unread") => Event::SwarmUnread,
            "node" => {
                let node = words.parse("node")?;
                Event::Node(
                    node,
                    match words.word("state")? {
                        "up" => Health::Up,
                        "down" => Health::Down,
                        "silent" => Health::Silent,
                        other => return Err(format!("{other}: expected up, down or silent")),
                    },
                )
            }
            word if word.contains('.') => {
                let (service, task) = self.task(word)?;
                Event::Sample { service, task, load: load(words)? }
            }
            service => self.of_service(self.known(service)?, words)?,
        };
        self.events.push((second, event));
        Ok(())
    }

    fn of_service(&self, service: ServiceId, words: &mut Words<'_>) -> Read<Event> {
        Ok(match words.word("what happens to the service")? {
            "moving" => Event::Begun(service, ActionKind::Migrate, words.nodes(&self.nodes)),
            "growing" => Event::Begun(service, ActionKind::ScaleUp, Vec::new()),
            "shrinking" => Event::Begun(service, ActionKind::ScaleDown, Vec::new()),
            "moved" => Event::Ended(service, ActionKind::Migrate),
            "grew" => Event::Ended(service, ActionKind::ScaleUp),
            "shrank" => Event::Ended(service, ActionKind::ScaleDown),
            "refused" => Event::Refused(service),
            "updating" => Event::Update(service, UpdateState::Updating),
            "update-paused" => Event::Update(service, UpdateState::Paused),
            "rolling-back" => Event::Update(service, UpdateState::RollingBack),
            "settled" => Event::Update(service, UpdateState::Settled),
            "starting" => Event::Starting(service),
            "started" => Event::Started(service),
            "without-ports" => Event::WithoutPorts(service, words.parse("task's number")?),
            "marked" => Event::Marked(service),
            "on" => Event::Tasks(service, words.nodes(&self.nodes)),
            other => return Err(format!("{other} is nothing that happens to a service")),
        })
    }
}

/// `cpu 95 memory 40 network 5`, each of which may be left out.
fn load(words: &mut Words<'_>) -> Read<[Option<f32>; 3]> {
    let mut load = [None; 3];
    for (value, name) in load.iter_mut().zip(["cpu", "memory", "network"]) {
        if words.is_next(name) {
            *value = Some(words.parse("percentage")?);
        }
    }
    Ok(load)
}
