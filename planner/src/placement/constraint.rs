//! Placement constraints, as `docker service create --constraint` takes them.

use std::fmt;

use swarmguard_wire::NodeId;

use crate::facts::Node;

/// A placement constraint, such as `node.role==worker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    text: String,
    key: Key,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    NodeId,
    Hostname,
    Role,
    Os,
    Architecture,
    Label(String),
    EngineLabel(String),
    /// A key this version does not know (`node.ip` among them): taken as never met, so that nothing is moved by guess.
    Unknown,
}

impl Constraint {
    /// Reads a constraint as `docker service create --constraint` takes it.
    pub fn parse(text: &str) -> Self {
        let (key, equal, value) = match (text.split_once("=="), text.split_once("!=")) {
            (Some((key, value)), None) => (key, true, value),
            (None, Some((key, value))) => (key, false, value),
            // Both signs: the first one divides, as in SwarmKit.
            (Some((key, value)), Some((other, _))) if key.len() < other.len() => (key, true, value),
            (Some(_), Some((key, value))) => (key, false, value),
            (None, None) => ("", true, ""),
        };
        let key = match key.trim() {
            "node.id" => Key::NodeId,
            "node.hostname" => Key::Hostname,
            "node.role" => Key::Role,
            "node.platform.os" => Key::Os,
            "node.platform.arch" => Key::Architecture,
            other => match (other.strip_prefix("node.labels."), other.strip_prefix("engine.labels.")) {
                (Some(label), _) => Key::Label(label.to_owned()),
                (None, Some(label)) => Key::EngineLabel(label.to_owned()),
                (None, None) => Key::Unknown,
            },
        };
        Self { text: text.to_owned(), key, equal, value: value.trim().to_owned() }
    }

    /// Whether `node` meets it. Values are compared without regard to case, as SwarmKit does.
    pub fn met_by(&self, id: &NodeId, node: &Node) -> bool {
        let found = match &self.key {
            Key::NodeId => id.as_str(),
            Key::Hostname => node.hostname.as_str(),
            Key::Role => {
                if node.manager {
                    "manager"
                } else {
                    "worker"
                }
            }
            Key::Os => node.platform.os.as_str(),
            Key::Architecture => {
                return architecture(&self.value).eq_ignore_ascii_case(&node.platform.architecture) == self.equal;
            }
            Key::Label(label) => node.labels.get(label).map_or("", String::as_str),
            Key::EngineLabel(label) => node.engine_labels.get(label).map_or("", String::as_str),
            Key::Unknown => return false,
        };
        found.eq_ignore_ascii_case(&self.value) == self.equal
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One name for an architecture that Docker calls by two.
pub fn architecture(text: &str) -> &str {
    match text {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}
