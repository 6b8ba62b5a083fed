//! Why what is decided is only shown: one variant for each reason.

use std::fmt;

use serde::Serialize;

use crate::facts::Leader;
use crate::labels::LabelProblem;
use crate::quiet::Quiet;

/// Why a decision is only shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Observed {
    /// Its owner did not let us act: no `swarmguard.enable=true`.
    NotEnabled,
    /// Its owner wants to see only: `swarmguard.mode=observe`.
    Mode,
    /// Nothing is done at this time.
    Quiet {
        /// Why.
        quiet: Quiet,
    },
    /// Another collector acts: the one beside the manager that leads the Swarm.
    Standby {
        /// Who leads.
        leader: Leader,
    },
    /// Its labels cannot be followed.
    Labels {
        /// Which, and what is allowed.
        problems: Vec<LabelProblem>,
    },
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnabled => write!(f, "its owner has not set the label swarmguard.enable=true"),
            Self::Mode => write!(f, "its label swarmguard.mode has it observed only"),
            Self::Quiet { quiet } => write!(f, "{quiet}"),
            Self::Standby { leader: Leader::Elsewhere { node } } => {
                write!(f, "{node} leads the Swarm, and the collector there acts")
            }
            Self::Standby { leader: Leader::Here | Leader::Unknown } => {
                write!(f, "it is not known which manager leads the Swarm")
            }
            Self::Labels { problems } => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                write!(f, "its labels cannot be followed ({})", problems.join("; "))
            }
        }
    }
}
