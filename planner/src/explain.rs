//! A decision in sentences: what is done, what was seen, which rule applies, and which nodes were looked at.

use std::fmt;

use swarmguard_wire::Name;

use crate::placement::Rejected;
use crate::plan::{Action, Candidates, Considered, Decision, Grounds, Migrate, Other, Outcome, Scale, WhyScale};
use crate::rules::Condition;

impl Decision {
    /// In sentences: first what is done and why, then what that rests on.
    pub fn explain(&self) -> Vec<String> {
        let mut sentences = vec![format!("{}.", self.headline()), format!("{}.", self.seen())];
        match &self.outcome {
            Outcome::Act { action } | Outcome::Observe { action, .. } => sentences.extend(grounds(action)),
            Outcome::Withhold { .. } => {}
        }
        sentences
    }

    fn headline(&self) -> String {
        let service = &self.service_name;
        match &self.outcome {
            Outcome::Act { action } => format!("{service} {}", what("is", "goes", action)),
            Outcome::Observe { action, because } => {
                format!(
                    "Nothing is done about {service}: {because}. Otherwise it {}",
                    what("would be", "would go", action)
                )
            }
            Outcome::Withhold { withheld } => format!("Nothing is done about {service}: {withheld}"),
        }
    }

    fn seen(&self) -> String {
        let Grounds { node, cpu_percent, memory_percent, network_percent, .. } = &self.grounds;
        let (cpu, memory, network) = (Percent(*cpu_percent), Percent(*memory_percent), Percent(*network_percent));
        match self.condition {
            Condition::Idle => format!(
                "Its busiest container, {} on {node}, is at CPU {cpu}, memory {memory}, network {network}",
                self.container.short()
            ),
            Condition::Busy => self.measured("high above"),
            Condition::Sick => self.measured("low below"),
            // Which thresholds keep it from either scenario is in the first sentence.
            Condition::Unclear(_) | Condition::Calm => format!(
                "Its container {} on {node} is at CPU {cpu}, memory {memory} and network {network}{}",
                self.container.short(),
                self.row("")
            ),
        }
    }

    /// Beside what it is judged by; of the network that is its being low, or high.
    fn measured(&self, network_is: &str) -> String {
        let Grounds { node, cpu_percent, memory_percent, network_percent, thresholds, .. } = &self.grounds;
        format!(
            "Its container {} on {node} is at CPU {} (high above {:.0}), memory {} (high above {:.0}) and network {} \
             ({network_is} {:.0}){}",
            self.container.short(),
            Percent(*cpu_percent),
            thresholds.cpu,
            Percent(*memory_percent),
            thresholds.memory,
            Percent(*network_percent),
            thresholds.network,
            self.row(&format!(" ({} needed)", thresholds.ticks))
        )
    }

    /// For how long it has been so; nothing where its samples count from now on.
    fn row(&self, needed: &str) -> String {
        match self.grounds.ticks {
            0 => String::new(),
            ticks => format!(", for {} in a row{needed}", Ticks(ticks)),
        }
    }
}

fn what(is: &str, goes: &str, action: &Action) -> String {
    match action {
        Action::Migrate(Migrate { source_name, target_name, .. }) => format!(
            "{is} moved from {source_name} to {target_name}: scenario 1, CPU or memory is high and the network low"
        ),
        Action::ScaleUp(Scale { from, to, .. }) => {
            format!("{goes} from {from} to {}: scenario 2, CPU, memory and network are high", Replicas(*to))
        }
        Action::ScaleDown(Scale { from, to, .. }) => {
            format!("{goes} from {from} to {}: one fewer can do what there is to do", Replicas(*to))
        }
    }
}

fn grounds(action: &Action) -> Vec<String> {
    match action {
        Action::Migrate(Migrate { target_name, considered, .. }) => {
            let Considered { chosen_use, others, more } = considered;
            let is_only = *more == 0 && others.iter().all(|other| other.in_use.is_none());
            let rank = if is_only { "the only node" } else { "the least in use of the nodes" };
            let mut sentences =
                vec![format!("{target_name} is {rank} that may take it: CPU plus memory are {chosen_use:.0} of 200 %")];
            sentences.extend(others.iter().map(|Other { node, in_use, why }| match (in_use, why) {
                (_, Some(why)) => format!("{node} {why}"),
                (Some(in_use), None) => format!("{node} would do, with {in_use:.0} of 200 %"),
                (None, None) => format!("{node} was not looked at"),
            }));
            sentences.extend(not_named(*more));
            sentences.into_iter().map(|sentence| sentence + ".").collect()
        }
        Action::ScaleUp(scale) | Action::ScaleDown(scale) => match &scale.why {
            WhyScale::Busy(found) => candidates(found),
            WhyScale::Idle { seconds, sum: [cpu, memory, network], carries } => vec![format!(
                "What each replica had to do at most in the last {seconds} s comes to {cpu:.0} % of CPU, {memory:.0} % of \
                 memory and {network:.0} % of network; {} can carry {:.0}, {:.0} and {:.0} % of one.",
                Replicas(scale.to),
                carries[0],
                carries[1],
                carries[2]
            )],
        },
    }
}

fn candidates(Candidates { nodes, names, rejected, more }: &Candidates) -> Vec<String> {
    let named: Vec<&str> = names.iter().map(Name::as_str).collect();
    let among = named.join(", ");
    let mut sentences = vec![match nodes - named.len() {
        0 if *nodes == 1 => format!("{among} is the only node that may take one more"),
        0 => format!("{nodes} nodes may take one more, and Swarm chooses among them: {among}"),
        unnamed => format!("{nodes} nodes may take one more, and Swarm chooses among them: {among} and {unnamed} more"),
    }];
    sentences.extend(rejected.iter().map(|Rejected { node, why }| format!("{node} {why}")));
    sentences.extend(not_named(*more));
    sentences.into_iter().map(|sentence| sentence + ".").collect()
}

fn not_named(nodes: usize) -> Option<String> {
    match nodes {
        0 => None,
        1 => Some("One more node is not named here".to_owned()),
        more => Some(format!("{more} more nodes are not named here")),
    }
}

struct Percent(Option<f32>);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(percent) => write!(f, "{percent:.0} %"),
            None => f.write_str("unknown"),
        }
    }
}

struct Ticks(u32);

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 { f.write_str("1 tick") } else { write!(f, "{} ticks", self.0) }
    }
}

struct Replicas(u64);

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 { f.write_str("1 replica") } else { write!(f, "{} replicas", self.0) }
    }
}
