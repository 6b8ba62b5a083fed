//! What came of trials: a table for the terminal, a report for people, figures for machines, and promises kept or not.

use std::fmt::Write;

use serde_json::json;
use swarmguard_end_to_end::trial::{Case, Scaling, Share, Trial};

use super::row;
use crate::report::{Outcome, Percentiles, Promise, markdown, promises, table};

const RECOVERY_P95_S_MAX: f64 = 2.5;
const UNEVENNESS_PERCENT_MAX: f64 = 15.0;
const CASES: [Case; 5] = [Case::Crash, Case::NodeLoss, Case::Migration, Case::ScaleUp, Case::ScaleDown];

/// Trials, and what was seen beside them.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) trials: Vec<Trial>,
    /// Each replica's part of the load, of each time that it was at its most.
    shares: Vec<Vec<Share>>,
    /// Loads whose parts were not measured, for want of a database or of time.
    unmeasured: usize,
    /// How far the replica farthest from an equal part was from it, in percent.
    unevenness: f64,
    /// More parts of a suite: their titles, and what came of each.
    pub(super) parts: Vec<(&'static str, Outcome)>,
}

impl Told {
    pub(super) fn of(trials: Vec<Trial>) -> Self {
        Self { trials, ..Self::default() }
    }

    pub(super) fn add(&mut self, scaling: Scaling) {
        match scaling.unevenness() {
            Some(unevenness) => self.unevenness = self.unevenness.max(unevenness),
            None => self.unmeasured += 1,
        }
        self.trials.extend(scaling.trials);
        self.shares.extend(Some(scaling.shares).filter(|shares| !shares.is_empty()));
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.trials.extend(other.trials);
        self.shares.extend(other.shares);
        self.unmeasured += other.unmeasured;
        self.unevenness = self.unevenness.max(other.unevenness);
        self.parts.extend(other.parts);
    }

    /// Trials of one case.
    fn cases(&self) -> impl Iterator<Item = (Case, Vec<&Trial>)> {
        let of = |case| (case, self.trials.iter().filter(|trial| trial.test_case == case).collect::<Vec<_>>());
        CASES.into_iter().map(of).filter(|(_, trials)| !trials.is_empty())
    }

    fn recovery(trials: &[&Trial]) -> Percentiles {
        Percentiles::of(trials.iter().filter_map(|trial| trial.mttr_seconds).collect())
    }

    fn recovery_rows(&self) -> Vec<Vec<String>> {
        let head = ["", "times", "p50, s", "p95, s", "most, s", "downtime at most, s", "requests", "failed"];
        let rows = self.cases().map(|(case, trials)| {
            let Percentiles { p50, p95, max, .. } = Self::recovery(&trials);
            let downtime = trials.iter().map(|trial| trial.downtime_seconds).fold(0.0, f64::max);
            let (requests, failed) = sums(&trials);
            let mut cells = vec![case.title().to_owned(), trials.len().to_string()];
            cells.extend([p50, p95, max, downtime].map(|seconds| format!("{seconds:.2}")));
            cells.extend([requests.to_string(), failed.to_string()]);
            cells
        });
        std::iter::once(row(&head)).chain(rows).collect()
    }

    fn share_rows(&self) -> Vec<Vec<String>> {
        let head = ["replicas", "container", "CPU, %", "of an equal part, %", "sent, Mbit/s", "of an equal part, %"];
        let rows = self.shares.iter().flat_map(|shares| {
            shares.iter().map(|share| {
                let container: String = share.container.chars().take(12).collect();
                let mut cells = vec![shares.len().to_string(), container];
                let figures = [share.cpu_percent, share.cpu_of_equal, share.sent_mbps, share.sent_of_equal];
                cells.extend(figures.map(|figure| format!("{figure:.1}")));
                cells
            })
        });
        std::iter::once(row(&head)).chain(rows).collect()
    }

    fn time_rows(&self) -> Vec<Vec<String>> {
        let head = ["", "from", "to", "replicas", "T1", "T2", "T3", "T4", "T5", "T6"];
        let acted = self.trials.iter().filter(|trial| trial.times_ms[0].is_some());
        let rows = acted.map(|trial| {
            let node = |node: &Option<String>| node.clone().unwrap_or_else(|| "-".to_owned());
            let mut cells = vec![trial.test_case.title().to_owned(), node(&trial.from_node), node(&trial.to_node)];
            cells.push(format!("{} to {}", trial.replicas_before, trial.replicas_after));
            let time = |time: &Option<f64>| time.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
            cells.extend(trial.times_ms[1..].iter().map(time));
            cells
        });
        std::iter::once(row(&head)).chain(rows).collect()
    }

    /// For people, as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = "# SwarmGuard: what its trials came to\n\n## Recovery\n\n".to_owned();
        text += "From the failure (of Swarm alone) or the first breach (of SwarmGuard) to the replacement running and healthy; \
                 of a replica given back, from the decision. Downtime is how long nobody answered.\n\n";
        text += &markdown(&self.recovery_rows());
        if !self.shares.is_empty() {
            text += "\n## Parts of the load\n\nOf each replica, under the most of it, from the metrics in the database.\n\n";
            text += &markdown(&self.share_rows());
        }
        text += "\n## Times of each action\n\nIn milliseconds since T0, the first breach: T1 the alert was sent, T2 received, T3 \
                 decided, T4 Docker called, T5 the replacement ran, T6 what was to go was gone.\n\n";
        text += &markdown(&self.time_rows());
        for (title, part) in &self.parts {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n## {title}\n\n```text\n{}\n```\n", part.text.trim());
        }
        text
    }

    /// For the terminal and for machines. In the lab recovery has a promised time; elsewhere it depends on the app.
    pub(super) fn outcome(self, is_lab: bool) -> Outcome {
        let mut kept = Vec::new();
        let promise = |what, found, at_most| Promise { what, found, at_most };
        let ours: Vec<&Trial> =
            self.trials.iter().filter(|trial| !matches!(trial.test_case.scenario(), "reactive")).collect();
        for (case, trials) in self.cases().filter(|_| is_lab) {
            let p95 = Self::recovery(&trials).p95;
            match case {
                Case::Migration => kept.push(promise("sick container moved, p95, s", p95, RECOVERY_P95_S_MAX)),
                Case::ScaleUp => kept.push(promise("replica added, p95, s", p95, RECOVERY_P95_S_MAX)),
                Case::Crash | Case::NodeLoss | Case::ScaleDown | Case::Availability => {}
            }
        }
        if !ours.is_empty() {
            let downtime = ours.iter().map(|trial| trial.downtime_seconds).fold(0.0, f64::max);
            kept.push(promise("requests failed because of SwarmGuard", sums(&ours).1 as f64, 0.0));
            kept.push(promise("downtime because of SwarmGuard, s", downtime, 0.0));
        }
        if !self.shares.is_empty() {
            kept.push(promise("replica's part from an equal one, %", self.unevenness, UNEVENNESS_PERCENT_MAX));
        }
        let (lines, mut missed) = promises(&kept);
        let mut text = format!("\n{}\n", table(&self.recovery_rows()));
        if !self.shares.is_empty() {
            text += &format!("{}\n", table(&self.share_rows()));
        }
        if self.unmeasured > 0 {
            text +=
                &format!("parts of the load not measured: {} times (--influx-url, a longer --hold)\n", self.unmeasured);
            if is_lab {
                missed.push("parts of the load were not measured".to_owned());
            }
        }
        for trial in ours.iter().filter(|trial| !trial.errors.is_empty()) {
            text += &format!("{}: {:?}\n", trial.test_case.title(), trial.errors);
        }
        text += &lines;
        for (title, part) in &self.parts {
            text += &format!("\n{title}\n{}", part.text);
            missed.extend(part.missed.iter().cloned());
        }
        let parts: serde_json::Map<_, _> =
            self.parts.iter().map(|(title, part)| ((*title).to_owned(), part.json.clone())).collect();
        let json = json!({ "trials": self.trials, "shares": self.shares, "parts": parts, "missed": missed });
        Outcome { text, json, missed }
    }
}

/// Requests and failures. Users of several trials are counted once.
fn sums(trials: &[&Trial]) -> (u64, u64) {
    let trials = trials.iter().filter(|trial| !trial.same_users);
    trials.fold((0, 0), |(requests, failed), trial| (requests + trial.requests, failed + trial.failed_requests))
}
