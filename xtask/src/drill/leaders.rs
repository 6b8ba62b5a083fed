//! Three managers with a collector beside each. The leader's machine is killed, cut off, or stopped and woken later, in the
//! middle of a migration: the collector beside Swarm's new leader finishes it, and nobody does anything twice.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use swarmguard_end_to_end::app::{App, Deployed};
use swarmguard_end_to_end::http::get_json;
use swarmguard_end_to_end::scenario::Sickness;
use swarmguard_end_to_end::stage::{Stage, wait_for};

use super::row;
use crate::report::{Figure, Outcome, Promise, promises, table};
use crate::run::{say, step};
use told::{leader_seen_by, mark, running, sight, spec, specs};

/// Managers; three more nodes take the app, so that losing a manager takes none of its tasks, and a replacement that Swarm
/// gave no port has another node to go to.
pub(super) const MANAGERS: u32 = 3;
pub(super) const NODES: u32 = 6;

/// The replica wanders between these nodes.
const WORKERS: [u32; 3] = [4, 5, 6];

const FINISHED_WITHIN: Duration = Duration::from_secs(10);
/// A worker tries to reach a manager again after up to 8 s, and again if that one does not answer (SwarmKit's backoff): until
/// the new leader hears from one, nothing can run anywhere. Then it is finished within so long.
const FINISHED_AFTER_HEARD: Duration = Duration::from_secs(3);
const ELECTED_WITHIN: Duration = Duration::from_secs(90);
const BACK_WITHIN: Duration = Duration::from_secs(90);
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// What wakes up or comes back has so long to do something it should not.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What becomes of the leader's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Loss {
    /// Engine and collector end at once
    Killed,
    /// Its cable is pulled
    CutOff,
    /// Both stand still, and are woken later
    Stopped,
}

impl Loss {
    const ALL: [Self; 3] = [Self::Killed, Self::CutOff, Self::Stopped];

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::CutOff => "cut off",
            Self::Stopped => "stopped, woken later",
        }
    }
}

/// What came of one round.
struct Round {
    loss: Loss,
    elected: Duration,
    /// Since the election.
    finished: Duration,
    /// When Swarm heard from the first worker, since the election.
    heard: Duration,
    actions: usize,
    /// A first replacement had no port, and was replaced itself.
    is_remade: bool,
    /// No other node took the replacement: it started where the old task was.
    is_taken_back: bool,
}

impl Round {
    /// Nothing could run before Swarm heard from a worker.
    fn bound(&self) -> Duration {
        FINISHED_WITHIN.max(self.heard + FINISHED_AFTER_HEARD)
    }
}

pub(super) async fn drill(begun: Instant, stage: &mut Stage, rounds: u32, only: Option<Loss>) -> Result<Outcome> {
    let app = App { replicas: 1, constraints: vec!["node.role==worker".to_owned()], ..App::new("web", 8080) };
    let web = Deployed::deploy(&stage.lab, app).await?;
    let (mut done, mut missed, mut known) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, loss) in (1..=rounds).zip(Loss::ALL.into_iter().cycle()) {
        let loss = only.unwrap_or(loss);
        let round = round(stage, &web, loss, &mut known, &mut missed).await;
        let round = round.with_context(|| format!("round {number}, the leader is {}", loss.name()))?;
        let (elected, finished) = (round.elected.as_secs_f64(), round.finished.as_secs_f64());
        let name = loss.name();
        let how = match &round {
            Round { is_taken_back: true, .. } => ", where it was",
            Round { is_remade: true, .. } => ", after a replacement without its port",
            Round { .. } => "",
        };
        let told = format!("{number} of {rounds}: {name}; elected {elected:.1} s, finished {finished:.1} s later{how}");
        step(begun, &told);
        done.push(round);
    }
    // What came back last has had its time by then, too.
    wait_for("a leader, and all collectors to agree", BACK_WITHIN, || settled(stage, &web)).await?;
    usurped(stage, &known, &mut missed).await?;
    Ok(outcome(&done, missed))
}

fn outcome(rounds: &[Round], mut missed: Vec<String>) -> Outcome {
    let mut rows = vec![row(&[
        "the leader is",
        "rounds",
        "s to the next leader",
        "s from there to finished",
        "to a worker heard",
        "actions",
        "no port",
        "taken back",
    ])];
    let mut figures = Vec::new();
    for loss in Loss::ALL {
        let of: Vec<&Round> = rounds.iter().filter(|round| round.loss == loss).collect();
        if of.is_empty() {
            continue;
        }
        let elected = Figure::of(of.iter().map(|round| round.elected.as_secs_f64()));
        let finished = Figure::of(of.iter().map(|round| round.finished.as_secs_f64()));
        let heard = Figure::of(of.iter().map(|round| round.heard.as_secs_f64()));
        let actions: usize = of.iter().map(|round| round.actions).sum();
        let remade = of.iter().filter(|round| round.is_remade).count();
        let taken_back = of.iter().filter(|round| round.is_taken_back).count();
        rows.push(row(&[
            loss.name(),
            &of.len().to_string(),
            &elected.shown(1),
            &finished.shown(1),
            &heard.shown(1),
            &actions.to_string(),
            &remade.to_string(),
            &taken_back.to_string(),
        ]));
        figures.push(json!({
            "leader": loss.name(), "rounds": of.len(), "elected_s": elected.json(), "finished_s": finished.json(),
            "heard_s": heard.json(), "actions": actions, "replaced_for_want_of_a_port": remade, "taken_back": taken_back,
        }));
    }
    // Workers take long to leave a manager that is stopped: that is Swarm's time.
    let killed = || rounds.iter().filter(|round| round.loss == Loss::Killed);
    let unheard = killed().filter(|round| round.bound() > FINISHED_WITHIN).count();
    let over = killed().map(|round| round.finished.as_secs_f64() - round.bound().as_secs_f64()).fold(0.0, f64::max);
    let (text, late) = promises(&[
        Promise { what: "killed: longer from the new leader to finished than promised, s", found: over, at_most: 0.0 },
        Promise { what: "actions that were doubled or usurped", found: missed.len() as f64, at_most: 0.0 },
    ]);
    missed.extend(late);
    let (within, after) = (FINISHED_WITHIN.as_secs(), FINISHED_AFTER_HEARD.as_secs());
    let promised = format!(
        "promised: {within} s, or {after} s after Swarm hears from a worker again, which was later in {unheard} of {} rounds\n",
        killed().count()
    );
    let json = json!({ "rounds": rounds.len(), "losses": figures, "heard_late": unheard, "missed": missed });
    Outcome { text: format!("\n{}\n{promised}{text}", table(&rows)), json, missed }
}

/// Actions that were begun beside the one of each round.
async fn usurped(stage: &Stage, known: &BTreeSet<String>, missed: &mut Vec<String>) -> Result<()> {
    let more: Vec<String> = ids(stage).await?.difference(known).cloned().collect();
    if !more.is_empty() {
        missed.push(format!("{more:?} were begun as well"));
    }
    Ok(())
}

async fn round(
    stage: &mut Stage,
    web: &Deployed,
    loss: Loss,
    known: &mut BTreeSet<String>,
    missed: &mut Vec<String>,
) -> Result<Round> {
    let (leader, witness) =
        wait_for("a leader, and all collectors to agree", BACK_WITHIN, || settled(stage, web)).await?;
    let written = spec(stage, witness).await?;
    let before = running(stage, witness).await?;
    let source = before.values().next().copied().context("no replica runs")?;
    usurped(stage, known, missed).await?;
    web.ask(&stage.lab, source, Sickness::Memory.path()).await?;
    let mut marks = Marks::default();
    wait_for("the migration to begin", BACK_WITHIN, || async { Ok(mark(&spec(stage, leader).await?)) })
        .await
        .map(|id| marks.saw(&id))?;
    lose(stage, leader, loss).await?;
    let lost = Instant::now();
    let next = wait_for("the next leader", ELECTED_WITHIN, || async {
        Ok(leader_seen_by(stage, witness).await?.filter(|found| *found != leader))
    })
    .await?;
    let elected = lost.elapsed();
    let finished = Instant::now();
    let (mut sights, mut heard): (Vec<String>, Option<Duration>) = (Vec::new(), None);
    loop {
        let found = spec(stage, witness).await;
        let sight = match sight(stage, witness).await {
            Ok((sight, hears_worker)) => {
                // What the one before heard is told for a moment after the election.
                heard = hears_worker.then(|| heard.unwrap_or(finished.elapsed()));
                sight
            }
            Err(error) => format!("{error:#}"),
        };
        if sights.last().is_none_or(|last| !last.ends_with(&sight)) {
            sights.push(format!("{:>6.2} s {sight}", finished.elapsed().as_secs_f64()));
        }
        if let Ok(found) = &found {
            mark(found).iter().for_each(|id| marks.saw(id));
            if *found == written && running(stage, witness).await?.len() == 1 {
                break;
            }
        }
        // One that is late is told with the others.
        let is_over = finished.elapsed() >= BACK_WITHIN;
        ensure!(!is_over, "it was not finished beside node {next}: {found:?}\n{}", sights.join("\n"));
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let finished = finished.elapsed();
    known.extend(marks.0.iter().cloned());
    // The one beside the new leader did it, and nobody before.
    let by_next = get_json(&format!("{}/api/v1/actions", stage.collector_url_of(next))).await?;
    let is_done = |action: &Value| {
        let is_ours = action["id"].as_str().is_some_and(|id| marks.0.contains(id));
        is_ours && (action["state"] == "completed" || action["state"] == "reverted")
    };
    let done = by_next.as_array().and_then(|actions| actions.iter().find(|action| is_done(action)));
    let is_remade = done.is_some_and(|action| action["detail"].as_str().is_some_and(|why| why.contains("ports")));
    let is_taken_back = done.is_some_and(|action| action["state"] == "reverted");
    let heard = heard.unwrap_or_default();
    if finished > FINISHED_WITHIN {
        say(&format!("what took long, seen from the election of node {next} on:\n{}", sights.join("\n")));
        say(&format!("what the collector there says: {}\n{}", done.unwrap_or(&Value::Null), stage.log_of(next)));
    }
    if done.is_none() {
        missed.push(format!("the leader {}: {:?} was not finished by the next one", loss.name(), marks.0));
    }
    let ended = specs(stage, witness).await?;
    bring_back(stage, leader, loss).await?;
    let after = Instant::now();
    while after.elapsed() < AFTERMATH {
        if let Ok(found) = spec(stage, witness).await {
            mark(&found).iter().for_each(|id| marks.saw(id));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let after = running(stage, witness).await?;
    if marks.0.len() != 1 {
        missed.push(format!("the leader {}: actions {:?}", loss.name(), marks.0));
    }
    if before.keys().eq(after.keys()) {
        missed.push(format!("the leader {}: the sick task is still there", loss.name()));
    }
    // Of those that were lost and came back none has changed anything.
    if specs(stage, witness).await? != ended {
        missed.push(format!("the leader {}: the service was changed after all was done", loss.name()));
    }
    Ok(Round { loss, elected, finished, heard, actions: marks.0.len(), is_remade, is_taken_back })
}

/// Identifiers of all actions whose marks were seen.
#[derive(Debug, Clone, Default)]
struct Marks(BTreeSet<String>);

impl Marks {
    fn saw(&mut self, id: &str) {
        self.0.insert(id.to_owned());
    }
}

async fn lose(stage: &Stage, index: u32, loss: Loss) -> Result<()> {
    let dockerd = stage.lab.process(&format!("dockerd-node{index}")).context("no dockerd runs there")?;
    let collector = stage.collector_of(index);
    match loss {
        Loss::Killed => {
            dockerd.kill().await?;
            collector.kill().await
        }
        Loss::CutOff => stage.lab.unplug(index),
        Loss::Stopped => {
            dockerd.stop();
            collector.stop();
            Ok(())
        }
    }
}

async fn bring_back(stage: &mut Stage, index: u32, loss: Loss) -> Result<()> {
    match loss {
        Loss::Killed => {
            stage.lab.start_dockerd(index).await?;
            stage.start_collector(index)
        }
        Loss::CutOff => stage.lab.plug(index),
        Loss::Stopped => {
            // The collector first: it has the more time to believe that it leads.
            stage.collector_of(index).cont();
            tokio::time::sleep(Duration::from_secs(1)).await;
            stage.lab.process(&format!("dockerd-node{index}")).context("no dockerd is there")?.cont();
            Ok(())
        }
    }
}

/// The leader's node and another manager's, once every collector says the same of who leads and the app answers. A manager
/// that was stopped may, when it is woken, tell workers to end what another has begun since: Swarm mends that by itself.
async fn settled(stage: &Stage, web: &Deployed) -> Result<Option<(u32, u32)>> {
    let mut leaders = BTreeMap::new();
    for index in 1..=MANAGERS {
        let health = get_json(&format!("{}/healthz", stage.collector_url_of(index))).await?;
        let leads = health["role"] == "leader";
        let named = health["leader"].as_str().and_then(|name| name.strip_prefix("node")?.parse::<u32>().ok());
        leaders.insert(index, if leads { Some(index) } else { named });
    }
    let agreed: BTreeSet<Option<u32>> = leaders.values().copied().collect();
    let Some(leader) = agreed.first().copied().flatten().filter(|_| agreed.len() == 1) else { return Ok(None) };
    let nodes = get_json(&format!("{}/api/v1/nodes", stage.collector_url_of(leader))).await?;
    let is_whole = nodes.as_array().is_some_and(|nodes| nodes.iter().all(|node| node["ready"] == true));
    let witness = (1..=MANAGERS).find(|index| *index != leader).unwrap_or(1);
    let running = running(stage, witness).await?;
    let is_quiet = mark(&spec(stage, witness).await?).is_none() && running.len() == 1;
    for node in running.values() {
        web.ask(&stage.lab, *node, "/health").await?;
    }
    Ok((is_whole && is_quiet).then_some((leader, witness)))
}

/// Actions that were begun, as every collector that answers tells it.
async fn ids(stage: &Stage) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for index in 1..=MANAGERS {
        let Ok(actions) = get_json(&format!("{}/api/v1/actions", stage.collector_url_of(index))).await else {
            continue;
        };
        for action in actions.as_array().into_iter().flatten().filter(|action| action["state"] != "refused") {
            ids.extend(action["id"].as_str().map(str::to_owned));
        }
    }
    Ok(ids)
}
