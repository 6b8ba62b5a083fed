//! What holds in every world.

use std::time::{Duration, Instant};

use swarmguard_sim::run;
use swarmguard_sim::script::{Kind, Script};

/// Seeds of one test; any others come from `cargo xtask simulate`.
const FIRST_SEED: u64 = 1;

/// Runs worlds on all cores, none of which breaks a promise; how much was simulated and done.
fn all(kind: Kind, count: u64) -> (Duration, u64) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let (broken, simulated, actions) = std::thread::scope(|scope| {
        let part = |part: u64| {
            scope.spawn(move || {
                let (mut first, mut simulated, mut actions) = (None, Duration::ZERO, 0);
                for number in (part..count).step_by(usize::try_from(threads).unwrap_or(1)) {
                    let outcome = run(&Script::of(kind, FIRST_SEED + number), false);
                    simulated += outcome.simulated;
                    actions += outcome.actions[0];
                    if !outcome.violations.is_empty() && first.is_none() {
                        first = Some((FIRST_SEED + number, outcome));
                    }
                }
                (first, simulated, actions)
            })
        };
        let parts: Vec<_> = (0..threads).map(part).collect();
        let parts = parts.into_iter().map(|part| part.join().unwrap());
        parts.fold((None, Duration::ZERO, 0), |(first, simulated, actions), (other, more, more_actions)| {
            (first.or(other), simulated + more, actions + more_actions)
        })
    });
    if let Some((seed, outcome)) = broken {
        panic!("{}seed {seed}: {}", kind.word(), outcome.violations[0]);
    }
    (simulated, actions)
}

#[test]
fn ten_thousand_worlds_break_no_promise() {
    let begun = Instant::now();
    let (simulated, actions) = all(Kind::Faults, 10_000);
    let (hours, took) = (simulated.as_secs() / 3_600, begun.elapsed().as_secs_f64());
    println!(
        "10,000 worlds, {hours} simulated hours in {took:.1} s: {:.0} hours a second; {actions} actions, no promise broken",
        hours as f64 / took
    );
    assert!(hours >= 1_000 * 24, "a tenth of them are days: {hours} h");
    assert!(actions > 10_000, "the worlds are not so calm that nothing is tried: {actions}");
}

#[test]
fn two_thousand_worlds_in_which_things_go_wrong_in_the_midst_of_actions_break_none_either() {
    let (_, actions) = all(Kind::Aimed, 2_000);
    assert!(actions > 4_000, "there is something to strike at: {actions}");
}

#[test]
fn a_thousand_days_of_a_noisy_but_healthy_swarm_see_no_action() {
    let (simulated, _) = all(Kind::CalmDay, 1_000);
    assert!(simulated >= Duration::from_secs(1_000 * 24 * 3_600));
}

#[test]
fn a_hundred_hours_of_it_with_a_tick_each_second_see_none_either() {
    let (simulated, _) = all(Kind::CalmHour, 100);
    assert!(simulated >= Duration::from_secs(100 * 3_600));
}

#[test]
fn a_seed_gives_the_same_world_each_time() {
    for seed in FIRST_SEED..FIRST_SEED + 50 {
        let (one, other) = (run(&Script::new(seed), false), run(&Script::new(seed), true));
        assert_eq!((one.trace, one.actions), (other.trace, other.actions), "seed {seed}");
    }
}
