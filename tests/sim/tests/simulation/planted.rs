//! That the simulation would see it if a promise did not hold.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use swarmguard_planner::planted::{Bug, plant};
use swarmguard_sim::script::{self, Kind, Script};
use swarmguard_sim::{Outcome, run, run_unchecked};

const FIRST_SEED: u64 = 1;

/// What does no harm even without the checks: no update is made by a collector that has not heard lately that it leads, and
/// none is begun by one that goes on with an action on the same service.
const HELD_TWICE: [Bug; 3] = [Bug::StaleSwarm, Bug::ActsInStandby, Bug::SecondAction];

/// What was held back before it could do harm.
const BY_CHECKS: &str = "checks: held back";

#[test]
fn each_planted_bug_is_found_within_a_thousand_seeds() {
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(bug) = Bug::COMMON.get(next.fetch_add(1, Ordering::Relaxed)) {
            match found(*bug, |script| run(script, false)) {
                Some((seed, how)) => {
                    println!("{bug:?}: found by seed {seed}: {how}");
                    // The checks are the planner's own: the judge has to see it without them as well.
                    if how.contains(BY_CHECKS) && !HELD_TWICE.contains(bug) {
                        match found(*bug, run_unchecked) {
                            Some((seed, how)) => println!("{bug:?}: without checks by seed {seed}: {how}"),
                            None => missed.lock().unwrap().push(("without checks", *bug)),
                        }
                    }
                }
                None => missed.lock().unwrap().push(("with checks", *bug)),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    assert_eq!(missed.into_inner().unwrap(), []);
}

/// The first seed whose world shows the bug, and how.
fn found(bug: Bug, run: impl Fn(&Script) -> Outcome) -> Option<(u64, String)> {
    plant(Some(bug));
    // One that acts when nothing is amiss shows where nothing is to be done.
    let kind = if bug == Bug::OneTickIsEnough { Kind::CalmDay } else { Kind::Faults };
    let mut worlds = (FIRST_SEED..FIRST_SEED + 1_000).map(|seed| (seed, run(&Script::of(kind, seed))));
    let seen = worlds.find(|(_, outcome)| !outcome.violations.is_empty());
    plant(None);
    seen.map(|(seed, outcome)| (seed, outcome.violations.first().map(ToString::to_string).unwrap_or_default()))
}

#[test]
fn a_world_that_was_kept_breaks_its_promise_while_the_bug_is_there() {
    let (mut rare, mut kept) = (Bug::RARE.to_vec(), Vec::new());
    for line in script::kept(include_str!("../../regressions.txt")) {
        let (script, name) = line.unwrap();
        // What was nobody's plan is told in more than a name, and is mended.
        if name.contains(' ') {
            continue;
        }
        let bug = Bug::COMMON.into_iter().chain(Bug::RARE).find(|bug| format!("{bug:?}") == name);
        let bug = bug.unwrap_or_else(|| panic!("{name} is no bug that can be planted"));
        rare.retain(|other| *other != bug);
        plant(Some(bug));
        let outcome = run(&script, false);
        plant(None);
        if outcome.violations.is_empty() {
            kept.push(format!("{name}: {script:?}"));
        }
    }
    assert_eq!(kept, Vec::<String>::new(), "they hold though the bug is there");
    assert_eq!(rare, [], "no world is kept that shows them");
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
