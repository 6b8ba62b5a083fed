//! A series of worlds: progress, what they came to, and how to repeat and keep one that fails.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use swarmguard_sim::script::Kind;
use swarmguard_sim::{Script, Violation, run as simulate};

use crate::Args;

/// A line of progress comes so often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// What all worlds came to.
#[derive(Debug, Default)]
struct Sum {
    worlds: u64,
    simulated: Duration,
    actions: [u64; 3],
    failed: Vec<(u64, Violation)>,
}

/// Runs so many worlds, each from the next seed, and tells what came of them; whether no promise was broken.
pub(super) fn run(args: &Args) -> bool {
    let &Args { seeds, seed, trace, .. } = args;
    let kind = args.kind();
    let first = seed.unwrap_or_else(random_seed);
    // First of all, so that whatever happens can be run again.
    say(&format!("seed {first}"));
    if trace {
        let outcome = simulate(&Script::of(kind, first), true);
        outcome.lines.iter().for_each(|line| say(line));
    }
    let begun = Instant::now();
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds {
                return;
            }
            let seed = first.wrapping_add(number);
            let outcome = simulate(&Script::of(kind, seed), false);
            let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sum.worlds += 1;
            sum.simulated += outcome.simulated;
            for (all, more) in sum.actions.iter_mut().zip(outcome.actions) {
                *all += more;
            }
            if let Some(violation) = outcome.violations.into_iter().next() {
                // At once: a long series need not come to its end to show what it has found.
                step(begun, &format!("seed {seed}: {violation}"));
                sum.failed.push((seed, violation));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            if told.elapsed() >= SIGN_OF_LIFE {
                told = Instant::now();
                let sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                step(begun, &format!("{} of {seeds} worlds, {} failed", sum.worlds, sum.failed.len()));
            }
        }
    });
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    tell(&sum, begun.elapsed());
    let Some((seed, _)) = sum.failed.iter().min_by_key(|(seed, _)| *seed) else { return true };
    shorten(kind, *seed);
    false
}

fn tell(sum: &Sum, took: Duration) {
    let hours = sum.simulated.as_secs_f64() / 3_600.0;
    let [begun, completed, otherwise] = sum.actions;
    say(&format!(
        "{} worlds, {hours:.0} simulated hours in {:.1} s: {:.0} hours a second; {begun} actions begun, {completed} completed, \
         {otherwise} ended otherwise; {} worlds broke a promise",
        sum.worlds,
        took.as_secs_f64(),
        hours / took.as_secs_f64(),
        sum.failed.len()
    ));
}

/// Shows the fewest events that still fail.
fn shorten(kind: Kind, seed: u64) {
    let script = Script::of(kind, seed);
    let shortest = script.shortened(&|script| !simulate(script, false).violations.is_empty());
    let flag = match kind {
        Kind::Faults => "",
        Kind::Aimed => " --aimed",
        Kind::CalmDay => " --calm",
        Kind::CalmHour => " --calm-hour",
    };
    say(&format!("the whole world again, in words: cargo xtask simulate --seeds 1 --seed {seed}{flag} --trace"));
    say(&format!("seed {seed} fails with these events alone:"));
    for event in &shortest.events {
        say(&format!("  {:>10.3} s {:?}, drawn from {}", event.after.as_secs_f64(), event.what, event.draw));
    }
    let numbers: Vec<String> = script.numbers_of(&shortest).iter().map(usize::to_string).collect();
    let word = kind.word();
    say(&format!("  to keep it, add to tests/sim/regressions.txt: {word}{seed} {} # what it shows", numbers.join(" ")));
    let outcome = simulate(&shortest, false);
    outcome.violations.iter().take(5).for_each(|violation| say(&format!("  then at {violation}")));
}

fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ u64::from(now.subsec_nanos()) << 20
}

/// Says something on its own line.
fn say(text: &str) {
    // Nobody may be reading; the exit code tells all the same.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// The same with the time since `begun`.
fn step(begun: Instant, text: &str) {
    say(&format!("[{:>4} s] {text}", begun.elapsed().as_secs()));
}
