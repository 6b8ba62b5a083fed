//! The name of a lab, and everything that is derived from it: addresses, namespaces, interfaces, cgroups, folders.
//!
//! Names are a closed list, so that several labs can be up at once without their networks meeting, and so that the
//! remains of one can be told from another's by name alone. Nothing here touches the machine.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most nodes one lab can have: more would say nothing new on one machine.
pub const NODES_MAX: u32 = 32;

/// Short, because paths of unix sockets end at 108 bytes.
const STATE_ROOT: &str = "/var/lib/swarmguard-lab";

/// Node `i` has the address `10.79.K.(10 + i)`.
const NODE_HOST_BASE: u32 = 10;

/// Which lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// For playing by hand.
    Lab,
    /// For `cargo xtask demo`.
    Demo,
    /// For the end-to-end tests.
    Test,
    /// For the tests of this crate itself.
    Selftest,
    /// For `cargo xtask bench`.
    Bench,
    /// For `cargo xtask drill`.
    Drill,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Lab, Self::Demo, Self::Test, Self::Selftest, Self::Bench, Self::Drill];

    /// As written on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::Demo => "demo",
            Self::Test => "test",
            Self::Selftest => "selftest",
            Self::Bench => "bench",
            Self::Drill => "drill",
        }
    }

    /// The `K` of `10.79.K.0/24`.
    fn octet(self) -> u8 {
        match self {
            Self::Lab => 0,
            Self::Demo => 1,
            Self::Test => 2,
            Self::Selftest => 3,
            Self::Bench => 4,
            Self::Drill => 5,
        }
    }

    /// Folder of everything the lab keeps on disk.
    #[must_use]
    pub fn state_dir(self) -> PathBuf {
        PathBuf::from(STATE_ROOT).join(self.as_str())
    }

    pub(crate) fn lock_path(self) -> PathBuf {
        PathBuf::from(STATE_ROOT).join(format!("{self}.lock"))
    }

    pub(crate) fn state_root() -> PathBuf {
        PathBuf::from(STATE_ROOT)
    }

    /// The lab's network, `10.79.K.0/24`.
    #[must_use]
    pub fn subnet(self) -> String {
        format!("10.79.{}.0/24", self.octet())
    }

    pub(crate) fn hub_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, self.octet(), 1)
    }

    /// The machine's own address in the lab's network.
    pub(crate) fn root_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, self.octet(), 254)
    }

    pub(crate) fn node_address(self, index: u32) -> Ipv4Addr {
        let host = u8::try_from(NODE_HOST_BASE + index).unwrap_or(u8::MAX);
        Ipv4Addr::new(10, 79, self.octet(), host)
    }

    /// The interface that leads from the machine into the lab; 15 bytes are the most an interface name can have.
    pub(crate) fn root_link(self) -> String {
        format!("sg-{self}")
    }

    pub(crate) fn hub_netns(self) -> String {
        format!("sg-{self}-hub")
    }

    pub(crate) fn node_netns(self, index: u32) -> String {
        format!("sg-{self}-{index}")
    }

    pub(crate) fn cgroup_parent(self, index: u32) -> String {
        format!("/sg-{self}-node{index}")
    }

    /// Is this network namespace one of the lab's?
    pub(crate) fn owns_netns(self, netns: &str) -> bool {
        let rest = netns.strip_prefix(&format!("sg-{self}-"));
        rest.is_some_and(|rest| rest == "hub" || is_index(rest))
    }

    /// Is this cgroup, named without its leading slash, one of the lab's?
    pub(crate) fn owns_cgroup(self, cgroup: &str) -> bool {
        cgroup.strip_prefix(&format!("sg-{self}-node")).is_some_and(is_index)
    }
}

fn is_index(text: &str) -> bool {
    text.parse().is_ok_and(|index: u32| (1..=NODES_MAX).contains(&index) && text == index.to_string())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|name| name.as_str()).collect();
            anyhow::anyhow!("no lab is called {text:?}; use one of: {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_written() {
        for name in Name::ALL {
            assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
        }
        let refused = "prod".parse::<Name>().unwrap_err().to_string();
        assert!(refused.contains("lab, demo, test, selftest"), "{refused}");
    }

    #[test]
    fn interface_names_fit_in_15_bytes() {
        for name in Name::ALL {
            assert!(name.root_link().len() <= 15, "{}", name.root_link());
        }
    }

    #[test]
    fn a_lab_owns_its_own_namespaces_and_no_others() {
        for (netns, owned) in [
            ("sg-test-hub", true),
            ("sg-test-1", true),
            ("sg-test-32", true),
            ("sg-test-0", false),
            ("sg-test-33", false),
            ("sg-test-01", false),
            ("sg-test-+1", false),
            ("sg-test-", false),
            ("sg-selftest-1", false),
            ("sg-lab-1", false),
            ("my-sg-test-1", false),
        ] {
            assert_eq!(Name::Test.owns_netns(netns), owned, "{netns}");
        }
    }

    #[test]
    fn a_lab_owns_its_own_cgroups_and_no_others() {
        for (cgroup, owned) in
            [("sg-lab-node1", true), ("sg-lab-node", false), ("sg-lab-node1x", false), ("sg-demo-node1", false)]
        {
            assert_eq!(Name::Lab.owns_cgroup(cgroup), owned, "{cgroup}");
        }
    }

    #[test]
    fn nodes_hub_and_machine_have_different_addresses() {
        let name = Name::Demo;
        assert_eq!(name.node_address(1), Ipv4Addr::new(10, 79, 1, 11));
        assert_eq!(name.node_address(NODES_MAX), Ipv4Addr::new(10, 79, 1, 42));
        assert_eq!(name.hub_address(), Ipv4Addr::new(10, 79, 1, 1));
        assert_eq!(name.root_address(), Ipv4Addr::new(10, 79, 1, 254));
    }
}
