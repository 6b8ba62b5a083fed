//! That the simulation would see it if a promise did not hold.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this prints what it finds"
)]

use swarmguard_planner::planted::{Bug, plant};
use swarmguard_sim::script::{self, Script};
use swarmguard_sim::{Outcome, run};

const FIRST_SEED: u64 = 1;

#[test]
fn each_planted_bug_is_found_within_a_thousand_seeds() {
    let mut missed = Vec::new();
    for bug in Bug::COMMON {
        plant(Some(bug));
        // One that acts when nothing is amiss shows where nothing is to be done.
        let calm = bug == Bug::OneTickIsEnough;
        let script = if calm { Script::calm_day } else { Script::new };
        let worlds = (FIRST_SEED..FIRST_SEED + 1_000).map(|seed| (seed, run(&script(seed), false)));
        let is_seen = |outcome: &Outcome| !outcome.violations.is_empty() || calm && outcome.actions[0] > 0;
        match worlds.into_iter().find(|(_, outcome)| is_seen(outcome)) {
            Some((seed, outcome)) => {
                let how = outcome.violations.first().map(ToString::to_string).unwrap_or_default();
                println!("{bug:?}: found by seed {seed}: {how}");
            }
            None => missed.push(bug),
        }
        plant(None);
    }
    assert_eq!(missed, []);
}

#[test]
fn a_world_that_was_kept_breaks_its_promise_while_the_bug_is_there() {
    for line in script::kept(include_str!("../regressions.txt")) {
        let (script, name) = line.unwrap();
        let bug = Bug::COMMON.into_iter().chain(Bug::RARE).find(|bug| format!("{bug:?}") == name);
        plant(bug);
        let outcome = run(&script, false);
        plant(None);
        let is_broken = !outcome.violations.is_empty() || script.is_calm && outcome.actions[0] > 0;
        assert!(is_broken, "{name}: {script:?}");
    }
}

#[test]
fn a_world_that_fails_is_shortened_to_what_it_takes() {
    plant(Some(Bug::ForgetsMark));
    let fails = |script: &Script| !run(script, false).violations.is_empty();
    let failing = (FIRST_SEED..).map(Script::new).find(|script| script.events.len() > 3 && fails(script)).unwrap();
    let shortest = failing.shortened(&fails);
    plant(None);
    assert!(shortest.events.len() <= 2, "a sick or a busy container is enough: {:?}", shortest.events);
}
