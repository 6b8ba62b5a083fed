//! Why nothing is done: one variant for each reason, with its numbers.

use std::fmt;

use serde::Serialize;
use swarmguard_wire::{Name, Timestamp};

use super::ActionKind;
use crate::facts::UpdateState;
use crate::placement::Rejected;
use crate::rules::Unclear;

/// Most nodes that a reason names.
pub const NAMED_MAX: usize = 20;

/// Why nothing is done for a service in trouble, or for one that could do with a replica fewer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Withheld {
    /// The Swarm's state was read too long ago.
    SwarmStale {
        /// Seconds since.
        seconds: u64,
    },
    /// Not enough ticks in a row match.
    Streak {
        /// Ticks in a row so far.
        seen: u32,
        /// Ticks in a row needed.
        needed: u32,
    },
    /// CPU or memory is high, but neither scenario matches.
    Between {
        /// What stands between.
        unclear: Unclear,
    },
    /// Another action on the service has not ended.
    InFlight {
        /// What it does, if this collector started it.
        kind: Option<ActionKind>,
    },
    /// The service was acted on lately.
    Cooldown {
        /// Which action has to wait.
        kind: ActionKind,
        /// Until when.
        until: Timestamp,
        /// Seconds until then, rounded up.
        seconds_left: u64,
    },
    /// Swarm refused the last attempts.
    Refused {
        /// Seconds until the next one, rounded up.
        seconds_left: u64,
    },
    /// Someone else's update of the service has not ended.
    UpdateInProgress {
        /// Where it stands.
        state: UpdateState,
    },
    /// Fewer tasks run than the service wants: Swarm is still at work on it.
    NotConverged {
        /// Running.
        running: u64,
        /// Wanted.
        wanted: u64,
    },
    /// Some of its tasks run without the ports that others have: Swarm could keep just those.
    WithoutPorts {
        /// How many.
        tasks: usize,
    },
    /// The service is global or a job: it has no replicas to move or add.
    NotReplicated,
    /// Its spec has no placement, not even an empty one. SwarmKit's manager dies of a nil pointer (`nodeMatches`) when a
    /// task that was given constraints meets a spec without placement, so the user's spec could not be put back.
    NoPlacement,
    /// Its data stays on its node.
    LocalStorage {
        /// The mount.
        mount: String,
    },
    /// It has as many replicas as it may, or more.
    MaxReplicas {
        /// How many it has.
        replicas: u64,
        /// The maximum.
        max: u64,
    },
    /// It is idle, but not known to have been so for long enough.
    Idle {
        /// Seconds for which it is known to be.
        seconds: u64,
        /// Seconds needed.
        needed: u64,
    },
    /// It is idle, and was not a short while ago.
    BusyLately {
        /// Seconds that are looked at.
        within: u64,
    },
    /// It was moved so often that it is the container which is sick, and no node.
    MovedTooOften {
        /// Moves within the last hour.
        moves: usize,
        /// Seconds until one more is allowed, rounded up.
        seconds_left: u64,
    },
    /// So many nodes have sick containers that what is seen is more likely wrong than they are.
    TooManySick {
        /// Nodes with sick containers.
        sick: usize,
        /// Nodes that report.
        nodes: usize,
    },
    /// As many actions are under way as may be.
    TooManyInFlight {
        /// Most.
        max: u32,
        /// The whole limit. Where `max` is less, that is the part of it below which what can wait may begin.
        of: u32,
    },
    /// As many actions leave this node or go to it as may.
    NodeInFlight {
        /// The node.
        node: Name,
        /// Most.
        max: u32,
    },
    /// As many actions have begun within an hour as may.
    TooManyPerHour {
        /// Most.
        max: u32,
        /// The whole limit. Where `max` is less, that is the part of it below which what can wait may begin.
        of: u32,
        /// Seconds until one more is allowed, rounded up.
        seconds_left: u64,
    },
    /// No node may take the task.
    NoTarget {
        /// Nodes and why not, at most [`NAMED_MAX`].
        nodes: Vec<Rejected>,
        /// How many more there are.
        more: usize,
    },
    /// Every node that may take the task runs one of the service already: the target could not be named, nor the move be
    /// taken back.
    NoFreeNode {
        /// These nodes, at most [`NAMED_MAX`].
        nodes: Vec<Name>,
        /// How many more there are.
        more: usize,
    },
    /// The checks have found what the rules have not: an error of SwarmGuard's.
    HeldBack {
        /// What was planned.
        planned: String,
        /// The promise that would be broken.
        promise: String,
    },
    /// The target cannot be told apart from more nodes than a spec should name.
    TooManyNodes {
        /// Nodes to be excluded.
        found: usize,
        /// Most that are.
        max: usize,
    },
}

impl Withheld {
    /// No node may take the task, each for its reason.
    pub(crate) fn no_target(mut rejected: impl Iterator<Item = Rejected>) -> Self {
        let nodes = rejected.by_ref().take(NAMED_MAX).collect();
        Self::NoTarget { nodes, more: rejected.count() }
    }

    /// Every node that may take the task runs one of the service.
    pub(crate) fn no_free_node(mut names: impl Iterator<Item = Name>) -> Self {
        let nodes = names.by_ref().take(NAMED_MAX).collect();
        Self::NoFreeNode { nodes, more: names.count() }
    }
}

/// What stands in the way of an update's end.
fn unsettled(state: UpdateState) -> &'static str {
    match state {
        UpdateState::Settled => "has just ended",
        UpdateState::Updating => "is under way",
        UpdateState::Paused => "is paused half-way, and a person has to look",
        UpdateState::RollingBack => "is being rolled back",
    }
}

/// A number of actions.
pub(crate) struct Actions(pub(crate) u32);

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 { f.write_str("1 action") } else { write!(f, "{} actions", self.0) }
    }
}

/// A time to wait, given in seconds: in minutes or hours where it is long, rounded up.
pub(crate) struct Wait(pub(crate) u64);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ 0..=120 => write!(f, "{seconds} s"),
            seconds @ 121..=7_200 => write!(f, "{} min", seconds.div_ceil(60)),
            seconds => write!(f, "{} h", seconds.div_ceil(3_600)),
        }
    }
}

/// What is left out of a list.
fn and_more(f: &mut fmt::Formatter<'_>, more: usize) -> fmt::Result {
    if more == 0 { Ok(()) } else { write!(f, "; and {more} more") }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwarmStale { seconds } => write!(f, "the Swarm was last seen {} ago", Wait(*seconds)),
            Self::Streak { seen: 0, needed } => write!(
                f,
                "0 of {needed} ticks in a row match, since what was measured before its last action ended does not count"
            ),
            Self::Streak { seen, needed } => write!(f, "{seen} of {needed} ticks in a row match"),
            Self::Between { unclear } => write!(f, "no scenario matches: {unclear}"),
            Self::InFlight { kind: Some(kind) } => write!(f, "a {} is under way", kind.noun()),
            Self::InFlight { kind: None } => {
                write!(f, "an action that another collector began, or that has just ended, is being looked after")
            }
            Self::Cooldown { kind, seconds_left, .. } => {
                write!(
                    f,
                    "the last {} was a short while ago: its cooldown is over in {}",
                    kind.noun(),
                    Wait(*seconds_left)
                )
            }
            Self::Refused { seconds_left } => {
                write!(f, "Swarm refused the last attempt: the next is in {} at the earliest", Wait(*seconds_left))
            }
            Self::UpdateInProgress { state } => write!(f, "an update of the service {}", unsettled(*state)),
            Self::NotConverged { running, wanted } => write!(f, "{running} of {wanted} replicas run"),
            Self::WithoutPorts { tasks } => {
                write!(f, "{tasks} of its replicas published no port though others did: Swarm could keep just those")
            }
            Self::NotReplicated => write!(f, "the service is global or a job"),
            Self::NoPlacement => write!(
                f,
                "its spec has no placement, and giving one and taking it away again crashes SwarmKit; give it an empty one \
                 with: docker service update --constraint-add node.id!=none, then --constraint-rm"
            ),
            Self::LocalStorage { mount } => write!(f, "its data stays on its node: {mount}"),
            Self::MaxReplicas { replicas, max } if replicas == max => write!(f, "it has {max} replicas, its maximum"),
            Self::MaxReplicas { replicas, max } => write!(f, "it has {replicas} replicas, and its maximum is {max}"),
            Self::Idle { seconds, needed } => write!(f, "it is known to be idle for {seconds} of {needed} s"),
            Self::BusyLately { within } => write!(f, "it is idle, but was not all the time in the last {within} s"),
            Self::MovedTooOften { moves, seconds_left } => write!(
                f,
                "it was moved {moves} times within an hour and is sick wherever it goes: look at the container; the next \
                 move is in {} at the earliest",
                Wait(*seconds_left)
            ),
            Self::TooManySick { sick, nodes } => {
                write!(f, "{sick} of {nodes} nodes have sick containers: more likely what is measured is wrong")
            }
            Self::TooManyInFlight { max, of } if max == of => {
                write!(f, "no more than {} may be under way at a time", Actions(*max))
            }
            Self::TooManyInFlight { max, of } => {
                write!(
                    f,
                    "what can wait begins while fewer than {max} of the {} that may be are under way",
                    Actions(*of)
                )
            }
            Self::NodeInFlight { node, max } => {
                write!(f, "no more than {} at a time may leave {node} or go there", Actions(*max))
            }
            Self::TooManyPerHour { max, of, seconds_left } => {
                if max == of {
                    write!(f, "no more than {} may begin within an hour", Actions(*max))?;
                } else {
                    let all = Actions(*of);
                    write!(
                        f,
                        "what can wait begins while fewer than {max} of the {all} that may within an hour have begun"
                    )?;
                }
                write!(f, ": the next may in {}", Wait(*seconds_left))
            }
            Self::NoTarget { nodes, more } => {
                write!(f, "no node may take it")?;
                nodes.iter().try_for_each(|rejected| write!(f, "; {} {}", rejected.node, rejected.why))?;
                and_more(f, *more)
            }
            Self::NoFreeNode { nodes, more } => {
                let names: Vec<&str> = nodes.iter().map(Name::as_str).collect();
                write!(f, "every node that may take it runs a task of the service already: {}", names.join(", "))?;
                and_more(f, *more)
            }
            Self::HeldBack { planned, promise } => {
                write!(
                    f,
                    "what was planned would break a promise, which is an error of SwarmGuard's: {promise} (planned: {planned})"
                )
            }
            Self::TooManyNodes { found, max } => {
                write!(
                    f,
                    "to steer it to one node {found} others would have to be excluded in its constraints, and at most {max} are"
                )
            }
        }
    }
}
