//! Incidents written in a few lines, and what SwarmGuard says that it would do, word for word.
//!
//! `tests/scenarios/NAME.txt` is the incident and `NAME.expected` what is said. With `SWARMGUARD_BLESS=1` in the environment
//! the latter is written anew, for a person to read.

use std::path::{Path, PathBuf};

use swarmguard_sim::incident;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    scripts.sort();
    scripts
}

#[test]
fn each_incident_is_decided_and_explained_as_expected() {
    let mut wrong = Vec::new();
    for path in scripts() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let script = std::fs::read_to_string(&path).unwrap();
        let told = incident::explain(&script).unwrap_or_else(|error| panic!("{name}.txt: {error:?}"));
        let expected = path.with_extension("expected");
        if std::env::var_os("SWARMGUARD_BLESS").is_some() {
            std::fs::write(&expected, &told).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{name} says:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_for_doing_nothing_is_among_them() {
    let told: String = scripts()
        .iter()
        .map(|path| std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default())
        .collect();
    let missing: Vec<&str> = REASONS.into_iter().filter(|reason| !told.contains(reason)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// A part of each sentence that says why nothing is done, or why a node was not chosen.
const REASONS: [&str; 70] = [
    "the Swarm was last seen",
    "ticks in a row match",
    "no scenario matches: network is at",
    "no scenario matches: network is low (5 %), and by scenario 1 neither",
    "no scenario matches: network is high (80 %), and by scenario 2 not both",
    "no scenario matches: the network's use is not known",
    "a migration is under way",
    "an action that another collector began",
    "the last migration was a short while ago",
    "the last scale-up was a short while ago",
    "the last scale-down was a short while ago",
    "Swarm refused the last attempt",
    "an update of the service is under way",
    "an update of the service is paused half-way, and a person has to look",
    "an update of the service is being rolled back",
    "replicas run",
    "the service is global or a job",
    "its spec has no placement",
    "its data stays on its node",
    "it has 3 replicas, its maximum",
    "it has 3 replicas, and its maximum is 2",
    "of its replicas published no port though others did",
    "it is known to be idle for",
    "it is idle, but was not all the time",
    "it was moved 2 times within an hour",
    "nodes have sick containers",
    "no more than 2 actions may be under way",
    "what can wait begins while fewer than 2 of the 4 actions",
    "what can wait begins while fewer than 3 of the 6 actions",
    "no more than 1 action at a time may leave node1",
    "no more than 4 actions may begin within an hour",
    "no node may take it",
    "every node that may take it runs a task",
    "others would have to be excluded",
    "is the node to leave",
    "is down",
    "is paused or drained",
    "does not meet",
    "which the image is not for",
    "has port 8080 taken",
    "of the service's tasks, the most that it may",
    "the task reserves",
    "has as many actions under way as it may, 1",
    "is kept out by its label",
    "has an agent that has been silent",
    "of its memory in use",
    "runs a task of the service already",
    "its owner has not set the label swarmguard.enable=true",
    "its labels cannot be followed",
    "swarmguard.mode has it observed only",
    "these are quiet hours",
    "everything is paused",
    "it is paused",
    "leads the Swarm, and the collector there acts",
    "it is not known which manager leads the Swarm",
    "is left out: its label swarmguard.mode is off",
    "none of its tasks runs",
    "no agent has told of its containers lately",
    "more no agent has told lately",
    "s a container's CPU is not looked at",
    "It is global or a job",
    "An action on it is under way",
    "An update of it is not over",
    "Until it is put right it is only observed",
    "Nothing would be done in any case: its owner has not set",
    "Nothing would be done in any case: its label swarmguard.mode",
    "Nothing would be done now in any case",
    "until it is seen again nothing is done",
    "This collector stands by",
    "It is not known which manager leads the Swarm",
];
